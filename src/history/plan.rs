//! A policy, made ready for the arithmetic.

use crate::{
    clock::Tick,
    history::ring::Ring,
    policy::{Policy, Quota},
};

/// What a history needs to know of its policy.
#[derive(Debug)]
pub(crate) struct Plan {
    tick: Tick,
    windows: Box<[Window]>,
    exact: Option<Exact>,
    grains: Box<[Grain]>,
    count_denied: bool,
    most_units: u32,
    horizon: u64,
}

/// One quota: its window in ticks and which part of the history ends with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) limit: u32,
    pub(crate) ticks: u64,
    pub(crate) counted: Counted,
}

/// Where the units that a quota counts are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Among the stamps.
    Exactly,
    /// Among the stamps and in the layers up to this one.
    UpToLayer(usize),
}

/// The longest window that is counted exactly: how long a stamp is kept, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exact {
    pub(crate) ticks: u64,
    pub(crate) capacity: usize,
}

/// The window of a large quota and the grain of time whose admissions share an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grain {
    pub(crate) window: u64,
    pub(crate) ticks: u64,
    /// The most cells that can count at once.
    pub(crate) cells: usize,
}

impl Window {
    /// How many of the `used` units have to leave before there is room, or else one.
    pub(crate) const fn in_the_way(&self, used: u32) -> u32 {
        let too_many = used.saturating_add(1).saturating_sub(self.limit);
        if too_many == 0 { 1 } else { too_many }
    }
}

impl Plan {
    /// Stamps are kept in 32 bits up to this window, in ticks. The tick is a millisecond if it is over six days; so it is 12 days.
    pub(crate) const LONGEST_COMPACT_WINDOW: u64 = Tick::MOST_PER_WINDOW;

    pub(crate) fn of(policy: &Policy) -> Self {
        Self::counting_in(policy.tick(), policy)
    }

    pub(crate) fn counting_in(tick: Tick, policy: &Policy) -> Self {
        let (resolution, count_denied) = (policy.entries_per_window(), policy.counts_denied());
        let window = |quota: &Quota| Window {
            limit: quota.limit(),
            ticks: tick.count(quota.window()),
            counted: Counted::Exactly,
        };
        let mut windows: Box<[Window]> = policy.quotas().map(window).collect();
        let exact = longest_exact(&windows, resolution, count_denied);
        let grains = grains_beyond(exact.map_or(0, |exact| exact.ticks), &windows, resolution);
        for window in &mut windows {
            window.counted = counted_by(window, &grains);
        }
        let horizon = windows.iter().map(|window| window.ticks).max().unwrap_or(0);
        let late = grains.last().map_or(0, |grain| grain.ticks);
        let most_units = most_units(&windows, count_denied);
        Self { tick, windows, exact, grains, count_denied, most_units, horizon: horizon + late }
    }

    /// What all times in the history of this plan are counted in.
    #[inline]
    pub(crate) const fn tick(&self) -> Tick {
        self.tick
    }

    pub(crate) fn windows(&self) -> &[Window] {
        &self.windows
    }

    pub(crate) const fn exact(&self) -> Option<Exact> {
        self.exact
    }

    pub(crate) fn grains(&self) -> &[Grain] {
        &self.grains
    }

    pub(crate) const fn counts_denied(&self) -> bool {
        self.count_denied
    }

    /// The most units that have to be remembered: more cannot change any answer.
    pub(crate) const fn most_units(&self) -> u32 {
        self.most_units
    }

    /// A history whose newest admission is this old, in ticks, is equal to a fresh one.
    pub(crate) const fn horizon(&self) -> u64 {
        self.horizon
    }

    /// Whether exact 32-bit stamps are all that is needed.
    pub(crate) fn is_compact(&self) -> bool {
        let fits = self.exact.is_none_or(|exact| exact.capacity <= Ring::LARGEST);
        self.grains.is_empty() && fits && self.horizon <= Self::LONGEST_COMPACT_WINDOW
    }
}

