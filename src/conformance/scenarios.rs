//! Scenarios: the cases that random schedules may not meet.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::{
    clock::ManualClock,
    conformance::{
        Guarantee, Violation,
        harness::{Harness, Stores, answered},
        tested_rule::TestedRule,
        violation::ensure,
    },
    policy::{Policy, Quota},
    store::Store,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const TASKS: usize = 64;

/// Runs all scenarios.
pub(super) async fn run<S: Store, F: FnMut(ManualClock) -> S>(stores: &mut Stores<F>) -> Result<(), Violation> {
    let harness = stores.harness([Policy::per_minute(1)])?;
    peek(harness).await.map_err(|violation| violation.during("peeking"))?;
    let harness = stores.harness([Policy::per_minute(2).and_per_hour(5)])?;
    retry(harness).await.map_err(|violation| violation.during("retries without waiting, where denials are free"))?;
    for limit in [1, 2, 60] {
        let tick = stores.tick;
        let harness = stores.harness([Policy::per_minute(limit)])?;
        n_then_none(harness, limit, tick)
            .await
            .map_err(|violation| violation.during(format_args!("{limit} at once")))?;
    }
    let harness = stores.harness([Policy::per_minute(60).and_per_hour(180)])?;
    hour_beside_minute(harness).await.map_err(|violation| violation.during("an exhausted hour beside a minute"))?;
    let harness = stores.harness([Policy::per_hour(4200)])?;
    n_at_once(harness, 4200).await.map_err(|violation| violation.during("a large quota"))?;
    for order in [[0, 1], [1, 0]] {
        let harness = stores.harness([Policy::per_minute(10), Policy::per_minute(1)])?;
        wide_and_narrow(harness, order)
            .await
            .map_err(|violation| violation.during("a wide rule beside a narrow one"))?;
    }
    tiers_and_reloads(stores).await?;
    let harness = stores.harness([Policy::per_minute(3).count_denied()])?;
    retry(harness).await.map_err(|violation| violation.during("retries without waiting, where denials count"))?;
    let harness = stores.harness([Policy::per_minute(1), Policy::per_minute(1)])?;
    similar_keys(harness).await.map_err(|violation| violation.during("similar keys"))?;
    let harness = stores.small_harness([Policy::per_hour(2)], 50)?;
    overfill(harness).await.map_err(|violation| violation.during("more keys than the store may keep"))?;
    for policy in [Policy::per_minute(5), Policy::per_minute(5).and(Quota::new(17, HOUR)).resolution(16)] {
        let harness = stores.harness([policy])?;
        step_back(harness).await.map_err(|violation| violation.during("a clock that steps back"))?;
    }
    for policy in
        [Policy::per_minute(300), Policy::per_minute(300).count_denied(), Policy::per_minute(300).resolution(16)]
    {
        let harness = stores.harness([policy])?;
        tasks_on_one_key(&harness, 300).await.map_err(|violation| violation.during("many tasks on one key"))?;
    }
    let harness = stores.harness([Policy::per_minute(10), Policy::per_minute(1)])?;
    tasks_under_two_rules(harness).await.map_err(|violation| violation.during("many tasks under two rules"))
}

/// Runs the scenarios in which other limits judge the same histories.
async fn tiers_and_reloads<S: Store, F: FnMut(ManualClock) -> S>(stores: &mut Stores<F>) -> Result<(), Violation> {
    let harness = stores.harness([calls()])?;
    tiers(harness).await.map_err(|violation| violation.during("a key that changes its tier"))?;
    let harness = stores.harness([calls()])?;
    unlimited(harness).await.map_err(|violation| violation.during("a tier without limits"))?;
    let harness = stores.harness([Policy::per_minute(6)])?;
    reloads(harness).await.map_err(|violation| violation.during("limits that are reloaded"))?;
    let harness = stores.harness([Policy::per_minute(60)])?;
    forms(harness).await.map_err(|violation| violation.during("windows and forms that are reloaded"))
}

/// Six a minute, sixty in tier 1, and no limits in tier 2.
fn calls() -> TestedRule {
    TestedRule::new(Policy::per_minute(6), [Some(Policy::per_minute(60)), None])
}

/// Changes the tier: nothing is refilled, and nothing is emptied.
async fn tiers<S: Store>(mut harness: Harness<S>) -> Result<(), Violation> {
    for _ in 0..3 {
        for (tier, asked, admitted) in [(0, 8, 6), (1, 70, 54), (0, 2, 0), (1, 2, 0)] {
            harness.set_tier((0, "ann"), tier)?;
            ensure_admitted(&mut harness, asked, admitted).await?;
        }
        harness.advance(MINUTE);
    }
    harness.set_tier((0, "ann"), 1)?;
    harness.decide(&[(0, "bob")]).await.map(drop)
}

