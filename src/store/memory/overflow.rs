//! The overflow: histories that keys without a slot share.

use std::ops::RangeInclusive;

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::{
    clock::{Clock, Timestamp},
    history::{History, Plan, Window},
    key::{Charge, ChargeTarget},
    store::{
        Scopes,
        contract::{QuotaState, QuotaStates},
    },
};

/// Minimum number of evicted keys that are remembered.
const MIN_EVICTED: usize = 256;

/// One shared history per scope, used while the store is full of live keys.
///
/// A key that is charged here may get a slot of its own later. The units shared by then count against it as well, until
/// they have left: any of them may be the key's. Units charged after that cannot be. So crowding the store is neither a free
/// pass nor an amnesty, later keys keep nobody out, and newcomers stop feeding the shared history as soon as there is room.
///
/// A key that had a slot until its history was idle was charged none of the units shared by then. This is remembered of as
/// many evicted keys as there are slots. A key that is forgotten is held to all units that are still kept.
///
/// A request that one rule counts under several new keys needs room for one unit and charges one for each: otherwise it
/// could never pass where the limit is 1. No key exceeds its limit by that.
#[derive(Debug)]
pub(super) struct Overflow {
    scopes: Scopes,
    /// By scope.
    histories: HashMap<u32, SharedHistory>,
    /// The shared units that may belong to keys with slots, by the hash of key and scope.
    ranges: HashMap<u64, UnitRange>,
    /// The number of units shared when a key was evicted, by the same hash.
    evicted: HashMap<u64, u64>,
}

/// A history that keys without a slot share. Its units are numbered from 1.
#[derive(Debug)]
pub(super) struct SharedHistory {
    history: History,
    /// The number of its shape.
    shape: u32,
    /// Ticks were others when units were shared first: the ends of ranges say nothing.
    is_reshaped: bool,
    /// Number of the newest unit.
    units: u64,
    /// Number of the newest unit that was dropped while it may have counted. Where denials count there may be more units
    /// than are kept.
    dropped: u64,
    /// Tick in which that unit was recorded.
    dropped_at: u64,
}

/// The shared units that may belong to one key: those numbered after `since`, up to `until`.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnitRange {
    since: u64,
    until: u64,
    /// Tick in which the key got its slot. No unit of the range is later.
    ends_at: u64,
}

/// The units of a range that one window counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct RangeUsage {
    /// Units dropped from the history. All of them have left the window in the tick `dropped_until`.
    dropped: u64,
    dropped_until: u64,
    /// Units of the shared history that the window counts: first those `before` the range, then those `kept` of it.
    used: u64,
    before: u64,
    kept: u64,
}

/// One entry per quota of a plan.
pub(super) type RangeUsages = SmallVec<[RangeUsage; 4]>;

impl Overflow {
    pub(super) fn new(scopes: Scopes) -> Self {
        Self { scopes, histories: HashMap::new(), ranges: HashMap::new(), evicted: HashMap::new() }
    }

    /// Returns `true` if the shared history has the shape of newer rules than the target is of.
    pub(super) fn is_stale(&self, target: ChargeTarget) -> bool {
        self.histories.get(&target.scope).is_some_and(|shared| !self.scopes.may_move(shared.shape, target.shape))
    }

    /// Returns the shared history of a scope if any of its units still counts.
    pub(super) fn live_history(
        &mut self,
        target: ChargeTarget,
        plan: &Plan,
        now: Timestamp,
    ) -> Option<&mut SharedHistory> {
        let shared = self.histories.get_mut(&target.scope)?;
        shared.reshape(&self.scopes, target, plan);
        Some(shared).filter(|shared| !shared.history.is_idle(plan, now))
    }

    /// Returns the shared history of a scope, which is created if there is none.
    pub(super) fn history(&mut self, target: ChargeTarget, plan: &Plan) -> &mut SharedHistory {
        let shared = self.histories.entry(target.scope).or_insert_with(|| SharedHistory::new(target, plan));
        shared.reshape(&self.scopes, target, plan);
        shared
    }

    /// Returns the shared units that may belong to a key without a slot, or that got one just now.
    pub(super) fn range_of_newcomer(
        &mut self,
        hash: u64,
        target: ChargeTarget,
        plan: &Plan,
        now: Timestamp,
    ) -> UnitRange {
        let since = self.evicted.get(&hash).copied().unwrap_or(0);
        self.history(target, plan).range_since(since, plan, now)
    }

    /// Returns the shared units that may belong to a key with a slot.
    pub(super) fn range(&self, hash: u64) -> Option<UnitRange> {
        self.ranges.get(&hash).copied()
    }

    /// Remembers the shared units that may belong to a key that gets a slot.
    pub(super) fn insert_range(&mut self, hash: u64, range: UnitRange) {
        self.evicted.remove(&hash);
        self.ranges.insert(hash, range);
    }

