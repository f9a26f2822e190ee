//! The answer on its way.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    client::{
        Advice,
        pace::{call::Call, error::PaceError, layer::PaceLayer, reader::ReadAdvice, sees::Sees, waiting::Waiting},
    },
    store::Store,
};

pin_project! {
    /// The answer of a [`Pace`](super::Pace) service around `S` to a request `R`, with its layer `L`.
    ///
    /// # Cancel safety
    ///
    /// Dropping it while it waits leaves the queue and charges nothing; with a store that takes its time, a decision that
    /// is on its way may be charged. Dropping it later drops the inner call, which stays charged. Whoever keeps it without
    /// polling it when its turn has come holds up those behind it.
    pub struct ResponseFuture<S, R, L>
    where
        S: Service<R>,
    {
        #[pin]
        stage: Stage<S, R, L>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<S, R, L>
    where
        S: Service<R>,
    {
        Waiting { waiting: Option<Box<Waiting<S, R, L>>> },
        Begun { #[pin] inner: S::Future, call: Option<(Call, L)> },
        Failed { error: Option<PaceError<S::Error>> },
    }
}

impl<S, R, L> ResponseFuture<S, R, L>
where
    S: Service<R>,
{
    /// No rule governs it.
    pub(super) const fn ungoverned(inner: S::Future) -> Self {
        Self { stage: Stage::Begun { inner, call: None } }
    }

    pub(super) const fn begun(inner: S::Future, call: Call, layer: L) -> Self {
        Self { stage: Stage::Begun { inner, call: Some((call, layer)) } }
    }

    pub(super) fn waiting(waiting: Waiting<S, R, L>) -> Self {
        Self { stage: Stage::Waiting { waiting: Some(Box::new(waiting)) } }
    }

    pub(super) const fn failed(error: PaceError<S::Error>) -> Self {
        Self { stage: Stage::Failed { error: Some(error) } }
    }
}

impl<S, R, K, T, A> Future for ResponseFuture<S, R, PaceLayer<K, T, A>>
where
    S: Service<R> + Clone,
    K: Sees<R>,
    T: Store,
    A: ReadAdvice<S::Response, S::Error>,
{
    type Output = Result<S::Response, PaceError<S::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.project().stage;
        if let StageProj::Waiting { waiting: place } = stage.as_mut().project() {
            // None if polled after completion, against the contract of futures: there is nothing to say.
            let Some(waiting) = place else { return Poll::Pending };
            let turn = ready!(waiting.poll_turn(cx));
            let Some(waiting) = place.take() else { return Poll::Pending };
            let call = turn?;
            K::go(&waiting.request);
            stage.set(begin(*waiting, call));
        }
        match stage.project() {
            StageProj::Begun { inner, call } => {
                let outcome = ready!(inner.poll(cx));
                if let Some((call, layer)) = call.take() {
                    call.answered(advice_of(layer.reader(), &outcome));
                }
                Poll::Ready(outcome.map_err(PaceError::Inner))
            }
            StageProj::Failed { error } => error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
            StageProj::Waiting { .. } => Poll::Pending,
        }
    }
}

/// Calls the inner service. Whoever is next is called after that.
fn begin<S, R, L>(waiting: Waiting<S, R, L>, call: Call) -> Stage<S, R, L>
where
    S: Service<R>,
{
    let Waiting { mut inner, request, layer, .. } = waiting;
    Stage::Begun { inner: inner.call(request), call: Some((call, layer)) }
}

/// An error is none of the answers that show that there was room.
fn advice_of<A, B, E>(reader: &A, outcome: &Result<B, E>) -> Advice
where
    A: ReadAdvice<B, E>,
{
    let advice = reader.read(outcome);
    if outcome.is_ok() { advice } else { advice.failed() }
}

impl<S, R, L> fmt::Debug for ResponseFuture<S, R, L>
where
    S: Service<R>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::Waiting { .. } => "waiting",
            Stage::Begun { .. } => "begun",
            Stage::Failed { .. } => "failed",
        };
        f.debug_tuple("ResponseFuture").field(&stage).finish()
    }
}
