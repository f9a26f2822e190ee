//! The log of a policy with large quotas or long windows: 64-bit timestamps, and buckets behind them.

use std::collections::VecDeque;

use crate::history::{
    exact_log::{count_newest, push_within, split_newest, widen},
    plan::{BucketSpec, Counted, Plan, Window},
    ring::Ring,
};

/// The log of one key: exact timestamps, and buckets for each large quota of the plan.
///
/// The caller keeps `newest`, the tick of the newest unit.
#[derive(Debug)]
pub(crate) struct BucketedLog {
    timestamps: VecDeque<u64>,
    buckets: Box<[Buckets]>,
}

/// The buckets of one large quota, oldest first.
///
/// Bucket `c` holds the units recorded in the ticks from `c * width` to `(c + 1) * width - 1`. All of them leave when a
/// unit of the last of these ticks would, so none leaves early. As with timestamps, the caller keeps the number of the
/// newest bucket in full, and 32 bits are enough for the others.
#[derive(Debug, Default)]
struct Buckets {
    buckets: VecDeque<Bucket>,
    /// The running total before the oldest bucket.
    before: u64,
}

/// A bucket and the running total of units at its end: the units of any run of buckets are one subtraction.
// Packed, since a key has thousands of them.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
struct Bucket {
    index: u32,
    total: u64,
}

