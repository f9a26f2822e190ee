//! Reasons to refuse an HTTP request, and the standard answers.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};

use crate::{
    error::Unavailable,
    http::{RefusalBody, RefusalFormat},
    limiter::{Decision, QuotaStatus, missing_key},
    wire::{document, never_possible, quota_exceeded},
};

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const REDUCED_CAPACITY: &str = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
const REDUCED_CAPACITY_TITLE: &str = "Request cannot be satisfied due to temporary server capacity constraints";

/// The text for callers if the store cannot decide. It does not reveal why.
const UNAVAILABLE: &str = "The rate limit cannot be checked at the moment. Please try again later.";
const NOT_GRPC: &str = "The messages of this method are limited: its content type has to be application/grpc.";

/// The reason why an HTTP request is refused.
///
/// The closure of [`RateLimitLayer::on_refusal`](crate::RateLimitLayer::on_refusal) makes an answer of it.
///
/// ```
/// use tower_quota::http::Refusal;
///
/// fn text(refusal: &Refusal<'_>) -> String {
///     match refusal {
///         Refusal::Denied(_) => "slow down".to_owned(),
///         other => other.message(),
///     }
/// }
///
/// assert!(text(&Refusal::NotGrpc).contains("application/grpc"));
/// assert_eq!(Refusal::NotGrpc.status(), 415);
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Refusal<'a> {
    /// A quota is exhausted, or the request costs [more than it admits](Decision::is_never_possible). Nothing was charged, unless
    /// the policy [counts denials](crate::Policy::count_denied).
    Denied(&'a Decision),
    /// The request does not carry the key of a rule that [rejects such requests](crate::OnMissing::Reject).
    /// Nothing was charged.
    #[non_exhaustive]
    KeyMissing {
        /// The rule.
        rule: &'a str,
        /// The name of the enforcement level, whose key the request does not carry.
        level: &'a str,
        /// The status that the rule responds with.
        status: StatusCode,
    },
    /// The store could not decide, and the limiter fails closed.
    Unavailable(&'a Unavailable),
    /// The messages of the request would be [charged](crate::RateLimitLayer::per_message), but its content type is not gRPC's.
    NotGrpc,
}

impl<'a> Refusal<'a> {
    pub(crate) const fn key_missing((rule, level): (&'a str, &'a str), status: StatusCode) -> Self {
        Self::KeyMissing { rule, level, status }
    }

    /// Returns the decision that denied the request, or `None` if the request was refused for another reason.
    #[must_use]
    pub const fn decision(&self) -> Option<&'a Decision> {
        match *self {
            Self::Denied(decision) => Some(decision),
            Self::KeyMissing { .. } | Self::Unavailable(_) | Self::NotGrpc => None,
        }
    }

    /// Returns how long until the request would be admitted if no other requests came, or `None` if that is not known, or if
    /// it never would be.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.decision().and_then(Decision::retry_after)
    }

    /// Returns the text for the caller.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Denied(decision) => decision.message().unwrap_or_default(),
            Self::KeyMissing { level, .. } => missing_key(level),
            Self::Unavailable(_) => UNAVAILABLE.to_owned(),
            Self::NotGrpc => NOT_GRPC.to_owned(),
        }
    }

    /// Returns the status of the standard answer: 429 or [another](crate::RateLimiterBuilder::denied_status) if a quota is
    /// exhausted, 413 or [another](crate::RateLimiterBuilder::never_possible) if the request costs more than it admits, 503, 415,
    /// or the one of the rule.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Denied(decision) if decision.is_never_possible() => decision.response_settings().never_possible,
            Self::Denied(decision) => decision.response_settings().denied_status,
            Self::KeyMissing { status, .. } => *status,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotGrpc => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    /// Returns the standard answer, to start from: a problem document, or what the limiter's
    /// [`refusal_format`](crate::RateLimiterBuilder::refusal_format) says if a quota is exhausted.
    ///
    /// The layer adds the `RateLimit` fields of a denied request, and `Retry-After` unless it is never possible.
    #[must_use]
    pub fn response(&self) -> Response<RefusalBody> {
        let format = self.decision().map(|decision| decision.response_settings().format);
        self.response_as(format.unwrap_or_default())
    }

    /// Returns the standard answer in this format.
    ///
    /// ```
    /// use http::header::CONTENT_TYPE;
    /// use tower_quota::http::{Refusal, RefusalFormat};
    ///
    /// let answer = Refusal::NotGrpc.response_as(RefusalFormat::Text);
    /// assert_eq!(answer.status(), 415);
    /// assert_eq!(answer.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
    /// ```
    #[must_use]
    pub fn response_as(&self, format: RefusalFormat) -> Response<RefusalBody> {
        let (content_type, body) = match format {
            RefusalFormat::Problem => (Some(PROBLEM_JSON), self.document()),
            RefusalFormat::Text => (Some(TEXT), self.message().into()),
            RefusalFormat::Empty => (None, Bytes::new()),
        };
        let mut response = Response::new(RefusalBody::from_bytes(body));
        *response.status_mut() = self.status();
        if let Some(content_type) = content_type {
            response.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        if matches!(self, Self::Unavailable(_)) {
            // The outage may be over in a second.
            response.headers_mut().insert(RETRY_AFTER, 1.into());
        }
        response
    }

    fn document(&self) -> Bytes {
        let status = self.status();
        match self {
            Self::Denied(decision) => decision.prepared_body().unwrap_or_else(|| denied(status, decision)),
            Self::Unavailable(_) => document(status, REDUCED_CAPACITY, REDUCED_CAPACITY_TITLE, UNAVAILABLE, ""),
            // These have no `Retry-After`: waiting would not help.
            Self::KeyMissing { .. } | Self::NotGrpc => {
                let title = status.canonical_reason().unwrap_or("Refused");
                document(status, "about:blank", title, &self.message(), "")
            }
        }
    }
}

fn denied(status: StatusCode, decision: &Decision) -> Bytes {
    let exhausted = decision.tightest().filter(QuotaStatus::is_exhausted);
    let exhausted: Vec<&str> = exhausted.map(|quota| quota.policy_name()).collect();
    let message = decision.message().unwrap_or_default();
    match decision.worst().filter(QuotaStatus::is_never_possible) {
        Some(quota) => never_possible(status, &message, &exhausted, (quota.cost(), quota.limit(), quota.unit())),
        None => quota_exceeded(status, &message, &exhausted),
    }
}
