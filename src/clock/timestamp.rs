//! Timestamps, and the ticks that histories count them in.

use std::time::Duration;

use crate::clock::Clock;

/// A reading of a clock, in nanoseconds since its origin.
///
/// Histories count whole ticks. A time that is *recorded* is rounded up and a time that is *asked about* is rounded
/// down, so rounding can hold a unit back for less than a tick and never frees one early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp {
    nanos: u64,
}

/// The unit of time of a history: as short as 32 bits allow for the longest window of its policy.
///
/// A tick is a whole number of microseconds that divides a millisecond, so that a window of whole milliseconds is one
/// of whole ticks: 1 us for windows of up to 17 minutes, 4 us for an hour, 100 us for a day, and 1 ms from six days on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tick {
    nanos: u64,
    /// 2^64 divided by `nanos`, rounded down. It turns a division into a multiplication, which takes a fraction of the
    /// time.
    reciprocal: u64,
}

impl Timestamp {
    pub(crate) fn read(clock: &dyn Clock) -> Self {
        Self { nanos: clock.nanos() }
    }

    /// Converts the time of a server that counts microseconds.
    #[cfg(feature = "redis")]
    pub(crate) const fn from_micros(micros: u64) -> Self {
        Self { nanos: micros.saturating_mul(1000) }
    }

    /// Returns the timestamp this many nanoseconds after the origin.
    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self { nanos }
    }

    /// Returns the nanoseconds since the clock's origin.
    #[inline]
    pub(crate) const fn nanos(self) -> u64 {
        self.nanos
    }

    /// Returns the whole ticks that have passed: rounded down, to ask what has expired.
    #[inline]
    pub(crate) const fn floor_ticks(self, tick: Tick) -> u64 {
        tick.floor(self.nanos)
    }

    /// Returns the tick to record an admission under: rounded up.
    #[inline]
    pub(crate) const fn ceil_ticks(self, tick: Tick) -> u64 {
        tick.ceil(self.nanos)
    }

    /// Returns the timestamp that is later `by` so much. It saturates at about 584 years.
    pub(crate) fn saturating_add(self, by: Duration) -> Self {
        Self { nanos: self.nanos.saturating_add(saturating_nanos(by)) }
    }

    /// Returns the time until the nanosecond `nanos`; zero if that has passed.
    pub(crate) const fn until(self, nanos: u64) -> Duration {
        Duration::from_nanos(nanos.saturating_sub(self.nanos))
    }
}

impl Tick {
    pub(super) const MILLISECOND: Self = Self::from_micros(1000);

    /// The longest window, in ticks, that 32-bit timestamps can hold: they tell two windows apart modulo 2^32.
    pub(crate) const MOST_PER_WINDOW: u64 = 1 << 30;

    /// The number of the first tick. It is large enough to subtract the age of anything still remembered from any
    /// timestamp, even one of a clock that was set back to its origin: at a millisecond per tick it is 278 years.
    const EPOCH: u64 = 1 << 43;

    /// All divisors of a millisecond, in microseconds.
    const LENGTHS: [u64; 16] = [1, 2, 4, 5, 8, 10, 20, 25, 40, 50, 100, 125, 200, 250, 500, 1000];

    /// Returns the shortest tick of which the `longest` window is at most 2^30; a millisecond if no shorter one does.
    pub(crate) fn for_window(longest: Duration) -> Self {
        let mut ticks = Self::LENGTHS.into_iter().map(Self::from_micros);
        ticks.find(|tick| tick.count(longest) <= Self::MOST_PER_WINDOW).unwrap_or(Self::MILLISECOND)
    }

    const fn from_micros(micros: u64) -> Self {
        let nanos = micros * 1000;
        Self { nanos, reciprocal: ((1_u128 << 64) / nanos as u128) as u64 }
    }

    /// Returns the length in nanoseconds.
    pub(crate) const fn nanos(self) -> u64 {
        self.nanos
    }