impl BucketedLog {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self { timestamps: VecDeque::new(), buckets: plan.bucket_specs().iter().map(|_| Buckets::default()).collect() }
    }

    /// Drops the units that have left every window, and moves those that have left their part of the log into the next.
    pub(crate) fn expire(&mut self, plan: &Plan, newest: u64, now: u64) {
        if let Some(exact) = plan.exact() {
            let expired = now.saturating_sub(exact.ticks);
            while self.timestamps.front().is_some_and(|timestamp| *timestamp <= expired) {
                self.age_oldest_timestamp(plan.bucket_specs());
            }
        }
        for at in 0..self.buckets.len() {
            self.expire_buckets(at, plan.bucket_specs(), newest, now);
        }
    }

    /// Returns the number of units that `window` counts.
    pub(crate) fn used(&self, window: &Window, now: u64) -> u64 {
        match window.counted {
            Counted::Exactly => {
                let expired = now.saturating_sub(window.ticks);
                let live = |at| self.timestamps.get(at).is_some_and(|timestamp| *timestamp > expired);
                count_newest(0, self.timestamps.len(), window.limit_as_len(), live) as u64
            }
            Counted::InBuckets(last) => self.units_up_to(last),
        }
    }

    /// Returns the number of remembered units.
    pub(crate) fn units(&self) -> u64 {
        self.units_up_to(self.buckets.len())
    }

    /// Returns the tick in which `window` has room again, or `None` if it has room now.
    pub(crate) fn room_at(&self, plan: &Plan, newest: u64, window: &Window, now: u64) -> Option<u64> {
        let used = self.used(window, now);
        (used >= window.limit).then(|| self.leaves_at(plan, newest, window, used, window.excess(used)))
    }

    /// Returns the tick in which unit `nth` of the `used` that `window` counts leaves it, counted from 1 at the oldest.
    pub(crate) fn leaves_at(&self, plan: &Plan, newest: u64, window: &Window, used: u64, nth: u64) -> u64 {
        match window.counted {
            Counted::Exactly => {
                let oldest = self.timestamps.len().saturating_sub(used as usize);
                self.timestamps.get(oldest + nth.saturating_sub(1) as usize).map_or(newest, |timestamp| *timestamp)
                    + window.ticks
            }
            Counted::InBuckets(last) => {
                let ticks = plan.bucket_specs().get(last).map_or(1, |spec| spec.ticks);
                end_of_bucket(self.recorded_at(plan, newest, last, nth) / ticks, ticks) + window.ticks
            }
        }
    }

    /// Records one unit at `timestamp`.
    ///
    /// Keeps the newest units where there are more than any answer depends on, as happens when denials count.
    pub(crate) fn charge(&mut self, plan: &Plan, timestamp: u64) {
        self.make_room(plan.most_units());
        self.record(plan, timestamp, plan.exact().map_or(0, |exact| exact.capacity));
    }

    /// Sets the units recorded later than `latest` to `latest`.
    pub(crate) fn clamp(&mut self, plan: &Plan, latest: u64, newest: u64) {
        for timestamp in self.timestamps.iter_mut().rev().take_while(|timestamp| **timestamp > latest) {
            *timestamp = latest;
        }
        for (buckets, spec) in self.buckets.iter_mut().zip(plan.bucket_specs()) {
            buckets.clamp(latest / spec.ticks, newest / spec.ticks);
        }
    }

    #[cfg(test)]
    pub(crate) fn entries(&self) -> usize {
        self.timestamps.len() + self.buckets.iter().map(Buckets::len).sum::<usize>()
    }

    fn expire_buckets(&mut self, at: usize, specs: &[BucketSpec], newest: u64, now: u64) {
        let Some(spec) = specs.get(at) else { return };
        while let Some(buckets) = self.buckets.get_mut(at)
            && let Some((bucket, units)) = buckets.oldest(newest / spec.ticks)
        {
            let end = end_of_bucket(bucket, spec.ticks);
            if end + spec.window > now {
                break;
            }
            buckets.drop_oldest();
            self.add_to_buckets(at + 1, specs, end, units);
        }
    }

    fn age_oldest_timestamp(&mut self, specs: &[BucketSpec]) {
        if let Some(timestamp) = self.timestamps.pop_front() {
            self.add_to_buckets(0, specs, timestamp, 1);
        }
    }

    /// Records units of another shape in the order of their ticks, beyond what the limits need.
    pub(crate) fn restore(&mut self, plan: &Plan, recorded: &[(u64, u64)]) {
        let capacity = plan.exact().map_or(0, |exact| exact.capacity);
        // Without buckets behind the timestamps, the oldest of too many would be lost.
        let capacity = if plan.bucket_specs().is_empty() { capacity.max(Ring::LARGEST) } else { capacity };
        // Those that the next ones would push out of the timestamps need not get there.
        for (timestamp, older, newest) in split_newest(recorded, capacity) {
            self.restore_tick(plan, timestamp, older, newest, capacity);
        }
    }

    /// Records units of one tick in the buckets, and as timestamps.
    fn restore_tick(&mut self, plan: &Plan, timestamp: u64, in_buckets: u64, exact: u64, capacity: usize) {
        if in_buckets > 0 {
            while !self.timestamps.is_empty() {
                self.age_oldest_timestamp(plan.bucket_specs());
            }
            self.add_to_buckets(0, plan.bucket_specs(), timestamp, in_buckets);
        }
        (0..exact).for_each(|_| self.record(plan, timestamp, capacity));
    }

    /// Records one unit, among this many timestamps at most.
    fn record(&mut self, plan: &Plan, timestamp: u64, capacity: usize) {
        if plan.exact().is_none() {
            return self.add_to_buckets(0, plan.bucket_specs(), timestamp, 1);
        }
        if self.timestamps.len() >= capacity {
            self.age_oldest_timestamp(plan.bucket_specs());
        }
        push_within(&mut self.timestamps, timestamp, capacity);
    }

    /// Returns the ticks in which units count as recorded, oldest first, and how many in each. No unit is later than `newest`.
    pub(crate) fn recorded(&self, plan: &Plan, newest: u64) -> Vec<(u64, u64)> {
        let parts = self.buckets.iter().zip(plan.bucket_specs()).rev();
        let in_buckets = parts.flat_map(|(buckets, spec)| {
            let units = buckets.units_by_index(newest / spec.ticks);
            units.map(|(index, units)| (end_of_bucket(index, spec.ticks).min(newest), units))
        });
        in_buckets.chain(self.timestamps.iter().map(|timestamp| (*timestamp, 1))).collect()
    }

    /// Records units in part `at` of the buckets. Units beyond the last part are dropped.
    fn add_to_buckets(&mut self, at: usize, specs: &[BucketSpec], timestamp: u64, units: u64) {
        if let (Some(buckets), Some(spec)) = (self.buckets.get_mut(at), specs.get(at)) {
            buckets.add(timestamp / spec.ticks, units, spec.max_buckets);
        }
    }

    fn make_room(&mut self, max: u64) {
        let is_full = self.units() >= max;
        if let Some(oldest) = self.buckets.iter_mut().rev().find(|buckets| is_full && buckets.units() > 0) {
            oldest.drop_unit();
        }
    }

    fn units_up_to(&self, last: usize) -> u64 {
        let timestamps = self.timestamps.len() as u64;
        self.buckets.iter().take(last + 1).map(Buckets::units).fold(timestamps, u64::saturating_add)
    }

    /// Returns the tick in which unit `nth` was recorded, of those up to part `last` of the buckets, as precisely as is
    /// still known.
    fn recorded_at(&self, plan: &Plan, newest: u64, last: usize, nth: u64) -> u64 {
        let mut nth = nth;
        for (buckets, spec) in self.buckets.iter().zip(plan.bucket_specs()).take(last + 1).rev() {
            if let Some(bucket) = buckets.bucket_of(nth, newest / spec.ticks) {
                return end_of_bucket(bucket, spec.ticks);
            }
            nth -= buckets.units();
        }
        self.timestamps.get(nth.saturating_sub(1) as usize).map_or(newest, |timestamp| *timestamp)
    }
}

impl Buckets {
    /// Returns the number of units in all buckets.
    fn units(&self) -> u64 {
        self.total().wrapping_sub(self.before)
    }

    /// Records `units` in bucket `index`, which must not be before any other. The memory never exceeds `max` buckets.
    fn add(&mut self, index: u64, units: u64, max: usize) {
        let (index, total) = (index as u32, self.total().wrapping_add(units));
        match self.buckets.back_mut() {
            Some(bucket) if bucket.index == index => bucket.total = total,
            _ => push_within(&mut self.buckets, Bucket { index, total }, max),
        }
    }

