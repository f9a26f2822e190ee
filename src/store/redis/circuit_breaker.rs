//! A circuit breaker: after several failures a server is asked only once a second.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::store::redis::{health::BreakerState, timer::Timer};

/// Consecutive failures that open the breaker.
const FAILURE_THRESHOLD: u32 = 3;
/// Time between two probes. A probe takes up to a deadline, so recovery is noticed within a second.
const PROBE_INTERVAL: Duration = Duration::from_millis(950);

/// A circuit breaker: opens after some consecutive failures, and then lets one request a second probe the server.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker {
    state: Mutex<State>,
    timer: Timer,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        failures: u32,
        /// The connection that the last failure lost, if it lost one: the requests that lose the same are one failure.
        lost: Option<u64>,
    },
    Open {
        probe_at: Instant,
    },
    HalfOpen {
        /// The begin of the probe.
        since: Instant,
        /// The moment at which its connection was established, if it had to wait for one.
        connected: Option<Instant>,
    },
}

/// Permission for one request to the server. Dropping it without reporting an outcome returns it.
pub(super) struct Permit {
    breaker: Arc<CircuitBreaker>,
    is_probe: bool,
}

/// The effect of a failure on the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureEffect {
    /// The breaker is as it was.
    Counted,
    /// The breaker has opened.
    Opened,
    /// The breaker was open, and stays so for another interval.
    StaysOpen,
}

impl CircuitBreaker {
    pub(super) fn new(timer: Timer) -> Self {
        Self { state: Mutex::default(), timer }
    }

