//! The layer.

use std::sync::Arc;

use http::Response;
use tower_layer::Layer;

use crate::{
    error::ConfigError,
    http::{
        Calendar, CallerProtocol, DecisionIn, Headers, OnConflict, OnRefusal, RateLimit, Refusal, RefusalBody,
        ResponseOptions,
    },
    key::KeyExtractor,
    limiter::RateLimiter,
    policy::Policy,
    request::{Http, RequestView},
    rule::Rule,
    store::{MemoryStore, Store},
};

/// Admits the requests that the rules of a [`RateLimiter`] have room for, and answers the others itself.
///
/// See the [crate docs](crate) for its use. It needs no type parameter, unless the histories are in another store `T`: keep it
/// in a struct, return it from a function.
/// All services it makes share one state, and so do its clones.
///
/// # CORS
///
/// Before a page sends a request with a header field of its own, the browser asks with a *preflight*, which carries no key:
/// those of all pages share one history, and when that is used up every page stops. And a page can read an answer, also that it
/// was refused, only if the answer has CORS fields. So the limiter belongs inside of the layer that adds these, which answers
/// preflights itself, and that layer has to expose what the page is to read:
///
/// ```
/// use axum::{Router, routing::get};
/// use http::{HeaderName, header::RETRY_AFTER};
/// use tower_http::cors::{Any, CorsLayer};
/// use tower_quota::{Policy, RateLimitLayer, key};
///
/// let told = [RETRY_AFTER, HeaderName::from_static("ratelimit"), HeaderName::from_static("ratelimit-policy")];
/// let app: Router = Router::new()
///     .route("/cases", get(async || "cases"))
///     .layer(RateLimitLayer::new(key::header("x-account-id"), Policy::per_minute(60))?)
///     // What is added later is further out.
///     .layer(CorsLayer::new().allow_origin(Any).allow_headers(Any).expose_headers(told));
/// # let _ = app;
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
///
/// If the limiter has to be outside, see [`limit_preflights`](Self::limit_preflights). A preflight that is refused is a
/// [warning](crate#warnings).
///
/// # Mounted twice
///
/// A request that passes two layers of one limiter is charged once. The outer one leaves a note in the
/// [`Decision`](crate::Decision) among the request's extensions, of what was charged to whom, and the inner one takes nothing
/// but this for done: if a layer between has found out who the caller is, or leads the request to another rule, that key and that
/// rule are charged as well. A rule that knew the caller needs no key a second time.
///
/// The note is bound to the very request. It does not go with a copy: not with a clone of the request, of its extensions or of
/// the decision. So attempts that are repeated between two layers are charged from the second one on, which is a copy; and a layer
/// between that sends on a copy in place of the request has it charged twice.
///
/// # Batches
///
/// For the same reason each part of a batch pays for itself, with its own key, whatever a handler copies from the request that the
/// batch came in. That request is charged too, at the layer that it passed; leave its route out of the rules if only the parts are
/// to count.
///
/// ```
/// # use http::{Request, Response};
/// # use tower::{Layer, ServiceExt, service_fn};
/// use tower_quota::{Policy, RateLimiter, Rule, key};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = RateLimiter::builder()
///     .rule(
///         Rule::new("calls")
///             .every_request()
///             .key(key::header("x-account-id"))
///             .level("account")
///             .policy(Policy::per_minute(3)),
///     )
///     .build()?;
///
/// let items = limiter.layer().layer(service_fn(async |_: Request<()>| Ok::<_, std::io::Error>(Response::new(String::new()))));
/// let batch = limiter.layer().layer(service_fn(move |batch: Request<()>| {
///     let items = items.clone();
///     async move {
///         let mut statuses = Vec::new();
///         for account in ["acme", "acme", "acme", "zeta"] {
///             let mut part = Request::get("/item").header("x-account-id", account).body(()).map_err(std::io::Error::other)?;
///             *part.extensions_mut() = batch.extensions().clone(); // the claims, the peer, and no pass
///             statuses.push(items.clone().oneshot(part).await?.status().as_u16());
///         }
///         Ok::<_, std::io::Error>(Response::new(format!("{statuses:?}")))
///     }
/// }));
///
/// // The batch itself is the first of acme's three.
/// let answer = batch.oneshot(Request::post("/batch").header("x-account-id", "acme").body(())?).await?;
/// # let body = http_body_util::BodyExt::collect(answer.into_body()).await;
/// # let body = body.map_err(|error| error.to_string())?.to_bytes();
/// assert_eq!(body, "[200, 200, 429, 200]");
/// # Ok(())
/// # }
/// ```
///
/// Who dispatches the parts without a service asks a [rule](RateLimiter::rule), or for all of them together `check_all`.
#[derive(Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RateLimitLayer<T = MemoryStore> {
    /// None if every request passes.
    limiter: Option<RateLimiter<Http, T>>,
    style: Arc<ResponseOptions>,
}

