//! The suite and its settings.

use std::{fmt, time::Duration};

use crate::{
    clock::ManualClock,
    conformance::{
        Violation, cost_scenarios, cost_schedule::CostSchedule, harness::Stores, random::Schedule, scenarios,
    },
    store::{CostSupport, Store},
};

const SCHEDULES: u64 = 100;
const REQUESTS_PER_SCHEDULE: usize = 150;

/// A test suite for stores.
///
/// ```
/// use std::time::Duration;
///
/// use tower_quota::{conformance::Suite, store::MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let suite = Suite::new(|_clock| MemoryStore::default());
/// // A store that counts milliseconds, and ten schedules other than those of the default.
/// suite.tick(Duration::from_millis(1)).seed(100).schedules(10).run().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a suite does nothing until it is run"]
pub struct Suite<F> {
    stores: Stores<F>,
    seed: u64,
    schedules: u64,
}

impl<S: Store, F: FnMut(ManualClock) -> S> Suite<F> {
    /// Creates a suite for the stores that `fresh` returns. Each must be empty, and must read the time from the given clock,
    /// which begins at zero and moves only when the suite moves it.
    pub const fn new(fresh: F) -> Self {
        Self { stores: Stores { fresh, tick: Duration::from_nanos(1) }, seed: 0, schedules: SCHEDULES }
    }

    /// Sets the seed of the first random schedule. The others count up from it. Defaults to 0.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the number of random schedules, of 150 requests each. Defaults to 100. There are as many with costs, if the store
    /// supports these.
    pub const fn schedules(mut self, schedules: u64) -> Self {
        self.schedules = schedules;
        self
    }

    /// Sets the smallest step of the clock, up to a millisecond, for stores with a coarser clock. Defaults to a nanosecond.
    pub const fn tick(mut self, tick: Duration) -> Self {
        self.stores.tick = tick;
        self
    }

    /// Runs all scenarios and schedules, up to the first violation.
    ///
    /// # Errors
    ///
    /// If the store breaks a guarantee.
    pub async fn run(mut self) -> Result<(), Violation> {
        scenarios::run(&mut self.stores).await?;
        cost_scenarios::run(&mut self.stores).await?;
        let support = self.stores.cost_support();
        for seed in self.seed..self.seed.saturating_add(self.schedules) {
            self.run_schedule(seed)
                .await
                .map_err(|violation| violation.during(format_args!("schedule of seed {seed}")))?;
            if support >= CostSupport::Costs {
                self.run_cost_schedule(seed, support)
                    .await
                    .map_err(|violation| violation.during(format_args!("schedule with costs of seed {seed}")))?;
            }
        }
        Ok(())
    }

    async fn run_schedule(&mut self, seed: u64) -> Result<(), Violation> {
        let schedule = Schedule::new(seed, self.stores.tick, REQUESTS_PER_SCHEDULE);
        let mut harness = self.stores.harness(schedule.rules().iter().cloned())?;
        schedule.run(&mut harness).await
    }

    async fn run_cost_schedule(&mut self, seed: u64, support: CostSupport) -> Result<(), Violation> {
        let schedule = CostSchedule::new(seed, self.stores.tick, REQUESTS_PER_SCHEDULE, support);
        let mut harness = self.stores.cost_harness(schedule.rules().iter().cloned())?;
        schedule.run(&mut harness).await
    }
}

impl<F> fmt::Debug for Suite<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("seed", &self.seed).field("schedules", &self.schedules).finish_non_exhaustive()
    }
}
