//! Answers to refused requests, in the protocol of their callers, and to decisions that no layer has made.

#[cfg(feature = "axum")]
use std::sync::Arc;

#[cfg(feature = "axum")]
use axum::{body::Body as AxumBody, response::IntoResponse};
use http::{Method, Response, header::CONTENT_LENGTH};
use http_body::Body;

#[cfg(feature = "axum")]
use crate::http::{AdmissionOptions, add_fields};
use crate::{
    grpc::{Code, DeniedStatus, Protocol, Status},
    http::{Refusal, RefusalBody, ResponseOptions, add_fields_of_refusal},
    limiter::Decision,
    observe::Check,
    request::RequestView,
    warn::Warning,
};

/// The one place where the protocol of an answer is chosen.
impl Refusal<'_> {
    /// Returns the answer, in the protocol of the caller.
    pub(crate) fn answer(&self, request: &RequestView<'_>, options: &ResponseOptions) -> Response<RefusalBody> {
        if request.is_preflight() {
            self.warn_of_preflight(options);
        }
        match options.settings.protocol.resolve(request) {
            Protocol::Http => self.with_decision(self.http_answer(request, options), options),
            protocol => self.trailers_only(protocol, options),
        }
    }

    /// Returns the answer to a gRPC call.
    pub(crate) fn grpc_answer(&self, options: &ResponseOptions) -> Response<RefusalBody> {
        self.trailers_only(Protocol::Grpc, options)
    }

    /// Returns the status with which a refused gRPC call ends.
    pub(crate) fn grpc_status(&self, options: &ResponseOptions) -> Status {
        match self {
            Self::Denied(decision) => {
                let (domain, pushback_jitter) = (&*options.settings.error_domain, options.settings.pushback_jitter);
                DeniedStatus { decision, domain, pushback_jitter }.status()
            }
            Self::Unavailable(_) => Status::new(Code::Unavailable, &self.message()),
            Self::KeyMissing { .. } | Self::NotGrpc => Status::new(Code::from_http(self.status()), &self.message()),
        }
    }

    /// Adds to an answer, in any protocol, the header fields and the extension that are made of a decision.
    fn with_decision(&self, mut answer: Response<RefusalBody>, options: &ResponseOptions) -> Response<RefusalBody> {
        if let Self::Denied(decision) = *self {
            add_fields_of_refusal(&mut answer, decision, options);
            answer.extensions_mut().insert(decision.clone());
        }
        answer
    }

    fn trailers_only(&self, protocol: Protocol<'_>, options: &ResponseOptions) -> Response<RefusalBody> {
        let answer = self.grpc_status(options).trailers_only(protocol);
        self.with_decision(answer.map(RefusalBody::from_bytes), options)
    }

    fn http_answer(&self, request: &RequestView<'_>, options: &ResponseOptions) -> Response<RefusalBody> {
        let answer = options
            .on_refusal
            .as_ref()
            .map_or_else(|| self.response_as(options.settings.format), |answer| answer(self, request));
        if request.method() == Method::HEAD { without_body(answer) } else { answer }
    }

    #[cold]
    fn warn_of_preflight(&self, options: &ResponseOptions) {
        let names = match *self {
            Self::Denied(decision) => decision.worst().map(|quota| (quota.rule(), quota.level())),
            Self::KeyMissing { rule, level, .. } => Some((rule, level)),
            Self::Unavailable(_) | Self::NotGrpc => None,
        };
        if let (Some(about), Some(observer)) = (names, &options.observer)
            && options.given.is_first(Check::PreflightRefused)
        {
            observer.warn(&Warning::PreflightRefused, Some(about));
        }
    }
}

/// Makes the answer to HEAD of that to GET: it has the length of the body instead of the body (RFC 9110, section 9.3.2).
fn without_body(mut answer: Response<RefusalBody>) -> Response<RefusalBody> {
    let body = std::mem::take(answer.body_mut());
    if let Some(length) = body.size_hint().exact() {
        answer.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    answer
}

impl Decision {
    /// Returns the answer that a layer would give to a denied request, in the protocol of its caller, or `None` if the
    /// request was admitted.
    ///
    /// ```
    /// use http::Request;
    /// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
    ///
    /// let account = key::header("x-account-id");
    /// let rule = Rule::new("reports").every_request().key(account).level("account");
    /// let rule = rule.policy(Policy::per_hour(1));
    /// let limiter = RateLimiter::builder().rule(rule).build()?;
    ///
    /// let request = Request::get("/reports").body(())?;
    /// let view = RequestView::new(&request);
    /// assert!(limiter.rule("reports")?.check("acme").refusal(&view).is_none());
    /// let refused = limiter.rule("reports")?.check("acme").refusal(&view);
    /// let refused = refused.ok_or("the hour has room for one")?;
    /// assert_eq!(refused.status(), 429);
    /// assert_eq!(refused.headers()["retry-after"], "3600");
    /// assert!(refused.headers().contains_key("ratelimit"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn refusal(&self, request: &RequestView<'_>) -> Option<Response<RefusalBody>> {
        let answer =
            || Refusal::Denied(self).answer(request, &ResponseOptions::from_settings(self.response_settings()));
        (!self.is_admitted()).then(answer)
    }
}

/// Turns a denial into the answer that a layer gives on HTTP, whatever the protocol of the caller is: for gRPC there is
/// [`Decision::refusal`]. An admission becomes an empty 200 with the `RateLimit` fields.
///
/// ```
/// use axum::{extract::State, response::{IntoResponse, Response}};
/// use tower_quota::{Policy, RateLimiter, Rule, key};
///
/// async fn report(State(limiter): State<RateLimiter>) -> Response {
///     match limiter.rule("reports").map(|reports| reports.check("acme")) {
///         Ok(decision) if decision.is_admitted() => "a report".into_response(),
///         Ok(denied) => denied.into_response(),
///         Err(_) => http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let rule = Rule::new("reports").every_request().key(key::constant(""));
/// let rule = rule.level("account").policy(Policy::per_hour(1));
/// let limiter = RateLimiter::builder().rule(rule).build()?;
/// assert_eq!(report(State(limiter.clone())).await.status(), 200);
/// assert_eq!(report(State(limiter)).await.status(), 429);
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "axum")]
impl IntoResponse for Decision {
    fn into_response(self) -> axum::response::Response {
        let options = Arc::new(ResponseOptions::from_settings(self.response_settings()));
        if self.is_admitted() {
            let mut response = Response::new(AxumBody::empty());
            add_fields(&mut response, &self, &AdmissionOptions::new(&options));
            return response;
        }
        let refusal = Refusal::Denied(&self);
        refusal.with_decision(refusal.response(), &options).map(AxumBody::new)
    }
}
