//! One attempt of a call.

use std::task::{Context, Poll};

use http::Request;
use tower_service::Service;

use crate::client::{
    journey::Journey,
    retry::{ReplayBody, WrapBody, policy::Retried},
};

/// What a [`Retry`](super::Retry) calls for each attempt: the client, with the body that it takes.
#[derive(Clone, Debug)]
pub struct Attempt<S, W> {
    inner: S,
    wrap: W,
}

impl<S, W> Attempt<S, W> {
    pub(super) const fn new(inner: S, wrap: W) -> Self {
        Self { inner, wrap }
    }

    pub(super) const fn inner(&self) -> &S {
        &self.inner
    }

    pub(super) const fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    pub(super) fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, W, B> Service<Request<ReplayBody<B>>> for Attempt<S, W>
where
    S: Service<Request<W::Body>>,
    W: WrapBody<B>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReplayBody<B>>) -> S::Future {
        request.extensions_mut().insert(Retried);
        if let Some(journey) = Journey::in_request(request.extensions()) {
            journey.go();
        }
        self.inner.call(request.map(|body| self.wrap.wrap(body)))
    }
}
