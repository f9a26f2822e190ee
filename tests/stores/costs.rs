//! Costs and settlements, on the store in memory: each line of the semantics, and a list as the model.

use std::time::Duration;

use http::Request;
use tower_quota::{
    ConfigError, Decision, Policy, Quota, RateLimiter, Reservation, Rule, Unsettled, clock::ManualClock,
    http::RequestView, key,
};
use tower_quota_tests::limiter::{limiter, limiter_for};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn limiter_of(rule: Rule) -> RateLimiter {
    limiter([rule]).0
}

fn tokens(policy: Policy) -> Rule {
    Rule::new("tokens").no_requests().policy(policy)
}

/// Twenty thousand a minute and a hundred thousand a day, reserved two thousand at a time.
fn reserved() -> Rule {
    tokens(Policy::per_minute(20_000).and_per_day(100_000)).reserve("tokens", 2000)
}

fn check(limiter: &RateLimiter, units: u64) -> Decision {
    limiter.rule("tokens").unwrap().check_cost("ann", units).unwrap()
}

fn admitted(limiter: &RateLimiter, units: u64) -> bool {
    check(limiter, units).is_admitted()
}

/// What is left of each quota.
fn left(limiter: &RateLimiter) -> Vec<u64> {
    let decision = limiter.rule("tokens").unwrap().peek("ann");
    decision.quotas().map(|quota| quota.remaining()).collect()
}

/// Reserves units.
fn reserve(limiter: &RateLimiter, units: u64) -> Reservation {
    let decision = check(limiter, units);
    assert!(decision.is_admitted());
    decision.reservation().unwrap().clone()
}

/// The mistake in a rule.
fn mistake(rule: Rule) -> ConfigError {
    RateLimiter::builder().rule(rule).build().unwrap_err()
}

#[test]
fn a_cost_is_admitted_whole_or_not_at_all() {
    let (limiter, clock) = limiter([tokens(Policy::per_minute(10)).cost("tokens", 1)]);
    assert!(admitted(&limiter, 7));
    assert!(!admitted(&limiter, 4));
    assert_eq!(left(&limiter), [3]);
    assert!(admitted(&limiter, 3));
    clock.advance(MINUTE - SECOND);
    assert!(!admitted(&limiter, 1));
    clock.advance(SECOND);
    assert!(admitted(&limiter, 10));
}

#[test]
fn the_wait_is_that_of_the_cost() {
    let (limiter, clock) = limiter([tokens(Policy::per_minute(10)).cost("tokens", 1)]);
    for units in [4, 3, 3] {
        assert!(admitted(&limiter, units));
        clock.advance(SECOND * 10);
    }
    let wait = |units| check(&limiter, units).retry_after().unwrap();
    assert_eq!([1, 4, 5, 7, 8, 10].map(wait), [30, 30, 40, 40, 50, 50].map(|seconds| SECOND * seconds));
}

#[test]
fn a_small_request_may_pass_while_a_large_one_is_refused() {
    let (limiter, _) = limiter([tokens(Policy::per_minute(10)).cost("tokens", 1)]);
    assert!(admitted(&limiter, 6));
    assert!(!admitted(&limiter, 5));
    assert!(admitted(&limiter, 4));
}

#[test]
fn a_cost_above_a_limit_is_never_possible_and_tells_no_wait() {
    let (limiter, _) = limiter([tokens(Policy::per_minute(100).and_per_hour(50)).cost("tokens", 1)]);
    let decision = check(&limiter, 51);
    assert!(!decision.is_admitted() && decision.is_never_possible());
    assert_eq!(decision.retry_after(), None);
    let text = "This request costs 51 tokens; at most 50 are admitted per hour.";
    assert_eq!(decision.message().as_deref(), Some(text));
    assert_eq!(left(&limiter), [100, 50]);
    assert!(!check(&limiter, u64::MAX).is_admitted());
    assert!(admitted(&limiter, 50));
}

#[test]
fn a_cost_of_nothing_is_recorded_nowhere_and_denied_only_in_debt() {
    let (limiter, clock) = limiter([tokens(Policy::per_minute(10)).cost("tokens", 1)]);
    assert!(admitted(&limiter, 0) && limiter.is_empty());
    assert!(admitted(&limiter, 10));
    assert!(admitted(&limiter, 0));

    clock.advance(MINUTE);

    let owed = limiter_of(tokens(Policy::per_minute(10)).reserve("tokens", 1));
    reserve(&owed, 10).settle("tokens", 11);
    assert_eq!(check(&owed, 0).exhausted().count(), 1);
}

