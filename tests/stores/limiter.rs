//! The handle: one decision about any number of rules, all or nothing, with waits that are true.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use http::{Request, Response, StatusCode};
use parking_lot::Mutex;
use proptest::{prelude::*, sample::subsequence};
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{
    Decision, OnMissing, Policy, Quota, RateLimiter, Rule,
    clock::{Clock, ManualClock},
    http::RequestView,
    key,
};
use tower_quota_tests::limiter::{admitted, frozen, limiter, remaining, rule, with_rules};

const NANO: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

fn limiter_on(clock: impl Clock, rules: impl IntoIterator<Item = Rule>) -> RateLimiter {
    with_rules(RateLimiter::builder().clock(clock), rules).build().unwrap()
}

fn exhausted(decision: &Decision) -> Vec<String> {
    decision.exhausted().map(|quota| format!("{}/{}", quota.rule(), quota.name())).collect()
}

// The handle.

#[test]
fn a_check_charges_and_a_peek_only_looks() {
    let limiter = frozen([rule("jobs", Policy::per_minute(2).and_per_hour(3))]);
    for _ in 0..5 {
        let peeked = limiter.rule("jobs").unwrap().peek("ann");
        assert!(peeked.is_admitted());
        assert_eq!(remaining(&peeked), [2, 3]);
    }
    assert!(limiter.is_empty());
    assert_eq!(remaining(&limiter.rule("jobs").unwrap().check("ann")), [1, 2]);
    assert_eq!(remaining(&limiter.rule("jobs").unwrap().peek("ann")), [1, 2]);
    assert!(limiter.rule("jobs").unwrap().check("ann").is_admitted());
    let (peeked, checked) = (limiter.rule("jobs").unwrap().peek("ann"), limiter.rule("jobs").unwrap().check("ann"));
    assert_eq!(format!("{peeked:?}"), format!("{checked:?}"));
    assert!(!peeked.is_admitted());
    assert_eq!(exhausted(&peeked), ["jobs/minute"]);
}

#[test]
fn the_length_is_the_number_of_rules_and_keys_that_were_charged() {
    let limiter = frozen([rule("a", Policy::per_minute(1)), rule("b", Policy::per_minute(1))]);
    assert!(limiter.is_empty());
    let _ = limiter.rule("a").unwrap().check("ann");
    let _ = limiter.rule("a").unwrap().check("ann");
    assert_eq!(limiter.len(), 1);
    let _ = limiter.check_all([("a", "bob"), ("b", "bob")]).unwrap();
    assert_eq!(limiter.len(), 3);
    // Denied by "a": nothing is charged, so nothing is kept of carl's twin in "b".
    assert!(!limiter.check_all([("b", "carl"), ("a", "ann")]).unwrap().is_admitted());
    assert_eq!(limiter.len(), 3);
}

#[test]
fn a_reset_forgets_one_rule_of_one_key() {
    let limiter = frozen([rule("a", Policy::per_minute(1)), rule("b", Policy::per_minute(1))]);
    let _ = limiter.check_all([("a", "ann"), ("b", "ann")]).unwrap();
    let _ = limiter.rule("a").unwrap().check("bob");
    assert!(limiter.rule("a").unwrap().reset("ann"));
    assert!(!limiter.rule("a").unwrap().reset("ann"));
    assert_eq!(limiter.len(), 2);
    assert!(!limiter.rule("b").unwrap().check("ann").is_admitted());
    assert!(!limiter.rule("a").unwrap().check("bob").is_admitted());
    assert!(limiter.rule("a").unwrap().check("ann").is_admitted());
    assert!(!limiter.rule("a").unwrap().check("ann").is_admitted());
}

#[test]
fn clones_share_one_state() {
    let limiter = frozen([rule("jobs", Policy::per_minute(2))]);
    assert!(limiter.rule("jobs").unwrap().check("ann").is_admitted());
    assert!(limiter.clone().rule("jobs").unwrap().check("ann").is_admitted());
    assert!(!limiter.rule("jobs").unwrap().check("ann").is_admitted());
}

#[test]
fn rules_are_found_ignoring_case_and_unknown_ones_are_named() {
    let limiter = frozen([rule("Automation.Bot", Policy::per_minute(2))]);
    assert!(limiter.rule("automation.bot").unwrap().check("ann").is_admitted());
    assert!(limiter.rule("AUTOMATION.BOT").unwrap().check("ann").is_admitted());
    let denied = limiter.rule("Automation.bot").unwrap().check("ann");
    assert_eq!(exhausted(&denied), ["Automation.Bot/minute"]);
    assert!(limiter.rule("aUTOMATION.bOT").unwrap().reset("ann"));

    for error in [
        limiter.rule("bots").unwrap_err(),
        limiter.check_all([("automation.bot", "ann"), ("bots", "ann")]).unwrap_err(),
    ] {
        assert_eq!(error.name(), "bots");
        assert_eq!(error.to_string(), "no rule is named \"bots\": the rules are \"Automation.Bot\"");
    }
    // P3: the rule that is known was not charged.
    assert!(limiter.is_empty());
}

#[test]
fn keys_of_one_rule_do_not_share_and_parts_do_not_run_together() {
    let limiter = frozen([rule("tables", Policy::per_minute(1))]);
    for key in [("acme", "orders"), ("acmeo", "rders"), ("", "acmeorders"), ("acmeorders", "")] {
        assert!(limiter.rule("tables").unwrap().check(key).is_admitted(), "{key:?}");
        assert!(!limiter.rule("tables").unwrap().check(key).is_admitted(), "{key:?}");
    }
    assert!(limiter.rule("tables").unwrap().check("acmeorders").is_admitted());
    assert_eq!(limiter.len(), 5);
    assert_eq!(limiter.key(("a", "b")), limiter.key(key::parts(&["a", "b"])));
    assert_ne!(limiter.key(("a", "b")), limiter.key("ab"));
}

