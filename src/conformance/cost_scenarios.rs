//! Scenarios of requests with costs.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::{
    clock::ManualClock,
    conformance::{
        Guarantee, Violation,
        cost_harness::{CostHarness, CostedRule, OpenCharge},
        harness::{Stores, answered},
        violation::ensure,
    },
    policy::Policy,
    store::{CostSupport, Store},
};

const SECOND: Duration = Duration::from_secs(1);
/// By so much may the units of a cost leave late: they are exact to a millisecond.
const LATE: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const ANN: (usize, &str) = (0, "ann");
const TASKS: usize = 30;

/// Runs the scenarios that the store says it supports.
pub(super) async fn run<S: Store, F: FnMut(ManualClock) -> S>(stores: &mut Stores<F>) -> Result<(), Violation> {
    let support = stores.cost_support();
    if support >= CostSupport::Costs {
        costs(stores).await?;
    }
    if support >= CostSupport::Settlements {
        settlements(stores).await?;
    }
    Ok(())
}

async fn costs<S: Store, F: FnMut(ManualClock) -> S>(stores: &mut Stores<F>) -> Result<(), Violation> {
    let harness = stores.cost_harness([CostedRule::new(Policy::per_minute(10).and_per_hour(25))])?;
    whole_or_not(harness).await.map_err(|violation| violation.during("requests that cost more than one unit"))?;
    let harness = stores.cost_harness([CostedRule::new(Policy::per_minute(10).and_per_hour(8))])?;
    never_possible(harness).await.map_err(|violation| violation.during("a cost above a limit"))?;
    let harness = stores.cost_harness([CostedRule::new(Policy::per_minute(10))])?;
    free(harness).await.map_err(|violation| violation.during("requests that cost nothing"))?;
    let rules =
        [CostedRule::new(Policy::per_minute(10)).usually(3), CostedRule::new(Policy::per_minute(20)).usually(7)];
    let harness = stores.cost_harness(rules)?;
    two_costs(harness).await.map_err(|violation| violation.during("a request with two costs"))?;
    let harness = stores.cost_harness([CostedRule::new(Policy::per_hour(10_000_000_000))])?;
    bytes(harness).await.map_err(|violation| violation.during("a limit beyond 32 bits"))?;
    let harness = stores.cost_harness([CostedRule::new(Policy::per_minute(20_000))])?;
    tasks(&harness).await.map_err(|violation| violation.during("many tasks with costs on one key"))
}

async fn settlements<S: Store, F: FnMut(ManualClock) -> S>(stores: &mut Stores<F>) -> Result<(), Violation> {
    let rule = || CostedRule::new(Policy::per_minute(10).and_per_hour(30)).settled();
    let harness = stores.cost_harness([rule()])?;
    down(harness).await.map_err(|violation| violation.during("a cost that is settled down"))?;
    let harness = stores.cost_harness([rule()])?;
    down_in_part(harness).await.map_err(|violation| violation.during("a settlement beside others of the same time"))?;
    let harness = stores.cost_harness([rule()])?;
    late(harness).await.map_err(|violation| violation.during("a settlement after a window has passed"))?;
    let harness = stores.cost_harness([rule()])?;
    up(harness).await.map_err(|violation| violation.during("a debt"))?;
    let harness = stores.cost_harness([rule()])?;
    twice(harness).await.map_err(|violation| violation.during("a charge that is settled twice"))?;
    let harness = stores.cost_harness([rule()])?;
    after_reset(harness).await.map_err(|violation| violation.during("a settlement after a reset"))?;
    let harness = stores.cost_harness([rule()])?;
    oldest(harness).await.map_err(|violation| violation.during("an oldest charge that is given back"))?;
    let rules = [rule().usually(3), CostedRule::new(Policy::per_minute(20)).usually(7).settled()];
    let harness = stores.cost_harness(rules)?;
    two_settlements(harness).await.map_err(|violation| violation.during("a request with two settlements"))?;
    let harness = stores.cost_harness([rule()])?;
    step_back(harness).await.map_err(|violation| violation.during("a settlement after the clock stepped back"))?;
    let harness = stores.cost_harness([CostedRule::new(Policy::per_minute(20_000)).settled()])?;
    settling_tasks(&harness).await.map_err(|violation| violation.during("many tasks that settle"))
}

/// Asks for the first rule, which has to admit it.
async fn charge<S: Store>(harness: &mut CostHarness<S>, units: u64) -> Result<OpenCharge, Violation> {
    let decided = harness.decide(ANN, units).await?;
    decided.map_err(|_| Violation::new(Guarantee::NeverDeniedWithRoom, format!("a cost of {units} was denied")))
}

