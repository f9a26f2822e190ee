//! The suite as a value: what is to be run, and on what.

use std::{fmt, time::Duration};

use crate::{
    clock::ManualClock,
    policy::Policy,
    store::{
        Store,
        conformance::{Breach, dice::Dice, schedule, subject::Subject, trials},
    },
};

const SCHEDULES: u64 = 100;
const REQUESTS: usize = 150;
const MAX_KEYS: usize = 1000;

/// All that is asked of a store.
#[must_use = "a suite does nothing until it is run"]
pub struct Suite<F> {
    fresh: F,
    seed: u64,
    schedules: u64,
    tick: Duration,
}

impl<S: Store, F: FnMut(ManualClock) -> S> Suite<F> {
    /// For the stores that `fresh` makes. Each begins with nothing in it, whatever there was in others, and stands on the
    /// clock that it is given, which begins at zero and moves when the suite moves it.
    pub const fn new(fresh: F) -> Self {
        Self { fresh, seed: 0, schedules: SCHEDULES, tick: Duration::from_nanos(1) }
    }

    /// The seed of the first random schedule; zero unless said otherwise. Those of the others follow.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How many random schedules to run, of 150 requests each; 100 unless said otherwise.
    pub const fn schedules(mut self, schedules: u64) -> Self {
        self.schedules = schedules;
        self
    }

    /// What the clock moves by at least, for a store whose time is not so fine; a nanosecond unless said otherwise, and at
    /// most a millisecond.
    pub const fn tick(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    /// Runs everything, until something fails.
    ///
    /// # Errors
    ///
    /// If the store breaks a promise.
    pub async fn run(mut self) -> Result<(), Breach> {
        trials::run(&mut self).await?;
        for seed in self.seed..self.seed.saturating_add(self.schedules) {
            self.run_schedule(seed).await.map_err(|breach| breach.during(format_args!("schedule of seed {seed}")))?;
        }
        Ok(())
    }

    async fn run_schedule(&mut self, seed: u64) -> Result<(), Breach> {
        let mut dice = Dice::new(seed);
        let policies = schedule::policies(&mut dice);
        let rules = policies.len();
        let mut subject = self.subject(policies)?;
        schedule::run(&mut subject, rules, &mut dice, self.tick, REQUESTS).await
    }

    pub(super) const fn finest(&self) -> Duration {
        self.tick
    }

    /// A fresh store under rules with these policies.
    pub(super) fn subject(&mut self, policies: impl Into<Vec<Policy>>) -> Result<Subject<S>, Breach> {
        self.small_subject(policies, MAX_KEYS)
    }

    /// A fresh store that may keep so many histories in this process.
    pub(super) fn small_subject(
        &mut self,
        policies: impl Into<Vec<Policy>>,
        max_keys: usize,
    ) -> Result<Subject<S>, Breach> {
        let clock = ManualClock::new();
        Subject::new((self.fresh)(clock.clone()), clock, policies.into(), max_keys)
    }
}

impl<F> fmt::Debug for Suite<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("seed", &self.seed).field("schedules", &self.schedules).finish_non_exhaustive()
    }
}
