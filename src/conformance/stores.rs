//! The stores that a suite runs on.

use std::time::Duration;

use crate::{
    clock::ManualClock,
    conformance::{Violation, harness::Harness},
    policy::Policy,
    store::Store,
};

const MAX_KEYS: usize = 1000;

/// Makes stores to test, each with a clock of its own.
pub(super) struct Stores<F> {
    pub(super) fresh: F,
    /// The smallest step of the clock.
    pub(super) tick: Duration,
}

impl<S: Store, F: FnMut(ManualClock) -> S> Stores<F> {
    pub(super) const fn finest(&self) -> Duration {
        self.tick
    }

    /// Creates a harness with an empty store, under rules with these policies.
    pub(super) fn harness(&mut self, policies: impl Into<Vec<Policy>>) -> Result<Harness<S>, Violation> {
        self.small_harness(policies, MAX_KEYS)
    }

    /// Creates a harness whose store may keep at most this many histories in this process.
    pub(super) fn small_harness(
        &mut self,
        policies: impl Into<Vec<Policy>>,
        max_keys: usize,
    ) -> Result<Harness<S>, Violation> {
        let clock = ManualClock::new();
        Harness::new((self.fresh)(clock.clone()), clock, policies.into(), max_keys)
    }
}
