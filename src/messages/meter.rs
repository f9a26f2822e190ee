//! Finds the rules that a call's messages are charged to.

use std::sync::Arc;

use http::Response;

use crate::{
    grpc::Protocol,
    http::{Refusal, RefusalBody, ResponseOptions},
    limiter::RateLimiter,
    messages::{call_end::CallEnd, counted_messages::CountedMessages, message_counter::MessageCounter},
    request::{Http, RequestView},
    rule::RuleId,
    store::Store,
};

/// The rules that are for every message of a call, and the words of refusals.
#[derive(Debug)]
pub(super) struct MessageMeter<T> {
    /// None if there is no limit at all.
    pub(super) limiter: Option<RateLimiter<Http, T>>,
    pub(super) style: Arc<ResponseOptions>,
    /// The numbers of the rules.
    pub(super) rules: Arc<[RuleId]>,
}

/// What becomes of the messages of a request.
pub(super) enum Metering<T: Store> {
    /// No rule is for them.
    Uncounted,
    CountedMessages(Box<MessageCounter<T>>),
    /// The request ends here, with this answer: they would escape a rule.
    Refused(Response<RefusalBody>),
}

impl<T: Store> MessageMeter<T> {
    /// Whether and how the messages of this request are counted.
    pub(super) fn count(&self, request: &RequestView<'_>) -> Metering<T> {
        let Some(limiter) = &self.limiter else { return Metering::Uncounted };
        let counted = CountedMessages::of(request.extensions(), limiter.rulebook());
        let style = &self.style;
        if style.passes(request) {
            return Metering::Uncounted;
        }
        match limiter.charges_of(request, |rule| self.rules.contains(&rule), &counted) {
            Ok(governed) if governed.charges.is_empty() => Metering::Uncounted,
            Ok(_) if Protocol::of(request) != Protocol::Grpc => {
                Metering::Refused(Refusal::NotGrpc.answer(request, style))
            }
            Ok(governed) => {
                let fate = Arc::new(CallEnd::new(Arc::clone(style)));
                Metering::CountedMessages(Box::new(MessageCounter::new(limiter.clone(), governed, fate)))
            }
            Err(missing) => {
                let refusal = Refusal::key_missing(limiter.names_of(missing), missing.status);
                Metering::Refused(refusal.answer(request, style))
            }
        }
    }
}

impl<T> Clone for MessageMeter<T> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), style: Arc::clone(&self.style), rules: Arc::clone(&self.rules) }
    }
}
