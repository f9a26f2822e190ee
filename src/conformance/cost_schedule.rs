//! Random schedules of requests with costs.

use std::time::Duration;

use crate::{
    conformance::{
        Guarantee, Violation,
        cost_harness::{CostHarness, CostedRule, OpenCharge},
        random::{Rng, step},
        violation::ensure,
    },
    policy::{Policy, Quota},
    store::{CostSupport, Store},
};

const KEYS: [&str; 2] = ["ann", "a key so long that it is replaced by a hash"];
/// The most charges that are open at a time.
const OPEN: usize = 8;

/// A random schedule of requests, settlements and resets.
#[derive(Debug)]
pub(super) struct CostSchedule {
    rules: Vec<CostedRule>,
    tick: u64,
    requests: usize,
    open: Vec<OpenCharge>,
    rng: Rng,
}

impl CostSchedule {
    /// Creates the schedule of a seed, with this many requests.
    pub(super) fn new(seed: u64, tick: Duration, requests: usize, support: CostSupport) -> Self {
        let mut rng = Rng::new(seed);
        let rules = (0..=rng.below(2)).map(|_| rule(&mut rng, support)).collect();
        let tick = tick.as_nanos().clamp(1, 1_000_000) as u64;
        Self { rules, tick, requests, open: Vec::new(), rng }
    }

    pub(super) fn rules(&self) -> &[CostedRule] {
        &self.rules
    }

    /// Runs all requests.
    pub(super) async fn run<S: Store>(mut self, harness: &mut CostHarness<S>) -> Result<(), Violation> {
        for number in 0..self.requests {
            harness.advance(step(&mut self.rng, self.tick));
            let run = self.run_request(harness).await;
            run.map_err(|violation| violation.during(format_args!("request {number}")))?;
        }
        Ok(())
    }

    async fn run_request<S: Store>(&mut self, harness: &mut CostHarness<S>) -> Result<(), Violation> {
        let rule = self.rng.below(self.rules.len() as u64) as usize;
        let charge = (rule, KEYS[self.rng.below(KEYS.len() as u64) as usize]);
        if self.rng.once_in(10) {
            harness.peek(charge).await?;
        }
        if self.rng.once_in(60) {
            harness.reset(charge).await?;
        }
        if self.rng.once_in(2) && !self.open.is_empty() {
            let open = self.open.swap_remove(self.rng.below(self.open.len() as u64) as usize);
            return harness.settle(&open, actual(&mut self.rng, open.units())).await;
        }
        if self.rules.len() > 1 && self.rng.once_in(4) {
            let together: Vec<_> = (0..self.rules.len()).map(|rule| (rule, charge.1)).collect();
            if let Ok(open) = harness.decide_together(&together).await? {
                open.into_iter().for_each(|open| self.keep(open));
            }
            return Ok(());
        }
        let units = cost(&mut self.rng, &self.rules[rule].policy);
        match harness.decide(charge, units).await? {
            Ok(open) => self.keep(open),
            Err(Some(wait)) if self.rng.once_in(4) => {
                harness.advance(wait);
                let decided = harness.decide(charge, units).await?;
                ensure(decided.is_ok(), Guarantee::TrueWait, || format!("denied again after a wait of {wait:?}"))?;
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// Keeps a charge for later. The oldest one is never settled then, so that its estimate stays.
    fn keep(&mut self, open: OpenCharge) {
        if self.open.len() >= OPEN {
            self.open.remove(0);
        }
        self.open.push(open);
    }
}

fn rule(rng: &mut Rng, support: CostSupport) -> CostedRule {
    let policy: Policy = (0..=rng.below(2)).map(|number| quota(rng).named(format!("q{number}"))).collect();
    let policy = if rng.once_in(4) { policy.resolution(16) } else { policy };
    let smallest = policy.quotas().map(Quota::limit).min().unwrap_or(1);
    let rule = CostedRule::new(policy).usually(1 + rng.below(smallest.min(5)));
    if support >= CostSupport::Settlements && !rng.once_in(4) { rule.settled() } else { rule }
}

/// Returns a quota that short schedules exhaust: small ones, large ones whose log has cells, and one beyond 32 bits.
const fn quota(rng: &mut Rng) -> Quota {
    let window = match rng.below(3) {
        0 => 40 + rng.below(4000),
        1 => 1000,
        _ => 60_000,
    };
    let limit = match rng.below(4) {
        0 => 2 + rng.below(8),
        1 => 10 + rng.below(50),
        2 => 90_000,
        _ => 10_000_000_000,
    };
    Quota::new(limit, Duration::from_millis(window))
}

/// Returns a cost: nothing, one, a part of a limit, all of it, or more than that.
fn cost(rng: &mut Rng, policy: &Policy) -> u64 {
    let number = rng.below(policy.quotas().len() as u64) as usize;
    let limit = policy.quotas().nth(number).map_or(1, Quota::limit);
    match rng.below(12) {
        0 => 0,
        1 | 2 => 1,
        3 => limit,
        4 => limit.saturating_add(1),
        5..=7 => limit / 2,
        _ => limit / (1 + rng.below(20)),
    }
}

/// Returns what a request has cost in the end.
const fn actual(rng: &mut Rng, estimate: u64) -> u64 {
    match rng.below(8) {
        0 => 0,
        1 => estimate,
        2 => estimate + 1 + rng.below(3),
        3 => estimate.saturating_mul(2),
        _ => estimate / (1 + rng.below(5)),
    }
}
