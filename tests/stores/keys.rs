//! Many keys: memory is bounded, nothing live is forgotten, and crowding the table is no way around a limit.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use tower_quota::{Decision, Policy, Quota, RateLimiter};
use tower_quota_tests::limiter::{admitted, limiter_for, rule};

const NANO: Duration = Duration::from_nanos(1);
const MINUTE: Duration = Duration::from_secs(60);

fn is_admitted(limiter: &RateLimiter, rule: &str, key: &str) -> bool {
    limiter.rule(rule).unwrap().check(key).is_admitted()
}

fn remaining(decision: &Decision) -> u64 {
    decision.quotas().map(|quota| quota.remaining()).min().unwrap()
}

/// Gives every place in the table to a key of its own, one unit each.
fn fill(limiter: &RateLimiter, rule: &str, places: usize) {
    for number in 0..places {
        assert!(is_admitted(limiter, rule, &format!("filler {number}")));
    }
    assert_eq!(limiter.len(), places);
}

// The cap.

/// P6, rows F05 and A4.
#[test]
fn half_a_million_keys_leave_no_more_than_the_cap() {
    const CAP: usize = 10_000;
    let (limiter, clock) = limiter_for(CAP, [rule("calls", Policy::per_second(5))]);
    let mut most = 0;
    for number in 0..500_000u32 {
        let _ = limiter.rule("calls").unwrap().check(number.to_string());
        most = most.max(limiter.len());
        if number.is_multiple_of(20) {
            clock.advance(Duration::from_millis(1));
        }
    }
    assert_eq!(most, CAP);
}

/// P6, rows F06 and A5.
#[test]
fn an_exhausted_key_stays_exhausted_through_a_flood_of_others() {
    let (limiter, clock) = limiter_for(100, [rule("calls", Policy::per_minute(3))]);
    assert_eq!(admitted(&limiter, "calls", "ann", 5), 3);
    clock.advance(MINUTE / 2);
    for number in 0..10_000u32 {
        let _ = limiter.rule("calls").unwrap().check(number.to_string());
        clock.advance(Duration::from_millis(2));
    }
    assert!(!is_admitted(&limiter, "calls", "ann"));
    assert_eq!(limiter.len(), 100);
    clock.advance(MINUTE / 2);
    assert_eq!(admitted(&limiter, "calls", "ann", 5), 3);
}

#[test]
fn a_denied_newcomer_takes_no_place() {
    let (limiter, _) = limiter_for(3, [rule("calls", Policy::per_minute(5)), rule("closed", Policy::per_minute(1))]);
    assert!(is_admitted(&limiter, "closed", "ann"));
    for number in 0..100u32 {
        let key = number.to_string();
        assert!(!limiter.check_all([("calls", &*key), ("closed", "ann")]).unwrap().is_admitted());
        assert!(!limiter.check_all([("closed", "ann"), ("calls", &*key)]).unwrap().is_admitted());
    }
    assert_eq!(limiter.len(), 1);
    assert_eq!(admitted(&limiter, "calls", "bob", 9), 5);
    assert_eq!(admitted(&limiter, "calls", "carl", 9), 5);
    assert_eq!(limiter.len(), 3);
}

#[test]
fn a_limiter_of_one_place_serves_one_key_and_the_rest_together() {
    let (limiter, clock) = limiter_for(1, [rule("calls", Policy::per_minute(4))]);
    for _ in 0..3 {
        assert_eq!(admitted(&limiter, "calls", "ann", 9), 4);
        assert_eq!(admitted(&limiter, "calls", "bob", 3), 3);
        assert_eq!(admitted(&limiter, "calls", "carl", 3), 1);
        assert_eq!(limiter.len(), 1);
        clock.advance(MINUTE);
    }
    assert!(limiter.rule("calls").unwrap().reset("ann"));
    assert!(limiter.is_empty());
    clock.advance(MINUTE);
    assert_eq!(admitted(&limiter, "calls", "bob", 9), 4);
    assert_eq!(limiter.len(), 1);
}

// The shared history of those who find the table full.

