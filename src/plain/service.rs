//! The service, which calls the inner one only for admitted requests.

use std::{
    fmt,
    task::{Context, Poll},
};

use tower_service::Service;

use crate::{
    limiter::{DeferredCall, MaybeDecided},
    plain::{
        ResponseFuture,
        enforcer::{Enforcer, Refusal},
    },
    store::{MemoryStore, Store},
};

/// A service `S` of requests `R` behind a [`RateLimitLayer`](super::RateLimitLayer), with the closure `F` that refuses requests
/// and the store `T`.
///
/// The decision is made in `call`, before the inner service is called: a refused request never reaches it. Whatever
/// `poll_ready` reserved in the inner service, such as a permit, is released then, by replacing the service with a clone. So
/// the inner service is `Clone`; wrap one that is not in a `tower::buffer::Buffer`.
///
/// ```
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_quota::{Policy, RateLimiter, Rule, key, plain};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// type Refuse = fn(u32, plain::Refusal) -> Result<u32, std::io::Error>;
///
/// let rule = Rule::new("jobs").every_request().key(key::constant("all"));
/// let rule = rule.level("global").policy(Policy::per_hour(1));
/// let limiter = RateLimiter::builder_for::<u32>().rule(rule).build()?;
/// let refuse: Refuse = |_, refusal| Err(std::io::Error::other(refusal));
/// let jobs = service_fn(async |job| Ok(job));
/// let service: plain::RateLimit<_, u32, Refuse> = limiter.layer(refuse).layer(jobs);
///
/// assert_eq!(service.clone().oneshot(7).await?, 7);
/// assert!(service.oneshot(7).await.is_err());
/// # Ok(())
/// # }
/// ```
pub struct RateLimit<S, R: 'static, F, T = MemoryStore> {
    inner: S,
    enforcer: Enforcer<R, F, T>,
}

impl<S, R, F, T> RateLimit<S, R, F, T> {
    pub(super) const fn new(inner: S, enforcer: Enforcer<R, F, T>) -> Self {
        Self { inner, enforcer }
    }

    inner_service_accessors!(pub);
}

impl<S, R, F, T> Service<R> for RateLimit<S, R, F, T>
where
    S: Service<R> + Clone,
    F: Fn(R, Refusal) -> Result<S::Response, S::Error> + Clone,
    T: Store,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, R, F, T>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: R) -> Self::Future {
        let decided = match self.enforcer.decide(&request) {
            Ok(None) => Ok(None),
            Ok(Some(MaybeDecided::Ready(decision))) => self.enforcer.conclude(&mut request, Ok(decision)),
            Ok(Some(MaybeDecided::Pending(decision))) => {
                let clone = self.inner.clone();
                let service = std::mem::replace(&mut self.inner, clone);
                let context = self.enforcer.clone();
                return ResponseFuture::deciding(decision, DeferredCall { service, request, context });
            }
            Err(refusal) => Err(refusal),
        };
        match decided {
            Ok(guard) => ResponseFuture::admitted(self.inner.call(request), guard),
            Err(refusal) => {
                self.inner = self.inner.clone();
                ResponseFuture::refused(self.enforcer.refuse(request, refusal))
            }
        }
    }
}

impl<S, R, F, T> Clone for RateLimit<S, R, F, T>
where
    S: Clone,
    F: Clone,
{
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), enforcer: self.enforcer.clone() }
    }
}

impl<S, R, F, T> fmt::Debug for RateLimit<S, R, F, T>
where
    S: fmt::Debug,
    T: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RateLimit");
        debug.field("inner", &self.inner).field("limiter", &self.enforcer.limiter).finish_non_exhaustive()
    }
}
