//! The entries of a log of costs, in two widths.

use std::fmt;

use crate::history::exact_log::widen;

/// An entry of a log of costs: a timestamp, and the running total of units at its end.
///
/// Totals wrap. A log holds at most [`MAX_UNITS`](Self::MAX_UNITS), so the difference of any two of its totals is right.
pub(super) trait CostEntry: Copy + fmt::Debug + Send + 'static {
    /// The maximum units of one log, and the mask of a total.
    const MAX_UNITS: u64;

    fn new(timestamp: u64, total: u64) -> Self;

    /// Returns the timestamp in full. No entry is later than the `newest` unit of its history.
    fn timestamp(self, newest: u64) -> u64;

    /// Returns the running total at the end.
    fn total(self) -> u64;

    /// Takes units from the running total.
    fn take(&mut self, units: u64);

    /// Returns the units recorded between two totals.
    #[inline]
    fn units_between(before: u64, total: u64) -> u64 {
        total.wrapping_sub(before) & Self::MAX_UNITS
    }
}

/// An entry for limits of up to 2^30 and windows of up to 12 days. Debts of three times the limit fit as well.
#[derive(Clone, Copy, Debug)]
pub(super) struct SmallEntry {
    timestamp: u32,
    total: u32,
}

/// An entry for all other limits and windows.
#[derive(Clone, Copy, Debug)]
pub(super) struct WideEntry {
    timestamp: u64,
    total: u64,
}

impl SmallEntry {
    /// The largest limit that is counted in small entries.
    pub(super) const LARGEST_LIMIT: u64 = 1 << 30;
}

impl CostEntry for SmallEntry {
    const MAX_UNITS: u64 = u32::MAX as u64;

    #[inline]
    fn new(timestamp: u64, total: u64) -> Self {
        Self { timestamp: timestamp as u32, total: total as u32 }
    }

    #[inline]
    fn timestamp(self, newest: u64) -> u64 {
        widen(self.timestamp, newest)
    }

    #[inline]
    fn total(self) -> u64 {
        self.total.into()
    }

    #[inline]
    fn take(&mut self, units: u64) {
        self.total = self.total.wrapping_sub(units as u32);
    }
}

impl CostEntry for WideEntry {
    const MAX_UNITS: u64 = u64::MAX;

    #[inline]
    fn new(timestamp: u64, total: u64) -> Self {
        Self { timestamp, total }
    }

    #[inline]
    fn timestamp(self, _newest: u64) -> u64 {
        self.timestamp
    }

    #[inline]
    fn total(self) -> u64 {
        self.total
    }

    #[inline]
    fn take(&mut self, units: u64) {
        self.total = self.total.wrapping_sub(units);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_8_and_16_bytes() {
        assert_eq!((size_of::<SmallEntry>(), size_of::<WideEntry>()), (8, 16));
    }

    #[test]
    fn units_are_right_across_the_wrap_of_a_total() {
        let before = u64::from(u32::MAX) - 5;
        let mut entry = SmallEntry::new(7, before + 10);
        assert_eq!(SmallEntry::units_between(before, entry.total()), 10);
        entry.take(4);
        assert_eq!(SmallEntry::units_between(before, entry.total()), 6);
        entry.take(6);
        assert_eq!(entry.total(), before);
        assert_eq!(WideEntry::units_between(u64::MAX - 2, 7), 10);
    }
}
