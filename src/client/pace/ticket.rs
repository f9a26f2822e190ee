//! A turn to come.

use std::{sync::Arc, task::Waker, time::Duration};

use tokio::time::Instant;

use crate::{
    client::pace::{
        call::Reservation,
        error::Refused,
        place::{Place, Places},
        queues::{Queues, Turn},
    },
    limiter::{Decision, Governed},
};

/// A call's turn to come. Who drops it leaves the queues, and whoever is next is called.
#[derive(Debug)]
pub(super) struct Ticket {
    queues: Arc<Queues>,
    number: u64,
    since: Instant,
    governed: Governed,
    places: Places,
    /// Only then there is something to leave.
    is_waiting: bool,
}

impl Ticket {
    /// The next ticket, for a call that is charged so.
    pub(super) fn draw(queues: &Arc<Queues>, governed: Governed) -> Self {
        let places = governed.charges.iter().map(Place::from).collect();
        let (number, since) = (queues.next_number(), Instant::now());
        Self { queues: Arc::clone(queues), number, since, governed, places, is_waiting: false }
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// When it was drawn.
    pub(super) const fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    pub(super) const fn governed(&self) -> &Governed {
        &self.governed
    }

    /// Whether it is its turn. If not then it waits from now on.
    pub(super) fn turn(&mut self) -> Result<Turn, Refused> {
        self.is_waiting = true;
        self.queues.turn(self)
    }

    /// A reservation if nobody is before it and nothing holds it back. Otherwise it does not wait yet.
    pub(super) fn reserve_at_once(&self) -> Option<Reservation> {
        self.queues.reserve_at_once(self).then(|| Reservation::new(&self.queues, &self.places))
    }

    /// A reservation if it is its turn; else when to ask again, at the latest. It waits from now on then.
    pub(super) fn reserve(&mut self) -> Result<Result<Reservation, Instant>, Refused> {
        self.is_waiting = true;
        Ok(match self.queues.reserve(self)? {
            Turn::Mine => Ok(Reservation::new(&self.queues, &self.places)),
            Turn::Later(until) => Err(until),
        })
    }

    /// The store had no room. Says when to ask again; it waits until then.
    pub(super) fn denied(&mut self, reservation: Reservation, denial: &Decision) -> Result<Instant, Refused> {
        reservation.forget();
        self.is_waiting = true;
        self.queues.deny(self, denial.waits())
    }

    /// Whether it was called since it last asked. If not then `waker` will be.
    pub(super) fn park(&self, waker: &Waker) -> bool {
        self.queues.park(self.number, waker)
    }

    /// It is being polled, and is called by `waker`.
    pub(super) fn answer(&self, waker: &Waker) {
        if self.is_waiting {
            self.queues.answer(self.number, waker);
        }
    }

    /// This time, or when it has waited as long as it may if that is before.
    pub(super) fn due(&self, time: Instant) -> Instant {
        self.deadline().map_or(time, |deadline| deadline.min(time))
    }

    /// When it has waited as long as it may.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.queues.settings().max_wait.and_then(|wait| self.since.checked_add(wait))
    }

    /// It has waited as long as it may.
    pub(super) fn too_long(&self) -> Refused {
        Refused::TooLong(self.waited())
    }

    fn waited(&self) -> Duration {
        Instant::now().saturating_duration_since(self.since)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_waiting {
            self.queues.leave(self.number);
        }
    }
}
