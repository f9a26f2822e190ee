//! Guards of calls that are about to be sent, and of calls that are in flight.

use std::sync::Arc;

use crate::{
    client::{
        advice::Advice,
        pace::{
            queue::QueueKeys,
            scheduler::{Scheduler, SentCalls},
        },
    },
    limiter::{Decision, Reservation},
};

/// The turn of a call that is about to be sent, if the store agrees. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct ReservedTurn {
    scheduler: Arc<Scheduler>,
    keys: QueueKeys,
}

/// A call in flight. Dropping it reports that the call is over.
#[derive(Debug)]
pub(super) struct InFlight {
    scheduler: Arc<Scheduler>,
    calls: SentCalls,
    advice: Option<Advice>,
    /// The units that the call has reserved, until it is known what it cost.
    reservation: Option<Reservation>,
}

impl ReservedTurn {
    /// Guards a turn that the scheduler has made.
    pub(super) fn new(scheduler: &Arc<Scheduler>, keys: &QueueKeys) -> Self {
        Self { scheduler: Arc::clone(scheduler), keys: keys.clone() }
    }

    /// Turns it into a call in flight, which has reserved the units of a decision.
    pub(super) fn send(mut self, decision: &Decision) -> InFlight {
        let (keys, scheduler) = (std::mem::take(&mut self.keys), Arc::clone(&self.scheduler));
        let (calls, reservation) = (scheduler.send(&keys), decision.reservation().cloned());
        InFlight { scheduler, calls, advice: None, reservation }
    }

    /// Disarms the guard; the caller gives the turn back.
    pub(super) fn disarm(mut self) {
        self.keys.clear();
    }
}

impl InFlight {
    /// Returns the units that the call has reserved.
    pub(super) const fn reservation(&self) -> Option<&Reservation> {
        self.reservation.as_ref()
    }

    /// Reports that the call is over, with the advice of its response.
    pub(super) fn finish(mut self, advice: Advice) {
        self.advice = Some(advice);
    }
}

impl Drop for ReservedTurn {
    fn drop(&mut self) {
        if !self.keys.is_empty() {
            self.scheduler.release(&self.keys);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.scheduler.finish(&self.calls, self.advice.as_ref());
        if let Some(reservation) = self.reservation.take() {
            drop(reservation);
            self.scheduler.wake_first(&self.calls);
        }
    }
}