/// P1, P6.
#[test]
fn newcomers_to_a_full_table_share_one_history_per_rule() {
    let (limiter, clock) = limiter_for(10, [rule("calls", Policy::per_minute(5)), rule("twin", Policy::per_minute(2))]);
    fill(&limiter, "calls", 10);
    clock.advance(MINUTE / 4);
    let of_all = |rule: &str| (0..100u32).filter(|number| is_admitted(&limiter, rule, &number.to_string())).count();
    assert_eq!((of_all("calls"), of_all("twin")), (5, 2));
    assert_eq!(limiter.len(), 10);
    // P4: the wait is that of the shared history.
    let denied = limiter.rule("calls").unwrap().check("late");
    assert_eq!(denied.retry_after(), Some(MINUTE));
    assert_eq!(remaining(&denied), 0);
    // Who has a place does not notice.
    for number in 0..10 {
        assert_eq!(admitted(&limiter, "calls", &format!("filler {number}"), 9), 4);
    }
}

/// P3 at the cap.
#[test]
fn an_exhausted_shared_history_denies_the_whole_request() {
    let (limiter, _) = limiter_for(2, [rule("a", Policy::per_minute(5)), rule("b", Policy::per_minute(5))]);
    assert!(limiter.check_all([("a", "ann"), ("b", "ann")]).unwrap().is_admitted());
    assert_eq!(admitted(&limiter, "b", "bob", 9), 5);
    for order in [[("a", "carl"), ("b", "carl")], [("b", "carl"), ("a", "carl")], [("a", "ann"), ("b", "carl")]] {
        let denied = limiter.check_all(order).unwrap();
        assert!(!denied.is_admitted());
        assert_eq!(denied.exhausted().map(|quota| quota.rule()).collect::<Vec<_>>(), ["b"]);
    }
    assert_eq!(remaining(&limiter.rule("a").unwrap().peek("ann")), 4);
    assert_eq!(remaining(&limiter.rule("a").unwrap().peek("carl")), 5);
}

/// P4 in the shared history.
#[test]
fn the_shared_history_drains_after_the_window() {
    let (limiter, clock) = limiter_for(2, [rule("calls", Policy::per_minute(3))]);
    fill(&limiter, "calls", 2);
    clock.advance(MINUTE / 2);
    assert_eq!(admitted(&limiter, "calls", "ann", 9), 3);
    let wait = limiter.rule("calls").unwrap().check("bob").retry_after().unwrap();
    assert_eq!(wait, MINUTE);
    clock.advance(wait - NANO);
    assert!(!is_admitted(&limiter, "calls", "bob"));
    assert!(!is_admitted(&limiter, "calls", "ann"));
    clock.advance(NANO);
    assert_eq!(admitted(&limiter, "calls", "bob", 9), 3);
}

/// P1: what a key was admitted in the shared history counts when it gets a place of its own.
#[test]
fn moving_from_the_shared_history_into_a_place_frees_nothing() {
    for spent in 1..=4 {
        for pause in [Duration::ZERO, MINUTE / 3, MINUTE - NANO] {
            let (limiter, clock) = limiter_for(3, [rule("calls", Policy::per_minute(4))]);
            fill(&limiter, "calls", 3);
            assert_eq!(admitted(&limiter, "calls", "ann", spent), spent);
            assert!(limiter.rule("calls").unwrap().reset("filler 1"));
            clock.advance(pause);
            assert_eq!(admitted(&limiter, "calls", "ann", 9), 4 - spent, "{spent} spent, {pause:?} later");
            assert_eq!(remaining(&limiter.rule("calls").unwrap().peek("ann")), 0);
            let wait = limiter.rule("calls").unwrap().check("ann").retry_after().unwrap();
            assert!(wait < MINUTE + Duration::from_millis(1));
            clock.advance(wait);
            assert!(is_admitted(&limiter, "calls", "ann"));
        }
    }
}

