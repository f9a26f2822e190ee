//! The options of a layer: how decisions are shown to callers.

use std::{fmt, sync::Arc, time::Duration};

use http::{Request, Response};

use crate::{
    grpc::Protocol,
    http::{CallerProtocol, Conclusion, Refusal, RefusalBody},
    limiter::Reservation,
    observe::Observer,
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
    /// The unit in which the bytes of responses are observed.
    pub(crate) observed_unit: Option<Arc<str>>,
    pub(crate) given: WarnOnce,
    /// Gets the warnings; `None` for answers that no layer gives.
    pub(crate) observer: Option<Arc<Observer>>,
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

    /// Records what a request has reserved, and returns what concludes it.
    pub(crate) fn begin<B>(
        &self,
        reservation: Option<&Reservation>,
        request: &mut Request<B>,
    ) -> Option<Box<Conclusion>> {
        Conclusion::begin(reservation, request.extensions_mut(), self.observed_unit.as_ref())
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