#[test]
fn the_rules_that_govern_a_request_are_listed_without_charging() {
    let tables = Rule::new("tables")
        .routes(["GET|PUT /tables/{table}"])
        .key((key::header("x-account"), key::path("table")))
        .level("account+table")
        .policy(Policy::per_minute(600).and_per_hour(18_000));
    let rest =
        Rule::new("rest").unmatched_requests().key(key::constant("all")).level("anyone").policy(Policy::per_minute(9));
    let limiter = frozen([tables, rest]);

    let request = Request::get("/tables/orders").header("x-account", "acme").body(()).unwrap();
    let governing = limiter.matching(&RequestView::new(&request));
    assert_eq!(governing.len(), 1);
    assert_eq!((governing[0].rule(), governing[0].level()), ("tables", "account+table"));
    assert_eq!(governing[0].key(), Some(limiter.key(("acme", "orders"))));
    let quotas: Vec<_> = governing[0].policy().quotas().map(|quota| (quota.limit(), quota.window())).collect();
    assert_eq!(quotas, [(600, MINUTE), (18_000, HOUR)]);

    let anonymous = Request::get("/tables/orders").body(()).unwrap();
    let governing = limiter.matching(&RequestView::new(&anonymous));
    assert_eq!((governing[0].rule(), governing[0].key()), ("tables", None));

    let elsewhere = Request::get("/status").body(()).unwrap();
    let governing = limiter.matching(&RequestView::new(&elsewhere));
    assert_eq!((governing[0].rule(), governing[0].key()), ("rest", Some(limiter.key("all"))));
    assert!(limiter.is_empty());
}

#[test]
fn a_request_under_no_rule_is_admitted_and_one_history_is_charged_once() {
    let limiter = frozen([rule("jobs", Policy::per_minute(3))]);
    let nothing = limiter.check_all::<&str>([]).unwrap();
    assert!(nothing.is_admitted());
    assert_eq!((nothing.quotas().count(), nothing.retry_after(), nothing.message()), (0, None, None));
    assert_eq!(remaining(&limiter.check_all([("jobs", "ann"), ("JOBS", "ann")]).unwrap()), [2]);
    assert_eq!(remaining(&limiter.check_all([("jobs", "ann"), ("jobs", "bob")]).unwrap()), [1, 2]);
}

#[test]
fn each_route_has_its_own_history_if_the_rule_says_so() {
    let of_each = Rule::new("each")
        .routes(["GET /a/{id}", "GET /b/{id}"])
        .key(key::path("id"))
        .policy(Policy::per_minute(2))
        .per_route();
    let of_all =
        Rule::new("all").routes(["GET /c/{id}", "GET /d/{id}"]).key(key::path("id")).policy(Policy::per_minute(2));
    let limiter = frozen([of_each, of_all]);
    let admitted = |path: &str, most: usize| (0..most).filter(|_| status(&limiter, path) == StatusCode::OK).count();
    assert_eq!((admitted("/a/1", 9), admitted("/b/1", 9), admitted("/b/2", 9)), (2, 2, 2));
    assert_eq!((admitted("/c/1", 9), admitted("/d/1", 9), admitted("/d/2", 9)), (2, 0, 2));
    assert_eq!(limiter.len(), 5);
    // A reset reaches every route of the rule.
    assert!(limiter.rule("each").unwrap().reset("1"));
    assert_eq!((admitted("/a/1", 9), admitted("/b/1", 9), admitted("/b/2", 9)), (2, 2, 0));
}

/// What a GET of `path` is answered.
fn status(limiter: &RateLimiter, path: &str) -> StatusCode {
    let request = Request::get(path).body(String::new()).unwrap();
    let service = limiter.layer().layer(service_fn(async |_| Ok::<_, Infallible>(Response::new(String::new()))));
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(service.oneshot(request)).unwrap().status()
}

/// Row F10: that request fails, no lock is poisoned, the others go on.
#[test]
fn a_panicking_extractor_fails_its_own_request_only() {
    let shouting = |request: &RequestView<'_>| match request.uri().path() {
        "/panic" => panic!("as arranged"),
        path => Some(path.to_owned()),
    };
    let paths = Rule::new("paths").every_request().key(shouting).level("path").policy(Policy::per_minute(1));
    let limiter = frozen([rule("all", Policy::per_minute(2)), paths]);
    let panics = std::panic::catch_unwind(AssertUnwindSafe(|| status(&limiter, "/panic")));
    assert!(panics.is_err());
    assert!(limiter.is_empty());
    assert_eq!(status(&limiter, "/a"), StatusCode::OK);
    assert_eq!(status(&limiter, "/a"), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(status(&limiter, "/b"), StatusCode::OK);
}

