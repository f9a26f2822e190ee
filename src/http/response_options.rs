//! The options of a layer: how decisions are shown to callers.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use http::{
    HeaderName, Method, Response,
    header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};

use crate::{
    grpc::Protocol,
    http::{Headers, Refusal, RefusalBody},
    request::RequestView,
    store::Detail,
    warn::WarnOnce,
};

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

/// A closure that makes the answer to a refused HTTP request.
pub(crate) type OnRefusal = dyn Fn(&Refusal<'_>, &RequestView<'_>) -> Response<RefusalBody> + Send + Sync;

/// A closure that returns the time since 1970.
pub(crate) type Calendar = dyn Fn() -> Duration + Send + Sync;

/// The options of one layer.
#[derive(Clone)]
pub(crate) struct ResponseOptions {
    pub(crate) headers: Headers,
    /// Names the rules in shadow that would deny the request.
    pub(crate) shadow_field: Option<HeaderName>,
    /// Needed by `X-RateLimit-Reset` alone, which may be a point in time.
    pub(crate) calendar: Option<Arc<Calendar>>,
    pub(crate) decision: DecisionIn,
    pub(crate) on_conflict: OnConflict,
    pub(crate) protocol: CallerProtocol,
    /// Whether rules apply to CORS preflights.
    pub(crate) limits_preflights: bool,
    pub(crate) on_refusal: Option<Arc<OnRefusal>>,
    /// In percent of the wait.
    pub(crate) pushback_jitter: u8,
    pub(crate) error_domain: Cow<'static, str>,
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

impl DecisionIn {
    pub(crate) const fn request(self) -> bool {
        matches!(self, Self::Request | Self::Both)
    }

    pub(crate) const fn response(self) -> bool {
        matches!(self, Self::Response | Self::Both)
    }
}

impl ResponseOptions {
    /// Returns how much a decision has to report of the quotas.
    pub(crate) const fn detail(&self) -> Detail {
        if self.show_quotas() { Detail::Full } else { Detail::OnDenial }
    }

    /// Returns whether a request passes without a decision.
    pub(crate) fn exempt(&self, request: &RequestView<'_>) -> bool {
        !self.limits_preflights && is_preflight(request)
    }

    /// Returns whether decisions that admit requests are shown, in header fields or extensions.
    pub(crate) const fn show_admissions(&self) -> bool {
        self.show_quotas() || self.shadow_field.is_some()
    }

    /// Returns whether decisions that admit requests are shown with the state of each quota.
    const fn show_quotas(&self) -> bool {
        self.headers.show_admissions() || !matches!(self.decision, DecisionIn::Neither)
    }

    /// Returns the time since 1970.
    pub(crate) fn since_1970(&self) -> Duration {
        self.calendar.as_ref().map_or_else(Duration::default, |calendar| calendar())
    }
}

impl Default for ResponseOptions {
    fn default() -> Self {
        Self {
            headers: Headers::default(),
            shadow_field: None,
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
            .field("shadow_field", &self.shadow_field)
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

/// Returns whether a request is a CORS preflight: OPTIONS with `Origin` and `Access-Control-Request-Method` (the Fetch
/// standard, CORS-preflight fetch).
///
/// A preflight never carries what the page would send: no account, no cookie.
pub(super) fn is_preflight(request: &RequestView<'_>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}
