//! The layer.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use tower_layer::Layer;

use crate::{
    error::ConfigError,
    http::{Http, LegacyReset, OnConflict, Refusal, Style},
    key::KeyExtractor,
    limiter::RateLimiter,
    policy::Policy,
    rule::Rule,
    service::RateLimit,
    store::MemoryStore,
};

/// Admits the requests that the rules of a [`RateLimiter`] have room for, and answers the others itself.
///
/// See the [crate docs](crate) for its use. It needs no type parameter, unless the histories are in another store `T`: keep it
/// in a struct, return it from a function.
/// All services it makes share one state, and so do its clones.
#[derive(Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RateLimitLayer<T = MemoryStore> {
    limiter: Result<RateLimiter<Http, T>, Arc<ConfigError>>,
    style: Arc<Style>,
}

impl RateLimitLayer {
    /// One policy for every key that `extractor` reads: a limiter of one rule for every request.
    ///
    /// For a policy written out in code. If it holds a mistake (a limit or a window of zero) then every request is
    /// answered with 500 and the mistake: never is a limit silently left out. With numbers from elsewhere use
    /// [`try_new`](Self::try_new).
    pub fn new(extractor: impl KeyExtractor, policy: impl Into<Policy>) -> Self {
        Self::of(Self::limiter_of(extractor, policy.into()))
    }

    /// As [`new`](Self::new), with mistakes returned.
    ///
    /// # Errors
    ///
    /// If the extractor or the policy cannot be used.
    pub fn try_new(extractor: impl KeyExtractor, policy: impl Into<Policy>) -> Result<Self, ConfigError> {
        Ok(Self::of(Ok(Self::limiter_of(extractor, policy.into())?)))
    }

    fn limiter_of(extractor: impl KeyExtractor, policy: Policy) -> Result<RateLimiter, ConfigError> {
        let rule = Rule::new("default").every_request().level("key", extractor).policy(policy);
        RateLimiter::builder().rule(rule).build()
    }
}

impl<T> RateLimitLayer<T> {
    /// Whether responses carry the `RateLimit` and `RateLimit-Policy` fields; refusals on HTTP always do. On by default,
    /// except on redirects, on 401 and where [`fields_in_trailers_only`](Self::fields_in_trailers_only) is asked.
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
    /// Without it nobody further in knows of this layer: where the same limiter is mounted twice, each request is charged
    /// twice.
    pub fn decision_in_request(mut self, attached: bool) -> Self {
        Arc::make_mut(&mut self.style).in_request = attached;
        self
    }

    /// Sends `X-RateLimit-Limit`, `-Remaining` and `-Reset` too. Off by default.
    pub fn legacy_fields(mut self, reset: LegacyReset) -> Self {
        Arc::make_mut(&mut self.style).legacy = Some(reset);
        self
    }

    /// What happens to `RateLimit` fields that the inner service has set itself; they are kept by default.
    pub fn on_conflict(mut self, outcome: OnConflict) -> Self {
        Arc::make_mut(&mut self.style).on_conflict = outcome;
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

    /// The limiter behind this layer; none if it was not built right.
    #[must_use]
    pub fn limiter(&self) -> Option<&RateLimiter<Http, T>> {
        self.limiter.as_ref().ok()
    }

    pub(crate) fn try_limiter(&self) -> Result<&RateLimiter<Http, T>, ConfigError> {
        self.limiter.as_ref().map_err(|error| ConfigError::clone(error))
    }

    pub(crate) const fn style(&self) -> &Arc<Style> {
        &self.style
    }

    fn of(limiter: Result<RateLimiter<Http, T>, ConfigError>) -> Self {
        Self { limiter: limiter.map_err(Arc::new), style: Arc::default() }
    }
}

impl<T> Clone for RateLimitLayer<T> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), style: Arc::clone(&self.style) }
    }
}

impl<T> From<RateLimiter<Http, T>> for RateLimitLayer<T> {
    fn from(limiter: RateLimiter<Http, T>) -> Self {
        Self::of(Ok(limiter))
    }
}

impl<S, T> Layer<S> for RateLimitLayer<T> {
    type Service = RateLimit<S, T>;

    fn layer(&self, inner: S) -> RateLimit<S, T> {
        RateLimit::new(inner, self.limiter.clone(), Arc::clone(&self.style))
    }
}
