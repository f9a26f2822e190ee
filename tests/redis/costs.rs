//! Costs and settlements on a real server.

use std::time::Duration;

use tower_quota::{Decision, Policy, Rule, clock::ManualClock};
use tower_quota_tests::redis::{Limiter, Server, limiter, remaining, store};

/// A unit with a cost leaves its window up to so much later.
const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn tokens(policy: Policy) -> Rule {
    Rule::new("tokens").no_requests().policy(policy)
}

/// Two processes on one server, at times that the test sets.
fn two(server: &Server, rule: &Rule) -> ([Limiter; 2], ManualClock) {
    let clock = ManualClock::new();
    clock.set(HOUR * 24 * 20_000);
    let limiters = [(); 2].map(|()| limiter(store(server.url()).virtual_time(clock.clone()), [rule.clone()]));
    (limiters, clock)
}

async fn check(limiter: &Limiter, units: u64) -> Decision {
    limiter.rule("tokens").unwrap().check_cost_async("ann", units).await.unwrap()
}

async fn left(limiter: &Limiter) -> Vec<u64> {
    remaining(&limiter.rule("tokens").unwrap().peek_async("ann").await.unwrap())
}

#[tokio::test]
async fn a_cost_is_admitted_whole_or_not_at_all_and_waits_for_its_room() {
    let server = Server::start();
    let ([one, other], clock) = two(&server, &tokens(Policy::per_minute(10)).cost("tokens", 1));
    assert!(check(&one, 7).await.is_admitted());
    clock.advance(SECOND);
    let denied = check(&other, 4).await;
    let late = denied.retry_after().unwrap().checked_sub(SECOND * 59).unwrap();
    assert!(!denied.is_admitted() && late < MILLI, "{late:?}");
    assert!(check(&other, 3).await.is_admitted());
    assert_eq!(left(&one).await, [0]);
    let never = check(&one, 11).await;
    assert!(!never.is_admitted() && never.is_never_possible());
    assert_eq!(never.retry_after(), None);
}

#[tokio::test]
async fn what_a_request_did_not_cost_goes_back_and_what_it_cost_more_is_owed() {
    let server = Server::start();
    let rule = tokens(Policy::per_minute(20_000).and_per_day(100_000)).reserve("tokens", 2000);
    let ([one, other], clock) = two(&server, &rule);
    let first = check(&one, 2000).await;
    assert_eq!(left(&other).await, [18_000, 98_000]);
    clock.advance(SECOND);
    let reservation = first.reservation().unwrap();
    reservation.settle_async("tokens", 150).await.unwrap();
    assert_eq!(left(&other).await, [19_850, 99_850]);
    reservation.settle_async("tokens", 9000).await.unwrap();
    assert_eq!(left(&other).await, [19_850, 99_850], "it is settled already");
    let second = check(&other, 2000).await;
    second.reservation().unwrap().settle_async("tokens", 30_000).await.unwrap();
    assert_eq!(left(&one).await, [0, 69_850]);
}

#[tokio::test]
async fn a_settlement_after_a_reset_takes_nothing_of_others() {
    let server = Server::start();
    let ([one, other], clock) = two(&server, &tokens(Policy::per_minute(100)).reserve("tokens", 40));
    let first = check(&one, 40).await;
    clock.advance(SECOND);
    other.rule("tokens").unwrap().reset_async("ann").await.unwrap();
    assert!(check(&other, 30).await.is_admitted());
    first.reservation().unwrap().settle_async("tokens", 0).await.unwrap();
    assert_eq!(left(&one).await, [70]);
}

#[tokio::test]
async fn requests_of_one_key_that_cost_differently_are_charged_for_themselves_in_one_batch() {
    let server = Server::start();
    let ([one, _], _) = two(&server, &tokens(Policy::per_minute(100)).cost("tokens", 1));
    let (small, large) = tokio::join!(check(&one, 1), check(&one, 100));
    assert_eq!((small.is_admitted(), large.is_admitted()), (true, false));
    let (large, small) = tokio::join!(check(&one, 90), check(&one, 2));
    assert!(large.is_admitted() && small.is_admitted());
    assert_eq!(left(&one).await, [7]);
}
