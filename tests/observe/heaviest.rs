//! The keys that use the most of their limits.

use std::time::Duration;

use proptest::prelude::*;
use tower_quota::{Policy, RateLimiter, Rule};
use tower_quota_tests::limiter::limiter;

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
