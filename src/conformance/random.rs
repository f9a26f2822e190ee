//! Random schedules, and their pseudo-random numbers.

use std::time::Duration;

use crate::{
    conformance::{Guarantee, Violation, harness::Harness, violation::ensure},
    policy::{Policy, Quota},
    store::Store,
};

const KEYS: [&str; 3] = ["ann", "bob", "a key so long that it is replaced by a hash"];
/// A window in milliseconds that is too long for 32-bit timestamps.
const NOT_COMPACT: u64 = 86_400_000 * 40;

/// Returns policies with small limits, so that short schedules exhaust them. A resolution of 16 makes 17 a large limit.
pub(super) fn policies(rng: &mut Rng) -> Vec<Policy> {
    (0..=rng.below(3)).map(|_| policy(rng)).collect()
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
const fn step(rng: &mut Rng, tick: u64) -> Duration {
    let nanos = match rng.below(11) {
        0..4 => 0,
        4..7 => rng.below(3_000_000),
        7..9 => rng.below(300) * 1_000_000 + rng.below(1_000_000),
        9 => (1 + rng.below(5000)) * 1_000_000,
        _ => (1 + rng.below(2000)) * 1_000_000 - tick,
    };
    Duration::from_nanos(nanos / tick * tick)
}

/// Runs a schedule of this many requests.
pub(super) async fn run<S: Store>(
    harness: &mut Harness<S>,
    rules: usize,
    rng: &mut Rng,
    tick: Duration,
    requests: usize,
) -> Result<(), Violation> {
    let tick = tick.as_nanos().clamp(1, 1_000_000) as u64;
    for number in 0..requests {
        harness.advance(step(rng, tick));
        request(harness, rules, rng).await.map_err(|violation| violation.during(format_args!("request {number}")))?;
    }
    Ok(())
}

async fn request<S: Store>(harness: &mut Harness<S>, rules: usize, rng: &mut Rng) -> Result<(), Violation> {
    let mut charges: Vec<_> = (0..rules).map(|rule| (rule, KEYS[rng.below(KEYS.len() as u64) as usize])).collect();
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
