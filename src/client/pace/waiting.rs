//! A call that waits.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    runtime::Handle,
    time::{Instant, Sleep, sleep_until},
};
use tower_service::Service;

use crate::{
    client::pace::{
        ask::{Asked, Deciding, conclude},
        call::Call,
        error::{PaceError, Refused},
        layer::PaceLayer,
        queues::Turn,
        ticket::Ticket,
    },
    request::RequestKind,
    store::Store,
};

/// A call that waits, with a service of its own that holds nothing reserved meanwhile.
pub(super) struct Waiting<S, R, L> {
    pub(super) inner: S,
    pub(super) request: R,
    pub(super) layer: L,
    ticket: Ticket,
    step: Step,
    /// When it asks again at the latest.
    timer: Option<Pin<Box<Sleep>>>,
}

/// How far it has come.
enum Step {
    /// It has not been polled.
    Arriving,
    /// Others are before it, or it is not yet time.
    Queued,
    /// It is its turn, once the inner service is ready.
    Next,
    /// The inner service is ready, and the store takes its time.
    Deciding(Deciding),
}

impl<S, R, L> Waiting<S, R, L> {
    /// The call takes its place when it is polled for the first time, or it would hold up others that are.
    pub(super) const fn new(inner: S, request: R, layer: L, ticket: Ticket) -> Self {
        Self { inner, request, layer, ticket, step: Step::Arriving, timer: None }
    }

    /// The call waits for the store, with a service that is ready.
    pub(super) const fn deciding(ready: S, request: R, layer: L, ticket: Ticket, deciding: Deciding) -> Self {
        Self { inner: ready, request, layer, ticket, step: Step::Deciding(deciding), timer: None }
    }

    fn queue(&mut self, until: Instant) {
        self.step = Step::Queued;
        self.set_timer(Some(until));
    }

    fn set_timer(&mut self, at: Option<Instant>) {
        self.timer = at.map(|at| Box::pin(sleep_until(at)));
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }
}

impl<S, R, K, T, A> Waiting<S, R, PaceLayer<K, T, A>>
where
    S: Service<R> + Clone,
    K: RequestKind,
    T: Store,
{
    /// Ready when the inner service, which is ready then, is to be called at once.
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<Call, PaceError<S::Error>>> {
        self.ticket.answer(cx.waker());
        loop {
            let asked = match &mut self.step {
                Step::Arriving => {
                    Handle::try_current().map_err(|_| PaceError::NoRuntime)?;
                    self.look()?;
                    continue;
                }
                Step::Queued => {
                    ready!(self.poll_queued(cx));
                    self.look()?;
                    continue;
                }
                Step::Next => ready!(self.poll_next(cx))?,
                Step::Deciding(_) => ready!(self.poll_deciding(cx))?,
            };
            match asked {
                Asked::Admitted(call) => return Poll::Ready(Ok(call)),
                Asked::Deciding(deciding) => self.step = Step::Deciding(deciding),
                Asked::Later(until) => {
                    // What this one had reserved goes with it.
                    self.inner = self.inner.clone();
                    self.queue(until);
                }
            }
        }
    }

    /// Ready when it has been called or its time has come. Until then nothing is looked at.
    fn poll_queued(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_called = self.ticket.park(cx.waker());
        let is_time = self.poll_timer(cx).is_ready();
        if is_called || is_time { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Looks whose turn it is.
    fn look(&mut self) -> Result<(), Refused> {
        match self.ticket.turn()? {
            Turn::Later(until) => self.queue(until),
            Turn::Mine => {
                self.step = Step::Next;
                self.set_timer(self.ticket.deadline());
            }
        }
        Ok(())
    }

    /// Asks once the inner service is ready.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Asked, PaceError<S::Error>>> {
        if let Poll::Ready(ready) = self.inner.poll_ready(cx) {
            ready.map_err(PaceError::Inner)?;
            return Poll::Ready(self.layer.ask(&mut self.ticket));
        }
        ready!(self.poll_timer(cx));
        Poll::Ready(Err(self.ticket.too_long().into()))
    }

    /// Goes on once the store has decided. A store that takes longer than the call may wait is not waited for.
    fn poll_deciding(&mut self, cx: &mut Context<'_>) -> Poll<Result<Asked, PaceError<S::Error>>> {
        if let Step::Deciding(deciding) = &mut self.step
            && let Poll::Ready(decided) = deciding.decision.as_mut().poll(cx)
            && let Step::Deciding(deciding) = std::mem::replace(&mut self.step, Step::Next)
        {
            return Poll::Ready(conclude(&mut self.ticket, deciding.reservation, decided));
        }
        if self.timer.is_none() {
            self.set_timer(self.ticket.deadline());
        }
        ready!(self.poll_timer(cx));
        Poll::Ready(Err(self.ticket.too_long().into()))
    }
}