#[test]
fn requests_without_a_key_share_one_history_pass_or_are_turned_away() {
    let missing = |name: &str, outcome| {
        Rule::new(name)
            .routes([format!("/{name}")])
            .key(key::header("x-account"))
            .level("account")
            .policy(Policy::per_minute(1))
            .on_missing(outcome)
    };
    let rejecting = OnMissing::Reject(StatusCode::UNAUTHORIZED);
    let rules = [missing("share", OnMissing::Share), missing("skip", OnMissing::Skip), missing("reject", rejecting)];
    let (limiter, _) = limiter(rules);
    assert_eq!([status(&limiter, "/share"), status(&limiter, "/share")], [200, 429]);
    assert_eq!([status(&limiter, "/skip"), status(&limiter, "/skip")], [200, 200]);
    assert_eq!([status(&limiter, "/reject"), status(&limiter, "/reject")], [401, 401]);
    assert_eq!(limiter.len(), 1);
    // No key that can be given is that of the requests without one.
    assert!(limiter.rule("share").unwrap().check("").is_admitted());
}

// P3: all or nothing.

/// P3, rows F20 and L3.
#[test]
fn a_rule_that_admits_is_not_charged_when_another_denies() {
    for order in [["a", "b"], ["b", "a"]] {
        let limiter = frozen([rule("a", Policy::per_minute(10)), rule("b", Policy::per_minute(1))]);
        let ask = || limiter.check_all(order.map(|name| (name, "ann"))).unwrap().is_admitted();
        assert_eq!((0..20).filter(|_| ask()).count(), 1);
        assert_eq!(remaining(&limiter.rule("a").unwrap().peek("ann")), [9]);
        assert_eq!(remaining(&limiter.rule("b").unwrap().peek("ann")), [0]);
        assert_eq!(admitted(&limiter, "a", "ann", 20), 9);
    }
}

/// P3, row F21: accepted with nothing left and denied with nothing left are told apart.
#[test]
fn the_last_unit_of_one_rule_does_not_hide_the_exhaustion_of_another() {
    for order in [["a", "b"], ["b", "a"]] {
        let limiter = frozen([rule("a", Policy::per_minute(1)), rule("b", Policy::per_minute(1))]);
        assert!(limiter.rule("b").unwrap().check("ann").is_admitted());
        let denied = limiter.check_all(order.map(|name| (name, "ann"))).unwrap();
        assert!(!denied.is_admitted());
        assert_eq!(exhausted(&denied), ["b/minute"]);
        assert!(limiter.rule("a").unwrap().check("ann").is_admitted());
        let admitted = limiter.rule("a").unwrap().peek("ann");
        assert!(!admitted.is_admitted());
    }
}

#[test]
fn an_admitted_request_that_takes_the_last_unit_names_no_exhausted_quota() {
    let limiter = frozen([rule("a", Policy::per_minute(1).and_per_hour(1))]);
    let decision = limiter.rule("a").unwrap().check("ann");
    assert!(decision.is_admitted());
    assert_eq!((remaining(&decision), exhausted(&decision)), (vec![0, 0], vec![]));
    assert_eq!((decision.retry_after(), decision.message()), (None, None));
    assert_eq!(decision.quotas().map(|quota| quota.reset_after()).collect::<Vec<_>>(), [MINUTE, HOUR]);
}

/// P4: the wait is the longest of all exhausted quotas of all rules.
#[test]
fn every_exhausted_quota_is_named_and_the_longest_wait_is_told() {
    let names = ["a", "b", "c"];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let rules = [
            rule("a", Policy::per_minute(2).and_per_hour(3)),
            rule("b", Policy::per_second(1).and_per_day(100)),
            rule("c", Policy::per_minute(50)),
        ];
        let clock = ManualClock::new();
        let builder = with_rules(RateLimiter::builder().clock(clock.clone()), rules);
        let limiter = builder.message("{rule}: {limit} per {window}, wait {retry_after}").build().unwrap();
        assert!(limiter.rule("a").unwrap().check("ann").is_admitted());
        clock.advance(HOUR - 10 * SECOND);
        assert_eq!(admitted(&limiter, "a", "ann", 2), 2);
        assert_eq!(admitted(&limiter, "b", "ann", 1), 1);
        clock.advance(Duration::from_millis(100));

        let denied = limiter.check_all(order.map(|at| (names[at], "ann"))).unwrap();
        let mut named = exhausted(&denied);
        named.sort();
        assert_eq!(named, ["a/hour", "a/minute", "b/second"]);
        // The hour has room 9.9 s from now, the second in 0.9 s, the minute in 59.9 s.
        assert_eq!(denied.retry_after(), Some(MINUTE - Duration::from_millis(100)));
        assert_eq!(denied.message().as_deref(), Some("a: 2 per 1m, wait 60"));
        let wait = |name: &str| denied.quotas().find(|quota| quota.name() == name).unwrap().reset_after();
        assert_eq!((wait("hour"), wait("second")), (Duration::from_millis(9_900), Duration::from_millis(900)));

        clock.advance(MINUTE - Duration::from_millis(100) - NANO);
        let denied = limiter.check_all(order.map(|at| (names[at], "ann"))).unwrap();
        assert_eq!((exhausted(&denied), denied.retry_after()), (vec!["a/minute".to_owned()], Some(NANO)));
        clock.advance(NANO);
        assert!(limiter.check_all(order.map(|at| (names[at], "ann"))).unwrap().is_admitted());
    }
}

