//! How many attempts there may be beyond the first ones.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::error::ConfigError;

/// What one attempt takes: deposits are in hundredths of it.
const ATTEMPT: u64 = 100;
const MOST_PERCENT: u32 = 1000;

/// Bounds what all calls together may be repeated, whatever each of them is allowed.
///
/// Every call pays in a part of an attempt and every repeat takes out a whole one. It begins with the reserve and never
/// holds more. So in any time the repeats are at most that part of the calls, and the reserve.
///
/// Clones share what is in it.
#[derive(Clone, Debug)]
pub struct Budget {
    percent: u64,
    most: u64,
    balance: Arc<AtomicU64>,
}

impl Budget {
    /// Each call pays in `percent` hundredths of a repeat, and `reserve` repeats are there from the beginning.
    ///
    /// # Errors
    ///
    /// If `percent` is above 1000, or `reserve` is zero: then no call could ever be repeated.
    pub fn new(percent: u32, reserve: u32) -> Result<Self, ConfigError> {
        if percent > MOST_PERCENT {
            return Err(ConfigError::new("budget: percent", percent, "at most ten repeats to a call: 1000"));
        }
        if reserve == 0 {
            return Err(ConfigError::new(
                "budget: reserve",
                reserve,
                "it holds at least 1, or nothing is ever repeated",
            ));
        }
        Ok(Self::of(percent, reserve))
    }

    fn of(percent: u32, reserve: u32) -> Self {
        let most = u64::from(reserve) * ATTEMPT;
        Self { percent: percent.into(), most, balance: Arc::new(AtomicU64::new(most)) }
    }

    /// Whole repeats that are in it.
    #[must_use]
    pub fn balance(&self) -> u64 {
        self.balance.load(Ordering::Relaxed) / ATTEMPT
    }

    /// A call is made.
    pub(super) fn deposit(&self) {
        self.pay_in(self.percent);
    }

    /// A repeat that was taken out is not made.
    pub(super) fn give_back(&self) {
        self.pay_in(ATTEMPT);
    }

    fn pay_in(&self, hundredths: u64) {
        let paid_in = |balance: u64| Some(balance.saturating_add(hundredths).min(self.most));
        let _ = self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid_in);
    }

    /// Takes out a repeat, if there is a whole one.
    pub(super) fn withdraw(&self) -> bool {
        let taken_out = |balance: u64| balance.checked_sub(ATTEMPT);
        self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken_out).is_ok()
    }
}

impl Default for Budget {
    /// A fifth of a repeat to a call, and a reserve of 100.
    fn default() -> Self {
        Self::of(20, 100)
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
