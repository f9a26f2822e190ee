//! Tiers of a rule: each line of the semantics, on the store in memory.

use std::time::Duration;

use http::Request;
use tower_quota::{
    ConfigError, Decision, Policy, RateLimiter, Rule,
    http::RequestView,
    key::{self, Key},
};
use tower_quota_tests::limiter::{admitted, frozen, limiter, limiter_for, remaining, rule};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Sixty a minute, six hundred for `pro`, and no limits for `staff`.
fn calls() -> Rule {
    rule("calls", Policy::per_minute(60)).tier("pro", Policy::per_minute(600)).unlimited_tier("staff")
}

fn set(limiter: &RateLimiter, key: &str, tier: Option<&str>) {
    limiter.set_tier("calls", key, tier).unwrap();
}

fn peek(limiter: &RateLimiter, key: &str) -> Decision {
    limiter.rule("calls").unwrap().peek(key)
}

/// The limit of the first quota that a key is held to.
fn limit(limiter: &RateLimiter, key: &str) -> u64 {
    peek(limiter, key).quotas().next().unwrap().limit()
}

/// The mistake in a rule.
fn mistake(rule: Rule) -> ConfigError {
    RateLimiter::builder().rule(rule).build().unwrap_err()
}

#[test]
fn a_change_of_tier_neither_refills_nor_empties() {
    let (limiter, clock) = limiter([calls()]);
    assert_eq!(admitted(&limiter, "calls", "ann", 1000), 60);
    clock.advance(SECOND * 20);
    set(&limiter, "ann", Some("pro"));
    assert_eq!(admitted(&limiter, "calls", "ann", 1000), 540);
    set(&limiter, "ann", None);
    let back = peek(&limiter, "ann");
    assert_eq!((back.is_admitted(), remaining(&back)), (false, vec![0]));
    // The sixty leave first, and the 540 of pro are still more than sixty.
    assert_eq!(back.retry_after(), Some(MINUTE));
    clock.advance(MINUTE - SECOND);
    assert_eq!(admitted(&limiter, "calls", "ann", 1000), 0);
    clock.advance(SECOND);
    assert_eq!(admitted(&limiter, "calls", "ann", 1000), 60);
}

#[test]
fn a_tier_that_is_set_again_and_again_admits_as_much_as_the_largest_one() {
    let (limiter, clock) = limiter([calls()]);
    let mut passed = 0;
    for _ in 0..50 {
        for tier in [None, Some("pro")] {
            set(&limiter, "ann", tier);
            passed += admitted(&limiter, "calls", "ann", 50);
        }
        clock.advance(Duration::from_millis(1));
    }
    assert_eq!(passed, 600);
}

#[test]
fn a_tier_is_of_one_key_alone() {
    let limiter = frozen([calls()]);
    set(&limiter, "ann", Some("pro"));
    assert_eq!([limit(&limiter, "ann"), limit(&limiter, "bob")], [600, 60]);
}

#[test]
fn a_tier_without_limits_is_recorded() {
    let (limiter, clock) = limiter([calls()]);
    set(&limiter, "ann", Some("staff"));
    assert_eq!(admitted(&limiter, "calls", "ann", 5000), 5000);
    assert_eq!(peek(&limiter, "ann").quotas().count(), 0);
    set(&limiter, "ann", None);
    assert_eq!(admitted(&limiter, "calls", "ann", 1000), 0);
    set(&limiter, "ann", Some("pro"));
    assert_eq!(admitted(&limiter, "calls", "ann", 1000), 0);
    clock.advance(MINUTE);
    assert_eq!(admitted(&limiter, "calls", "ann", 1000), 600);
}

#[test]
fn a_window_that_only_one_tier_has_counts_what_was_done_in_the_others() {
    let daily = rule("calls", Policy::per_minute(60)).tier("daily", Policy::per_day(100));
    let (limiter, clock) = limiter([daily]);
    assert_eq!(admitted(&limiter, "calls", "ann", 100), 60);
    clock.advance(MINUTE * 60);
    set(&limiter, "ann", Some("daily"));
    assert_eq!(admitted(&limiter, "calls", "ann", 100), 40);
    clock.advance(MINUTE * 60);
    assert_eq!(admitted(&limiter, "calls", "ann", 100), 0);
    set(&limiter, "ann", None);
    assert_eq!(admitted(&limiter, "calls", "ann", 100), 60);
    // The first sixty leave the day, and another sixty are in it besides the forty.
    set(&limiter, "ann", Some("daily"));
    clock.advance(MINUTE * 60 * 22);
    assert_eq!(admitted(&limiter, "calls", "ann", 100), 0);
    clock.advance(MINUTE * 60);
    assert_eq!(admitted(&limiter, "calls", "ann", 100), 40);
}

