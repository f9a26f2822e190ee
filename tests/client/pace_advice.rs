//! What answers say holds calls back, and an unknown limit is found.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use http::{HeaderMap, Request, Response, StatusCode};
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_quota::{
    Policy, Quota, RateLimiter, Rule,
    client::{
        Advice,
        pace::{Pace, PaceError, PaceLayer},
    },
    clock::TokioClock,
    key,
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

type Client = Pace<Server, PaceLayer>;
type Server = BoxCloneSyncService<Request<()>, Response<()>, Infallible>;
type Calls = Arc<Mutex<Vec<Duration>>>;

/// A client of one host with a generous policy, and the times of the calls that reach the server.
///
/// The server gives its advice in a header field, in the notation of [`advice`].
fn client(layer: PaceLayer, answer: impl Fn(usize) -> &'static str + Clone + Send + Sync + 'static) -> (Client, Calls) {
    client_of_slow(layer, Duration::ZERO, answer)
}

/// Of a server that takes a tenth of a second.
fn slow_client(
    layer: PaceLayer,
    answer: impl Fn(usize) -> &'static str + Clone + Send + Sync + 'static,
) -> (Client, Calls) {
    client_of_slow(layer, SECOND / 10, answer)
}

fn client_of_slow(
    layer: PaceLayer,
    latency: Duration,
    answer: impl Fn(usize) -> &'static str + Clone + Send + Sync + 'static,
) -> (Client, Calls) {
    let (calls, begin) = (Calls::default(), Instant::now());
    let seen = Arc::clone(&calls);
    let server = service_fn(move |_: Request<()>| {
        let mut calls = calls.lock();
        let said = answer(calls.len());
        calls.push(begin.elapsed());
        async move {
            if !latency.is_zero() {
                sleep(latency).await;
            }
            Ok(Response::builder().header("said", said).body(()).unwrap())
        }
    });
    (layer.read_advice_with(advice).layer(BoxCloneSyncService::new(server)), seen)
}

fn generous() -> PaceLayer {
    PaceLayer::new(key::host(), Policy::per_second(1000)).max_jitter(Duration::ZERO)
}

/// `refused`, `failed`, `wait=SECONDS` and `left=CALLS/SECONDS`, separated by spaces.
fn advice(_: StatusCode, headers: &HeaderMap) -> Advice {
    let said = headers.get("said").map_or("", |said| said.to_str().unwrap());
    said.split_ascii_whitespace().fold(Advice::none(), |advice, word| match word.split_once('=') {
        Some(("wait", seconds)) => advice.wait(Duration::from_secs(seconds.parse().unwrap())),
        Some(("left", left)) => {
            let (calls, seconds) = left.split_once('/').unwrap();
            advice.allow(calls.parse().unwrap(), Duration::from_secs(seconds.parse().unwrap()))
        }
        _ if word == "failed" => advice.failed(),
        _ => advice.refused(),
    })
}

fn request(host: &str) -> Request<()> {
    Request::get(format!("http://{host}/")).body(()).unwrap()
}

async fn call(client: &Client) -> Result<Response<()>, PaceError<Infallible>> {
    client.clone().oneshot(request("api.example")).await
}

async fn call_together(client: &Client, calls: usize) {
    join_all((0..calls).map(|_| call(client))).await.into_iter().for_each(|outcome| drop(outcome.unwrap()));
}

fn seconds(calls: &Calls) -> Vec<u64> {
    calls.lock().iter().map(Duration::as_secs).collect()
}

#[tokio::test(start_paused = true)]
async fn no_call_goes_before_the_time_that_an_answer_states() {
    let (client, calls) = client(generous(), |call| if call == 0 { "wait=38" } else { "" });
    call(&client).await.unwrap();
    call_together(&client, 3).await;
    assert_eq!(seconds(&calls), [0, 38, 38, 38]);
}

#[tokio::test(start_paused = true)]
async fn those_who_were_refused_together_do_not_return_together() {
    for (stated, wait, most) in [("refused wait=5", 5 * SECOND, SECOND / 2), ("refused wait=38", 38 * SECOND, SECOND)] {
        let layer = PaceLayer::new(key::host(), Policy::per_second(1000));
        let (client, calls) = client(layer, move |call| if call < 20 { stated } else { "" });
        let hosts: Vec<_> = (0..20).map(|host| format!("host-{host}")).collect();
        join_all(hosts.iter().map(|host| client.clone().oneshot(request(host)))).await;
        join_all(hosts.iter().map(|host| client.clone().oneshot(request(host)))).await;
        let returns = &calls.lock()[20..];
        // Timers are exact to the millisecond.
        let range = wait..=wait + most + SECOND / 1000;
        assert!(returns.iter().all(|at| range.contains(at)), "{returns:?}");
        assert!(returns.iter().any(|at| *at != returns[0]), "{returns:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_keys_are_not_held_back() {
    let (client, calls) = client(generous(), |call| if call == 0 { "refused wait=38" } else { "" });
    call(&client).await.unwrap();
    client.clone().oneshot(request("other.example")).await.unwrap();
    assert_eq!(seconds(&calls), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_calls_go_as_an_answer_says_are_left() {
    let (client, calls) = client(generous(), |call| if call == 0 { "left=2/10" } else { "" });
    call(&client).await.unwrap();
    call_together(&client, 5).await;
    assert_eq!(seconds(&calls), [0, 0, 0, 10, 10, 10]);
}

#[tokio::test(start_paused = true)]
async fn calls_that_the_server_may_not_have_counted_are_taken_off() {
    // Four calls are under way when the first answer says that five are left.
    let layer = generous();
    let (calls, begin) = (Calls::default(), Instant::now());
    let seen = Arc::clone(&calls);
    let server = service_fn(move |_: Request<()>| {
        let mut calls = calls.lock();
        let is_first = calls.is_empty();
        calls.push(begin.elapsed());
        async move {
            sleep(if is_first { SECOND } else { 20 * SECOND }).await;
            let said = if is_first { "left=5/10" } else { "" };
            Ok(Response::builder().header("said", said).body(()).unwrap())
        }
    });
    let client = layer.read_advice_with(advice).layer(BoxCloneSyncService::new(server));
    let first = tokio::spawn({
        let client = client.clone();
        async move { call_together(&client, 4).await }
    });
    sleep(2 * SECOND).await;
    call_together(&client, 4).await;
    first.await.unwrap();
    // Two more then, and a third ten seconds after the call was sent; what is told meanwhile says nothing.
    assert_eq!(seconds(&seen)[..7], [0, 0, 0, 0, 2, 2, 10]);
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_one_call_goes_ahead_and_each_good_answer_lets_two_more_go() {
    let (client, calls) = slow_client(generous(), |call| if call == 0 { "wait=10" } else { "" });
    call(&client).await.unwrap();
    call_together(&client, 10).await;
    let times: Vec<_> = calls.lock().iter().map(Duration::as_millis).collect();
    let after = |tenths: u128| 10_100 + 100 * tenths;
    let waves = [0, 1, 1, 2, 2, 2, 2, 3, 3, 3].map(after);
    assert_eq!(times[1..], waves);
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_remembered_for_as_long_again_even_if_nobody_calls_meanwhile() {
    for (rest, together) in [(8, 2), (12, 6)] {
        let answer = |call| if call == 0 { "wait=10" } else { "" };
        let (client, calls) = slow_client(generous(), answer);
        call(&client).await.unwrap();
        // The one that goes ahead.
        call(&client).await.unwrap();
        sleep(rest * SECOND).await;
        call_together(&client, 6).await;
        let times = calls.lock();
        assert_eq!(times[2..].iter().filter(|at| **at == times[2]).count(), together, "{rest} s later: {times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_after_a_pause_lets_only_one_more_call_go() {
    let (client, calls) = slow_client(generous(), |call| if call == 0 { "wait=10" } else { "failed" });
    call(&client).await.unwrap();
    call_together(&client, 5).await;
    let times: Vec<_> = calls.lock().iter().map(Duration::as_millis).collect();
    assert_eq!(times[1..], [10_100, 10_200, 10_300, 10_400, 10_500]);
}

#[tokio::test(start_paused = true)]
async fn failed_calls_count_for_nothing_in_the_pace_after_a_refusal() {
    let mut paces = Vec::new();
    for said in ["", "failed"] {
        let layer = PaceLayer::new(key::host(), Policy::per_second(10)).adaptive();
        let handle = layer.handle();
        let (client, _) = client(layer, move |call| if call == 20 { "refused" } else { said });
        call_together(&client, 21).await;
        paces.push(handle.queues()[0].rate());
    }
    assert!(paces[0] > 2.0 && paces[1] < 1.0, "{paces:?}: what was accepted decides");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_goes_ahead_and_is_never_answered_does_not_hold_up_the_others_for_ever() {
    let layer = generous().default_wait(5 * SECOND);
    let (calls, begin) = (Calls::default(), Instant::now());
    let seen = Arc::clone(&calls);
    let server = service_fn(move |_: Request<()>| {
        calls.lock().push(begin.elapsed());
        let is_first = begin.elapsed().is_zero();
        async move {
            sleep(if is_first { Duration::ZERO } else { DAY }).await;
            Ok(Response::builder().header("said", if is_first { "wait=10" } else { "" }).body(()).unwrap())
        }
    });
    let client = layer.read_advice_with(advice).layer(BoxCloneSyncService::new(server));
    call(&client).await.unwrap();
    call_together(&client, 3).await;
    assert_eq!(seconds(&seen), [0, 10, 15, 20]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_does_not_say_for_how_long_holds_back_for_a_while() {
    for said in ["refused", "refused wait=0", "refused left=7/60"] {
        let answer = move |call| if call == 0 { said } else { "" };
        let (client, calls) = client(generous().default_wait(3 * SECOND), answer);
        call(&client).await.unwrap();
        call(&client).await.unwrap();
        assert_eq!(seconds(&calls), [0, 3], "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn advice_of_a_server_never_loosens_the_policy() {
    let layer = PaceLayer::new(key::host(), Policy::per_second(1));
    let (client, calls) = client(layer, |_| "left=1000000/1 wait=0");
    call_together(&client, 4).await;
    assert_eq!(seconds(&calls), [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn no_server_holds_calls_back_for_longer_than_it_may() {
    for said in ["wait=18446744073709551615", "refused wait=9999999999", "left=0/18446744073709551615"] {
        let (client, calls) = client(generous(), move |_| said);
        call_together(&client, 1).await;
        call_together(&client, 1).await;
        assert_eq!(seconds(&calls), [0, 600], "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_hold_of_a_server_has_itself_no_limit() {
    let (client, calls) = client(generous().max_hold(Duration::MAX), |_| "wait=18446744073709551615");
    call(&client).await.unwrap();
    let mut waiting = Box::pin(call(&client));
    assert_eq!(waiting.as_mut().now_or_never().map(Result::unwrap).map(|_| ()), None);
    advance(365 * DAY).await;
    assert_eq!(waiting.now_or_never().map(Result::unwrap).map(|_| ()), None);
    assert_eq!(calls.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_be_held_back_too_long_fails_at_once() {
    let (client, _) = client(generous().max_wait(60 * SECOND), |_| "wait=61");
    call(&client).await.unwrap();
    let refused = call(&client).now_or_never().unwrap().unwrap_err();
    assert_eq!(refused.wait(), Some(61 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_newer_answer_may_let_calls_go_earlier_than_an_older_one_said() {
    let answer = |call| match call {
        0 => "left=1/100",
        1 => "left=5/10",
        _ => "",
    };
    let (client, calls) = client(generous(), answer);
    call(&client).await.unwrap();
    call_together(&client, 4).await;
    assert_eq!(seconds(&calls), [0, 0, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn errors_of_a_plain_service_can_advise_too() {
    let by_account = Rule::new("calls").every_request().key(key::field(|account: &String| account)).level("account");
    let limiter = RateLimiter::builder_for::<String>().rule(by_account.policy(Policy::per_second(1000)));
    let limiter = limiter.clock(TokioClock::new()).build().unwrap();
    let layer =
        limiter.pace().max_jitter(Duration::ZERO).read_advice_with(|outcome: &Result<(), Duration>| match outcome {
            Ok(()) => Advice::none(),
            Err(wait) => Advice::none().refused().wait(*wait),
        });
    let is_first = Arc::new(AtomicBool::new(true));
    let mut client = layer.layer(service_fn(move |_: String| {
        let is_first = is_first.swap(false, Ordering::Relaxed);
        async move { if is_first { Err(7 * SECOND) } else { Ok(()) } }
    }));
    let begin = Instant::now();
    let refused = client.ready().await.unwrap().call("a".into()).await.unwrap_err();
    assert_eq!(refused.into_inner(), Some(7 * SECOND));
    client.ready().await.unwrap().call("a".into()).await.unwrap();
    assert_eq!(begin.elapsed(), 7 * SECOND);
}

#[test]
fn one_can_only_advise_about_rules_that_there_are() {
    let layer = generous();
    let key = layer.limiter().unwrap().key("api.example");
    assert!(layer.handle().advise("DEFAULT", key, &Advice::none()).is_ok());
    assert_eq!(layer.handle().advise("other", key, &Advice::none()).unwrap_err().name(), "other");
}

#[tokio::test]
async fn a_layer_with_a_mistake_fails_every_call_and_says_why() {
    let (client, calls) = client(PaceLayer::new(key::host(), Policy::per_second(0)), |_| "");
    let error = call(&client).await.unwrap_err();
    assert!(matches!(&error, PaceError::Misconfigured(mistake) if mistake.value() == "0"), "{error}");
    assert!(calls.lock().is_empty());
    assert!(PaceLayer::try_new(key::host(), Policy::per_second(0)).is_err());
}

#[tokio::test]
async fn a_policy_that_counts_denied_calls_cannot_be_paced() {
    let policy = || Policy::per_second(1).count_denied();
    let mistake = PaceLayer::try_new(key::host(), policy()).unwrap_err();
    assert_eq!((mistake.field(), mistake.rule()), ("count_denied", Some("default")));
    let rule = Rule::new("calls").every_request().key(key::constant("")).level("all").policy(policy());
    let (client, calls) = client(RateLimiter::builder().rule(rule).build().unwrap().pace(), |_| "");
    let error = call(&client).await.unwrap_err();
    assert!(matches!(&error, PaceError::Misconfigured(mistake) if mistake.rule() == Some("calls")), "{error}");
    assert!(calls.lock().is_empty());
}

/// Any advice, mostly of sizes that matter.
fn any_advice() -> impl Strategy<Value = Advice> {
    let duration = prop_oneof![
        (0_u64..3000).prop_map(Duration::from_millis),
        any::<u64>().prop_map(Duration::from_secs),
        Just(Duration::MAX),
    ];
    let remaining = prop_oneof![0_u64..10, any::<u64>()];
    let allowances = prop::collection::vec((remaining, duration.clone()), 0..20);
    (any::<bool>(), prop::option::of(duration), allowances).prop_map(|(is_refused, wait, allowances)| {
        let advice = if is_refused { Advice::none().refused() } else { Advice::none() };
        let advice = wait.map_or(advice.clone(), |wait| advice.wait(wait));
        allowances.into_iter().fold(advice, |advice, (remaining, within)| advice.allow(remaining, within))
    })
}

proptest! {
    #[test]
    fn whatever_a_server_says_the_policy_holds_and_every_call_goes_at_last(
        said in prop::collection::vec(any_advice(), 1..20),
        calls in 1_usize..40,
        is_adaptive in any::<bool>(),
    ) {
        let quota = Quota::new(3, SECOND);
        let run = async {
            let layer = PaceLayer::new(key::constant(""), quota.clone()).max_hold(5 * SECOND).read_advice_with({
                let next = Mutex::new(said.into_iter().cycle());
                move |_, _| next.lock().next().unwrap()
            });
            let layer = if is_adaptive { layer.adaptive() } else { layer };
            let times = Arc::new(Mutex::new(Vec::new()));
            let seen = Arc::clone(&times);
            let service = layer.layer(service_fn(move |_: Request<()>| {
                times.lock().push(Instant::now());
                async { Ok::<_, Infallible>(Response::new(())) }
            }));
            let outcomes = join_all((0..calls).map(|_| service.clone().oneshot(request("a")))).await;
            assert!(outcomes.iter().all(Result::is_ok));
            let times = seen.lock();
            assert!(times.windows(4).all(|calls| calls[3] - calls[0] >= SECOND), "{times:?}");
        };
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(run);
    }
}

/// A server that admits so much and says of a refusal only that it is one; and how many it has refused.
fn silent_server(limit: u64) -> (impl Fn(u64) + Clone, Server, Arc<Mutex<Vec<bool>>>) {
    let limiter_of = |limit: u64| {
        let rule =
            Rule::new("calls").every_request().key(key::constant("")).level("all").policy(Policy::per_second(limit));
        RateLimiter::builder().rule(rule).clock(TokioClock::new()).build().unwrap()
    };
    let limiter = Arc::new(Mutex::new(limiter_of(limit)));
    let answers = Arc::new(Mutex::new(Vec::new()));
    let (changed, seen) = (Arc::clone(&limiter), Arc::clone(&answers));
    let server = service_fn(move |_: Request<()>| {
        let is_admitted = limiter.lock().rule("calls").unwrap().check("").is_admitted();
        answers.lock().push(is_admitted);
        async move {
            sleep(SECOND / 20).await;
            Ok(Response::builder().header("said", if is_admitted { "" } else { "refused" }).body(()).unwrap())
        }
    });
    (move |limit| *changed.lock() = limiter_of(limit), BoxCloneSyncService::new(server), seen)
}

#[tokio::test(start_paused = true)]
async fn an_unknown_limit_is_found_with_few_refusals_and_kept_near() {
    let (_, server, answers) = silent_server(20);
    let client = generous().adaptive().read_advice_with(advice).layer(server);
    let begin = Instant::now();
    call_together(&client, 1000).await;
    // At least 49 seconds are needed.
    let taken = begin.elapsed().as_secs_f64();
    let refused = answers.lock().iter().filter(|is_admitted| !**is_admitted).count();
    assert!(refused <= 25, "{refused} of 1000 refused");
    assert!(taken <= 49.0 / 0.7, "{taken} seconds");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_raised_is_found_again() {
    let (set_limit, server, answers) = silent_server(5);
    let layer = PaceLayer::new(key::host(), Policy::per_second(100)).adaptive().max_waiting(10_000);
    let handle = layer.handle();
    let client = layer.read_advice_with(advice).layer(server);
    call_together(&client, 100).await;
    let found = handle.queues()[0].rate();
    assert!((2.0..=6.0).contains(&found), "{found}");
    set_limit(1000);
    answers.lock().clear();
    let calls = tokio::spawn({
        let client = client.clone();
        async move { call_together(&client, 8000).await }
    });
    sleep(120 * SECOND).await;
    let recovered = handle.queues()[0].rate();
    assert_eq!(recovered, 100.0);
    calls.await.unwrap();
    assert!(answers.lock().iter().all(|is_admitted| *is_admitted));
}

#[tokio::test(start_paused = true)]
async fn an_idle_key_is_forgotten_with_its_pace() {
    let (_, server, _) = silent_server(5);
    let layer = PaceLayer::new(key::host(), Policy::per_second(100)).adaptive();
    let handle = layer.handle();
    let client = layer.read_advice_with(advice).layer(server);
    call_together(&client, 50).await;
    assert_eq!(handle.queues().len(), 1);
    sleep(300 * SECOND).await;
    assert!(handle.queues().is_empty());
}

/// How long fifty calls take to this crate's own layer, with ten a minute, before a handler that takes so long.
async fn time_of_fifty(handler: Duration, reads_fields: bool, policy: Policy) -> Duration {
    let rule = Rule::new("calls")
        .every_request()
        .key(tower_quota::key::constant(""))
        .level("all")
        .policy(Policy::per_minute(10));
    let limit = RateLimiter::builder().rule(rule).clock(TokioClock::new()).build().unwrap().layer();
    let server = limit.layer(service_fn(move |_: Request<()>| async move {
        sleep(handler).await;
        Ok::<_, Infallible>(Response::new(http_body_util::Empty::<bytes::Bytes>::new()))
    }));
    let refused = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&refused);
    let server = tower::ServiceBuilder::new()
        .map_response(move |response: Response<_>| {
            seen.fetch_or(response.status() == StatusCode::TOO_MANY_REQUESTS, Ordering::Relaxed);
            response.map(drop)
        })
        .service(server);
    let layer = PaceLayer::new(key::host(), policy);
    let layer = if reads_fields { layer } else { layer.read_advice_with(|_, _| Advice::none()) };
    let (client, begin) = (layer.layer(server), Instant::now());
    join_all((0..50).map(|_| client.clone().oneshot(request("api.example"))))
        .await
        .into_iter()
        .for_each(|answer| drop(answer.unwrap()));
    assert!(!refused.load(Ordering::Relaxed), "{handler:?}, fields read: {reads_fields}");
    begin.elapsed()
}

#[tokio::test(start_paused = true)]
async fn slow_answers_with_fields_cost_less_than_a_tenth_of_the_time() {
    for handler in [30, 60] {
        let policy = || Policy::per_minute(10).margin(SECOND / 10);
        let without = time_of_fifty(handler * SECOND, false, policy()).await;
        let with = time_of_fifty(handler * SECOND, true, policy()).await;
        println!("handlers of {handler} s: {without:?} without fields, {with:?} with them");
        assert!(with <= without.mul_f64(1.1), "{with:?} against {without:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_forecast_knows_what_the_server_has_said() {
    for (said, forecast) in [("left=0/30", 30), ("wait=30", 30), ("left=2/30", 0)] {
        let layer = generous();
        let handle = layer.handle();
        let (client, _) = client(layer, move |call| if call == 0 { said } else { "" });
        call(&client).await.unwrap();
        assert_eq!(handle.queues()[0].forecast(), forecast * SECOND, "{said}");
    }
    // The two that are left are taken by those who wait, and the next one is told at once.
    let layer = generous().max_wait(10 * SECOND);
    let (client, calls) = slow_client(layer, |call| if call == 0 { "left=2/30" } else { "" });
    call(&client).await.unwrap();
    let (third, fourth) = (call(&client), call(&client));
    let told = tokio::join!(third, fourth, call(&client)).2.unwrap_err();
    assert_eq!((told.wait(), calls.lock().len()), (Some(29 * SECOND + SECOND * 9 / 10), 3));
}

#[tokio::test(start_paused = true)]
async fn adapting_goes_as_slowly_as_it_says_where_everything_is_refused() {
    let layer = PaceLayer::new(key::host(), Policy::per_second(10)).adaptive().max_jitter(Duration::ZERO);
    let handle = layer.handle();
    let (client, calls) = client(layer, |_| "refused");
    for _ in 0..40 {
        call(&client).await.unwrap();
    }
    let calls = calls.lock();
    let distance = calls[39] - calls[38];
    let pace = handle.queues()[0].rate();
    assert!(distance.as_secs_f64() >= 0.9 / pace, "{distance:?} at {pace} calls a second");
    assert!(distance >= 50 * SECOND, "{distance:?}");
}

/// When the second of two calls goes, after a handler of a minute that answers with these fields.
async fn second_call(layer: PaceLayer, fields: Vec<(&'static str, String)>) -> u64 {
    let times = Arc::new(Mutex::new(Vec::new()));
    let (seen, begin) = (Arc::clone(&times), Instant::now());
    let server = service_fn(move |_: Request<()>| {
        times.lock().push(begin.elapsed().as_secs());
        let fields = fields.clone();
        async move {
            sleep(60 * SECOND).await;
            let response =
                fields.iter().fold(Response::builder(), |response, (name, value)| response.header(*name, value));
            Ok::<_, Infallible>(response.body(()).unwrap())
        }
    });
    let client = layer.layer(server);
    for _ in 0..2 {
        client.clone().oneshot(request("api.example")).await.unwrap();
    }
    let times = seen.lock();
    times[1]
}

#[tokio::test(start_paused = true)]
async fn dates_are_counted_from_the_answer_and_durations_from_the_call() {
    // The answer has the date 13:54:56, which is a minute after the call; all of these end at 13:55:26.
    let date = || ("date", "Thu, 15 Oct 2026 13:54:56 GMT".to_owned());
    let nothing_left = |name: &'static str| (name, "0".to_owned());
    for (remaining, reset, value) in [
        ("ratelimit-remaining", "ratelimit-reset", "1792072526"),
        ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset", "2026-10-15T13:55:26Z"),
        ("ratelimit-remaining", "ratelimit-reset", "Thu, 15 Oct 2026 13:55:26 GMT"),
    ] {
        let fields = vec![date(), nothing_left(remaining), (reset, value.to_owned())];
        assert_eq!(second_call(generous(), fields).await, 90, "{reset}: {value}");
    }
    for (name, value, expected) in
        [("ratelimit", "a;r=0;t=90", 90), ("ratelimit", "a;r=0;t=10", 60), ("ratelimit-reset", "90", 60)]
    {
        let fields = vec![date(), (name, value.to_owned())];
        assert_eq!(second_call(generous(), fields).await, expected, "{name}: {value}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_in_so_many_words_begins_with_the_answer_whatever_fields_say_besides() {
    let answers = tower_quota::client::AdviceReader::new();
    let layer = generous().read_advice_with(move |status, headers| answers.read(status, headers).wait(30 * SECOND));
    assert_eq!(second_call(layer, vec![("ratelimit", "a;r=0;t=10".to_owned())]).await, 90);
}
