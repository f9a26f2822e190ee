//! Leaving a server alone that does not answer.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::store::redis::{health::BreakerState, timepiece::Timepiece};

/// Failures in a row after which the server is left alone.
const MOST_FAILURES: u32 = 3;
/// Time from one probe to the next: with the probe itself, recovery is noticed within a second.
const BETWEEN_PROBES: Duration = Duration::from_millis(950);

/// After some failures in a row only one request a second is tried.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker {
    state: Mutex<State>,
    timepiece: Timepiece,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The connection that the last failure was about, if it was about one: many may lose the same.
    Closed {
        failures: u32,
        lost: Option<u64>,
    },
    Open {
        probe_at: Instant,
    },
    /// Since when, and when the connection was made that it needed, if it did.
    Probing {
        since: Instant,
        connected: Option<Instant>,
    },
}

/// Leave to try the server. Whoever lets go of it without a conclusion gives it back.
pub(super) struct Attempt {
    breaker: Arc<CircuitBreaker>,
    is_probe: bool,
}

impl CircuitBreaker {
    pub(super) fn new(timepiece: Timepiece) -> Self {
        Self { state: Mutex::default(), timepiece }
    }

    /// Leave to try the server, unless it is being left alone.
    pub(super) fn attempt(self: &Arc<Self>) -> Option<Attempt> {
        let mut state = self.state.lock();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { probe_at } if probe_at <= self.timepiece.now() => true,
            State::Open { .. } | State::Probing { .. } => return None,
        };
        if is_probe {
            *state = State::Probing { since: self.timepiece.now(), connected: None };
        }
        drop(state);
        Some(Attempt { breaker: Arc::clone(self), is_probe })
    }

    /// Whether there is no leave now.
    pub(super) fn is_open(&self) -> bool {
        match *self.state.lock() {
            State::Closed { .. } => false,
            State::Open { probe_at } => self.timepiece.now() < probe_at,
            State::Probing { .. } => true,
        }
    }

    /// There is something new: the next request may try, if not one does so already.
    pub(super) fn let_try(&self) {
        let now = self.timepiece.now();
        match &mut *self.state.lock() {
            State::Closed { .. } => {}
            State::Open { probe_at } => *probe_at = now,
            State::Probing { connected, .. } => *connected = Some(now),
        }
    }

    /// The server has answered. Says whether it had been left alone before.
    pub(super) fn close(&self) -> bool {
        let before = std::mem::take(&mut *self.state.lock());
        !matches!(before, State::Closed { .. })
    }

    pub(super) fn state(&self) -> BreakerState {
        match *self.state.lock() {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::Probing { .. } => BreakerState::HalfOpen,
        }
    }
}

impl Attempt {
    /// The server has answered. Says whether it had been left alone before.
    pub(super) fn succeed(mut self) -> bool {
        self.is_probe = false;
        self.breaker.close()
    }

    /// The server has not answered, or not as it should, or the connection of this number was lost. Says whether it is left
    /// alone from now on, for a while.
    pub(super) fn fail(mut self, lost: Option<u64>) -> Failed {
        let mut state = self.breaker.state.lock();
        let before = *state;
        let opens = match before {
            State::Probing { .. } => self.is_probe,
            State::Closed { failures, lost: before } => {
                let is_new = lost.is_none() || lost != before;
                let failures = failures + u32::from(is_new);
                *state = State::Closed { failures, lost };
                failures >= MOST_FAILURES
            }
            State::Open { .. } => false,
        };
        if opens {
            let now = self.breaker.timepiece.now();
            *state = State::Open { probe_at: if before.was_cut_short(now) { now } else { now + BETWEEN_PROBES } };
        }
        drop(state);
        self.is_probe = false;
        match (opens, before) {
            (true, State::Closed { .. }) => Failed::Opened,
            (true, _) => Failed::StaysOpen,
            _ => Failed::Counted,
        }
    }
}

/// What a failure has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// Nothing yet.
    Counted,
    /// The server is left alone.
    Opened,
    /// It was left alone, and is so for another while.
    StaysOpen,
}

impl Drop for Attempt {
    /// A probe that was dropped half-way has shown nothing: the next request is one.
    fn drop(&mut self) {
        if self.is_probe {
            *self.breaker.state.lock() = State::Open { probe_at: self.breaker.timepiece.now() };
        }
    }
}

