//! The log of requests with costs: an entry for each admission, with the running total at its end.

use std::{collections::VecDeque, fmt};

use crate::history::{
    cost_entry::CostEntry,
    exact_log::{count_newest, push_within},
    plan::{Plan, Window},
    receipt::HistoryId,
    room::Room,
};

/// The log of one key whose requests have costs.
///
/// ```text
///   oldest                                                            newest
///   | 12:00:00.120, 900 | 12:00:00.340, 1400 | ... | 12:00:41.700, 88210 |
///                         a window begins here: it counts 88210 - 900 units
/// ```
///
/// Nothing moves when units leave a window. Admissions of one tick share an entry. Once there are thousands, neighbours are
/// merged in the cells of the plan's [`Grid`](crate::history::grid::Grid), and take the later timestamp.
///
/// The caller keeps `newest`, the tick of the newest unit, and passes it in.
#[derive(Debug)]
pub(super) struct CostLog<E> {
    entries: VecDeque<E>,
    /// The running total before the oldest entry.
    before: u64,
    /// The newest timestamp that was forgotten with its units.
    forgotten: u64,
    /// The newest timestamp whose units are counted with a later one.
    merged: u64,
    id: HistoryId,
    /// The number of entries at which they are merged.
    merges_at: u32,
    /// For each window the result of the last search, where the next one begins. The answer is right with any value.
    hints: Box<[u32]>,
}

/// What a log keeps when it is given another shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) id: HistoryId,
    /// The newest timestamp that was forgotten.
    pub(super) forgotten: u64,
}

/// A log of costs with entries of any width.
///
/// `newest` is the tick of the newest unit and `now` the tick that is asked about.
pub(super) trait Costs: fmt::Debug + Send {
    /// Drops the entries that have left every window by more than the difference between the clocks of threads.
    fn expire(&mut self, plan: &Plan, newest: u64, now: u64);

    /// Returns the number of units that `window` counts.
    fn used(&mut self, plan: &Plan, window: &Window, newest: u64, now: u64) -> u64;

    /// Returns the number of units that `window` counts, and the tick in which it has room for a cost; if it has room now, the
    /// tick in which the oldest of these units leaves; if it never has, `None`.
    fn usage(&mut self, plan: &Plan, window: &Window, units: u64, newest: u64, now: u64) -> (u64, Option<u64>);

    /// Returns when all windows have room for a cost.
    fn room(&mut self, plan: &Plan, units: u64, newest: u64, now: u64) -> Room;

    /// Returns the tick in which unit `nth` of the `used` that `window` counts leaves it, counted from 1 at the oldest.
    fn leaves_at(&self, window: &Window, used: u64, nth: u64, newest: u64) -> u64;

    /// Returns the number of remembered units.
    fn units(&self) -> u64;

    /// Records units at `timestamp`, which is not before `newest`.
    fn charge(&mut self, plan: &Plan, units: u64, timestamp: u64, newest: u64, now: u64);

    /// Records units of another shape in the order of their ticks, and keeps its identity if it had one.
    fn restore(&mut self, plan: &Plan, recorded: &[(u64, u64)], newest: u64, identity: Option<Identity>);

    /// Takes units from the entry in which those of `timestamp` are counted, and returns how many: at most what is recorded
    /// there, and none if the entry is not later than `expired`.
    fn give_back(&mut self, timestamp: u64, units: u64, newest: u64, expired: u64) -> u64;

    /// Sets the units recorded later than `latest` to `latest`, and takes another identity. Units before `expired` had left
    /// every window, and do not return.
    fn clamp(&mut self, expired: u64, latest: u64, newest: u64);

    /// Returns the ticks in which units count as recorded, oldest first, and how many in each.
    fn recorded(&self, newest: u64) -> Vec<(u64, u64)>;

    fn identity(&self) -> Identity;

    #[cfg(test)]
    fn entries(&self) -> usize;

    #[cfg(test)]
    fn bytes(&self) -> usize;
}