/// P1, P3: while the table lets go of idle histories to make place for a newcomer, it must not let go of one that the
/// same request is about to charge. Both must fall into one shard for that, hence the many tries.
#[test]
fn a_newcomer_does_not_push_out_a_history_that_the_same_request_charges() {
    let (limiter, clock) = limiter([rule("old", Policy::per_minute(2)), rule("new", Policy::per_minute(2))]);
    for number in 0..3000 {
        let (ann, other) = ("ann", format!("key {number}"));
        limiter.rule("old").unwrap().reset(ann);
        let _ = limiter.rule("old").unwrap().check(ann);
        clock.advance(2 * MINUTE);
        let both = limiter.check_all([("old", ann), ("new", &other)]).unwrap();
        assert_eq!((both.is_admitted(), remaining(&both)), (true, vec![1, 1]));
        assert_eq!(remaining(&limiter.rule("old").unwrap().peek(ann)), [1]);
        assert_eq!(remaining(&limiter.rule("new").unwrap().peek(other.as_str())), [1]);
        limiter.rule("new").unwrap().reset(other.as_str());
    }
}

// P5: a denial costs nothing, unless the policy says so.

#[test]
fn a_denied_request_changes_nothing() {
    let (limiter, clock) = limiter([
        rule("a", Policy::per_minute(3).and_per_hour(4)),
        rule("b", Policy::per_minute(1)),
        rule("c", Policy::per_second(10_000)),
    ]);
    let _ = limiter.check_all([("a", "ann"), ("c", "ann")]).unwrap();
    let _ = limiter.rule("b").unwrap().check("ann");
    clock.advance(SECOND / 3);
    let states = || ["a", "b", "c"].map(|name| format!("{:?}", limiter.rule(name).unwrap().peek("ann")));
    let before = states();
    for _ in 0..100 {
        assert!(!limiter.check_all([("a", "ann"), ("b", "ann"), ("c", "ann")]).unwrap().is_admitted());
        assert!(!limiter.rule("b").unwrap().check("ann").is_admitted());
    }
    assert_eq!(states(), before);
}

/// Rows L5 and F22: a client that keeps knocking is not locked out.
#[test]
fn ten_times_the_load_for_ten_windows_gets_ten_times_the_limit() {
    let (limiter, clock) = limiter([rule("calls", Policy::per_minute(30))]);
    let mut total = 0;
    for _ in 0..10 * 300 {
        total += admitted(&limiter, "calls", "ann", 1);
        clock.advance(MINUTE / 300);
    }
    assert_eq!(total, 300);
}

#[test]
fn denials_are_charged_to_the_rules_that_count_them_and_to_no_other() {
    let (limiter, clock) = limiter([
        rule("counting", Policy::per_minute(5).count_denied()),
        rule("lenient", Policy::per_minute(5)),
        rule("narrow", Policy::per_minute(1)),
    ]);
    let all = || limiter.check_all([("lenient", "ann"), ("counting", "ann"), ("narrow", "ann")]).unwrap();
    assert!(all().is_admitted());
    let denied = all();
    assert_eq!(exhausted(&denied), ["narrow/minute"]);
    // What a denial tells is what it leaves, after it was counted itself.
    assert_eq!(remaining(&denied), [4, 3, 0]);
    let left = |name| remaining(&limiter.rule(name).unwrap().peek("ann"))[0];
    assert_eq!((left("lenient"), left("counting"), left("narrow")), (4, 3, 0));
    for _ in 0..3 {
        let _ = all();
    }
    assert_eq!((left("lenient"), left("counting"), left("narrow")), (4, 0, 0));
    assert_eq!(exhausted(&all()), ["counting/minute", "narrow/minute"]);
    clock.advance(MINUTE);
    assert!(all().is_admitted());
}

#[test]
fn a_caller_that_keeps_knocking_stays_out_where_denials_count() {
    let (limiter, clock) = limiter([rule("calls", Policy::per_minute(3).count_denied())]);
    assert_eq!(admitted(&limiter, "calls", "ann", 3), 3);
    for _ in 0..100 {
        clock.advance(10 * SECOND);
        assert_eq!(admitted(&limiter, "calls", "ann", 1), 0);
    }
    clock.advance(MINUTE);
    assert_eq!(admitted(&limiter, "calls", "ann", 4), 3);
}

/// P4 where denials count: the denial itself was charged, so the stated wait must reckon with it. Else who sleeps
/// exactly as long as told is denied and charged again, for ever.
#[test]
fn the_stated_wait_is_true_where_denials_count() {
    for limit in 1..4 {
        let (limiter, clock) = limiter([
            rule("counting", Policy::per_minute(limit).and_per_hour(100).count_denied()),
            rule("other", Policy::per_minute(100)),
        ]);
        for charges in [vec!["counting"], vec!["other", "counting"]] {
            clock.advance(HOUR);
            let ask = || limiter.check_all(charges.iter().map(|name| (*name, "ann"))).unwrap();
            for _ in 0..limit {
                assert!(ask().is_admitted());
                clock.advance(SECOND);
            }
            clock.advance(10 * SECOND);
            let denied = ask();
            clock.advance(denied.retry_after().unwrap() - NANO);
            let peeked = limiter.rule("counting").unwrap().peek("ann");
            assert!(!peeked.is_admitted(), "limit {limit}");
            clock.advance(NANO);
            assert!(ask().is_admitted(), "limit {limit}, told to wait {:?}", denied.retry_after());
        }
    }
}

// Quotas of every kind.

/// Rows F16 and T1.
#[test]
fn n_at_once_then_none_until_a_nanosecond_before_the_window_is_over() {
    for limit in [1, 2, 5, 6, 59, 60, 1000] {
        let (limiter, clock) = limiter([rule("calls", Policy::per_minute(limit))]);
        assert_eq!(admitted(&limiter, "calls", "ann", 1200), limit as usize);
        clock.advance(MINUTE - NANO);
        assert_eq!(admitted(&limiter, "calls", "ann", 3), 0);
        clock.advance(NANO);
        assert_eq!(admitted(&limiter, "calls", "ann", 1200), limit as usize);
    }
}

