//! The response future: the state machine of a paced call.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::{
    runtime::Handle,
    time::{Instant, Sleep, sleep_until},
};
use tower_service::Service;

use crate::{
    client::{
        advice::Advice,
        pace::{
            error::{CannotQueue, PaceError},
            in_flight::InFlight,
            layer::PaceLayer,
            queued_call::{Attempted, PendingDecision, QueuedCall},
            read_advice::ReadAdvice,
            scheduler::Admission,
            view_of::ViewOf,
        },
    },
    store::Store,
};

pin_project! {
    /// The response future of a [`Pace`](super::Pace) service around `S`, for a request `R`, with its layer `L`.
    ///
    /// # Cancel safety
    ///
    /// Dropping it while it waits leaves the queue and charges nothing; with an asynchronous store a decision that is under
    /// way may be charged. Dropping it later drops the inner call, which stays charged. Keeping it without polling it when
    /// its turn has come holds up those behind it, for two seconds at most.
    ///
    /// # Panics
    ///
    /// If it is polled after completion.
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
        Waiting { call: Option<Box<WaitingCall<S, R, L>>> },
        Sent { #[pin] response: S::Future, in_flight: Option<(InFlight, L)> },
        Failed { error: Option<PaceError<S::Error>> },
    }
}

/// A call that waits, with a service of its own in which nothing is reserved meanwhile.
pub(super) struct WaitingCall<S, R, L> {
    inner: S,
    request: R,
    layer: L,
    queued: QueuedCall,
    step: WaitStep,
    /// The latest time at which it asks again.
    timer: Option<Pin<Box<Sleep>>>,
}

/// The steps of a call that waits.
enum WaitStep {
    /// It has not been polled.
    New,
    /// Others are before it, or it is not yet time.
    Queued,
    /// It is its turn, once the inner service is ready.
    Next,
    /// The inner service is ready, and the store decides asynchronously.
    Deciding(PendingDecision),
}

impl<S, R, L> ResponseFuture<S, R, L>
where
    S: Service<R>,
{
    /// A call that no rule governs.
    pub(super) const fn unlimited(response: S::Future) -> Self {
        Self { stage: Stage::Sent { response, in_flight: None } }
    }

    pub(super) const fn in_flight(response: S::Future, in_flight: InFlight, layer: L) -> Self {
        Self { stage: Stage::Sent { response, in_flight: Some((in_flight, layer)) } }
    }

    pub(super) fn waiting(call: WaitingCall<S, R, L>) -> Self {
        Self { stage: Stage::Waiting { call: Some(Box::new(call)) } }
    }

    pub(super) const fn failed(error: PaceError<S::Error>) -> Self {
        Self { stage: Stage::Failed { error: Some(error) } }
    }
}

impl<S, R, K, T, A> Future for ResponseFuture<S, R, PaceLayer<K, T, A>>
where
    S: Service<R> + Clone,
    K: ViewOf<R>,
    T: Store,
    A: ReadAdvice<S::Response, S::Error>,
{
    type Output = Result<S::Response, PaceError<S::Error>>;

    #[expect(clippy::expect_used, reason = "only a bug polls a future after its completion")]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.project().stage;
        loop {
            match stage.as_mut().project() {
                StageProj::Waiting { call: slot } => {
                    let mut call = slot.take().expect("polled after completion");
                    let Poll::Ready(admitted) = call.poll_admitted(cx) else {
                        *slot = Some(call);
                        return Poll::Pending;
                    };
                    stage.set(call.send(admitted?));
                }
                StageProj::Sent { response, in_flight } => {
                    let mut outcome = ready!(response.poll(cx));
                    if let Some((in_flight, layer)) = in_flight.take() {
                        if let Some(reservation) = in_flight.reservation() {
                            layer.reader().settle(&mut outcome, reservation);
                        }
                        in_flight.finish(advice_of(layer.reader(), &outcome));
                    }
                    return Poll::Ready(outcome.map_err(PaceError::Inner));
                }
                StageProj::Failed { error } => {
                    return Poll::Ready(Err(error.take().expect("polled after completion")));
                }
            }
        }
    }
}

impl<S, R, L> WaitingCall<S, R, L> {
    /// A call that joins the queues when it is polled for the first time: earlier, it would hold up calls that are polled.
    pub(super) const fn new(inner: S, request: R, layer: L, queued: QueuedCall) -> Self {
        Self { inner, request, layer, queued, step: WaitStep::New, timer: None }
    }

