//! Mistakes in the deployment, each made in one test and not made in another part of it. Those about missing keys, idle rules and
//! preflights are in `alone/warnings.rs`, which looks at the log, and that about many limiters is in `alone/limiters.rs`.

use std::{convert::Infallible, future::ready, net::SocketAddr, time::Duration};

use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{
    Policy, RateLimiter, RateLimiterBuilder, Rule,
    clock::ManualClock,
    http::PeerAddr,
    key,
    observe::{Check, Warned},
};
use tower_quota_tests::limiter::{limiter, limiter_for, rule};

/// All but one that is about this process, whose tests build many limiters.
fn warnings(limiter: &RateLimiter) -> Vec<Warned> {
    limiter.warnings().into_iter().filter(|warning| warning.check() != Check::ManyLimiters).collect()
}

fn codes(limiter: &RateLimiter) -> Vec<&'static str> {
    warnings(limiter).iter().map(Warned::code).collect()
}

fn tokens() -> Rule {
    Rule::new("tokens").no_requests().policy(Policy::per_minute(1_000_000)).reserve("tokens", 10)
}

async fn send(limiter: &RateLimiter, peers: impl Iterator<Item = [u8; 4]>) {
    for peer in peers {
        let inner = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new()))));
        let request = Request::get("/").extension(PeerAddr(SocketAddr::from((peer, 443)))).body(()).unwrap();
        limiter.layer().layer(inner).oneshot(request).await.unwrap();
    }
}

#[tokio::test]
async fn one_private_peer_behind_nearly_all_requests_is_probably_a_proxy() {
    let of = |extractor| {
        let rule = Rule::new("calls").every_request().key(extractor).policy(Policy::per_minute(1_000_000));
        limiter([rule]).0
    };
    let proxy_and_some = |others: usize| {
        (0..1000usize).map(move |at| if at % 1000 < others { [10, 0, 1, (at % 200) as u8] } else { [10, 0, 0, 1] })
    };
    let by_peer = of(key::peer_ip());
    send(&by_peer, proxy_and_some(40)).await;
    assert_eq!(codes(&by_peer), ["one-peer"]);
    for (limiter, peers, sure) in [
        (of(key::peer_ip()), proxy_and_some(60).collect::<Vec<_>>(), "many do not come from it"),
        (of(key::peer_ip()), vec![[192, 0, 2, 1]; 2000], "it is a public address"),
        (of(key::client_ip().trust(["10.0.0.0/8"])), vec![[10, 0, 0, 1]; 2000], "it is trusted"),
    ] {
        send(&limiter, peers.into_iter()).await;
        assert!(codes(&limiter).is_empty(), "{sure}");
    }
}

#[tokio::test]
async fn a_copy_of_a_request_that_is_charged_again_is_a_mistake() {
    for copies in [true, false] {
        let (limiter, _) = limiter([rule("calls", Policy::per_minute(9))]);
        let inner = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new()))));
        let inside = limiter.layer().layer(inner);
        let between = service_fn(move |request: Request<()>| {
            let inside = inside.clone();
            async move { inside.oneshot(if copies { request.clone() } else { request }).await }
        });
        limiter.layer().layer(between).oneshot(Request::new(())).await.unwrap();
        assert_eq!(codes(&limiter), if copies { vec!["counted-twice"] } else { vec![] });
    }
}

#[test]
fn many_requests_that_cost_more_than_a_limit_are_a_mistake() {
    for (too_many, expected) in [(11, vec!["never-possible"]), (10, vec![])] {
        let rule = Rule::new("tokens").no_requests().policy(Policy::per_minute(1_000_000)).cost("tokens", 1);
        let (limiter, _) = limiter([rule]);
        let tokens = limiter.rule("tokens").unwrap();
        for at in 0..1000 {
            let _ = tokens.admit_cost("ann", if at < too_many { 1_000_001 } else { 1 }).unwrap();
        }
        assert_eq!(codes(&limiter), expected);
    }
}

#[test]
fn reservations_that_mostly_end_unsettled_are_a_mistake() {
    for (unsettled, expected) in [(51, vec!["unsettled"]), (50, vec![])] {
        let (limiter, _) = limiter([tokens()]);
        for at in 0..100 {
            let decision = limiter.rule("tokens").unwrap().check("ann");
            if at >= unsettled {
                decision.reservation().unwrap().settle("tokens", 10);
            }
        }
        assert_eq!(codes(&limiter), expected);
    }
}

