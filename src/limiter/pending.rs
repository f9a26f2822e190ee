//! A decision that may have to be awaited.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use crate::{
    error::Unavailable,
    limiter::{ChargeMarks, Decision},
    store::{MaybeReady, Verdict},
};

/// A decision: made at once, or awaited because the store is asynchronous.
pub(crate) type MaybeDecided<F> = MaybeReady<PendingDecision<F>, Decision>;

pin_project! {
    /// A decision whose verdict is the future `F` of a store.
    #[derive(Debug)]
    pub(crate) struct PendingDecision<F> {
        #[pin]
        verdict: F,
        decision: Option<Decision>,
    }
}

/// A call that waits for a pending decision.
pub(crate) struct DeferredCall<S, R, C> {
    /// The service that was polled ready for this call.
    pub(crate) service: S,
    pub(crate) request: R,
    /// The rest of what is needed to continue when the decision is made.
    pub(crate) context: C,
}

impl<F> MaybeDecided<F> {
    /// Asks a store for the verdict of a decision.
    #[inline]
    pub(crate) fn ask(mut decision: Decision, ask: impl FnOnce(&mut Verdict) -> MaybeReady<F>) -> Self {
        match ask(decision.verdict_mut()) {
            MaybeReady::Ready(()) => Self::Ready(decision),
            MaybeReady::Pending(verdict) => Self::Pending(PendingDecision { verdict, decision: Some(decision) }),
        }
    }

    /// Notes what the request is charged, for the mounts of the limiter further in.
    #[inline]
    pub(crate) fn noting(mut self, charged: impl FnOnce() -> ChargeMarks) -> Self {
        match &mut self {
            Self::Ready(decision) if !decision.is_admitted() => {}
            Self::Ready(decision) => decision.note(charged()),
            Self::Pending(pending) => {
                if let Some(decision) = &mut pending.decision {
                    decision.note(charged());
                }
            }
        }
        self
    }
}

impl<F> MaybeDecided<F>
where
    F: Future<Output = Result<Verdict, Unavailable>>,
{
    /// Waits for the decision if it is not there yet.
    pub(crate) async fn wait(self) -> Result<Decision, Unavailable> {
        match self {
            Self::Ready(decision) => Ok(decision),
            Self::Pending(pending) => pending.await,
        }
    }
}

impl<F> Future for PendingDecision<F>
where
    F: Future<Output = Result<Verdict, Unavailable>>,
{
    type Output = Result<Decision, Unavailable>;

    #[expect(clippy::expect_used, reason = "polling a finished future is a bug of the caller")]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let verdict = ready!(this.verdict.poll(cx))?;
        let mut decision = this.decision.take().expect("polled after completion");
        *decision.verdict_mut() = verdict;
        Poll::Ready(Ok(decision))
    }
}
