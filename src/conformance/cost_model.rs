//! The model of a store that counts costs: for each history a list of what was recorded when.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{conformance::model::Bounds, policy::Quota};

/// What was recorded in a history, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordedCosts(Vec<RecordedCost>);

/// Units that were recorded at one time. What was settled down has fewer than were recorded.
#[derive(Clone, Copy, Debug)]
struct RecordedCost {
    number: u64,
    at: Duration,
    units: u64,
}

/// What was recorded in all histories, by the number of the rule and the key.
#[derive(Debug, Default)]
pub(super) struct CostModel {
    histories: BTreeMap<(usize, String), RecordedCosts>,
    recorded: u64,
}

impl CostModel {
    pub(super) fn history(&self, rule: usize, key: &str) -> RecordedCosts {
        self.histories.get(&(rule, key.to_owned())).cloned().unwrap_or_default()
    }

    /// Records units. Returns a number by which they are found again.
    pub(super) fn charge(&mut self, rule: usize, key: &str, units: u64, now: Duration) -> u64 {
        self.recorded += 1;
        if units > 0 {
            let recorded = RecordedCost { number: self.recorded, at: now, units };
            self.histories.entry((rule, key.to_owned())).or_default().0.push(recorded);
        }
        self.recorded
    }

    /// Takes units from those that were recorded under a number, unless the history was reset since.
    pub(super) fn give_back(&mut self, rule: usize, key: &str, number: u64, units: u64) {
        let history = self.histories.get_mut(&(rule, key.to_owned()));
        if let Some(found) = history.and_then(|history| history.0.iter_mut().find(|cost| cost.number == number)) {
            found.units = found.units.saturating_sub(units);
        }
    }

    pub(super) fn forget(&mut self, rule: usize, key: &str) {
        self.histories.remove(&(rule, key.to_owned()));
    }
}

impl RecordedCosts {
    /// Returns the bounds of the units that a quota may count, each of them later by up to `late`. There may be more than its
    /// limit.
    pub(super) fn used(&self, quota: &Quota, late: Duration, now: Duration) -> Bounds<u64> {
        let sum = |window| self.counted(window, now).map(|cost| cost.units).sum();
        Bounds { min: sum(quota.window()), max: sum(quota.window() + late) }
    }

    /// Returns the bounds of the time until a quota has room for a cost that it has none for.
    pub(super) fn room_after(&self, quota: &Quota, units: u64, late: Duration, now: Duration) -> Bounds<Duration> {
        let most = quota.limit().saturating_sub(units);
        let until = |window: Duration| {
            let used: u64 = self.counted(window, now).map(|cost| cost.units).sum();
            let leaves = self.leaves_at(window, now, used.saturating_sub(most));
            leaves.map_or(Duration::ZERO, |at| at.saturating_sub(now))
        };
        Bounds { min: until(quota.window()), max: until(quota.window() + late) }
    }

    /// Returns the bounds of the time until the oldest of the units leaves that a quota counts.
    pub(super) fn oldest_leaves_after(&self, quota: &Quota, late: Duration, now: Duration) -> Bounds<Duration> {
        let oldest = |window| self.counted(window, now).next().map(|cost| cost.at);
        let window = quota.window();
        let first = oldest(window + late).map_or(Duration::ZERO, |at| (at + window).saturating_sub(now));
        // If it counts none, or one that has left already.
        let last = oldest(window).or_else(|| oldest(window + late));
        Bounds { min: first, max: last.map_or(Duration::ZERO, |at| (at + window + late).saturating_sub(now)) }
    }

    /// Returns when so many of the units have left a window that counts them; `None` if that is so now.
    fn leaves_at(&self, window: Duration, now: Duration, units: u64) -> Option<Duration> {
        let mut sum = 0;
        let mut counted = self.counted(window, now).filter(|_| units > 0);
        let last = counted.find(|cost| {
            sum += cost.units;
            sum >= units
        });
        last.map(|cost| cost.at + window)
    }

    /// Returns what a window counts: a unit at t counts while now < t + window.
    fn counted(&self, window: Duration, now: Duration) -> impl Iterator<Item = &RecordedCost> {
        self.0.iter().filter(move |cost| cost.units > 0 && cost.at + window > now)
    }
}

impl fmt::Display for RecordedCosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let costs = self.0.iter().filter(|cost| cost.units > 0);
        f.debug_list().entries(costs.map(|cost| format_args!("{} at {:?}", cost.units, cost.at).to_string())).finish()
    }
}