#[test]
fn estimates_that_are_often_too_low_are_a_mistake() {
    for (above, expected) in [(11, vec!["above-estimate"]), (10, vec![])] {
        let (limiter, _) = limiter([tokens()]);
        for at in 0..100 {
            let decision = limiter.rule("tokens").unwrap().check("ann");
            decision.reservation().unwrap().settle("tokens", if at < above { 11 } else { 9 });
        }
        assert_eq!(codes(&limiter), expected);
    }
}

#[test]
fn a_table_full_of_live_histories_is_said_once() {
    let (limiter, _) = limiter_for(2, [rule("calls", Policy::per_minute(9))]);
    let calls = limiter.rule("calls").unwrap();
    assert!(calls.admit("a") && calls.admit("b"));
    assert!(codes(&limiter).is_empty());
    assert!(calls.admit("c") && calls.admit("d"));
    assert_eq!(codes(&limiter), ["table-full"]);
}

#[test]
fn a_clock_that_steps_back_is_said_once_and_one_that_runs_on_never() {
    let (limiter, clock) = limiter([rule("calls", Policy::per_minute(1000))]);
    let calls = limiter.rule("calls").unwrap();
    let ask = || (0..200).for_each(|_| assert!(calls.admit("ann")));
    ask();
    clock.advance(Duration::from_secs(30));
    ask();
    assert!(codes(&limiter).is_empty());
    clock.set(Duration::ZERO);
    assert!(calls.admit("ann"));
    assert_eq!(codes(&limiter), ["clock-stepped-back"], "with the first decision");
}

#[test]
fn idle_quotas_leave_room_for_other_warnings() {
    let idle = |at| rule(&format!("rule-{at}"), Policy::per_minute(100).and_per_hour(50));
    let (limiter, _) = limiter_for(1, (0..600).map(idle).collect::<Vec<_>>());
    assert_eq!(codes(&limiter).len(), 500);
    let first = limiter.rule("rule-0").unwrap();
    assert!(first.admit("a") && first.admit("b"));
    assert_eq!(codes(&limiter)[500..], ["table-full"]);
}

#[test]
fn a_clock_that_steps_back_is_said_where_requests_have_costs_too() {
    let (limiter, clock) = limiter([tokens()]);
    let tokens = limiter.rule("tokens").unwrap();
    let ask = || (0..200).for_each(|_| assert!(tokens.admit_cost("ann", 1).unwrap()));
    clock.advance(Duration::from_secs(30));
    ask();
    assert!(codes(&limiter).is_empty());
    clock.set(Duration::ZERO);
    assert!(tokens.admit_cost("ann", 1).unwrap());
    assert_eq!(codes(&limiter), ["clock-stepped-back"]);
}

#[test]
fn a_tier_that_the_rule_does_not_have_is_a_mistake() {
    let rule = Rule::new("calls").every_request().key(key::header("x-account")).policy(Policy::per_minute(9));
    let rule = rule.tier("pro", Policy::per_minute(90)).tier_from(key::header("x-plan"));
    let (limiter, _) = limiter([rule]);
    let look = |plan: &str| {
        let request = Request::get("/").header("x-account", "ann").header("x-plan", plan).body(()).unwrap();
        let _ = limiter.matching(&tower_quota::http::RequestView::new(&request));
    };
    look("pro");
    assert!(codes(&limiter).is_empty());
    look("gold");
    look("gold");
    let warnings = warnings(&limiter);
    assert_eq!((codes(&limiter), warnings[0].rule()), (vec!["unknown-tier"], Some("calls")));
    assert!(!warnings[0].text().contains("gold"));
}

#[test]
fn a_settlement_in_a_unit_that_no_rule_reserves_is_a_mistake() {
    let (limiter, _) = limiter([tokens()]);
    let decision = limiter.rule("tokens").unwrap().check("ann");
    decision.reservation().unwrap().settle("tokens", 1);
    assert!(codes(&limiter).is_empty());
    decision.reservation().unwrap().settle("token", 1);
    assert_eq!(codes(&limiter), ["unknown-unit"]);
    assert!(warnings(&limiter)[0].text().contains(r#""token""#));
}

#[test]
fn each_check_can_be_turned_off() {
    let build = |off: Option<Check>| {
        let builder = RateLimiter::builder().clock(ManualClock::new()).rule(tokens());
        let builder = off.into_iter().fold(builder, RateLimiterBuilder::without);
        let limiter: RateLimiter = builder.build().unwrap();
        limiter.rule("tokens").unwrap().check("ann").reservation().unwrap().settle("token", 1);
        limiter
    };
    assert_eq!(codes(&build(None)), ["unknown-unit"]);
    assert_eq!(codes(&build(Some(Check::UnknownTier))), ["unknown-unit"]);
    assert!(codes(&build(Some(Check::UnknownUnit))).is_empty());
}