#[test]
fn a_large_tier_judges_the_same_history() {
    let large = rule("calls", Policy::per_minute(60)).tier("large", Policy::per_minute(50_000).and_per_hour(100_000));
    let (limiter, clock) = limiter([large]);
    assert_eq!(admitted(&limiter, "calls", "ann", 100), 60);
    set(&limiter, "ann", Some("large"));
    assert_eq!(admitted(&limiter, "calls", "ann", 60_000), 49_940);
    set(&limiter, "ann", None);
    assert_eq!(admitted(&limiter, "calls", "ann", 100), 0);
    // Units of a large window leave late by at most a bucket of it.
    clock.advance(MINUTE + MINUTE / 2048);
    assert_eq!(admitted(&limiter, "calls", "ann", 100), 60);
}

/// A rule whose keys come from a field, as do tiers, so that all sources of a tier can disagree.
fn disagreeing() -> Rule {
    Rule::new("calls")
        .every_request()
        .key(key::header("x-account"))
        .policy(Policy::per_minute(1))
        .tier("named", Policy::per_minute(2))
        .tier("short", Policy::per_minute(3))
        .tier("long", Policy::per_minute(4))
        .tier("exact", Policy::per_minute(5))
        .tier("pushed", Policy::per_minute(6))
        .tier_from(key::header("x-tier"))
        .tier_for("acme-eu-*", "long")
        .tier_for("acme-*", "short")
        .tier_for("acme-eu-1", "exact")
}

/// The tier of a request of this account that names this tier.
fn tier_of(limiter: &RateLimiter, account: &str, tier: Option<&str>) -> Option<String> {
    let request = Request::get("/").header("x-account", account);
    let request =
        tier.map_or_else(|| Request::get("/").header("x-account", account), |tier| request.header("x-tier", tier));
    let matching = limiter.matching(&RequestView::new(&request.body(()).unwrap()));
    matching[0].tier().map(ToOwned::to_owned)
}

#[test]
fn pushed_wins_over_exact_over_the_longest_pattern_over_the_request_over_the_rule() {
    let limiter = frozen([disagreeing()]);
    let tier = |account| tier_of(&limiter, account, Some("named"));
    assert_eq!(tier_of(&limiter, "globex", None), None);
    assert_eq!(tier("globex").as_deref(), Some("named"));
    assert_eq!(tier("acme-us").as_deref(), Some("short"));
    assert_eq!(tier("acme-eu-2").as_deref(), Some("long"));
    assert_eq!(tier("acme-eu-1").as_deref(), Some("exact"));
    for account in ["globex", "acme-us", "acme-eu-2", "acme-eu-1"] {
        let before = tier(account);
        set(&limiter, account, Some("pushed"));
        assert_eq!(tier(account).as_deref(), Some("pushed"), "{account}");
        set(&limiter, account, None);
        assert_eq!(tier(account), before, "{account}");
    }
}

#[test]
fn a_handle_has_the_same_tiers_but_for_what_a_request_names() {
    let limiter = frozen([disagreeing()]);
    let limits = ["globex", "acme-us", "acme-eu-2", "acme-eu-1"].map(|account| limit(&limiter, account));
    assert_eq!(limits, [1, 3, 4, 5]);
    let pushed = limiter.rule("calls").unwrap().in_tier("pushed").unwrap();
    assert_eq!(pushed.peek("acme-eu-1").quotas().next().unwrap().limit(), 6);
    assert!(limiter.rule("calls").unwrap().in_tier("gold").is_err());
}

#[test]
fn a_tier_that_the_rule_does_not_have_is_the_rules_own_policy() {
    let limiter = frozen([disagreeing()]);
    assert_eq!(tier_of(&limiter, "globex", Some("gold")), None);
    assert_eq!(tier_of(&limiter, "globex", Some("")), None);
    // Names are as they are written.
    assert_eq!(tier_of(&limiter, "globex", Some("Named")), None);
    assert_eq!(tier_of(&limiter, "acme-us", Some("gold")).as_deref(), Some("short"));
}

#[test]
fn an_override_of_several_parts_matches_part_by_part() {
    let tables = rule("calls", Policy::per_minute(1))
        .key((key::header("x-account"), key::header("x-table")))
        .tier("pro", Policy::per_minute(9))
        .tier("max", Policy::per_minute(99))
        .tier_for(("acme", "*"), "pro")
        .tier_for(("acme", "orders"), "max");
    let limiter = frozen([tables]);
    let limit = |key: (&str, &str)| limiter.rule("calls").unwrap().peek(key).quotas().next().unwrap().limit();
    let keys = [("acme", "bills"), ("acme", "orders"), ("acme-eu", "orders"), ("globex", "orders")];
    assert_eq!(keys.map(limit), [9, 99, 1, 1]);
    assert_eq!(limiter.rule("calls").unwrap().peek("acme").quotas().next().unwrap().limit(), 1);
}

