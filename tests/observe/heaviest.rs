//! The keys that use the most of their limits.

use std::{convert::Infallible, future::ready, time::Duration};

use http::{Request, Response};
use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{Policy, RateLimiter, Rule, clock::ManualClock, http::RequestView, key};
use tower_quota_tests::{limiter::limiter, slow_store::SlowStore};

fn rule(name: &str, policy: Policy) -> Rule {
    Rule::new(name).no_requests().policy(policy)
}

fn used(limiter: &RateLimiter, rule: &str, most: usize) -> Vec<(u64, u64)> {
    limiter.heaviest(rule, most).unwrap().iter().map(|key| (key.used(), key.limit())).collect()
}

#[test]
fn the_fullest_quota_of_each_key_counts() {
    let (limiter, clock) =
        limiter([rule("calls", Policy::per_minute(10).and_per_hour(20)), rule("other", Policy::per_day(9))]);
    let calls = limiter.rule("calls").unwrap();
    (0..9).for_each(|_| assert!(calls.admit("ann")));
    clock.advance(Duration::from_secs(61));
    (0..5).for_each(|_| assert!(calls.admit("ann")));
    (0..8).for_each(|_| assert!(calls.admit("bob")));
    assert!(limiter.rule("other").unwrap().admit("ann"));
    assert_eq!(used(&limiter, "CALLS", 9), [(8, 10), (14, 20)]);
    assert_eq!(limiter.heaviest("calls", 1).unwrap()[0].key(), limiter.key("bob"));
    assert!(used(&limiter, "calls", 0).is_empty());
    clock.advance(Duration::from_secs(3601));
    assert!(used(&limiter, "calls", 9).is_empty(), "nobody uses anything any more");
    assert!(limiter.heaviest("cals", 1).is_err());
}

#[test]
fn after_a_reload_the_new_limits_are_compared_with() {
    let (limiter, _) = limiter([rule("calls", Policy::per_minute(10))]);
    (0..5).for_each(|_| assert!(limiter.rule("calls").unwrap().admit("ann")));
    limiter.reload(|builder| Ok(builder.rule(rule("calls", Policy::per_minute(100))))).unwrap();
    assert_eq!(used(&limiter, "calls", 1), [(5, 100)]);
}

#[test]
fn debts_are_heavier_than_limits() {
    let tokens = rule("tokens", Policy::per_minute(100)).reserve("tokens", 10);
    let (limiter, _) = limiter([tokens]);
    let tokens = limiter.rule("tokens").unwrap();
    tokens.check("ann").reservation().unwrap().settle("tokens", 250);
    assert!(tokens.admit_cost("bob", 100).unwrap());
    assert_eq!(used(&limiter, "tokens", 5), [(250, 100), (100, 100)]);
}

proptest! {
    #[test]
    fn the_heaviest_are_those_of_a_sorted_list(counts in prop::collection::vec(0u64..50, 0..60), most in 0usize..70) {
        let (limiter, _) = limiter([rule("calls", Policy::per_minute(100))]);
        let calls = limiter.rule("calls").unwrap();
        for (key, count) in counts.iter().enumerate() {
            (0..*count).for_each(|_| assert!(calls.admit(key as u64)));
        }
        let mut expected: Vec<_> = counts.iter().filter(|count| **count > 0).map(|count| (*count, 100)).collect();
        expected.sort_unstable_by(|one, other| other.cmp(one));
        expected.truncate(most);
        prop_assert_eq!(used(&limiter, "calls", most), expected);
    }
}

#[test]
fn the_names_of_keys_that_were_denied_last_are_remembered_and_no_others() {
    let rule = Rule::new("tables").every_request().key((key::header("x-account"), key::header("x-table")));
    let builder = || RateLimiter::builder().clock(ManualClock::new()).rule(rule.clone().policy(Policy::per_minute(1)));
    let ask = |limiter: &RateLimiter, account: &str| {
        let request = Request::get("/").header("x-account", account).header("x-table", "orders").body(()).unwrap();
        limiter.check_request(&RequestView::new(&request)).unwrap().is_admitted()
    };
    let limiter: RateLimiter = builder().remember_names(2).build().unwrap();
    let name = |account: &str| limiter.name_of(limiter.key((account, "orders")));
    assert!(ask(&limiter, "acme") && name("acme").is_none(), "it was not denied");
    assert!(!ask(&limiter, "acme"));
    assert_eq!(name("acme").as_deref(), Some("acme/orders"));
    for account in ["globex", "acme", "initech"] {
        assert!([ask(&limiter, account), ask(&limiter, account)].contains(&false));
    }
    let known = ["acme", "globex", "initech"].map(|account| name(account).is_some());
    assert_eq!(known, [true, false, true], "the one that was denied longest ago is forgotten");
    assert_eq!(limiter.name_of(limiter.key("short")).as_deref(), Some("short"), "such a key tells it");

    let long = "a".repeat(100_000);
    assert!(ask(&limiter, &long) && !ask(&limiter, &long));
    assert_eq!(name(&long).map(|name| name.len()), Some(128 + "...".len() + "/orders".len()), "memory is bounded");

    let limiter: RateLimiter = builder().build().unwrap();
    assert!(ask(&limiter, "acme") && !ask(&limiter, "acme"));
    assert_eq!(limiter.name_of(limiter.key(("acme", "orders"))), None, "it is off by default");
}

#[tokio::test(start_paused = true)]
async fn the_names_of_keys_are_remembered_whatever_store_denies() {
    let rule = Rule::new("tables").every_request().key((key::header("x-account"), key::header("x-table")));
    let store = SlowStore::new(Duration::from_millis(1));
    let limiter =
        RateLimiter::builder().store(store).rule(rule.policy(Policy::per_minute(1))).remember_names(9).build();
    let limiter = limiter.unwrap();
    let inner = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new()))));
    let service = limiter.layer().layer(inner);
    for status in [200, 429] {
        let request = Request::get("/").header("x-account", "acme").header("x-table", "orders").body(()).unwrap();
        assert_eq!(service.clone().oneshot(request).await.unwrap().status(), status);
    }
    assert_eq!(limiter.name_of(limiter.key(("acme", "orders"))).as_deref(), Some("acme/orders"));
}
