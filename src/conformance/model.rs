//! The model of a store: a list of timestamps for each history.

use std::{collections::BTreeMap, time::Duration};

use crate::policy::{Policy, Quota};

const MILLI: Duration = Duration::from_millis(1);

/// The timestamps of the units charged to a history, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Timestamps(Vec<Duration>);

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
    pub(super) fn timestamps(&self, rule: usize, key: &str) -> Timestamps {
        self.0.get(&(rule, key.to_owned())).cloned().unwrap_or_default()
    }

    pub(super) fn charge(&mut self, rule: usize, key: &str, now: Duration) {
        self.0.entry((rule, key.to_owned())).or_default().0.push(now);
    }

    pub(super) fn forget(&mut self, rule: usize, key: &str) {
        self.0.remove(&(rule, key.to_owned()));
    }
}

impl Timestamps {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of units within `window` before `now`. A unit at t counts while now < t + window.
    pub(super) fn counted(&self, window: Duration, now: Duration) -> u64 {
        self.0.iter().filter(|at| **at + window > now).count() as u64
    }

    /// Returns the bounds of the units that a quota may count.
    pub(super) fn used(&self, policy: &Policy, quota: &Quota, now: Duration) -> Bounds<u64> {
        let window = quota.window();
        Bounds {
            min: self.counted(window, now).min(quota.limit()),
            max: self.counted(window + lateness(policy, quota), now).min(quota.limit()),
        }
    }

    /// Returns the bounds of the time until an `exhausted` quota has room, or until the oldest unit leaves that another one
    /// counts.
    pub(super) fn changes_after(
        &self,
        policy: &Policy,
        quota: &Quota,
        exhausted: bool,
        now: Duration,
    ) -> Bounds<Duration> {
        let (window, late) = (quota.window(), lateness(policy, quota));
        let oldest = |window: Duration| self.0.iter().find(|at| **at + window > now).copied();
        let newest = self.0.len().checked_sub(quota.limit() as usize).and_then(|at| self.0.get(at)).copied();
        let (first, last) = if exhausted { (newest, newest) } else { (oldest(window + late), oldest(window)) };
        let until = |at: Duration| (at + window).saturating_sub(now);
        Bounds { min: first.map_or(Duration::ZERO, until), max: last.map_or(Duration::ZERO, until) + late }
    }
}

/// Returns `true` if the reported state of a quota can be compared with the model.
///
/// A store need not remember more units than the longest window admits. Where denials count there may be more, which a
/// shorter window with a larger limit would report. That quota then decides nothing, for the longer one is full whenever
/// it is.
pub(super) fn is_comparable(policy: &Policy, quota: &Quota) -> bool {
    let is_beside = |other: &Quota| other.window() >= quota.window() && other.limit() < quota.limit();
    !policy.counts_denied() || !policy.quotas().any(is_beside)
}

/// Returns by how much a unit of `quota` may come back late.
fn lateness(policy: &Policy, quota: &Quota) -> Duration {
    let resolution = policy.entries_per_window();
    let width = if quota.limit() > u64::from(resolution) { quota.window() / resolution } else { Duration::ZERO };
    width.max(MILLI)
}
