//! Tickets: the positions of calls in the queues.

use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::key::{Charge, Key};

/// The key that a call is counted under, within the scope of a rule. Each has a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct QueueKey {
    pub(super) scope: u32,
    pub(super) key: Key,
}

/// All keys of one call.
pub(super) type QueueKeys = SmallVec<[QueueKey; 2]>;

/// The position of a call in the queues.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    /// Counts calls in the order of their arrival.
    pub(super) number: u64,
    pub(super) drawn_at: Instant,
    /// When the call has waited as long as it may.
    pub(super) deadline: Option<Instant>,
    pub(super) keys: QueueKeys,
}

impl Ticket {
    /// Returns this time, or the deadline if that is before.
    pub(super) fn cap(&self, time: Instant) -> Instant {
        self.deadline.map_or(time, |deadline| deadline.min(time))
    }

    /// Returns the time that the call has waited.
    pub(super) fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.drawn_at)
    }
}

impl From<&Charge> for QueueKey {
    fn from(charge: &Charge) -> Self {
        Self { scope: charge.scope(), key: charge.key() }
    }
}