#[test]
fn a_pattern_does_not_match_the_key_that_requests_without_one_share() {
    let all = rule("calls", Policy::per_minute(1)).tier("pro", Policy::per_minute(9)).tier_for("*", "pro");
    let limiter = frozen([all]);
    let handle = limiter.rule("calls").unwrap();
    assert_eq!(handle.peek("ann").quotas().next().unwrap().limit(), 9);
    assert_eq!(handle.peek(Key::SHARED).quotas().next().unwrap().limit(), 1);
}

#[test]
fn tiers_that_are_replaced_are_gone_but_for_the_new_ones() {
    let limiter = frozen([calls()]);
    set(&limiter, "ann", Some("pro"));
    limiter.replace_tiers("calls", [("bob", "pro"), ("eve", "pro")]).unwrap();
    assert_eq!(["ann", "bob", "eve"].map(|key| limit(&limiter, key)), [60, 600, 600]);
    let error = limiter.replace_tiers("calls", [("ann", "pro"), ("bob", "gold")]).unwrap_err();
    assert!(error.to_string().contains("gold"), "{error}");
    assert_eq!(["ann", "bob", "eve"].map(|key| limit(&limiter, key)), [60, 600, 600]);
    limiter.replace_tiers("CALLS", std::iter::empty::<(&str, &str)>()).unwrap();
    assert_eq!(["ann", "bob", "eve"].map(|key| limit(&limiter, key)), [60, 60, 60]);
}

#[test]
fn a_tier_or_a_rule_that_there_is_not_is_an_error_that_names_those_that_there_are() {
    let limiter = frozen([calls(), rule("plain", Policy::per_minute(1))]);
    let error = limiter.set_tier("calls", "ann", Some("gold")).unwrap_err().to_string();
    assert!(["gold", "calls", "pro", "staff"].iter().all(|word| error.contains(word)), "{error}");
    assert!(limiter.set_tier("cals", "ann", None).unwrap_err().to_string().contains("cals"));
    assert!(limiter.set_tier("plain", "ann", Some("pro")).is_err());
    assert_eq!(limit(&limiter, "ann"), 60);
}

#[test]
fn mistakes_in_tiers_name_the_rule_the_field_and_the_value() {
    let plain = || rule("calls", Policy::per_minute(1));
    let found = |rule| {
        let error = mistake(rule);
        assert!(error.to_string().contains("\"calls\""), "{error}");
        (error.field().to_owned(), error.value().to_owned())
    };
    let pair = |field: &str, value: &str| (field.to_owned(), value.to_owned());
    assert_eq!(found(calls().tier_for("ann", "gold")), pair("tier", "\"gold\""));
    assert_eq!(found(plain().tier_for("ann", "pro")), pair("tier", "\"pro\""));
    assert_eq!(found(plain().tier_from(key::header("x-tier"))).0, "tier_from");
    assert_eq!(found(calls().tier("pro", Policy::per_minute(1))), pair("tier", "\"pro\""));
    assert_eq!(found(calls().tier_for("ann", "pro").tier_for("ann", "staff")), pair("tier_for", "\"ann\""));
    assert_eq!(found(calls().tier_for("a-*", "pro").tier_for("a-*", "pro")), pair("tier_for", "\"a-*\""));
    assert_eq!(found(calls().tier_for("*-a", "pro")).0, "key");
    assert_eq!(found(calls().tier("none", Policy::per_minute(0))).1, "0");
    assert!(found(calls().tier("some", Policy::per_minute(9).resolution(17))).0.contains("resolution"));
    assert!(found(calls().tier("none", Policy::from_iter([]))).0.starts_with("tier \"none\""));
}

