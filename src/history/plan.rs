//! A policy, compiled for the arithmetic of its histories.

use std::{ops::Range, time::Duration};

use crate::{
    clock::{Tick, Timestamp},
    history::{grid::Grid, ring::Ring},
    policy::{Policy, Quota},
};

/// A policy, compiled for the arithmetic of its histories.
///
/// Several plans may judge the same histories: those of the tiers of a rule. They differ in the limits, and have the rest in
/// common, their *shape*.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    tick: Tick,
    windows: Box<[Window]>,
    /// The same windows, that of the lowest rate first.
    by_rate: Box<[Window]>,
    /// Windows that only other plans of the same histories limit.
    unlimited: Box<[Window]>,
    exact: Option<Exact>,
    bucket_specs: Box<[BucketSpec]>,
    count_denied: bool,
    most_units: u64,
    horizon: u64,
    has_siblings: bool,
    form: Form,
    grid: Grid,
}

/// The form of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Timestamps of 32 bits.
    Exact,
    /// Timestamps of 64 bits, and buckets.
    Bucketed,
    /// Running totals of costs, for limits and windows that fit into small entries.
    Costs,
    /// Running totals of costs, for all others.
    WideCosts,
}

/// One quota: its limit, its window in ticks, and the part of the history that ends with the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exact {
    pub(crate) ticks: u64,
    pub(crate) capacity: usize,
}

/// The window of a large quota, and the stretch of time whose admissions share a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// Returns the number of `used` units that have to leave before there is room for a cost, or `None` if there never is. A
    /// cost of nothing has room unless more units are counted than the limit.
    #[inline]
    pub(crate) const fn excess_for(&self, used: u64, units: u64) -> Option<u64> {
        match self.limit.checked_sub(units) {
            Some(most) => Some(used.saturating_sub(most)),
            None => None,
        }
    }
}

impl Plan {
    /// The longest window of 32-bit timestamps, in ticks. Windows over six days have ticks of a millisecond, so it is 12
    /// days.
    pub(crate) const LONGEST_COMPACT_WINDOW: u64 = Tick::MOST_PER_WINDOW;

    /// Maximum lead of a history over the clock that is left alone.
    pub(super) const SMALL_LEAD: Duration = Duration::from_millis(10);

    #[cfg(any(test, feature = "redis"))]
    pub(crate) fn new(policy: &Policy) -> Self {
        Self::among(policy, std::slice::from_ref(policy))
    }

    /// Creates the plan of a policy whose histories all of these policies judge: their windows together, and the largest limit
    /// of each, decide what is remembered.
    pub(crate) fn among(policy: &Policy, all: &[Policy]) -> Self {
        let longest = all.iter().flat_map(Policy::quotas).map(Quota::window).max().unwrap_or_default();
        let (tick, resolution) = (Tick::for_window(longest), u64::from(policy.entries_per_window()));
        let count_denied = policy.counts_denied();
        let window = |quota: &Quota| Window {
            limit: quota.limit(),
            ticks: tick.count(quota.window()),
            counted: Counted::Exactly,
        };
        let counted_windows: Vec<Window> = all.iter().flat_map(Policy::quotas).map(window).collect();
        let exact = match all {
            [_] => longest_exact(&counted_windows, resolution, count_denied),
            _ => longest_exact_of_all(&counted_windows, resolution),
        };
        let is_large = |window: &Window| window.limit > resolution || all.len() > 1;
        let bucket_specs =
            bucket_specs_beyond(exact.map_or(0, |exact| exact.ticks), &counted_windows, is_large, resolution);
        let counted = |window: Window| Window { counted: counted_by(&window, &bucket_specs), ..window };
        let windows: Box<[Window]> = policy.quotas().map(window).map(counted).collect();
        let unlimited = unlimited_among(&counted_windows, &windows).into_iter().map(counted).collect();
        let horizon = counted_windows.iter().map(|window| window.ticks).max().unwrap_or(0);
        let late = bucket_specs.last().map_or(0, |spec| spec.ticks);
        let most_units = most_units(&counted_windows, count_denied || all.len() > 1);
        let plan = Self {
            tick,
            by_rate: by_rate(&windows),
            windows,
            unlimited,
            exact,
            bucket_specs,
            count_denied,
            most_units,
            horizon: horizon + late,
            has_siblings: all.len() > 1,
            form: Form::Bucketed,
            grid: Grid::default(),
        };
        Self { form: if plan.fits_32_bits() { Form::Exact } else { Form::Bucketed }, ..plan }
    }

