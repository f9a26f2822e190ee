//! The status of one queue.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    client::pace::{
        queue::{Queue, QueueKey},
        settings::ScopeLimits,
    },
    key::Key,
};

/// The status of the calls of one key under one rule, as [`PaceHandle::queues`](super::PaceHandle::queues) returns it.
///
/// ```
/// use tower_quota::{Policy, client::PaceLayer, client::pace::QueueStatus, key};
///
/// fn describe(queue: &QueueStatus) -> String {
///     let (waiting, seconds) = (queue.waiting(), queue.forecast().as_secs());
///     format!("{}: {waiting} calls wait, {seconds} s to go", queue.rule())
/// }
///
/// let layer = PaceLayer::new(key::host(), Policy::per_minute(60));
/// for queue in layer.handle().queues() {
///     println!("{}", describe(&queue));
/// }
/// ```
#[derive(Clone, Debug)]
pub struct QueueStatus {
    rule: Arc<str>,
    key: Key,
    waiting: usize,
    in_flight: usize,
    longest_wait: Duration,
    forecast: Duration,
    rate: f64,
}

impl QueueStatus {
    /// Describes a queue whose first ticket waits since `since`.
    pub(super) fn new(
        key: QueueKey,
        queue: &Queue,
        limits: &ScopeLimits,
        since: Option<Instant>,
        now: Instant,
    ) -> Self {
        Self {
            rule: Arc::clone(limits.rule()),
            key: key.key,
            waiting: queue.waiting(),
            in_flight: queue.in_flight(),
            longest_wait: since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            forecast: queue.forecast(queue.all(), 1, limits, now).max(queue.time_at_reduced_rate(now)),
            rate: queue.reduced_rate(now).unwrap_or_else(|| limits.per_second()),
        }
    }

    /// Returns the name of the rule.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Returns the key, as [`RateLimiter::key`](crate::RateLimiter::key) makes it.
    #[must_use]
    pub const fn key(&self) -> Key {
        self.key
    }

    /// Returns the number of calls that wait for this key. One that waits for several keys is in the queues of one or
    /// several of them.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns the number of calls in flight.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Returns for how long the first call in the queue has been waiting; zero if there is none.
    #[must_use]
    pub const fn longest_wait(&self) -> Duration {
        self.longest_wait
    }

    /// Returns the wait of a call that comes now: at least this long if none of those before it gives up. Where the rate
    /// [adapts](super::PaceLayer::adaptive) it is about this long if the rate stays as it is.
    ///
    /// Under rules with [costs](crate::Rule::cost) it is the wait of a call that costs one unit, with all units of those before it.
    /// Where costs are [estimates](crate::Rule::reserve), units that are given back make it shorter.
    #[must_use]
    pub const fn forecast(&self) -> Duration {
        self.forecast
    }

    /// Returns the sustained rate in units per second, which are calls unless the rule has costs: the policy's, or less where it [adapts](super::PaceLayer::adaptive).
    #[must_use]
    pub const fn rate(&self) -> f64 {
        self.rate
    }
}
