//! Decisions about one history.

use crate::{
    clock::Timestamp,
    history::{History, Plan},
    store::contract::{Detail, QuotaState, QuotaStates, Verdict},
};

impl History {
    /// Records one unit if all quotas have room for it, and writes the verdict. Returns the nanosecond until which a denial
    /// stays the same, or `None` for an admission.
    #[inline]
    pub(super) fn decide(&mut self, plan: &Plan, now: Timestamp, verdict: &mut Verdict) -> Option<u64> {
        verdict.now = now;
        if verdict.detail != Detail::Full && !plan.counts_denied() {
            let Some(room_at) = self.room_at(plan, now) else {
                verdict.admitted = true;
                self.charge(plan, now);
                return None;
            };
            if verdict.detail == Detail::None {
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

    /// Appends the state of each quota, and returns `true` if all of them have room for one more unit.
    #[inline]
    pub(in crate::store) fn measure(&mut self, plan: &Plan, now: Timestamp, states: &mut QuotaStates) -> bool {
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

    /// Records an admitted unit, in the history and in the states measured before.
    #[inline]
    pub(in crate::store) fn admit(&mut self, plan: &Plan, now: Timestamp, states: &mut [QuotaState]) {
        self.charge(plan, now);
        for (state, window) in states.iter_mut().zip(plan.windows()) {
            state.used = state.used.saturating_add(1);
            // With more units the oldest one is the same as before.
            if state.used == 1 {
                state.changes_at = plan.tick().beginning(self.leaves_at(plan, window, 1, 1));
            }
        }
    }

    /// Records a denied unit if the plan counts those, and measures the states again.
    pub(in crate::store) fn count_denied(&mut self, plan: &Plan, now: Timestamp, states: &mut QuotaStates) {
        if plan.counts_denied() {
            self.charge(plan, now);
            states.clear();
            self.measure(plan, now, states);
        }
    }
}
