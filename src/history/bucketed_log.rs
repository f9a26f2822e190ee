//! The log of a policy with large quotas or long windows: 64-bit timestamps, and buckets behind them.

use std::collections::VecDeque;

use crate::history::{
    buckets::Buckets,
    exact_log::{count_newest, push_within},
    plan::{BucketSpec, Counted, Exact, Plan, Window},
};

/// Exact timestamps, and buckets for each large quota of the plan.
///
/// The caller keeps `newest`, the time of the newest unit.
#[derive(Debug)]
pub(crate) struct BucketedLog {
    timestamps: VecDeque<u64>,
    buckets: Box<[Buckets]>,
}

impl BucketedLog {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self { timestamps: VecDeque::new(), buckets: plan.bucket_specs().iter().map(|_| Buckets::default()).collect() }
    }

    /// Drops units that have left every window, and moves on those that have outlived their part of the log.
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

    /// Units that `window` counts.
    pub(crate) fn used(&self, window: &Window, now: u64) -> u32 {
        match window.counted {
            Counted::Exactly => {
                let expired = now.saturating_sub(window.ticks);
                let live = |at| self.timestamps.get(at).is_some_and(|timestamp| *timestamp > expired);
                count_newest(0, self.timestamps.len(), window.limit as usize, live) as u32
            }
            Counted::InBuckets(last) => self.units_up_to(last),
        }
    }

    /// Units that are remembered.
    pub(crate) fn units(&self) -> u32 {
        self.units_up_to(self.buckets.len())
    }

    /// Returns the tick in which `window` has room, if it has none now.
    pub(crate) fn room_at(&self, plan: &Plan, newest: u64, window: &Window, now: u64) -> Option<u64> {
        let used = self.used(window, now);
        (used >= window.limit).then(|| self.leaves_at(plan, newest, window, used, window.excess(used)))
    }

    /// Returns the tick in which unit `nth` of the `used` that `window` counts leaves it, counted from 1 at the oldest.
    pub(crate) fn leaves_at(&self, plan: &Plan, newest: u64, window: &Window, used: u32, nth: u32) -> u64 {
        match window.counted {
            Counted::Exactly => {
                let oldest = self.timestamps.len().saturating_sub(used as usize);
                self.timestamps.get(oldest + nth.saturating_sub(1) as usize).map_or(newest, |timestamp| *timestamp)
                    + window.ticks
            }
            Counted::InBuckets(last) => {
                let spec = plan.bucket_specs().get(last).map_or(1, |spec| spec.ticks);
                end_of_bucket(self.recorded_at(plan, newest, last, nth) / spec, spec) + window.ticks
            }
        }
    }

    /// Records one unit at `timestamp`.
    ///
    /// Of more units than any answer is about, as happens when denials count, the newest are kept.
    pub(crate) fn charge(&mut self, plan: &Plan, timestamp: u64) {
        self.make_room(plan.most_units());
        let Some(exact) = plan.exact() else { return self.add_to_buckets(0, plan.bucket_specs(), timestamp, 1) };
        self.make_room_for_timestamp(plan.bucket_specs(), exact);
        push_within(&mut self.timestamps, timestamp, exact.capacity);
    }

    /// Brings units that were recorded later than `latest` down to it.
    pub(crate) fn clamp(&mut self, plan: &Plan, latest: u64, newest: u64) {
        let later = self.timestamps.iter_mut().rev().take_while(|timestamp| **timestamp > latest);
        later.for_each(|timestamp| *timestamp = latest);
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
        while let Some((bucket, units)) = self.buckets.get(at).and_then(|buckets| buckets.oldest(newest / spec.ticks)) {
            let end = end_of_bucket(bucket, spec.ticks);
            if end + spec.window > now {
                break;
            }
            self.buckets.iter_mut().skip(at).take(1).for_each(Buckets::drop_oldest);
            self.add_to_buckets(at + 1, specs, end, units);
        }
    }

    fn age_oldest_timestamp(&mut self, specs: &[BucketSpec]) {
        if let Some(timestamp) = self.timestamps.pop_front() {
            self.add_to_buckets(0, specs, timestamp, 1);
        }
    }

    /// Records units in part `at` of the buckets; units beyond the last part are dropped.
    fn add_to_buckets(&mut self, at: usize, specs: &[BucketSpec], timestamp: u64, units: u32) {
        if let (Some(buckets), Some(spec)) = (self.buckets.get_mut(at), specs.get(at)) {
            buckets.add(timestamp / spec.ticks, units, spec.max_buckets);
        }
    }

    fn make_room(&mut self, most: u32) {
        let is_full = self.units() >= most;
        if let Some(oldest) = self.buckets.iter_mut().rev().find(|buckets| is_full && buckets.units() > 0) {
            oldest.drop_unit();
        }
    }

    fn make_room_for_timestamp(&mut self, specs: &[BucketSpec], exact: Exact) {
        if self.timestamps.len() >= exact.capacity {
            self.age_oldest_timestamp(specs);
        }
    }

    fn units_up_to(&self, last: usize) -> u32 {
        let timestamps = self.timestamps.len() as u32;
        self.buckets.iter().take(last + 1).map(Buckets::units).fold(timestamps, u32::saturating_add)
    }

    /// The time of unit `nth` of those up to part `last` of the buckets, as precisely as is still known.
    fn recorded_at(&self, plan: &Plan, newest: u64, last: usize, nth: u32) -> u64 {
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

/// The last tick of bucket `index`.
const fn end_of_bucket(index: u64, spec: u64) -> u64 {
    (index + 1) * spec - 1
}
