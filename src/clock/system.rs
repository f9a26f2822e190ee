//! The operating system's monotonic clock, cached for each thread.

use std::{
    cell::Cell,
    sync::LazyLock,
    time::{Duration, Instant},
};

use crate::clock::Clock;

/// Nanoseconds for which a thread trusts the processor's counter before it reads the operating system's clock again.
const TRUSTED_NANOS: u64 = 50_000;
/// Maximum nanoseconds between two readings of the counter around one of the system's clock, for the three to count as
/// simultaneous.
const SAME_MOMENT_NANOS: u64 = 2_000;

/// The operating system's monotonic clock. Its origin is the moment at which this process first read it.
///
/// Reading the system's clock costs as much as half a decision. So each thread reads it every 50 microseconds, and in
/// between adds the time that the processor's time-stamp counter measures. With a counter that keeps time, as those of
/// current processors do, threads agree to within a microsecond or two. A counter that runs fast cannot get ahead by
/// more than the 50 microseconds; one that stands still makes time stand still, which frees no unit early.
///
/// ```
/// use tower_quota::clock::{Clock, SystemClock};
///
/// let clock = SystemClock::new();
/// let before = clock.now();
/// assert!(clock.since_1970() > before);
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemClock;

/// The clocks that all [`SystemClock`]s read.
struct SystemSource {
    origin: Instant,
    counter: quanta::Clock,
}

/// Simultaneous readings of both clocks.
#[derive(Clone, Copy)]
struct Anchor {
    counter: u64,
    nanos: u64,
}

static SOURCE: LazyLock<SystemSource> = LazyLock::new(SystemSource::new);

thread_local! {
    static ANCHOR: Cell<Option<Anchor>> = const { Cell::new(None) };
}

impl SystemClock {
    /// Creates a handle to the system's clock. All handles share one origin.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos())
    }

    fn nanos(&self) -> u64 {
        SOURCE.since_anchor().unwrap_or_else(|| SOURCE.read_system())
    }
}

impl SystemSource {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where time enters")]
    fn new() -> Self {
        Self { origin: Instant::now(), counter: quanta::Clock::new() }
    }

    /// Returns the nanoseconds since the origin, if this thread read the system's clock recently enough.
    fn since_anchor(&self) -> Option<u64> {
        let anchor = ANCHOR.get()?;
        let counter = self.counter.raw();
        anchor.at(counter, self.counter.delta_as_nanos(anchor.counter, counter))
    }

    /// Reads the nanoseconds since the origin from the operating system. A thread that was interrupted meanwhile keeps
    /// no anchor.
    fn read_system(&self) -> u64 {
        let before = self.counter.raw();
        let nanos = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX / 2);
        let counter = self.counter.raw();
        let is_same_moment = self.counter.delta_as_nanos(before, counter) <= SAME_MOMENT_NANOS;
        ANCHOR.set(is_same_moment.then_some(Anchor { counter, nanos }));
        nanos
    }
}

impl Anchor {
    /// Returns the nanoseconds since the origin at this reading of the counter, if few enough have `passed` to trust
    /// it.
    fn at(self, counter: u64, passed: u64) -> Option<u64> {
        (counter >= self.counter && passed < TRUSTED_NANOS).then_some(self.nanos + passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_of_one_thread_do_not_go_back_by_more_than_a_moment() {
        let clock = SystemClock::new();
        let mut last = clock.now();
        for _ in 0..100_000 {
            let now = clock.now();
            assert!(now + Duration::from_nanos(TRUSTED_NANOS) >= last);
            last = now;
        }
    }

    #[test]
    fn a_counter_is_trusted_for_a_while_and_not_if_it_goes_back() {
        let anchor = Anchor { counter: 1000, nanos: 7 };
        assert_eq!(anchor.at(1000, 0), Some(7));
        assert_eq!(anchor.at(1001, TRUSTED_NANOS - 1), Some(7 + TRUSTED_NANOS - 1));
        assert_eq!(anchor.at(1001, TRUSTED_NANOS), None);
        assert_eq!(anchor.at(1001, TRUSTED_NANOS + 1), None);
        assert_eq!(anchor.at(999, 0), None);
    }

    #[test]
    fn it_stays_with_the_system_clock() {
        let clock = SystemClock::new();
        for _ in 0..1000 {
            let before = SOURCE.origin.elapsed();
            let now = clock.now();
            let after = SOURCE.origin.elapsed();
            let slack = Duration::from_nanos(TRUSTED_NANOS);
            assert!(before <= now + slack && now <= after + slack);
        }
    }
}
