//! The retry budget.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::error::ConfigError;

/// The price of a retry; deposits are in hundredths of it.
const RETRY: u64 = 100;
const MAX_PERCENT: u32 = 1000;

/// A retry budget: bounds the retries of all calls together, whatever each of them is allowed.
///
/// Every call pays in a part of a retry and every retry takes out a whole one. The budget begins with its reserve and never
/// holds more. So in any interval the retries are at most that part of the calls, and the reserve.
///
/// Clones share the balance.
///
/// ```
/// use tower_quota::client::{RetryPolicy, retry::Budget};
///
/// // At most one retry for ten calls, and 20 on top.
/// let budget = Budget::new(10, 20)?;
/// assert_eq!(budget.balance(), 20);
///
/// // Two policies may share a budget.
/// let reads = RetryPolicy::builder().budget(budget.clone()).build()?;
/// let writes = RetryPolicy::builder().budget(budget).max_attempts(2).build()?;
/// # let _ = (reads, writes);
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Budget {
    percent: u64,
    max: u64,
    balance: Arc<AtomicU64>,
}

impl Budget {
    /// Creates a budget into which each call pays `percent` hundredths of a retry, and which begins with `reserve` retries.
    ///
    /// # Errors
    ///
    /// If `percent` is above 1000, or `reserve` is zero: then no call could ever be retried.
    pub fn new(percent: u32, reserve: u32) -> Result<Self, ConfigError> {
        if percent > MAX_PERCENT {
            return Err(ConfigError::new("budget: percent", percent, "at most ten retries to a call: 1000"));
        }
        if reserve == 0 {
            return Err(ConfigError::new(
                "budget: reserve",
                reserve,
                "it holds at least 1, or nothing is ever retried",
            ));
        }
        Ok(Self::unchecked(percent, reserve))
    }

    fn unchecked(percent: u32, reserve: u32) -> Self {
        let max = u64::from(reserve) * RETRY;
        Self { percent: percent.into(), max, balance: Arc::new(AtomicU64::new(max)) }
    }

    /// Returns the number of whole retries in the budget.
    #[must_use]
    pub fn balance(&self) -> u64 {
        self.balance.load(Ordering::Relaxed) / RETRY
    }

    /// Pays in the part of a call.
    pub(super) fn deposit(&self) {
        self.pay_in(self.percent);
    }

    /// Pays back a retry that was taken out and is not made.
    pub(super) fn give_back(&self) {
        self.pay_in(RETRY);
    }

    fn pay_in(&self, hundredths: u64) {
        let add = |balance: u64| Some(balance.saturating_add(hundredths).min(self.max));
        // The closure always returns a value, so this cannot fail.
        let _ = self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Takes out a retry. Returns `false` if there is no whole one.
    pub(super) fn withdraw(&self) -> bool {
        let subtract = |balance: u64| balance.checked_sub(RETRY);
        self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract).is_ok()
    }
}

impl Default for Budget {
    /// Creates a budget with a fifth of a retry to a call, and a reserve of 100.
    fn default() -> Self {
        Self::unchecked(20, 100)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mistakes_are_found_when_it_is_made() {
        let error = Budget::new(1001, 1).unwrap_err();
        assert_eq!((error.field(), error.value()), ("budget: percent", "1001"));
        let error = Budget::new(20, 0).unwrap_err();
        assert_eq!((error.field(), error.value()), ("budget: reserve", "0"));
        assert_eq!(Budget::new(1000, u32::MAX).unwrap().balance(), u64::from(u32::MAX));
    }

    #[test]
    fn five_calls_pay_for_a_repeat_once_the_reserve_is_gone() {
        let budget = Budget::new(20, 2).unwrap();
        assert_eq!([budget.withdraw(), budget.withdraw(), budget.withdraw()], [true, true, false]);
        (0..4).for_each(|_| budget.deposit());
        assert!(!budget.withdraw());
        budget.deposit();
        assert_eq!([budget.withdraw(), budget.withdraw()], [true, false]);
    }

    #[test]
    fn good_times_do_not_pile_up_repeats_for_bad_ones() {
        let budget = Budget::new(20, 2).unwrap();
        (0..1000).for_each(|_| budget.deposit());
        assert_eq!(budget.balance(), 2);
    }

    #[test]
    fn threads_do_not_take_out_more_than_there_is() {
        let budget = Budget::new(0, 1000).unwrap();
        let taken: u64 = thread::scope(|scope| {
            let take = || (0..1000).map(|_| u64::from(budget.withdraw())).sum::<u64>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }

    proptest! {
        #[test]
        fn in_any_interval_repeats_are_a_part_of_the_calls_and_the_reserve(
            percent in 0u32..=1000,
            reserve in 1u32..20,
            steps in prop::collection::vec(any::<bool>(), 1..200),
            begin in 0usize..100,
        ) {
            let budget = Budget::new(percent, reserve).unwrap();
            let (mut calls, mut repeats) = (0, 0);
            for (at, is_call) in steps.iter().enumerate() {
                let has_repeated = if *is_call { budget.deposit(); false } else { budget.withdraw() };
                if at >= begin {
                    calls += u32::from(*is_call);
                    repeats += u32::from(has_repeated);
                }
            }
            prop_assert!(repeats * 100 <= calls * percent + reserve * 100);
        }
    }
}
