//! The coalesced log: admissions within one stretch of time share a bucket.

use std::collections::VecDeque;

use crate::history::exact_log::{push_within, widen};

/// The buckets of one large quota, oldest first.
///
/// Bucket `c` holds the units recorded in the ticks from `c * width` to `(c + 1) * width - 1`. All of them leave
/// when one recorded in the last of these would, so none leaves early. As with timestamps, the caller knows the newest bucket
/// in full and 32 bits are enough for the others.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    buckets: VecDeque<Bucket>,
    /// The running total before the oldest bucket.
    before: u32,
}

/// A bucket and the running total at its end, so that the units of any run of buckets are one subtraction.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    index: u32,
    total: u32,
}

impl Buckets {
    /// Units remembered here.
    pub(crate) fn units(&self) -> u32 {
        self.total().wrapping_sub(self.before)
    }

    /// Records `units` in bucket `index`, which is not before any other; the memory grows to `most` buckets and not beyond.
    pub(crate) fn add(&mut self, index: u64, units: u32, most: usize) {
        let (index, total) = (index as u32, self.total().wrapping_add(units));
        match self.buckets.back_mut() {
            Some(bucket) if bucket.index == index => bucket.total = total,
            _ => push_within(&mut self.buckets, Bucket { index, total }, most),
        }
    }

    /// The oldest bucket and its units.
    pub(crate) fn oldest(&self, newest: u64) -> Option<(u64, u32)> {
        self.buckets.front().map(|bucket| (widen(bucket.index, newest), bucket.total.wrapping_sub(self.before)))
    }

    /// Forgets the oldest bucket.
    pub(crate) fn drop_oldest(&mut self) {
        if let Some(bucket) = self.buckets.pop_front() {
            self.before = bucket.total;
        }
    }

    /// Forgets one unit of the oldest bucket.
    pub(crate) fn drop_unit(&mut self) {
        if self.units() > 0 {
            self.before = self.before.wrapping_add(1);
        }
        if self.buckets.front().is_some_and(|bucket| bucket.total == self.before) {
            self.buckets.pop_front();
        }
    }

    /// The bucket that holds unit `nth`, counted from 1 at the oldest; none if there are fewer units.
    pub(crate) fn bucket_of(&self, nth: u32, newest: u64) -> Option<u64> {
        let at = self.buckets.partition_point(|bucket| bucket.total.wrapping_sub(self.before) < nth);
        self.buckets.get(at).map(|bucket| widen(bucket.index, newest))
    }

    /// Brings buckets that are later than `latest` down to it, where they are one; `newest` is not before any of them.
    pub(crate) fn clamp(&mut self, latest: u64, newest: u64) {
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

    fn total(&self) -> u32 {
        self.buckets.back().map_or(self.before, |bucket| bucket.total)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.buckets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(entries: &[(u64, u32)]) -> Buckets {
        let mut buckets = Buckets::default();
        for (index, units) in entries {
            buckets.add(*index, *units, 4098);
        }
        buckets
    }

    #[test]
    fn admissions_in_one_grain_share_a_cell() {
        let buckets = filled(&[(7, 1), (7, 2), (8, 1)]);
        assert_eq!((buckets.len(), buckets.units()), (2, 4));
        assert_eq!(buckets.oldest(8), Some((7, 3)));
    }

    #[test]
    fn the_cell_of_a_unit_is_found_by_its_number() {
        let buckets = filled(&[(7, 3), (9, 1), (12, 5)]);
        let buckets: Vec<_> = (1..=10).map(|nth| buckets.bucket_of(nth, 12)).collect();
        assert_eq!(buckets[..4], [Some(7), Some(7), Some(7), Some(9)]);
        assert_eq!(buckets[4..9], [Some(12); 5]);
        assert_eq!(buckets[9], None);
    }

    #[test]
    fn totals_hold_across_the_wrap_of_32_bits() {
        let mut buckets = filled(&[(1, u32::MAX - 1)]);
        buckets.drop_oldest();
        buckets.add(2, 5, 4098);
        buckets.add(3, 5, 4098);
        assert_eq!(buckets.units(), 10);
        assert_eq!(buckets.bucket_of(6, 3), Some(3));
        buckets.drop_oldest();
        assert_eq!((buckets.units(), buckets.oldest(3)), (5, Some((3, 5))));
    }

    #[test]
    fn a_full_layer_holds_the_largest_limit() {
        let mut buckets = filled(&[(1, 1), (2, u32::MAX - 1)]);
        assert_eq!(buckets.units(), u32::MAX);
        buckets.drop_unit();
        assert_eq!((buckets.units(), buckets.oldest(2)), (u32::MAX - 1, Some((2, u32::MAX - 1))));
    }
}
