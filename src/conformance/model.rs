//! The model: a list of timestamps for each history.

use std::{collections::BTreeMap, time::Duration};

use crate::policy::{Policy, Quota};

const MILLI: Duration = Duration::from_millis(1);

/// When units were charged to a history, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Vec<Duration>);

/// The logs of all rules, by their numbers, and keys.
#[derive(Debug, Default)]
pub(super) struct Model(BTreeMap<(usize, String), Log>);

/// A range of what is right; the store may be late by so much as it has promised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Between<T> {
    pub(super) least: T,
    pub(super) most: T,
}

impl<T: PartialOrd> Between<T> {
    pub(super) fn contains(&self, value: &T) -> bool {
        self.least <= *value && *value <= self.most
    }
}

impl Model {
    pub(super) fn log(&self, rule: usize, key: &str) -> Log {
        self.0.get(&(rule, key.to_owned())).cloned().unwrap_or_default()
    }

    pub(super) fn charge(&mut self, rule: usize, key: &str, now: Duration) {
        self.0.entry((rule, key.to_owned())).or_default().0.push(now);
    }

    pub(super) fn forget(&mut self, rule: usize, key: &str) {
        self.0.remove(&(rule, key.to_owned()));
    }
}

impl Log {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Units within `window` before `now`: one at t counts while now < t + window.
    pub(super) fn counted(&self, window: Duration, now: Duration) -> u32 {
        self.0.iter().filter(|at| **at + window > now).count() as u32
    }

    /// Units that a quota may take for used.
    pub(super) fn used(&self, policy: &Policy, quota: &Quota, now: Duration) -> Between<u32> {
        let window = quota.window();
        Between {
            least: self.counted(window, now).min(quota.limit()),
            most: self.counted(window + lateness(policy, quota), now).min(quota.limit()),
        }
    }

    /// The time until a quota that is `exhausted` has room, else until the oldest unit leaves that it counts.
    pub(super) fn changes_after(
        &self,
        policy: &Policy,
        quota: &Quota,
        exhausted: bool,
        now: Duration,
    ) -> Between<Duration> {
        let (window, late) = (quota.window(), lateness(policy, quota));
        let oldest = |window: Duration| self.0.iter().find(|at| **at + window > now).copied();
        let newest = self.0.len().checked_sub(quota.limit() as usize).and_then(|at| self.0.get(at)).copied();
        let (first, last) = if exhausted { (newest, newest) } else { (oldest(window + late), oldest(window)) };
        let until = |at: Duration| (at + window).saturating_sub(now);
        Between { least: first.map_or(Duration::ZERO, until), most: last.map_or(Duration::ZERO, until) + late }
    }
}

/// Whether what is told of a quota can be held against the log. A store need not remember more units than the longest
/// window admits. Where denials count there may be more of them, of which a shorter window with a larger limit would
/// tell; it decides nothing then, for the longer one is full whenever it is.
pub(super) fn is_told(policy: &Policy, quota: &Quota) -> bool {
    let is_beside = |other: &Quota| other.window() >= quota.window() && other.limit() < quota.limit();
    !policy.counts_denied() || !policy.quotas().any(is_beside)
}

/// How late a unit of `quota` may come back.
fn lateness(policy: &Policy, quota: &Quota) -> Duration {
    let resolution = policy.entries_per_window();
    let grain = if quota.limit() > resolution { quota.window() / resolution } else { Duration::ZERO };
    grain.max(MILLI)
}
