//! How decisions are shown to callers.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use http::Response;

use crate::{
    http::{CallerProtocol, DecisionIn, Headers, Refusal, RefusalBody, is_preflight},
    request::RequestView,
    store::Detail,
    warn::WarnOnce,
};

/// What happens to fields that the inner service has set itself, if it has set any of a set: `RateLimit` and `RateLimit-Policy`
/// are one (with `RateLimit-Limit`, `-Remaining` and `-Reset`, which they were in older drafts), and
/// [`X-RateLimit-*`](crate::http::Headers::with_legacy) are another. Each is of one limiter as a whole.
///
/// Refusals of the inner service are left as they are in any case: 429, 503, other errors with a `Retry-After`, and what is
/// that in gRPC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnConflict {
    /// They stay and ours are not sent.
    #[default]
    Keep,
    /// Ours replace them.
    Replace,
    /// Ours are sent in lines of their own, unless one of their names is in use already, or theirs are not those of the
    /// present draft. `X-RateLimit-*` cannot be merged, and stay.
    Merge,
}

/// A closure that makes the answer to a refused HTTP request.
pub(crate) type OnRefusal = dyn Fn(&Refusal<'_>, &RequestView<'_>) -> Response<RefusalBody> + Send + Sync;

/// The time since 1970.
pub(crate) type Calendar = dyn Fn() -> Duration + Send + Sync;

/// The choices of one layer.
#[derive(Clone)]
pub(crate) struct ResponseOptions {
    pub(crate) headers: Headers,
    /// By which `X-RateLimit-Reset` says when something is.
    pub(crate) calendar: Option<Arc<Calendar>>,
    pub(crate) decision: DecisionIn,
    pub(crate) on_conflict: OnConflict,
    pub(crate) protocol: CallerProtocol,
    /// Whether CORS preflights are decided about.
    pub(crate) limits_preflights: bool,
    pub(crate) on_refusal: Option<Arc<OnRefusal>>,
    /// In percent of the wait.
    pub(crate) pushback_jitter: u8,
    pub(crate) error_domain: Cow<'static, str>,
    pub(crate) given: WarnOnce,
}

impl ResponseOptions {
    /// What it needs to know of the quotas.
    pub(crate) const fn told(&self) -> Detail {
        if self.tells_of_admissions() { Detail::Full } else { Detail::OnDenial }
    }

    /// Whether a request is none of the limiter's business.
    pub(crate) fn passes(&self, request: &RequestView<'_>) -> bool {
        !self.limits_preflights && is_preflight(request)
    }

    /// Whether anybody learns of a decision that admits a request.
    pub(crate) const fn tells_of_admissions(&self) -> bool {
        self.headers.tell_of_admissions() || !matches!(self.decision, DecisionIn::Neither)
    }

    /// The time since 1970.
    pub(crate) fn since_1970(&self) -> Duration {
        self.calendar.as_ref().map_or_else(Duration::default, |calendar| calendar())
    }
}

impl Default for ResponseOptions {
    fn default() -> Self {
        Self {
            headers: Headers::default(),
            calendar: None,
            decision: DecisionIn::default(),
            on_conflict: OnConflict::default(),
            protocol: CallerProtocol::default(),
            limits_preflights: true,
            on_refusal: None,
            pushback_jitter: 10,
            error_domain: Cow::Borrowed("tower-quota"),
            given: WarnOnce::default(),
        }
    }
}

impl fmt::Debug for ResponseOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseOptions")
            .field("headers", &self.headers)
            .field("decision", &self.decision)
            .field("on_conflict", &self.on_conflict)
            .field("protocol", &self.protocol)
            .field("limits_preflights", &self.limits_preflights)
            .field("on_refusal", &self.on_refusal.as_ref().map(|_| format_args!("closure")))
            .field("pushback_jitter", &self.pushback_jitter)
            .field("error_domain", &self.error_domain)
            .finish_non_exhaustive()
    }
}
