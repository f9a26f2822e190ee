//! How a history is read and changed in the course of one decision.

use std::ops::RangeInclusive;

use crate::{
    clock::Timestamp,
    history::{History, Plan},
    store::{
        debt::{Owed, Shared},
        verdict::{Detail, QuotaState, QuotaStates, Verdict},
    },
};

impl History {
    /// Records one unit if all quotas have room for it, and writes the verdict. Of a denial it returns until when nothing
    /// of it changes.
    #[inline]
    pub(super) fn decide(&mut self, plan: &Plan, now: Timestamp, verdict: &mut Verdict) -> Option<u64> {
        verdict.now = now;
        if verdict.told != Detail::Full && !plan.counts_denied() {
            let Some(room_at) = self.room_at(plan, now) else {
                verdict.admitted = true;
                self.charge(plan, now);
                return None;
            };
            if verdict.told == Detail::None {
                verdict.admitted = false;
                return Some(plan.tick().beginning(room_at));
            }
        }
        self.decide_in_full(plan, now, verdict)
    }

    #[inline]
    fn decide_in_full(&mut self, plan: &Plan, now: Timestamp, verdict: &mut Verdict) -> Option<u64> {
        verdict.admitted = self.measure(plan, now, &mut verdict.states);
        if verdict.admitted {
            self.admit(plan, now, &mut verdict.states);
            return None;
        }
        self.count_denied(plan, now, &mut verdict.states);
        verdict.states.iter().filter(|state| state.used > 0).map(|state| state.changes_at).min()
    }

    /// Appends how each quota stands; says whether all of them have room for one more unit.
    #[inline]
    pub(super) fn measure(&mut self, plan: &Plan, now: Timestamp, states: &mut QuotaStates) -> bool {
        self.expire(plan, now);
        let mut has_room = true;
        for window in plan.windows() {
            let (used, changes_at) = self.usage(plan, window, now);
            has_room &= used < window.limit;
            let changes_at = if used == 0 { 0 } else { plan.tick().beginning(changes_at) };
            states.push(QuotaState { used, changes_at });
        }
        has_room
    }

    /// Records an admitted unit, in the history and in what was measured of it.
    #[inline]
    pub(super) fn admit(&mut self, plan: &Plan, now: Timestamp, states: &mut [QuotaState]) {
        self.charge(plan, now);
        for (state, window) in states.iter_mut().zip(plan.windows()) {
            state.used = state.used.saturating_add(1);
            // What was the oldest unit still is.
            if state.used == 1 {
                state.changes_at = plan.tick().beginning(self.leaves_at(plan, window, 1, 1));
            }
        }
    }

    /// Records a denied unit where the plan counts those; the caller is told what is so after that.
    pub(super) fn count_denied(&mut self, plan: &Plan, now: Timestamp, states: &mut QuotaStates) {
        if plan.counts_denied() {
            self.charge(plan, now);
            states.clear();
            self.measure(plan, now, states);
        }
    }

    /// Says of each quota that was measured when it changes where units of a `shared` history may be the key's own: they
    /// are counted with its own.
    pub(super) fn explain_with(&self, shared: &Shared, plan: &Plan, states: &mut [QuotaState], debts: &[Owed]) {
        for ((state, debt), window) in states.iter_mut().zip(debts).zip(plan.windows()) {
            let (own, owed) = (state.used, debt.units());
            state.used = own.saturating_add(owed);
            let excess = window.excess(state.used).min(state.used);
            let own_leaves = |nth| if nth == 0 { 0 } else { self.leaves_at(plan, window, own, nth) };
            let owed_leaves = |nth| if nth == 0 { 0 } else { shared.leaves_at(plan, window, debt, nth) };
            let of_own = excess.saturating_sub(owed)..=excess.min(own);
            state.changes_at = plan.tick().beginning(leave_together(excess, of_own, own_leaves, owed_leaves));
        }
    }
}

/// When `count` units of two logs have left, oldest first: at most so many `of_own` from the one, the rest from the other.
fn leave_together(
    count: u32,
    of_own: RangeInclusive<u32>,
    own_leaves: impl Fn(u32) -> u64,
    owed_leaves: impl Fn(u32) -> u64,
) -> u64 {
    let both = |own: u32| own_leaves(own).max(owed_leaves(count - own));
    // The more are taken from the one log the later they leave, and the earlier those of the other.
    let (mut low, mut high) = of_own.into_inner();
    while low < high {
        let middle = low + (high - low) / 2;
        if own_leaves(middle + 1) <= owed_leaves(count - middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    both(low)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn units_of_two_logs_leave_as_those_of_one(
            mut own in prop::collection::vec(1u64..50, 0..12),
            mut owed in prop::collection::vec(1u64..50, 0..12),
            count in 1u32..24,
        ) {
            own.sort_unstable();
            owed.sort_unstable();
            let mut all = [own.clone(), owed.clone()].concat();
            all.sort_unstable();
            let count = count.min(all.len() as u32);
            let nth = |log: &[u64], nth: u32| if nth == 0 { 0 } else { log[nth as usize - 1] };
            let of_own = count.saturating_sub(owed.len() as u32)..=count.min(own.len() as u32);
            let at = leave_together(count, of_own, |own_nth| nth(&own, own_nth), |owed_nth| nth(&owed, owed_nth));
            prop_assert_eq!(at, nth(&all, count));
        }
    }
}