/// Row F17.
#[test]
fn there_is_no_double_burst_around_the_end_of_a_window() {
    let (limiter, clock) = limiter([rule("calls", Policy::per_minute(60))]);
    clock.advance(Duration::from_millis(59_900));
    assert_eq!(admitted(&limiter, "calls", "ann", 100), 60);
    clock.advance(Duration::from_millis(200));
    assert_eq!(admitted(&limiter, "calls", "ann", 100), 0);
}

/// P1: the hour binds although the minute has room.
#[test]
fn an_exhausted_hour_blocks_while_the_minute_has_room() {
    let (limiter, clock) = limiter([rule("calls", Policy::per_minute(60).and_per_hour(1800))]);
    for _ in 0..30 {
        assert_eq!(admitted(&limiter, "calls", "ann", 70), 60);
        clock.advance(MINUTE);
    }
    let denied = limiter.rule("calls").unwrap().check("ann");
    assert_eq!((exhausted(&denied), remaining(&denied)), (vec!["calls/hour".to_owned()], vec![60, 0]));
    assert_eq!(denied.retry_after(), Some(30 * MINUTE));
    assert!(denied.message().unwrap().starts_with("You've exceeded the hourly rate limit."));
}

/// Row T11.
#[test]
fn a_window_that_is_no_multiple_of_its_limit_does_not_drift() {
    let quota = Quota::new(7, Duration::from_secs(10));
    let (limiter, clock) = limiter([rule("calls", Policy::new(quota))]);
    for _ in 0..20_000 {
        assert_eq!(admitted(&limiter, "calls", "ann", 8), 7);
        clock.advance(Duration::from_secs(10));
    }
}

#[test]
fn spacing_keeps_calls_apart() {
    let (limiter, clock) = limiter([rule("calls", Policy::per_minute(3).spaced_by(Duration::from_millis(200)))]);
    assert!(limiter.rule("calls").unwrap().check("ann").is_admitted());
    let denied = limiter.rule("calls").unwrap().check("ann");
    assert_eq!(exhausted(&denied), ["calls/spacing"]);
    assert_eq!(denied.retry_after(), Some(Duration::from_millis(200)));
    for _ in 0..2 {
        clock.advance(Duration::from_millis(200) - NANO);
        assert_eq!(admitted(&limiter, "calls", "ann", 1), 0);
        clock.advance(NANO);
        assert_eq!(admitted(&limiter, "calls", "ann", 2), 1);
    }
    let denied = limiter.rule("calls").unwrap().check("ann");
    assert_eq!(exhausted(&denied), ["calls/minute", "calls/spacing"]);
    assert_eq!(denied.retry_after(), Some(MINUTE - Duration::from_millis(400)));
}

/// Row F13.
#[test]
fn the_largest_limits_and_longest_windows_count_like_the_others() {
    let huge = |name, window| Quota::new(Quota::MAX_LIMIT, window).named(name);
    let policy = Policy::new(huge("ms", Duration::from_millis(1)))
        .and(huge("second", SECOND))
        .and(huge("century", CENTURY))
        .and(Quota::new(3, CENTURY).named("few"));
    let (limiter, clock) = limiter([rule("huge", policy.clone()), rule("counting", policy.count_denied())]);
    let most = Quota::MAX_LIMIT - 1;
    for name in ["huge", "counting"] {
        assert_eq!(remaining(&limiter.rule(name).unwrap().check("ann")), [most, most, most, 2]);
        assert_eq!(admitted(&limiter, name, "ann", 10), 2);
        clock.advance(CENTURY - NANO);
        assert_eq!(admitted(&limiter, name, "ann", 10), 0);
        let wait = limiter.rule(name).unwrap().check("ann").retry_after().unwrap();
        assert!(wait < CENTURY + Duration::from_millis(1), "{wait:?}");
    }
    clock.advance(CENTURY);
    assert_eq!(admitted(&limiter, "huge", "ann", 10), 3);
    clock.advance(CENTURY);
    assert_eq!(admitted(&limiter, "counting", "ann", 10), 3);
    clock.advance(Duration::MAX);
    for name in ["huge", "counting"] {
        admitted(&limiter, name, "ann", 10);
    }
}

#[test]
fn a_limit_beyond_32_bits_is_counted_unit_by_unit() {
    const LIMIT: u64 = 1 << 40;
    let policy = Policy::per_minute(LIMIT).and_per_hour(u64::from(u32::MAX) + 1);
    for policy in [policy.clone(), policy.count_denied()] {
        let (limiter, clock) = limiter([rule("bytes", policy)]);
        let bytes = limiter.rule("bytes").unwrap();
        for used in 1..=5_000 {
            assert_eq!(remaining(&bytes.check("ann")), [LIMIT - used, (1 << 32) - used]);
        }
        clock.advance(2 * MINUTE);
        assert_eq!(remaining(&bytes.peek("ann")), [LIMIT, (1 << 32) - 5_000]);
        clock.advance(HOUR);
        assert_eq!(remaining(&bytes.peek("ann")), [LIMIT, 1 << 32]);
    }
}

// Clocks, rows F14 and T4.

