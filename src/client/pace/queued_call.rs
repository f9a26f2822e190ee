//! A call in the queues, and its attempts to be admitted.

use std::{fmt, pin::Pin, sync::Arc, task::Waker};

use tokio::time::Instant;

#[cfg(feature = "metrics")]
use crate::limiter::Waiting;
use crate::{
    client::pace::{
        error::{CannotQueue, PaceError},
        in_flight::{InFlight, ReservedTurn},
        queue::Ticket,
        scheduler::{Admission, Scheduler},
    },
    error::Unavailable,
    limiter::{Decision, HeldCharges, MaybeDecided, QuotaStatus, RateLimiter},
    request::RequestKind,
    store::{Detail, Store},
};

/// A call that is to be admitted. Dropping it leaves the queues, and wakes the next one.
#[derive(Debug)]
pub(super) struct QueuedCall {
    scheduler: Arc<Scheduler>,
    ticket: Ticket,
    charges: HeldCharges,
    /// `false` until it has joined a queue: then there is nothing to leave.
    is_queued: bool,
    #[cfg(feature = "metrics")]
    waiting: Option<Waiting>,
}

/// The result of an attempt to be admitted.
#[derive(Debug)]
pub(super) enum Attempted {
    /// The call goes now.
    Admitted(InFlight),
    /// The call waits. It will be woken, and tries again at this time at the latest.
    Queued(Instant),
    /// The store decides asynchronously.
    Deciding(PendingDecision),
}

/// A decision that the store makes asynchronously, and the turn that waits for it.
pub(super) struct PendingDecision {
    pub(super) decision: Pin<Box<dyn Future<Output = Result<Decision, Unavailable>> + Send>>,
    pub(super) turn: ReservedTurn,
}

impl QueuedCall {
    /// Draws a ticket for a call with these charges, which joins no queue yet.
    pub(super) fn new(scheduler: &Arc<Scheduler>, charges: HeldCharges) -> Self {
        let ticket = scheduler.draw_ticket(&charges.charges.charges);
        Self {
            scheduler: Arc::clone(scheduler),
            ticket,
            charges,
            is_queued: false,
            #[cfg(feature = "metrics")]
            waiting: None,
        }
    }

    /// Returns `None` if the call has to wait, which it begins with when it is polled.
    pub(super) fn attempt_at_once<K, T>(&self, limiter: &RateLimiter<K, T>) -> Option<Attempted>
    where
        K: RequestKind,
        T: Store,
    {
        if !self.scheduler.reserve_at_once(&self.ticket) {
            return None;
        }
        let turn = self.turn();
        match limiter.decide(&self.charges, Detail::Full) {
            MaybeDecided::Ready(decision) => decision.is_admitted().then(|| Attempted::Admitted(turn.send(&decision))),
            MaybeDecided::Pending(decision) => Some(Attempted::deciding(decision, turn)),
        }
    }

    /// Asks the scheduler first, and then the store. The call waits in the queues from now on if it is not admitted.
    pub(super) fn attempt<K, T, E>(&mut self, limiter: &RateLimiter<K, T>) -> Result<Attempted, PaceError<E>>
    where
        K: RequestKind,
        T: Store,
    {
        self.is_queued = true;
        if let Admission::Queued(until) = self.scheduler.reserve(&self.ticket)? {
            self.note_wait();
            return Ok(Attempted::Queued(until));
        }
        let turn = self.turn();
        match limiter.decide(&self.charges, Detail::Full) {
            MaybeDecided::Ready(decision) => self.conclude(turn, Ok(decision)),
            MaybeDecided::Pending(decision) => Ok(Attempted::deciding(decision, turn)),
        }
    }

    /// Goes on as the store has decided.
    pub(super) fn conclude<E>(
        &mut self,
        turn: ReservedTurn,
        decided: Result<Decision, Unavailable>,
    ) -> Result<Attempted, PaceError<E>> {
        let decision = decided.map_err(PaceError::Unavailable)?;
        if decision.is_admitted() {
            return Ok(Attempted::Admitted(turn.send(&decision)));
        }
        if let Some(quota) = decision.exhausted().find(QuotaStatus::is_never_possible) {
            return Err(PaceError::never_possible(&quota));
        }
        turn.disarm();
        self.is_queued = true;
        let until = self.scheduler.deny(&self.ticket, decision.waits())?;
        self.note_wait();
        Ok(Attempted::Queued(until))
    }

    /// Asks the scheduler alone. The call waits in the queues from now on if it is not its turn.
    pub(super) fn check_turn(&mut self) -> Result<Admission, CannotQueue> {
        self.is_queued = true;
        self.scheduler.check_turn(&self.ticket)
    }

    /// Returns `true` if the call was woken since it last asked. If not then `waker` will be.
    pub(super) fn park(&self, waker: &Waker) -> bool {
        self.scheduler.park(self.ticket.number, waker)
    }

    /// Notes that the call is being polled, and is to be woken by `waker`.
    pub(super) fn touch(&self, waker: &Waker) {
        if self.is_queued {
            self.scheduler.touch(self.ticket.number, waker);
        }
    }

    /// Returns when the call has waited as long as it may.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.ticket.deadline
    }

    /// Returns the error of a call that has waited as long as it may.
    pub(super) fn too_long(&self) -> CannotQueue {
        CannotQueue::TooLong { wait: self.ticket.waited(Instant::now()) }
    }

    /// Notes that the call has to wait, until it goes.
    #[cfg_attr(not(feature = "metrics"), expect(clippy::missing_const_for_fn, reason = "its twin notes"))]
    fn note_wait(&mut self) {
        #[cfg(feature = "metrics")]
        if self.waiting.is_none() {
            self.waiting = Waiting::begin(&self.charges);
        }
    }

    fn turn(&self) -> ReservedTurn {
        ReservedTurn::new(&self.scheduler, &self.ticket.keys)
    }
}

impl Attempted {
    fn deciding(
        decision: impl Future<Output = Result<Decision, Unavailable>> + Send + 'static,
        turn: ReservedTurn,
    ) -> Self {
        Self::Deciding(PendingDecision { decision: Box::pin(decision), turn })
    }
}

impl Drop for QueuedCall {
    fn drop(&mut self) {
        if self.is_queued {
            self.scheduler.leave(self.ticket.number);
        }
    }
}

impl fmt::Debug for PendingDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PendingDecision")
    }
}
