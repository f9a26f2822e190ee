//! Pacing with a store that takes its time, as those on a server do.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{Policy, RateLimiter, Rule, client::pace::PaceError, clock::TokioClock, key, plain::Plain};
use tower_quota_tests::slow_store::SlowStore;

const LATENCY: Duration = Duration::from_millis(10);

fn limiter(policy: Policy, store: SlowStore) -> RateLimiter<Plain<u32>, SlowStore> {
    let rule = Rule::new("calls").every_request().key(key::constant("")).level("all").policy(policy);
    RateLimiter::builder_for::<u32>().rule(rule).clock(TokioClock::new()).store(store).build().unwrap()
}

async fn echo(id: u32) -> Result<u32, Infallible> {
    Ok(id)
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_the_store_and_go_in_order() {
    let store = SlowStore::new(LATENCY);
    let asked = Arc::clone(&store.asked);
    let service = limiter(Policy::per_second(2), store).pace().layer(service_fn(echo));
    let begin = Instant::now();
    let calls = join_all((0..6).map(|id| service.clone().oneshot(id))).await;
    assert!(calls.into_iter().map(Result::unwrap).eq(0..6));
    assert_eq!(begin.elapsed().as_millis() / 100, 20, "two seconds, and some questions");
    // All ask when they come, and those that waited once or twice more.
    assert!(asked.load(Ordering::Relaxed) <= 6 + 2 * 4, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_an_error_if_the_store_says_so() {
    let store = SlowStore::new(LATENCY);
    store.is_down.store(true, Ordering::Relaxed);
    let layer = limiter(Policy::per_second(2), store).pace();
    let error = layer.layer(service_fn(echo)).oneshot(1).await.unwrap_err();
    assert!(matches!(&error, PaceError::Unavailable(why) if why.reason() == "it is down"), "{error}");
    assert!(layer.handle().queues().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_gives_up_while_the_store_decides_leaves_nothing_behind() {
    let layer = limiter(Policy::per_second(1), SlowStore::new(LATENCY)).pace();
    let service = layer.layer(service_fn(echo));
    let gone = timeout(LATENCY / 2, service.clone().oneshot(1)).await;
    assert!(gone.is_err());
    assert!(layer.handle().queues().is_empty());
    let begin = Instant::now();
    assert_eq!(service.oneshot(2).await.unwrap(), 2);
    assert_eq!(begin.elapsed(), LATENCY, "the question that was given up had not been answered");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_gives_up_after_a_denial_of_the_store_leaves_the_queue() {
    let layer = limiter(Policy::per_second(1), SlowStore::new(LATENCY)).pace();
    let service = layer.layer(service_fn(echo));
    let calls: Vec<_> = (0..3).map(|id| tokio::spawn(service.clone().oneshot(id))).collect();
    sleep(2 * LATENCY).await;
    assert_eq!(layer.handle().waiting(), 2);
    calls[1].abort();
    calls[2].abort();
    sleep(LATENCY).await;
    assert_eq!(layer.handle().waiting(), 0);
    assert!(layer.handle().queues().is_empty());
}