    /// Returns a permit for one request; `None` while the breaker is open.
    pub(super) fn acquire(self: &Arc<Self>) -> Option<Permit> {
        let mut state = self.state.lock();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { probe_at } if probe_at <= self.timer.now() => true,
            State::Open { .. } | State::HalfOpen { .. } => return None,
        };
        if is_probe {
            *state = State::HalfOpen { since: self.timer.now(), connected: None };
        }
        drop(state);
        Some(Permit { breaker: Arc::clone(self), is_probe })
    }

    /// Returns whether a request would get no permit now.
    pub(super) fn is_open(&self) -> bool {
        match *self.state.lock() {
            State::Closed { .. } => false,
            State::Open { probe_at } => self.timer.now() < probe_at,
            State::HalfOpen { .. } => true,
        }
    }

    /// Lets the next request be a probe, unless one is under way: there is a sign that the server is back.
    pub(super) fn allow_probe(&self) {
        let now = self.timer.now();
        match &mut *self.state.lock() {
            State::Closed { .. } => {}
            State::Open { probe_at } => *probe_at = now,
            State::HalfOpen { connected, .. } => *connected = Some(now),
        }
    }

    /// Closes the breaker, because the server has answered. Returns whether it was open.
    pub(super) fn close(&self) -> bool {
        let before = std::mem::take(&mut *self.state.lock());
        !matches!(before, State::Closed { .. })
    }

    pub(super) fn state(&self) -> BreakerState {
        match *self.state.lock() {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}

impl Permit {
    /// Reports that the server has answered. Returns whether the breaker was open.
    pub(super) fn succeed(mut self) -> bool {
        self.is_probe = false;
        self.breaker.close()
    }

    /// Reports that the server did not answer, or not as it should; `lost` is the generation of the connection that was
    /// lost, if one was.
    pub(super) fn fail(mut self, lost: Option<u64>) -> FailureEffect {
        let mut state = self.breaker.state.lock();
        let before = *state;
        let opens = match before {
            State::HalfOpen { .. } => self.is_probe,
            State::Closed { failures, lost: before } => {
                let is_new = lost.is_none() || lost != before;
                let failures = failures + u32::from(is_new);
                *state = State::Closed { failures, lost };
                failures >= FAILURE_THRESHOLD
            }
            State::Open { .. } => false,
        };
        if opens {
            let now = self.breaker.timer.now();
            *state = State::Open { probe_at: if before.was_cut_short(now) { now } else { now + PROBE_INTERVAL } };
        }
        drop(state);
        self.is_probe = false;
        match (opens, before) {
            (true, State::Closed { .. }) => FailureEffect::Opened,
            (true, _) => FailureEffect::StaysOpen,
            _ => FailureEffect::Counted,
        }
    }
}

impl Drop for Permit {
    /// Lets the next request be the probe: one that was dropped half-way proves nothing.
    fn drop(&mut self) {
        if self.is_probe {
            *self.breaker.state.lock() = State::Open { probe_at: self.breaker.timer.now() };
        }
    }
}

impl State {
    /// Returns whether a probe that ends now spent more time on connecting than it had left for the answer.
    ///
    /// Such a probe proves nothing about the server: an answer takes as long as connecting does, or less.
    fn was_cut_short(self, now: Instant) -> bool {
        let Self::HalfOpen { since, connected: Some(connected) } = self else { return false };
        now.saturating_duration_since(connected) < connected.saturating_duration_since(since)
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0, lost: None }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("is_probe", &self.is_probe).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acquire(breaker: &Arc<CircuitBreaker>) -> Permit {
        breaker.acquire().unwrap()
    }

    fn opened() -> Arc<CircuitBreaker> {
        let breaker = Arc::default();
        for _ in 0..FAILURE_THRESHOLD {
            acquire(&breaker).fail(None);
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn three_failures_in_a_row_open_it_and_a_success_in_between_does_not() {
        let breaker = Arc::default();
        for _ in 0..10 {
            acquire(&breaker).fail(None);
            acquire(&breaker).fail(None);
            acquire(&breaker).succeed();
        }
        for _ in 0..3 {
            acquire(&breaker).fail(None);
        }
        assert!(breaker.acquire().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_and_one_a_second() {
        let breaker = opened();
        for _ in 0..5 {
            tokio::time::advance(PROBE_INTERVAL - Duration::from_millis(1)).await;
            assert!(breaker.acquire().is_none());
            tokio::time::advance(Duration::from_millis(1)).await;
            let probe = acquire(&breaker);
            assert!(breaker.acquire().is_none());
            assert_eq!(probe.fail(None), FailureEffect::StaysOpen);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_succeeds_closes_it() {
        let breaker = opened();
        tokio::time::advance(PROBE_INTERVAL).await;
        acquire(&breaker).succeed();
        let permits = [acquire(&breaker), acquire(&breaker)];
        assert!(permits.iter().all(|permit| !permit.is_probe));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_dropped_lets_the_next_request_try() {
        let breaker = opened();
        tokio::time::advance(PROBE_INTERVAL).await;
        drop(acquire(&breaker));
        assert!(acquire(&breaker).is_probe);
    }

    /// Otherwise, where connecting takes nearly a deadline, no request would be decided for another second.
    #[tokio::test(start_paused = true)]
    async fn a_probe_that_spent_most_of_its_time_on_connecting_lets_the_next_request_try() {
        for (connecting, left, is_tried_at_once) in [(40, 10, true), (10, 40, false), (25, 25, false), (0, 50, false)] {
            let breaker = opened();
            tokio::time::advance(PROBE_INTERVAL).await;
            let probe = acquire(&breaker);
            tokio::time::advance(Duration::from_millis(connecting)).await;
            breaker.allow_probe();
            assert!(breaker.acquire().is_none(), "one at a time");
            tokio::time::advance(Duration::from_millis(left)).await;
            assert_eq!(probe.fail(None), FailureEffect::StaysOpen);
            let next = breaker.acquire();
            assert_eq!(next.is_some(), is_tried_at_once, "{connecting} ms to connect, and {left} ms");
            // This probe found a connection.
            if let Some(next) = next {
                assert_eq!(next.fail(None), FailureEffect::StaysOpen);
            }
            assert!(breaker.acquire().is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn permits_from_before_neither_keep_it_open_nor_count_as_probes() {
        let breaker = Arc::default();
        let (early, earlier) = (acquire(&breaker), acquire(&breaker));
        for _ in 0..3 {
            acquire(&breaker).fail(None);
        }
        assert_eq!(early.fail(None), FailureEffect::Counted);
        assert!(breaker.acquire().is_none());
        earlier.succeed();
        assert!(breaker.acquire().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_many_lose_is_one_failure() {
        let breaker = Arc::default();
        for number in [1, 1, 1, 1, 2, 2] {
            assert_eq!(acquire(&breaker).fail(Some(number)), FailureEffect::Counted);
        }
        assert_eq!(acquire(&breaker).fail(Some(3)), FailureEffect::Opened);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sign_of_life_lets_the_next_request_try() {
        let breaker = opened();
        breaker.allow_probe();
        let probe = acquire(&breaker);
        assert!(probe.is_probe && breaker.is_open(), "one at a time");
        assert!(probe.succeed() && !breaker.is_open());
        breaker.allow_probe();
        assert!(!acquire(&breaker).is_probe);
    }
}
