//! The options of a layer: how decisions are shown to callers.

use std::{fmt, sync::Arc, time::Duration};

use http::Response;

use crate::{
    grpc::Protocol,
    http::{CallerProtocol, Refusal, RefusalBody},
    request::RequestView,
    response::ResponseSettings,
    store::Detail,
    warn::WarnOnce,
};

/// A closure that makes the answer to a refused HTTP request.
pub(crate) type OnRefusal = dyn Fn(&Refusal<'_>, &RequestView<'_>) -> Response<RefusalBody> + Send + Sync;

/// A closure that returns the time since 1970.
pub(crate) type Calendar = dyn Fn() -> Duration + Send + Sync;

/// The options of one layer.
#[derive(Clone, Default)]
pub(crate) struct ResponseOptions {
    pub(crate) settings: ResponseSettings,
    /// Needed by `X-RateLimit-Reset` alone, which may be a point in time.
    pub(crate) calendar: Option<Arc<Calendar>>,
    pub(crate) on_refusal: Option<Arc<OnRefusal>>,
    pub(crate) given: WarnOnce,
}

impl CallerProtocol {
    pub(crate) fn resolve<'a>(self, request: &RequestView<'a>) -> Protocol<'a> {
        match (self, Protocol::from_request(request)) {
            (Self::Http, _) => Protocol::Http,
            (Self::Grpc, Protocol::Http) => Protocol::Grpc,
            (Self::ByContentType | Self::Grpc, claimed) => claimed,
        }
    }
}

impl ResponseOptions {
    /// Creates options with the settings of a limiter.
    pub(crate) fn from_settings(settings: &ResponseSettings) -> Self {
        Self { settings: settings.clone(), ..Self::default() }
    }

    /// Returns how much a decision has to report of the quotas.
    pub(crate) const fn detail(&self) -> Detail {
        if self.settings.show_admissions() { Detail::Full } else { Detail::OnDenial }
    }

    /// Returns whether a request passes without a decision.
    pub(crate) fn exempt(&self, request: &RequestView<'_>) -> bool {
        !self.settings.limits_preflights && request.is_preflight()
    }
}

impl fmt::Debug for ResponseOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseOptions")
            .field("settings", &self.settings)
            .field("on_refusal", &self.on_refusal.as_ref().map(|_| format_args!("closure")))
            .finish_non_exhaustive()
    }
}
