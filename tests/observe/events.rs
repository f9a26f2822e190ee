//! What the hook is told.

use std::{convert::Infallible, future::ready, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use parking_lot::Mutex;
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{
    Enforcement, Policy, RateLimiter, RateLimiterBuilder, Rule,
    clock::ManualClock,
    exempt, key,
    observe::{Check, Event, RequestOutcome, RuleOutcome, ShowKeys},
    store::AnyStore,
};
use tower_quota_tests::limiter::rule;

/// The events of a limiter, a line for each.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }

    fn hook(&self) -> impl Fn(&Event<'_>) + Send + Sync + use<> {
        let lines = Arc::clone(&self.0);
        move |event| lines.lock().push(line(event))
    }
}

fn line(event: &Event<'_>) -> String {
    match event {
        Event::Decided(decided) => {
            let rules = decided.rules().iter().map(|rule| {
                let quotas = rule.quotas().iter().map(|quota| format!("{}/{}", quota.used(), quota.quota().limit()));
                let tier = rule.tier().map(|tier| format!("/{tier}")).unwrap_or_default();
                let quotas = quotas.collect::<Vec<_>>().join(",");
                format!(
                    " {}{tier} {} {}{} {} [{quotas}]",
                    rule.rule(),
                    rule.outcome(),
                    rule.cost(),
                    rule.unit(),
                    rule.key()
                )
            });
            format!("{}{}", decided.outcome(), rules.collect::<String>())
        }
        Event::Settled(settled) => {
            let (rule, outcome) = (settled.rule(), settled.outcome());
            format!("settled {rule} {outcome} {}->{} moved {}", settled.reserved(), settled.units(), settled.moved())
        }
        Event::Reloaded(reloaded) => match reloaded.changes() {
            Ok(changes) => format!("reloaded {}", changes.join("; ")),
            Err(error) => format!("not reloaded: {}", error.field()),
        },
        Event::Warned(warned) => format!("warned {}", warned.code()),
        other => format!("{other:?}"),
    }
}

fn builder(told: &Told) -> RateLimiterBuilder {
    // The tests of this process build many limiters.
    let builder = RateLimiter::builder().clock(ManualClock::new()).without(Check::ManyLimiters);
    builder.show_keys(ShowKeys::Shown).on_decision(told.hook())
}

#[test]
fn every_check_is_told_with_its_rules_costs_keys_and_quotas() {
    let told = Told::default();
    let tokens = Rule::new("tokens").no_requests().policy(Policy::per_minute(10).and_per_hour(15)).cost("tokens", 1);
    let calls = Rule::new("calls").no_requests().policy(Policy::per_minute(1)).tier("pro", Policy::per_minute(9));
    let limiter = builder(&told).rule(calls.tier_for("acme", "pro")).rule(tokens).build().unwrap();
    let calls = limiter.rule("calls").unwrap();
    assert!(calls.admit("ann") && !calls.admit("ann") && calls.check("acme").is_admitted());
    assert_eq!(
        told.take(),
        [
            "admitted calls admitted 1requests ann [1/1]",
            "denied calls denied 1requests ann [1/1]",
            "admitted calls/pro admitted 1requests acme [1/9]",
        ]
    );
    let tokens = limiter.rule("tokens").unwrap();
    assert!(tokens.admit_cost("ann", 8).unwrap() && !tokens.admit_cost("ann", 8).unwrap());
    assert!(tokens.check_cost("ann", 11).unwrap().is_never_possible());
    assert_eq!(
        told.take(),
        [
            "admitted tokens admitted 8tokens ann [8/10,8/15]",
            "denied tokens denied 8tokens ann [8/10,8/15]",
            "never_possible tokens denied 11tokens ann [8/10,8/15]",
        ]
    );
    // Looking is no decision.
    let _ = (calls.peek("ann"), tokens.peek_cost("ann", 1));
    assert!(told.take().is_empty());
    assert!(!limiter.admit_all([("calls", "ann"), ("tokens", "bob")]).unwrap());
    assert_eq!(
        told.take(),
        ["denied calls denied 1requests ann [1/1] tokens admitted 1tokens bob [0/10,0/15]"],
        "each rule answers for itself"
    );
}

#[tokio::test]
async fn an_asynchronous_store_tells_the_same() {
    let told = Told::default();
    let rule = Rule::new("calls").no_requests().policy(Policy::per_minute(1));
    let limiter = builder(&told).rule(rule).store(AnyStore::memory()).build().unwrap();
    let calls = limiter.rule("calls").unwrap();
    assert!(calls.admit_async("ann").await.unwrap() && !calls.check_async("ann").await.unwrap().is_admitted());
    let _ = calls.peek_async("ann").await;
    assert!(!limiter.check_all_async([("calls", "ann")]).await.unwrap().is_admitted());
    let denied = "denied calls denied 1requests ann [1/1]";
    assert_eq!(told.take(), ["admitted calls admitted 1requests ann [1/1]", denied, denied]);
}

