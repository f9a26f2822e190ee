//! The layer, which is also the builder of its options.

use std::sync::Arc;

use http::{HeaderName, Response};
use tower_layer::Layer;

use crate::{
    error::ConfigError,
    http::{
        Calendar, CallerProtocol, DecisionIn, Headers, Mount, OnConflict, OnRefusal, RateLimit, Refusal, RefusalBody,
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
/// See the [crate docs](crate) for its use. It needs no type parameter unless the histories are kept in another store `T`, so
/// it is easy to keep in a struct or to return from a function. All services that it makes share one state, and so do its
/// clones.
///
/// # CORS
///
/// Before a page sends a request with a header field of its own, the browser asks with a *preflight*, which carries no key:
/// the preflights of all pages share one history, and when its quota is exhausted every page stops. Besides, a page can read an
/// answer, even a refusal, only if it has CORS fields. So mount the limiter inside the layer that adds these fields: that layer
/// answers preflights itself, and has to expose the fields that the page is to read:
///
/// ```
/// use axum::{Router, routing::get};
/// use http::{HeaderName, header::RETRY_AFTER};
/// use tower_http::cors::{Any, CorsLayer};
/// use tower_quota::{Policy, RateLimitLayer, key};
///
/// let draft = ["ratelimit", "ratelimit-policy"].map(HeaderName::from_static);
/// let cors = CorsLayer::new().allow_origin(Any).allow_headers(Any);
/// let cors = cors.expose_headers([vec![RETRY_AFTER], draft.to_vec()].concat());
/// let limit = RateLimitLayer::new(key::header("x-account"), Policy::per_minute(60))?;
/// let app: Router = Router::new()
///     .route("/cases", get(async || "cases"))
///     .layer(limit)
///     // A layer that is added later is further out.
///     .layer(cors);
/// # let _ = app;
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
///
/// If the limiter has to be outside, see [`limit_preflights`](Self::limit_preflights). A preflight that is refused is a
/// [warning](crate#warnings).
///
/// # Mounted twice
///
/// A request that passes two layers of one limiter is charged once. The outer layer records the charged rules and keys in the
/// [`Decision`](crate::Decision) among the request's extensions, and the inner layer skips exactly these. If a layer in between
/// has identified the caller, or has routed the request to another rule, that key and that rule are charged as well. A rule that
/// was charged with a key further out does not need the key again.
///
/// The record is bound to the request itself. It is not copied with a clone of the request, of its extensions or of the
/// decision. So if a layer in between retries, each attempt after the first is a copy and is charged; and if a layer in between
/// forwards a copy instead of the request, the request is charged twice.
///
/// # Batches
///
/// For the same reason each part of a batch is charged by itself, with its own key, whatever a handler copies from the request
/// that contained the batch. That request is charged too, by the layer that it passed; leave its route out of the rules to
/// charge only the parts.
///
/// ```
/// # use http::{Request, Response};
/// # use tower::{Layer, ServiceExt, service_fn};
/// use tower_quota::{Policy, RateLimiter, Rule, key};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let rule = Rule::new("calls").every_request().key(key::header("x-account"));
/// let rule = rule.level("account").policy(Policy::per_minute(3));
/// let limiter = RateLimiter::builder().rule(rule).build()?;
///
/// let items = limiter.layer().layer(service_fn(async |_: Request<()>| {
///     Ok::<_, std::io::Error>(Response::new(String::new()))
/// }));
/// let batch = limiter.layer().layer(service_fn(move |batch: Request<()>| {
///     let items = items.clone();
///     async move {
///         let mut statuses = Vec::new();
///         for account in ["acme", "acme", "acme", "zeta"] {
///             let part = Request::get("/item").header("x-account", account).body(());
///             let mut part = part.map_err(std::io::Error::other)?;
///             // Copies the claims and the peer, but not the record of what was charged.
///             *part.extensions_mut() = batch.extensions().clone();
///             statuses.push(items.clone().oneshot(part).await?.status().as_u16());
///         }
///         Ok::<_, std::io::Error>(Response::new(format!("{statuses:?}")))
///     }
/// }));
///
/// // The batch itself is the first of acme's three.
/// let request = Request::post("/batch").header("x-account", "acme").body(())?;
/// let answer = batch.oneshot(request).await?;
/// # let body = http_body_util::BodyExt::collect(answer.into_body()).await;
/// # let body = body.map_err(|error| error.to_string())?.to_bytes();
/// assert_eq!(body, "[200, 200, 429, 200]");
/// # Ok(())
/// # }
/// ```
///
/// Handlers that dispatch the parts without a service can check a [rule](RateLimiter::rule), or all parts together with
/// [`check_all`](RateLimiter::check_all).
#[derive(Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RateLimitLayer<T = MemoryStore> {
    mount: Arc<Mount<T>>,
}

impl RateLimitLayer {
    /// Creates a limiter with one rule for every request: each key that `extractor` reads is held to `policy`.
    ///
    /// # Errors
    ///
    /// Returns an error if the extractor or the policy is invalid, such as a limit of zero.
    pub fn new(extractor: impl KeyExtractor, policy: impl Into<Policy>) -> Result<Self, ConfigError> {
        let rule = Rule::new("default").every_request().key(extractor).policy(policy);
        Ok(RateLimiter::builder().rule(rule).build()?.into())
    }

    /// Creates a layer that lets every request pass: for a limit that a setting switches on or off.
    ///
    /// `tower::util::option_layer` does not fit there, because the layer changes the type of the response's body. This layer has
    /// the same type whether it limits or not. To make one of an `Option<RateLimiter>`, use [`from`](Self::from).
    ///
    /// ```
    /// use tower_quota::{ConfigError, Policy, RateLimitLayer, key};
    ///
    /// fn limit(per_minute: Option<u64>) -> Result<RateLimitLayer, ConfigError> {
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

impl<T> RateLimitLayer<T> {
    /// Sets the header fields that describe quotas to callers. Defaults to [`Headers::rate_limit`].
    ///
    /// Redirects and 401 never have any, nor do refusals of the inner service.
    pub fn headers(mut self, headers: Headers) -> Self {
        self.options_mut().settings.headers = headers;
        self
    }

    /// Sets the extensions that the [`Decision`](crate::Decision) about an admitted request is put into. Defaults to
    /// [`DecisionIn::Request`].
    pub fn decision(mut self, extensions: DecisionIn) -> Self {
        self.options_mut().settings.decision = extensions;
        self
    }

    /// Sets a header field of responses that names the rules in [shadow](crate::Enforcement::Shadow) which would have denied the
    /// request. None by default: callers learn nothing of such rules.
    ///
    /// Responses that have no [quota fields](Self::headers) because of their status do not have it either.
    ///
    /// ```
    /// use http::{HeaderName, Request, Response};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_quota::{Enforcement, Policy, RateLimiter, Rule, key};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let rule = Rule::new("new").every_request().key(key::constant("all"));
    /// let rule = rule.policy(Policy::per_minute(1)).enforcement(Enforcement::Shadow);
    /// let limiter = RateLimiter::builder().rule(rule).build()?;
    /// let layer = limiter.layer().shadow_field(HeaderName::from_static("x-would-be-limited"));
    /// let service = layer.layer(service_fn(async |_: Request<()>| {
    ///     Ok::<_, std::io::Error>(Response::new(String::new()))
    /// }));
    ///
    /// let first = service.clone().oneshot(Request::new(())).await?;
    /// assert!(!first.headers().contains_key("x-would-be-limited"));
    /// let second = service.oneshot(Request::new(())).await?;
    /// assert_eq!((second.status().as_u16(), &second.headers()["x-would-be-limited"]), (200, &"new".parse()?));
    /// # Ok(())
    /// # }
    /// ```
    pub fn shadow_field(mut self, name: HeaderName) -> Self {
        self.options_mut().settings.shadow_field = Some(name);
        self
    }

    /// Sets the treatment of `RateLimit` and `X-RateLimit` fields that the inner service has set itself. Defaults to
    /// [`OnConflict::Keep`].
    pub fn on_conflict(mut self, treatment: OnConflict) -> Self {
        self.options_mut().settings.on_conflict = treatment;
        self
    }

    /// Sets the protocol in which refused callers are answered. Defaults to
    /// [the one of the request's content type](CallerProtocol::ByContentType).
    ///
    /// Set it to [`CallerProtocol::Http`] for services that do not serve gRPC. Otherwise callers that claim to speak gRPC get the
    /// refusal of a POST with status 200, which looks like a success to everything that reads only the status.
    pub fn caller_protocol(mut self, protocol: CallerProtocol) -> Self {
        self.options_mut().settings.protocol = protocol;
        self
    }

    /// Sets whether rules apply to CORS preflights: OPTIONS with `Origin` and `Access-Control-Request-Method`. On by default.
    ///
    /// A preflight carries no key except an address, so the preflights of all pages share one history, and a page whose preflight
    /// is refused sends nothing. Where this layer is inside the one that answers preflights, they never reach it (see
    /// [CORS](Self#cors)). Switch this off only if this layer has to be outside; otherwise any caller can disguise a request as
    /// a preflight and bypass the limit.
    ///
    /// To exempt preflights from one rule, from all layers of a limiter or in a file, use
    /// [`exempt::preflights`](crate::exempt::preflights): the same requests.
    pub fn limit_preflights(mut self, limited: bool) -> Self {
        self.options_mut().settings.limits_preflights = limited;
        self
    }

    /// Sets the closure that answers refused HTTP requests, whatever the reason: with a status, header fields and a body of
    /// bytes (`Bytes`, `String`, axum's and others, see [`RefusalBody`]). gRPC callers still get [a gRPC status](crate#grpc),
    /// since they would not understand anything else.
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
    /// `Retry-After` and the fields of [`headers`](Self::headers) are added to the answer to a [denied](Refusal::Denied)
    /// request, unless it has them. To change only the text, the status or the format, use
    /// [`RateLimiterBuilder::message`](crate::RateLimiterBuilder::message),
    /// [`denied_status`](crate::RateLimiterBuilder::denied_status) or
    /// [`refusal_format`](crate::RateLimiterBuilder::refusal_format).
    pub fn on_refusal<B>(
        mut self,
        answer: impl Fn(&Refusal<'_>, &RequestView<'_>) -> Response<B> + Send + Sync + 'static,
    ) -> Self
    where
        B: Into<RefusalBody>,
    {
        let answer: Arc<OnRefusal> = Arc::new(move |refusal, request| answer(refusal, request).map(Into::into));
        self.options_mut().on_refusal = Some(answer);
        self
    }

    /// Observes the bytes of responses' bodies in this unit: what each request has cost so far, for rules that
    /// [reserve](Rule::reserve) it and say [`Unsettled::Observed`](crate::Unsettled::Observed). None by default.
    ///
    /// For the bodies of requests there is [`CountedBody`](crate::http::CountedBody).
    ///
    /// ```
    /// use http::{Request, Response};
    /// use http_body_util::BodyExt;
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_quota::{Policy, RateLimiter, Rule, Unsettled, key};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let rule = Rule::new("downloads").every_request().key(key::constant("all")).policy(Policy::per_hour(1000));
    /// let rule = rule.reserve("bytes", 400).unsettled(Unsettled::Observed);
    /// let limiter = RateLimiter::builder().rule(rule).build()?;
    /// let layer = limiter.layer().observe_response_bytes("bytes");
    /// let service = layer.layer(service_fn(async |_: Request<()>| {
    ///     Ok::<_, std::io::Error>(Response::new("seven b".to_owned()))
    /// }));
    ///
    /// let response = service.oneshot(Request::new(())).await?;
    /// assert_eq!(response.headers()["ratelimit-policy"], "\"hour\";q=1000;qu=\"content-bytes\";w=3600");
    /// response.into_body().collect().await?;
    /// let left = limiter.rule("downloads")?.peek("all").quotas().next().map(|quota| quota.remaining());
    /// assert_eq!(left, Some(993));
    /// # Ok(())
    /// # }
    /// ```
    pub fn observe_response_bytes(mut self, unit: impl Into<String>) -> Self {
        self.options_mut().observed_unit = Some(unit.into().into());
        self
    }

    /// Sets the maximum jitter added to `grpc-retry-pushback-ms`, as a percentage of the wait. Defaults to 10.
    ///
    /// gRPC clients retry after exactly the stated time. Without jitter, those that were refused together retry together.
    pub fn pushback_jitter(mut self, percent: u8) -> Self {
        self.options_mut().settings.pushback_jitter = percent;
        self
    }

    /// Sets the `domain` of the `google.rpc.ErrorInfo` in refusals of gRPC calls, usually a domain name of the service.
    /// Defaults to `"tower-quota"`.
    pub fn error_domain(mut self, domain: impl Into<String>) -> Self {
        self.options_mut().settings.error_domain = domain.into().into();
        self
    }

    /// Returns the limiter behind this layer, or `None` if the layer is [disabled](RateLimitLayer::disabled).
    #[must_use]
    pub fn limiter(&self) -> Option<&RateLimiter<Http, T>> {
        self.mount.limiter.as_ref()
    }

    pub(crate) fn options(&self) -> &Arc<ResponseOptions> {
        &self.mount.options
    }

    fn options_mut(&mut self) -> &mut ResponseOptions {
        Arc::make_mut(&mut Arc::make_mut(&mut self.mount).options)
    }
}

impl<T> Clone for RateLimitLayer<T> {
    fn clone(&self) -> Self {
        Self { mount: Arc::clone(&self.mount) }
    }
}

impl<T: Store> From<RateLimiter<Http, T>> for RateLimitLayer<T> {
    fn from(limiter: RateLimiter<Http, T>) -> Self {
        Some(limiter).into()
    }
}

/// Makes a layer that lets every request pass if there is no limiter.
impl<T: Store> From<Option<RateLimiter<Http, T>>> for RateLimitLayer<T> {
    fn from(limiter: Option<RateLimiter<Http, T>>) -> Self {
        let options = limiter.as_ref().map_or_else(ResponseOptions::default, |limiter| ResponseOptions {
            calendar: Some(calendar(limiter.clone())),
            observer: Some(Arc::clone(&limiter.rules().rulebook.observation().observer)),
            ..ResponseOptions::from_settings(limiter.rules().rulebook.response_settings())
        });
        Self { mount: Arc::new(Mount { limiter, options: Arc::new(options) }) }
    }
}

/// Returns the closure that reads the time from the limiter's store.
fn calendar<T: Store>(limiter: RateLimiter<Http, T>) -> Arc<Calendar> {
    Arc::new(move || limiter.store().since_1970())
}

impl<S, T> Layer<S> for RateLimitLayer<T> {
    type Service = RateLimit<S, T>;

    fn layer(&self, inner: S) -> RateLimit<S, T> {
        RateLimit::new(inner, Arc::clone(&self.mount))
    }
}

impl<S: Store> RateLimiter<Http, S> {
    /// Creates a layer that enforces the rules. All layers of a limiter share one state.
    ///
    /// If the limiter is from a file, the layer begins with the settings in its tables `[headers]` and
    /// `[refusal]`. Each method of the layer replaces the setting of its name.
    pub fn layer(&self) -> RateLimitLayer<S> {
        RateLimitLayer::from(self.clone())
    }
}
