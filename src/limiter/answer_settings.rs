//! The settings of answers to callers, which all layers of a limiter share.

use bytes::Bytes;

use crate::{
    limiter::{MessageTemplate, message::MessageContext},
    response::ResponseSettings,
    wire::quota_exceeded,
};

/// The sentence for denied callers, and the settings that layers begin with.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnswerSettings {
    pub(crate) template: Option<MessageTemplate>,
    pub(crate) response: ResponseSettings,
}

impl AnswerSettings {
    /// Returns the problem document of a denial by one quota alone, or `None` if the wait is part of the message.
    pub(super) fn prepare_body(&self, context: &MessageContext<'_>, policy_name: &str) -> Option<Bytes> {
        if self.template.as_ref().is_some_and(|template| !template.is_fixed()) {
            return None;
        }
        let message = context.message(self.template.as_ref());
        Some(quota_exceeded(self.response.denied_status, &message, &[policy_name]))
    }
}