impl State {
    /// Whether a probe that ends now took longer to connect than it then had left. That shows nothing of the server: to answer
    /// takes no longer than to connect.
    fn was_cut_short(self, now: Instant) -> bool {
        let Self::Probing { since, connected: Some(connected) } = self else { return false };
        now.saturating_duration_since(connected) < connected.saturating_duration_since(since)
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0, lost: None }
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("is_probe", &self.is_probe).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(breaker: &Arc<CircuitBreaker>) -> Attempt {
        breaker.attempt().unwrap()
    }

    fn opened() -> Arc<CircuitBreaker> {
        let breaker = Arc::default();
        for _ in 0..MOST_FAILURES {
            attempt(&breaker).fail(None);
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn three_failures_in_a_row_open_it_and_a_success_in_between_does_not() {
        let breaker = Arc::default();
        for _ in 0..10 {
            attempt(&breaker).fail(None);
            attempt(&breaker).fail(None);
            attempt(&breaker).succeed();
        }
        for _ in 0..3 {
            attempt(&breaker).fail(None);
        }
        assert!(breaker.attempt().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_and_one_a_second() {
        let breaker = opened();
        for _ in 0..5 {
            tokio::time::advance(BETWEEN_PROBES - Duration::from_millis(1)).await;
            assert!(breaker.attempt().is_none());
            tokio::time::advance(Duration::from_millis(1)).await;
            let probe = attempt(&breaker);
            assert!(breaker.attempt().is_none());
            assert_eq!(probe.fail(None), Failed::StaysOpen);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_succeeds_closes_it() {
        let breaker = opened();
        tokio::time::advance(BETWEEN_PROBES).await;
        attempt(&breaker).succeed();
        let attempts = [attempt(&breaker), attempt(&breaker)];
        assert!(attempts.iter().all(|attempt| !attempt.is_probe));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_dropped_gives_its_leave_to_the_next() {
        let breaker = opened();
        tokio::time::advance(BETWEEN_PROBES).await;
        drop(attempt(&breaker));
        assert!(attempt(&breaker).is_probe);
    }

    /// Where connecting takes nearly a deadline, nobody would be decided about for another second.
    #[tokio::test(start_paused = true)]
    async fn a_probe_that_spent_most_of_its_time_on_connecting_gives_its_leave_to_the_next() {
        for (connecting, left, is_tried_at_once) in [(40, 10, true), (10, 40, false), (25, 25, false), (0, 50, false)] {
            let breaker = opened();
            tokio::time::advance(BETWEEN_PROBES).await;
            let probe = attempt(&breaker);
            tokio::time::advance(Duration::from_millis(connecting)).await;
            breaker.let_try();
            assert!(breaker.attempt().is_none(), "one at a time");
            tokio::time::advance(Duration::from_millis(left)).await;
            assert_eq!(probe.fail(None), Failed::StaysOpen);
            let next = breaker.attempt();
            assert_eq!(next.is_some(), is_tried_at_once, "{connecting} ms to connect, and {left} ms");
            // This one had a connection.
            if let Some(next) = next {
                assert_eq!(next.fail(None), Failed::StaysOpen);
            }
            assert!(breaker.attempt().is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_from_before_neither_keep_it_open_nor_count_as_probes() {
        let breaker = Arc::default();
        let (early, earlier) = (attempt(&breaker), attempt(&breaker));
        for _ in 0..3 {
            attempt(&breaker).fail(None);
        }
        assert_eq!(early.fail(None), Failed::Counted);
        assert!(breaker.attempt().is_none());
        earlier.succeed();
        assert!(breaker.attempt().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_many_lose_is_one_failure() {
        let breaker = Arc::default();
        for number in [1, 1, 1, 1, 2, 2] {
            assert_eq!(attempt(&breaker).fail(Some(number)), Failed::Counted);
        }
        assert_eq!(attempt(&breaker).fail(Some(3)), Failed::Opened);
    }

    #[tokio::test(start_paused = true)]
    async fn something_new_lets_the_next_request_try() {
        let breaker = opened();
        breaker.let_try();
        let probe = attempt(&breaker);
        assert!(probe.is_probe && breaker.is_open(), "one at a time");
        assert!(probe.succeed() && !breaker.is_open());
        breaker.let_try();
        assert!(!attempt(&breaker).is_probe);
    }
}
