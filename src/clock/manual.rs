//! A clock for tests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::clock::{Clock, timestamp::saturating_nanos};

/// A clock that moves only when it is told to, for tests. Clones share one time.
///
/// ```
/// use std::time::Duration;
/// use tower_quota::{Policy, RateLimiter, Rule, clock::ManualClock};
///
/// let clock = ManualClock::new();
/// let limiter = RateLimiter::builder()
///     .rule(Rule::new("calls").no_requests().policy(Policy::per_minute(1)))
///     .clock(clock.clone())
///     .build()?;
///
/// assert!(limiter.rule("calls")?.check("ann").is_admitted());
/// assert!(!limiter.rule("calls")?.check("ann").is_admitted());
/// clock.advance(Duration::from_secs(60));
/// assert!(limiter.rule("calls")?.check("ann").is_admitted());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    nanos: Arc<AtomicU64>,
}

impl ManualClock {
    /// Creates a clock that stands at its origin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Advances the time by `step`. The sum saturates at about 584 years.
    pub fn advance(&self, step: Duration) {
        let _ = self
            .nanos
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_add(saturating_nanos(step))));
    }

    /// Sets the time since the origin. It may go back.
    pub fn set(&self, now: Duration) {
        self.nanos.store(saturating_nanos(now), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    /// Returns the time since the origin, which stands for the beginning of 1970.
    fn since_1970(&self) -> Duration {
        self.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_saturates_instead_of_overflowing() {
        let clock = ManualClock::new();
        clock.set(Duration::MAX);
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn clones_of_a_manual_clock_share_one_time() {
        let clock = ManualClock::new();
        clock.clone().advance(Duration::from_secs(3));
        assert_eq!(clock.now(), Duration::from_secs(3));
    }
}
