//! The model of a store: a list of timestamps for each history.

use std::{collections::BTreeMap, time::Duration};

use crate::policy::{Policy, Quota};

/// The timestamps of the units charged to a history, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Timestamps {
    all: Vec<Duration>,
    /// The number of units, from the oldest on, that a store may have forgotten: other rules did not need them.
    unsure: usize,
    /// The age up to which units are remembered.
    remembered: Duration,
}

/// The timestamps of all histories, by the number of the rule and the key.
#[derive(Debug, Default)]
pub(super) struct Model(BTreeMap<(usize, String), Timestamps>);

/// The range of correct values: a store may be late by as much as the policy allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds<T> {
    pub(super) min: T,
    pub(super) max: T,
}

impl<T: PartialOrd> Bounds<T> {
    pub(super) fn contains(&self, value: &T) -> bool {
        self.min <= *value && *value <= self.max
    }
}

impl Model {
    /// Returns the history as it is now.
    pub(super) fn timestamps(&self, rule: usize, key: &str, now: Duration) -> Timestamps {
        let mut timestamps = self.0.get(&(rule, key.to_owned())).cloned().unwrap_or_default();
        timestamps.forget_old(now);
        timestamps
    }

    /// Notes that a store has looked at a history, and may have forgotten what is too old.
    pub(super) fn touch(&mut self, rule: usize, key: &str, now: Duration) {
        if let Some(timestamps) = self.0.get_mut(&(rule, key.to_owned())) {
            timestamps.forget_old(now);
        }
    }

    /// Charges a unit to a history, whose rule has windows of up to `longest`.
    pub(super) fn charge(&mut self, rule: usize, key: &str, now: Duration, longest: Duration) {
        let timestamps = self.0.entry((rule, key.to_owned())).or_default();
        timestamps.all.push(now);
        timestamps.remembered = longest;
    }

    pub(super) fn forget(&mut self, rule: usize, key: &str) {
        self.0.remove(&(rule, key.to_owned()));
    }

    /// Notes that a rule has windows of up to `longest` from now on, and that it remembered this many units of each history up
    /// to now.
    pub(super) fn reload(&mut self, rule: usize, longest: Duration, most: usize) {
        for (_, timestamps) in self.0.iter_mut().filter(|((of, _), _)| *of == rule) {
            timestamps.remembered = timestamps.remembered.min(longest);
            timestamps.unsure = timestamps.unsure.max(timestamps.all.len().saturating_sub(most));
        }
    }
}

impl Timestamps {
    pub(super) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn forget_old(&mut self, now: Duration) {
        let old = self.all.partition_point(|at| at.saturating_add(self.remembered) <= now);
        self.unsure = self.unsure.max(old);
    }

    /// Returns the units that every store remembers.
    fn sure(&self) -> &[Duration] {
        &self.all[self.unsure..]
    }

    /// Returns the number of units within `window` before `now` that every store remembers. A unit at t counts while
    /// now < t + window.
    pub(super) fn counted(&self, window: Duration, now: Duration) -> u64 {
        live(self.sure(), window, now).len() as u64
    }

    /// Returns the bounds of the units that a quota may count, each of them later by up to `late`.
    pub(super) fn used(&self, quota: &Quota, late: Duration, now: Duration) -> Bounds<u64> {
        let window = quota.window();
        Bounds {
            min: self.counted(window, now).min(quota.limit()),
            max: (live(&self.all, window + late, now).len() as u64).min(quota.limit()),
        }
    }

    /// Returns the bounds of the time until an `exhausted` quota has room, or until the oldest unit leaves that another one
    /// counts.
    pub(super) fn changes_after(
        &self,
        quota: &Quota,
        late: Duration,
        exhausted: bool,
        now: Duration,
    ) -> Bounds<Duration> {
        let window = quota.window();
        let oldest = |of: &[Duration], window: Duration| live(of, window, now).first().copied();
        let newest = |of: &[Duration]| of.len().checked_sub(quota.limit() as usize).and_then(|at| of.get(at)).copied();
        let (first, last) = if exhausted {
            (newest(self.sure()), newest(&self.all))
        } else {
            // If no unit is sure, the newest may be the only one that is remembered.
            let newest = || self.all.last().copied();
            (oldest(&self.all, window + late), oldest(self.sure(), window).or_else(newest))
        };
        let until = |at: Duration| (at + window).saturating_sub(now);
        Bounds { min: first.map_or(Duration::ZERO, until), max: last.map_or(Duration::ZERO, until) + late }
    }
}

impl Default for Timestamps {
    fn default() -> Self {
        Self { all: Vec::new(), unsure: 0, remembered: Duration::MAX }
    }
}

/// Returns the units that a window still counts, of a list with the oldest first.
fn live(units: &[Duration], window: Duration, now: Duration) -> &[Duration] {
    &units[units.partition_point(|at| *at + window <= now)..]
}

/// Returns `true` if the reported state of a quota can be compared with the model.
///
/// A store need not remember more units than the longest window admits. Where denials count there may be more, and after a
/// reload, which a shorter window with a larger limit would report. That quota then decides nothing, for the longer one is
/// full whenever it is.
pub(super) fn is_comparable(policy: &Policy, quota: &Quota, is_reloaded: bool) -> bool {
    let is_beside = |other: &Quota| other.window() >= quota.window() && other.limit() < quota.limit();
    !(policy.counts_denied() || is_reloaded) || !policy.quotas().any(is_beside)
}