impl RateLimitLayer {
    /// Creates a limiter of one rule for every request: one policy for every key that `extractor` reads.
    ///
    /// # Errors
    ///
    /// If the extractor or the policy cannot be used, such as with a limit of zero.
    pub fn new(extractor: impl KeyExtractor, policy: impl Into<Policy>) -> Result<Self, ConfigError> {
        let rule = Rule::new("default").every_request().key(extractor).policy(policy);
        Ok(RateLimiter::builder().rule(rule).build()?.into())
    }

    /// Lets every request pass: for a limit that is switched on or off by a setting.
    ///
    /// `tower::util::option_layer` is no help there, because the layer changes the type of the response's body. This one has the
    /// same type whether it limits or not. With a limiter that may not be there, use [`from`](Self::from).
    ///
    /// ```
    /// use tower_quota::{ConfigError, Policy, RateLimitLayer, key};
    ///
    /// fn limit(per_minute: Option<u32>) -> Result<RateLimitLayer, ConfigError> {
    ///     let Some(limit) = per_minute else { return Ok(RateLimitLayer::disabled()) };
    ///     RateLimitLayer::new(key::peer_ip(), Policy::per_minute(limit))
    /// }
    ///
    /// assert!(limit(Some(60))?.limiter().is_some());
    /// assert!(limit(None)?.limiter().is_none());
    /// assert!(limit(Some(0)).is_err());
    /// # Ok::<(), ConfigError>(())
    /// ```
    pub fn disabled() -> Self {
        None.into()
    }
}

impl<T: Store> RateLimitLayer<T> {
    /// Chooses the header fields that tell callers of quotas: [`Headers::rate_limit`] by default.
    ///
    /// Redirects and 401 never have any, nor have refusals of the inner service.
    pub fn headers(mut self, headers: Headers) -> Self {
        let limiter = self.limiter.clone();
        let style = Arc::make_mut(&mut self.style);
        style.headers = headers;
        style.calendar = limiter.map(|limiter| Arc::new(move || limiter.store().since_1970()) as Arc<Calendar>);
        self
    }
}

impl<T> RateLimitLayer<T> {
    /// Chooses where the [`Decision`](crate::Decision) of an admitted request is put: [`DecisionIn::Request`] by default.
    pub fn decision(mut self, place: DecisionIn) -> Self {
        Arc::make_mut(&mut self.style).decision = place;
        self
    }

    /// What happens to `RateLimit` and `X-RateLimit` fields that the inner service has set itself; they are kept by default.
    pub fn on_conflict(mut self, outcome: OnConflict) -> Self {
        Arc::make_mut(&mut self.style).on_conflict = outcome;
        self
    }

    /// In which protocol the callers are answered whose requests go no further;
    /// [by the content type of the request](CallerProtocol::ByContentType) by default.
    ///
    /// A service that does not serve gRPC had better say so: else a caller who claims to speak it gets the refusal of a POST with
    /// status 200, which everybody who looks at the status alone takes for a success.
    pub fn caller_protocol(mut self, protocol: CallerProtocol) -> Self {
        Arc::make_mut(&mut self.style).protocol = protocol;
        self
    }

    /// Whether CORS preflights are limited: OPTIONS with `Origin` and `Access-Control-Request-Method`. On by default.
    ///
    /// A preflight carries no key but an address, so those of all pages share one history, and if it is refused then the page
    /// sends nothing. Where this layer is inside of the one that answers them they never get here (see [CORS](Self#cors)). If it
    /// has to be outside, switch this off; only then, or anybody can mark a request as a preflight and pass.
    pub fn limit_preflights(mut self, limited: bool) -> Self {
        Arc::make_mut(&mut self.style).limits_preflights = limited;
        self
    }