/// P1, the same when nobody resets anything and the places become free because their keys are idle.
#[test]
fn units_of_the_shared_history_count_until_they_leave_the_window() {
    let (limiter, clock) =
        limiter_for(2000, [rule("calls", Policy::per_minute(4)), rule("other", Policy::per_minute(4))]);
    assert!(is_admitted(&limiter, "other", "driver"));
    fill_rest(&limiter, 2000);
    clock.advance(MINUTE / 2);
    assert_eq!(admitted(&limiter, "calls", "ann", 3), 3);
    clock.advance(MINUTE / 2);
    drive(&limiter, "other", "driver");
    assert!(limiter.len() < 100, "{}", limiter.len());
    // Ann's own place now, in which one unit is left for her.
    let length = limiter.len();
    assert_eq!(admitted(&limiter, "calls", "ann", 9), 1);
    assert_eq!(limiter.len(), length + 1);
    clock.advance(MINUTE / 2 - NANO);
    assert_eq!(admitted(&limiter, "calls", "ann", 9), 0);
    clock.advance(NANO);
    assert_eq!(admitted(&limiter, "calls", "ann", 9), 3);
    clock.advance(MINUTE / 2);
    assert_eq!(admitted(&limiter, "calls", "ann", 9), 1);
    clock.advance(MINUTE);
    assert_eq!(admitted(&limiter, "calls", "ann", 9), 4);
}

fn fill_rest(limiter: &RateLimiter, places: usize) {
    for number in limiter.len()..places {
        assert!(is_admitted(limiter, "calls", &format!("filler {number}")));
    }
    assert_eq!(limiter.len(), places);
}

/// Enough traffic of one key for everything to be looked at.
fn drive(limiter: &RateLimiter, rule: &str, key: &str) {
    for _ in 0..64 * 256 * 4 {
        let _ = limiter.rule(rule).unwrap().check(key);
    }
}

/// P5: who has moved out of the shared history and is denied pays nothing for it, nor do the others.
#[test]
fn a_denial_because_of_the_shared_history_costs_nothing() {
    let (limiter, clock) = limiter_for(1, [rule("calls", Policy::per_minute(3))]);
    fill(&limiter, "calls", 1);
    assert_eq!(admitted(&limiter, "calls", "ann", 9), 3);
    assert!(limiter.rule("calls").unwrap().reset("filler 0"));
    for _ in 0..50 {
        assert!(!is_admitted(&limiter, "calls", "ann"));
        assert!(!is_admitted(&limiter, "calls", "bob"));
    }
    assert!(limiter.is_empty());
    clock.advance(MINUTE);
    assert_eq!(admitted(&limiter, "calls", "ann", 9), 3);
}

/// P4: newcomers after a flood are told when they would be admitted, neither sooner nor later.
#[test]
fn a_newcomer_after_the_flood_waits_no_longer_than_for_one_unit() {
    let (limiter, clock) = limiter_for(1, [rule("calls", Policy::per_minute(3))]);
    fill(&limiter, "calls", 1);
    for key in ["ann", "bob", "carl"] {
        assert!(is_admitted(&limiter, "calls", key));
        clock.advance(MINUTE / 6);
    }
    assert!(limiter.rule("calls").unwrap().reset("filler 0"));
    let denied = limiter.rule("calls").unwrap().check("dora");
    clock.advance(MINUTE / 2 - NANO);
    assert!(!limiter.rule("calls").unwrap().peek("dora").is_admitted());
    clock.advance(NANO);
    assert!(limiter.rule("calls").unwrap().peek("dora").is_admitted());
    assert_eq!(denied.retry_after(), Some(MINUTE / 2));
}

// Idle keys.

/// Row T12: the sweep takes its turns with the traffic, and no call pays for all of it.
#[test]
fn idle_keys_disappear_a_few_at_a_time_with_further_traffic() {
    let (limiter, clock) =
        limiter_for(10_000, [rule("calls", Policy::per_minute(2)), rule("busy", Policy::per_hour(9))]);
    fill(&limiter, "calls", 5000);
    clock.advance(MINUTE);
    let mut length = limiter.len();
    for _ in 0..64 * 256 * 8 {
        let _ = limiter.rule("busy").unwrap().check("driver");
        assert!(limiter.len() + 32 >= length, "one call let go of {}", length - limiter.len());
        length = limiter.len();
    }
    assert_eq!(length, 1);
}

