//! One reading of a clock.

use std::time::Duration;

use crate::clock::Clock;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// Where histories begin to count, in milliseconds: 278 years after zero, so that the age of anything still remembered
/// can be subtracted from any moment, also from that of a clock that was set back to its origin.
const EPOCH: u64 = 1 << 43;

/// One reading of a clock.
///
/// Histories count whole milliseconds. What is *recorded* is rounded up and what is *asked* is rounded down, so that
/// rounding can hold a unit back for less than a millisecond and can never free one early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    nanos: u64,
}

impl Moment {
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

    /// Whole milliseconds that have passed: rounded down, for asking what has expired.
    pub(crate) const fn millis(self) -> u64 {
        EPOCH + self.nanos / NANOS_PER_MILLI
    }

    /// The millisecond to record an admission under: rounded up.
    pub(crate) const fn stamp(self) -> u64 {
        EPOCH + self.nanos.div_ceil(NANOS_PER_MILLI)
    }

    /// The moment so much later.
    #[cfg(feature = "redis")]
    pub(crate) fn later(self, by: Duration) -> Self {
        Self { nanos: self.nanos.saturating_add(saturating_nanos(by)) }
    }

    /// The millisecond that begins `wait` from here, or next after that.
    pub(crate) fn after(self, wait: Duration) -> u64 {
        Self { nanos: self.nanos.saturating_add(saturating_nanos(wait)) }.stamp()
    }

    /// Time from here to the beginning of `millis`; zero if that has passed.
    pub(crate) const fn until(self, millis: u64) -> Duration {
        let nanos = millis.saturating_sub(EPOCH).saturating_mul(NANOS_PER_MILLI);
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
        let moment = Moment::from_nanos(1_500_000);
        assert_eq!(moment.millis(), EPOCH + 1);
        assert_eq!(moment.stamp(), EPOCH + 2);
        assert_eq!(Moment::from_nanos(2_000_000).stamp(), EPOCH + 2);
    }

    #[test]
    fn the_time_until_a_passed_moment_is_zero() {
        assert_eq!(Moment::from_nanos(5_000_000).until(EPOCH + 4), Duration::ZERO);
        assert_eq!(Moment::from_nanos(4_999_999).until(EPOCH + 5), Duration::from_nanos(1));
    }
}
