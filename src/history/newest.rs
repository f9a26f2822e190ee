//! The tick of a history's newest unit, and the credit that goes with it.

/// The tick of the newest unit, and the *credit*: a number of units that have room at that tick and at any later one.
///
/// Windows only get emptier with time, so what is known to have room once has room until it is charged. Both numbers share a word
/// because a slot has no other to spare.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Newest(u64);

impl Newest {
    /// Bits of the credit. The other 55 hold the last tick of all, which is the largest timestamp in ticks of a microsecond.
    const CREDIT_BITS: u32 = 9;
    /// Maximum credit.
    pub(super) const MOST_CREDIT: usize = (1 << Self::CREDIT_BITS) - 1;

    /// Creates one without credit.
    #[inline]
    pub(super) const fn new(tick: u64) -> Self {
        Self(tick << Self::CREDIT_BITS)
    }

    #[inline]
    pub(super) const fn tick(self) -> u64 {
        self.0 >> Self::CREDIT_BITS
    }

    #[inline]
    pub(super) const fn credit(self) -> usize {
        self.0 as usize & Self::MOST_CREDIT
    }

    /// Returns what it is after one more unit at `tick`, which must not be earlier.
    #[inline]
    pub(super) const fn charged_at(self, tick: u64) -> Self {
        Self(tick << Self::CREDIT_BITS | self.credit().saturating_sub(1) as u64)
    }

    /// Returns the same tick with this credit, or with as much of it as fits.
    #[inline]
    pub(super) const fn with_credit(self, credit: usize) -> Self {
        let credit = if credit < Self::MOST_CREDIT { credit } else { Self::MOST_CREDIT };
        Self(self.tick() << Self::CREDIT_BITS | credit as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{Tick, Timestamp},
        policy::Policy,
    };

    #[test]
    fn the_last_tick_of_all_leaves_room_for_the_credit() {
        let shortest = Tick::for_window(Policy::per_second(1).quotas().map(crate::Quota::window).max().unwrap());
        let last = Timestamp::from_nanos(u64::MAX).ceil_ticks(shortest);
        let newest = Newest::new(last).with_credit(usize::MAX);
        assert_eq!((newest.tick(), newest.credit()), (last, Newest::MOST_CREDIT));
    }

    #[test]
    fn each_unit_takes_one_of_the_credit_until_there_is_none() {
        let mut newest = Newest::new(7).with_credit(2);
        let credits = [1, 0, 0].map(|expected| {
            newest = newest.charged_at(newest.tick() + 1);
            (newest.credit(), expected)
        });
        assert!(credits.iter().all(|(credit, expected)| credit == expected), "{credits:?}");
        assert_eq!(newest.tick(), 10);
    }
}