    /// A call that waits for the store, with a service that is ready.
    pub(super) const fn deciding(
        ready: S,
        request: R,
        layer: L,
        queued: QueuedCall,
        decision: PendingDecision,
    ) -> Self {
        Self { inner: ready, request, layer, queued, step: WaitStep::Deciding(decision), timer: None }
    }

    fn queue_until(&mut self, until: Instant) {
        self.step = WaitStep::Queued;
        self.set_timer(Some(until));
    }

    fn set_timer(&mut self, at: Option<Instant>) {
        self.timer = at.map(|at| Box::pin(sleep_until(at)));
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }
}

impl<S, R, K, T, A> WaitingCall<S, R, PaceLayer<K, T, A>>
where
    S: Service<R> + Clone,
    K: ViewOf<R>,
    T: Store,
{
    /// Resolves when it is this call's turn; the inner service is ready then and must be called immediately.
    fn poll_admitted(&mut self, cx: &mut Context<'_>) -> Poll<Result<InFlight, PaceError<S::Error>>> {
        self.queued.touch(cx.waker());
        loop {
            let attempted = match &mut self.step {
                WaitStep::New => {
                    Handle::try_current().map_err(|_| PaceError::NoRuntime)?;
                    self.check_turn()?;
                    continue;
                }
                WaitStep::Queued => {
                    ready!(self.poll_queued(cx));
                    self.check_turn()?;
                    continue;
                }
                WaitStep::Next => ready!(self.poll_next(cx))?,
                WaitStep::Deciding(_) => ready!(self.poll_deciding(cx))?,
            };
            match attempted {
                Attempted::Admitted(in_flight) => return Poll::Ready(Ok(in_flight)),
                Attempted::Deciding(decision) => self.step = WaitStep::Deciding(decision),
                Attempted::Queued(until) => {
                    // Whatever the service had reserved goes with it.
                    self.inner = self.inner.clone();
                    self.queue_until(until);
                }
            }
        }
    }

    /// Resolves when the call has been woken or its time has come. Until then nothing is looked at.
    fn poll_queued(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_woken = self.queued.park(cx.waker());
        let is_time = self.poll_timer(cx).is_ready();
        if is_woken || is_time { Poll::Ready(()) } else { Poll::Pending }
    }

    fn check_turn(&mut self) -> Result<(), CannotQueue> {
        match self.queued.check_turn()? {
            Admission::Queued(until) => self.queue_until(until),
            Admission::Granted => {
                self.step = WaitStep::Next;
                self.set_timer(self.queued.deadline());
            }
        }
        Ok(())
    }

    /// Asks the store once the inner service is ready.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Attempted, PaceError<S::Error>>> {
        if let Poll::Ready(ready) = self.inner.poll_ready(cx) {
            ready.map_err(PaceError::Inner)?;
            return Poll::Ready(self.layer.attempt(&mut self.queued));
        }
        ready!(self.poll_timer(cx));
        Poll::Ready(Err(self.queued.too_long().into()))
    }

    /// Goes on once the store has decided, which is not waited for longer than the call may wait.
    fn poll_deciding(&mut self, cx: &mut Context<'_>) -> Poll<Result<Attempted, PaceError<S::Error>>> {
        if let WaitStep::Deciding(pending) = &mut self.step
            && let Poll::Ready(decided) = pending.decision.as_mut().poll(cx)
            && let WaitStep::Deciding(pending) = std::mem::replace(&mut self.step, WaitStep::Next)
        {
            return Poll::Ready(self.queued.conclude(pending.turn, decided));
        }
        if self.timer.is_none() {
            self.set_timer(self.queued.deadline());
        }
        ready!(self.poll_timer(cx));
        Poll::Ready(Err(self.queued.too_long().into()))
    }

    /// Calls the inner service, and leaves the queues after that.
    fn send(self, in_flight: InFlight) -> Stage<S, R, PaceLayer<K, T, A>> {
        let Self { mut inner, mut request, layer, .. } = self;
        K::mark_sent(&mut request, in_flight.reservation());
        Stage::Sent { response: inner.call(request), in_flight: Some((in_flight, layer)) }
    }
}

/// Reads advice. An error does not prove that there was room.
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
            Stage::Sent { .. } => "sent",
            Stage::Failed { .. } => "failed",
        };
        f.debug_tuple("ResponseFuture").field(&stage).finish()
    }
}