#[test]
fn rules_that_are_not_enforced_would_deny() {
    let told = Told::default();
    let of = |name, enforcement| rule(name, Policy::per_minute(1)).enforcement(enforcement);
    let rules = [of("shadow", Enforcement::Shadow), of("soft", Enforcement::Soft), of("off", Enforcement::Off)];
    let limiter = rules.into_iter().fold(builder(&told), RateLimiterBuilder::rule).build().unwrap();
    for _ in 0..2 {
        assert!(limiter.admit_all([("shadow", "a"), ("soft", "a"), ("off", "a")]).unwrap());
    }
    assert_eq!(
        told.take(),
        [
            "admitted shadow admitted 1requests a [1/1] soft admitted 1requests a [1/1]",
            "admitted shadow would_deny 1requests a [1/1] soft would_deny 1requests a [1/1]",
        ]
    );
}

#[test]
fn settlements_are_told_with_what_came_of_them() {
    let told = Told::default();
    let clock = ManualClock::new();
    let rule = Rule::new("tokens").no_requests().policy(Policy::per_minute(1000)).reserve("tokens", 100);
    let limiter = builder(&told).clock(clock.clone()).rule(rule).build().unwrap();
    let tokens = limiter.rule("tokens").unwrap();
    for (units, outcome) in [
        (40, "settled tokens lower 100->40 moved 60"),
        (100, "settled tokens equal 100->100 moved 0"),
        (130, "settled tokens higher 100->130 moved 30"),
    ] {
        let decision = tokens.check("ann");
        told.take();
        let reservation = decision.reservation().unwrap();
        reservation.settle("tokens", units);
        reservation.settle("tokens", 1);
        assert_eq!(told.take(), [outcome]);
        drop(decision);
        assert!(told.take().is_empty(), "it is settled once");
    }
    drop(tokens.check("ann"));
    assert_eq!(told.take()[1], "settled tokens unsettled 100->100 moved 0");
    let decision = tokens.check("ann");
    clock.advance(std::time::Duration::from_secs(61));
    told.take();
    decision.reservation().unwrap().settle("tokens", 1);
    assert_eq!(told.take(), ["settled tokens late 100->1 moved 0"]);
}

#[test]
fn reloads_are_told_whether_they_succeed_or_not() {
    let told = Told::default();
    let rule = |limit| Rule::new("calls").no_requests().policy(Policy::per_minute(limit));
    let limiter = builder(&told).rule(rule(1)).build().unwrap();
    limiter.reload(|builder| Ok(builder.rule(rule(2)))).unwrap();
    limiter.reload(|builder| Ok(builder.rule(rule(0)))).unwrap_err();
    assert_eq!(
        told.take(),
        [r#"reloaded rule "calls": 1/minute -> 2/minute"#, r#"not reloaded: quota "minute": limit"#]
    );
    assert!(limiter.rule("calls").unwrap().admit("ann"));
    assert_eq!(told.take(), ["admitted calls admitted 1requests ann [1/2]"], "the hook stays");
}

async fn status(limiter: &RateLimiter, request: Request<()>) -> StatusCode {
    let inner = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new()))));
    limiter.layer().layer(limiter.layer().layer(inner)).oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn each_request_of_a_layer_is_told_once_whatever_comes_of_it() {
    let told = Told::default();
    let rule = Rule::new("calls").routes(["/calls"]).key(key::header("x-account")).policy(Policy::per_minute(1));
    let rule = rule.on_missing(tower_quota::OnMissing::Reject(StatusCode::UNAUTHORIZED));
    let limiter = builder(&told).rule(rule).exempt(exempt::routes(["/health"])).build().unwrap();
    let get = |path: &str| Request::get(path.to_owned());
    let calls = || get("/calls").header("x-account", "ann").body(()).unwrap();
    assert_eq!(status(&limiter, calls()).await, 200);
    assert_eq!(status(&limiter, calls()).await, 429);
    assert_eq!(status(&limiter, get("/calls").body(()).unwrap()).await, 401);
    assert_eq!(
        told.take(),
        ["admitted calls admitted 1requests ann [1/1]", "denied calls denied 1requests ann [1/1]", "missing_key"]
    );
    // Nothing marks these for the layer further in.
    assert_eq!(status(&limiter, get("/health").body(()).unwrap()).await, 200);
    assert_eq!(status(&limiter, get("/other").body(()).unwrap()).await, 200);
    assert_eq!(told.take(), ["exempt", "exempt", "ungoverned", "ungoverned"]);
}

