//! Rules that are on, soft, in shadow or off: each line of the table, and all of them together against a model.

use std::time::Duration;

use proptest::{prelude::*, sample::select};
use tower_quota::{
    Decision, Enforcement, OnMissing, Policy, Quota, RateLimiter, Rule,
    clock::ManualClock,
    http::RequestView,
    key,
    store::{BoxFuture, Charge, MaybeReady, MemoryStore, Setup, Store, Verdict},
};
use tower_quota_tests::limiter::{admitted, frozen, limiter, remaining, rule, with_rules};

const MINUTE: Duration = Duration::from_secs(60);
const ALL: [Enforcement; 4] = [Enforcement::On, Enforcement::Soft, Enforcement::Shadow, Enforcement::Off];

/// A rule of `limit` requests a minute.
fn per_minute(name: &str, limit: u64, enforcement: Enforcement) -> Rule {
    rule(name, Policy::per_minute(limit)).enforcement(enforcement)
}

/// A limiter of one rule.
fn one(limit: u64, enforcement: Enforcement) -> (RateLimiter, ManualClock) {
    limiter([per_minute("calls", limit, enforcement)])
}

fn check(limiter: &RateLimiter) -> Decision {
    limiter.rule("calls").unwrap().check("ann")
}

/// The rules that would deny.
fn would_deny(decision: &Decision) -> Vec<&str> {
    decision.would_be_denied_by().map(|quota| quota.rule()).collect()
}

/// The units that are counted now, however the rule is enforced.
fn used(limiter: &RateLimiter, name: &str) -> u64 {
    let before = limiter.enforcement(name).unwrap();
    limiter.enforce(name, Enforcement::On).unwrap();
    let peeked = limiter.rule(name).unwrap().peek("ann");
    limiter.enforce(name, before).unwrap();
    let quota = peeked.quotas().next().unwrap();
    quota.limit() - quota.remaining()
}

// Each line of the table.

#[test]
fn a_rule_is_on_unless_it_says_otherwise() {
    let limiter = frozen([rule("calls", Policy::per_minute(2))]);
    assert_eq!(limiter.enforcement("calls").unwrap(), Enforcement::On);
    assert_eq!(admitted(&limiter, "calls", "ann", 9), 2);
}

#[test]
fn a_shadow_admits_all_and_is_charged_as_if_it_were_on() {
    let ((shadow, clock), (on, on_clock)) = (one(2, Enforcement::Shadow), one(2, Enforcement::On));
    for step in 0..200 {
        let (shadowed, decided) = (check(&shadow), check(&on));
        assert!(shadowed.is_admitted());
        assert_eq!(would_deny(&shadowed).is_empty(), decided.is_admitted(), "step {step}");
        assert_eq!(used(&shadow, "calls"), used(&on, "calls"), "step {step}");
        clock.advance(Duration::from_millis(17_321));
        on_clock.advance(Duration::from_millis(17_321));
    }
}

#[test]
fn a_shadow_has_no_quotas_and_no_wait_but_says_which_quota_would_deny_and_how_long() {
    let rule = rule("calls", Policy::per_minute(1).and_per_hour(9)).enforcement(Enforcement::Shadow);
    let (limiter, clock) = limiter([rule]);
    let first = check(&limiter);
    assert_eq!((first.quotas().count(), first.would_be_denied_by().count()), (0, 0));
    clock.advance(MINUTE / 3);
    let second = check(&limiter);
    assert_eq!((second.quotas().count(), second.retry_after(), second.message()), (0, None, None));
    let said: Vec<_> = second.would_be_denied_by().map(|quota| (quota.name(), quota.reset_after())).collect();
    assert_eq!(said, [("minute".into(), MINUTE * 2 / 3)]);
    assert!(
        second.would_be_denied_by().all(|quota| !quota.is_exhausted() && quota.enforcement() == Enforcement::Shadow)
    );
    assert!(!second.is_over_soft_limit());
}

