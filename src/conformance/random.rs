//! Random schedules, and their pseudo-random numbers.

use std::time::Duration;

use crate::{
    conformance::{Guarantee, Violation, harness::Harness, tested_rule::TestedRule, violation::ensure},
    policy::{Policy, Quota},
    store::Store,
};

const KEYS: [&str; 3] = ["ann", "bob", "a key so long that it is replaced by a hash"];
/// A window in milliseconds that is too long for 32-bit timestamps.
const NOT_COMPACT: u64 = 86_400_000 * 40;

/// The most tiers of a rule.
const TIERS: u64 = 3;

/// A random schedule: the rules in each of their versions, and the requests.
#[derive(Debug)]
pub(super) struct Schedule {
    versions: Vec<Vec<TestedRule>>,
    /// The smallest step of the clock, in nanoseconds.
    tick: u64,
    requests: usize,
    rng: Rng,
}

/// Returns rules with small limits, so that short schedules exhaust them. A resolution of 16 makes 17 a large limit.
fn rules(rng: &mut Rng) -> Vec<TestedRule> {
    (0..=rng.below(3)).map(|_| policy(rng).into()).collect()
}

/// Returns as many rules with tiers.
fn tiered_rules(count: usize, rng: &mut Rng) -> Vec<TestedRule> {
    (0..count).map(|_| tiered_rule(rng)).collect()
}

fn tiered_rule(rng: &mut Rng) -> TestedRule {
    let (own, tiers) = (policy(rng), rng.below(TIERS + 1));
    TestedRule::new(own, (0..tiers).map(|_| (!rng.once_in(4)).then(|| policy(rng))))
}

fn policy(rng: &mut Rng) -> Policy {
    let policy: Policy = (0..=rng.below(3)).map(|number| quota(rng).named(format!("q{number}"))).collect();
    let policy = if rng.once_in(2) { policy.resolution(16) } else { policy };
    if rng.once_in(4) { policy.count_denied() } else { policy }
}

const fn quota(rng: &mut Rng) -> Quota {
    let window = match rng.below(4) {
        0 => 1 + rng.below(40),
        1 => 40 + rng.below(4000),
        2 => 1000,
        _ => NOT_COMPACT,
    };
    let max_limit = if rng.once_in(2) { 60 } else { 6 };
    Quota::new(1 + rng.below(max_limit), Duration::from_millis(window))
}

/// Returns a step of the clock: bursts, trickles, steps just before and at the edges of windows, and long pauses.
pub(super) const fn step(rng: &mut Rng, tick: u64) -> Duration {
    let nanos = match rng.below(11) {
        0..4 => 0,
        4..7 => rng.below(3_000_000),
        7..9 => rng.below(300) * 1_000_000 + rng.below(1_000_000),
        9 => (1 + rng.below(5000)) * 1_000_000,
        _ => (1 + rng.below(2000)) * 1_000_000 - tick,
    };
    Duration::from_nanos(nanos / tick * tick)
}

impl Schedule {
    /// Creates the schedule of a seed, with this many requests. In half of them keys change their tiers and rules are reloaded.
    pub(super) fn new(seed: u64, tick: Duration, requests: usize) -> Self {
        let mut rng = Rng::new(seed);
        let mut versions = vec![rules(&mut rng)];
        if rng.once_in(2) {
            let count = versions[0].len();
            versions.extend((0..=rng.below(3)).map(|_| tiered_rules(count, &mut rng)));
            // The first rules of a schedule may have tiers or none.
            let first = rng.below(2) as usize;
            versions.swap(0, first);
        }
        Self { versions, tick: tick.as_nanos().clamp(1, 1_000_000) as u64, requests, rng }
    }

    /// Returns the rules that the schedule begins with.
    pub(super) fn rules(&self) -> &[TestedRule] {
        &self.versions[0]
    }

    /// Runs all requests.
    pub(super) async fn run<S: Store>(mut self, harness: &mut Harness<S>) -> Result<(), Violation> {
        for number in 0..self.requests {
            harness.advance(step(&mut self.rng, self.tick));
            let run = self.run_request(harness).await;
            run.map_err(|violation| violation.during(format_args!("request {number}")))?;
        }
        Ok(())
    }

    async fn run_request<S: Store>(&mut self, harness: &mut Harness<S>) -> Result<(), Violation> {
        if self.versions.len() > 1 {
            self.change(harness)?;
        }
        self.request(harness).await
    }

    /// Changes the tier of a key now and then, and the rules.
    fn change<S: Store>(&mut self, harness: &mut Harness<S>) -> Result<(), Violation> {
        let rng = &mut self.rng;
        if rng.once_in(6) {
            let (rule, tier) = (rng.below(self.versions[0].len() as u64) as usize, rng.below(TIERS + 1) as usize);
            harness.set_tier((rule, key(rng)), tier)?;
        }
        if rng.once_in(25) {
            let version = rng.below(self.versions.len() as u64) as usize;
            harness.reload(&self.versions[version])?;
        }
        Ok(())
    }

    async fn request<S: Store>(&mut self, harness: &mut Harness<S>) -> Result<(), Violation> {
        let (rng, rules) = (&mut self.rng, self.versions[0].len());
        let mut charges: Vec<_> = (0..rules).map(|rule| (rule, key(rng))).collect();
        rng.shuffle(&mut charges);
        charges.truncate(1 + rng.below(rules as u64) as usize);
        if rng.once_in(10) {
            harness.peek(charges[0]).await?;
        }
        if rng.once_in(100) {
            harness.reset(charges[0]).await?;
        }
        let Some(wait) = harness.decide(&charges).await? else { return Ok(()) };
        if rng.once_in(4) {
            harness.advance(wait);
            let admitted = harness.decide(&charges).await?.is_none();
            ensure(admitted, Guarantee::TrueWait, || format!("denied again after a wait of {wait:?}"))?;
        }
        Ok(())
    }
}

const fn key(rng: &mut Rng) -> &'static str {
    KEYS[rng.below(KEYS.len() as u64) as usize]
}

/// A generator of pseudo-random numbers (xorshift64*), the same for the same seed.
#[derive(Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below `bound`, which is at least 1.
    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % bound
    }

    /// Returns `true` once in `times`.
    pub(super) const fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}
