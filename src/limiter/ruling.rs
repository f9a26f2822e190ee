//! A decision, made or on its way.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use crate::{
    error::Unavailable,
    limiter::{Charged, Decision},
    store::Verdict,
};

/// A decision that was made at once, or one that a store takes its time for.
#[derive(Debug)]
pub(crate) enum Ruling<D> {
    Now(Decision),
    Later(Deciding<D>),
}

pin_project! {
    /// A decision on its way.
    #[derive(Debug)]
    pub(crate) struct Deciding<D> {
        #[pin]
        verdict: D,
        pending: Option<Decision>,
    }
}

impl<D> Ruling<D> {
    /// Asks for the verdict of a pending decision.
    #[inline]
    pub(crate) fn of(mut pending: Decision, ask: impl FnOnce(&mut Verdict) -> Option<D>) -> Self {
        match ask(pending.verdict_mut()) {
            None => Self::Now(pending),
            Some(verdict) => Self::Later(Deciding { verdict, pending: Some(pending) }),
        }
    }
}

impl<D> Ruling<D> {
    /// Notes what the request is charged, for the mounts of the limiter further in.
    #[inline]
    pub(crate) fn noting(mut self, charged: impl FnOnce() -> Charged) -> Self {
        match &mut self {
            Self::Now(decision) if !decision.is_admitted() => {}
            Self::Now(decision) => decision.note(charged()),
            Self::Later(deciding) => {
                if let Some(pending) = &mut deciding.pending {
                    pending.note(charged());
                }
            }
        }
        self
    }
}

impl<D> Ruling<D>
where
    D: Future<Output = Result<Verdict, Unavailable>>,
{
    /// Waits for it if need be.
    pub(crate) async fn made(self) -> Result<Decision, Unavailable> {
        match self {
            Self::Now(decision) => Ok(decision),
            Self::Later(deciding) => deciding.await,
        }
    }
}

impl<D> Future for Deciding<D>
where
    D: Future<Output = Result<Verdict, Unavailable>>,
{
    type Output = Result<Decision, Unavailable>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let verdict = ready!(this.verdict.poll(cx))?;
        // None if polled after completion, against the contract of futures: there is nothing to say.
        let Some(mut decision) = this.pending.take() else { return Poll::Pending };
        *decision.verdict_mut() = verdict;
        Poll::Ready(Ok(decision))
    }
}
