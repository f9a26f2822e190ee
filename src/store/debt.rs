//! What of a shared history may be a key's own.

use smallvec::SmallVec;

use crate::{
    clock::{Clock, Timestamp},
    history::{History, Plan, Window},
    store::verdict::QuotaState,
};

/// A history that keys without a place share. Its units have numbers, from 1 on.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) history: History,
    /// The number of the newest unit.
    units: u64,
    /// The newest unit that was forgotten while it may have counted: where denials count there may be more than are kept.
    cut: u64,
    /// When that was recorded, in ticks.
    cut_at: u64,
}

/// The units that may be a key's own: those after `since` up to `until`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Debt {
    since: u64,
    until: u64,
    /// When the key got its place, in ticks: no unit is later.
    moved_in: u64,
}

/// How much of a debt a window counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owed {
    /// Units of which is known only that they have left by `lost_until`.
    lost: u32,
    lost_until: u64,
    /// Units of the shared history that the window counts: first those that are not owed, and then those that are.
    used: u32,
    before: u32,
    kept: u32,
}

/// Of each quota of a plan.
pub(super) type AllOwed = SmallVec<[Owed; 4]>;

impl Shared {
    pub(super) fn fresh(plan: &Plan) -> Self {
        Self { history: History::new(plan), units: 0, cut: 0, cut_at: 0 }
    }

    pub(super) const fn units(&self) -> u64 {
        self.units
    }

    /// All units of now after `since`, for a key that has no place until now.
    pub(super) const fn debt_since(&self, since: u64, plan: &Plan, now: Timestamp) -> Debt {
        Debt { since, until: self.units, moved_in: now.ceil_ticks(plan.tick()) }
    }

    /// The moment to decide at, as with [a key's own history](super::shards::Shards::agree).
    pub(super) fn agree(&mut self, plan: &Plan, now: Timestamp, clock: &dyn Clock) -> Timestamp {
        if !self.history.is_ahead_of(plan, now) {
            return now;
        }
        let now = Timestamp::read(clock);
        if self.history.clamp_to(plan, now) {
            self.cut_at = self.cut_at.min(now.ceil_ticks(plan.tick()));
        }
        now
    }

    /// Records one unit, in the history and in what was measured of it.
    pub(super) fn admit(&mut self, plan: &Plan, now: Timestamp, states: &mut [QuotaState]) {
        self.history.expire(plan, now);
        let (before, oldest) = (self.history.units(), self.oldest(plan));
        self.history.admit(plan, now, states);
        self.units = self.units.saturating_add(1);
        if self.history.units() <= before {
            self.cut = self.units.saturating_sub(self.history.units().into());
            self.cut_at = oldest;
        }
    }

    /// What each window counts of a debt.
    pub(super) fn owed(&mut self, debt: Debt, plan: &Plan, now: Timestamp) -> AllOwed {
        self.history.expire(plan, now);
        plan.windows().iter().map(|window| self.owed_in(debt, plan, window, now)).collect()
    }

    /// The tick in which unit `nth` of those owed leaves the window, counted from 1 at the oldest.
    pub(super) fn leaves_at(&self, plan: &Plan, window: &Window, owed: &Owed, nth: u32) -> u64 {
        match nth.checked_sub(owed.lost) {
            None | Some(0) => owed.lost_until,
            Some(nth) => self.history.leaves_at(plan, window, owed.used, owed.before.saturating_add(nth)),
        }
    }

    fn owed_in(&mut self, debt: Debt, plan: &Plan, window: &Window, now: Timestamp) -> Owed {
        // More than the limit there are where one rule counts a request under several new keys.
        let (used, _) = self.history.usage(plan, &Window { limit: u32::MAX, ..*window }, now);
        let gone = self.units.saturating_sub(used.into());
        let before = debt.since.clamp(gone, self.units) - gone;
        let kept = debt.until.min(self.units).saturating_sub(gone + before);
        let lost_until = debt.moved_in.min(self.cut_at).saturating_add(window.ticks);
        let is_lost = lost_until > now.floor_ticks(plan.tick());
        let lost = if is_lost { debt.until.min(self.cut).saturating_sub(debt.since) } else { 0 };
        let [before, kept, lost] = [before, kept, lost].map(|units| u32::try_from(units).unwrap_or(u32::MAX));
        Owed { lost, lost_until, used, before, kept }
    }

    fn oldest(&self, plan: &Plan) -> u64 {
        let longest = plan.windows().iter().max_by_key(|window| window.ticks);
        let leaves_at = |window: &Window| self.history.leaves_at(plan, window, self.history.units(), 1);
        longest.map_or(0, |window| leaves_at(window).saturating_sub(window.ticks))
    }
}

impl Owed {
    pub(super) const fn units(&self) -> u32 {
        self.lost.saturating_add(self.kept)
    }
}
