//! Exponential backoff with jitter.

use std::time::Duration;

use crate::error::ConfigError;

/// An exponential backoff with jitter: random waits between the attempts of a call, which grow from a base up to a cap.
///
/// Every draw is independent of all others, so calls that failed together do not come back together.
///
/// ```
/// use std::time::Duration;
///
/// use tower_quota::client::{RetryPolicy, retry::Backoff};
///
/// let backoff = Backoff::full(Duration::from_millis(50), Duration::from_secs(5));
/// let policy = RetryPolicy::builder().backoff(backoff).build()?;
/// # let _ = policy;
///
/// let upside_down = Backoff::full(Duration::from_secs(5), Duration::from_millis(50));
/// let error = RetryPolicy::builder().backoff(upside_down).build().unwrap_err();
/// assert_eq!(error.field(), "backoff: cap");
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
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
    /// Creates a backoff with full jitter: each wait is drawn between zero and `base` × 2ⁿ, or `cap` if that is less,
    /// where n begins at 0. It makes the least work for an overloaded server.
    pub const fn full(base: Duration, cap: Duration) -> Self {
        Self { base, cap, jitter: Jitter::Full }
    }

    /// Creates a backoff with decorrelated jitter: each wait is drawn between `base` and three times the wait before, or
    /// `cap` if that is less. It makes a little more work, done sooner.
    pub const fn decorrelated(base: Duration, cap: Duration) -> Self {
        Self { base, cap, jitter: Jitter::Decorrelated }
    }

    pub(super) const fn base(&self) -> Duration {
        self.base
    }

    /// Draws the wait before another attempt, after `repeats` earlier ones, the last of which waited for `previous`.
    pub(super) fn wait(&self, repeats: u32, previous: Duration) -> Duration {
        let (least, most) = match self.jitter {
            Jitter::Full => (Duration::ZERO, self.base.saturating_mul(1_u32.checked_shl(repeats).unwrap_or(u32::MAX))),
            Jitter::Decorrelated => (self.base, previous.max(self.base).saturating_mul(3)),
        };
        random_between(least, most.min(self.cap))
    }

    /// Checks a backoff that was given for `setting`.
    pub(super) fn validate(&self, setting: &str) -> Result<(), ConfigError> {
        let (field, value, reason) = if self.base.is_zero() {
            ("base", self.base, "it is more than nothing, or calls would be retried without a pause")
        } else if self.cap < self.base {
            ("cap", self.cap, "it is not below the base")
        } else {
            return Ok(());
        };
        Err(ConfigError::new(format!("{setting}: {field}"), humantime::format_duration(value), reason))
    }
}

/// Draws a time from `least` to `most`, both included; `most` if it is below `least`.
pub(super) fn random_between(least: Duration, most: Duration) -> Duration {
    let most = saturating_nanos(most);
    Duration::from_nanos(fastrand::u64(saturating_nanos(least).min(most)..=most))
}

fn saturating_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
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

    #[test]
    fn a_draw_is_never_below_zero_nor_above_what_nanoseconds_hold() {
        assert_eq!(random_between(Duration::MAX, Duration::MAX), Duration::from_nanos(u64::MAX));
        assert_eq!(random_between(Duration::from_secs(1), Duration::ZERO), Duration::ZERO);
    }
}
