//! Real time, for durations that operators see.

use std::time::{Duration, Instant};

/// Measures how long something takes, by the clock of the system. No decision depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "operators wait in real time, whatever clock decides")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns when it was started.
    pub(crate) const fn started_at(self) -> Instant {
        self.0
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
