//! How long to wait when nobody says.

use std::time::Duration;

use crate::{client::jitter::random, error::ConfigError};

/// Times to wait between the attempts of a call, which grow from a base up to a cap and are drawn at random.
///
/// Every draw is independent of all others: calls that failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    jitter: Jitter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Jitter {
    Full,
    Decorrelated,
}

impl Backoff {
    /// Between nothing and `base` × 2ⁿ, at most `cap`, where n is 0 at first: the least work for a server that is
    /// overloaded.
    pub const fn full(base: Duration, cap: Duration) -> Self {
        Self { base, cap, jitter: Jitter::Full }
    }

    /// Between `base` and three times the wait before, at most `cap`: a little more work, done sooner.
    pub const fn decorrelated(base: Duration, cap: Duration) -> Self {
        Self { base, cap, jitter: Jitter::Decorrelated }
    }

    pub(super) const fn base(&self) -> Duration {
        self.base
    }

    /// The wait before another attempt, after so many that were repeats themselves and the wait before the last of them.
    pub(super) fn wait(&self, repeats: u32, before: Duration) -> Duration {
        let (least, most) = match self.jitter {
            Jitter::Full => (Duration::ZERO, self.base.saturating_mul(1_u32.checked_shl(repeats).unwrap_or(u32::MAX))),
            Jitter::Decorrelated => (self.base, before.max(self.base).saturating_mul(3)),
        };
        random(least, most.min(self.cap))
    }

    /// Checks it as that of a field.
    pub(super) fn validate(&self, of: &str) -> Result<(), ConfigError> {
        let error = |field, value, reason| {
            Err(ConfigError::new(format!("{of}: {field}"), humantime::format_duration(value), reason))
        };
        if self.base.is_zero() {
            return error("base", self.base, "it is more than nothing, or calls would be repeated without a pause");
        }
        if self.cap < self.base {
            return error("cap", self.cap, "it is not below the base");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const BASE: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_secs(5);

    /// The shortest and the longest of many draws.
    fn range(mut draw: impl FnMut() -> Duration) -> (Duration, Duration) {
        let draws: Vec<_> = (0..10_000).map(|_| draw()).collect();
        (*draws.iter().min().unwrap(), *draws.iter().max().unwrap())
    }

    #[test]
    fn full_jitter_draws_from_all_that_the_exponential_allows() {
        fastrand::seed(1);
        let backoff = Backoff::full(BASE, CAP);
        for (repeats, most) in
            [(0, BASE), (1, BASE * 2), (5, BASE * 32), (6, CAP), (31, CAP), (32, CAP), (u32::MAX, CAP)]
        {
            let (shortest, longest) = range(|| backoff.wait(repeats, Duration::ZERO));
            assert!(shortest < most / 100, "{shortest:?} of {most:?}");
            assert!(longest <= most && longest > most * 99 / 100, "{longest:?} of {most:?}");
        }
    }

    #[test]
    fn decorrelated_jitter_draws_between_the_base_and_thrice_the_wait_before() {
        fastrand::seed(1);
        let backoff = Backoff::decorrelated(BASE, CAP);
        for (before, most) in [(0, 300), (100, 300), (500, 1500), (2000, 5000), (u64::MAX, 5000)] {
            let (shortest, longest) = range(|| backoff.wait(0, Duration::from_millis(before)));
            let most = Duration::from_millis(most);
            assert!(shortest >= BASE && shortest < BASE + most / 100, "{shortest:?} of {most:?}");
            assert!(longest <= most && longest > most * 99 / 100, "{longest:?} of {most:?}");
        }
    }

    #[test]
    fn two_sequences_of_one_backoff_differ() {
        fastrand::seed(1);
        let backoff = Backoff::full(BASE, CAP);
        let sequence = || (0..8).map(|repeats| backoff.wait(repeats, Duration::ZERO)).collect::<Vec<_>>();
        let sequences: HashSet<_> = (0..100).map(|_| sequence()).collect();
        assert_eq!(sequences.len(), 100);
    }

    #[test]
    fn no_time_is_too_long() {
        let backoff = Backoff::full(Duration::MAX, Duration::MAX);
        assert!(backoff.wait(u32::MAX, Duration::MAX) <= Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn a_backoff_without_a_pause_or_with_a_cap_below_its_base_is_refused() {
        assert_eq!(Backoff::full(BASE, BASE).validate("backoff"), Ok(()));
        let error = Backoff::full(Duration::ZERO, CAP).validate("backoff").unwrap_err();
        assert_eq!((error.field(), error.value()), ("backoff: base", "0s"));
        let error = Backoff::decorrelated(CAP, BASE).validate("backoff").unwrap_err();
        assert_eq!((error.field(), error.value()), ("backoff: cap", "100ms"));
    }
}
