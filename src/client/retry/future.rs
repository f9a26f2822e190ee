//! The response future.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::retry::future::ResponseFuture as AttemptsFuture;
use tower_service::Service;

use crate::client::{
    attempt_tracker::AttemptTracker,
    retry::{
        policy::RetryPolicy,
        replay_body::{ReplayBody, WrapBody},
        wrap_service::WrapService,
    },
};

/// The number of attempts that a call had, among the extensions of its response.
///
/// ```
/// use http::Response;
/// use tower_quota::client::retry::Attempts;
///
/// fn was_retried<B>(response: &Response<B>) -> bool {
///     response.extensions().get().is_some_and(|Attempts(attempts)| *attempts > 1)
/// }
///
/// assert!(!was_retried(&Response::new(())));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts(pub u32);

type InnerFuture<S, W, B> = AttemptsFuture<RetryPolicy, WrapService<S, W>, Request<ReplayBody<B>>>;

pin_project! {
    /// The response future of a [`Retry`](super::Retry) service around `S`, which resolves after all attempts.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the attempt in flight, or the wait for the next one, and makes no further attempt.
    pub struct ResponseFuture<S, W, B, ResBody>
    where
        S: Service<Request<W::Body>, Response = Response<ResBody>>,
        S: Clone,
        S::Error: 'static,
        W: WrapBody<B>,
        W: Clone,
        ResBody: 'static,
    {
        #[pin]
        inner: InnerFuture<S, W, B>,
        tracker: Option<AttemptTracker>,
    }
}

impl<S, W, B, ResBody> ResponseFuture<S, W, B, ResBody>
where
    S: Service<Request<W::Body>, Response = Response<ResBody>> + Clone,
    S::Error: 'static,
    W: WrapBody<B> + Clone,
    ResBody: 'static,
{
    /// Without a tracker another layer retries the call.
    pub(super) const fn new(inner: InnerFuture<S, W, B>, tracker: Option<AttemptTracker>) -> Self {
        Self { inner, tracker }
    }
}

impl<S, W, B, ResBody> Future for ResponseFuture<S, W, B, ResBody>
where
    S: Service<Request<W::Body>, Response = Response<ResBody>> + Clone,
    S::Error: 'static,
    W: WrapBody<B> + Clone,
    ResBody: 'static,
{
    type Output = Result<Response<ResBody>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut outcome = ready!(this.inner.poll(cx));
        if let (Ok(response), Some(tracker)) = (&mut outcome, this.tracker) {
            response.extensions_mut().insert(Attempts(tracker.attempts()));
        }
        Poll::Ready(outcome)
    }
}

impl<S, W, B, ResBody> fmt::Debug for ResponseFuture<S, W, B, ResBody>
where
    S: Service<Request<W::Body>, Response = Response<ResBody>> + Clone,
    S::Error: 'static,
    W: WrapBody<B> + Clone,
    ResBody: 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("tracker", &self.tracker).finish_non_exhaustive()
    }
}
