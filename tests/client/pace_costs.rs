//! Calls that cost different numbers of units, and calls whose cost is known when they are over.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use futures_util::future::join_all;
use http::{Request, Response};
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::{
    task::{JoinHandle, yield_now},
    time::{Instant, sleep, timeout},
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_quota::{
    Policy, RateLimiter, Reservation, Rule, Unsettled,
    client::pace::{IgnoreAdvice, PaceError, PaceLayer},
    clock::TokioClock,
    cost, key, outcome,
    plain::Plain,
    store::MemoryStore,
};

const SECOND: Duration = Duration::from_secs(1);

/// A call, and how long it takes.
#[derive(Clone, Copy, Debug)]
struct Call {
    units: u64,
    takes: Duration,
}

const fn costing(units: u64) -> Call {
    Call { units, takes: Duration::ZERO }
}

type Layered = PaceLayer<Plain<Call>, MemoryStore, IgnoreAdvice>;
type Calls = Arc<Mutex<Vec<(Duration, u64)>>>;

fn rule(policy: impl Into<Policy>) -> Rule<Plain<Call>> {
    Rule::new("tokens").every_request().key(|_: &Call| Some("all")).level("all").policy(policy)
}

fn layer_of(rule: Rule<Plain<Call>>) -> Layered {
    let limiter = RateLimiter::builder_for::<Call>().rule(rule).clock(TokioClock::new()).build().unwrap();
    limiter.pace().max_jitter(Duration::ZERO)
}

fn layer(policy: impl Into<Policy>) -> Layered {
    layer_of(rule(policy).cost("tokens", |call: &Call| call.units))
}

/// Returns a service that writes down when it was called, and with what.
fn journal(
    begin: Instant,
) -> (Calls, impl Service<Call, Response = u64, Error = Infallible, Future: Send> + Clone + Send + 'static) {
    let calls = Calls::default();
    let written = Arc::clone(&calls);
    let service = service_fn(move |call: Call| {
        written.lock().push((begin.elapsed(), call.units));
        async move {
            sleep(call.takes).await;
            Ok(call.units)
        }
    });
    (calls, service)
}

/// Makes calls in this order, each of which polls by itself.
async fn spawn<S>(service: &S, calls: &[Call]) -> Vec<JoinHandle<Result<u64, PaceError<Infallible>>>>
where
    S: Service<Call, Response = u64, Error = PaceError<Infallible>> + Clone + Send + 'static,
    S::Future: Send,
{
    let mut tasks = Vec::new();
    for call in calls {
        tasks.push(tokio::spawn(service.clone().oneshot(*call)));
        yield_now().await;
    }
    tasks
}

async fn all_served(tasks: Vec<JoinHandle<Result<u64, PaceError<Infallible>>>>) {
    for outcome in join_all(tasks).await {
        outcome.unwrap().unwrap();
    }
}

fn left(layer: &Layered) -> u64 {
    let decision = layer.limiter().unwrap().rule("tokens").unwrap().peek("all");
    decision.quotas().next().unwrap().remaining()
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_room_for_its_cost_and_smaller_ones_behind_it_wait_too() {
    let (layer, begin) = (layer(Policy::per_second(10)), Instant::now());
    let (calls, service) = journal(begin);
    all_served(spawn(&layer.layer(service), &[6, 6, 4, 10, 1].map(costing)).await).await;
    let times = calls.lock().iter().map(|(at, units)| (at.as_secs(), *units)).collect::<Vec<_>>();
    assert_eq!(times, [(0, 6), (1, 6), (1, 4), (2, 10), (3, 1)]);
    assert!(layer.handle().queues().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_costs_nothing_goes_at_once_unless_others_wait() {
    let (layer, begin) = (layer(Policy::per_second(10)), Instant::now());
    let (calls, service) = journal(begin);
    let service = layer.layer(service);
    all_served(spawn(&service, &[10, 0].map(costing)).await).await;
    all_served(spawn(&service, &[1, 0].map(costing)).await).await;
    let times = calls.lock().iter().map(|(at, units)| (at.as_secs(), *units)).collect::<Vec<_>>();
    assert_eq!(times, [(0, 10), (0, 0), (1, 1), (1, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_possible_fails_at_once_whoever_waits() {
    let (layer, begin) = (layer(Policy::per_second(10).and_per_minute(50)), Instant::now());
    let service = layer.layer(journal(begin).1);
    let waiting = spawn(&service, &[10, 10].map(costing)).await;
    let error = service.clone().oneshot(costing(11)).await.unwrap_err();
    assert!(begin.elapsed().is_zero());
    assert_eq!(error.to_string(), "it costs 11 tokens, and rule \"tokens\" admits at most 10");
    assert!(matches!(error, PaceError::NeverPossible { cost: 11, limit: 10, .. }) && !error.was_called());
    all_served(waiting).await;
    assert_eq!(begin.elapsed(), SECOND, "nobody has waited for it");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_fails_when_a_reload_makes_it_impossible() {
    let (layer, begin) = (layer(Policy::per_second(10)), Instant::now());
    let service = layer.layer(journal(begin).1);
    let waiting = spawn(&service, &[10, 8].map(costing)).await;
    let reloaded = rule(Policy::per_second(7)).cost("tokens", |call: &Call| call.units);
    layer.limiter().unwrap().reload(|builder| Ok(builder.rule(reloaded))).unwrap();
    let outcomes = join_all(waiting).await;
    assert!(outcomes[0].as_ref().unwrap().is_ok());
    assert!(matches!(outcomes[1].as_ref().unwrap(), Err(PaceError::NeverPossible { cost: 8, limit: 7, .. })));
    assert_eq!(begin.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_forecast_sums_the_units_of_those_ahead() {
    let (layer, begin) = (layer(Policy::per_second(10)).max_wait(SECOND * 5 / 2), Instant::now());
    let service = layer.layer(journal(begin).1);
    let waiting = spawn(&service, &[10, 7, 6, 6].map(costing)).await;
    // The first of them goes after a second, and each second there is room for one.
    assert_eq!(layer.handle().queues()[0].forecast(), 2 * SECOND);
    let error = service.clone().oneshot(costing(10)).await.unwrap_err();
    assert_eq!((error.wait(), begin.elapsed()), (Some(3 * SECOND), Duration::ZERO));
    // A smaller one would be in time, as far as can be known.
    assert!(timeout(Duration::ZERO, service.clone().oneshot(costing(1))).await.is_err(), "it waits");
    drop(waiting);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_gives_up_makes_way_for_one_that_costs_less() {
    let (layer, begin) = (layer(Policy::per_second(10)), Instant::now());
    let (calls, service) = journal(begin);
    let service = layer.layer(service);
    let waiting = spawn(&service, &[6, 10].map(costing)).await;
    let small = spawn(&service, &[4].map(costing)).await;
    assert_eq!(calls.lock().len(), 1);
    waiting[1].abort();
    all_served(small).await;
    assert_eq!(*calls.lock(), [(Duration::ZERO, 6), (Duration::ZERO, 4)]);
}

#[tokio::test(start_paused = true)]
async fn an_estimate_is_settled_from_the_outcome_and_lets_the_next_call_go() {
    let begin = Instant::now();
    let layer = layer_of(rule(Policy::per_minute(10)).reserve("tokens", 5));
    let layer = layer.settled_by("tokens", |outcome: &Result<u64, Infallible>| outcome.as_ref().ok().copied());
    let (calls, service) = journal(begin);
    let service = layer.layer(service);
    let slow = |units| Call { units, takes: 3 * SECOND };
    all_served(spawn(&service, &[slow(0), slow(7), slow(1), slow(2)]).await).await;
    let times: Vec<_> = calls.lock().iter().map(|(at, units)| (at.as_secs(), *units)).collect();
    // From three seconds on 7 units count. Five of them leave with the first minute, and the two that were owed later.
    assert_eq!(times, [(0, 0), (0, 7), (60, 1), (63, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_units_in_flight_goes_when_they_come_back() {
    for unsettled in [Unsettled::Release, Unsettled::Keep] {
        let begin = Instant::now();
        let layer = layer_of(rule(Policy::per_minute(10)).reserve("tokens", 10).unsettled(unsettled));
        let (calls, service) = journal(begin);
        let service = layer.layer(service);
        let slow = Call { units: 1, takes: SECOND * 5 / 2 };
        all_served(spawn(&service, &[slow, slow]).await).await;
        let second = calls.lock()[1].0;
        let right = if unsettled == Unsettled::Release { slow.takes } else { 60 * SECOND };
        assert_eq!(second, right, "{unsettled:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_settles_its_estimate() {
    let layer = layer_of(rule(Policy::per_minute(10)).reserve("tokens", 10).unsettled(Unsettled::Release));
    let begin = Instant::now();
    let (calls, service) = journal(begin);
    let service = layer.layer(service);
    let waiting = spawn(&service, &[Call { units: 1, takes: 60 * SECOND }, costing(2)]).await;
    assert_eq!((calls.lock().len(), left(&layer)), (1, 0));
    waiting[0].abort();
    yield_now().await;
    yield_now().await;
    assert_eq!((calls.lock().len(), begin.elapsed()), (2, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_debt_is_waited_for() {
    let begin = Instant::now();
    let layer = layer_of(rule(Policy::per_second(10)).reserve("tokens", 5));
    let layer = layer.settled_by("tokens", |outcome: &Result<u64, Infallible>| outcome.as_ref().ok().copied());
    let (calls, service) = journal(begin);
    let service = layer.layer(service);
    let owing = Call { units: 30, takes: SECOND / 2 };
    all_served(spawn(&service, &[owing]).await).await;
    all_served(spawn(&service, &[costing(5)]).await).await;
    assert_eq!(calls.lock()[1].0, SECOND * 3 / 2, "25 units count from the settlement on");
}

#[test]
fn rules_that_count_some_outcomes_are_not_paced() {
    let counting = rule(Policy::per_second(10)).count_only(outcome::failures());
    let limiter = RateLimiter::builder_for::<Call>().rule(counting).build().unwrap();
    let mut service = limiter.pace().layer(service_fn(async |call: Call| Ok::<_, Infallible>(call.units)));
    let error = futures_util::FutureExt::now_or_never(service.call(costing(1))).unwrap().unwrap_err();
    assert!(error.to_string().contains("count_only"), "{error}");
}

// ---- HTTP ----

fn http_layer(rule: Rule) -> PaceLayer {
    let rule = rule.every_request().key(key::constant("all"));
    RateLimiter::builder().rule(rule).clock(TokioClock::new()).build().unwrap().pace()
}

fn http_left(layer: &PaceLayer) -> u64 {
    let decision = layer.limiter().unwrap().rule("tokens").unwrap().peek("all");
    decision.quotas().next().unwrap().remaining()
}

fn request(tokens: &str) -> Request<()> {
    Request::get("http://api.example.com/").header("x-tokens", tokens).body(()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_services_further_in_find_the_reservation_in_the_request() {
    let tokens = Rule::new("tokens").policy(Policy::per_minute(100)).reserve("tokens", cost::header("x-tokens").or(20));
    let layer = http_layer(tokens);
    let client = layer.layer(service_fn(async |request: Request<()>| {
        let reservation = request.extensions().get::<Reservation>().unwrap();
        assert_eq!(reservation.reserved("tokens"), 40);
        reservation.settle("tokens", 7);
        Ok::<_, Infallible>(Response::new(()))
    }));
    client.oneshot(request("40")).await.unwrap();
    assert_eq!(http_left(&layer), 93);
}

#[tokio::test(start_paused = true)]
async fn the_caller_finds_the_reservation_in_the_response_and_settles_it_when_the_body_has_ended() {
    let tokens = Rule::new("tokens").policy(Policy::per_minute(100)).reserve("tokens", 100);
    let layer = http_layer(tokens);
    let client = layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(()))));
    let begin = Instant::now();
    let response = client.clone().oneshot(request("")).await.unwrap();
    assert_eq!(http_left(&layer), 0, "the response may still be read");
    let next = tokio::spawn(client.oneshot(request("")));
    sleep(SECOND * 7 / 2).await;
    response.extensions().get::<Reservation>().unwrap().settle("tokens", 0);
    next.await.unwrap().unwrap();
    assert_eq!(begin.elapsed(), 4 * SECOND, "one that waits for units in flight asks each second");
}

#[tokio::test(start_paused = true)]
async fn header_fields_of_the_response_settle_it_whatever_reads_the_advice() {
    let tokens = Rule::new("tokens").policy(Policy::per_minute(100)).reserve("tokens", 20);
    let used = |name: &'static str| move |_, headers: &http::HeaderMap| headers.get(name)?.to_str().ok()?.parse().ok();
    let layer = http_layer(tokens).settled_by("tokens", used("x-used")).settled_by("bytes", used("x-bytes"));
    let layer = layer.read_advice_with(|_, _| tower_quota::client::Advice::none());
    let answers = Arc::new(Mutex::new(VecDeque::from([
        Response::builder().header("x-used", "5").header("x-bytes", "90"),
        Response::builder().header("x-used", "many"),
    ])));
    let client = layer.layer(service_fn(move |_: Request<()>| {
        let response = answers.lock().pop_front().unwrap().body(()).unwrap();
        async move { Ok::<_, Infallible>(response) }
    }));
    client.clone().oneshot(request("")).await.unwrap();
    assert_eq!(http_left(&layer), 95);
    client.oneshot(request("")).await.unwrap();
    assert_eq!(http_left(&layer), 75, "it does not say, and the response is dropped");
}

// ---- schedules ----

fn in_paused_time<T>(run: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(run)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn never_more_units_than_n_go_in_any_window_and_who_comes_first_goes_first(
        arrivals in prop::collection::vec((0_u64..120, 0_u64..9, prop::option::of(0_u64..3000)), 1..60),
        burst in 8_u64..12,
        slow in 12_u64..40,
    ) {
        let window = 3 * SECOND;
        let policy = Policy::new(tower_quota::Quota::new(burst, SECOND / 2)).and(tower_quota::Quota::new(slow, window));
        in_paused_time(async {
            let (layer, begin) = (layer(policy), Instant::now());
            let (calls, service) = journal(begin);
            let service = layer.layer(service);
            let (mut tasks, mut asked) = (Vec::new(), Vec::new());
            for (number, (delay, units, patience)) in arrivals.iter().enumerate() {
                sleep(Duration::from_millis(*delay)).await;
                let patience = patience.map_or(3600 * SECOND, Duration::from_millis);
                // The number of a call is told by how long it takes.
                let call = Call { units: *units, takes: Duration::from_nanos(number as u64) };
                tasks.push(tokio::spawn(timeout(patience, service.clone().oneshot(call))));
                yield_now().await;
                asked.push(*units);
            }
            let mut served = Vec::new();
            for (number, task) in tasks.into_iter().enumerate() {
                match task.await.unwrap() {
                    Ok(outcome) => served.push((number, outcome.unwrap())),
                    Err(_) => assert!(arrivals[number].2.is_some(), "a patient call was not served"),
                }
            }
            let calls = calls.lock();
            for (limit, window) in [(burst, SECOND / 2), (slow, window)] {
                for (at, (first, _)) in calls.iter().enumerate() {
                    let sum: u64 = calls[at..].iter().take_while(|(time, _)| *time < *first + window).map(|(_, units)| units).sum();
                    assert!(sum <= limit, "{sum} units within {window:?} from {first:?} on");
                }
            }
            // Calls that gave up after they had gone are among them.
            let in_order: Vec<u64> = served.iter().map(|(_, units)| *units).collect();
            let mut gone = calls.iter().map(|(_, units)| *units);
            assert!(in_order.iter().all(|units| gone.any(|other| other == *units)), "they went in another order");
            assert!(layer.handle().queues().is_empty());
        });
    }
}
