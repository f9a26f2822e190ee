//! The service.

use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower::retry;
use tower_service::Service;

use crate::client::{
    journey::Journey,
    retry::{AsIs, Attempt, ReplayBody, ResponseFuture, RetryPolicy, WrapBody, policy::Retried},
};

/// A client behind a [`RetryLayer`](super::RetryLayer).
///
/// The client is `Clone`, since a clone of it stays with each call to make the further attempts; each is made once the
/// clone is ready. Dropping the future of a call ends it, and makes no further attempt.
#[derive(Clone, Debug)]
pub struct Retry<S, W = AsIs> {
    inner: retry::Retry<RetryPolicy, Attempt<S, W>>,
    copy_at_most: usize,
}

impl<S, W> Retry<S, W> {
    pub(super) const fn new(policy: RetryPolicy, inner: S, wrap: W, copy_at_most: usize) -> Self {
        Self { inner: retry::Retry::new(policy, Attempt::new(inner, wrap)), copy_at_most }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.inner.get_ref().inner()
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        self.inner.get_mut().inner_mut()
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner.into_inner().into_inner()
    }
}

impl<S, W, B, ResBody> Service<Request<B>> for Retry<S, W>
where
    S: Service<Request<W::Body>, Response = Response<ResBody>> + Clone,
    S::Error: 'static,
    W: WrapBody<B> + Clone,
    B: Body,
    ResBody: 'static,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S, W, B, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Service::<Request<ReplayBody<B>>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let journey = request.extensions().get::<Retried>().is_none().then(Journey::default);
        if let Some(journey) = &journey {
            request.extensions_mut().insert(journey.clone());
        }
        let calls = self.inner.call(request.map(|body| ReplayBody::new(body, self.copy_at_most)));
        ResponseFuture::new(calls, journey)
    }
}