async fn whole_or_not<S: Store>(mut harness: CostHarness<S>) -> Result<(), Violation> {
    for _ in 0..3 {
        for units in [7, 4, 2, 2, 1, 1] {
            let _ = harness.decide(ANN, units).await?;
            harness.advance(SECOND);
        }
        harness.advance(MINUTE / 2);
        for units in [9, 3, 10] {
            if let Err(Some(wait)) = harness.decide(ANN, units).await? {
                harness.advance(wait);
                let decided = harness.decide(ANN, units).await?;
                ensure(decided.is_ok(), Guarantee::TrueWait, || format!("denied again after a wait of {wait:?}"))?;
            }
        }
    }
    harness.reset(ANN).await
}

async fn never_possible<S: Store>(mut harness: CostHarness<S>) -> Result<(), Violation> {
    for units in [9, 11, u64::from(u32::MAX) + 1, u64::MAX] {
        harness.check_never_possible(ANN, units).await?;
    }
    charge(&mut harness, 8).await?;
    harness.check_never_possible(ANN, 9).await?;
    harness.peek(ANN).await
}

async fn free<S: Store>(mut harness: CostHarness<S>) -> Result<(), Violation> {
    for units in [0, 10, 0, 1, 0] {
        let _ = harness.decide(ANN, units).await?;
    }
    harness.advance(MINUTE + LATE);
    charge(&mut harness, 10).await.map(drop)
}

async fn two_costs<S: Store>(mut harness: CostHarness<S>) -> Result<(), Violation> {
    for key in ["ann", "bob"] {
        for order in [[0, 1], [1, 0], [0, 1]] {
            let _ = harness.decide_together(&order.map(|rule| (rule, key))).await?;
        }
        harness.advance(SECOND);
        let _ = harness.decide((0, key), 4).await?;
    }
    harness.advance(MINUTE + LATE);
    harness.decide_together(&[(0, "ann"), (1, "ann")]).await.map(drop)
}

async fn bytes<S: Store>(mut harness: CostHarness<S>) -> Result<(), Violation> {
    for units in [4_000_000_000, 6_000_000_000, 1] {
        let _ = harness.decide(ANN, units).await?;
    }
    harness.advance(2 * HOUR);
    charge(&mut harness, 10_000_000_000).await.map(drop)
}

async fn tasks<S: Store>(harness: &CostHarness<S>) -> Result<(), Violation> {
    let admitted = admitted_to_tasks(harness, 4000, None).await?;
    ensure(admitted <= 5, Guarantee::NeverMoreThanN, || format!("{admitted} requests of 4000 were admitted to 20000"))?;
    ensure(admitted == 5, Guarantee::NeverDeniedWithRoom, || {
        format!("{admitted} requests of 4000 were admitted to 20000")
    })
}

async fn down<S: Store>(mut harness: CostHarness<S>) -> Result<(), Violation> {
    for settled in [0, 1, 8] {
        let open = charge(&mut harness, 8).await?;
        harness.advance(20 * SECOND);
        harness.settle(&open, settled).await?;
        charge(&mut harness, 10 - settled).await?;
        harness.advance(MINUTE + LATE);
    }
    Ok(())
}

async fn down_in_part<S: Store>(mut harness: CostHarness<S>) -> Result<(), Violation> {
    let (first, other, last) =
        (charge(&mut harness, 4).await?, charge(&mut harness, 3).await?, charge(&mut harness, 3).await?);
    harness.settle(&other, 1).await?;
    harness.advance(SECOND);
    harness.settle(&first, 0).await?;
    harness.settle(&last, 2).await?;
    charge(&mut harness, 7).await.map(drop)
}

/// Settles when the minute has passed and the hour has not, and when both have.
async fn late<S: Store>(mut harness: CostHarness<S>) -> Result<(), Violation> {
    let (early, later) = (charge(&mut harness, 6).await?, charge(&mut harness, 4).await?);
    harness.advance(MINUTE + LATE);
    let beside = charge(&mut harness, 10).await?;
    harness.settle(&early, 1).await?;
    harness.advance(HOUR - MINUTE);
    charge(&mut harness, 5).await?;
    harness.settle(&later, 0).await?;
    harness.advance(HOUR + LATE);
    harness.settle(&beside, 0).await
}

async fn up<S: Store>(mut harness: CostHarness<S>) -> Result<(), Violation> {
    let open = charge(&mut harness, 2).await?;
    harness.advance(30 * SECOND);
    harness.settle(&open, 23).await?;
    for units in [1, 10] {
        if let Err(Some(wait)) = harness.decide(ANN, units).await? {
            harness.advance(wait);
            let decided = harness.decide(ANN, units).await?;
            ensure(decided.is_ok(), Guarantee::TrueWait, || format!("denied again after a wait of {wait:?}"))?;
        }
    }
    // One whose estimate has left all windows owes the overrun alone.
    harness.advance(HOUR + LATE);
    let open = charge(&mut harness, 2).await?;
    harness.advance(2 * HOUR);
    harness.settle(&open, 9).await?;
    charge(&mut harness, 3).await.map(drop)
}

async fn twice<S: Store>(mut harness: CostHarness<S>) -> Result<(), Violation> {
    let open = charge(&mut harness, 6).await?;
    harness.settle(&open, 2).await?;
    harness.settle_in_vain(&open, 0).await?;
    harness.settle_in_vain(&open, 9).await
}

