//! The settings of responses that need no code.

use std::borrow::Cow;

use http::{HeaderName, StatusCode};

use crate::{error::ConfigError, response::Headers};

/// The treatment of fields that the inner service has set itself, if it has set any field of a set.
///
/// `RateLimit` and `RateLimit-Policy` are one set (with `RateLimit-Limit`, `-Remaining` and `-Reset`, which they were in
/// older drafts), and [`X-RateLimit-*`](crate::http::Headers::with_legacy) are another. All fields of a set come from one
/// limiter.
///
/// Refusals of the inner service are left as they are in any case: 429, 503, other errors with a `Retry-After`, and their
/// equivalents in gRPC.
///
/// ```
/// use tower_quota::{Policy, RateLimitLayer, http::OnConflict, key};
///
/// let layer = RateLimitLayer::new(key::peer_ip(), Policy::per_minute(60))?;
/// let layer = layer.on_conflict(OnConflict::Replace);
/// # let _ = layer;
/// assert_eq!(OnConflict::default(), OnConflict::Keep);
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnConflict {
    /// Keeps the fields of the inner service, and sends none of ours.
    #[default]
    Keep,
    /// Replaces them by ours.
    Replace,
    /// Sends ours in lines of their own, unless one of their names is in use already, or the fields of the inner service are
    /// not those of the current draft. `X-RateLimit-*` cannot be merged: those of the inner service are kept.
    Merge,
}

/// The protocol in which refused callers are answered.
///
/// ```
/// use tower_quota::{Policy, RateLimitLayer, http::CallerProtocol, key};
///
/// // A service that does not serve gRPC.
/// let layer = RateLimitLayer::new(key::peer_ip(), Policy::per_minute(60))?;
/// let layer = layer.caller_protocol(CallerProtocol::Http);
/// # let _ = layer;
/// assert_eq!(CallerProtocol::default(), CallerProtocol::ByContentType);
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallerProtocol {
    /// Answers in gRPC if the request is a POST of the type `application/grpc` or gRPC-Web, and otherwise in HTTP. Right for
    /// ports that serve both, as long as callers state their content type.
    #[default]
    ByContentType,
    /// Answers in HTTP, whatever the request claims to be.
    Http,
    /// Answers in gRPC or gRPC-Web, whatever the request claims to be.
    Grpc,
}

/// The extensions that the [`Decision`](crate::Decision) about an admitted request is put into.
///
/// Each of them costs up to three small allocations. Refusals carry their decision in any case.
///
/// ```
/// use http::{Request, Response};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_quota::{Decision, Policy, RateLimitLayer, http::DecisionIn, key};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = RateLimitLayer::new(key::constant("all"), Policy::per_minute(60))?;
/// let layer = layer.decision(DecisionIn::Response);
/// let service = layer.layer(service_fn(async |request: Request<()>| {
///     assert!(request.extensions().get::<Decision>().is_none());
///     Ok::<_, std::io::Error>(Response::new(String::new()))
/// }));
///
/// let response = service.oneshot(Request::new(())).await?;
/// assert!(response.extensions().get::<Decision>().is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecisionIn {
    /// The request's extensions: for the handler and the layers further in.
    #[default]
    Request,
    /// The response's extensions: for the layers further out.
    ///
    /// Layers further in do not learn of this one then: where the same limiter is
    /// [mounted twice](crate::RateLimitLayer#mounted-twice), each request is charged twice.
    Response,
    /// The request's and the response's.
    Both,
    /// No extensions. As with [`Response`](Self::Response), a limiter that is mounted twice charges twice.
    Neither,
}

/// The body of a refusal on HTTP. gRPC callers get a gRPC status in any case.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, http::RefusalFormat};
///
/// let calls = Rule::new("calls").no_requests().policy(Policy::per_minute(60));
/// let limiter = RateLimiter::builder().rule(calls).refusal_format(RefusalFormat::Text);
/// assert!(limiter.build().is_ok());
/// assert_eq!(RefusalFormat::default(), RefusalFormat::Problem);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalFormat {
    /// A problem document (RFC 9457), of the type `application/problem+json`.
    #[default]
    Problem,
    /// The [message](crate::http::Refusal::message) alone, of the type `text/plain`.
    Text,
    /// No body.
    Empty,
}

/// The settings of responses that need no code: what a limiter's layers begin with.
#[derive(Clone, Debug)]
pub(crate) struct ResponseSettings {
    pub(crate) headers: Headers,
    /// The field that names the rules in shadow that would deny the request.
    pub(crate) shadow_field: Option<HeaderName>,
    pub(crate) decision: DecisionIn,
    pub(crate) on_conflict: OnConflict,
    pub(crate) protocol: CallerProtocol,
    /// Whether rules apply to CORS preflights.
    pub(crate) limits_preflights: bool,
    /// In percent of the wait.
    pub(crate) pushback_jitter: u8,
    pub(crate) error_domain: Cow<'static, str>,
    /// The status of a denial on HTTP.
    pub(crate) denied_status: StatusCode,
    /// The status of a denial that no wait ends.
    pub(crate) never_possible: StatusCode,
    pub(crate) format: RefusalFormat,
}

impl DecisionIn {
    pub(crate) const fn request(self) -> bool {
        matches!(self, Self::Request | Self::Both)
    }

    pub(crate) const fn response(self) -> bool {
        matches!(self, Self::Response | Self::Both)
    }
}

impl ResponseSettings {
    /// Returns whether decisions that admit requests are shown, in header fields or extensions.
    pub(crate) const fn show_admissions(&self) -> bool {
        self.show_quotas() || self.shadow_field.is_some()
    }

    /// Returns whether decisions that admit requests are shown with the state of each quota.
    pub(crate) const fn show_quotas(&self) -> bool {
        self.headers.show_admissions() || !matches!(self.decision, DecisionIn::Neither)
    }

    /// Rejects statuses that would not be taken for a refusal.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        check_refusal("denied_status", self.denied_status, "429")?;
        check_refusal("never_possible", self.never_possible, "413")
    }
}

impl Default for ResponseSettings {
    fn default() -> Self {
        Self {
            headers: Headers::default(),
            shadow_field: None,
            decision: DecisionIn::default(),
            on_conflict: OnConflict::default(),
            protocol: CallerProtocol::default(),
            limits_preflights: true,
            pushback_jitter: 10,
            error_domain: Cow::Borrowed("tower-quota"),
            denied_status: StatusCode::TOO_MANY_REQUESTS,
            never_possible: StatusCode::PAYLOAD_TOO_LARGE,
            format: RefusalFormat::default(),
        }
    }
}

fn check_refusal(field: &str, status: StatusCode, instead: &str) -> Result<(), ConfigError> {
    if status.is_client_error() || status.is_server_error() {
        return Ok(());
    }
    let reason = format!("a refusal has a status from 400 to 599: write one such as {instead}");
    Err(ConfigError::new(field, status.as_u16(), reason))
}
