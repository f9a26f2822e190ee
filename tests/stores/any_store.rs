//! A store that is chosen at run time: one type of limiter, whatever is behind it.

use std::{convert::Infallible, task::Poll, time::Duration};

use futures_util::poll;
use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{
    AnyRateLimiter, Policy, RateLimiter, Rule,
    clock::ManualClock,
    config::Sources,
    http::RequestView,
    key,
    store::{AnyStore, MemoryStore, OnOutage, RedisStore},
};

/// A rule whose key the program reads.
const FILE: &str = r#"
    [[rule]]
    name = "from-the-file"
    key = "tenant"
    quotas = ["1/minute"]
    applies_to = "every_request"
"#;

/// As a service keeps it: no parameter tells where the histories are.
struct AppState {
    limiter: AnyRateLimiter,
}

fn rule() -> Rule {
    Rule::new("calls").every_request().key(key::header("x-account")).level("account").policy(Policy::per_minute(1))
}

fn limiter(store: impl Into<AnyStore>) -> AnyRateLimiter {
    RateLimiter::builder().store(store.into()).rule(rule()).build().unwrap()
}

fn nobody_listens() -> RedisStore {
    RedisStore::new("redis://127.0.0.1:1", OnOutage::Open)
}

#[tokio::test]
async fn a_state_names_the_limiter_whatever_its_store_is() {
    for store in [AnyStore::memory(), nobody_listens().into(), AnyStore::new(MemoryStore::default())] {
        let state = AppState { limiter: limiter(store) };
        assert!(state.limiter.rule("calls").unwrap().check_async("acme").await.unwrap().is_admitted());
    }
}

#[tokio::test]
async fn layers_on_any_store_refuse_what_is_too_much() {
    let service = limiter(AnyStore::memory())
        .layer()
        .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new()))));
    let call = || service.clone().oneshot(Request::get("/").header("x-account", "acme").body(()).unwrap());
    assert_eq!(call().await.unwrap().status(), StatusCode::OK);
    assert_eq!(call().await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn in_memory_the_answer_is_there_when_it_is_first_polled() {
    let limiter = limiter(AnyStore::default());
    let calls = limiter.rule("calls").unwrap();
    let mut decision = Box::pin(calls.check_async("acme"));
    let Poll::Ready(Ok(decision)) = poll!(decision.as_mut()) else { panic!("it has to wait") };
    assert!(decision.is_admitted());
}

#[tokio::test]
async fn the_parts_of_a_builder_come_in_any_order() {
    let sources = Sources::new().source("tenant", |_: &RequestView<'_>| Some("acme"));
    let (first, last) = (ManualClock::new(), ManualClock::new());
    let in_front = RateLimiter::builder().store(AnyStore::memory()).clock(first.clone()).rule(rule());
    let in_front = in_front.toml(FILE, &sources).unwrap().build().unwrap();
    let behind = RateLimiter::builder().toml(FILE, &sources).unwrap().rule(rule()).clock(last.clone());
    let behind = behind.store(AnyStore::memory()).build().unwrap();
    for (limiter, clock) in [(in_front, first), (behind, last)] {
        for rule in ["calls", "from-the-file"] {
            let admits = async || limiter.rule(rule).unwrap().check_async("acme").await.unwrap().is_admitted();
            assert_eq!([admits().await, admits().await], [true, false], "{rule}");
            clock.advance(Duration::from_secs(60));
            assert!(admits().await, "{rule}");
        }
    }
}

#[test]
fn a_variable_of_the_environment_chooses_the_store() {
    let chosen = |variable| AnyStore::from_env(variable, |_| nobody_listens()).unwrap();
    assert!(chosen("PATH").downcast_ref::<RedisStore>().is_some());
    let unset = chosen("TOWER_QUOTA_TEST_THAT_NOBODY_SETS");
    assert!(unset.downcast_ref::<MemoryStore>().is_some());
}

#[tokio::test]
async fn the_store_inside_does_what_only_one_store_can() {
    let limiter = limiter(nobody_listens());
    let redis = limiter.store().downcast_ref::<RedisStore>().unwrap();
    assert!(redis.health().is_some() && redis.ping().await.is_err());
    assert!(limiter.store().downcast_ref::<MemoryStore>().is_none());
}
