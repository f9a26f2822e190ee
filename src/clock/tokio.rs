//! The time that tokio's timers keep.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{Clock, SystemClock};

/// The time that tokio's timers keep, which stands still while a test has paused it.
///
/// It is what pacing decides by, because it waits by these timers. For a limiter of your own that is to be paced in tests
/// with `tokio::time::pause`.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: Instant,
    /// Time from 1970 to that.
    origin_since_1970: Duration,
}

impl TokioClock {
    /// A clock whose origin is now.
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
