//! Rules that are replaced while requests go on: each line of the semantics, on the store in memory.

use std::{
    iter,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use tower_quota::{Changes, ConfigError, Enforcement, Policy, RateLimiter, Rule, RuleHandle, key};
use tower_quota_tests::limiter::{admitted, frozen, limiter, limiter_for, remaining, rule, with_rules};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A rule with the policy of this text.
fn calls(policy: &str) -> Rule {
    rule("calls", policy.parse::<Policy>().unwrap())
}

fn try_reload(limiter: &RateLimiter, rules: impl IntoIterator<Item = Rule>) -> Result<Changes, ConfigError> {
    limiter.reload(|builder| Ok(with_rules(builder, rules)))
}

fn reload(limiter: &RateLimiter, rule: Rule) -> String {
    try_reload(limiter, [rule]).unwrap().to_string()
}

fn ask(limiter: &RateLimiter, most: usize) -> usize {
    admitted(limiter, "calls", "ann", most)
}

/// The quotas of a key as texts, and what is left of each.
fn left(handle: &RuleHandle) -> Vec<(String, u64)> {
    handle
        .peek("ann")
        .quotas()
        .map(|quota| (format!("{}/{}", quota.limit(), quota.name()), quota.remaining()))
        .collect()
}

#[test]
fn a_limit_goes_up_down_and_back_over_one_history() {
    let (limiter, clock) = limiter([calls("60/minute")]);
    assert_eq!(ask(&limiter, 100), 60);
    assert_eq!(reload(&limiter, calls("100/minute")), r#"rule "calls": 60/minute -> 100/minute"#);
    assert_eq!(ask(&limiter, 100), 40);
    reload(&limiter, calls("30/minute"));
    assert_eq!(ask(&limiter, 100), 0);
    reload(&limiter, calls("60/minute"));
    assert_eq!(ask(&limiter, 100), 0);
    reload(&limiter, calls("110/minute"));
    assert_eq!(ask(&limiter, 100), 10);
    clock.advance(MINUTE);
    assert_eq!(ask(&limiter, 200), 110);
}

#[test]
fn a_wait_is_that_of_the_new_limit() {
    let (limiter, clock) = limiter([calls("2/minute")]);
    let handle = limiter.rule("calls").unwrap();
    assert!(handle.admit("ann"));
    clock.advance(SECOND * 20);
    assert!(handle.admit("ann"));
    // Twice: the second denial is cached.
    for _ in 0..2 {
        assert_eq!(handle.check("ann").retry_after(), Some(SECOND * 40));
    }
    reload(&limiter, calls("1/minute"));
    for _ in 0..2 {
        assert_eq!(handle.check("ann").retry_after(), Some(SECOND * 60));
    }
    reload(&limiter, calls("3/minute"));
    assert!(handle.admit("ann"));
    assert!(!handle.admit("ann"));
}

#[test]
fn a_window_that_is_added_knows_what_the_old_ones_remember() {
    let (limiter, clock) = limiter([calls("60/minute")]);
    assert_eq!(ask(&limiter, 100), 60);
    reload(&limiter, calls("60/minute, 100/hour"));
    assert_eq!(left(&limiter.rule("calls").unwrap()), [("60/minute".into(), 0), ("100/hour".into(), 40)]);
    clock.advance(MINUTE);
    assert_eq!(ask(&limiter, 100), 40);
    clock.advance(MINUTE * 59);
    assert_eq!(ask(&limiter, 100), 60);
}

#[test]
fn a_window_that_is_removed_counts_no_more() {
    let (limiter, clock) = limiter([calls("60/minute, 100/hour")]);
    assert_eq!(ask(&limiter, 100), 60);
    clock.advance(MINUTE);
    assert_eq!(ask(&limiter, 100), 40);
    clock.advance(SECOND);
    reload(&limiter, calls("60/minute"));
    assert_eq!(ask(&limiter, 100), 20);
    clock.advance(MINUTE);
    assert_eq!(ask(&limiter, 100), 60);
}

#[test]
fn a_history_changes_between_timestamps_and_buckets_as_often_as_the_limits_do() {
    let (limiter, clock) = limiter([calls("60/minute")]);
    assert_eq!(ask(&limiter, 100), 60);
    reload(&limiter, calls("6000/minute, 10000/hour"));
    assert_eq!(ask(&limiter, 20_000), 5940);
    reload(&limiter, calls("60/minute"));
    assert_eq!(ask(&limiter, 100), 0);
    // What was in a bucket leaves late by at most its width.
    clock.advance(MINUTE + MINUTE / 2048);
    assert_eq!(ask(&limiter, 100), 60);
    reload(&limiter, calls("100/day"));
    assert_eq!(ask(&limiter, 100), 40);
}

#[test]
fn other_ticks_of_a_longer_window_lose_nothing() {
    let (limiter, clock) = limiter([calls("5/second")]);
    assert_eq!(ask(&limiter, 9), 5);
    for policy in ["5/30d", "5/minute", "5/7d", "5/hour"] {
        reload(&limiter, calls(policy));
        assert_eq!(ask(&limiter, 9), 0, "{policy}");
        clock.advance(SECOND);
    }
    clock.advance(MINUTE * 60);
    assert_eq!(ask(&limiter, 9), 5);
}

#[test]
fn a_rule_of_another_level_begins_afresh() {
    let limiter = frozen([calls("2/minute").level("user")]);
    assert_eq!(ask(&limiter, 9), 2);
    let changes = reload(&limiter, calls("2/minute").level("team"));
    assert_eq!(changes, r#"rule "calls": level user -> team, whose histories begin afresh"#);
    assert_eq!(ask(&limiter, 9), 2);
    // And the old one is still there if the level comes back.
    reload(&limiter, calls("3/minute").level("user"));
    assert_eq!(ask(&limiter, 9), 1);
}

#[test]
fn a_name_is_the_same_in_capitals() {
    let limiter = frozen([calls("2/minute")]);
    assert_eq!(ask(&limiter, 9), 2);
    assert_eq!(reload(&limiter, rule("CALLS", Policy::per_minute(2))), "nothing");
    assert_eq!(ask(&limiter, 9), 0);
}

#[test]
fn histories_per_route_are_kept_by_route() {
    let routed = |routes: &[&str]| {
        let rule = Rule::new("calls").routes(routes.iter().copied()).key(key::constant("ann")).level("all").per_route();
        rule.policy(Policy::per_minute(2))
    };
    let limiter = frozen([routed(&["/a", "/b"])]);
    let handle = limiter.rule("calls").unwrap();
    assert!(handle.admit("ann") && handle.admit("ann"));
    // The handle asks the history of the first route, which is another one now.
    reload(&limiter, routed(&["/A", "/a"]));
    assert!(handle.admit("ann"));
    reload(&limiter, routed(&["/b", "/a"]));
    assert!(handle.admit("ann"));
    reload(&limiter, routed(&["/a"]));
    assert!(!handle.admit("ann"));
}

#[test]
fn a_handle_of_a_rule_that_is_gone_goes_on_with_the_last_policy_and_says_so() {
    let limiter = frozen([calls("2/minute")]);
    let handle = limiter.rule("calls").unwrap();
    assert!(handle.is_current() && handle.admit("ann"));
    assert_eq!(reload(&limiter, rule("other", Policy::per_minute(1))), r#"rule "other" is new; rule "calls" is gone"#);
    assert!(!handle.is_current() && limiter.rule("calls").is_err());
    assert_eq!([handle.admit("ann"), handle.admit("ann")], [true, false]);
    assert_eq!(handle.check("ann").retry_after(), Some(MINUTE));
    reload(&limiter, calls("3/minute"));
    assert!(handle.is_current());
    assert_eq!([handle.admit("ann"), handle.admit("ann")], [true, false]);
}

/// The rules in between have moved the history to another form than the handle knows.
#[test]
fn a_handle_that_missed_the_rules_in_between_goes_on_with_the_last_policy_too() {
    let limiter = frozen([calls("9/minute")]);
    let handle = limiter.rule("calls").unwrap();
    assert!(handle.admit("ann"));
    reload(&limiter, calls("5/minute, 3/hour"));
    assert_eq!(ask(&limiter, 1), 1);
    reload(&limiter, rule("other", Policy::per_minute(1)));
    assert!(!handle.is_current());
    assert_eq!(left(&handle), [("5/minute".to_owned(), 3), ("3/hour".to_owned(), 1)]);
    assert_eq!([handle.admit("ann"), handle.check("ann").is_admitted()], [true, false]);
    assert_eq!([handle.reset("ann"), handle.reset("ann")], [true, false]);
    assert_eq!(left(&handle), [("5/minute".to_owned(), 5), ("3/hour".to_owned(), 3)]);
    // Other rules that lack it, too, change nothing.
    reload(&limiter, rule("another", Policy::per_minute(1)));
    assert_eq!([handle.admit("ann"), handle.in_tier("pro").is_ok()], [true, false]);
    reload(&limiter, calls("1/minute"));
    assert!(handle.is_current() && !handle.admit("ann"));
}

#[test]
fn bad_rules_change_nothing_and_say_what_is_bad() {
    let limiter = frozen([calls("2/minute").tier("pro", Policy::per_minute(4))]);
    let handle = limiter.rule("calls").unwrap();
    assert!(handle.admit("ann"));
    let bad: Vec<Vec<Rule>> = vec![
        vec![rule("calls", Policy::per_minute(0))],
        vec![calls("9/minute"), calls("9/minute")],
        vec![calls("9/minute"), rule("other", Policy::per_minute(0))],
        vec![calls("9/minute").tier_for("ann", "gold")],
        vec![calls("9/minute").tier("pro", Policy::per_minute(9)).tier_for("a*b", "pro")],
        vec![Rule::new("calls").no_requests()],
    ];
    for rules in bad {
        let error = try_reload(&limiter, rules).unwrap_err();
        assert!(error.rule().is_some() && !error.reason().is_empty(), "{error}");
        assert_eq!(left(&handle), [("2/minute".to_owned(), 1)]);
        assert!(limiter.rule("other").is_err() && handle.is_current());
    }
    let refused = limiter.reload(|_| Err(ConfigError::new("file", "rules.toml", "it cannot be read")));
    assert_eq!(refused.unwrap_err().field(), "file");
    assert_eq!(ask(&limiter, 9), 1);
}

#[test]
fn tiers_that_were_pushed_survive_a_reload_as_long_as_the_rule_has_them() {
    let tiered = || calls("2/minute").tier("pro", Policy::per_minute(4));
    let limiter = frozen([tiered()]);
    limiter.set_tier("calls", "ann", Some("pro")).unwrap();
    assert_eq!(ask(&limiter, 9), 4);
    let larger = calls("2/minute").tier("pro", Policy::per_minute(5));
    assert_eq!(reload(&limiter, larger), r#"rule "calls", tier "pro": 4/minute -> 5/minute"#);
    assert_eq!(ask(&limiter, 9), 1);
    // Without the tier it has no effect.
    assert_eq!(
        reload(&limiter, calls("8/minute")),
        r#"rule "calls": 2/minute -> 8/minute; rule "calls", tier "pro" is gone"#
    );
    assert_eq!(ask(&limiter, 9), 3);
    reload(&limiter, calls("1/minute").tier("pro", Policy::per_minute(10)));
    assert_eq!(ask(&limiter, 9), 2);
}

#[test]
fn enforcement_that_was_switched_survives_a_reload() {
    let limiter = frozen([calls("1/minute")]);
    limiter.enforce("calls", Enforcement::Shadow).unwrap();
    reload(&limiter, calls("2/minute"));
    assert_eq!(ask(&limiter, 9), 9);
    limiter.enforce_as_configured("calls").unwrap();
    assert_eq!(ask(&limiter, 9), 0);
}

#[test]
fn a_reload_of_equal_rules_changes_nothing() {
    let limiter = frozen([calls("2/minute")]);
    let changes = try_reload(&limiter, [calls("2/minute")]).unwrap();
    assert!(changes.is_empty());
    assert_eq!((changes.iter().count(), changes.to_string()), (0, "nothing".to_owned()));
}

#[test]
fn the_history_that_keys_share_in_a_full_table_is_kept_in_every_form() {
    let (limiter, clock) = limiter_for(1, [calls("3/minute")]);
    assert_eq!(admitted(&limiter, "calls", "ann", 9), 3);
    assert_eq!(admitted(&limiter, "calls", "bob", 9), 3);
    for policy in ["3/minute", "2/minute", "3/minute, 9/hour", "3/hour", "3/minute"] {
        reload(&limiter, calls(policy));
        assert_eq!(["ann", "bob", "eve"].map(|key| admitted(&limiter, "calls", key, 9)), [0, 0, 0], "{policy}");
    }
    reload(&limiter, calls("5000/minute"));
    assert_eq!(admitted(&limiter, "calls", "bob", 9000), 4997);
    assert_eq!(admitted(&limiter, "calls", "ann", 9000), 4997);
    reload(&limiter, calls("3/minute"));
    assert_eq!(["ann", "bob", "eve"].map(|key| admitted(&limiter, "calls", key, 9)), [0, 0, 0]);
    clock.advance(MINUTE + MINUTE / 2048);
    assert_eq!(["ann", "bob", "eve"].map(|key| admitted(&limiter, "calls", key, 9)), [3, 3, 0]);
}

/// Policies that all admit `N` in the minute of the storm, in several forms.
const VERSIONS: [&str; 6] = [
    "1000/minute",
    "1000/minute, 5000/hour",
    "1000/minute, 1000/hour",
    "1000/minute, 100000/day",
    "1000/second, 1000/minute",
    "1000/minute, 1000/30d",
];
const N: usize = 1000;

#[test]
fn a_thousand_reloads_while_eight_threads_decide_admit_exactly_n_and_mix_no_versions() {
    let limiter = frozen([calls(VERSIONS[0])]);
    let limits =
        |text: &str| text.parse::<Policy>().unwrap().quotas().map(tower_quota::Quota::limit).collect::<Vec<_>>();
    let versions: Vec<Vec<u64>> = VERSIONS.iter().map(|text| limits(text)).collect();
    let (is_over, passed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let decide = |thread: usize| {
        let handle = limiter.rule("calls").unwrap();
        while !is_over.load(Ordering::Relaxed) {
            let is_admitted = match thread % 4 {
                0 => handle.admit("ann"),
                1 => limiter.admit_all([("calls", "ann")]).unwrap(),
                _ => {
                    let decision = handle.check("ann");
                    let seen: Vec<u64> = decision.quotas().map(|quota| quota.limit()).collect();
                    assert!(versions.contains(&seen), "{decision:?}");
                    decision.is_admitted()
                }
            };
            passed.fetch_add(usize::from(is_admitted), Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        (0..8).for_each(|thread| drop(scope.spawn(move || decide(thread))));
        for turn in 0..1000 {
            reload(&limiter, calls(VERSIONS[(turn * 7 + turn / 5) % VERSIONS.len()]));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let rest = iter::repeat_with(|| limiter.rule("calls").unwrap().admit("ann")).take_while(|passed| *passed).count();
    assert_eq!(passed.load(Ordering::Relaxed) + rest, N);
    assert!(remaining(&limiter.rule("calls").unwrap().peek("ann")).contains(&0));
}

#[test]
fn a_history_of_another_form_remembers_what_its_limits_cannot_tell_apart() {
    let (limiter, _) = limiter([calls("6000/minute")]);
    assert_eq!(ask(&limiter, 5000), 5000);
    reload(&limiter, calls("60/minute"));
    assert_eq!(ask(&limiter, 100), 0);
    reload(&limiter, calls("6000/minute"));
    assert_eq!(ask(&limiter, 20_000), 1000);
}

/// P1: under the smaller limit denials are units that push out no older ones that the larger limit counts.
#[test]
fn a_limit_that_was_lowered_while_denials_count_is_not_refilled_when_it_comes_back() {
    for most in [4, 30, 300] {
        let calls = |most| rule("calls", Policy::per_minute(most).count_denied());
        let (limiter, clock) = limiter([calls(most)]);
        assert_eq!(ask(&limiter, most as usize), most as usize);
        clock.advance(SECOND);
        reload(&limiter, calls(3));
        assert_eq!(ask(&limiter, 10), 0);
        reload(&limiter, calls(most));
        assert_eq!(ask(&limiter, 10), 0, "of {most}");
        clock.advance(MINUTE);
        assert_eq!(ask(&limiter, 400), most as usize);
    }
}

#[test]
fn a_long_window_without_buckets_is_not_refilled_by_a_smaller_limit_in_between() {
    let (limiter, _) = limiter([calls("100/30d")]);
    assert_eq!(ask(&limiter, 200), 100);
    reload(&limiter, calls("10/40d"));
    assert_eq!(ask(&limiter, 20), 0);
    reload(&limiter, calls("120/30d"));
    assert_eq!(ask(&limiter, 200), 20);
}

#[test]
fn a_newcomer_to_a_full_table_takes_the_place_of_an_idle_key_after_a_reload() {
    let (limiter, clock) = limiter_for(1, [calls("2/minute")]);
    assert_eq!(admitted(&limiter, "calls", "filler", 1), 1);
    clock.advance(SECOND * 30);
    assert_eq!(admitted(&limiter, "calls", "ann", 1), 1);
    reload(&limiter, calls("2/30s"));
    // What was shared still counts, and the filler does not.
    clock.advance(SECOND * 31);
    assert_eq!(admitted(&limiter, "calls", "bob", 9), 2);
    assert_eq!(limiter.len(), 1);
}