#[test]
fn a_shadow_is_not_charged_if_an_enforced_rule_denies() {
    let limiter = frozen([per_minute("calls", 9, Enforcement::Shadow), per_minute("other", 1, Enforcement::On)]);
    let both = || limiter.check_all([("calls", "ann"), ("other", "ann")]).unwrap();
    assert!(both().is_admitted());
    let denied = both();
    assert!(!denied.is_admitted());
    assert_eq!(denied.exhausted().map(|quota| quota.rule()).collect::<Vec<_>>(), ["other"]);
    assert_eq!(used(&limiter, "calls"), 1);
}

#[test]
fn a_shadow_without_room_holds_up_no_charge_of_the_others() {
    let limiter = frozen([
        per_minute("calls", 1, Enforcement::Shadow),
        per_minute("other", 9, Enforcement::On),
        per_minute("second", 3, Enforcement::Shadow),
    ]);
    let all = || limiter.check_all([("calls", "ann"), ("other", "ann"), ("second", "ann")]).unwrap();
    let would: Vec<usize> = (0..5).map(|_| all().would_be_denied_by().count()).collect();
    assert_eq!(would, [0, 1, 1, 2, 2]);
    assert_eq!(["calls", "other", "second"].map(|name| used(&limiter, name)), [1, 5, 3]);
}

#[test]
fn a_soft_rule_admits_all_is_told_and_marks_what_is_over_its_limit() {
    let (limiter, _) = one(2, Enforcement::Soft);
    let told: Vec<_> = (0..4)
        .map(|_| {
            let decision = check(&limiter);
            assert!(
                decision.is_admitted() && decision.retry_after().is_none() && decision.exhausted().next().is_none()
            );
            assert!(would_deny(&decision).is_empty());
            (remaining(&decision), decision.is_over_soft_limit(), decision.over_soft_limits().count())
        })
        .collect();
    assert_eq!(told, [(vec![1], false, 0), (vec![0], false, 0), (vec![0], true, 1), (vec![0], true, 1)]);
}

#[test]
fn a_soft_rule_owes_what_it_admitted_beyond_its_limit() {
    let (limiter, clock) = one(2, Enforcement::Soft);
    for _ in 0..3 {
        let _ = check(&limiter);
        clock.advance(MINUTE / 6);
    }
    // Units at 0, 10 and 20 s: without the third there would be room at 60 s.
    clock.advance(MINUTE / 2 + MINUTE / 12);
    limiter.enforce("calls", Enforcement::On).unwrap();
    let denied = check(&limiter);
    assert_eq!((denied.is_admitted(), denied.retry_after()), (false, Some(MINUTE / 12)));
    clock.advance(MINUTE / 12);
    assert!(check(&limiter).is_admitted());
}

#[test]
fn the_wait_of_a_soft_rule_is_that_of_its_debt() {
    let (limiter, clock) = one(1, Enforcement::Soft);
    let _ = check(&limiter);
    clock.advance(MINUTE / 2);
    let over = check(&limiter);
    let resets: Vec<_> = over.quotas().map(|quota| quota.reset_after()).collect();
    assert_eq!(resets, [MINUTE], "this very unit is in the way");
}

#[test]
fn a_soft_rule_is_not_charged_if_an_enforced_rule_denies_and_is_not_the_reason() {
    let limiter = frozen([per_minute("calls", 1, Enforcement::Soft), per_minute("other", 2, Enforcement::On)]);
    let both = || limiter.check_all([("calls", "ann"), ("other", "ann")]).unwrap();
    assert!(!both().is_over_soft_limit());
    assert!(both().is_over_soft_limit());
    let denied = both();
    assert_eq!(denied.exhausted().map(|quota| quota.rule()).collect::<Vec<_>>(), ["other"]);
    assert!(denied.quotas().any(|quota| quota.rule() == "calls" && quota.remaining() == 0 && !quota.is_exhausted()));
}