    /// Forgets the shared units of a key, after they have left every window.
    pub(super) fn remove_range(&mut self, hash: u64) {
        self.ranges.remove(&hash);
    }

    /// Returns `true` if no shared unit that may belong to the key counts any more.
    pub(super) fn has_left(
        &mut self,
        hash: u64,
        target: ChargeTarget,
        plan: &Plan,
        now: Timestamp,
        clock: &dyn Clock,
    ) -> bool {
        let Some(range) = self.range(hash) else { return true };
        let Some(shared) = self.live_history(target, plan, now) else { return true };
        let now = shared.sync(plan, now, clock);
        shared.usages(range, plan, now).iter().all(|usage| usage.units() == 0)
    }

    /// Lets a key begin anew. Returns `true` if any shared unit that still counts may have been the key's.
    pub(super) fn forget(&mut self, hash: u64, charge: &Charge, now: Timestamp, slots: usize) -> bool {
        let (known, since) = (self.range(hash), self.evicted.get(&hash).copied().unwrap_or(0));
        let owed = self.histories.get_mut(&charge.scope()).is_some_and(|shared| {
            let Some(plan) = self.scopes.plan_of_shape(shared.shape) else { return false };
            let range = known.unwrap_or_else(|| shared.range_since(since, plan, now));
            shared.usages(range, plan, now).iter().any(|usage| usage.units() > 0)
        });
        self.evict(hash, charge.scope(), slots);
        owed
    }

    /// Notes that a key loses its slot, or begins anew: none of the units shared until now is its own. At most `slots` keys
    /// are remembered, or a few more.
    pub(super) fn evict(&mut self, hash: u64, scope: u32, slots: usize) {
        self.ranges.remove(&hash);
        let Some(shared) = self.histories.get(&scope) else { return };
        if self.evicted.len() >= slots.max(MIN_EVICTED) {
            self.evicted.clear();
        }
        self.evicted.insert(hash, shared.units);
    }

    /// Records the units of a key without a slot. They are not given back: any key without a slot may be held to them.
    pub(super) fn admit(&mut self, charge: &Charge, plan: &Plan, now: Timestamp, states: &mut QuotaStates) {
        self.history(charge.target, plan).admit(plan, charge.units, now, states);
    }
}

impl SharedHistory {
    fn new(target: ChargeTarget, plan: &Plan) -> Self {
        let (shape, history) = (target.shape, History::new(plan));
        Self { history, shape, is_reshaped: false, units: 0, dropped: 0, dropped_at: 0 }
    }

    /// Gives the history the shape that the target wants, if it has another since the rules were reloaded.
    fn reshape(&mut self, scopes: &Scopes, target: ChargeTarget, plan: &Plan) {
        if self.shape == target.shape {
            return;
        }
        if let Some(old) = scopes.plan_of_shape(self.shape) {
            self.dropped_at = plan.tick().from(old.tick(), self.dropped_at);
            self.history = std::mem::replace(&mut self.history, History::new(plan)).reshaped(old, plan);
        }
        (self.shape, self.is_reshaped) = (target.shape, true);
    }

    /// Returns the units after `since` that are still kept, for a key that gets a slot now.
    ///
    /// Those that were dropped say nothing about the key: its own history would have dropped as many of its units, and
    /// would keep none that are newer than those that are kept here. Units that are dropped later do count.
    fn range_since(&self, since: u64, plan: &Plan, now: Timestamp) -> UnitRange {
        let gone = self.units.saturating_sub(self.history.units());
        UnitRange { since: since.max(gone), until: self.units, ends_at: now.ceil_ticks(plan.tick()) }
    }

    /// Returns the time to decide at, as [`Shards::sync`](super::shards::Shards::sync) does for a key's own history.
    pub(super) fn sync(&mut self, plan: &Plan, now: Timestamp, clock: &dyn Clock) -> Timestamp {
        if !self.history.is_ahead_of(plan, now) {
            return now;
        }
        let now = Timestamp::read(clock);
        if self.history.clamp_to(plan, now) {
            self.dropped_at = self.dropped_at.min(now.ceil_ticks(plan.tick()));
        }
        now
    }

    /// Returns the history, to measure it.
    pub(super) const fn history_mut(&mut self) -> &mut History {
        &mut self.history
    }

    /// Records units, in the history and in the states measured before.
    fn admit(&mut self, plan: &Plan, units: u64, now: Timestamp, states: &mut [QuotaState]) {
        self.history.expire(plan, now);
        let (before, oldest) = (self.history.units(), self.oldest(plan));
        // A debt may be owed by a rule that has lost its costs in the meantime.
        if plan.has_costs() || units != 1 {
            self.history.admit_cost(plan, units, now, states);
        } else {
            self.history.admit(plan, now, states);
        }
        self.units = self.units.saturating_add(units);
        if self.history.units() < before.saturating_add(units) {
            self.dropped = self.units.saturating_sub(self.history.units());
            self.dropped_at = oldest;
        }
    }

