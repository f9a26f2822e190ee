//! Random schedules.

use std::time::Duration;

use crate::{
    policy::{Policy, Quota},
    store::{
        Store,
        conformance::{Breach, Promise, breach::expect, dice::Dice, subject::Subject},
    },
};

const KEYS: [&str; 3] = ["ann", "bob", "a key so long that it is replaced by a hash"];
/// Milliseconds that 32-bit stamps do not reach.
const NOT_COMPACT: u64 = 86_400_000 * 40;

/// Policies of small numbers, so that short schedules meet their limits; a resolution of 16 makes 17 a large limit.
pub(super) fn policies(dice: &mut Dice) -> Vec<Policy> {
    (0..=dice.below(3)).map(|_| policy(dice)).collect()
}

fn policy(dice: &mut Dice) -> Policy {
    let policy: Policy = (0..=dice.below(3)).map(|number| quota(dice).named(format!("q{number}"))).collect();
    let policy = if dice.once_in(2) { policy.resolution(16) } else { policy };
    if dice.once_in(4) { policy.count_denied() } else { policy }
}

const fn quota(dice: &mut Dice) -> Quota {
    let window = match dice.below(4) {
        0 => 1 + dice.below(40),
        1 => 40 + dice.below(4000),
        2 => 1000,
        _ => NOT_COMPACT,
    };
    let most = if dice.once_in(2) { 60 } else { 6 };
    Quota::new(1 + dice.below(most) as u32, Duration::from_millis(window))
}

/// Bursts, trickles, just before and at the edges, and long pauses.
const fn step(dice: &mut Dice, tick: u64) -> Duration {
    let nanos = match dice.below(11) {
        0..4 => 0,
        4..7 => dice.below(3_000_000),
        7..9 => dice.below(300) * 1_000_000 + dice.below(1_000_000),
        9 => (1 + dice.below(5000)) * 1_000_000,
        _ => (1 + dice.below(2000)) * 1_000_000 - tick,
    };
    Duration::from_nanos(nanos / tick * tick)
}

/// Runs one schedule of so many requests.
pub(super) async fn run<S: Store>(
    subject: &mut Subject<S>,
    rules: usize,
    dice: &mut Dice,
    tick: Duration,
    requests: usize,
) -> Result<(), Breach> {
    let tick = tick.as_nanos().clamp(1, 1_000_000) as u64;
    for number in 0..requests {
        subject.advance(step(dice, tick));
        request(subject, rules, dice).await.map_err(|breach| breach.during(format_args!("request {number}")))?;
    }
    Ok(())
}

async fn request<S: Store>(subject: &mut Subject<S>, rules: usize, dice: &mut Dice) -> Result<(), Breach> {
    let mut charges: Vec<_> = (0..rules).map(|rule| (rule, KEYS[dice.below(KEYS.len() as u64) as usize])).collect();
    dice.shuffle(&mut charges);
    charges.truncate(1 + dice.below(rules as u64) as usize);
    if dice.once_in(10) {
        subject.look(charges[0]).await?;
    }
    if dice.once_in(100) {
        subject.reset(charges[0]).await?;
    }
    let Some(wait) = subject.ask(&charges).await? else { return Ok(()) };
    if dice.once_in(4) {
        subject.advance(wait);
        let admitted = subject.ask(&charges).await?.is_none();
        expect(admitted, Promise::TrueWait, || format!("denied again after a wait of {wait:?}"))?;
    }
    Ok(())
}