    /// Returns the length in microseconds.
    #[cfg(feature = "redis")]
    pub(crate) const fn micros(self) -> u64 {
        self.nanos / 1000
    }

    /// Returns the number of ticks in a window, rounded up so that no unit is freed early.
    pub(crate) fn count(self, window: Duration) -> u64 {
        u64::try_from(window.as_nanos().div_ceil(self.nanos().into())).unwrap_or(u64::MAX)
    }

    /// Returns the tick that holds this nanosecond since the origin of a clock: rounded down, to ask what has expired.
    #[inline]
    pub(super) const fn floor(self, nanos: u64) -> u64 {
        let (passed, rest) = self.passed(nanos);
        Self::EPOCH + passed + (rest >= self.nanos) as u64
    }

    /// Returns the first tick that begins at this nanosecond or later: rounded up, to record.
    #[inline]
    pub(super) const fn ceil(self, nanos: u64) -> u64 {
        let (passed, rest) = self.passed(nanos);
        Self::EPOCH + passed + (rest > 0) as u64 + (rest > self.nanos) as u64
    }

    /// Returns the nanosecond, since the origin of a clock, at which tick `number` begins.
    #[inline]
    pub(crate) const fn beginning(self, number: u64) -> u64 {
        number.saturating_sub(Self::EPOCH).saturating_mul(self.nanos())
    }

    /// Returns the first tick that begins with or after tick `number` of another length.
    pub(crate) const fn from(self, other: Self, number: u64) -> u64 {
        self.ceil(other.beginning(number))
    }

    /// Returns the ticks that have passed, or one less, and the nanoseconds since: fewer than two ticks.
    ///
    /// The product is short of the quotient by less than `nanos` / 2^64, and so by less than one.
    #[inline]
    const fn passed(self, nanos: u64) -> (u64, u64) {
        let passed = ((nanos as u128 * self.reciprocal as u128) >> 64) as u64;
        (passed, nanos - passed * self.nanos)
    }
}

pub(super) fn saturating_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

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

    #[test]
    fn it_is_as_fine_as_32_bits_allow() {
        let nanos = |window| Tick::for_window(window).nanos();
        assert_eq!(nanos(SECOND), 1000);
        assert_eq!(nanos(60 * SECOND), 1000);
        assert_eq!(nanos(3600 * SECOND), 4000);
        assert_eq!(nanos(86_400 * SECOND), 100_000);
        assert_eq!(nanos(7 * 86_400 * SECOND), 1_000_000);
        assert_eq!(nanos(Duration::MAX), 1_000_000);
        for tick in Tick::LENGTHS {
            let longest = Duration::from_micros(tick << 30);
            assert_eq!(nanos(longest), tick * 1000);
            assert!(tick == 1000 || nanos(longest + Duration::from_nanos(1)) > tick * 1000);
        }
    }

    #[test]
    fn windows_of_whole_milliseconds_are_whole_ticks() {
        for tick in Tick::LENGTHS.map(Tick::from_micros) {
            assert_eq!(tick.count(Duration::from_millis(7)) * tick.nanos(), 7_000_000);
            assert_eq!(tick.count(Duration::from_nanos(7_000_001)) * tick.nanos(), 7_000_000 + tick.nanos());
        }
    }

    proptest! {
        #[test]
        fn multiplying_divides(nanos in prop_oneof![any::<u64>(), u64::MAX - 2_000_000..=u64::MAX, 0..2_000_000u64]) {
            for tick in Tick::LENGTHS.map(Tick::from_micros) {
                prop_assert_eq!(tick.floor(nanos) - Tick::EPOCH, nanos / tick.nanos());
                prop_assert_eq!(tick.ceil(nanos) - Tick::EPOCH, nanos.div_ceil(tick.nanos()));
                let begun = tick.beginning(tick.floor(nanos));
                prop_assert!(begun <= nanos && nanos - begun < tick.nanos());
            }
        }
    }
}