/// Steps of at most an hour at once, for the rows of a clock that does what it likes.
fn on_each_kind_of_history(test: impl Fn(&RateLimiter, &ManualClock, &str, Duration)) {
    for (policy, longest) in [
        (Policy::per_minute(5), MINUTE),
        (Policy::per_minute(5).and_per_hour(5), HOUR),
        (Policy::new(Quota::new(5, 1000 * HOUR)), 1000 * HOUR),
        (Policy::per_minute(5).and(Quota::new(17, 2 * HOUR)).resolution(16), 2 * HOUR),
    ] {
        let (limiter, clock) = limiter([rule("calls", policy.clone()), rule("twin", policy)]);
        test(&limiter, &clock, "calls", longest);
    }
}

#[test]
fn a_clock_that_steps_back_gives_nothing_away_and_locks_nobody_out() {
    on_each_kind_of_history(|limiter, clock, rule, longest| {
        for back in [SECOND, HOUR, 10 * HOUR] {
            limiter.rule(rule).unwrap().reset("ann");
            clock.set(10 * HOUR);
            assert_eq!(admitted(limiter, rule, "ann", 9), 5);
            clock.set(10 * HOUR - back);
            let denied = limiter.rule(rule).unwrap().check("ann");
            assert!(!denied.is_admitted());
            // Large quotas may be late by a 16th of their window here, twice.
            let wait = denied.retry_after().unwrap();
            assert!(wait <= longest + longest / 8, "{wait:?}");
            clock.advance(wait - NANO);
            assert_eq!(admitted(limiter, rule, "ann", 1), 0);
            clock.advance(NANO);
            assert_eq!(admitted(limiter, rule, "ann", 9), 5);
        }
    });
}

#[test]
fn a_clock_that_stands_still_admits_n_and_no_more() {
    on_each_kind_of_history(|limiter, clock, rule, _| {
        for now in [Duration::ZERO, NANO, HOUR, CENTURY, Duration::MAX] {
            limiter.rule(rule).unwrap().reset("ann");
            clock.set(now);
            assert_eq!(admitted(limiter, rule, "ann", 1000), 5, "{now:?}");
        }
    });
}

#[test]
fn a_jump_of_a_century_is_a_fresh_start_and_the_way_back_is_none() {
    on_each_kind_of_history(|limiter, clock, rule, longest| {
        clock.set(HOUR);
        assert_eq!(admitted(limiter, rule, "ann", 9), 5);
        clock.advance(CENTURY);
        assert_eq!(admitted(limiter, rule, "ann", 9), 5);
        for back in [HOUR, Duration::ZERO] {
            clock.set(back);
            let denied = limiter.rule(rule).unwrap().check("ann");
            assert!(!denied.is_admitted());
            assert!(denied.retry_after().unwrap() <= longest + longest / 8);
        }
        clock.advance(longest + longest / 8);
        assert_eq!(admitted(limiter, rule, "ann", 9), 5);
    });
}

#[test]
fn two_rules_agree_on_one_moment_when_the_clock_steps_back() {
    on_each_kind_of_history(|limiter, clock, _, _| {
        clock.set(10 * HOUR);
        let both = || limiter.check_all([("calls", "ann"), ("twin", "ann")]).unwrap();
        assert_eq!((0..9).filter(|_| both().is_admitted()).count(), 5);
        for back in [9 * HOUR, HOUR, NANO] {
            clock.set(back);
            assert!(!both().is_admitted());
            assert!(!limiter.check_all([("twin", "ann"), ("calls", "ann")]).unwrap().is_admitted());
        }
    });
}

/// P1: a millisecond is rounded at every step back, and that must not add up. Here the clock trembles by 10 us around
/// the end of a millisecond, as it does when threads read clocks of their own.
#[test]
fn a_trembling_clock_gives_nothing_away() {
    for (limit, window) in [(60, MINUTE), (4000, SECOND), (1000, Duration::from_millis(50))] {
        let (limiter, clock) = limiter([rule("calls", Policy::new(Quota::new(limit, window)))]);
        let base = 10 * SECOND;
        let mut total = 0;
        for _ in 0..limit + 1000 {
            clock.set(base + Duration::from_micros(5));
            total += admitted(&limiter, "calls", "ann", 1);
            clock.set(base - Duration::from_micros(5));
            total += admitted(&limiter, "calls", "ann", 1);
        }
        assert_eq!(total, limit as usize);
        // No more than 10 us have passed, whatever was made of them: the units are still there until the window is over.
        clock.set(base + window - Duration::from_micros(50));
        assert_eq!(admitted(&limiter, "calls", "ann", 1), 0, "{limit} per {window:?}");
    }
}

/// A clock that answers as written down, then stands.
#[derive(Clone, Debug, Default)]
struct ScriptedClock {
    readings: Arc<Mutex<(VecDeque<Duration>, Duration)>>,
}

impl ScriptedClock {
    fn then(&self, readings: impl IntoIterator<Item = Duration>) {
        self.readings.lock().0.extend(readings);
    }
}

impl Clock for ScriptedClock {
    fn now(&self) -> Duration {
        let (script, last) = &mut *self.readings.lock();
        *last = script.pop_front().unwrap_or(*last);
        *last
    }
}

