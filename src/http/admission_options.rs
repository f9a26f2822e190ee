//! The options by which an admission is shown on its response.

use std::sync::Arc;

use http::HeaderName;

use crate::http::{Calendar, DecisionIn, Headers, LegacyReset, OnConflict, ResponseOptions};

/// The options by which an admission is shown on its response.
///
/// The future of the response carries these few bytes, and seldom a reference: all threads would write its count, twice for
/// each response.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionOptions {
    pub(crate) headers: Headers,
    pub(crate) on_conflict: OnConflict,
    pub(crate) decision: DecisionIn,
    /// All options, if a field needs others.
    all: Option<Arc<ResponseOptions>>,
}

impl AdmissionOptions {
    pub(crate) fn new(options: &Arc<ResponseOptions>) -> Self {
        let settings = &options.settings;
        let needs_others = settings.shadow_field.is_some() || settings.headers.legacy() == Some(LegacyReset::Epoch);
        Self {
            headers: settings.headers,
            on_conflict: settings.on_conflict,
            decision: settings.decision,
            all: needs_others.then(|| Arc::clone(options)),
        }
    }

    /// Returns the field that names the rules in shadow which would deny the request.
    pub(crate) fn shadow_field(&self) -> Option<&HeaderName> {
        self.all.as_ref()?.settings.shadow_field.as_ref()
    }

    pub(crate) fn calendar(&self) -> Option<&Calendar> {
        self.all.as_ref()?.calendar.as_deref()
    }
}