/// Row T12 where every request is governed by two rules.
#[test]
fn idle_keys_disappear_with_traffic_under_several_rules() {
    let (limiter, clock) =
        limiter_for(10_000, [rule("calls", Policy::per_minute(2)), rule("busy", Policy::per_hour(9))]);
    fill(&limiter, "calls", 1000);
    clock.advance(MINUTE);
    for _ in 0..64 * 256 * 8 {
        let _ = limiter.check_all([("calls", "driver"), ("busy", "driver")]).unwrap();
    }
    assert_eq!(limiter.len(), 2);
}

#[test]
fn live_keys_outlast_any_traffic() {
    let (limiter, clock) =
        limiter_for(10_000, [rule("calls", Policy::per_minute(2)), rule("busy", Policy::per_hour(9))]);
    fill(&limiter, "calls", 500);
    clock.advance(MINUTE - NANO);
    drive(&limiter, "busy", "driver");
    assert_eq!(limiter.len(), 501);
    for number in 0..500 {
        assert_eq!(admitted(&limiter, "calls", &format!("filler {number}"), 3), 1);
    }
}

/// P2, P6: only when all histories are live do newcomers share one, whatever the size of the table.
#[test]
fn a_newcomer_to_a_table_of_idle_keys_gets_a_place() {
    for places in [1, 10, 100, 1000] {
        let (limiter, clock) = limiter_for(places, [rule("calls", Policy::per_minute(1))]);
        fill(&limiter, "calls", places);
        clock.advance(MINUTE);
        let newcomers = (0..places).filter(|number| is_admitted(&limiter, "calls", &format!("newcomer {number}")));
        assert_eq!(newcomers.count(), places);
    }
}

/// P2, row T4: a clock that leapt ahead for a moment must not leave keys behind that are live for a century.
#[test]
fn keys_of_a_leap_of_the_clock_do_not_hold_their_places_for_ever() {
    let (limiter, clock) = limiter_for(10, [rule("calls", Policy::per_minute(1))]);
    clock.set(Duration::from_secs(100 * 365 * 86_400));
    fill(&limiter, "calls", 10);
    clock.set(MINUTE);
    for _ in 0..3 {
        for number in 0..2000 {
            let _ = limiter.rule("calls").unwrap().check(format!("newcomer {number}"));
        }
        clock.advance(2 * MINUTE);
    }
    let admitted = (0..10).filter(|number| is_admitted(&limiter, "calls", &format!("late {number}")));
    assert!(admitted.count() >= 5);
}

/// A look says what a check would do, also at the cap.
#[test]
fn a_peek_at_a_table_of_idle_keys_says_what_a_check_does() {
    let (limiter, clock) = limiter_for(300, [rule("calls", Policy::per_minute(1))]);
    fill(&limiter, "calls", 300);
    assert!(is_admitted(&limiter, "calls", "spends the shared unit"));
    clock.advance(MINUTE - NANO);
    for number in 0..50 {
        clock.advance(NANO);
        let key = format!("newcomer {number}");
        let peeked = limiter.rule("calls").unwrap().peek(&key).is_admitted();
        assert_eq!(peeked, is_admitted(&limiter, "calls", &key), "{key}");
    }
}

// Everything at once, against a model.

/// What was admitted, in nanoseconds, by rule and key.
#[derive(Debug, Default)]
struct Model {
    admitted: BTreeMap<(usize, usize), Vec<u64>>,
    ever_seen: BTreeSet<(usize, usize)>,
}

impl Model {
    fn most_in_any(&self, at: (usize, usize), window: u64) -> usize {
        let Some(admitted) = self.admitted.get(&at) else { return 0 };
        let from = |start: &u64| admitted.iter().filter(|other| *other >= start && **other < start + window).count();
        admitted.iter().map(from).max().unwrap_or(0)
    }

