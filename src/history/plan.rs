//! A policy, compiled for the arithmetic of its histories.

use crate::{
    clock::Tick,
    history::ring::Ring,
    policy::{Policy, Quota},
};

/// A policy, compiled for the arithmetic of its histories.
#[derive(Debug)]
pub(crate) struct Plan {
    tick: Tick,
    windows: Box<[Window]>,
    exact: Option<Exact>,
    bucket_specs: Box<[BucketSpec]>,
    count_denied: bool,
    most_units: u64,
    horizon: u64,
}

/// One quota: its limit, its window in ticks, and the part of the history that ends with the window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) limit: u64,
    pub(crate) ticks: u64,
    pub(crate) counted: Counted,
}

/// The part of a history that a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// The timestamps.
    Exactly,
    /// The timestamps, and the buckets up to this part.
    InBuckets(usize),
}

/// The longest window that is counted exactly: it determines for how long timestamps are kept, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exact {
    pub(crate) ticks: u64,
    pub(crate) capacity: usize,
}

/// The window of a large quota, and the stretch of time whose admissions share a bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BucketSpec {
    pub(crate) window: u64,
    pub(crate) ticks: u64,
    /// Maximum number of buckets that can count at once.
    pub(crate) max_buckets: usize,
}

impl Window {
    /// Returns the limit as a number of entries.
    #[inline]
    pub(crate) fn limit_as_len(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }

    /// Returns the number of `used` units that have to leave before there is room, or 1 if there is room.
    pub(crate) const fn excess(&self, used: u64) -> u64 {
        let too_many = used.saturating_add(1).saturating_sub(self.limit);
        if too_many == 0 { 1 } else { too_many }
    }
}

impl Plan {
    /// The longest window of 32-bit timestamps, in ticks. Windows over six days have ticks of a millisecond, so it is 12
    /// days.
    pub(crate) const LONGEST_COMPACT_WINDOW: u64 = Tick::MOST_PER_WINDOW;

    pub(crate) fn new(policy: &Policy) -> Self {
        let tick = policy.tick();
        let (resolution, count_denied) = (policy.entries_per_window(), policy.counts_denied());
        let window = |quota: &Quota| Window {
            limit: quota.limit(),
            ticks: tick.count(quota.window()),
            counted: Counted::Exactly,
        };
        let mut windows: Box<[Window]> = policy.quotas().map(window).collect();
        let exact = longest_exact(&windows, resolution, count_denied);
        let bucket_specs = bucket_specs_beyond(exact.map_or(0, |exact| exact.ticks), &windows, resolution);
        for window in &mut windows {
            window.counted = counted_by(window, &bucket_specs);
        }
        let horizon = windows.iter().map(|window| window.ticks).max().unwrap_or(0);
        let late = bucket_specs.last().map_or(0, |spec| spec.ticks);
        let most_units = most_units(&windows, count_denied);
        Self { tick, windows, exact, bucket_specs, count_denied, most_units, horizon: horizon + late }
    }

    /// Returns the unit of time of all histories under this plan.
    #[inline]
    pub(crate) const fn tick(&self) -> Tick {
        self.tick
    }

    /// Converts ticks of this plan to microseconds.
    #[cfg(feature = "redis")]
    pub(crate) const fn micros(&self, ticks: u64) -> u64 {
        ticks.saturating_mul(self.tick.micros())
    }

    pub(crate) fn windows(&self) -> &[Window] {
        &self.windows
    }

    pub(crate) const fn exact(&self) -> Option<Exact> {
        self.exact
    }

    pub(crate) fn bucket_specs(&self) -> &[BucketSpec] {
        &self.bucket_specs
    }

    pub(crate) const fn counts_denied(&self) -> bool {
        self.count_denied
    }

    /// Returns the maximum number of units to remember: more cannot change any answer.
    pub(crate) const fn most_units(&self) -> u64 {
        self.most_units
    }

    /// Returns the age in ticks at which no unit counts any more: a history whose newest unit is that old is idle.
    pub(crate) const fn horizon(&self) -> u64 {
        self.horizon
    }

    /// Returns `true` if exact timestamps of 32 bits are enough.
    pub(crate) fn is_compact(&self) -> bool {
        let fits = self.exact.is_none_or(|exact| exact.capacity <= Ring::LARGEST);
        self.bucket_specs.is_empty() && fits && self.horizon <= Self::LONGEST_COMPACT_WINDOW
    }
}

