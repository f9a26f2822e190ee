//! The service.

use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower::retry;
use tower_service::Service;

use crate::client::{
    attempt_tracker::AttemptTracker,
    retry::{
        future::ResponseFuture,
        policy::{RetryMarker, RetryPolicy},
        replay_body::{Identity, ReplayBody, WrapBody},
        wrap_service::WrapService,
    },
};

/// A client behind a [`RetryLayer`](super::RetryLayer).
///
/// The client is `Clone`, since a clone of it stays with each call to make further attempts; each is made once the clone is
/// ready. Dropping the future of a call ends it, and makes no further attempt.
///
/// ```
/// use hyper_util::{
///     client::legacy::{Client, connect::HttpConnector},
///     rt::TokioExecutor,
/// };
/// use tower::Layer;
/// use tower_quota::client::{
///     RetryLayer, RetryPolicy,
///     retry::{ReplayBody, Retry},
/// };
///
/// type Body = http_body_util::Full<bytes::Bytes>;
/// type HyperClient = Client<HttpConnector, ReplayBody<Body>>;
///
/// let client: HyperClient = Client::builder(TokioExecutor::new()).build_http();
/// let client: Retry<HyperClient> = RetryLayer::new(RetryPolicy::default()).layer(client);
/// # let _ = client;
/// ```
#[derive(Clone, Debug)]
pub struct Retry<S, W = Identity> {
    inner: retry::Retry<RetryPolicy, WrapService<S, W>>,
    max_body_copy: usize,
}

impl<S, W> Retry<S, W> {
    pub(super) const fn new(policy: RetryPolicy, inner: S, wrap: W, max_body_copy: usize) -> Self {
        Self { inner: retry::Retry::new(policy, WrapService::new(inner, wrap)), max_body_copy }
    }

    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        self.inner.get_ref().get_ref()
    }

    /// Returns a mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        self.inner.get_mut().get_mut()
    }

    /// Consumes this and returns the inner service.
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
        let is_retried = request.extensions().get::<RetryMarker>().is_some();
        let tracker = (!is_retried).then(AttemptTracker::default);
        if let Some(tracker) = &tracker {
            request.extensions_mut().insert(tracker.clone());
        }
        let attempts = self.inner.call(request.map(|body| ReplayBody::new(body, self.max_body_copy)));
        ResponseFuture::new(attempts, tracker)
    }
}