    fn has_room(&self, at: (usize, usize), quotas: &[(u64, u64)], now: u64) -> bool {
        let admitted = self.admitted.get(&at).map_or(&[][..], Vec::as_slice);
        let counted = |window: u64| admitted.iter().filter(|at| *at + window > now).count();
        quotas.iter().all(|(limit, millis)| counted(millis * 1_000_000) < *limit as usize)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pause(u64),
    Check { rules: Vec<usize>, key: usize },
    Peek { key: usize },
    Reset { key: usize },
    Traffic,
}

const NAMES: [&str; 2] = ["a", "b"];

fn steps(keys: usize) -> impl Strategy<Value = Vec<Step>> {
    let rules = prop_oneof![Just(vec![0]), Just(vec![1]), Just(vec![0, 1]), Just(vec![1, 0])];
    let step = prop_oneof![
        20 => (rules, 0..keys).prop_map(|(rules, key)| Step::Check { rules, key }),
        6 => (0u64..30).prop_map(Step::Pause),
        1 => (30u64..150).prop_map(Step::Pause),
        1 => (0..keys).prop_map(|key| Step::Reset { key }),
        1 => (0..keys).prop_map(|key| Step::Peek { key }),
        1 => Just(Step::Traffic),
    ];
    prop::collection::vec(step, 1..250)
}

/// Limits and windows in milliseconds, none longer than 100 ms.
fn quotas() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((1u64..6, 1u64..100), 1..3)
}

fn policy(quotas: &[(u64, u64)], resolution: u32) -> Policy {
    let named = |(at, (limit, millis)): (usize, &(u64, u64))| {
        Quota::new(*limit, Duration::from_millis(*millis)).named(format!("q{at}"))
    };
    quotas.iter().enumerate().map(named).collect::<Policy>().resolution(resolution)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// P1, P2, P4, P6: with any cap, never more than N in any window for any rule and key; and as long as there were
    /// never more keys than places, never a denial with room.
    #[test]
    fn no_cap_and_no_schedule_lets_more_than_n_through(
        rules in [quotas(), quotas()],
        max_keys in prop_oneof![3 => 1usize..12, 1 => Just(100usize)],
        steps in steps(16),
    ) {
        let idle = rule("traffic", Policy::per_day(1));
        let governing = NAMES.iter().zip(&rules).map(|(name, quotas)| rule(name, policy(quotas, 4096)));
        let (limiter, clock) = limiter_for(max_keys, governing.chain([idle]));
        let mut model = Model::default();
        let mut now = 0u64;
        for step in steps {
            match step {
                Step::Pause(millis) => {
                    clock.advance(Duration::from_millis(millis));
                    now += millis * 1_000_000;
                }
                Step::Check { rules: charged, key } => {
                    let ask = || limiter.check_all(charged.iter().map(|rule| (NAMES[*rule], key.to_string()))).unwrap();
                    let decision = ask();
                    prop_assert!(limiter.len() <= max_keys);
                    model.ever_seen.extend(charged.iter().map(|rule| (*rule, key)));
                    if decision.is_admitted() {
                        for rule in &charged {
                            model.admitted.entry((*rule, key)).or_default().push(now);
                        }
                        continue;
                    }
                    let has_room = charged.iter().all(|rule| model.has_room((*rule, key), &rules[*rule], now));
                    prop_assert!(!has_room || model.ever_seen.len() >= max_keys);
                    let wait = decision.retry_after().unwrap();
                    prop_assert!(wait > Duration::ZERO && wait <= Duration::from_millis(100));
                    clock.advance(wait);
                    now += u64::try_from(wait.as_nanos()).unwrap();
                    prop_assert!(ask().is_admitted());
                    for rule in &charged {
                        model.admitted.entry((*rule, key)).or_default().push(now);
                    }
                }
                Step::Peek { key } => drop(limiter.rule("a").unwrap().peek(key.to_string())),
                Step::Reset { key } => {
                    if limiter.rule("a").unwrap().reset(key.to_string()) {
                        model.admitted.remove(&(0, key));
                    }
                }
                Step::Traffic => {
                    model.ever_seen.insert((2, 0));
                    for _ in 0..64 * 64 {
                        let _ = limiter.rule("traffic").unwrap().check("driver");
                    }
                }
            }
        }
        for (number, quotas) in rules.iter().enumerate() {
            for (limit, millis) in quotas {
                for key in 0..16 {
                    let most = model.most_in_any((number, key), millis * 1_000_000);
                    prop_assert!(most <= *limit as usize, "{} of {} in {} ms", most, limit, millis);
                }
            }
        }
    }
}