#[test]
fn an_override_for_a_key_that_the_rule_cannot_have_is_a_mistake() {
    let by_key = |rule: Rule| rule.policy(Policy::per_minute(1)).tier("pro", Policy::per_minute(9));
    let by_account = || by_key(Rule::new("calls").every_request().key(key::header("x-account")));
    let by_both = || by_key(Rule::new("calls").every_request().key((key::header("x-account"), key::constant("eu"))));
    let by_closure = by_key(Rule::new("calls").every_request().key(|_: &RequestView<'_>| Some(("a", 1))));
    let by_address = || by_key(Rule::new("calls").every_request().key(key::client_ip()));
    for (rule, value, reason) in [
        (by_account().tier_for(("acme", "orders"), "pro"), r#""acme", "orders""#, "keys of the rule have 1 part"),
        (by_account().tier_for(("acme", "*"), "pro"), r#""acme", "*""#, "keys of the rule have 1 part"),
        (by_both().tier_for("acme*", "pro"), r#""acme*""#, "keys of the rule have 2 parts"),
        (by_both().tier_for(("acme", "us-*"), "pro"), r#""acme", "us-*""#, "this part is always \"eu\""),
        (by_address().tier_for("10.0.0.1", "pro"), r#""10.0.0.1""#, "RateLimiter::set_tier"),
    ] {
        let error = mistake(rule);
        assert_eq!((error.rule(), error.field(), error.value()), (Some("calls"), "tier_for", value));
        assert!(error.reason().contains(reason), "{error}");
    }
    let fine = [by_account().tier_for("*", "pro"), by_both().tier_for(("acme", "e*"), "pro"), by_address()];
    fine.into_iter().chain([by_closure.tier_for(("a", "1", "b"), "pro")]).for_each(|rule| drop(frozen([rule])));
}

#[test]
fn the_tier_of_an_address_is_set_at_run_time() {
    let rule = Rule::new("calls").every_request().key(key::client_ip()).policy(Policy::per_minute(1));
    let limiter = frozen([rule.tier("pro", Policy::per_minute(9))]);
    let address = std::net::Ipv4Addr::new(10, 0, 0, 1);
    limiter.set_tier("calls", address, Some("pro")).unwrap();
    assert_eq!(limiter.rule("calls").unwrap().peek(address).quotas().next().map(|quota| quota.limit()), Some(9));
}

#[test]
fn a_denial_of_one_tier_does_not_answer_for_another_and_waits_stay_true() {
    let (limiter, clock) = limiter([calls()]);
    let handle = limiter.rule("calls").unwrap();
    let pro = handle.in_tier("pro").unwrap();
    assert_eq!(admitted(&limiter, "calls", "ann", 60), 60);
    clock.advance(SECOND * 10);
    // Denials are answered from the cache from the second one on.
    for _ in 0..5 {
        assert!(!handle.admit("ann"));
        assert_eq!(handle.check("ann").retry_after(), Some(SECOND * 50));
        assert!(pro.admit("ann"));
    }
    // Five of pro are in the minute when the sixty leave.
    clock.advance(SECOND * 50);
    assert_eq!((0..100).filter(|_| handle.admit("ann")).count(), 55);
    assert_eq!(handle.check("ann").retry_after(), Some(SECOND * 10));
    // More of pro push the moment back at which free has room.
    for _ in 0..60 {
        assert!(pro.admit("ann"));
    }
    clock.advance(SECOND * 10);
    assert!(!handle.admit("ann"));
    assert_eq!(handle.check("ann").retry_after(), Some(SECOND * 50));
    clock.advance(SECOND * 50);
    assert_eq!((0..100).filter(|_| handle.admit("ann")).count(), 60);
}

#[test]
fn denials_that_count_do_so_for_every_tier() {
    let strict = rule("calls", Policy::per_minute(2).count_denied()).tier("pro", Policy::per_minute(5));
    let (limiter, clock) = limiter([strict]);
    assert_eq!(admitted(&limiter, "calls", "ann", 4), 2);
    set(&limiter, "ann", Some("pro"));
    assert_eq!(admitted(&limiter, "calls", "ann", 9), 1);
    clock.advance(MINUTE);
    assert_eq!(admitted(&limiter, "calls", "ann", 9), 5);
}

#[test]
fn keys_beyond_the_most_share_a_history_that_their_tiers_judge() {
    let rule = rule("calls", Policy::per_minute(2)).tier("pro", Policy::per_minute(5));
    let (limiter, clock) = limiter_for(1, [rule]);
    assert_eq!(admitted(&limiter, "calls", "ann", 9), 2);
    assert_eq!(admitted(&limiter, "calls", "bob", 9), 2);
    set(&limiter, "eve", Some("pro"));
    assert_eq!(admitted(&limiter, "calls", "eve", 9), 3);
    assert_eq!(admitted(&limiter, "calls", "bob", 9), 0);
    clock.advance(MINUTE);
    assert_eq!(admitted(&limiter, "calls", "eve", 9), 5);
}

/// The parts of an alternative that was not found are none of the key's.
#[test]
fn a_pattern_matches_the_parts_of_the_alternative_that_was_found() {
    let source = key::first_of(((key::header("x-region"), key::header("x-team")), key::header("x-account")));
    let rule = Rule::new("calls").every_request().key((key::header("x-plan"), source)).policy(Policy::per_minute(1));
    let rule = rule.tier("pro", Policy::per_minute(9)).tier_for(("beta", "acme-*"), "pro");
    let limiter = frozen([rule]);
    let request = Request::get("/").header("x-plan", "beta").header("x-region", "eu").header("x-account", "acme-1");
    let request = request.body(()).unwrap();
    assert_eq!(limiter.matching(&RequestView::new(&request))[0].tier(), Some("pro"));
}
