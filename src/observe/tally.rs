//! Counts of decisions, until they are handed on to the metrics.
//!
//! A decision increments a number in its thread's copy, which has cache lines of its own, and calls no recorder. A number is handed
//! on as soon as it is [`ENOUGH`]; all of them are ten times a second while decisions come, when somebody asks for it, and when the
//! tally is dropped.

use std::{
    fmt, iter,
    sync::atomic::{AtomicU64, Ordering},
};

use metrics::Counter;

use crate::observe::in_drop;

/// A number that is handed on at once.
const ENOUGH: u64 = 64;
/// The numbers of a cache line and of its neighbour, which processors fetch together.
const PER_LINE: usize = 16;

/// Numbers that are counted up by many threads, and the counters that they are for.
pub(crate) struct Tally {
    /// Those of each copy, one after the other.
    lines: Box<[Line]>,
    lines_per_copy: usize,
    counters: Box<[Counters]>,
}

/// The counters that a number is added to.
pub(super) type Counters = [Option<Counter>; 2];

#[derive(Default)]
#[repr(align(128))]
struct Line([AtomicU64; PER_LINE]);

impl Tally {
    /// Creates a tally of a number for each of these, in so many copies.
    pub(super) fn new(counters: Vec<Counters>, copies: usize) -> Self {
        let lines_per_copy = counters.len().div_ceil(PER_LINE);
        let lines = iter::repeat_with(Line::default).take(copies * lines_per_copy).collect();
        Self { lines, lines_per_copy, counters: counters.into() }
    }

    /// Counts one more in a copy.
    #[inline]
    pub(super) fn count(&self, copy: usize, place: usize) {
        if let Some(number) = self.number(copy, place)
            && number.fetch_add(1, Ordering::Relaxed) + 1 >= ENOUGH
        {
            self.hand_on_number(number, place);
        }
    }

    /// Counts so many more in a copy.
    #[inline]
    pub(super) fn add(&self, copy: usize, place: usize, units: u64) {
        if let Some(number) = self.number(copy, place) {
            number.fetch_add(units, Ordering::Relaxed);
        }
    }

    /// Hands all numbers on.
    #[cold]
    pub(super) fn hand_on(&self) {
        for lines in self.lines.chunks(self.lines_per_copy.max(1)) {
            let numbers = lines.iter().flat_map(|line| &line.0).enumerate();
            numbers.filter(|(_, number)| number.load(Ordering::Relaxed) > 0).for_each(|(place, number)| {
                self.hand_on_number(number, place);
            });
        }
    }

    #[inline]
    fn number(&self, copy: usize, place: usize) -> Option<&AtomicU64> {
        self.lines.get(copy * self.lines_per_copy + place / PER_LINE)?.0.get(place % PER_LINE)
    }

    #[cold]
    #[inline(never)]
    fn hand_on_number(&self, number: &AtomicU64, place: usize) {
        let count = number.swap(0, Ordering::Relaxed);
        for counter in self.counters.get(place).into_iter().flatten().flatten() {
            counter.increment(count);
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        in_drop(|| self.hand_on());
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").field("numbers", &self.counters.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Returns a counter, and what it has counted.
    fn counter() -> (Option<Counter>, Arc<AtomicU64>) {
        let count = Arc::new(AtomicU64::new(0));
        (Some(Counter::from_arc(Arc::clone(&count))), count)
    }

    #[test]
    fn a_number_is_handed_on_when_it_is_enough_and_the_rest_when_somebody_asks_or_all_is_dropped() {
        let ((one, first), (other, both)) = (counter(), counter());
        let read = || [first.load(Ordering::Relaxed), both.load(Ordering::Relaxed)];
        let tally = Tally::new(vec![[None, None], [one, other.clone()], [other, None]], 2);
        (0..63).for_each(|_| tally.count(0, 1));
        assert_eq!(read(), [0, 0]);
        tally.count(1, 1);
        assert_eq!(read(), [0, 0], "each copy has numbers of its own");
        tally.count(0, 1);
        assert_eq!(read(), [64, 64]);
        tally.hand_on();
        assert_eq!(read(), [65, 65]);
        tally.add(1, 2, 1000);
        tally.count(0, 1);
        drop(tally);
        assert_eq!(read(), [66, 1066]);
    }

    #[test]
    fn no_number_is_lost_among_threads() {
        let (one, first) = counter();
        let tally = Tally::new(vec![[one, None]], 2);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let tally = &tally;
                scope.spawn(move || (0..10_000).for_each(|_| tally.count(thread % 2, 0)));
            }
            scope.spawn(|| (0..100).for_each(|_| tally.hand_on()));
        });
        tally.hand_on();
        assert_eq!(first.load(Ordering::Relaxed), 40_000);
    }
}