#[test]
fn a_rule_that_is_off_is_not_looked_at() {
    let limiter = frozen([per_minute("calls", 1, Enforcement::Off)]);
    assert_eq!(admitted(&limiter, "calls", "ann", 9), 9);
    let decision = check(&limiter);
    assert_eq!((decision.quotas().count(), would_deny(&decision).len(), limiter.len()), (0, 0, 0));
    assert!(limiter.admit_all([("calls", "ann")]).unwrap());
    assert!(limiter.rule("calls").unwrap().peek("ann").is_admitted());
    assert!(limiter.rule("calls").unwrap().admit("ann"));
    assert_eq!((limiter.len(), used(&limiter, "calls")), (0, 0));
}

#[test]
fn a_rule_that_is_off_leaves_the_others_as_they_are() {
    let limiter = frozen([per_minute("calls", 1, Enforcement::Off), per_minute("other", 2, Enforcement::On)]);
    let both = || limiter.check_all([("calls", "ann"), ("other", "ann")]).unwrap();
    assert_eq!((0..5).filter(|_| both().is_admitted()).count(), 2);
    assert_eq!(both().quotas().map(|quota| quota.rule()).collect::<Vec<_>>(), ["other"]);
}

#[test]
fn a_yes_or_no_is_that_of_the_enforced_rules() {
    for (enforcement, expected) in ALL.into_iter().zip([2, 9, 9, 9]) {
        let (limiter, _) = one(2, enforcement);
        let calls = limiter.rule("calls").unwrap();
        assert_eq!((0..9).filter(|_| calls.admit("ann")).count(), expected, "{enforcement}");
        let (limiter, _) = one(2, enforcement);
        assert_eq!(
            (0..9).filter(|_| limiter.admit_all([("calls", "ann")]).unwrap()).count(),
            expected,
            "{enforcement}"
        );
    }
}

#[test]
fn a_peek_says_what_a_check_would_and_charges_nothing() {
    for enforcement in ALL {
        let (limiter, _) = one(1, enforcement);
        let calls = limiter.rule("calls").unwrap();
        for round in 0..3 {
            let (peeked, again) = (calls.peek("ann"), calls.peek("ann"));
            let checked = calls.check("ann");
            let said = |decision: &Decision| {
                (decision.is_admitted(), would_deny(decision).len(), decision.is_over_soft_limit())
            };
            assert_eq!(said(&peeked), said(&checked), "{enforcement}, {round}");
            assert_eq!(said(&peeked), said(&again), "{enforcement}, {round}");
        }
    }
}

#[test]
fn where_denials_count_a_shadow_counts_what_it_would_deny() {
    let policy = Policy::per_minute(1).count_denied();
    let ((shadow, clock), (on, on_clock)) =
        (limiter([rule("calls", policy.clone()).enforcement(Enforcement::Shadow)]), limiter([rule("calls", policy)]));
    for _ in 0..9 {
        assert_eq!(would_deny(&check(&shadow)).is_empty(), check(&on).is_admitted());
        clock.advance(MINUTE * 3 / 4);
        on_clock.advance(MINUTE * 3 / 4);
    }
    clock.advance(MINUTE / 4);
    assert!(would_deny(&check(&shadow)).is_empty());
}

// Requests.

#[test]
fn only_an_enforced_rule_insists_on_its_key() {
    let keyed = |enforcement| {
        let rule = Rule::new("calls").every_request().key(key::header("x-account"));
        let rule = rule.on_missing(OnMissing::Reject(http::StatusCode::UNAUTHORIZED));
        frozen([rule.policy(Policy::per_minute(1)).enforcement(enforcement)])
    };
    for enforcement in ALL {
        let service = tower::Layer::layer(
            &keyed(enforcement).layer(),
            tower::service_fn(async |_: http::Request<()>| {
                Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
            }),
        );
        let response = tower::ServiceExt::oneshot(service, http::Request::new(()));
        let status = futures_util::FutureExt::now_or_never(response).unwrap().unwrap().status().as_u16();
        assert_eq!(status, if enforcement == Enforcement::On { 401 } else { 200 }, "{enforcement}");
    }
}