async fn unlimited<S: Store>(mut harness: Harness<S>) -> Result<(), Violation> {
    for (tier, asked, admitted) in [(2, 50, 50), (0, 2, 0), (1, 20, 10), (2, 20, 20), (1, 2, 0)] {
        harness.set_tier((0, "ann"), tier)?;
        ensure_admitted(&mut harness, asked, admitted).await?;
        harness.advance(SECOND);
    }
    harness.advance(MINUTE);
    ensure_admitted(&mut harness, 70, 60).await
}

async fn reloads<S: Store>(mut harness: Harness<S>) -> Result<(), Violation> {
    ensure_admitted(&mut harness, 8, 6).await?;
    for (limit, admitted) in [(10, 4), (3, 0), (6, 0), (12, 2), (1, 0), (12, 0)] {
        harness.reload(&[Policy::per_minute(limit).into()])?;
        ensure_admitted(&mut harness, 15, admitted).await?;
        harness.advance(SECOND);
    }
    harness.reload(&[calls()])?;
    harness.set_tier((0, "ann"), 1)?;
    ensure_admitted(&mut harness, 70, 48).await?;
    // The tier is gone, and then there again.
    harness.reload(&[Policy::per_minute(6).into()])?;
    ensure_admitted(&mut harness, 2, 0).await?;
    harness.reload(&[calls()])?;
    harness.advance(MINUTE);
    ensure_admitted(&mut harness, 70, 60).await
}

/// Moves a history between windows, and between timestamps and buckets.
async fn forms<S: Store>(mut harness: Harness<S>) -> Result<(), Violation> {
    ensure_admitted(&mut harness, 40, 40).await?;
    for (policy, admitted) in [
        (Policy::per_minute(60).and_per_hour(50), 10),
        (Policy::per_minute(70).resolution(16), 20),
        (Policy::per_minute(71).and_per_day(80), 1),
        (Policy::per_minute(72).count_denied(), 1),
        (Policy::per_minute(60), 0),
    ] {
        harness.advance(SECOND);
        harness.reload(&[policy.into()])?;
        ensure_admitted(&mut harness, 20, admitted).await?;
    }
    harness.reset((0, "ann")).await?;
    ensure_admitted(&mut harness, 62, 60).await
}

/// Asks for the first rule so many times, and counts admissions.
async fn ensure_admitted<S: Store>(harness: &mut Harness<S>, asked: usize, right: usize) -> Result<(), Violation> {
    let mut admitted = 0;
    for _ in 0..asked {
        admitted += usize::from(harness.admits((0, "ann")).await?);
    }
    let details = || format!("{admitted} of {asked} were admitted instead of {right}");
    ensure(admitted <= right, Guarantee::NeverMoreThanN, details)?;
    ensure(admitted >= right, Guarantee::NeverDeniedWithRoom, details)
}

async fn peek<S: Store>(mut harness: Harness<S>) -> Result<(), Violation> {
    for _ in 0..3 {
        harness.peek((0, "ann")).await?;
        harness.peek((0, "ann")).await?;
        harness.decide(&[(0, "ann")]).await?;
    }
    harness.reset((0, "ann")).await?;
    harness.peek((0, "ann")).await?;
    harness.reset((0, "bob")).await
}

async fn n_then_none<S: Store>(mut harness: Harness<S>, limit: u64, tick: Duration) -> Result<(), Violation> {
    for _ in 0..3 {
        for _ in 0..limit {
            harness.decide(&[(0, "ann")]).await?;
        }
        harness.decide(&[(0, "ann")]).await?;
        harness.advance(MINUTE - tick);
        harness.decide(&[(0, "ann")]).await?;
        harness.advance(tick);
    }
    Ok(())
}

async fn n_at_once<S: Store>(mut harness: Harness<S>, limit: u64) -> Result<(), Violation> {
    for _ in 0..limit + 2 {
        harness.decide(&[(0, "ann")]).await?;
    }
    harness.advance(HOUR * 2);
    harness.decide(&[(0, "ann")]).await.map(drop)
}

async fn hour_beside_minute<S: Store>(mut harness: Harness<S>) -> Result<(), Violation> {
    for _ in 0..4 {
        for _ in 0..62 {
            harness.decide(&[(0, "ann")]).await?;
        }
        harness.advance(MINUTE);
    }
    Ok(())
}

async fn wide_and_narrow<S: Store>(mut harness: Harness<S>, order: [usize; 2]) -> Result<(), Violation> {
    for _ in 0..20 {
        harness.decide(&order.map(|rule| (rule, "ann"))).await?;
    }
    for _ in 0..11 {
        harness.decide(&[(0, "ann")]).await?;
    }
    harness.peek((1, "ann")).await
}