    /// Creates the plan of a policy whose requests have costs, or may give units back. All of these policies judge its
    /// histories, as in [`among`](Self::among).
    pub(crate) fn for_costs_among(policy: &Policy, all: &[Policy]) -> Self {
        let plan = Self::among(policy, all);
        let quotas = all.iter().flat_map(Policy::quotas);
        let limits = quotas.map(|quota| (plan.tick.count(quota.window()), quota.limit()));
        let grid = Grid::new(limits, policy.entries_per_window(), plan.tick.count(Self::SMALL_LEAD));
        let exactly = |window: &Window| Window { counted: Counted::Exactly, ..*window };
        let windows: Box<[Window]> = plan.windows.iter().map(exactly).collect();
        Self {
            by_rate: by_rate(&windows),
            windows,
            unlimited: plan.unlimited.iter().map(exactly).collect(),
            exact: None,
            bucket_specs: Box::default(),
            horizon: grid.horizon(),
            form: if grid.is_small(Self::LONGEST_COMPACT_WINDOW) { Form::Costs } else { Form::WideCosts },
            grid,
            ..plan
        }
    }

    /// Returns this plan as one of several that judge the same histories.
    pub(crate) fn with_siblings(self) -> Self {
        Self { has_siblings: true, ..self }
    }

    /// Returns a plan for the same histories whose limits are others, and no larger.
    #[cfg(feature = "redis")]
    pub(crate) fn with_limits(&self, change: impl Fn(u64) -> u64) -> Self {
        let changed = |window: &Window| Window { limit: change(window.limit), ..*window };
        let windows: Box<[Window]> = self.windows.iter().map(changed).collect();
        Self {
            by_rate: by_rate(&windows),
            windows,
            unlimited: self.unlimited.clone(),
            bucket_specs: self.bucket_specs.clone(),
            grid: self.grid.clone(),
            ..*self
        }
    }

    /// Returns `true` if other plans judge the same histories, or did before the rules were reloaded.
    #[inline]
    pub(crate) const fn has_siblings(&self) -> bool {
        self.has_siblings
    }

    /// Returns `true` if room that was found may be noted: no other plan judges the histories, and denials do not count.
    #[inline]
    pub(crate) const fn may_have_credit(&self) -> bool {
        matches!(self.form, Form::Exact) && !self.has_siblings && !self.count_denied
    }

