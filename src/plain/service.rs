//! The service: decides, and calls the inner service only after admission.

use std::task::{Context, Poll};

use tower_service::Service;

use crate::{
    limiter::MaybeDecided,
    plain::{RateLimitLayer, Refusal, ResponseFuture},
    store::Store,
};

/// A service behind a [`RateLimitLayer`], which is its `L`.
///
/// The decision falls in `call`, before the inner service is called: a request that is not admitted never reaches it. What
/// `poll_ready` reserved in the inner service is given back then, by going on with a clone; so the inner service is `Clone`.
/// Put a `tower::buffer::Buffer` around one that is not.
#[derive(Clone, Debug)]
pub struct RateLimit<S, L> {
    inner: S,
    layer: L,
}

impl<S, L> RateLimit<S, L> {
    pub(super) const fn new(inner: S, layer: L) -> Self {
        Self { inner, layer }
    }

    inner_service_accessors!(pub);
}

impl<S, R, F, T> Service<R> for RateLimit<S, RateLimitLayer<R, F, T>>
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
        let decided = match self.layer.decide(&request) {
            Ok(None) => Ok(()),
            Ok(Some(MaybeDecided::Ready(decision))) => self.layer.conclude(&mut request, Ok(decision)),
            Ok(Some(MaybeDecided::Pending(deciding))) => {
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                return ResponseFuture::deciding(deciding, ready, request, self.layer.clone());
            }
            Err(refusal) => Err(refusal),
        };
        match decided {
            Ok(()) => ResponseFuture::admitted(self.inner.call(request)),
            Err(refusal) => {
                self.inner = self.inner.clone();
                ResponseFuture::refused(self.layer.refuse(request, refusal))
            }
        }
    }
}
