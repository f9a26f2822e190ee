//! One call, with all its attempts.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::retry::{backoff::random, terms::Terms};

/// How far a call has got.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    begun: Instant,
    repeats: u32,
    /// What the last attempt waited for.
    waited: Duration,
}

impl Session {
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), repeats: 0, waited: Duration::ZERO }
    }

    /// How often it has been called again.
    pub(super) const fn repeats(&self) -> u32 {
        self.repeats
    }

    /// How long to wait for another attempt; none if there is not to be one.
    pub(super) fn next_wait(&self, stated: Option<Duration>, terms: &Terms) -> Option<Duration> {
        let is_last = self.repeats.saturating_add(1) >= terms.attempts;
        if is_last || stated.is_some_and(|stated| stated > terms.longest_wait) {
            return None;
        }
        let wait = match stated {
            Some(stated) => later(stated.max(terms.backoff.base()), terms.spread),
            None => terms.backoff.wait(self.repeats, self.waited),
        };
        (self.begun.elapsed().saturating_add(wait) <= terms.deadline).then_some(wait)
    }

    /// It is called again after this wait.
    pub(super) const fn repeat_after(&mut self, wait: Duration) {
        self.repeats = self.repeats.saturating_add(1);
        self.waited = wait;
    }
}

/// Never sooner. Later by no more than the wait itself, or a short one would be lost in it.
fn later(wait: Duration, spread: Duration) -> Duration {
    wait.saturating_add(random(Duration::ZERO, spread.min(wait)))
}