impl<E> CostLog<E>
where
    E: CostEntry,
{
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            entries: VecDeque::new(),
            before: 0,
            forgotten: 0,
            merged: 0,
            id: HistoryId::next(),
            merges_at: plan.grid().merges_at(0) as u32,
            hints: vec![0; plan.grid().len()].into(),
        }
    }

    /// Returns the running total at the end.
    #[inline]
    fn total(&self) -> u64 {
        self.entries.back().map_or(self.before, |entry| entry.total())
    }

    /// Returns the running total before entry `at`.
    #[inline]
    fn total_before(&self, at: usize) -> u64 {
        let earlier = at.checked_sub(1).and_then(|earlier| self.entries.get(earlier));
        earlier.map_or(self.before, |entry| entry.total())
    }

    /// Returns the timestamp of entry `at`, or `newest` if there is no such entry.
    #[inline]
    fn timestamp(&self, at: usize, newest: u64) -> u64 {
        self.entries.get(at).map_or(newest, |entry| entry.timestamp(newest))
    }

    /// Returns the first entry that `window` counts.
    #[inline]
    fn first_in(&mut self, plan: &Plan, window: &Window, newest: u64, now: u64) -> usize {
        let (len, expired) = (self.entries.len(), now.saturating_sub(window.ticks));
        let hint = self.hints.get_mut(plan.grid().position(window.ticks));
        let is_live = |at| self.entries.get(at).is_some_and(|entry| entry.timestamp(newest) > expired);
        let count = count_newest(hint.as_deref().map_or(0, |hint| *hint as usize), len, len, is_live);
        if let Some(hint) = hint
            && count < len
        {
            *hint = count as u32;
        }
        len - count
    }

    /// Returns the units of the entries from `first` on.
    #[inline]
    fn units_from(&self, first: usize) -> u64 {
        E::units_between(self.total_before(first), self.total())
    }

    /// Returns the timestamp of unit `nth` of the entries from `first` on, counted from 1 at the oldest.
    fn timestamp_of_unit(&self, first: usize, nth: u64, newest: u64) -> u64 {
        let before = self.total_before(first);
        let has = |at| self.entries.get(at).is_some_and(|entry| E::units_between(before, entry.total()) >= nth);
        self.timestamp(gallop(first, self.entries.len(), has), newest)
    }

    /// Drops the oldest `count` entries.
    fn forget(&mut self, count: usize, newest: u64) {
        if let Some(last) = count.checked_sub(1).and_then(|last| self.entries.get(last)) {
            self.forgotten = self.forgotten.max(last.timestamp(newest));
            self.before = last.total();
            self.entries.drain(..count);
        }
    }

    /// Drops the entries up to `expired`.
    #[inline]
    fn forget_until(&mut self, expired: u64, newest: u64) {
        let is_live = |at| self.entries.get(at).is_some_and(|entry| entry.timestamp(newest) > expired);
        let len = self.entries.len();
        if len > 0 && !is_live(0) {
            // Usually a single entry has expired.
            let live = count_newest(len - 1, len, len, is_live);
            self.forget(len - live, newest);
        }
    }

    /// Drops the oldest units that are more than a total can hold: the newest ones matter.
    #[cold]
    fn forget_units(&mut self, mut units: u64, newest: u64) {
        while units > 0
            && let Some(oldest) = self.entries.front()
        {
            let of_oldest = E::units_between(self.before, oldest.total());
            if of_oldest > units {
                self.before = self.before.wrapping_add(units) & E::MAX_UNITS;
                return;
            }
            units -= of_oldest;
            self.forget(1, newest);
        }
    }

    /// Adds units to the newest entry, or to a new one.
    #[inline]
    fn record(&mut self, units: u64, timestamp: u64, newest: u64) {
        let units = units.min(E::MAX_UNITS);
        let room = E::MAX_UNITS - self.units_from(0);
        if units > room {
            self.forget_units(units - room, newest);
            // The entry of this tick may be among them, and is there again.
            self.forgotten = self.forgotten.min(timestamp.saturating_sub(1));
        }
        let entry = E::new(timestamp, self.total().wrapping_add(units) & E::MAX_UNITS);
        match self.entries.back_mut() {
            Some(last) if last.timestamp(newest) == timestamp => *last = entry,
            _ => push_within(&mut self.entries, entry, self.merges_at as usize),
        }
    }

    /// Merges entries because there are many.
    #[cold]
    fn thin(&mut self, plan: &Plan, newest: u64, now: u64) {
        let grid = plan.grid();
        self.merge(newest, |timestamp| grid.merges_from(timestamp, now, false));
        if self.entries.len() > grid.most_merged() {
            self.merge(newest, |timestamp| grid.merges_from(timestamp, now, true));
        }
        self.merges_at = grid.merges_at(self.entries.len()) as u32;
    }

    /// Merges each entry with the earlier ones back to the timestamp that `merges_from` returns for it.
    fn merge(&mut self, newest: u64, merges_from: impl Fn(u64) -> u64) {
        let entries = self.entries.make_contiguous();
        let (mut first, mut until) = (entries.len(), u64::MAX);
        for at in (0..entries.len()).rev() {
            let Some(entry) = entries.get(at).copied() else { break };
            let timestamp = entry.timestamp(newest);
            if timestamp >= until {
                self.merged = self.merged.max(timestamp);
                continue;
            }
            until = merges_from(timestamp);
            first -= 1;
            if let Some(kept) = entries.get_mut(first) {
                *kept = entry;
            }
        }
        self.entries.drain(..first);
    }

    /// Returns the entry in which units recorded at `timestamp` are counted.
    fn entry_of(&self, timestamp: u64, newest: u64) -> Option<usize> {
        let len = self.entries.len();
        // Units are given back soon, as a rule.
        let later = gallop(0, len, |back| self.timestamp(len - 1 - back, newest) < timestamp);
        let at = len.checked_sub(later).filter(|at| *at < len && timestamp > self.forgotten)?;
        (timestamp <= self.merged || self.timestamp(at, newest) == timestamp).then_some(at)
    }
}

