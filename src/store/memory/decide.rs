//! Decisions about one history.

use crate::{
    clock::Timestamp,
    history::{History, Plan, Receipt, Room},
    store::contract::{Detail, QuotaState, QuotaStates, Verdict},
};

impl History {
    /// Records one unit if all quotas have room for it, and writes the verdict. Returns the nanosecond until which a denial
    /// stays the same, or `None` for an admission.
    #[inline]
    pub(super) fn decide(&mut self, plan: &Plan, now: Timestamp, verdict: &mut Verdict) -> Option<u64> {
        verdict.now = now;
        if verdict.detail != Detail::Full && !plan.counts_denied() {
            let Some(room_at) = self.charge_if_room(plan, now) else {
                verdict.admitted = true;
                return None;
            };
            if verdict.detail == Detail::None {
                verdict.admitted = false;
                return Some(plan.tick().beginning(room_at));
            }
        }
        self.decide_in_full(plan, now, verdict)
    }

    /// Records a cost if all quotas have room for it, and writes the verdict. Returns where it was recorded.
    #[inline(never)]
    pub(super) fn decide_cost(&mut self, plan: &Plan, units: u64, now: Timestamp, verdict: &mut Verdict) -> Receipt {
        verdict.now = now;
        if verdict.detail != Detail::Full && !plan.counts_denied() {
            match self.room_for(plan, units, now) {
                Room::Now => {
                    verdict.admitted = true;
                    return self.charge_units(plan, units, now);
                }
                _ if verdict.detail == Detail::None => {
                    verdict.admitted = false;
                    return Receipt::NONE;
                }
                _ => {}
            }
        }
        verdict.admitted = self.measure_cost(plan, units, now, |state| verdict.states.push(state));
        if verdict.admitted {
            return self.admit_cost(plan, units, now, &mut verdict.states);
        }
        if plan.counts_denied() {
            self.charge_units(plan, units, now);
            verdict.states.clear();
            self.measure_cost(plan, units, now, |state| verdict.states.push(state));
        }
        Receipt::NONE
    }

    /// Notes the state of each quota, and returns `true` if all of them have room for a cost.
    pub(in crate::store) fn measure_cost(
        &mut self,
        plan: &Plan,
        units: u64,
        now: Timestamp,
        mut note: impl FnMut(QuotaState),
    ) -> bool {
        self.expire(plan, now);
        let mut has_room = true;
        for window in plan.windows() {
            let (used, changes_at) = self.usage_for(plan, window, units, now);
            let changes_at = match changes_at {
                None => QuotaState::NEVER,
                Some(_) if used == 0 => 0,
                Some(tick) => plan.tick().beginning(tick),
            };
            has_room &= used.saturating_add(units) <= window.limit;
            note(QuotaState { used, changes_at });
        }
        has_room
    }

    /// Records an admitted cost, in the history and in the states measured before. Returns where.
    pub(in crate::store) fn admit_cost(
        &mut self,
        plan: &Plan,
        units: u64,
        now: Timestamp,
        states: &mut [QuotaState],
    ) -> Receipt {
        let receipt = self.charge_units(plan, units, now);
        for (state, window) in states.iter_mut().zip(plan.windows()).filter(|_| units > 0) {
            let was_empty = state.used == 0;
            state.used = state.used.saturating_add(units);
            // With more units the oldest one is the same as before.
            if was_empty {
                state.changes_at = plan.tick().beginning(self.leaves_at(plan, window, units, 1));
            }
        }
        receipt
    }

    #[inline]
    fn decide_in_full(&mut self, plan: &Plan, now: Timestamp, verdict: &mut Verdict) -> Option<u64> {
        verdict.admitted = self.measure(plan, now, |state| verdict.states.push(state));
        if verdict.admitted {
            self.admit(plan, now, &mut verdict.states);
            return None;
        }
        self.count_denied(plan, now, &mut verdict.states);
        verdict.states.iter().filter(|state| state.used > 0).map(|state| state.changes_at).min()
    }

    /// Notes the state of each quota, and returns `true` if all of them have room for one more unit.
    #[inline]
    pub(in crate::store) fn measure(&mut self, plan: &Plan, now: Timestamp, mut note: impl FnMut(QuotaState)) -> bool {
        self.expire(plan, now);
        let mut has_room = true;
        for window in plan.windows() {
            let (used, changes_at) = self.usage(plan, window, now);
            has_room &= used < window.limit;
            let changes_at = if used == 0 { 0 } else { plan.tick().beginning(changes_at) };
            note(QuotaState { used, changes_at });
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
            self.measure(plan, now, |state| states.push(state));
        }
    }
}
