//! The answer on its way.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::retry::future::ResponseFuture as Attempting;
use tower_service::Service;

use crate::client::{
    journey::Journey,
    retry::{Attempt, ReplayBody, RetryPolicy, WrapBody},
};

/// Among the extensions of a response: how many attempts its call had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts(pub u32);

type Calls<S, W, B> = Attempting<RetryPolicy, Attempt<S, W>, Request<ReplayBody<B>>>;

pin_project! {
    /// The answer of a [`Retry`](super::Retry) service around `S`, after all attempts.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the attempt that is under way, or the wait for the next one, and makes no further attempt.
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
        calls: Calls<S, W, B>,
        journey: Option<Journey>,
    }
}

impl<S, W, B, ResBody> ResponseFuture<S, W, B, ResBody>
where
    S: Service<Request<W::Body>, Response = Response<ResBody>> + Clone,
    S::Error: 'static,
    W: WrapBody<B> + Clone,
    ResBody: 'static,
{
    /// Without a journey the call is retried by somebody else.
    pub(super) const fn new(calls: Calls<S, W, B>, journey: Option<Journey>) -> Self {
        Self { calls, journey }
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
        let mut answer = ready!(this.calls.poll(cx));
        if let (Ok(response), Some(journey)) = (&mut answer, this.journey) {
            response.extensions_mut().insert(Attempts(journey.attempts()));
        }
        Poll::Ready(answer)
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
        f.debug_struct("ResponseFuture").field("journey", &self.journey).finish_non_exhaustive()
    }
}