    /// Returns the units of a range that each window counts.
    pub(super) fn usages(&mut self, range: UnitRange, plan: &Plan, now: Timestamp) -> RangeUsages {
        self.history.expire(plan, now);
        plan.windows().iter().map(|window| self.usage(range, plan, window, now)).collect()
    }

    /// Adds the units of a range to the states of a key's `own` history, as if all of them were its own.
    pub(super) fn add_to_states(
        &self,
        usages: &[RangeUsage],
        own: &History,
        plan: &Plan,
        units: u64,
        states: &mut [QuotaState],
    ) {
        for ((state, usage), window) in states.iter_mut().zip(usages).zip(plan.windows()) {
            let (own_units, shared_units) = (state.used, usage.units());
            state.used = own_units.saturating_add(shared_units);
            if units > window.limit {
                continue;
            }
            let excess = state.used.saturating_add(units).saturating_sub(window.limit).max(1).min(state.used);
            let own_leaves = |nth| if nth == 0 { 0 } else { own.leaves_at(plan, window, own_units, nth) };
            let shared_leaves = |nth| if nth == 0 { 0 } else { self.leaves_at(plan, window, usage, nth) };
            let of_own = excess.saturating_sub(shared_units)..=excess.min(own_units);
            state.changes_at = plan.tick().beginning(leave_together(excess, of_own, own_leaves, shared_leaves));
        }
    }

    /// Returns the tick in which unit `nth` of a range leaves the window, counted from 1 at the oldest.
    fn leaves_at(&self, plan: &Plan, window: &Window, usage: &RangeUsage, nth: u64) -> u64 {
        match nth.checked_sub(usage.dropped) {
            None | Some(0) => usage.dropped_until,
            Some(nth) => self.history.leaves_at(plan, window, usage.used, usage.before.saturating_add(nth)),
        }
    }

    fn usage(&mut self, range: UnitRange, plan: &Plan, window: &Window, now: Timestamp) -> RangeUsage {
        // More units than the limit exist where one rule counts a request under several new keys.
        let (used, _) = self.history.usage(plan, &Window { limit: u64::MAX, ..*window }, now);
        let gone = self.units.saturating_sub(used);
        let before = range.since.clamp(gone, self.units) - gone;
        let kept = range.until.min(self.units).saturating_sub(gone + before);
        let dropped_at = if self.is_reshaped { self.dropped_at } else { range.ends_at.min(self.dropped_at) };
        let dropped_until = dropped_at.saturating_add(window.ticks);
        // All units that are kept are later. Once the window of older rules has let go of these, a longer one knows no others.
        let may_count = self.history.units() > 0 && dropped_until > now.floor_ticks(plan.tick());
        let dropped = if may_count { range.until.min(self.dropped).saturating_sub(range.since) } else { 0 };
        RangeUsage { dropped, dropped_until, used, before, kept }
    }

    /// Returns the tick in which the oldest unit was recorded.
    fn oldest(&self, plan: &Plan) -> u64 {
        let longest = plan.windows().iter().max_by_key(|window| window.ticks);
        let leaves_at = |window: &Window| self.history.leaves_at(plan, window, self.history.units(), 1);
        longest.map_or(0, |window| leaves_at(window).saturating_sub(window.ticks))
    }
}

impl RangeUsage {
    pub(super) const fn units(&self) -> u64 {
        self.dropped.saturating_add(self.kept)
    }
}

/// Returns the tick in which `count` units of two logs have left, oldest first: as many as `of_own` allows from the one,
/// the rest from the other.
fn leave_together(
    count: u64,
    of_own: RangeInclusive<u64>,
    own_leaves: impl Fn(u64) -> u64,
    shared_leaves: impl Fn(u64) -> u64,
) -> u64 {
    let both = |own: u64| own_leaves(own).max(shared_leaves(count - own));
    // The more units come from the one log, the later these have left, and the earlier those of the other.
    let (mut low, mut high) = of_own.into_inner();
    while low < high {
        let middle = low + (high - low) / 2;
        if own_leaves(middle + 1) <= shared_leaves(count - middle) {
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
            mut shared in prop::collection::vec(1u64..50, 0..12),
            count in 1u64..24,
        ) {
            own.sort_unstable();
            shared.sort_unstable();
            let mut all = [own.clone(), shared.clone()].concat();
            all.sort_unstable();
            let count = count.min(all.len() as u64);
            let nth = |log: &[u64], nth: u64| if nth == 0 { 0 } else { log[nth as usize - 1] };
            let of_own = count.saturating_sub(shared.len() as u64)..=count.min(own.len() as u64);
            let at = leave_together(count, of_own, |own_nth| nth(&own, own_nth), |shared_nth| nth(&shared, shared_nth));
            prop_assert_eq!(at, nth(&all, count));
        }
    }
}
