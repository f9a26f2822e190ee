//! One key's place in the table.

use crate::{
    clock::{Clock, Moment},
    history::{History, Plan},
    key::Key,
    store::verdict::{Charge, QuotaState, QuotaStates},
};

/// A key and its history: one cache line, and all the memory that a key with up to five units needs.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot {
    pub(super) scope: u32,
    pub(super) key: Key,
    /// The key arrived while keys without a place were sharing an overflow history, so part of that may be its own.
    pub(super) owes: bool,
    pub(super) history: History,
}

impl Slot {
    pub(super) fn holds(&self, charge: &Charge) -> bool {
        self.scope == charge.scope && self.key == charge.key
    }
}

/// How a history reads and changes in the course of one decision.
impl History {
    /// The moment to decide at: `now`, unless the history is ahead of it.
    ///
    /// Another thread may have read the clock later and come first; reading it again settles that. If the history is
    /// still ahead then the clock itself stepped back, and the history goes back with it.
    pub(super) fn agree(&mut self, plan: &Plan, now: Moment, clock: &dyn Clock) -> Moment {
        if !self.is_ahead_of(now) {
            return now;
        }
        let now = Moment::read(clock);
        if self.is_ahead_of(now) {
            self.rebase(plan, now);
        }
        now
    }

    /// Appends what each quota has used; says whether all of them have room for one more unit.
    pub(super) fn measure(&mut self, plan: &Plan, now: Moment, states: &mut QuotaStates) -> bool {
        self.settle(plan, now);
        let mut has_room = true;
        for window in plan.windows() {
            let used = self.used(window, now);
            has_room &= used < window.limit;
            states.push(QuotaState { used, changes_at: 0 });
        }
        has_room
    }

    /// Records an admitted unit, in the history and in what was measured of it.
    pub(super) fn admit(&mut self, plan: &Plan, now: Moment, states: &mut [QuotaState]) {
        self.charge(plan, now);
        for (state, window) in states.iter_mut().zip(plan.windows()) {
            state.used = state.used.saturating_add(1);
            state.changes_at = self.leaves_at(plan, window, state.used, 1);
        }
    }

    /// Says of each quota that was measured when it changes: in a denied request, or in one that only looked.
    pub(super) fn explain(&self, plan: &Plan, states: &mut [QuotaState]) {
        for (state, window) in states.iter_mut().zip(plan.windows()) {
            if state.used > 0 {
                let in_the_way = (state.used.saturating_add(1)).saturating_sub(window.limit).max(1);
                state.changes_at = self.leaves_at(plan, window, state.used, in_the_way);
            }
        }
    }
}
