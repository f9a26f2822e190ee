//! Answers to decisions that no layer has made.

#[cfg(feature = "axum")]
use axum::{body::Body, response::IntoResponse};
use http::Response;

#[cfg(feature = "axum")]
use crate::http::add_fields;
use crate::{
    http::{Refusal, RefusalBody, ResponseOptions},
    limiter::Decision,
    request::RequestView,
};

impl Decision {
    /// Returns the answer that a layer would give to a denied request, in the protocol of its caller; none if it was
    /// admitted.
    ///
    /// ```
    /// use http::Request;
    /// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
    ///
    /// let account = key::header("x-account-id");
    /// let rule = Rule::new("reports").every_request().key(account).level("account");
    /// let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_hour(1))).build()?;
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
        (!self.is_admitted()).then(|| Refusal::Denied(self).answer(request, &ResponseOptions::default()))
    }
}

/// A denial becomes what a layer answers on HTTP, whatever the protocol of the caller is: for gRPC there is
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
/// let rule = Rule::new("reports").every_request().key(key::constant("")).level("account");
/// let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_hour(1))).build()?;
/// assert_eq!(report(State(limiter.clone())).await.status(), 200);
/// assert_eq!(report(State(limiter)).await.status(), 429);
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "axum")]
impl IntoResponse for Decision {
    fn into_response(self) -> axum::response::Response {
        let style = ResponseOptions::default();
        if self.is_admitted() {
            let mut response = Response::new(Body::empty());
            add_fields(&mut response, &self, &style);
            return response;
        }
        let refusal = Refusal::Denied(&self);
        refusal.told(refusal.response(), &style).map(Body::new)
    }
}