    /// Returns the oldest bucket and the number of its units.
    fn oldest(&self, newest: u64) -> Option<(u64, u64)> {
        self.buckets.front().map(|bucket| (widen(bucket.index, newest), bucket.total.wrapping_sub(self.before)))
    }

    /// Drops the oldest bucket.
    fn drop_oldest(&mut self) {
        if let Some(bucket) = self.buckets.pop_front() {
            self.before = bucket.total;
        }
    }

    /// Returns the number of each bucket and its units, oldest first.
    fn units_by_index(&self, newest: u64) -> impl Iterator<Item = (u64, u64)> {
        let mut before = self.before;
        self.buckets.iter().map(move |bucket| {
            let units = bucket.total.wrapping_sub(before);
            before = bucket.total;
            (widen(bucket.index, newest), units)
        })
    }

    /// Drops one unit of the oldest bucket.
    fn drop_unit(&mut self) {
        if self.units() > 0 {
            self.before = self.before.wrapping_add(1);
        }
        if self.buckets.front().is_some_and(|bucket| bucket.total == self.before) {
            self.buckets.pop_front();
        }
    }

    /// Returns the bucket that holds unit `nth`, counted from 1 at the oldest, or `None` if there are fewer units.
    fn bucket_of(&self, nth: u64, newest: u64) -> Option<u64> {
        let at = self.buckets.partition_point(|bucket| bucket.total.wrapping_sub(self.before) < nth);
        self.buckets.get(at).map(|bucket| widen(bucket.index, newest))
    }

    /// Merges the buckets later than `latest` into that one. `newest` must not be before any of them.
    fn clamp(&mut self, latest: u64, newest: u64) {
        let total = self.total();
        let is_later = |bucket: &&Bucket| widen(bucket.index, newest) > latest;
        let later = self.buckets.iter().rev().take_while(is_later).count();
        if later > 0 {
            self.buckets.truncate(self.buckets.len() - later);
            match self.buckets.back_mut() {
                Some(bucket) if bucket.index == latest as u32 => bucket.total = total,
                _ => self.buckets.push_back(Bucket { index: latest as u32, total }),
            }
        }
    }

    fn total(&self) -> u64 {
        self.buckets.back().map_or(self.before, |bucket| bucket.total)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.buckets.len()
    }
}

/// Returns the last tick of bucket `index`.
const fn end_of_bucket(index: u64, ticks: u64) -> u64 {
    (index + 1) * ticks - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Quota;

    fn filled(entries: &[(u64, u64)]) -> Buckets {
        let mut buckets = Buckets::default();
        for (index, units) in entries {
            buckets.add(*index, *units, 4098);
        }
        buckets
    }

    #[test]
    fn admissions_in_one_stretch_of_time_share_a_bucket() {
        let buckets = filled(&[(7, 1), (7, 2), (8, 1)]);
        assert_eq!((buckets.len(), buckets.units()), (2, 4));
        assert_eq!(buckets.oldest(8), Some((7, 3)));
    }

    #[test]
    fn the_bucket_of_a_unit_is_found_by_its_number() {
        let buckets = filled(&[(7, 3), (9, 1), (12, 5)]);
        let buckets: Vec<_> = (1..=10).map(|nth| buckets.bucket_of(nth, 12)).collect();
        assert_eq!(buckets[..4], [Some(7), Some(7), Some(7), Some(9)]);
        assert_eq!(buckets[4..9], [Some(12); 5]);
        assert_eq!(buckets[9], None);
    }

    #[test]
    fn totals_hold_across_the_wrap_of_64_bits() {
        let mut buckets = filled(&[(1, u64::MAX - 1)]);
        buckets.drop_oldest();
        buckets.add(2, 5, 4098);
        buckets.add(3, 5, 4098);
        assert_eq!(buckets.units(), 10);
        assert_eq!(buckets.bucket_of(6, 3), Some(3));
        buckets.drop_oldest();
        assert_eq!((buckets.units(), buckets.oldest(3)), (5, Some((3, 5))));
    }

    #[test]
    fn units_beyond_32_bits_are_counted_and_found() {
        let mut buckets = filled(&[(1, 1 << 40), (2, 3), (4, 1 << 33)]);
        assert_eq!(buckets.units(), (1 << 40) + (1 << 33) + 3);
        assert_eq!(buckets.oldest(4), Some((1, 1 << 40)));
        let nth = [1 << 40, (1 << 40) + 1, (1 << 40) + 4, (1 << 40) + (1 << 33) + 4];
        assert_eq!(nth.map(|nth| buckets.bucket_of(nth, 4)), [Some(1), Some(2), Some(4), None]);
        buckets.drop_oldest();
        assert_eq!(buckets.units(), (1 << 33) + 3);
    }

    #[test]
    fn full_buckets_hold_the_largest_limit() {
        let mut buckets = filled(&[(1, 1), (2, Quota::MAX_LIMIT - 1)]);
        assert_eq!(buckets.units(), Quota::MAX_LIMIT);
        buckets.drop_unit();
        assert_eq!((buckets.units(), buckets.oldest(2)), (Quota::MAX_LIMIT - 1, Some((2, Quota::MAX_LIMIT - 1))));
    }
}