/// P1: the clock steps back before a decision and once more in the middle of it.
#[test]
fn a_clock_that_steps_back_during_a_decision_gives_nothing_away() {
    for second in [Duration::ZERO, HOUR - MINUTE] {
        for charges in [vec!["a"], vec!["a", "b"], vec!["b", "a"]] {
            let clock = ScriptedClock::default();
            let limiter = limiter_on(clock.clone(), [rule("a", Policy::per_minute(2)), rule("b", Policy::per_hour(9))]);
            clock.then([HOUR]);
            assert_eq!(admitted(&limiter, "a", "ann", 3), 2);
            clock.then([HOUR - Duration::from_millis(1), second]);
            let decision = limiter.check_all(charges.iter().map(|name| (*name, "ann"))).unwrap();
            assert!(!decision.is_admitted(), "{charges:?} at {second:?}");
            assert!(decision.retry_after().unwrap() <= MINUTE + Duration::from_millis(1));
        }
    }
}

// The promises against the obvious model.

/// Everything admitted under one rule for one key, in whole milliseconds.
#[derive(Clone, Debug, Default)]
struct Log(Vec<u64>);

impl Log {
    /// One at t counts while now < t + window.
    fn counted(&self, quota: &Quota, now: u64) -> Vec<u64> {
        let window = u64::try_from(quota.window().as_millis()).unwrap();
        self.0.iter().copied().filter(|at| at + window > now).collect()
    }
}

/// What a decision says, whatever the order of its rules.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    admitted: bool,
    retry_after: Option<Duration>,
    quotas: BTreeMap<(String, String), (u64, Duration, bool)>,
}

impl Said {
    fn of(decision: &Decision) -> Self {
        let quotas = decision.quotas().map(|quota| {
            let name = (quota.rule().to_owned(), quota.name().into_owned());
            (name, (quota.remaining(), quota.reset_after(), quota.is_exhausted()))
        });
        Self { admitted: decision.is_admitted(), retry_after: decision.retry_after(), quotas: quotas.collect() }
    }
}

/// The rules of a limiter and what they should do.
#[derive(Default)]
struct Model {
    policies: BTreeMap<String, Policy>,
    logs: BTreeMap<(String, String), Log>,
}

