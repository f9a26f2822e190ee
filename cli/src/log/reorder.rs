//! Requests in the order of their times, though a log has them in the order in which they ended.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, VecDeque},
};

use crate::log::Record;

/// How long a line may be out of order.
pub(crate) const SLACK_MILLIS: i64 = 5_000;

/// A buffer of requests that a slower one may still come before.
///
/// Requests in order, which most are, only pass through a queue.
#[derive(Debug, Default)]
pub(crate) struct Reorder {
    in_order: VecDeque<Record>,
    late: BinaryHeap<Late>,
    newest: i64,
    number: u64,
}

/// A request that came after a later one.
#[derive(Debug)]
struct Late {
    record: Record,
    number: u64,
}

impl Reorder {
    #[inline]
    pub(crate) fn push(&mut self, record: Record) {
        self.newest = self.newest.max(record.time);
        if self.in_order.back().is_none_or(|last| last.time <= record.time) {
            self.in_order.push_back(record);
        } else {
            self.number += 1;
            self.late.push(Late { record, number: self.number });
        }
    }

    /// Returns the earliest request, if none may come before it any more.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Record> {
        let horizon = self.newest.saturating_sub(SLACK_MILLIS);
        if self.earliest()? <= horizon { self.pop_any() } else { None }
    }

    /// Returns the earliest request: no more will come.
    pub(crate) fn pop_any(&mut self) -> Option<Record> {
        let is_late = match (self.in_order.front(), self.late.peek()) {
            (Some(first), Some(late)) => late.record.time < first.time,
            (_, late) => late.is_some(),
        };
        if is_late { self.late.pop().map(|late| late.record) } else { self.in_order.pop_front() }
    }

    fn earliest(&self) -> Option<i64> {
        let (first, late) =
            (self.in_order.front().map(|record| record.time), self.late.peek().map(|late| late.record.time));
        first.into_iter().chain(late).min()
    }
}

impl Ord for Late {
    /// The earliest is the greatest, and of equals the one that came first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.record.time, other.number).cmp(&(self.record.time, self.number))
    }
}

impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Late {}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::log::{Layout, Spans};

    fn record(time: i64) -> Record {
        let mut spans = Spans::default();
        spans.clear(&Layout::default());
        spans.record(time, &Bytes::new(), 0)
    }

    fn in_order(times: &[i64]) -> Vec<i64> {
        let (mut reorder, mut found) = (Reorder::default(), Vec::new());
        for time in times {
            reorder.push(record(*time));
            found.extend(std::iter::from_fn(|| reorder.pop()).map(|record| record.time));
        }
        found.extend(std::iter::from_fn(|| reorder.pop_any()).map(|record| record.time));
        found
    }

    #[test]
    fn a_line_that_is_later_than_the_buffer_comes_as_it_is() {
        assert_eq!(in_order(&[0, 6_000, 500, 20_000]), [0, 500, 6_000, 20_000]);
        assert_eq!(in_order(&[0, 6_000, 12_000, 500]), [0, 6_000, 500, 12_000]);
    }

    proptest! {
        #[test]
        fn lines_that_are_little_out_of_order_are_ordered(steps in prop::collection::vec((0_i64..900, 0..SLACK_MILLIS), 0..200)) {
            let mut now = 0;
            let times: Vec<i64> = steps.iter().map(|(step, duration)| { now += step; now - duration }).collect();
            let mut sorted = times.clone();
            sorted.sort_unstable();
            prop_assert_eq!(in_order(&times), sorted);
        }
    }
}
