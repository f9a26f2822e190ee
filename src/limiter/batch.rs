//! Reservations that are settled together, as observers see them.

use crate::{
    error::Unavailable,
    limiter::{RulebookRef, batch_entry::BatchEntry},
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
            let outcome = entry.outcome(moved, is_lost);
            rulebook.observation().report_settled(rulebook.rule(entry.rule.rule), entry, outcome, moved);
        }
    }
}
