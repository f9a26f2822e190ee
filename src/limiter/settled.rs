//! Reservations that are settled, as observers see them.

use crate::{
    error::Unavailable,
    key::Key,
    limiter::{RuleTier, RulebookRef, observation::Settling},
    observe::SettledOutcome,
    store::{Settlement, Verdict},
};

/// What is to be settled in the store, and what is told of it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The parts of the reservations that cost other than was reserved.
    pub(super) settlements: Vec<Settlement>,
    /// The number of reservations in it.
    pub(super) len: usize,
    /// Those reservations, if somebody wants to know of them.
    pub(super) entries: Vec<BatchEntry>,
}

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

impl Batch {
    /// Reports what was settled, if a store could be asked.
    #[cold]
    pub(super) fn report(&self, rulebook: &RulebookRef, answer: Result<&Verdict, &Unavailable>) {
        let mut begin = 0;
        for entry in &self.entries {
            let moved = (begin..entry.end).map(|at| answer.map_or(0, |verdict| verdict.moved(at)));
            let moved = moved.fold(0, u64::saturating_add);
            let is_lost = answer.is_err() && begin < entry.end;
            begin = entry.end;
            let BatchEntry { rule, key, reserved, units, .. } = *entry;
            let settled = Settling { rule, key, outcome: entry.outcome(moved, is_lost), reserved, units, moved };
            rulebook.observation().report_settled(rulebook.rule(rule.rule), &settled);
        }
    }
}

impl BatchEntry {
    const fn outcome(&self, moved: u64, is_lost: bool) -> SettledOutcome {
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