#[test]
fn what_was_too_much_is_given_back_to_every_window_that_counts_it() {
    let (limiter, clock) = limiter([reserved()]);
    let reservation = reserve(&limiter, 2000);
    assert_eq!(left(&limiter), [18_000, 98_000]);
    clock.advance(SECOND * 30);
    reservation.settle("tokens", 300);
    assert_eq!(left(&limiter), [19_700, 99_700]);
    clock.advance(SECOND * 30);
    assert_eq!(left(&limiter), [20_000, 99_700]);
}

#[test]
fn the_day_gets_back_what_the_minute_has_forgotten() {
    let (limiter, clock) = limiter([reserved()]);
    let reservation = reserve(&limiter, 2000);
    clock.advance(MINUTE);
    assert!(admitted(&limiter, 500));
    reservation.settle("tokens", 0);
    assert_eq!(left(&limiter), [19_500, 99_500]);
}

#[test]
fn nothing_is_given_back_when_all_windows_have_passed() {
    let (limiter, clock) = limiter([reserved()]);
    let reservation = reserve(&limiter, 2000);
    clock.advance(HOUR * 24);
    assert!(admitted(&limiter, 500));
    reservation.settle("tokens", 0);
    assert_eq!(left(&limiter), [19_500, 99_500]);
}

#[test]
fn what_was_too_little_is_owed_from_its_settlement_on() {
    let (limiter, clock) = limiter([reserved()]);
    let reservation = reserve(&limiter, 2000);
    clock.advance(SECOND * 30);
    reservation.settle("tokens", 25_000);
    assert_eq!(left(&limiter), [0, 75_000]);
    let denied = check(&limiter, 1);
    // 23,000 are in the minute even when the estimate has left, 5000 more than there is room for beside one unit.
    assert_eq!(denied.retry_after(), Some(MINUTE));
    clock.advance(MINUTE);
    assert_eq!(left(&limiter), [20_000, 75_000]);
}

#[test]
fn a_long_stream_with_a_small_estimate_owes_what_it_cost() {
    let (limiter, clock) = limiter([reserved()]);
    let reservation = reserve(&limiter, 100);
    clock.advance(SECOND * 90);
    reservation.settle("tokens", 19_000);
    assert_eq!(left(&limiter), [1100, 81_000]);
}

#[test]
fn the_first_settlement_counts_and_no_other() {
    let (limiter, _) = limiter([reserved()]);
    let reservation = reserve(&limiter, 2000);
    let clone = reservation.clone();
    reservation.settle("tokens", 500);
    clone.settle("tokens", 0);
    reservation.settle("tokens", 90_000);
    reservation.settle("bytes", 0);
    assert_eq!(left(&limiter), [19_500, 99_500]);
}

#[test]
fn what_nobody_settles_counts_as_the_rule_says() {
    let unsettled = |rule: Rule| {
        let (limiter, _) = limiter([rule]);
        reserve(&limiter, 2000).observe("tokens", 300);
        left(&limiter)[0]
    };
    assert_eq!(unsettled(reserved()), 18_000);
    assert_eq!(unsettled(reserved().unsettled(Unsettled::Observed)), 19_700);
    assert_eq!(unsettled(reserved().unsettled(Unsettled::Release)), 20_000);
    let (limiter, _) = limiter([reserved().unsettled(Unsettled::Observed)]);
    drop(reserve(&limiter, 2000));
    assert_eq!(left(&limiter)[0], 18_000, "nothing was observed");
}

#[test]
fn observations_replace_each_other_or_add_up() {
    let (limiter, _) = limiter([reserved().unsettled(Unsettled::Observed)]);
    let reservation = reserve(&limiter, 2000);
    reservation.observe("tokens", 300);
    reservation.observe("tokens", 200);
    reservation.observe_more("tokens", 50);
    assert_eq!(left(&limiter)[0], 18_000, "it changes nothing before the end");
    drop(reservation);
    assert_eq!(left(&limiter)[0], 19_750);
}

#[test]
fn nothing_is_given_back_after_a_reset_and_the_overrun_alone_is_owed() {
    let (limiter, _) = limiter([reserved()]);
    let (lower, higher) = (reserve(&limiter, 2000), reserve(&limiter, 2000));
    assert!(limiter.rule("tokens").unwrap().reset("ann"));
    assert!(admitted(&limiter, 700));
    lower.settle("tokens", 0);
    assert_eq!(left(&limiter)[0], 19_300);
    higher.settle("tokens", 2500);
    assert_eq!(left(&limiter)[0], 18_800);

    let last = reserve(&limiter, 2000);
    assert!(limiter.rule("tokens").unwrap().reset("ann"));
    last.settle("tokens", 2500);
    assert_eq!(left(&limiter)[0], 19_500, "the history did not exist any more");
}