fn longest_exact(windows: &[Window], resolution: u32, count_denied: bool) -> Option<Exact> {
    let small = windows.iter().filter(|window| window.limit <= resolution);
    let longest = small.max_by_key(|window| (window.ticks, std::cmp::Reverse(window.limit)))?;
    let within = windows.iter().filter(|window| window.ticks <= longest.ticks);
    let told = most_units(within, count_denied).min(resolution).max(longest.limit);
    let capacity = if count_denied { told } else { longest.limit } as usize;
    Some(Exact { ticks: longest.ticks, capacity })
}

/// The most units that any answer is about. Where denials count there may be more of them than the longest window admits,
/// of which a shorter one with a larger limit tells.
fn most_units<'a>(windows: impl IntoIterator<Item = &'a Window>, count_denied: bool) -> u32 {
    let windows = windows.into_iter();
    if count_denied {
        return windows.map(|window| window.limit).max().unwrap_or(0);
    }
    let longest = windows.max_by_key(|window| (window.ticks, std::cmp::Reverse(window.limit)));
    longest.map_or(0, |window| window.limit)
}

/// The large quotas whose windows reach beyond the stamps, shortest first.
///
/// Grains are multiples of each other, so that a cell falls whole into a cell of the next layer and no unit is held
/// back by more than the one grain of the quota that counts it.
fn grains_beyond(exact_ticks: u64, windows: &[Window], resolution: u32) -> Box<[Grain]> {
    let mut large: Vec<&Window> =
        windows.iter().filter(|window| window.limit > resolution && window.ticks > exact_ticks).collect();
    large.sort_by_key(|window| (window.ticks, window.limit));
    large.dedup_by_key(|window| window.ticks);
    let mut previous = 1;
    large
        .into_iter()
        .map(|window| {
            let multiple = (window.ticks / u64::from(resolution) / previous).max(1);
            previous = previous.saturating_mul(multiple);
            let cells = (window.ticks / previous).saturating_add(2) as usize;
            Grain { window: window.ticks, ticks: previous, cells }
        })
        .collect()
}

fn counted_by(window: &Window, grains: &[Grain]) -> Counted {
    grains.iter().position(|grain| grain.window == window.ticks).map_or(Counted::Exactly, Counted::UpToLayer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_quotas_are_counted_exactly() {
        let plan = Plan::of(&Policy::per_minute(60).and_per_hour(1800));
        assert!(plan.windows().iter().all(|window| window.counted == Counted::Exactly));
        assert_eq!(plan.exact().map(|exact| (exact.ticks, exact.capacity)), Some((900_000_000, 1800)));
        assert!(plan.grains().is_empty());
    }

    #[test]
    fn a_small_quota_stays_exact_beside_a_large_one() {
        let plan = Plan::of(&Policy::per_minute(600).and_per_hour(18_000));
        assert_eq!(plan.windows()[0].counted, Counted::Exactly);
        assert_eq!(plan.windows()[1].counted, Counted::UpToLayer(0));
        assert_eq!(plan.grains()[0].ticks, 900_000_000 / 4096);
        assert_eq!(plan.horizon(), 900_000_000 + 900_000_000 / 4096);
    }

    #[test]
    fn a_large_quota_within_an_exact_window_needs_no_layer() {
        let plan = Plan::of(&Policy::per_second(10_000).and_per_hour(100));
        assert_eq!(plan.windows()[0].counted, Counted::Exactly);
        assert!(plan.grains().is_empty());
    }

    #[test]
    fn grains_are_multiples_of_each_other_and_within_the_promised_lateness() {
        let policy = Policy::per_minute(10_000)
            .and_per_hour(100_000)
            .and(Quota::new(5_000_000, std::time::Duration::from_secs(100_003)));
        let plan = Plan::of(&policy);
        assert_eq!(plan.grains().len(), 3);
        for pair in plan.grains().windows(2) {
            assert_eq!(pair[1].ticks % pair[0].ticks, 0);
        }
        for grain in plan.grains() {
            assert!(grain.ticks * 4096 <= grain.window);
            assert!(grain.window / grain.ticks <= 2 * 4096, "{grain:?}");
        }
    }

    #[test]
    fn long_windows_and_large_limits_are_not_compact() {
        assert!(Plan::of(&Policy::per_day(4096)).is_compact());
        assert!(!Plan::of(&Policy::per_day(4097)).is_compact());
        assert!(!Plan::of(&Policy::new("100/30d".parse().unwrap())).is_compact());
    }
}
