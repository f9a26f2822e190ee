//! What a layer of pacing was told.

use std::time::Duration;

use tokio::time::Instant;

/// Longer than any process lives, and short enough to be added to any time.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// What a layer of pacing was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Calls that may wait for one key.
    pub(super) max_waiting: usize,
    pub(super) max_wait: Option<Duration>,
    /// How long a server may hold calls back.
    pub(super) max_hold: Duration,
    /// How long calls are held back after a refusal that does not say.
    pub(super) back_off: Duration,
    /// What is added to a pause at most.
    pub(super) spread: Duration,
    pub(super) is_adaptive: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_waiting: 1024,
            max_wait: None,
            max_hold: Duration::from_secs(600),
            back_off: Duration::from_secs(1),
            spread: Duration::from_secs(1),
            is_adaptive: false,
        }
    }
}

/// The time so much later, whatever a server or a policy says.
pub(super) fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by.min(FOREVER)).unwrap_or(now)
}