#[test]
fn nothing_is_given_back_after_the_clock_stepped_back() {
    let clock = ManualClock::new();
    clock.advance(HOUR);
    let limiter: RateLimiter = RateLimiter::builder().clock(clock.clone()).rule(reserved()).build().unwrap();
    let reservation = reserve(&limiter, 2000);
    clock.set(MINUTE * 50);
    assert!(admitted(&limiter, 100));
    reservation.settle("tokens", 0);
    assert_eq!(left(&limiter)[0], 17_900);
}

#[test]
fn two_reservations_of_one_moment_take_their_own_units_alone() {
    let (limiter, _) = limiter([reserved()]);
    let (first, second) = (reserve(&limiter, 2000), reserve(&limiter, 2000));
    first.settle("tokens", 100);
    assert_eq!(left(&limiter)[0], 17_900);
    second.settle("tokens", 0);
    assert_eq!(left(&limiter)[0], 19_900);
}

#[test]
fn further_units_are_part_of_the_reservation() {
    let (limiter, _) = limiter([reserved()]);
    let reservation = reserve(&limiter, 2000);
    assert!(reservation.reserve_more("tokens", 3000).unwrap().is_admitted());
    assert_eq!((reservation.reserved("tokens"), left(&limiter)[0]), (5000, 15_000));
    assert!(!reservation.reserve_more("tokens", 15_001).unwrap().is_admitted());
    assert_eq!(reservation.reserved("tokens"), 5000);
    reservation.settle("tokens", 2500);
    assert_eq!((reservation.reserved("tokens"), left(&limiter)[0]), (0, 17_500));
    assert!(reservation.reserve_more("tokens", 1).is_err(), "it is settled");
}

#[test]
fn a_cost_is_settled_in_the_rules_of_all_its_keys_at_once() {
    let rules = [
        tokens(Policy::per_minute(20_000)).reserve("tokens", 2000),
        Rule::new("org").no_requests().policy(Policy::per_minute(50_000)).reserve("tokens", 2000),
        Rule::new("requests").no_requests().policy(Policy::per_minute(60)),
    ];
    let (limiter, _) = limiter(rules);
    let decision = limiter.check_all([("tokens", "ann"), ("org", "acme"), ("requests", "ann")]).unwrap();
    decision.reservation().unwrap().settle("tokens", 150);
    let left = |rule, key| limiter.rule(rule).unwrap().peek(key).quotas().next().unwrap().remaining();
    assert_eq!([left("tokens", "ann"), left("org", "acme"), left("requests", "ann")], [19_850, 49_850, 59]);
}

#[test]
fn a_denial_by_one_rule_charges_no_cost_to_the_others() {
    let rules = [
        tokens(Policy::per_minute(20_000)).cost("tokens", 15_000),
        Rule::new("requests").no_requests().policy(Policy::per_minute(60)),
    ];
    let (limiter, _) = limiter(rules);
    let ask = || limiter.check_all([("tokens", "ann"), ("requests", "ann")]).unwrap();
    assert!(ask().is_admitted());
    let denied = ask();
    assert!(!denied.is_admitted());
    assert_eq!(
        denied.exhausted().map(|quota| (quota.rule().to_owned(), quota.cost())).collect::<Vec<_>>(),
        [("tokens".to_owned(), 15_000)]
    );
    let requests = limiter.rule("requests").unwrap().peek("ann");
    assert_eq!(requests.quotas().next().unwrap().remaining(), 59);
}

#[test]
fn a_denial_that_units_in_flight_alone_cause_says_so() {
    let (limiter, clock) = limiter([reserved()]);
    let reservation = reserve(&limiter, 12_000);
    assert!(admitted(&limiter, 5000));
    let denied = check(&limiter, 4000);
    let minute = denied.exhausted().next().unwrap();
    assert!(minute.is_held());
    assert_eq!(denied.retry_after(), Some(MINUTE), "the wait is true");
    reservation.settle("tokens", 12_000);
    assert!(!check(&limiter, 4000).exhausted().next().unwrap().is_held());
    clock.advance(MINUTE);

    let _flight = reserve(&limiter, 12_000);
    clock.advance(SECOND * 61);
    reserve(&limiter, 20_000).settle("tokens", 20_000);
    let denied = check(&limiter, 1);
    assert!(!denied.exhausted().next().unwrap().is_held(), "what is in flight has left the minute");
}

