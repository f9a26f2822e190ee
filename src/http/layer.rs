//! The layer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Response;
use tower_layer::Layer;

use crate::{
    error::ConfigError,
    http::{Calendar, CallerProtocol, Enforced, Legacy, LegacyReset, OnConflict, RateLimit, Refusal, Style},
    key::KeyExtractor,
    limiter::RateLimiter,
    policy::Policy,
    request::Http,
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
///     .layer(RateLimitLayer::new(key::header("x-account-id"), Policy::per_minute(60)))
///     // What is added later is further out.
///     .layer(CorsLayer::new().allow_origin(Any).allow_headers(Any).expose_headers(told));
/// # let _ = app;
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
/// # let body = http_body_util::BodyExt::collect(answer.into_body()).await?.to_bytes();
/// assert_eq!(body, "[200, 200, 429, 200]");
/// # Ok(())
/// # }
/// ```
///
/// Who dispatches the parts without a service asks a [rule](RateLimiter::rule), or for all of them together `check_all`.
#[derive(Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RateLimitLayer<T = MemoryStore> {
    enforced: Enforced<T>,
    style: Arc<Style>,
}

impl RateLimitLayer {
    /// One policy for every key that `extractor` reads: a limiter of one rule for every request.
    ///
    /// For a policy written out in code. If it holds a mistake (a limit or a window of zero) then every request is
    /// answered with 500 and the mistake: never is a limit silently left out. With numbers from elsewhere use
    /// [`try_new`](Self::try_new).
    pub fn new(extractor: impl KeyExtractor, policy: impl Into<Policy>) -> Self {
        Self::of(Self::limiter_of(extractor, policy.into()).into())
    }

    /// As [`new`](Self::new), with mistakes returned.
    ///
    /// # Errors
    ///
    /// If the extractor or the policy cannot be used.
    pub fn try_new(extractor: impl KeyExtractor, policy: impl Into<Policy>) -> Result<Self, ConfigError> {
        Ok(Self::of(Enforced::Rules(Self::limiter_of(extractor, policy.into())?)))
    }

    /// Lets every request pass: for a limit that is switched on or off by a setting.
    ///
    /// `tower::util::option_layer` is no help there, because the layer changes the type of the response's body. This one has the
    /// same type whether it limits or not. With a limiter that may not be there, use [`from`](Self::from).
    ///
    /// ```
    /// use tower_quota::{Policy, RateLimitLayer, key};
    ///
    /// fn limit(per_minute: Option<u32>) -> RateLimitLayer {
    ///     let limit = |limit| RateLimitLayer::new(key::peer_ip(), Policy::per_minute(limit));
    ///     per_minute.map_or_else(RateLimitLayer::disabled, limit)
    /// }
    ///
    /// assert!(limit(Some(60)).limiter().is_some());
    /// assert!(limit(None).limiter().is_none());
    /// ```
    pub fn disabled() -> Self {
        Self::of(Enforced::Nothing)
    }

    fn limiter_of(extractor: impl KeyExtractor, policy: Policy) -> Result<RateLimiter, ConfigError> {
        let rule = Rule::new("default").every_request().key(extractor).policy(policy);
        RateLimiter::builder().rule(rule).build()
    }
}

impl<T: Store> RateLimitLayer<T> {
    /// Sends `X-RateLimit-Limit`, `-Remaining` and `-Reset` too. Off by default.
    pub fn legacy_fields(mut self, reset: LegacyReset) -> Self {
        let legacy = match reset {
            LegacyReset::Delta => Legacy::Delta,
            LegacyReset::Epoch => Legacy::Epoch(self.calendar()),
        };
        Arc::make_mut(&mut self.style).legacy = Some(legacy);
        self
    }

    /// That of the store; who has none is answered by nobody.
    fn calendar(&self) -> Arc<Calendar> {
        let limiter = self.limiter().cloned();
        Arc::new(move || limiter.as_ref().map_or_else(Duration::default, |limiter| limiter.store().since_1970()))
    }
}

