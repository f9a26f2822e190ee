//! How the calls of one key stand.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    client::pace::{limits::Limits, line::Line, place::Place, state::State},
    key::Key,
};

/// How the calls of one key under one rule stand.
#[derive(Clone, Debug)]
pub struct LineStatus {
    rule: Arc<str>,
    key: Key,
    waiting: usize,
    in_flight: usize,
    longest_wait: Duration,
    forecast: Duration,
    pace: f64,
}

impl LineStatus {
    pub(super) fn of(place: Place, line: &Line, limits: &Limits, state: &State, now: Instant) -> Self {
        let since = line.first().and_then(|first| state.since(first));
        Self {
            rule: Arc::clone(limits.rule()),
            key: place.key,
            waiting: line.waiting(),
            in_flight: line.in_flight(),
            longest_wait: since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            forecast: line.forecast(line.waiting(), limits, now).max(line.time_at_lowered_pace(now)),
            pace: line.lowered_pace(now).unwrap_or_else(|| limits.per_second()),
        }
    }

    /// The name of the rule.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The key, as [`RateLimiter::key`](crate::RateLimiter::key) makes it.
    #[must_use]
    pub const fn key(&self) -> Key {
        self.key
    }

    /// How many calls wait for this key. One that waits for several keys is among those of one or several of them.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many calls are under way.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// For how long the first of them has been waiting; zero if none is.
    #[must_use]
    pub const fn longest_wait(&self) -> Duration {
        self.longest_wait
    }

    /// How long a call that comes now will wait: at least that long if none of those before it gives up; and where the
    /// pace [adapts](super::PaceLayer::adaptive), about that long if it stays as it is.
    #[must_use]
    pub const fn forecast(&self) -> Duration {
        self.forecast
    }

    /// Calls per second in the long run: the policy's, or fewer where the pace [adapts](super::PaceLayer::adaptive).
    #[must_use]
    pub const fn pace(&self) -> f64 {
        self.pace
    }
}
