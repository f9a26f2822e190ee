//! One call, with all its attempts.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::{
    jitter::random,
    retry::{judge::Repeatable, terms::Terms},
};

/// A shorter one would bring back those who were refused together all at once.
const LEAST_SPREAD: Duration = Duration::from_secs(2);
const MOST_SPREAD: Duration = Duration::from_secs(5);

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

    /// The deadline counts from this on, if no attempt has been repeated yet.
    pub(super) const fn begin_at(&mut self, reached: Instant) {
        if self.repeats == 0 {
            self.begun = reached;
        }
    }

    /// How long to wait for another attempt; none if there is not to be one.
    pub(super) fn next_wait(&self, repeatable: Repeatable, terms: &Terms) -> Option<Duration> {
        let is_last = self.repeats.saturating_add(1) >= terms.attempts;
        if is_last || repeatable.stated.is_some_and(|stated| stated > terms.longest_wait) {
            return None;
        }
        let left = terms.deadline.checked_sub(self.begun.elapsed())?;
        let Some(stated) = repeatable.stated else {
            let backoff = terms.backoff_after(repeatable);
            return Some(backoff.wait(self.repeats, self.waited)).filter(|wait| *wait <= left);
        };
        let wait = stated.max(terms.backoff().base());
        let spread = spread(wait, terms.spread).min(left.checked_sub(wait)?);
        Some(wait.saturating_add(random(Duration::ZERO, spread)))
    }

    /// It is called again after this wait.
    pub(super) const fn repeat_after(&mut self, wait: Duration) {
        self.repeats = self.repeats.saturating_add(1);
        self.waited = wait;
    }
}

/// What is added to a wait, at most: never more than the wait itself if it was chosen, or a short one would be lost in it.
fn spread(wait: Duration, chosen: Option<Duration>) -> Duration {
    chosen.map_or(wait.clamp(LEAST_SPREAD, MOST_SPREAD), |chosen| chosen.min(wait))
}