fn longest_exact(windows: &[Window], resolution: u32, count_denied: bool) -> Option<Exact> {
    let small = windows.iter().filter(|window| window.limit <= u64::from(resolution));
    let longest = small.max_by_key(|window| (window.ticks, std::cmp::Reverse(window.limit)))?;
    let within = windows.iter().filter(|window| window.ticks <= longest.ticks);
    let counted = most_units(within, count_denied).min(resolution.into()).max(longest.limit);
    let capacity = if count_denied { counted } else { longest.limit } as usize;
    Some(Exact { ticks: longest.ticks, capacity })
}

/// Returns the maximum number of units that an answer depends on. Where denials count there may be more units than the
/// longest window admits, and a shorter window with a larger limit counts them.
fn most_units<'a>(windows: impl IntoIterator<Item = &'a Window>, count_denied: bool) -> u64 {
    let windows = windows.into_iter();
    if count_denied {
        return windows.map(|window| window.limit).max().unwrap_or(0);
    }
    let longest = windows.max_by_key(|window| (window.ticks, std::cmp::Reverse(window.limit)));
    longest.map_or(0, |window| window.limit)
}

/// Returns the buckets of the large quotas whose windows reach beyond the timestamps, shortest window first.
///
/// Widths are multiples of each other, so that a bucket falls whole into a bucket of the next part, and no unit is held
/// back by more than the width of one bucket of the quota that counts it.
fn bucket_specs_beyond(exact_ticks: u64, windows: &[Window], resolution: u32) -> Box<[BucketSpec]> {
    let mut large: Vec<&Window> =
        windows.iter().filter(|window| window.limit > u64::from(resolution) && window.ticks > exact_ticks).collect();
    large.sort_by_key(|window| (window.ticks, window.limit));
    large.dedup_by_key(|window| window.ticks);
    let mut previous = 1;
    large
        .into_iter()
        .map(|window| {
            let multiple = (window.ticks / u64::from(resolution) / previous).max(1);
            previous = previous.saturating_mul(multiple);
            let max_buckets = (window.ticks / previous).saturating_add(2) as usize;
            BucketSpec { window: window.ticks, ticks: previous, max_buckets }
        })
        .collect()
}

fn counted_by(window: &Window, bucket_specs: &[BucketSpec]) -> Counted {
    bucket_specs.iter().position(|spec| spec.window == window.ticks).map_or(Counted::Exactly, Counted::InBuckets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_quotas_are_counted_exactly() {
        let plan = Plan::new(&Policy::per_minute(60).and_per_hour(1800));
        assert!(plan.windows().iter().all(|window| window.counted == Counted::Exactly));
        assert_eq!(plan.exact().map(|exact| (exact.ticks, exact.capacity)), Some((900_000_000, 1800)));
        assert!(plan.bucket_specs().is_empty());
    }

    #[test]
    fn a_small_quota_stays_exact_beside_a_large_one() {
        let plan = Plan::new(&Policy::per_minute(600).and_per_hour(18_000));
        assert_eq!(plan.windows()[0].counted, Counted::Exactly);
        assert_eq!(plan.windows()[1].counted, Counted::InBuckets(0));
        assert_eq!(plan.bucket_specs()[0].ticks, 900_000_000 / 4096);
        assert_eq!(plan.horizon(), 900_000_000 + 900_000_000 / 4096);
    }

    #[test]
    fn a_large_quota_within_an_exact_window_needs_no_buckets() {
        let plan = Plan::new(&Policy::per_second(10_000).and_per_hour(100));
        assert_eq!(plan.windows()[0].counted, Counted::Exactly);
        assert!(plan.bucket_specs().is_empty());
    }

    #[test]
    fn widths_are_multiples_of_each_other_and_within_the_promised_lateness() {
        let policy = Policy::per_minute(10_000)
            .and_per_hour(100_000)
            .and(Quota::new(5_000_000, std::time::Duration::from_secs(100_003)));
        let plan = Plan::new(&policy);
        assert_eq!(plan.bucket_specs().len(), 3);
        for pair in plan.bucket_specs().windows(2) {
            assert_eq!(pair[1].ticks % pair[0].ticks, 0);
        }
        for spec in plan.bucket_specs() {
            assert!(spec.ticks * 4096 <= spec.window);
            assert!(spec.window / spec.ticks <= 2 * 4096, "{spec:?}");
        }
    }

    #[test]
    fn long_windows_and_large_limits_are_not_compact() {
        assert!(Plan::new(&Policy::per_day(4096)).is_compact());
        assert!(!Plan::new(&Policy::per_day(4097)).is_compact());
        assert!(!Plan::new(&Policy::new("100/30d".parse().unwrap())).is_compact());
    }
}