    /// Answers refused HTTP requests, for whatever reason they are, with what `answer` makes of them: status, header fields
    /// and a body of bytes (`Bytes`, `String`, axum's and others, see [`RefusalBody`]). gRPC callers are answered
    /// [as ever](crate#grpc), since they would not understand it.
    ///
    /// ```
    /// use axum::{Json, response::IntoResponse};
    /// use tower_quota::{Policy, RateLimitLayer, http::Refusal, key};
    ///
    /// let layer = RateLimitLayer::new(key::peer_ip(), Policy::per_minute(60))?;
    /// let layer = layer.on_refusal(|refusal, request| match refusal {
    ///     Refusal::Denied(_) => {
    ///         let error = [("path", request.uri().path()), ("error", "slow down")];
    ///         (refusal.status(), Json(error)).into_response()
    ///     }
    ///     // The standard answer.
    ///     other => other.response().into_response(),
    /// });
    /// # let _ = layer;
    /// # Ok::<(), tower_quota::ConfigError>(())
    /// ```
    ///
    /// To the answer of a [denied](Refusal::Denied) request `Retry-After` and the fields of [`headers`](Self::headers) are
    /// added, unless it has them. To change only the words, use
    /// [`RateLimiterBuilder::message`](crate::RateLimiterBuilder::message).
    pub fn on_refusal<B>(
        mut self,
        answer: impl Fn(&Refusal<'_>, &RequestView<'_>) -> Response<B> + Send + Sync + 'static,
    ) -> Self
    where
        B: Into<RefusalBody>,
    {
        let answer: Arc<OnRefusal> = Arc::new(move |refusal, request| answer(refusal, request).map(Into::into));
        Arc::make_mut(&mut self.style).on_refusal = Some(answer);
        self
    }

    /// How much longer than the wait a gRPC caller is told to stay away in `grpc-retry-pushback-ms`, at most, in percent
    /// of the wait; 10 by default. Clients come back after exactly that time, so each is told another one. With 0 all that
    /// are refused together come back together.
    pub fn pushback_jitter(mut self, percent: u8) -> Self {
        Arc::make_mut(&mut self.style).pushback_jitter = percent;
        self
    }

    /// The `domain` of the `google.rpc.ErrorInfo` in refusals of gRPC calls, usually a domain name of the service;
    /// `"tower-quota"` by default.
    pub fn error_domain(mut self, domain: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.style).error_domain = domain.into().into();
        self
    }

    /// The limiter behind this layer; none if it is [disabled](RateLimitLayer::disabled).
    #[must_use]
    pub const fn limiter(&self) -> Option<&RateLimiter<Http, T>> {
        self.limiter.as_ref()
    }

    pub(crate) const fn style(&self) -> &Arc<ResponseOptions> {
        &self.style
    }
}

impl<T> Clone for RateLimitLayer<T> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), style: Arc::clone(&self.style) }
    }
}

impl<T> From<RateLimiter<Http, T>> for RateLimitLayer<T> {
    fn from(limiter: RateLimiter<Http, T>) -> Self {
        Some(limiter).into()
    }
}

/// Without a limiter every request passes.
impl<T> From<Option<RateLimiter<Http, T>>> for RateLimitLayer<T> {
    fn from(limiter: Option<RateLimiter<Http, T>>) -> Self {
        Self { limiter, style: Arc::default() }
    }
}

impl<S, T> Layer<S> for RateLimitLayer<T> {
    type Service = RateLimit<S, T>;

    fn layer(&self, inner: S) -> RateLimit<S, T> {
        RateLimit::new(inner, self.limiter.clone(), Arc::clone(&self.style))
    }
}

impl<S: Store> RateLimiter<Http, S> {
    /// A layer that enforces the rules. It may be made many times: all share one state.
    pub fn layer(&self) -> RateLimitLayer<S> {
        RateLimitLayer::from(self.clone())
    }
}
