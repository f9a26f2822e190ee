//! The service, which calls the inner one only for admitted requests.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    http::{Refusal, RefusalBody, ResponseBody, ResponseFuture, ResponseOptions},
    limiter::{Decision, DeferredCall, MaybeDecided, PendingDecision, RateLimiter, Reservation, already_applied},
    request::{Http, RequestView},
    store::{MemoryStore, Store},
};

/// A service `S` behind a [`RateLimitLayer`](crate::RateLimitLayer).
///
/// The decision is made in `call`, before the inner service is called: a refused request never reaches it. Whatever
/// `poll_ready` reserved in the inner service, such as a permit, is released then, by replacing the service with a clone. So
/// the inner service is `Clone`, as those of servers are; wrap one that is not in a `tower::buffer::Buffer`.
///
/// With an asynchronous [store](crate::store::Store) `T` the ready service moves into the response future, and a clone takes
/// its place.
///
/// ```
/// use http::{Request, Response};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_quota::{Policy, RateLimit, RateLimitLayer, key};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = RateLimitLayer::new(key::header("x-account"), Policy::per_minute(1))?;
/// let service: RateLimit<_> = layer.layer(service_fn(async |_: Request<()>| {
///     Ok::<_, std::io::Error>(Response::new(String::new()))
/// }));
///
/// let request = |account| Request::get("/").header("x-account", account).body(());
/// let status = async |account| {
///     let response = service.clone().oneshot(request(account)?).await?;
///     Ok::<_, Box<dyn std::error::Error>>(response.status())
/// };
/// assert_eq!(status("ann").await?, 200);
/// assert_eq!(status("ann").await?, 429);
/// assert_eq!(status("bob").await?, 200);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RateLimit<S, T = MemoryStore> {
    inner: S,
    /// `None` if every request passes.
    limiter: Option<RateLimiter<Http, T>>,
    options: Arc<ResponseOptions>,
}

/// The outcome of a decision about a request.
enum CallDecision<D> {
    /// No rule governs the request, or its admission is not shown. Handlers find a reservation in it, unless no rule reserves.
    Passed(Option<Reservation>),
    Admitted(Decision),
    /// The store is asynchronous.
    Pending(PendingDecision<D>),
    Refused(Response<RefusalBody>),
}

impl<S, T> RateLimit<S, T> {
    pub(crate) const fn new(inner: S, limiter: Option<RateLimiter<Http, T>>, options: Arc<ResponseOptions>) -> Self {
        Self { inner, limiter, options }
    }

    inner_service_accessors!(pub);
}

impl<S, T: Store> RateLimit<S, T> {
    fn decide<B>(&self, request: &Request<B>) -> CallDecision<T::Future> {
        let view = RequestView::new(request);
        let refused = |refusal: Refusal<'_>| CallDecision::Refused(refusal.answer(&view, &self.options));
        let Some(limiter) = &self.limiter else { return CallDecision::Passed(Some(Reservation::default())) };
        if self.options.exempt(&view) {
            return CallDecision::Passed(limiter.empty_reservation());
        }
        let applied = |rulebook: &_| already_applied(rulebook, request.extensions());
        let recorded = self.options.settings.decision.request();
        match limiter.decide_request(&view, applied, self.options.detail(), recorded) {
            Ok(None) => CallDecision::Passed(limiter.empty_reservation()),
            Ok(Some(MaybeDecided::Ready(decision))) if decision.is_admitted() => self.admitted(decision),
            Ok(Some(MaybeDecided::Ready(decision))) => refused(Refusal::Denied(&decision)),
            Ok(Some(MaybeDecided::Pending(pending))) => CallDecision::Pending(pending),
            Err(missing) => refused(Refusal::key_missing(missing.names(), missing.status)),
        }
    }
}

impl<S, T> RateLimit<S, T> {
    fn admitted<D>(&self, decision: Decision) -> CallDecision<D> {
        if self.options.show_admissions() {
            CallDecision::Admitted(decision)
        } else {
            CallDecision::Passed(decision.reservation().cloned())
        }
    }
}

impl<S: Clone, T> Clone for RateLimit<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), limiter: self.limiter.clone(), options: Arc::clone(&self.options) }
    }
}

impl<S, T, ReqBody, ResBody> Service<Request<ReqBody>> for RateLimit<S, T>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ResBody: Body,
    T: Store,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, T::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match self.decide(&request) {
            CallDecision::Passed(reservation) => {
                let conclusion = self.options.begin(reservation.as_ref(), &mut request);
                ResponseFuture::passed(self.inner.call(request), conclusion)
            }
            CallDecision::Admitted(mut decision) => {
                if self.options.settings.decision.request() {
                    decision.record_in(request.extensions_mut());
                }
                let conclusion = self.options.begin(decision.reservation(), &mut request);
                ResponseFuture::admitted(self.inner.call(request), decision, Arc::clone(&self.options), conclusion)
            }
            CallDecision::Pending(decision) => {
                let clone = self.inner.clone();
                let service = std::mem::replace(&mut self.inner, clone);
                let context = Arc::clone(&self.options);
                ResponseFuture::deciding(decision, DeferredCall { service, request, context })
            }
            CallDecision::Refused(answer) => {
                self.inner = self.inner.clone();
                ResponseFuture::refused(answer)
            }
        }
    }
}

/// Lets tonic's `add_service` take a gRPC service behind the layer, under the same name.
#[cfg(feature = "tonic")]
impl<S, T> tonic::server::NamedService for RateLimit<S, T>
where
    S: tonic::server::NamedService,
{
    const NAME: &'static str = S::NAME;
}
