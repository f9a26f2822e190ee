//! The service, which calls the inner one only for admitted requests.

use std::{
    ops::ControlFlow,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    http::{AdmissionOptions, Mount, Refusal, RefusalBody, ResponseBody, ResponseFuture},
    limiter::{Decision, DeferredCall, PendingDecision, already_applied},
    request::RequestView,
    store::{MaybeReady, MemoryStore, Store},
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
    mount: Arc<Mount<T>>,
}

impl<S, T> RateLimit<S, T> {
    pub(crate) const fn new(inner: S, mount: Arc<Mount<T>>) -> Self {
        Self { inner, mount }
    }

    inner_service_accessors!(pub);
}

impl<S, T: Store> RateLimit<S, T> {
    /// Decides about the request, if rules govern it. Returns the answer to a refusal; any other decision is `made` in its
    /// place, or is pending.
    fn decide<B>(
        &self,
        request: &Request<B>,
        made: &mut Option<Decision>,
    ) -> ControlFlow<Response<RefusalBody>, MaybeReady<PendingDecision<T::Future>>> {
        let view = RequestView::new(request);
        let Mount { limiter, options } = &*self.mount;
        let refused = |refusal: Refusal<'_>| ControlFlow::Break(refusal.answer(&view, options));
        let limiter = match limiter {
            Some(limiter) if !options.exempt(&view) => limiter,
            _ => return ControlFlow::Continue(MaybeReady::Ready(())),
        };
        let applied = |rulebook: &_| already_applied(rulebook, request.extensions());
        let recorded = options.settings.decision.request();
        match limiter.decide_request(&view, applied, options.detail(), recorded, made) {
            Ok(MaybeReady::Ready(())) => match made {
                Some(decision) if !decision.is_admitted() => refused(Refusal::Denied(decision)),
                _ => ControlFlow::Continue(MaybeReady::Ready(())),
            },
            Ok(pending) => ControlFlow::Continue(pending),
            Err(missing) => refused(Refusal::key_missing(missing.names(), missing.status)),
        }
    }
}

impl<S: Clone, T> Clone for RateLimit<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), mount: Arc::clone(&self.mount) }
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
        let options = &self.mount.options;
        let mut made = None;
        match self.decide(&request, &mut made) {
            ControlFlow::Continue(MaybeReady::Ready(())) => {
                let reservation = match &mut made {
                    Some(decision) => {
                        if options.settings.decision.request() {
                            decision.record_in(request.extensions_mut());
                        }
                        decision.reservation().cloned()
                    }
                    None => self.mount.empty_reservation(),
                };
                let conclusion = options.begin(reservation.as_ref(), &mut request);
                if made.is_some() && options.settings.show_admissions() {
                    let options = AdmissionOptions::new(options);
                    ResponseFuture::admitted(self.inner.call(request), made, options, conclusion)
                } else {
                    ResponseFuture::passed(self.inner.call(request), conclusion)
                }
            }
            ControlFlow::Continue(MaybeReady::Pending(decision)) => {
                let context = Arc::clone(options);
                let clone = self.inner.clone();
                let service = std::mem::replace(&mut self.inner, clone);
                ResponseFuture::deciding(decision, DeferredCall { service, request, context })
            }
            ControlFlow::Break(answer) => {
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
