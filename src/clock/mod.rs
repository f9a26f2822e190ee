//! Sources of time for a limiter.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

mod manual;
mod system;
mod timestamp;
#[cfg(feature = "client")]
mod tokio;

#[cfg(feature = "client")]
pub use self::tokio::TokioClock;
pub use manual::ManualClock;
pub use system::SystemClock;

pub(crate) use timestamp::{Tick, Timestamp};

/// A source of time for a limiter.
///
/// The value of [`now`](Self::now) is the time since an origin that the clock chooses; only differences count. Clocks
/// should be monotonic, and the limiter tolerates those that are not: a clock that stands still, steps back or jumps
/// ahead never frees a unit early. After a step back of up to 10 ms, units come back late by as much; after a larger
/// one, units with a timestamp in the future count as admitted now.
///
/// [`SystemClock`] is the default. [`ManualClock`] is for tests, yours included: hours pass in them without sleeping.
///
/// ```
/// use std::time::{Duration, Instant};
/// use tower_quota::{Policy, RateLimiter, Rule, clock::Clock};
///
/// /// Follows the time of a simulation, in which a second lasts a millisecond.
/// #[derive(Debug)]
/// struct Simulation {
///     start: Instant,
/// }
///
/// impl Clock for Simulation {
///     fn now(&self) -> Duration {
///         self.start.elapsed() * 1000
///     }
/// }
///
/// let rule = Rule::new("calls").no_requests().policy(Policy::per_minute(1));
/// let clock = Simulation { start: Instant::now() };
/// let limiter = RateLimiter::builder().rule(rule).clock(clock).build()?;
/// assert!(limiter.rule("calls")?.admit("acme"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the time since the clock's origin.
    ///
    /// The limiter may call this while it holds locks: it must not ask that limiter anything, and should not block.
    fn now(&self) -> Duration;

    /// Returns the time since 1970, which header fields with a Unix timestamp need
    /// ([`LegacyReset::Epoch`](crate::http::LegacyReset::Epoch)). Defaults to the operating system's.
    fn since_1970(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    #[doc(hidden)]
    /// Returns the same in nanoseconds. Clocks that count nanoseconds override this, because making a `Duration` and
    /// taking it apart costs two divisions.
    #[inline]
    fn nanos(&self) -> u64 {
        timestamp::saturating_nanos(self.now())
    }
}