impl Model {
    fn decide(&mut self, charges: &[(&str, &str)], now: u64) -> Said {
        let (logs, policies) = (&self.logs, &self.policies);
        let log = |name: &str, key: &str| logs.get(&(name.to_owned(), key.to_owned())).cloned().unwrap_or_default();
        let quotas = || {
            charges.iter().flat_map(|(name, key)| {
                let log = log(name, key);
                policies[*name].quotas().map(move |quota| (*name, quota, log.counted(quota, now)))
            })
        };
        let admitted = quotas().all(|(_, quota, counted)| counted.len() < quota.limit() as usize);
        let mut said = Said { admitted, retry_after: None, quotas: BTreeMap::new() };
        for (name, quota, mut counted) in quotas() {
            if admitted {
                counted.push(now);
            }
            let window = u64::try_from(quota.window().as_millis()).unwrap();
            let oldest = counted.first().map_or(0, |at| at + window - now);
            let is_exhausted = !admitted && counted.len() >= quota.limit() as usize;
            let reset_after = Duration::from_millis(oldest);
            if is_exhausted {
                said.retry_after = said.retry_after.max(Some(reset_after));
            }
            let left = quota.limit() - counted.len() as u64;
            said.quotas.insert((name.to_owned(), quota.name().into_owned()), (left, reset_after, is_exhausted));
        }
        if admitted {
            for (name, key) in charges {
                self.logs.entry(((*name).to_owned(), (*key).to_owned())).or_default().0.push(now);
            }
        }
        said
    }
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const KEYS: [&str; 3] = ["ann", "bob", "a key that is so long that it is kept as a hash"];

fn policies() -> impl Strategy<Value = Vec<Policy>> {
    let quotas = prop::collection::vec((1u64..12, prop_oneof![1u64..50, 50u64..3000]), 1..4);
    let policy = quotas.prop_map(|quotas| {
        let named = |(at, (limit, millis)): (usize, (u64, u64))| {
            Quota::new(limit, Duration::from_millis(millis)).named(format!("q{at}"))
        };
        quotas.into_iter().enumerate().map(named).collect::<Policy>()
    });
    prop::collection::vec(policy, NAMES.len())
}

/// Requests: the pause before each in milliseconds, the rules in an order, and the key of each rule.
fn schedules() -> impl Strategy<Value = Vec<(u64, Vec<usize>, [usize; 4])>> {
    let pause = prop_oneof![6 => Just(0u64), 3 => 0u64..20, 2 => 0u64..400, 1 => 0u64..10_000];
    let rules = subsequence(vec![0, 1, 2, 3], 1..=4).prop_shuffle();
    let keys = [0..KEYS.len(), 0..KEYS.len(), 0..KEYS.len(), 0..KEYS.len()];
    prop::collection::vec((pause, rules, keys), 1..120)
}

fn charges<'a>(rules: &[usize], keys: &[usize; 4]) -> Vec<(&'a str, &'a str)> {
    rules.iter().map(|at| (NAMES[*at], KEYS[keys[*at]])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// P1, P2, P3, P4, P5 at whole milliseconds: verdict, remaining, waits and all.
    #[test]
    fn several_rules_decide_exactly_as_the_model_does(policies in policies(), schedule in schedules()) {
        let (limiter, clock) = limiter(NAMES.iter().zip(&policies).map(|(name, policy)| rule(name, policy.clone())));
        let policies = NAMES.iter().map(|name| (*name).to_owned()).zip(policies).collect();
        let mut model = Model { policies, ..Model::default() };
        let mut now = 0;
        for (pause, rules, keys) in schedule {
            clock.advance(Duration::from_millis(pause));
            now += pause;
            let charges = charges(&rules, &keys);
            let decision = limiter.check_all(charges.iter().copied()).unwrap();
            prop_assert_eq!(Said::of(&decision), model.decide(&charges, now));
        }
    }

    /// P3: the verdict does not depend on the order of the rules, neither in the limiter nor in the request.
    #[test]
    fn the_order_of_the_rules_changes_nothing(
        policies in policies(),
        schedule in schedules(),
        order in Just(vec![0usize, 1, 2, 3]).prop_shuffle(),
    ) {
        let (straight, clock) =
            limiter(NAMES.iter().zip(&policies).map(|(name, policy)| rule(name, policy.clone())));
        let shuffled = limiter_on(clock.clone(), order.iter().map(|at| rule(NAMES[*at], policies[*at].clone())));
        for (pause, rules, keys) in schedule {
            clock.advance(Duration::from_millis(pause) + NANO * u32::try_from(pause).unwrap());
            let mut charges = charges(&rules, &keys);
            let one = straight.check_all(charges.iter().copied()).unwrap();
            charges.sort_by_key(|(name, _)| order.iter().position(|at| NAMES[*at] == *name));
            let other = shuffled.check_all(charges).unwrap();
            prop_assert_eq!(Said::of(&one), Said::of(&other));
        }
    }

    /// P4 and row T7: who sleeps exactly as long as told is admitted, and a nanosecond before is not. P5 on the way.
    #[test]
    fn the_stated_wait_is_exact(policies in policies(), schedule in schedules(), nanos in 0u32..1_000_000) {
        let (limiter, clock) = limiter(NAMES.iter().zip(&policies).map(|(name, policy)| rule(name, policy.clone())));
        clock.advance(NANO * nanos);
        for (pause, rules, keys) in schedule {
            clock.advance(Duration::from_millis(pause) + NANO * (nanos % 977));
            let charges = charges(&rules, &keys);
            let ask = || limiter.check_all(charges.iter().copied()).unwrap();
            let states = || charges.iter().map(|(name, key)| format!("{:?}", limiter.rule(name).unwrap().peek(*key))).collect::<Vec<_>>();
            let before = states();
            let decision = ask();
            let Some(wait) = decision.retry_after() else { continue };
            prop_assert_eq!(before, states());
            prop_assert!(wait > Duration::ZERO);
            clock.advance(wait - NANO);
            let early = ask();
            prop_assert!(!early.is_admitted());
            prop_assert_eq!(early.retry_after(), Some(NANO));
            clock.advance(NANO);
            prop_assert!(ask().is_admitted());
        }
    }

    /// P4 where some rules count denials: true for the last of any number of them.
    #[test]
    fn the_stated_wait_is_exact_where_some_rules_count_denials(
        policies in policies(),
        counting in prop::array::uniform4(prop::bool::ANY),
        schedule in schedules(),
        patience in 1usize..5,
    ) {
        let policies = policies.into_iter().zip(counting);
        let policies = policies.map(|(policy, counting)| if counting { policy.count_denied() } else { policy });
        let (limiter, clock) = limiter(NAMES.iter().zip(policies).map(|(name, policy)| rule(name, policy)));
        for (pause, rules, keys) in schedule {
            clock.advance(Duration::from_millis(pause) + NANO);
            let charges = charges(&rules, &keys);
            let ask = || limiter.check_all(charges.iter().copied()).unwrap();
            let peek = || charges.iter().all(|(name, key)| limiter.rule(name).unwrap().peek(*key).is_admitted());
            let mut decision = ask();
            for _ in 1..patience {
                if !decision.is_admitted() {
                    decision = ask();
                }
            }
            let Some(wait) = decision.retry_after() else { continue };
            prop_assert!(wait > Duration::ZERO);
            clock.advance(wait - NANO);
            prop_assert!(!peek());
            clock.advance(NANO);
            prop_assert!(ask().is_admitted());
        }
    }
}

#[test]
fn a_quota_beside_a_longer_and_smaller_one_is_reported_as_it_is_where_denials_count() {
    let (limiter, clock) = limiter([rule("calls", Policy::per_second(10).and_per_minute(3).count_denied())]);
    let told = |decision: &Decision| {
        let left: Vec<u64> = decision.quotas().map(|quota| quota.remaining()).collect();
        (left, decision.exhausted().map(|quota| quota.name().into_owned()).collect::<Vec<_>>())
    };
    for request in 1..=12u64 {
        let decision = limiter.rule("calls").unwrap().check("ann");
        let (left, exhausted) = told(&decision);
        assert_eq!(left, [10u64.saturating_sub(request), 3u64.saturating_sub(request)]);
        let expected: &[&str] = match request {
            ..=3 => &[],
            4..=9 => &["minute"],
            _ => &["second", "minute"],
        };
        assert_eq!(exhausted, expected, "after {request}");
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!(told(&limiter.rule("calls").unwrap().peek("ann")).0, [10, 0]);
}

#[test]
fn calls_that_are_spread_evenly_and_wait_as_told_get_their_rate() {
    for rate in [60, 100, 200, 500, 1000, 2000] {
        let (limiter, clock) = limiter([rule("calls", Policy::per_second(rate).spread_evenly())]);
        let mut admitted = 0;
        while clock.now() < Duration::from_secs(2) {
            let decision = limiter.rule("calls").unwrap().check("ann");
            admitted += u64::from(decision.is_admitted());
            clock.advance(decision.retry_after().unwrap_or_default() + Duration::from_nanos(311));
        }
        assert!(admitted * 100 >= 2 * rate * 99, "{admitted} in 2 s of {rate}/s");
    }
}