    /// Returns `true` if histories of the one plan can be judged by the other as they are.
    pub(crate) fn has_shape_of(&self, other: &Self) -> bool {
        let specs = |plan: &Self| plan.bucket_specs.iter().map(|spec| (spec.window, spec.ticks)).collect::<Vec<_>>();
        let exact_ticks = |plan: &Self| plan.exact.map(|exact| exact.ticks);
        self.tick == other.tick
            && self.horizon == other.horizon
            && exact_ticks(self) == exact_ticks(other)
            && self.form == other.form
            && self.count_denied == other.count_denied
            && specs(self) == specs(other)
            && self.grid.has_windows_of(&other.grid)
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

    /// Returns the windows in the order to look for one that is full: callers that always ask are denied by the one of the lowest
    /// rate, for the longest time.
    pub(crate) fn by_rate(&self) -> &[Window] {
        &self.by_rate
    }

    /// Returns the windows that only other plans of the same histories limit.
    #[cfg(feature = "redis")]
    pub(crate) fn unlimited(&self) -> &[Window] {
        &self.unlimited
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

    /// Returns the ticks in which the newest unit of a history lies that is neither idle at this time nor ahead of it.
    pub(crate) const fn live_ticks(&self, now: Timestamp) -> Range<u64> {
        let oldest = now.floor_ticks(self.tick).saturating_add(1).saturating_sub(self.horizon);
        oldest..now.ceil_ticks(self.tick).saturating_add(1)
    }

    /// Returns `true` if exact timestamps of 32 bits are enough.
    pub(crate) fn is_compact(&self) -> bool {
        self.form == Form::Exact
    }

    /// Returns `true` if requests have costs, or may give units back.
    #[inline]
    pub(crate) const fn has_costs(&self) -> bool {
        matches!(self.form, Form::Costs | Form::WideCosts)
    }

    /// Returns the form of the histories.
    pub(crate) const fn form(&self) -> Form {
        self.form
    }

    /// Returns the grid of a log of costs; that of any other has no window.
    #[inline]
    pub(crate) const fn grid(&self) -> &Grid {
        &self.grid
    }

    fn fits_32_bits(&self) -> bool {
        let fits = self.exact.is_none_or(|exact| exact.capacity <= Ring::LARGEST);
        self.bucket_specs.is_empty() && fits && self.horizon <= Self::LONGEST_COMPACT_WINDOW
    }
}

fn longest_exact(windows: &[Window], resolution: u64, count_denied: bool) -> Option<Exact> {
    let small = windows.iter().filter(|window| window.limit <= resolution);
    let longest = small.max_by_key(|window| (window.ticks, std::cmp::Reverse(window.limit)))?;
    let within = windows.iter().filter(|window| window.ticks <= longest.ticks);
    let counted = most_units(within, count_denied).min(resolution).max(longest.limit);
    let capacity = if count_denied { counted } else { longest.limit } as usize;
    Some(Exact { ticks: longest.ticks, capacity })
}

/// Returns the longest window that is counted exactly if several plans judge the histories: a shorter one may then have a larger
/// limit, and that many units. Windows beyond the first large one are counted in buckets.
fn longest_exact_of_all(windows: &[Window], resolution: u64) -> Option<Exact> {
    let first_large = windows.iter().filter(|window| window.limit > resolution).map(|window| window.ticks).min();
    let small = windows.iter().filter(|window| first_large.is_none_or(|large| window.ticks < large));
    let ticks = small.clone().map(|window| window.ticks).max()?;
    let capacity = small.map(|window| window.limit).max()?;
    Some(Exact { ticks, capacity: usize::try_from(capacity).unwrap_or(usize::MAX) })
}

/// Returns each window of others that is none of the plan's own.
fn unlimited_among(all: &[Window], own: &[Window]) -> Vec<Window> {
    let is_own = |window: &Window| own.iter().any(|other| other.ticks == window.ticks);
    let mut others: Vec<Window> = all.iter().filter(|window| !is_own(window)).copied().collect();
    others.sort_by_key(|window| window.ticks);
    others.dedup_by_key(|window| window.ticks);
    others.into_iter().map(|window| Window { limit: Quota::MAX_LIMIT, ..window }).collect()
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
fn bucket_specs_beyond(
    exact_ticks: u64,
    windows: &[Window],
    is_large: impl Fn(&Window) -> bool,
    resolution: u64,
) -> Box<[BucketSpec]> {
    let mut large: Vec<&Window> =
        windows.iter().filter(|window| is_large(window) && window.ticks > exact_ticks).collect();
    large.sort_by_key(|window| (window.ticks, window.limit));
    large.dedup_by_key(|window| window.ticks);
    let mut previous = 1;
    large
        .into_iter()
        .map(|window| {
            let multiple = (window.ticks / resolution / previous).max(1);
            previous = previous.saturating_mul(multiple);
            let max_buckets = (window.ticks / previous).saturating_add(2) as usize;
            BucketSpec { window: window.ticks, ticks: previous, max_buckets }
        })
        .collect()
}

/// Returns the windows, that of the lowest rate first.
fn by_rate(windows: &[Window]) -> Box<[Window]> {
    let mut by_rate: Box<[Window]> = windows.into();
    let scaled = |one: &Window, other: &Window| u128::from(one.limit) * u128::from(other.ticks);
    by_rate.sort_by(|one, other| scaled(one, other).cmp(&scaled(other, one)));
    by_rate
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
    fn the_window_of_the_lowest_rate_comes_first() {
        let plan = Plan::new(&Policy::per_second(10).and_per_hour(1800).and_per_minute(60));
        assert_eq!(plan.by_rate().iter().map(|window| window.limit).collect::<Vec<_>>(), [1800, 60, 10]);
        assert_eq!(plan.windows().iter().map(|window| window.limit).collect::<Vec<_>>(), [10, 1800, 60]);
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

    #[test]
    fn tiers_have_one_shape_of_all_their_windows_and_the_largest_limits() {
        let (free, pro) = (Policy::per_minute(60), Policy::per_minute(600).and_per_day(2000));
        let tiers = [free, pro];
        let plans = tiers.each_ref().map(|tier| Plan::among(tier, &tiers));
        assert!(plans[0].has_shape_of(&plans[1]) && plans[1].has_shape_of(&plans[0]));
        for plan in &plans {
            assert_eq!(plan.exact().map(|exact| exact.capacity), Some(2000));
            assert!(plan.has_siblings() && plan.is_compact());
            assert_eq!(plan.most_units(), 2000);
        }
        assert_eq!(plans.each_ref().map(|plan| plan.windows().len()), [1, 2]);
        assert_eq!(plans.each_ref().map(|plan| plan.unlimited.len()), [1, 0]);
        assert_eq!(plans[0].unlimited[0].ticks, plans[1].windows()[1].ticks);
    }

    #[test]
    fn a_limit_alone_changes_no_shape_and_a_window_or_a_form_does() {
        let plan = |policy: Policy| Plan::new(&policy);
        let sixty = plan(Policy::per_minute(60));
        assert!(sixty.has_shape_of(&plan(Policy::per_minute(600))));
        assert!(!sixty.has_shape_of(&plan(Policy::per_minute(60).and_per_hour(100))));
        assert!(!sixty.has_shape_of(&plan(Policy::per_minute(60_000))));
        assert!(!sixty.has_shape_of(&plan(Policy::per_minute(60).count_denied())));
    }

    #[test]
    fn a_tier_without_limits_has_the_windows_of_the_others_and_none_of_its_own() {
        let own = Policy::per_minute(60);
        let tiers = [own.clone(), own.with_quotas_of(None)];
        let plan = Plan::among(&tiers[1], &tiers);
        assert!(plan.windows().is_empty() && plan.has_shape_of(&Plan::among(&tiers[0], &tiers)));
        assert_eq!(plan.horizon(), Plan::new(&tiers[0]).horizon());
    }
}
