//! What one key asks for, whether it is refused or not.

use std::collections::VecDeque;

use crate::replay::{Epoch, RollingCount};

/// Up to this many requests have a time of 32 bits each. More have a log, whose moments are taken together.
const MOST_TIMES: usize = 4096;

/// The units that one key has asked for in the last window.
#[derive(Clone, Debug)]
pub(crate) enum Demand {
    /// The times of requests of one unit: most keys have few, and this takes a quarter of the memory of a log.
    Times {
        epoch: Epoch,
        times: VecDeque<u32>,
    },
    Log(Box<RollingCount>),
}

impl Default for Demand {
    fn default() -> Self {
        Self::Times { epoch: Epoch::default(), times: VecDeque::new() }
    }
}

impl Demand {
    /// Drops what has left the window, and returns the units that are left.
    #[inline]
    pub(crate) fn count(&mut self, now: i64, window: i64) -> u64 {
        match self {
            Self::Times { epoch, times } => {
                if times.is_empty() {
                    return 0;
                }
                let horizon = epoch.horizon(now, window, || times.iter_mut());
                while times.front().is_some_and(|time| *time <= horizon) {
                    times.pop_front();
                }
                times.len() as u64
            }
            Self::Log(log) => {
                log.expire(now, window);
                log.count()
            }
        }
    }

    /// Adds the units of a request, after those before have been [counted](Self::count). Returns `true` if its moment was
    /// taken together with another one. Only if no request costs other than one unit, it `may_be_short`.
    #[inline]
    pub(crate) fn push(&mut self, units: u64, now: i64, window: i64, may_be_short: bool) -> bool {
        match self {
            Self::Times { epoch, times } if may_be_short && times.len() < MOST_TIMES => {
                let horizon = epoch.horizon(now, window, || times.iter_mut());
                times.push_back(horizon + window as u32);
                false
            }
            Self::Times { .. } => {
                let mut log = self.to_log(window);
                let is_joined = log.push(units, now, window);
                *self = Self::Log(Box::new(log));
                is_joined
            }
            Self::Log(log) => log.push(units, now, window),
        }
    }

    /// Returns a log of the same requests.
    pub(crate) fn to_log(&self, window: i64) -> RollingCount {
        match self {
            Self::Log(log) => (**log).clone(),
            Self::Times { epoch, times } => {
                let mut log = RollingCount::default();
                for time in times {
                    log.push(1, epoch.time(*time), window);
                }
                log
            }
        }
    }

    /// Returns the moment of each unit, the oldest first.
    pub(crate) fn moments(&self) -> impl Iterator<Item = i64> {
        let (short, log) = match self {
            Self::Times { epoch, times } => (Some(times.iter().map(|time| epoch.time(*time))), None),
            Self::Log(log) => (None, Some(log.moments())),
        };
        short.into_iter().flatten().chain(log.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_counts_what_a_log_counts(
            steps in prop::collection::vec(prop_oneof![0_i64..50, Just(5_000_000_000)], 0..300),
            window in 1_i64..400,
            may_be_short: bool,
        ) {
            let (mut demand, mut log, mut now) = (Demand::default(), RollingCount::default(), 0);
            for step in steps {
                now += step;
                log.expire(now, window);
                prop_assert_eq!(demand.count(now, window), log.count());
                prop_assert!(demand.moments().eq(log.moments()));
                prop_assert!(demand.to_log(window).moments().eq(log.moments()));
                prop_assert_eq!(demand.push(1, now, window, may_be_short), log.push(1, now, window));
            }
        }
    }

    #[test]
    fn a_key_with_many_requests_gets_a_log() {
        let (mut demand, window) = (Demand::default(), 1_000_000);
        for now in 0..5_000 {
            assert_eq!(demand.count(now, window), now.unsigned_abs());
            demand.push(1, now, window, true);
        }
        assert!(matches!(demand, Demand::Log(_)));
        assert_eq!(demand.count(1_000_000, window), 4_999);
    }
}
