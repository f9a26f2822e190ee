//! How decisions are shown to callers.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Response;

use crate::{
    http::{CallerProtocol, Refusal, is_preflight},
    request::RequestView,
    store::Told,
    warn::Given,
};

/// What `X-RateLimit-Reset` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LegacyReset {
    /// Seconds since 1970, as GitHub sends it.
    Epoch,
    /// Seconds from now, as Envoy sends it.
    Delta,
}

/// What happens to fields that the inner service has set itself, if it has set any of a set: `RateLimit` and `RateLimit-Policy`
/// are one (with `RateLimit-Limit`, `-Remaining` and `-Reset`, which they were in older drafts), and
/// [`X-RateLimit-*`](crate::RateLimitLayer::legacy_fields) are another. Each is of one limiter as a whole.
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
pub(crate) type OnDenied = dyn Fn(&Refusal<'_>) -> Response<Bytes> + Send + Sync;

/// The time since 1970.
pub(crate) type Calendar = dyn Fn() -> Duration + Send + Sync;

/// What `X-RateLimit-Reset` says, and by which calendar.
#[derive(Clone)]
pub(crate) enum Legacy {
    Epoch(Arc<Calendar>),
    Delta,
}

/// The choices of one layer.
#[derive(Clone)]
pub(crate) struct Style {
    pub(crate) fields: bool,
    pub(crate) in_request: bool,
    pub(crate) in_response: bool,
    pub(crate) legacy: Option<Legacy>,
    pub(crate) on_conflict: OnConflict,
    pub(crate) protocol: CallerProtocol,
    /// Whether CORS preflights are decided about.
    pub(crate) limits_preflights: bool,
    pub(crate) on_denied: Option<Arc<OnDenied>>,
    pub(crate) fields_in_trailers_only: bool,
    /// In percent of the wait.
    pub(crate) pushback_jitter: u8,
    pub(crate) error_domain: Cow<'static, str>,
    pub(crate) given: Given,
}

impl Legacy {
    const fn reset(&self) -> LegacyReset {
        match self {
            Self::Epoch(_) => LegacyReset::Epoch,
            Self::Delta => LegacyReset::Delta,
        }
    }
}

impl Style {
    /// What it needs to know of the quotas.
    pub(crate) const fn told(&self) -> Told {
        if self.tells_of_admissions() { Told::Always } else { Told::IfDenied }
    }

    /// Whether a request is none of the limiter's business.
    pub(crate) fn passes(&self, request: &RequestView<'_>) -> bool {
        !self.limits_preflights && is_preflight(request)
    }

    /// Whether anybody learns of a decision that admits a request.
    pub(crate) const fn tells_of_admissions(&self) -> bool {
        self.fields || self.in_request || self.in_response || self.legacy.is_some()
    }
}

impl Default for Style {
    fn default() -> Self {
        Self {
            fields: true,
            in_request: true,
            in_response: false,
            legacy: None,
            on_conflict: OnConflict::default(),
            protocol: CallerProtocol::default(),
            limits_preflights: true,
            on_denied: None,
            fields_in_trailers_only: false,
            pushback_jitter: 10,
            error_domain: Cow::Borrowed("tower-quota"),
            given: Given::default(),
        }
    }
}

impl fmt::Debug for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Style")
            .field("fields", &self.fields)
            .field("in_request", &self.in_request)
            .field("in_response", &self.in_response)
            .field("legacy", &self.legacy.as_ref().map(Legacy::reset))
            .field("on_conflict", &self.on_conflict)
            .field("protocol", &self.protocol)
            .field("limits_preflights", &self.limits_preflights)
            .field("on_denied", &self.on_denied.as_ref().map(|_| format_args!("closure")))
            .field("fields_in_trailers_only", &self.fields_in_trailers_only)
            .field("pushback_jitter", &self.pushback_jitter)
            .field("error_domain", &self.error_domain)
            .finish_non_exhaustive()
    }
}
