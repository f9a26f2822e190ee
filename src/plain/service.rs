//! The service: decides, and calls the inner service only after admission.

use std::{
    fmt,
    task::{Context, Poll},
};

use tower_service::Service;

use crate::{
    limiter::MaybeDecided,
    plain::{Refusal, ResponseFuture, enforcement::Enforcement},
    store::{MemoryStore, Store},
};

/// A service `S` of requests `R` behind a [`RateLimitLayer`](super::RateLimitLayer), which refuses them by `F` and decides in the
/// store `T`.
///
/// The decision falls in `call`, before the inner service is called: a request that is not admitted never reaches it. What
/// `poll_ready` reserved in the inner service is given back then, by going on with a clone; so the inner service is `Clone`.
/// Put a `tower::buffer::Buffer` around one that is not.
pub struct RateLimit<S, R: 'static, F, T = MemoryStore> {
    inner: S,
    enforcement: Enforcement<R, F, T>,
}

impl<S, R, F, T> RateLimit<S, R, F, T> {
    pub(super) const fn new(inner: S, enforcement: Enforcement<R, F, T>) -> Self {
        Self { inner, enforcement }
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
        let decided = match self.enforcement.decide(&request) {
            Ok(None) => Ok(()),
            Ok(Some(MaybeDecided::Ready(decision))) => self.enforcement.conclude(&mut request, Ok(decision)),
            Ok(Some(MaybeDecided::Pending(deciding))) => {
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                return ResponseFuture::deciding(deciding, ready, request, self.enforcement.clone());
            }
            Err(refusal) => Err(refusal),
        };
        match decided {
            Ok(()) => ResponseFuture::admitted(self.inner.call(request)),
            Err(refusal) => {
                self.inner = self.inner.clone();
                ResponseFuture::refused(self.enforcement.refuse(request, refusal))
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
        Self { inner: self.inner.clone(), enforcement: self.enforcement.clone() }
    }
}

impl<S, R, F, T> fmt::Debug for RateLimit<S, R, F, T>
where
    S: fmt::Debug,
    T: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RateLimit");
        debug.field("inner", &self.inner).field("limiter", &self.enforcement.limiter).finish_non_exhaustive()
    }
}