#[test]
fn a_reload_and_a_change_of_tier_settle_the_history_that_was_charged() {
    let rule = || reserved().tier("pro", Policy::per_minute(200_000).and_per_day(1_000_000));
    let (limiter, clock) = limiter([rule()]);
    let (first, second) = (reserve(&limiter, 2000), reserve(&limiter, 2000));
    limiter.set_tier("tokens", "ann", Some("pro")).unwrap();
    first.settle("tokens", 0);
    assert_eq!(left(&limiter)[0], 198_000);
    limiter.set_tier("tokens", "ann", None).unwrap();
    let wider = tokens(Policy::per_minute(30_000).and_per_hour(50_000)).reserve("tokens", 2000);
    limiter.reload(|builder| Ok(builder.rule(wider))).unwrap();
    assert_eq!(left(&limiter), [28_000, 48_000]);
    clock.advance(SECOND);
    second.settle("tokens", 400);
    assert_eq!(left(&limiter), [29_600, 49_600]);
}

#[test]
fn a_rule_that_is_gone_is_settled_where_it_was_charged() {
    let (limiter, _) = limiter([reserved()]);
    let reservation = reserve(&limiter, 2000);
    let other = Rule::new("other").no_requests().policy(Policy::per_minute(1));
    limiter.reload(|builder| Ok(builder.rule(other))).unwrap();
    reservation.settle("tokens", 100);
    limiter.reload(|builder| Ok(builder.rule(reserved()))).unwrap();
    assert_eq!(left(&limiter), [19_900, 99_900]);
}

#[test]
fn a_rule_that_gains_a_cost_keeps_what_was_counted() {
    let requests = || tokens(Policy::per_minute(100).and_per_hour(10_000));
    let (limiter, _) = limiter([requests()]);
    let handle = limiter.rule("tokens").unwrap();
    assert_eq!((0..40).filter(|_| handle.admit("ann")).count(), 40);
    limiter.reload(|builder| Ok(builder.rule(requests().cost("points", 1)))).unwrap();
    assert_eq!(left(&limiter), [60, 9960]);
    assert!(!admitted(&limiter, 61) && admitted(&limiter, 60));
    limiter.reload(|builder| Ok(builder.rule(requests()))).unwrap();
    assert_eq!(left(&limiter), [0, 9900]);
}

#[test]
fn in_a_full_table_the_shared_history_is_charged_and_gives_nothing_back() {
    let (limiter, clock) = limiter_for(1, [reserved()]);
    let handle = limiter.rule("tokens").unwrap();
    assert!(handle.check_cost("filler", 1).unwrap().is_admitted());
    let reservation = reserve(&limiter, 15_000);
    assert!(!handle.check_cost("bob", 6000).unwrap().is_admitted());
    reservation.settle("tokens", 0);
    assert!(!handle.check_cost("bob", 6000).unwrap().is_admitted());
    clock.advance(MINUTE);
    assert!(handle.check_cost("bob", 6000).unwrap().is_admitted());
}

#[test]
fn in_a_full_table_a_debt_is_owed_all_the_same() {
    let (limiter, _) = limiter_for(1, [reserved()]);
    assert!(limiter.rule("tokens").unwrap().check_cost("filler", 1).unwrap().is_admitted());
    let reservation = reserve(&limiter, 100);
    assert!(reservation.reserve_more("tokens", 900).unwrap().is_admitted());
    assert_eq!(reservation.reserved("tokens"), 1000);
    reservation.settle("tokens", 20_000);
    assert!(!admitted(&limiter, 1));
}

/// The shared history has the shape of the newer rules already, and the key's own has not.
#[test]
fn a_debt_is_recorded_though_another_history_was_given_a_newer_shape() {
    let (limiter, _) = limiter_for(1, [reserved()]);
    let reservation = reserve(&limiter, 100);
    let wider = tokens(Policy::per_minute(20_000).and_per_hour(50_000)).reserve("tokens", 2000);
    limiter.reload(|builder| Ok(builder.rule(wider))).unwrap();
    assert!(limiter.rule("tokens").unwrap().check_cost("bob", 1).unwrap().is_admitted());
    reservation.settle("tokens", 15_000);
    assert_eq!(left(&limiter), [5000, 35_000]);
}

#[test]
fn a_debt_counts_in_full_where_the_rule_has_lost_its_costs() {
    let requests = || tokens(Policy::per_minute(1000));
    let (limiter, _) = limiter([requests().reserve("tokens", 1)]);
    let reservation = reserve(&limiter, 10);
    limiter.reload(|builder| Ok(builder.rule(requests()))).unwrap();
    reservation.settle("tokens", 310);
    assert_eq!(left(&limiter), [690]);
}