async fn retry<S: Store>(mut harness: Harness<S>) -> Result<(), Violation> {
    for _ in 0..30 {
        harness.decide(&[(0, "ann")]).await?;
        harness.advance(10 * SECOND);
    }
    harness.advance(MINUTE);
    harness.decide(&[(0, "ann")]).await.map(drop)
}

async fn similar_keys<S: Store>(mut harness: Harness<S>) -> Result<(), Violation> {
    let long = "x".repeat(300);
    let keys = ["", "a", "}{", "{}", "{a", "a}", "|", ":", "\0", "a\0", "\r\n", "*", "é", &long, &long[1..]];
    for key in keys {
        for rule in [0, 1] {
            let first = harness.admits((rule, key)).await?;
            ensure(first, Guarantee::NeverDeniedWithRoom, || format!("{key:?} was counted as another key"))?;
            ensure(!harness.admits((rule, key)).await?, Guarantee::NothingForgotten, || {
                format!("{key:?} was forgotten")
            })?;
        }
    }
    for key in keys {
        harness.peek((0, key)).await?;
        harness.reset((0, key)).await?;
        harness.peek((1, key)).await?;
    }
    Ok(())
}

/// Charges more keys than the store may keep, while one of them is exhausted.
async fn overfill<S: Store>(mut harness: Harness<S>) -> Result<(), Violation> {
    for _ in 0..3 {
        harness.decide(&[(0, "ann")]).await?;
    }
    for number in 0..500 {
        let _ = answered(harness.rule("rule-0")?.check_async(format!("key {number}").as_str()).await)?;
    }
    let exhausted = answered(harness.rule("rule-0")?.check_async("ann").await)?;
    ensure(!exhausted.is_admitted(), Guarantee::NothingForgotten, || {
        "an exhausted key is admitted after more keys than the store may keep".to_owned()
    })
}

/// Sets the clock back: no unit is given away early, and no key denied for longer than the step and the window.
async fn step_back<S: Store>(harness: Harness<S>) -> Result<(), Violation> {
    let ask =
        async || answered(harness.rule("rule-0")?.check_async("ann").await).map(|decision| decision.is_admitted());
    for back in [SECOND, MINUTE, HOUR] {
        harness.clock().set(10 * HOUR);
        for _ in 0..5 {
            ask().await?;
        }
        harness.clock().set(10 * HOUR - back);
        ensure(!ask().await?, Guarantee::NeverMoreThanN, || format!("a clock set back by {back:?} gave a unit away"))?;
        harness.advance(back + 2 * HOUR);
        ensure(ask().await?, Guarantee::NeverDeniedWithRoom, || {
            format!("a clock set back by {back:?} denied a key for too long")
        })?;
        answered(harness.rule("rule-0")?.reset_async("ann").await)?;
    }
    Ok(())
}

/// Returns the number of requests of all tasks that are admitted.
async fn admitted_to_tasks<S: Store>(
    harness: &Harness<S>,
    requests: usize,
    rules: &'static [&'static str],
) -> Result<u64, Violation> {
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let limiter = harness.limiter().clone();
        tasks.spawn(async move {
            let mut admitted = 0;
            for _ in 0..requests {
                let decision = limiter.check_all_async(rules.iter().map(|rule| (*rule, "ann"))).await;
                admitted += u64::from(answered(decision)?.is_admitted());
            }
            Ok::<u64, Violation>(admitted)
        });
    }
    let mut admitted = 0;
    while let Some(task) = tasks.join_next().await {
        admitted += task.map_err(|error| Violation::new(Guarantee::Contract, format!("a task failed: {error}")))??;
    }
    Ok(admitted)
}

async fn tasks_on_one_key<S: Store>(harness: &Harness<S>, limit: u64) -> Result<(), Violation> {
    let admitted = admitted_to_tasks(harness, 10, &["rule-0"]).await?;
    ensure(admitted <= limit, Guarantee::NeverMoreThanN, || format!("{admitted} of {limit} were admitted"))?;
    ensure(admitted == limit, Guarantee::NeverDeniedWithRoom, || format!("{admitted} of {limit} were admitted"))
}

async fn tasks_under_two_rules<S: Store>(mut harness: Harness<S>) -> Result<(), Violation> {
    let admitted = admitted_to_tasks(&harness, 5, &["rule-0", "rule-1"]).await?;
    ensure(admitted <= 1, Guarantee::NeverMoreThanN, || format!("{admitted} of 1 were admitted"))?;
    ensure(admitted == 1, Guarantee::NeverDeniedWithRoom, || "no request was admitted".to_owned())?;
    let mut left = 0;
    while answered(harness.rule("rule-0")?.check_async("ann").await)?.is_admitted() {
        left += 1;
    }
    ensure(left == 9, Guarantee::AllOrNothing, || format!("{left} units are left of the wide rule instead of 9"))?;
    harness.advance(MINUTE);
    harness.reset((0, "bob")).await
}
