//! Guards of calls that are about to be sent, and of calls that are in flight.

use std::sync::Arc;

use crate::client::{
    advice::Advice,
    pace::{
        queue::QueueKeys,
        scheduler::{Scheduler, SentCalls},
    },
};

/// The reservation of a call that is about to be sent, if the store agrees. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Reservation {
    scheduler: Arc<Scheduler>,
    keys: QueueKeys,
}

/// A call in flight. Dropping it reports that the call is over.
#[derive(Debug)]
pub(super) struct InFlight {
    scheduler: Arc<Scheduler>,
    calls: SentCalls,
    advice: Option<Advice>,
}

impl Reservation {
    /// Guards a reservation that the scheduler has made.
    pub(super) fn new(scheduler: &Arc<Scheduler>, keys: &QueueKeys) -> Self {
        Self { scheduler: Arc::clone(scheduler), keys: keys.clone() }
    }

    /// Turns the reservation into a call in flight.
    pub(super) fn send(mut self) -> InFlight {
        let keys = std::mem::take(&mut self.keys);
        InFlight { scheduler: Arc::clone(&self.scheduler), calls: self.scheduler.send(&keys), advice: None }
    }

    /// Disarms the guard; the caller gives the reservation back.
    pub(super) fn disarm(mut self) {
        self.keys.clear();
    }
}

impl InFlight {
    /// Reports that the call is over, with the advice of its response.
    pub(super) fn finish(mut self, advice: Advice) {
        self.advice = Some(advice);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.keys.is_empty() {
            self.scheduler.release(&self.keys);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.scheduler.finish(&self.calls, self.advice.as_ref());
    }
}