impl<T> RateLimitLayer<T> {
    /// Whether responses carry the `RateLimit` and `RateLimit-Policy` fields; refusals on HTTP always do. On by default,
    /// except on redirects, on 401, on refusals of the inner service and where [`fields_in_trailers_only`](Self::fields_in_trailers_only) is asked.
    pub fn rate_limit_fields(mut self, sent: bool) -> Self {
        Arc::make_mut(&mut self.style).fields = sent;
        self
    }

    /// Whether admitted responses carry the [`Decision`](crate::Decision) among their extensions, for layers outside of
    /// this one; those of refused requests always do. Off by default, because it costs up to three small allocations.
    pub fn decision_in_response(mut self, attached: bool) -> Self {
        Arc::make_mut(&mut self.style).in_response = attached;
        self
    }

    /// Whether admitted requests carry the [`Decision`](crate::Decision) among their extensions, for the handler and for the
    /// layers between. On by default, at the price of one to three small allocations.
    ///
    /// Without it nobody further in knows of this layer: where the same limiter is [mounted twice](Self#mounted-twice), each
    /// request is charged twice.
    pub fn decision_in_request(mut self, attached: bool) -> Self {
        Arc::make_mut(&mut self.style).in_request = attached;
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

    /// Answers denied HTTP requests with what `answer` makes of them: status, body and header fields. gRPC callers are
    /// answered [as ever](crate#grpc), since they would not understand it.
    ///
    /// Requests that [`OnMissing::Reject`](crate::OnMissing::Reject) turns away are not denied ones: nothing was decided.
    ///
    /// `Retry-After` and the `RateLimit` fields are added unless the answer has them. To change only the words, use
    /// [`RateLimiterBuilder::message`](crate::RateLimiterBuilder::message).
    pub fn on_denied(mut self, answer: impl Fn(&Refusal<'_>) -> Response<Bytes> + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.style).on_denied = Some(Arc::new(answer));
        self
    }

    /// Whether `RateLimit`, `RateLimit-Policy` and `X-RateLimit-*` also stand in gRPC responses whose header fields are
    /// their trailers: in refusals, and in calls that fail at once in the inner service. Off by default: the draft forbids
    /// its fields in trailers.
    ///
    /// A client may refuse more than 8 KiB of header fields. A refusal keeps below 7.5 without these.
    pub fn fields_in_trailers_only(mut self, sent: bool) -> Self {
        Arc::make_mut(&mut self.style).fields_in_trailers_only = sent;
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

    /// The limiter behind this layer; none if it is [disabled](RateLimitLayer::disabled) or was not built right.
    #[must_use]
    pub const fn limiter(&self) -> Option<&RateLimiter<Http, T>> {
        self.enforced.limiter()
    }

    pub(crate) const fn enforced(&self) -> &Enforced<T> {
        &self.enforced
    }

    pub(crate) const fn style(&self) -> &Arc<Style> {
        &self.style
    }

    fn of(enforced: Enforced<T>) -> Self {
        Self { enforced, style: Arc::default() }
    }
}

impl<T> Clone for RateLimitLayer<T> {
    fn clone(&self) -> Self {
        Self { enforced: self.enforced.clone(), style: Arc::clone(&self.style) }
    }
}

impl<T> From<RateLimiter<Http, T>> for RateLimitLayer<T> {
    fn from(limiter: RateLimiter<Http, T>) -> Self {
        Self::of(Enforced::Rules(limiter))
    }
}

/// Without a limiter every request passes.
impl<T> From<Option<RateLimiter<Http, T>>> for RateLimitLayer<T> {
    fn from(limiter: Option<RateLimiter<Http, T>>) -> Self {
        Self::of(limiter.map_or(Enforced::Nothing, Enforced::Rules))
    }
}

impl<S, T> Layer<S> for RateLimitLayer<T> {
    type Service = RateLimit<S, T>;

    fn layer(&self, inner: S) -> RateLimit<S, T> {
        RateLimit::new(inner, self.enforced.clone(), Arc::clone(&self.style))
    }
}

impl<S: Store> RateLimiter<Http, S> {
    /// A layer that enforces the rules. It may be made many times: all share one state.
    pub fn layer(&self) -> RateLimitLayer<S> {
        RateLimitLayer::from(self.clone())
    }
}