async fn after_reset<S: Store>(mut harness: CostHarness<S>) -> Result<(), Violation> {
    let (lower, higher) = (charge(&mut harness, 5).await?, charge(&mut harness, 3).await?);
    harness.reset(ANN).await?;
    charge(&mut harness, 5).await?;
    harness.settle(&lower, 0).await?;
    harness.settle(&higher, 5).await?;
    charge(&mut harness, 3).await.map(drop)
}

/// What was given back is not the oldest any more.
async fn oldest<S: Store>(mut harness: CostHarness<S>) -> Result<(), Violation> {
    let first = charge(&mut harness, 4).await?;
    harness.advance(10 * SECOND);
    charge(&mut harness, 6).await?;
    harness.advance(10 * SECOND);
    harness.settle(&first, 0).await?;
    charge(&mut harness, 4).await?;
    for units in [1, 7] {
        let _ = harness.decide(ANN, units).await?;
    }
    Ok(())
}

async fn two_settlements<S: Store>(mut harness: CostHarness<S>) -> Result<(), Violation> {
    let together = [(0, "ann"), (1, "ann")];
    let denied = |_| Violation::new(Guarantee::NeverDeniedWithRoom, "the first request was denied");
    let open = harness.decide_together(&together).await?.map_err(denied)?;
    for (charge, units) in open.iter().zip([1, 9]) {
        harness.settle(charge, units).await?;
        harness.peek((0, "ann")).await?;
        harness.peek((1, "ann")).await?;
    }
    harness.decide_together(&together).await.map(drop)
}

/// Sets the clock back: what others have recorded since is not given back to one that had recorded before.
async fn step_back<S: Store>(mut harness: CostHarness<S>) -> Result<(), Violation> {
    for back in [SECOND, MINUTE, 2 * HOUR] {
        harness.clock().set(10 * HOUR);
        let open = charge(&mut harness, 4).await?;
        harness.clock().set(10 * HOUR - back);
        settle_beside(&harness, &open, 5).await.map_err(|violation| violation.during(format_args!("by {back:?}")))?;
        harness.reset(ANN).await?;
    }
    // Back to the very time of a charge that has left all windows.
    harness.clock().set(20 * HOUR);
    let open = charge(&mut harness, 4).await?;
    harness.advance(2 * HOUR);
    let left = answered(answered(harness.limiter().rule("costs-0"))?.check_cost_async("ann", 1).await)?;
    ensure(left.is_admitted(), Guarantee::NeverDeniedWithRoom, || "a unit was denied to an idle key".to_owned())?;
    harness.clock().set(20 * HOUR);
    settle_beside(&harness, &open, 5).await
}

/// Settles a charge as nothing after another one, whose units have to stay.
async fn settle_beside<S: Store>(harness: &CostHarness<S>, open: &OpenCharge, units: u64) -> Result<(), Violation> {
    let rule = answered(harness.limiter().rule("costs-0"))?;
    let other = answered(rule.check_cost_async("ann", units).await)?;
    ensure(other.is_admitted(), Guarantee::NeverDeniedWithRoom, || format!("{units} units were denied beside others"))?;
    open.settle_unseen(0).await?;
    let decision = answered(rule.peek_cost_async("ann", 1).await)?;
    let used = decision.quotas().next().map(|quota| quota.limit() - quota.remaining());
    ensure(used >= Some(units), Guarantee::ExactSettlement, || {
        format!("{used:?} units count, of which another request has recorded {units}")
    })
}

async fn settling_tasks<S: Store>(harness: &CostHarness<S>) -> Result<(), Violation> {
    let admitted = admitted_to_tasks(harness, 600, Some(7)).await?;
    let decision = answered(answered(harness.limiter().rule("costs-0"))?.peek_cost_async("ann", 1).await)?;
    let used = decision.quotas().next().map(|quota| quota.limit() - quota.remaining());
    ensure(used == Some(7 * admitted), Guarantee::ExactSettlement, || {
        format!("{used:?} units count of {admitted} requests, each of which was settled as 7")
    })
}

/// Returns the number of requests of all tasks that are admitted, and settles each if it is told what it cost.
async fn admitted_to_tasks<S: Store>(
    harness: &CostHarness<S>,
    units: u64,
    settled: Option<u64>,
) -> Result<u64, Violation> {
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let limiter = harness.limiter().clone();
        tasks.spawn(async move {
            let decision = answered(answered(limiter.rule("costs-0"))?.check_cost_async("ann", units).await)?;
            if let (Some(reservation), Some(settled)) = (decision.reservation(), settled) {
                answered(reservation.settle_async("units-0", settled).await)?;
            }
            Ok::<u64, Violation>(u64::from(decision.is_admitted()))
        });
    }
    let mut admitted = 0;
    while let Some(task) = tasks.join_next().await {
        admitted += task.map_err(|error| Violation::new(Guarantee::Contract, format!("a task failed: {error}")))??;
    }
    Ok(admitted)
}
