//! The service that makes one attempt.

use std::task::{Context, Poll};

use http::Request;
use tower_service::Service;

use crate::client::{
    attempt_tracker::AttemptTracker,
    retry::{
        policy::RetryMarker,
        replay_body::{ReplayBody, WrapBody},
    },
};

/// Makes one attempt of a call: gives the client a body of the type that it takes, and marks the request as retried.
#[derive(Clone, Debug)]
pub(super) struct WrapService<S, W> {
    inner: S,
    wrap: W,
}

impl<S, W> WrapService<S, W> {
    pub(super) const fn new(inner: S, wrap: W) -> Self {
        Self { inner, wrap }
    }

    inner_service_accessors!(pub(super));
}

impl<S, W, B> Service<Request<ReplayBody<B>>> for WrapService<S, W>
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
        request.extensions_mut().insert(RetryMarker);
        if let Some(tracker) = AttemptTracker::from_extensions(request.extensions()) {
            tracker.mark_sent();
        }
        self.inner.call(request.map(|body| self.wrap.wrap(body)))
    }
}