#[test]
fn keys_are_hidden_unless_they_are_wanted() {
    let seen = |show: Option<ShowKeys>| {
        let keys = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&keys);
        let builder = RateLimiter::builder().on_decision(move |event| {
            if let Event::Decided(decided) = event {
                noted.lock().extend(decided.rules().iter().map(|rule| rule.key().to_string()));
            }
        });
        let builder = show.into_iter().fold(builder, RateLimiterBuilder::show_keys);
        let limiter = builder.rule(Rule::new("calls").no_requests().policy(Policy::per_minute(9))).build().unwrap();
        let calls = limiter.rule("calls").unwrap();
        assert!(calls.admit("ann") && calls.admit("ann") && calls.admit("bob") && calls.admit(("acme", "orders")));
        std::mem::take(&mut *keys.lock())
    };
    assert_eq!(seen(None), ["(hidden)"; 4]);
    let hashed = seen(Some(ShowKeys::Hashed));
    assert!(hashed[0] == hashed[1] && hashed[0] != hashed[2] && hashed.iter().all(|key| key.starts_with('#')));
    let shown = seen(Some(ShowKeys::Shown));
    assert_eq!(&shown[..3], ["ann", "ann", "bob"]);
    assert!(shown[3].starts_with('~') && !shown[3].contains("acme"));
}

#[tokio::test]
async fn a_panic_of_the_hook_fails_that_request_alone() {
    let limiter = RateLimiter::builder().rule(rule("calls", Policy::per_minute(2))).on_decision(|event| {
        if let Event::Decided(decided) = event {
            assert!(decided.outcome() == RequestOutcome::Denied || decided.rules()[0].quotas()[0].used() > 1, "boom");
        }
    });
    let limiter = limiter.build().unwrap();
    let request = || Request::new(());
    let panicked = AssertUnwindSafe(status(&limiter, request())).catch_unwind().await;
    assert!(panicked.is_err());
    assert_eq!(status(&limiter, request()).await, 200);
    assert_eq!(status(&limiter, request()).await, 429);
    assert_eq!(limiter.len(), 1);
}

#[test]
fn a_panic_of_the_hook_in_a_destructor_ends_there_and_the_reservation_is_settled() {
    let rule = Rule::new("tokens").no_requests().policy(Policy::per_minute(100)).reserve("tokens", 60);
    let rule = rule.unsettled(tower_quota::Unsettled::Release);
    let limiter = RateLimiter::builder().rule(rule).on_decision(|event| {
        assert!(!matches!(event, Event::Settled(_)), "boom");
    });
    let limiter: RateLimiter = limiter.build().unwrap();
    let tokens = limiter.rule("tokens").unwrap();
    drop(tokens.check("ann"));
    let unwound = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let _decision = tokens.check("ann");
        panic!("the handler");
    }));
    assert_eq!(unwound.unwrap_err().downcast_ref::<&str>(), Some(&"the handler"));
    assert!(tokens.check("ann").is_admitted(), "nothing is left of the others");
}

#[test]
fn a_hook_may_ask_the_limiter_itself() {
    let own: Arc<Mutex<Option<RateLimiter>>> = Arc::default();
    let (asked, answers) = (Arc::clone(&own), Arc::new(Mutex::new(Vec::new())));
    let noted = Arc::clone(&answers);
    let limiter = RateLimiter::builder().rule(rule("calls", Policy::per_minute(9))).on_decision(move |event| {
        let limiter = asked.lock().clone();
        if let (Event::Decided(decided), Some(limiter)) = (event, limiter) {
            assert_eq!(decided.rules()[0].outcome(), RuleOutcome::Admitted);
            noted.lock().push((limiter.len(), limiter.heaviest("calls", 1).unwrap()[0].used()));
        }
    });
    let limiter = limiter.build().unwrap();
    *own.lock() = Some(limiter.clone());
    assert!(limiter.rule("calls").unwrap().admit("ann"));
    assert_eq!(*answers.lock(), [(1, 1)]);
    own.lock().take();
}

#[test]
fn a_warning_about_new_rules_is_told_when_they_are_in_force_and_may_be_answered_with_a_reload() {
    let own: Arc<Mutex<Option<RateLimiter>>> = Arc::default();
    let (asked, limits) = (Arc::clone(&own), Arc::new(Mutex::new(Vec::new())));
    let noted = Arc::clone(&limits);
    let limiter = RateLimiter::builder().rule(rule("calls", Policy::per_minute(9))).on_decision(move |event| {
        // The first warning alone: the clone is taken.
        if let Event::Warned(_) = event
            && let Some(limiter) = asked.lock().take()
        {
            let limit_now = || limiter.rule("calls").unwrap().peek("ann").quotas().next().map(|quota| quota.limit());
            noted.lock().push(limit_now());
            if limit_now() == Some(60) {
                limiter.reload(|builder| Ok(builder.rule(rule("calls", Policy::per_minute(10))))).unwrap();
            }
            noted.lock().push(limit_now());
        }
    });
    let limiter = limiter.build().unwrap();
    *own.lock() = Some(limiter.clone());
    let idle = Policy::per_minute(60).and_per_hour(10);
    limiter.reload(|builder| Ok(builder.rule(rule("calls", idle)))).unwrap();
    assert_eq!(*limits.lock(), [Some(60), Some(10)]);
}
