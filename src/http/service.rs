//! The service: decides, and calls the inner service only after admission.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    http::{Refusal, RefusalBody, ResponseBody, ResponseFuture, ResponseOptions},
    limiter::{Decision, MaybeDecided, PendingDecision, RateLimiter, already_applied},
    request::{Http, RequestView},
    store::{MemoryStore, Store},
};

/// A service behind a [`RateLimitLayer`](crate::RateLimitLayer).
///
/// The decision falls in `call`, before the inner service is called: a request that is not admitted never reaches it.
/// What `poll_ready` reserved in the inner service, such as a permit, is given back then, by going on with a clone; so the
/// inner service is `Clone`, as those of servers are. Put a `tower::buffer::Buffer` around one that is not.
///
/// If the [store](crate::store::Store) `T` takes its time then the service that was polled ready waits with the request, and
/// a clone stays behind.
#[derive(Debug)]
pub struct RateLimit<S, T = MemoryStore> {
    inner: S,
    /// None if every request passes.
    limiter: Option<RateLimiter<Http, T>>,
    style: Arc<ResponseOptions>,
}

/// What becomes of a request.
enum Routed<D> {
    /// No rule governs it, or nobody is told of the decision.
    Passed,
    Admitted(Decision),
    /// That takes its time.
    Deciding(PendingDecision<D>),
    /// It ends here, with this answer.
    Refused(Response<RefusalBody>),
}

impl<S, T> RateLimit<S, T> {
    pub(crate) const fn new(inner: S, limiter: Option<RateLimiter<Http, T>>, style: Arc<ResponseOptions>) -> Self {
        Self { inner, limiter, style }
    }

    inner_service_accessors!(pub);
}

impl<S, T: Store> RateLimit<S, T> {
    fn decide<B>(&self, request: &Request<B>) -> Routed<T::Future> {
        let view = RequestView::new(request);
        let refused = |refusal: Refusal<'_>| Routed::Refused(refusal.answer(&view, &self.style));
        let limiter = match &self.limiter {
            Some(limiter) if !self.style.passes(&view) => limiter,
            _ => return Routed::Passed,
        };
        let applied = already_applied(limiter.rulebook(), request.extensions());
        match limiter.decide_request(&view, &applied, self.style.told(), self.style.decision.request()) {
            Ok(None) => Routed::Passed,
            Ok(Some(MaybeDecided::Ready(decision))) if decision.is_admitted() => self.admitted(decision),
            Ok(Some(MaybeDecided::Ready(decision))) => refused(Refusal::Denied(&decision)),
            Ok(Some(MaybeDecided::Pending(deciding))) => Routed::Deciding(deciding),
            Err(missing) => refused(Refusal::key_missing(limiter.names_of(missing), missing.status)),
        }
    }
}

impl<S, T> RateLimit<S, T> {
    fn admitted<D>(&self, decision: Decision) -> Routed<D> {
        if self.style.tells_of_admissions() { Routed::Admitted(decision) } else { Routed::Passed }
    }
}

impl<S: Clone, T> Clone for RateLimit<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), limiter: self.limiter.clone(), style: Arc::clone(&self.style) }
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
            Routed::Passed => ResponseFuture::passed(self.inner.call(request)),
            Routed::Admitted(mut decision) => {
                if self.style.decision.request() {
                    decision.record_in(request.extensions_mut());
                }
                ResponseFuture::admitted(self.inner.call(request), decision, Arc::clone(&self.style))
            }
            Routed::Deciding(deciding) => {
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                ResponseFuture::deciding(deciding, ready, request, Arc::clone(&self.style))
            }
            Routed::Refused(answer) => {
                self.inner = self.inner.clone();
                ResponseFuture::refused(answer)
            }
        }
    }
}

/// Lets tonic's `add_service` take a gRPC service behind the layer: it is found under the same name.
#[cfg(feature = "tonic")]
impl<S, T> tonic::server::NamedService for RateLimit<S, T>
where
    S: tonic::server::NamedService,
{
    const NAME: &'static str = S::NAME;
}
