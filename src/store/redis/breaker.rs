//! Leaving a store alone that does not answer.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Failures in a row after which the store is left alone.
const MOST_FAILURES: u32 = 3;
/// Time from one probe to the next: with the probe itself, recovery is noticed within a second.
const BETWEEN_PROBES: Duration = Duration::from_millis(950);

/// A circuit breaker: after some failures in a row only one request a second is tried.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { probe_at: Instant },
    Probing,
}

/// Leave to try the store. Whoever lets go of it without a conclusion gives it back.
pub(super) struct Attempt {
    breaker: Arc<Breaker>,
    is_probe: bool,
}

impl Breaker {
    /// Leave to try the store, unless it is being left alone.
    pub(super) fn attempt(self: &Arc<Self>) -> Option<Attempt> {
        let mut state = self.state.lock();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { probe_at } if probe_at <= Instant::now() => true,
            State::Open { .. } | State::Probing => return None,
        };
        if is_probe {
            *state = State::Probing;
        }
        drop(state);
        Some(Attempt { breaker: Arc::clone(self), is_probe })
    }
}

impl Attempt {
    /// The store has answered.
    pub(super) fn succeed(mut self) {
        *self.breaker.state.lock() = State::default();
        self.is_probe = false;
    }

    /// The store has not answered, or not as it should. Says whether it is left alone from now on, for a while.
    pub(super) fn fail(mut self) -> bool {
        let mut state = self.breaker.state.lock();
        let opens = match *state {
            State::Probing => self.is_probe,
            State::Closed { failures } => failures + 1 >= MOST_FAILURES,
            State::Open { .. } => false,
        };
        if opens {
            *state = State::Open { probe_at: Instant::now() + BETWEEN_PROBES };
        } else if let State::Closed { failures } = &mut *state {
            *failures += 1;
        }
        drop(state);
        self.is_probe = false;
        opens
    }
}

impl Drop for Attempt {
    /// A probe that was dropped half-way has shown nothing: the next request is one.
    fn drop(&mut self) {
        if self.is_probe {
            *self.breaker.state.lock() = State::Open { probe_at: Instant::now() };
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
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

    fn attempt(breaker: &Arc<Breaker>) -> Attempt {
        breaker.attempt().unwrap()
    }

    fn opened() -> Arc<Breaker> {
        let breaker = Arc::default();
        for _ in 0..MOST_FAILURES {
            attempt(&breaker).fail();
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn three_failures_in_a_row_open_it_and_a_success_in_between_does_not() {
        let breaker = Arc::default();
        for _ in 0..10 {
            attempt(&breaker).fail();
            attempt(&breaker).fail();
            attempt(&breaker).succeed();
        }
        for _ in 0..3 {
            attempt(&breaker).fail();
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
            assert!(probe.fail());
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

    #[tokio::test(start_paused = true)]
    async fn attempts_from_before_neither_keep_it_open_nor_count_as_probes() {
        let breaker = Arc::default();
        let (early, earlier) = (attempt(&breaker), attempt(&breaker));
        for _ in 0..3 {
            attempt(&breaker).fail();
        }
        assert!(!early.fail());
        assert!(breaker.attempt().is_none());
        earlier.succeed();
        assert!(breaker.attempt().is_some());
    }
}
