//! The state of one call, over all its attempts.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::{
    backoff::random_between,
    retry::{classifier::Retryable, config::RetryConfig},
};

/// The bounds of the default jitter. A shorter one would bring back all clients that were refused together at once.
const MIN_JITTER: Duration = Duration::from_secs(2);
const MAX_JITTER: Duration = Duration::from_secs(5);

/// The state of one call, over all its attempts.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallState {
    begun_at: Instant,
    repeats: u32,
    /// The wait before the last attempt.
    last_wait: Duration,
}

impl CallState {
    pub(super) fn new() -> Self {
        Self { begun_at: Instant::now(), repeats: 0, last_wait: Duration::ZERO }
    }

    /// Returns the number of retries.
    pub(super) const fn repeats(&self) -> u32 {
        self.repeats
    }

    /// Lets the time of the call begin here, if it has not been retried yet.
    pub(super) const fn begin_at(&mut self, sent_at: Instant) {
        if self.repeats == 0 {
            self.begun_at = sent_at;
        }
    }

    /// Returns the wait before another attempt, or `None` if there is to be none.
    pub(super) fn next_wait(&self, retryable: Retryable, config: &RetryConfig) -> Option<Duration> {
        let is_last = self.repeats.saturating_add(1) >= config.max_attempts;
        if is_last || retryable.stated_wait.is_some_and(|wait| wait > config.max_stated_wait) {
            return None;
        }
        let left = config.max_elapsed.checked_sub(self.begun_at.elapsed())?;
        let Some(stated) = retryable.stated_wait else {
            let backoff = config.backoff_after(retryable.reason);
            return Some(backoff.wait(self.repeats, self.last_wait)).filter(|wait| *wait <= left);
        };
        let wait = stated.max(config.backoff().base());
        let jitter = max_jitter(wait, config.max_jitter).min(left.checked_sub(wait)?);
        Some(wait.saturating_add(random_between(Duration::ZERO, jitter)))
    }

    /// Notes a retry after this wait.
    pub(super) const fn retry_after(&mut self, wait: Duration) {
        self.repeats = self.repeats.saturating_add(1);
        self.last_wait = wait;
    }
}

/// Returns the largest jitter of a wait. A configured one is never more than the wait itself: a short wait would be lost
/// in it.
fn max_jitter(wait: Duration, configured: Option<Duration>) -> Duration {
    configured.map_or(wait.clamp(MIN_JITTER, MAX_JITTER), |configured| configured.min(wait))
}
