//! Where the limiter learns the time.

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
/// The value is the time since an origin of the clock's own choice; only differences count. It should never go back,
/// and the limiter survives it if it does: a clock that stands still, steps back or jumps ahead gives no unit away
/// early. After a step back by up to 10 ms units come back late by as much; after a larger one the units from the future
/// count as admitted now.
///
/// [`SystemClock`] is the default. [`ManualClock`] is for tests, yours included: hours pass in them without sleeping.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Time since the clock's origin.
    ///
    /// It may be called while a limiter holds locks: it must not ask that limiter anything, and should not block.
    fn now(&self) -> Duration;

    /// Time since 1970, which is what [`LegacyReset::Epoch`](crate::http::LegacyReset::Epoch) counts: that of the operating system,
    /// unless a clock is one of its own.
    fn since_1970(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    #[doc(hidden)]
    /// The same in nanoseconds, for a clock that counts these: a `Duration` is put together and taken apart by dividing.
    #[inline]
    fn nanos(&self) -> u64 {
        timestamp::saturating_nanos(self.now())
    }
}
