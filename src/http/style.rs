//! How decisions are shown to callers.

use std::{borrow::Cow, fmt, sync::Arc};

use bytes::Bytes;
use http::Response;

use crate::{http::Refusal, store::Told};

/// What `X-RateLimit-Reset` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LegacyReset {
    /// Seconds since 1970, as GitHub sends it.
    Epoch,
    /// Seconds from now, as Envoy sends it.
    Delta,
}

/// What happens to a `RateLimit` or `RateLimit-Policy` field that the inner service has set itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnConflict {
    /// It stays and ours is not sent.
    #[default]
    Keep,
    /// Ours replaces it.
    Replace,
    /// Ours is sent in a line of its own, unless one of its names is in use already.
    Merge,
}

/// A closure that makes the answer to a refused HTTP request.
pub(crate) type OnDenied = dyn Fn(&Refusal<'_>) -> Response<Bytes> + Send + Sync;

/// The choices of one layer.
#[derive(Clone)]
pub(crate) struct Style {
    pub(crate) fields: bool,
    pub(crate) in_request: bool,
    pub(crate) in_response: bool,
    pub(crate) legacy: Option<LegacyReset>,
    pub(crate) on_conflict: OnConflict,
    pub(crate) on_denied: Option<Arc<OnDenied>>,
    pub(crate) fields_in_trailers_only: bool,
    /// In percent of the wait.
    pub(crate) pushback_jitter: u8,
    pub(crate) error_domain: Cow<'static, str>,
}

impl Style {
    /// What it needs to know of the quotas.
    pub(crate) const fn told(&self) -> Told {
        if self.tells_of_admissions() { Told::Always } else { Told::IfDenied }
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
            on_denied: None,
            fields_in_trailers_only: false,
            pushback_jitter: 10,
            error_domain: Cow::Borrowed("tower-quota"),
        }
    }
}

impl fmt::Debug for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Style")
            .field("fields", &self.fields)
            .field("in_request", &self.in_request)
            .field("in_response", &self.in_response)
            .field("legacy", &self.legacy)
            .field("on_conflict", &self.on_conflict)
            .field("on_denied", &self.on_denied.as_ref().map(|_| format_args!("closure")))
            .field("fields_in_trailers_only", &self.fields_in_trailers_only)
            .field("pushback_jitter", &self.pushback_jitter)
            .field("error_domain", &self.error_domain)
            .finish()
    }
}
