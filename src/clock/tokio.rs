//! The clock of tokio's timers.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{Clock, SystemClock};

/// The clock of tokio's timers, which stands still while a test has paused it.
///
/// [Pacing](crate::client::pace) decides by this clock, because it waits by these timers. Give it to a limiter of your
/// own that is to be paced in tests with `tokio::time::pause`.
///
/// ```
/// use std::time::Duration;
/// use tower_quota::clock::{Clock, TokioClock};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let clock = TokioClock::new();
/// tokio::time::sleep(Duration::from_secs(60)).await; // at once, as time is paused
/// assert_eq!(clock.now(), Duration::from_secs(60));
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: Instant,
    /// Time between 1970 and `origin`.
    origin_since_1970: Duration,
}

impl TokioClock {
    /// Creates a clock whose origin is now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now(), origin_since_1970: SystemClock::new().since_1970() }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(self.origin)
    }

    fn since_1970(&self) -> Duration {
        self.origin_since_1970.saturating_add(self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_moves_with_the_timers() {
        let clock = TokioClock::new();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(clock.now(), Duration::from_secs(60));
    }

    #[test]
    fn it_can_be_read_outside_of_a_runtime() {
        let clock = TokioClock::new();
        assert!(clock.now() <= clock.now());
    }
}
