//! One reading of a clock.

use std::time::Duration;

use crate::clock::{Clock, Tick};

/// One reading of a clock.
///
/// Histories count whole ticks. What is *recorded* is rounded up and what is *asked* is rounded down, so that rounding can
/// hold a unit back for less than a tick and can never free one early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp {
    nanos: u64,
}

impl Timestamp {
    pub(crate) fn read(clock: &dyn Clock) -> Self {
        Self { nanos: clock.nanos() }
    }

    /// What a server says that counts microseconds.
    #[cfg(feature = "redis")]
    pub(crate) const fn from_micros(micros: u64) -> Self {
        Self { nanos: micros.saturating_mul(1000) }
    }

    #[cfg(test)]
    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self { nanos }
    }

    /// Time since the clock's origin, in nanoseconds.
    #[inline]
    pub(crate) const fn nanos(self) -> u64 {
        self.nanos
    }

    /// Whole ticks that have passed: rounded down, for asking what has expired.
    #[inline]
    pub(crate) const fn floor_ticks(self, tick: Tick) -> u64 {
        tick.at(self.nanos)
    }

    /// The tick to record an admission under: rounded up.
    #[inline]
    pub(crate) const fn ceil_ticks(self, tick: Tick) -> u64 {
        tick.from(self.nanos)
    }

    /// The moment so much later.
    pub(crate) fn saturating_add(self, by: Duration) -> Self {
        Self { nanos: self.nanos.saturating_add(saturating_nanos(by)) }
    }

    /// Time from here to the nanosecond `nanos`; zero if that has passed.
    pub(crate) const fn until(self, nanos: u64) -> Duration {
        Duration::from_nanos(nanos.saturating_sub(self.nanos))
    }
}

pub(super) fn saturating_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recording_rounds_up_and_asking_rounds_down() {
        let moment = Timestamp::from_nanos(1_500_000);
        assert_eq!(moment.ceil_ticks(Tick::MILLISECOND), moment.floor_ticks(Tick::MILLISECOND) + 1);
        let whole = Timestamp::from_nanos(2_000_000);
        assert_eq!(whole.ceil_ticks(Tick::MILLISECOND), whole.floor_ticks(Tick::MILLISECOND));
        assert_eq!(whole.ceil_ticks(Tick::MILLISECOND), moment.ceil_ticks(Tick::MILLISECOND));
    }

    #[test]
    fn the_time_until_a_passed_moment_is_zero() {
        assert_eq!(Timestamp::from_nanos(5_000_000).until(4_000_000), Duration::ZERO);
        assert_eq!(Timestamp::from_nanos(4_999_999).until(5_000_000), Duration::from_nanos(1));
    }
}