impl<E> Costs for CostLog<E>
where
    E: CostEntry,
{
    fn expire(&mut self, plan: &Plan, newest: u64, now: u64) {
        self.forget_until(now.saturating_sub(plan.grid().kept_ticks()), newest);
    }

    fn used(&mut self, plan: &Plan, window: &Window, newest: u64, now: u64) -> u64 {
        let first = self.first_in(plan, window, newest, now);
        self.units_from(first)
    }

    fn usage(&mut self, plan: &Plan, window: &Window, units: u64, newest: u64, now: u64) -> (u64, Option<u64>) {
        let first = self.first_in(plan, window, newest, now);
        let used = self.units_from(first);
        let leaves = |excess: u64| self.timestamp_of_unit(first, excess.max(1), newest).saturating_add(window.ticks);
        (used, window.excess_for(used, units).map(leaves))
    }

    fn room(&mut self, plan: &Plan, units: u64, newest: u64, now: u64) -> Room {
        let mut room = Room::Now;
        for window in plan.windows() {
            let first = self.first_in(plan, window, newest, now);
            room = room.max(match window.excess_for(self.units_from(first), units) {
                None => Room::Never,
                Some(0) => Room::Now,
                Some(excess) => Room::At(self.timestamp_of_unit(first, excess, newest).saturating_add(window.ticks)),
            });
        }
        room
    }

    fn leaves_at(&self, window: &Window, used: u64, nth: u64, newest: u64) -> u64 {
        let behind = used.saturating_sub(nth);
        let total = self.total();
        let has_left = |entry: &E| E::units_between(entry.total(), total) > behind;
        self.timestamp(self.entries.partition_point(has_left), newest).saturating_add(window.ticks)
    }

    fn units(&self) -> u64 {
        self.units_from(0)
    }

    fn charge(&mut self, plan: &Plan, units: u64, timestamp: u64, newest: u64, now: u64) {
        self.expire(plan, newest, now);
        if self.entries.len() >= self.merges_at as usize {
            self.thin(plan, newest, now);
        }
        self.record(units, timestamp, newest);
    }

    fn restore(&mut self, plan: &Plan, recorded: &[(u64, u64)], newest: u64, identity: Option<Identity>) {
        // Older ones do not count, and may be too old for a small entry.
        let is_old = |(timestamp, _): &(u64, u64)| timestamp.saturating_add(plan.grid().kept_ticks()) <= newest;
        let (old, kept) = recorded.split_at(recorded.partition_point(is_old));
        self.merges_at = plan.grid().merges_at(kept.len()) as u32;
        kept.iter().for_each(|(timestamp, units)| self.record(*units, *timestamp, *timestamp));
        if let Some(Identity { id, forgotten }) = identity {
            // Timestamps of another tick are found in the entry that they were rounded to, or in the next.
            (self.id, self.merged) = (id, newest);
            let forgotten = old.last().map_or(forgotten, |(timestamp, _)| forgotten.max(*timestamp));
            self.forgotten = self.forgotten.max(forgotten);
        }
    }

    fn give_back(&mut self, timestamp: u64, units: u64, newest: u64, expired: u64) -> u64 {
        let entry = self.entry_of(timestamp, newest);
        let Some(at) = entry.filter(|at| units > 0 && self.timestamp(*at, newest) > expired) else { return 0 };
        let given = units.min(E::units_between(self.total_before(at), self.total_before(at + 1)));
        self.entries.range_mut(at..).for_each(|entry| entry.take(given));
        if self.total_before(at) == self.total_before(at + 1) {
            self.entries.remove(at);
        }
        given
    }

    fn clamp(&mut self, expired: u64, latest: u64, newest: u64) {
        self.forget_until(expired, newest);
        let total = self.total();
        while self.entries.back().is_some_and(|entry| entry.timestamp(newest) > latest) {
            self.entries.pop_back();
        }
        let units = E::units_between(self.total(), total);
        if units > 0 {
            self.record(units, latest, latest);
        }
        // Receipts of before are those of another history.
        (self.id, self.forgotten, self.merged) = (HistoryId::next(), 0, 0);
    }

    fn recorded(&self, newest: u64) -> Vec<(u64, u64)> {
        let mut before = self.before;
        let entries = self.entries.iter().map(|entry| {
            let units = E::units_between(before, entry.total());
            before = entry.total();
            (entry.timestamp(newest), units)
        });
        entries.collect()
    }

    fn identity(&self) -> Identity {
        Identity { id: self.id, forgotten: self.forgotten }
    }

    #[cfg(test)]
    fn entries(&self) -> usize {
        self.entries.len()
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.hints) + self.entries.capacity() * size_of::<E>()
    }
}

