//! Where the limiter learns the time.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const NANOS_PER_MILLI: u64 = 1_000_000;

/// Where histories begin to count, in milliseconds: 278 years after zero, so that the age of anything still remembered
/// can be subtracted from any moment, also from that of a clock that was set back to its origin.
const EPOCH: u64 = 1 << 43;

/// A source of time for a limiter.
///
/// The value is the time since an origin of the clock's own choice; only differences count. It should never go back,
/// and the limiter survives it if it does: a clock that stands still, steps back or jumps ahead gives no unit away
/// early.
///
/// [`SystemClock`] is the default. [`ManualClock`] is for tests, yours included: hours pass in them without sleeping.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Time since the clock's origin.
    fn now(&self) -> Duration;
}

/// The operating system's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

/// A clock that moves only when told to. Clones share one time.
///
/// ```
/// use std::time::Duration;
/// use tower_quota::{Policy, RateLimiter, Rule, clock::ManualClock};
///
/// let clock = ManualClock::new();
/// let limiter = RateLimiter::builder()
///     .rule(Rule::new("calls").every_request().level("anyone", "one key for all").policy(Policy::per_minute(1)))
///     .clock(clock.clone())
///     .build()?;
///
/// assert!(limiter.check("calls", "ann")?.is_admitted());
/// assert!(!limiter.check("calls", "ann")?.is_admitted());
/// clock.advance(Duration::from_secs(60));
/// assert!(limiter.check("calls", "ann")?.is_admitted());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    nanos: Arc<AtomicU64>,
}

/// One reading of a clock.
///
/// Histories count whole milliseconds. What is *recorded* is rounded up and what is *asked* is rounded down, so that
/// rounding can hold a unit back for less than a millisecond and can never free one early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    nanos: u64,
}

impl SystemClock {
    /// A clock whose origin is now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place where time enters")]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

impl ManualClock {
    /// A clock that stands at its origin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the time on by `step`; the sum saturates at about 584 years.
    pub fn advance(&self, step: Duration) {
        let _ = self
            .nanos
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_add(saturating_nanos(step))));
    }

    /// Sets the time since the origin, backwards too.
    pub fn set(&self, now: Duration) {
        self.nanos.store(saturating_nanos(now), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

impl Moment {
    pub(crate) fn read(clock: &dyn Clock) -> Self {
        Self { nanos: saturating_nanos(clock.now()) }
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

    /// Time from here to the beginning of `millis`; zero if that has passed.
    pub(crate) const fn until(self, millis: u64) -> Duration {
        let nanos = millis.saturating_sub(EPOCH).saturating_mul(NANOS_PER_MILLI);
        Duration::from_nanos(nanos.saturating_sub(self.nanos))
    }
}

fn saturating_nanos(time: Duration) -> u64 {
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
