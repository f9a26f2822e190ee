//! One of the reservations that are settled together.

use crate::{key::Key, limiter::RuleTier, observe::SettledOutcome};

/// A reservation of one rule in a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchEntry {
    pub(super) rule: RuleTier,
    pub(super) key: Key,
    pub(super) reserved: u64,
    pub(super) units: u64,
    /// Somebody said what it cost, or the outcome did.
    pub(super) is_told: bool,
    /// The index behind its last settlement.
    pub(super) end: usize,
}

impl BatchEntry {
    pub(super) const fn outcome(&self, moved: u64, is_lost: bool) -> SettledOutcome {
        match () {
            () if is_lost => SettledOutcome::Lost,
            () if !self.is_told => SettledOutcome::Unsettled,
            () if self.units > self.reserved => SettledOutcome::Higher,
            () if self.units == self.reserved => SettledOutcome::Equal,
            () if moved == 0 => SettledOutcome::Late,
            () => SettledOutcome::Lower,
        }
    }
}