#[test]
fn a_debt_counts_in_full_in_a_full_table_where_the_rule_has_lost_its_costs() {
    let requests = || tokens(Policy::per_minute(1000));
    let (limiter, _) = limiter_for(1, [requests().reserve("tokens", 1)]);
    assert!(limiter.rule("tokens").unwrap().check_cost("filler", 1).unwrap().is_admitted());
    let reservation = reserve(&limiter, 10);
    limiter.reload(|builder| Ok(builder.rule(requests()))).unwrap();
    reservation.settle("tokens", 310);
    assert_eq!(left(&limiter), [690]);
}

#[test]
fn what_is_only_asked_for_stays_charged_whatever_counts_if_nobody_settles() {
    let rule = || tokens(Policy::per_minute(10)).reserve("tokens", 4).unsettled(Unsettled::Release);
    let limiter = limiter_of(rule());
    let handle = limiter.rule("tokens").unwrap();
    assert_eq!([handle.admit("ann"), handle.admit("ann"), handle.admit("ann")], [true, true, false]);
    assert!(handle.admit_cost("bob", 7).unwrap() && !handle.admit_cost("bob", 7).unwrap());
    let all = || limiter.admit_all([("tokens", "carl")]).unwrap();
    assert_eq!([all(), all(), all()], [true, true, false]);
}

#[test]
fn of_several_handles_that_take_a_reservation_the_first_settles_it() {
    let (limiter, _) = limiter([reserved().unsettled(Unsettled::Release)]);
    let reservation = reserve(&limiter, 2000);
    let (first, second) = (reservation.take(), reservation.take());
    drop((second, reservation));
    assert_eq!(left(&limiter)[0], 18_000);
    drop(first);
    assert_eq!(left(&limiter)[0], 20_000);
}

/// The router behind may read the path either way.
#[test]
fn a_path_that_reads_as_two_routes_costs_what_the_dearer_one_does() {
    let rule = Rule::new("cases")
        .routes(["GET /cases/{id}"])
        .routes_costing(10, ["GET /cases/export"])
        .key(key::constant("all"))
        .policy(Policy::per_minute(100))
        .cost("points", 1);
    let limiter = limiter_of(rule);
    for (path, cost) in [("/cases/7", 1), ("/cases/export", 10), ("/cases/%65xport", 10)] {
        let request = Request::get(path).body(()).unwrap();
        let decision = limiter.check_request(&RequestView::new(&request)).unwrap();
        assert_eq!(decision.quotas().map(|quota| quota.cost()).collect::<Vec<_>>(), [cost], "{path}");
    }
}

#[test]
fn a_limit_of_hundreds_of_terabytes_is_counted() {
    let (limiter, _) = limiter([tokens(Policy::per_hour(Quota::MAX_LIMIT)).cost("bytes", 1)]);
    assert!(admitted(&limiter, Quota::MAX_LIMIT - 1));
    assert!(!admitted(&limiter, 2) && admitted(&limiter, 1));
}

#[test]
fn mistakes_about_costs_are_refused() {
    let minute = || tokens(Policy::per_minute(10));
    let refused = |rule: Rule| {
        let error = mistake(rule);
        (error.field().to_owned(), error.value().to_owned())
    };
    let pair = |field: &str, value: &str| (field.to_owned(), value.to_owned());
    assert_eq!(refused(minute().cost("tokens", 11)), pair("cost", "11"));
    assert_eq!(refused(minute().cost("a b", 1)).0, "unit");
    assert_eq!(refused(minute().tier("more", Policy::per_minute(11)).cost("tokens", 12)), pair("cost", "12"));
    limiter_of(minute().tier("more", Policy::per_minute(12)).cost("tokens", 12));
    assert_eq!(refused(minute().unsettled(Unsettled::Keep)).0, "unsettled");
    assert_eq!(refused(tokens(Policy::per_minute(10).count_denied()).reserve("tokens", 1)).0, "count_denied");
    let counted = minute().reserve("tokens", 1).count_only(tower_quota::outcome::failures());
    assert_eq!(refused(counted).0, "count_only");
    let spaced = tokens(Policy::per_minute(10).spread_evenly());
    assert_eq!(refused(spaced.cost("tokens", 2)), pair("cost", "2"));
}

#[test]
fn a_rule_that_counts_requests_knows_no_other_cost() {
    let (limiter, _) = limiter([tokens(Policy::per_minute(10))]);
    let handle = limiter.rule("tokens").unwrap();
    assert_eq!(handle.check_cost("ann", 2).unwrap_err().rule(), "tokens");
    assert!(handle.admit_cost("ann", 1).is_err() && handle.peek_cost("ann", 1).is_err());
}