/// Returns the first number from `from` on that has `reached` something, or `len`. All after it must have reached it too. The
/// closer the answer, the fewer are asked.
fn gallop(from: usize, len: usize, reached: impl Fn(usize) -> bool) -> usize {
    let (mut from, mut step) = (from, 1);
    while from + step <= len && !reached(from + step - 1) {
        from += step;
        step *= 2;
    }
    let mut until = (from + step - 1).min(len);
    while from < until {
        let middle = from + (until - from) / 2;
        if reached(middle) {
            until = middle;
        } else {
            from = middle + 1;
        }
    }
    from
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{history::cost_entry::SmallEntry, policy::Policy};

    thread_local! {
        static STEPS: Cell<usize> = const { Cell::new(0) };
    }

    /// An entry that counts how often entries are looked at or changed.
    #[derive(Clone, Copy, Debug)]
    struct CountedEntry(SmallEntry);

    impl CostEntry for CountedEntry {
        const MAX_UNITS: u64 = SmallEntry::MAX_UNITS;

        fn new(timestamp: u64, total: u64) -> Self {
            Self(SmallEntry::new(timestamp, total))
        }

        fn timestamp(self, newest: u64) -> u64 {
            STEPS.set(STEPS.get() + 1);
            self.0.timestamp(newest)
        }

        fn total(self) -> u64 {
            STEPS.set(STEPS.get() + 1);
            self.0.total()
        }

        fn take(&mut self, units: u64) {
            STEPS.set(STEPS.get() + 1);
            self.0.take(units);
        }
    }

    fn steps<T>(run: impl FnOnce() -> T) -> usize {
        STEPS.set(0);
        run();
        STEPS.get()
    }

    /// Returns a log with 4000 entries of 10 units in the ticks from 1000 to 4999, and its plan.
    fn long_log() -> (CostLog<CountedEntry>, Plan) {
        let plan = Plan::for_costs_among(&Policy::per_minute(40_000), &[Policy::per_minute(40_000)]);
        let mut log = CostLog::new(&plan);
        (1000..5000).for_each(|tick: u64| log.charge(&plan, 10, tick, tick.saturating_sub(1), tick));
        (log, plan)
    }

    #[test]
    fn a_denial_with_thousands_of_entries_in_the_way_takes_few_steps() {
        let (mut log, plan) = long_log();
        assert_eq!(log.room(&plan, 10, 4999, 5000), Room::At(1000 + 60_000_000));
        assert_eq!(log.room(&plan, 40_000, 4999, 5000), Room::At(4999 + 60_000_000));
        for units in [1, 10, 1000, 20_000, 40_000] {
            let steps = steps(|| log.room(&plan, units, 4999, 5000));
            assert!(steps <= 40, "{steps} steps for {units} units");
        }
    }

    #[test]
    fn giving_back_soon_takes_few_steps_and_late_a_pass_over_what_came_since() {
        let (mut log, _) = long_log();
        for (entries_ago, most) in [(0, 12), (9, 30), (99, 140), (3999, 4100)] {
            let steps = steps(|| assert_eq!(log.give_back(4999 - entries_ago, 1, 4999, 0), 1));
            assert!(steps <= most, "{steps} steps for an entry {entries_ago} ago");
        }
    }

    #[test]
    fn no_more_is_given_back_than_an_entry_holds_and_an_empty_one_goes() {
        let (mut log, _) = long_log();
        assert_eq!(log.give_back(1500, 4, 4999, 0), 4);
        assert_eq!(log.give_back(1500, 100, 4999, 0), 6);
        assert_eq!((log.give_back(1500, 1, 4999, 0), log.entries(), log.units()), (0, 3999, 39_990));
        assert_eq!(log.give_back(999, 1, 4999, 0), 0);
        assert_eq!(log.give_back(5000, 1, 4999, 0), 0);
    }

    #[test]
    fn a_log_is_80_bytes_and_4_for_each_window() {
        assert_eq!(size_of::<CostLog<SmallEntry>>(), 80);
    }

    #[test]
    fn galloping_finds_what_a_walk_finds() {
        for len in 0..40 {
            for from in 0..=len {
                for first in from..=len {
                    assert_eq!(gallop(from, len, |at| at >= first), first, "{first} of {from}..{len}");
                }
            }
        }
    }
}
