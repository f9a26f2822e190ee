//! The response on its way.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    error::Unavailable,
    limiter::{Decision, PendingDecision},
    plain::{Refusal, enforcement::Enforcement},
    store::{MemoryStore, Store},
};

pin_project! {
    /// The response of a [`RateLimit`](super::RateLimit) service around `S` to a request `R`, which is refused by `F` and
    /// decided about in the store `T`.
    ///
    /// Dropping it drops the inner response; what was charged stays charged, since the request has begun.
    pub struct ResponseFuture<S, R, F, T = MemoryStore>
    where
        S: Service<R>,
        R: 'static,
        T: Store,
    {
        #[pin]
        kind: FutureKind<S, R, F, T>,
    }
}

pin_project! {
    #[project = KindProj]
    enum FutureKind<S, R, F, T>
    where
        S: Service<R>,
        R: 'static,
        T: Store,
    {
        Deciding { #[pin] deciding: PendingDecision<T::Future>, begun: Option<Box<Begun<S, R, F, T>>> },
        Admitted { #[pin] inner: S::Future },
        Refused { outcome: Option<Result<S::Response, S::Error>> },
    }
}

const POLLED_AFTER_COMPLETION: &str = "`ResponseFuture` polled after completion";

/// A request that waits for its decision, and the service that was polled ready for it.
struct Begun<S, R: 'static, F, T> {
    ready: S,
    request: R,
    enforcement: Enforcement<R, F, T>,
}

impl<S, R, F, T> ResponseFuture<S, R, F, T>
where
    S: Service<R>,
    T: Store,
{
    /// The request goes to `ready` if it is admitted.
    pub(super) fn deciding(
        deciding: PendingDecision<T::Future>,
        ready: S,
        request: R,
        enforcement: Enforcement<R, F, T>,
    ) -> Self {
        Self { kind: FutureKind::Deciding { deciding, begun: Some(Box::new(Begun { ready, request, enforcement })) } }
    }

    pub(super) const fn admitted(inner: S::Future) -> Self {
        Self { kind: FutureKind::Admitted { inner } }
    }

    pub(super) const fn refused(outcome: Result<S::Response, S::Error>) -> Self {
        Self { kind: FutureKind::Refused { outcome: Some(outcome) } }
    }
}

impl<S, R, F, T> Begun<S, R, F, T>
where
    S: Service<R>,
    F: Fn(R, Refusal) -> Result<S::Response, S::Error>,
    T: Store,
{
    /// Goes on as the store has decided.
    fn go_on(mut self, decided: Result<Decision, Unavailable>) -> FutureKind<S, R, F, T> {
        match self.enforcement.conclude(&mut self.request, decided) {
            Ok(()) => FutureKind::Admitted { inner: self.ready.call(self.request) },
            Err(refusal) => FutureKind::Refused { outcome: Some(self.enforcement.refuse(self.request, refusal)) },
        }
    }
}

impl<S, R, F, T> Future for ResponseFuture<S, R, F, T>
where
    S: Service<R>,
    F: Fn(R, Refusal) -> Result<S::Response, S::Error>,
    T: Store,
{
    type Output = Result<S::Response, S::Error>;

    #[expect(clippy::expect_used, reason = "as everywhere, a future is not polled after completion")]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut kind = self.project().kind;
        loop {
            let next = match kind.as_mut().project() {
                KindProj::Deciding { deciding, begun } => {
                    let decided = ready!(deciding.poll(cx));
                    begun.take().expect(POLLED_AFTER_COMPLETION).go_on(decided)
                }
                KindProj::Admitted { inner } => return inner.poll(cx),
                KindProj::Refused { outcome } => {
                    return Poll::Ready(outcome.take().expect(POLLED_AFTER_COMPLETION));
                }
            };
            kind.set(next);
        }
    }
}

impl<S, R, F, T> fmt::Debug for ResponseFuture<S, R, F, T>
where
    S: Service<R>,
    T: Store,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