#[test]
fn a_matched_rule_says_how_it_is_enforced() {
    let limiter = frozen([per_minute("calls", 1, Enforcement::Soft)]);
    let request = http::Request::new(());
    let enforcement = || limiter.matching(&RequestView::new(&request))[0].enforcement();
    assert_eq!(enforcement(), Enforcement::Soft);
    limiter.enforce("calls", Enforcement::Off).unwrap();
    assert_eq!(enforcement(), Enforcement::Off);
}

// The switch.

#[test]
fn a_switch_holds_from_the_next_request_on_until_it_is_taken_back() {
    let (limiter, _) = one(1, Enforcement::On);
    let calls = limiter.rule("calls").unwrap();
    assert!(calls.admit("ann") && !calls.admit("ann") && !calls.admit("ann"));
    limiter.enforce("CALLS", Enforcement::Shadow).unwrap();
    assert!(calls.admit("ann"));
    assert_eq!(limiter.enforcement("calls").unwrap(), Enforcement::Shadow);
    limiter.enforce_as_configured("calls").unwrap();
    assert!(!calls.admit("ann"));
    assert_eq!(limiter.enforce("cals", Enforcement::On).unwrap_err().name(), "cals");
}

#[test]
fn a_switch_wins_over_reloads_and_the_configured_word_is_that_of_the_newest() {
    let (limiter, _) = one(1, Enforcement::On);
    let calls = limiter.rule("calls").unwrap();
    let reload = |enforcement| {
        let rules =
            move |builder: tower_quota::RateLimiterBuilder| Ok(builder.rule(per_minute("calls", 1, enforcement)));
        limiter.reload(rules).unwrap().to_string()
    };
    assert!(calls.admit("ann"));
    limiter.enforce("calls", Enforcement::Soft).unwrap();
    assert_eq!(reload(Enforcement::Shadow), r#"rule "calls": enforcement on -> shadow"#);
    assert_eq!(limiter.enforcement("calls").unwrap(), Enforcement::Soft);
    assert!(calls.check("ann").is_over_soft_limit());
    limiter.enforce_as_configured("calls").unwrap();
    assert_eq!(calls.check("ann").would_be_denied_by().count(), 1);
    assert_eq!(reload(Enforcement::On), r#"rule "calls": enforcement shadow -> on"#);
    assert!(!calls.admit("ann"));
}

/// What was known of denials is forgotten when a soft charge adds to them.
#[test]
fn a_denial_that_was_known_before_a_debt_does_not_come_back_after_it() {
    let (limiter, clock) = one(1, Enforcement::On);
    let calls = limiter.rule("calls").unwrap();
    assert!(calls.admit("ann"));
    assert_eq!(calls.check("ann").retry_after(), Some(MINUTE));
    clock.advance(MINUTE / 2);
    limiter.enforce("calls", Enforcement::Soft).unwrap();
    assert!(calls.admit("ann"));
    limiter.enforce("calls", Enforcement::On).unwrap();
    assert_eq!(calls.check("ann").retry_after(), Some(MINUTE));
}

// Tiers.

#[test]
fn a_tier_is_enforced_as_its_rule_is() {
    let rule = per_minute("calls", 1, Enforcement::Shadow).key(key::header("x-user"));
    let limiter = frozen([rule.tier("pro", Policy::per_minute(2)).tier_for("ann", "pro")]);
    let would = |key| limiter.rule("calls").unwrap().check(key).would_be_denied_by().count();
    assert_eq!([would("ann"), would("ann"), would("ann")], [0, 0, 1]);
    assert_eq!([would("bob"), would("bob")], [0, 1]);
    let pro = limiter.rule("calls").unwrap().in_tier("pro").unwrap();
    assert_eq!(pro.check("bob").would_be_denied_by().count(), 0);
}

// A full table.

#[test]
fn keys_that_share_a_history_are_enforced_alike() {
    for (enforcement, expected) in ALL.into_iter().zip([2, 9, 9, 9]) {
        let rules = [rule("full", Policy::per_hour(1)), per_minute("calls", 2, enforcement)];
        let limiter = with_rules(RateLimiter::builder().clock(ManualClock::new()).max_keys(1), rules).build().unwrap();
        assert!(limiter.rule("full").unwrap().admit("all"));
        let decided: Vec<_> = (0..9).map(|key| limiter.rule("calls").unwrap().check(key)).collect();
        assert_eq!(decided.iter().filter(|decision| decision.is_admitted()).count(), expected, "{enforcement}");
        let over = decided.iter().filter(|decision| decision.is_over_soft_limit()).count();
        assert_eq!(over, if enforcement == Enforcement::Soft { 7 } else { 0 }, "{enforcement}");
        let shadow = decided.iter().filter(|decision| decision.would_be_denied_by().count() > 0).count();
        assert_eq!(shadow, if enforcement == Enforcement::Shadow { 7 } else { 0 }, "{enforcement}");
    }
}

// Stores of one's own.

/// A store that says of every charge in shadow that it has no room.
#[derive(Debug, Default)]
struct Pessimist(MemoryStore);

impl Store for Pessimist {
    type Future = BoxFuture;

    fn open(&mut self, setup: Setup) -> Result<(), tower_quota::ConfigError> {
        self.0.open(setup)
    }

    fn decide(&self, charges: &[Charge], _: &mut Verdict) -> MaybeReady<BoxFuture> {
        let mut verdict = Verdict::new(charges.iter().all(|charge| !charge.enforcement().is_enforced()));
        for (at, charge) in charges.iter().enumerate() {
            assert_ne!(charge.enforcement(), Enforcement::Off);
            verdict.push_quota(1, MINUTE);
            if !charge.enforcement().is_enforced() {
                verdict.set_without_room(at);
            }
        }
        MaybeReady::Pending(Box::pin(async { Ok(verdict) }))
    }

    fn peek(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<BoxFuture> {
        self.decide(charges, verdict)
    }

    fn reset(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<BoxFuture> {
        self.0.reset(charges, verdict).boxed()
    }
}

#[tokio::test]
async fn a_store_of_ones_own_says_which_charges_had_no_room() {
    let rules = ["on", "soft", "shadow", "off"].into_iter().zip(ALL).map(|(name, it)| per_minute(name, 1, it));
    let limiter = with_rules(RateLimiter::builder().store(Pessimist::default()), rules).build().unwrap();
    let charges = ["off", "shadow", "soft"].map(|rule| (rule, "ann"));
    let decision = limiter.check_all_async(charges).await.unwrap();
    assert!(decision.is_admitted() && decision.is_over_soft_limit());
    assert_eq!(would_deny(&decision), ["shadow"]);
    assert_eq!(decision.over_soft_limits().map(|quota| quota.rule()).collect::<Vec<_>>(), ["soft"]);
    let off = limiter.rule("off").unwrap();
    assert!(off.admit_async("ann").await.unwrap() && off.check_async("ann").await.unwrap().is_admitted());
    assert!(off.peek_async("ann").await.unwrap().is_admitted());
    assert!(!limiter.rule("on").unwrap().admit_async("ann").await.unwrap());
}

// All together, against a model.

const RULES: [&str; 5] = ["one", "two", "strict", "counting", "large"];

fn policies() -> [Policy; 5] {
    [
        Policy::per_second(3),
        Policy::new(Quota::new(2, Duration::from_millis(700))).and_per_minute(12),
        Policy::per_second(1),
        Policy::per_second(2).count_denied(),
        Policy::per_minute(5000).and_per_second(4),
    ]
}

/// What is remembered of each rule: when its units were charged.
#[derive(Default)]
struct Model {
    charged: [Vec<u64>; 5],
}

impl Model {
    fn used(&self, rule: usize, window: Duration, now: u64) -> u64 {
        let window = window.as_millis() as u64;
        self.charged[rule].iter().filter(|at| now < **at + window).count() as u64
    }

    fn has_room(&self, rule: usize, policy: &Policy, now: u64) -> bool {
        policy.quotas().all(|quota| self.used(rule, quota.window(), now) < quota.limit())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ask(Vec<usize>),
    Switch(usize, Enforcement),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ask = proptest::sample::subsequence(vec![0, 1, 2, 3, 4], 1..=5).prop_shuffle().prop_map(Step::Ask);
    let switch = (0..RULES.len(), select(ALL.to_vec())).prop_map(|(rule, to)| Step::Switch(rule, to));
    let wait = (0u64..900).prop_map(Step::Wait);
    prop::collection::vec(prop_oneof![5 => ask, 1 => switch, 2 => wait], 1..250)
}

proptest! {
    #[test]
    fn rules_of_every_enforcement_decide_together_as_the_table_says(steps in steps()) {
        let (policies, clock) = (policies(), ManualClock::new());
        let rules = RULES.iter().zip(&policies).map(|(name, policy)| rule(name, policy.clone()));
        let limiter = with_rules(RateLimiter::builder().clock(clock.clone()), rules).build().unwrap();
        let (mut model, mut switches, mut now) = (Model::default(), [Enforcement::On; 5], 0);
        for step in steps {
            match step {
                Step::Wait(millis) => {
                    now += millis;
                    clock.advance(Duration::from_millis(millis));
                }
                Step::Switch(rule, enforcement) => {
                    switches[rule] = enforcement;
                    limiter.enforce(RULES[rule], enforcement).unwrap();
                }
                Step::Ask(asked) => {
                    let looked: Vec<usize> =
                        asked.iter().copied().filter(|rule| switches[*rule] != Enforcement::Off).collect();
                    let room: Vec<bool> =
                        looked.iter().map(|rule| model.has_room(*rule, &policies[*rule], now)).collect();
                    let is_in = |rule: usize, it| switches[rule] == it;
                    let admitted =
                        looked.iter().zip(&room).all(|(rule, room)| *room || !is_in(*rule, Enforcement::On));
                    for (rule, room) in looked.iter().zip(&room) {
                        let counts = policies[*rule].counts_denied();
                        if switches[*rule].is_charged(admitted, *room) || counts {
                            model.charged[*rule].push(now);
                        }
                    }
                    let decision = match *asked {
                        [rule] => limiter.rule(RULES[rule]).unwrap().check("ann"),
                        _ => limiter.check_all(asked.iter().map(|rule| (RULES[*rule], "ann"))).unwrap(),
                    };
                    prop_assert_eq!(decision.is_admitted(), admitted);
                    let lacking = |it| {
                        let all = looked.iter().zip(&room).filter(move |(rule, room)| !**room && is_in(**rule, it));
                        all.map(|(rule, _)| RULES[*rule]).collect::<Vec<_>>()
                    };
                    let mut would = would_deny(&decision);
                    would.dedup();
                    prop_assert_eq!(would, lacking(Enforcement::Shadow));
                    let mut over: Vec<&str> = decision.over_soft_limits().map(|quota| quota.rule()).collect();
                    over.dedup();
                    prop_assert_eq!(over, lacking(Enforcement::Soft));
                    prop_assert_eq!(decision.is_over_soft_limit(), !lacking(Enforcement::Soft).is_empty());
                    let told = looked.iter().filter(|rule| !is_in(**rule, Enforcement::Shadow)).flat_map(|rule| {
                        policies[*rule].quotas().map(|quota| (*rule, quota.limit(), quota.window()))
                    });
                    let told: Vec<u64> = told
                        .map(|(rule, limit, window)| limit.saturating_sub(model.used(rule, window, now)))
                        .collect();
                    prop_assert_eq!(remaining(&decision), told);
                    if !admitted {
                        prop_assert!(decision.exhausted().all(|quota| quota.enforcement().is_enforced()));
                        prop_assert!(decision.exhausted().next().is_some());
                    }
                }
            }
        }
    }
}
