//! The middleware keeps tower's contract (P9), whatever the services around it do.

use std::{
    convert::Infallible,
    future::{Ready, poll_fn, ready},
    num::ParseIntError,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tokio::{sync::Semaphore, task::JoinSet};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, buffer::Buffer, limit::ConcurrencyLimit, service_fn,
    util::BoxCloneService,
};
use tower_quota::{
    ConfigError, Decision, OnMissing, Policy, Quota, QuotaStatus, RateLimit, RateLimitLayer, RateLimiter,
    RateLimiterBuilder, ResponseFuture, Rule, UnknownRule,
    clock::{Clock, ManualClock, SystemClock},
    grpc,
    http::{DecisionIn, Headers, LegacyReset, OnConflict, PeerAddr, Refusal, RefusalBody, RequestView, ResponseBody},
    key::{self, KeyExtractor},
};
use tower_quota_tests::limiter::{calls_per_minute, rule, with_rules};
use tower_test::mock::{self, Handle, Spawn};

fn builder(limit: u64) -> RateLimiterBuilder {
    RateLimiter::builder().rule(rule("calls", Policy::per_minute(limit))).clock(ManualClock::new())
}

/// What everybody has left.
fn remaining(limiter: &RateLimiter) -> u64 {
    limiter.rule("calls").unwrap().peek("everybody").quotas().next().unwrap().remaining()
}

fn request() -> Request<()> {
    Request::new(())
}

/// A service that answers 200 with an empty body.
fn answering() -> impl Service<Request<()>, Response = Response<String>, Error = Infallible, Future: Send> + Clone + Send
{
    service_fn(|_: Request<()>| async { Ok(Response::new(String::new())) })
}

async fn status<S, B>(service: &S) -> StatusCode
where
    S: Service<Request<()>, Response = Response<B>, Error: std::fmt::Debug> + Clone,
{
    service.clone().oneshot(request()).await.unwrap().status()
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn poll_ready<S: Service<Request<()>>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

// ---- after admission only, and only on a service that was polled ready (P9) ----

type MockedService = Spawn<RateLimit<mock::Mock<Request<()>, Response<String>>>>;
type MockedHandle = Handle<Request<()>, Response<String>>;

fn mocked(limiter: &RateLimiter) -> (MockedService, MockedHandle) {
    mock::spawn_layer(limiter.layer())
}

#[tokio::test]
async fn an_admitted_request_reaches_the_inner_service() {
    let limiter = calls_per_minute(1);
    let (mut service, mut inner) = mocked(&limiter);
    assert!(service.poll_ready().is_ready());
    let response = service.call(request());
    let (_, answer) = inner.next_request().await.unwrap();
    answer.send_response(Response::new("inner".to_owned()));
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "inner");
}

#[tokio::test]
async fn a_refused_request_never_reaches_the_inner_service() {
    let limiter = calls_per_minute(1);
    let (mut service, mut inner) = mocked(&limiter);
    assert!(service.poll_ready().is_ready());
    drop(service.call(request()));
    assert!(inner.next_request().await.is_some());
    for _ in 0..10 {
        assert!(service.poll_ready().is_ready());
        assert_eq!(service.call(request()).await.unwrap().status(), 429);
        assert!(inner.poll_request().is_pending());
    }
}

#[tokio::test]
async fn neither_do_requests_without_a_key_that_is_insisted_on() {
    let insisting = rule("calls", Policy::per_minute(1)).key(key::header("x-account")).level("account");
    let insisting = insisting.on_missing(OnMissing::Reject(StatusCode::UNAUTHORIZED));
    let insisting = RateLimiter::builder().rule(insisting).build().unwrap().layer();
    let (mut service, mut inner) = mock::spawn_layer::<Request<()>, Response<String>, _>(insisting);
    assert!(service.poll_ready().is_ready());
    assert_eq!(service.call(request()).await.unwrap().status(), 401);
    assert!(inner.poll_request().is_pending());
}

#[test]
fn an_inner_service_that_is_not_ready_is_waited_for_and_nothing_is_charged_meanwhile() {
    let limiter = calls_per_minute(1);
    let (mut service, mut inner) = mocked(&limiter);
    inner.allow(0);
    for _ in 0..10 {
        assert!(service.poll_ready().is_pending());
    }
    assert!(!service.is_woken());
    assert!(limiter.is_empty(), "the decision falls in call");
    inner.allow(1);
    assert!(service.is_woken());
    assert!(service.poll_ready().is_ready());
}

/// F9: `poll_ready` fails.
#[test]
fn an_error_of_the_inner_service_s_readiness_is_forwarded_and_nothing_is_charged() {
    let limiter = calls_per_minute(1);
    let (mut service, mut inner) = mocked(&limiter);
    inner.send_error("out of order");
    match service.poll_ready() {
        Poll::Ready(Err(error)) => assert_eq!(error.to_string(), "out of order"),
        other => panic!("{other:?}"),
    }
    assert!(limiter.is_empty());
}

#[tokio::test]
async fn an_error_of_the_inner_service_s_answer_is_forwarded_and_the_charge_stays() {
    let limiter = calls_per_minute(2);
    let (mut service, mut inner) = mocked(&limiter);
    assert!(service.poll_ready().is_ready());
    let response = service.call(request());
    inner.next_request().await.unwrap().1.send_error("broke down");
    assert_eq!(response.await.unwrap_err().to_string(), "broke down");
    assert_eq!(remaining(&limiter), 1);
}

#[tokio::test]
async fn the_error_type_is_the_inner_service_s() {
    fn of_type<S: Service<Request<()>, Error = ParseIntError>>(service: S) -> S {
        service
    }
    let failing = service_fn(|_: Request<()>| async { "x".parse::<u8>().map(|_| Response::new(String::new())) });
    let service = of_type(calls_per_minute(1).layer().layer(failing));
    assert!(service.clone().oneshot(request()).await.is_err());
    let refused = service.oneshot(request()).await.unwrap();
    assert_eq!(refused.status(), 429, "a refusal is a response, not an error");
}

/// Must be polled ready before each call, and its clones are not ready.
#[derive(Debug, Default)]
struct Fussy {
    is_ready: bool,
    calls: Arc<AtomicUsize>,
}

impl Clone for Fussy {
    fn clone(&self) -> Self {
        Self { is_ready: false, calls: Arc::clone(&self.calls) }
    }
}

impl Service<Request<()>> for Fussy {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without having been polled ready");
        self.calls.fetch_add(1, Ordering::Relaxed);
        ready(Ok(Response::new(String::new())))
    }
}

/// F23.
#[tokio::test]
async fn ten_thousand_calls_through_clones_call_only_what_was_polled_ready() {
    let (limiter, inner) = (calls_per_minute(6_000), Fussy::default());
    let mut service = limiter.layer().layer(inner.clone());
    let mut refused = 0;
    for number in 0..10_000 {
        if number % 3 == 0 {
            service = service.clone();
        }
        let ready = service.ready().await.unwrap();
        let bystander = ready.clone();
        refused += usize::from(ready.call(request()).await.unwrap().status() == 429);
        drop(bystander);
    }
    assert_eq!((inner.calls.load(Ordering::Relaxed), refused), (6_000, 4_000));
}

#[tokio::test]
async fn a_service_that_is_called_without_having_been_polled_ready_shows_the_inner_service_s_own_panic() {
    let limiter = calls_per_minute(1);
    let mut service = limiter.layer().layer(Fussy::default());
    let outcome = catch_unwind(AssertUnwindSafe(|| service.call(request())));
    assert!(outcome.is_err(), "nothing polls the inner service behind the caller's back");
}

#[tokio::test]
async fn neither_bodies_nor_futures_need_to_be_send_or_clone() {
    let inner = service_fn(|request: Request<Rc<str>>| async move {
        let answer = Rc::new(request.into_body().len());
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(Response::new(answer.to_string()))
    });
    let response = calls_per_minute(1).layer().layer(inner).oneshot(Request::new(Rc::from("four"))).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "4");
}

// ---- dropping (F25, F8) ----

/// Answers at the fifth poll.
fn slow(_: Request<()>) -> impl Future<Output = Result<Response<String>, Infallible>> {
    let mut polls = 0;
    poll_fn(move |_| {
        polls += 1;
        if polls == 5 { Poll::Ready(Ok(Response::new(String::new()))) } else { Poll::Pending }
    })
}

#[test]
fn dropping_the_response_future_at_any_point_leaves_the_charge_and_nothing_else() {
    let (limiter, permits) = (calls_per_minute(10), Arc::new(Semaphore::new(1)));
    let layer = limiter.layer();
    for polls in 0..=5 {
        let mut service = layer.layer(ConcurrencyLimit::with_semaphore(service_fn(slow), Arc::clone(&permits)));
        assert!(poll_ready(&mut service).is_ready());
        let (witness, mut request) = (Arc::new(()), request());
        request.extensions_mut().insert(Arc::clone(&witness));
        let mut response = Box::pin(service.call(request));
        for poll in 1..=polls {
            assert_eq!(poll_once(&mut response).is_ready(), poll == 5);
        }
        assert_eq!(remaining(&limiter), 9 - polls, "the request has begun");
        drop(response);
        assert_eq!(remaining(&limiter), 9 - polls, "the charge stays");
        assert_eq!(permits.available_permits(), 1, "dropped after {polls} polls");
        assert_eq!(Arc::strong_count(&witness), 1);
    }
    assert_eq!(limiter.len(), 1);
}

#[test]
fn dropping_a_refusal_unread_changes_nothing() {
    let limiter = calls_per_minute(1);
    let mut service = limiter.layer().layer(answering());
    drop(service.call(request()));
    drop(service.call(request()));
    assert_eq!(remaining(&limiter), 0);
    assert_eq!(limiter.len(), 1);
}

#[test]
fn a_service_that_is_dropped_between_ready_and_call_charges_nothing_and_gives_its_permit_back() {
    let (limiter, permits) = (calls_per_minute(1), Arc::new(Semaphore::new(1)));
    let mut service = limiter.layer().layer(ConcurrencyLimit::with_semaphore(answering(), Arc::clone(&permits)));
    assert!(poll_ready(&mut service).is_ready());
    assert_eq!(permits.available_permits(), 0);
    drop(service);
    assert_eq!(permits.available_permits(), 1);
    assert!(limiter.is_empty());
}

#[test]
fn a_reservation_for_a_refused_request_is_given_back_at_once() {
    let clock = ManualClock::new();
    let limiter = builder(1).clock(clock.clone()).build().unwrap();
    let permits = Arc::new(Semaphore::new(1));
    let mut service = limiter.layer().layer(ConcurrencyLimit::with_semaphore(answering(), Arc::clone(&permits)));
    for minute in 0..3 {
        for expected in [200, 429, 429] {
            assert!(poll_ready(&mut service).is_ready(), "minute {minute}");
            let mut response = Box::pin(service.call(request()));
            let Poll::Ready(Ok(answer)) = poll_once(&mut response) else { panic!("not answered at once") };
            assert_eq!(answer.status(), expected);
            drop(response);
            assert_eq!(permits.available_permits(), 1, "a clone that sends no more keeps nothing from the others");
        }
        clock.advance(Duration::from_secs(60));
    }
}

#[test]
#[should_panic(expected = "`ResponseFuture` polled after completion")]
fn a_refusal_that_is_polled_after_completion_panics() {
    let mut service = calls_per_minute(1).layer().layer(answering());
    drop(service.call(request()));
    let mut refusal = pin!(service.call(request()));
    assert!(poll_once(&mut refusal).is_ready());
    let _ = poll_once(&mut refusal);
}

// ---- panics of others (F9, F10) ----

#[tokio::test]
async fn an_inner_service_that_panics_in_call_leaves_the_limiter_usable() {
    let limiter = calls_per_minute(3);
    let mut broken =
        limiter.layer().layer(service_fn(|_: Request<()>| -> Ready<Result<Response<String>, Infallible>> {
            panic!("broken");
        }));
    assert!(catch_unwind(AssertUnwindSafe(|| broken.call(request()))).is_err());
    assert_eq!(remaining(&limiter), 2, "the request had been admitted");
    let sound = limiter.layer().layer(answering());
    for expected in [200, 200, 429] {
        assert_eq!(status(&sound).await, expected);
    }
    assert!(catch_unwind(AssertUnwindSafe(|| broken.call(request()))).is_ok(), "refused, so not called");
}

#[tokio::test]
async fn an_inner_future_that_panics_leaves_the_limiter_usable() {
    async fn broken(_: Request<()>) -> Result<Response<String>, Infallible> {
        panic!("broken");
    }
    let limiter = calls_per_minute(2);
    let failed = tokio::spawn(limiter.layer().layer(service_fn(broken)).oneshot(request())).await;
    assert!(failed.unwrap_err().is_panic());
    let sound = limiter.layer().layer(answering());
    for expected in [200, 429] {
        assert_eq!(status(&sound).await, expected);
    }
}

/// Panics for requests with the field `x-panic`.
fn touchy(request: &RequestView<'_>) -> Option<&'static str> {
    assert!(!request.headers().contains_key("x-panic"), "touched");
    Some("everybody")
}

fn panicking() -> Request<()> {
    Request::builder().header("x-panic", "1").body(()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_extractor_that_panics_fails_that_request_only() {
    let calls = rule("calls", Policy::per_minute(1_000)).key(touchy).level("everybody");
    let limiter = RateLimiter::builder().rule(rule("total", Policy::per_minute(1_000))).rule(calls).build().unwrap();
    let service = limiter.layer().layer(answering());
    let mut tasks = JoinSet::new();
    for number in 0..200 {
        let request = if number % 2 == 0 { request() } else { panicking() };
        tasks.spawn(service.clone().oneshot(request));
    }
    let (mut served, mut failed) = (0, 0);
    while let Some(outcome) = tasks.join_next().await {
        match outcome {
            Ok(response) => served += usize::from(response.unwrap().status() == 200),
            Err(error) => failed += usize::from(error.is_panic()),
        }
    }
    assert_eq!((served, failed), (100, 100));
    assert_eq!(remaining(&limiter), 900, "a request that failed is charged to no rule");
    let total = limiter.rule("total").unwrap().peek("everybody");
    assert_eq!(total.quotas().next().unwrap().remaining(), 900);
}

#[tokio::test]
async fn a_closure_for_refusals_that_panics_fails_that_request_only() {
    let limiter = calls_per_minute(1);
    let layer = limiter.layer().on_refusal(|_, _| -> Response<String> { panic!("no words") });
    let mut service = layer.layer(answering());
    assert_eq!(status(&service).await, 200);
    assert!(catch_unwind(AssertUnwindSafe(|| service.call(request()))).is_err());
    assert_eq!(status(&limiter.layer().layer(answering())).await, 429);
    assert_eq!(remaining(&limiter), 0);
}

/// No lock is held while code of the user runs.
#[tokio::test]
async fn extractors_and_closures_may_ask_the_limiter_themselves() {
    let limiter = calls_per_minute(1);
    let asked = limiter.clone();
    let by_what_is_left = move |_: &RequestView<'_>| Some(remaining(&asked).to_string());
    let asked = limiter.clone();
    let layer = RateLimitLayer::new(by_what_is_left, Policy::per_minute(1)).unwrap().on_refusal(move |refusal, _| {
        let _ = asked.rule("calls").unwrap().check("everybody");
        refusal.response()
    });
    let service = layer.layer(answering());
    for expected in [200, 429, 200, 429] {
        assert_eq!(status(&service).await, expected);
    }
}

// ---- under load with the services of tower (F23) ----

const CLIENTS: usize = 64;
const CALLS: usize = 50;
const LIMIT: u64 = 1_000;

/// All clients call at once, each through its own clone; returns how many were served.
async fn served<S, B>(service: S) -> u64
where
    S: Service<Request<()>, Response = Response<B>, Error: std::fmt::Debug + Send, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Send + 'static,
{
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let mut service = service.clone();
        clients.spawn(async move {
            let mut served = 0;
            for call in 0..CALLS {
                if (client + call) % 7 == 0 {
                    // Reserves and goes away.
                    let _ = service.clone().ready().await.unwrap();
                }
                let response = service.ready().await.unwrap().call(request()).await.unwrap();
                served += u64::from(response.status() == 200);
                if (client + call) % 5 == 0 {
                    service = service.clone();
                }
            }
            served
        });
    }
    clients.join_all().await.into_iter().sum()
}

async fn yielding(_: Request<()>) -> Result<Response<String>, Infallible> {
    tokio::task::yield_now().await;
    Ok(Response::new(String::new()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_concurrency_limit_inside_never_panics_and_gets_its_permits_back() {
    // More than clients: an idle clone that was refused holds on to its permit.
    let permits = Arc::new(Semaphore::new(CLIENTS + 1));
    let inner = ConcurrencyLimit::with_semaphore(service_fn(yielding), Arc::clone(&permits));
    assert_eq!(served(calls_per_minute(LIMIT).layer().layer(inner)).await, LIMIT);
    assert_eq!(permits.available_permits(), CLIENTS + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_concurrency_limit_outside_never_panics_and_gets_its_permits_back() {
    let permits = Arc::new(Semaphore::new(4));
    let service = calls_per_minute(LIMIT).layer().layer(service_fn(yielding));
    let service = ConcurrencyLimit::with_semaphore(service, Arc::clone(&permits));
    assert_eq!(served(service).await, LIMIT);
    assert_eq!(permits.available_permits(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_buffer_inside_never_panics() {
    let inner = Buffer::new(service_fn(yielding), CLIENTS + 1);
    assert_eq!(served(calls_per_minute(LIMIT).layer().layer(inner)).await, LIMIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_buffer_outside_never_panics() {
    let service = calls_per_minute(LIMIT).layer().layer(service_fn(yielding));
    assert_eq!(served(Buffer::new(service, 8)).await, LIMIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_buffer_a_concurrency_limit_and_a_fussy_service_inside_never_panic() {
    let inner = ServiceBuilder::new().buffer(CLIENTS + 1).concurrency_limit(CLIENTS + 1).service(Fussy::default());
    assert_eq!(served(calls_per_minute(LIMIT).layer().layer(inner)).await, LIMIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn oneshots_through_one_permit_and_one_slot_are_all_answered() {
    let permits = Arc::new(Semaphore::new(1));
    let inner = Buffer::new(ConcurrencyLimit::with_semaphore(service_fn(yielding), Arc::clone(&permits)), 1);
    let service = calls_per_minute(100).layer().layer(inner);
    let mut calls = JoinSet::new();
    for _ in 0..1_000 {
        calls.spawn(service.clone().oneshot(request()));
    }
    let responses = calls.join_all().await.into_iter().map(Result::unwrap);
    assert_eq!(responses.filter(|response| response.status() == 200).count(), 100);
}

// ---- one state (P9, F23) ----

#[tokio::test]
async fn clones_of_a_service_share_one_state() {
    let service = calls_per_minute(2).layer().layer(answering());
    for expected in [200, 200, 429] {
        assert_eq!(status(&service.clone()).await, expected);
    }
}

#[tokio::test]
async fn ten_services_of_one_layer_share_one_state() {
    for layer in
        [calls_per_minute(10).layer(), RateLimitLayer::new(key::constant("everybody"), Policy::per_minute(10)).unwrap()]
    {
        let services: Vec<_> = (0..10).map(|_| layer.clone().layer(answering())).collect();
        for expected in [200, 429] {
            for service in &services {
                assert_eq!(status(service).await, expected);
            }
        }
    }
}

#[tokio::test]
async fn several_layers_of_one_limiter_share_one_state_whatever_their_style() {
    let limiter = calls_per_minute(4);
    let layers = [
        limiter.layer(),
        limiter.clone().layer().headers(Headers::rate_limit().with_legacy(LegacyReset::Delta)),
        RateLimitLayer::from(limiter.clone()).headers(Headers::on_refusals()),
        limiter.layer().on_conflict(OnConflict::Replace),
    ];
    for expected in [200, 429] {
        for layer in &layers {
            assert_eq!(status(&layer.layer(answering())).await, expected);
        }
    }
    assert!(!limiter.rule("calls").unwrap().check("everybody").is_admitted(), "and so does the handle");
}

#[tokio::test]
async fn two_limiters_of_the_same_rules_share_nothing() {
    for limiter in [calls_per_minute(1), calls_per_minute(1)] {
        assert_eq!(status(&limiter.layer().layer(answering())).await, 200);
    }
}

/// What a server keeps: a type without parameters.
struct Settings {
    layer: RateLimitLayer,
}

impl Settings {
    fn read(limit: u64) -> Result<Self, ConfigError> {
        Ok(Self { layer: layer(limit)? })
    }
}

fn layer(limit: u64) -> Result<RateLimitLayer, ConfigError> {
    let by_account = key::first_of((key::header("x-account"), |_: &RequestView<'_>| Some("nobody")));
    Ok(RateLimitLayer::new(by_account, Policy::per_minute(limit))?
        .headers(Headers::rate_limit().with_legacy(LegacyReset::Delta)))
}

#[tokio::test]
async fn a_layer_is_stored_without_generics_and_returned_from_functions() {
    let settings = Settings::read(1).unwrap();
    let service = settings.layer.layer(answering());
    assert_eq!(status(&service).await, 200);
    assert_eq!(status(&service).await, 429);
    assert!(Settings::read(0).is_err());
}

#[tokio::test]
async fn it_goes_into_a_service_builder_and_into_a_box() {
    let stack = ServiceBuilder::new().layer(calls_per_minute(1).layer()).service(answering());
    let boxed: BoxCloneService<Request<()>, Response<ResponseBody<String>>, Infallible> = BoxCloneService::new(stack);
    assert_eq!(status(&boxed).await, 200);
    assert_eq!(status(&boxed).await, 429);
}

#[test]
fn everything_public_is_as_send_sync_and_clone_as_it_can_be() {
    fn is_clone<T: Send + Sync + Clone + Unpin + 'static>() {}
    fn is_sync<T: Send + Sync + Unpin + 'static>() {}

    is_clone::<RateLimitLayer>();
    is_clone::<RateLimit<Fussy>>();
    is_clone::<RateLimiter>();
    is_clone::<Decision>();
    is_clone::<QuotaStatus<'static>>();
    is_clone::<Rule>();
    is_clone::<Policy>();
    is_clone::<Quota>();
    is_clone::<OnMissing>();
    is_clone::<ConfigError>();
    is_clone::<UnknownRule>();
    is_clone::<ManualClock>();
    is_clone::<SystemClock>();
    is_clone::<key::Key>();
    is_clone::<key::Header>();
    is_clone::<key::ClientIp>();
    is_clone::<key::FirstOf<(key::Header, key::Query, key::Cookie, key::Path)>>();
    is_clone::<RequestView<'static>>();
    is_clone::<Refusal<'static>>();
    is_clone::<PeerAddr>();
    is_clone::<OnConflict>();
    is_clone::<LegacyReset>();
    is_clone::<Headers>();
    is_clone::<DecisionIn>();
    is_sync::<RateLimiterBuilder>();
    is_sync::<ResponseFuture<Fussy, (), std::future::Pending<()>>>();
    is_clone::<grpc::MessageLimitLayer>();
    is_clone::<grpc::MessageLimit<Fussy>>();
    is_sync::<grpc::RequestBody<Full<Bytes>>>();
    is_sync::<grpc::ResponseBody<Full<Bytes>>>();
    is_sync::<grpc::MessageFuture<Ready<()>>>();
    is_sync::<ResponseBody<Full<Bytes>>>();
    is_sync::<RefusalBody>();
    is_sync::<Box<dyn KeyExtractor>>();
    is_sync::<Box<dyn Clock>>();
}

/// F43.
#[test]
fn log_output_names_no_caller() {
    let limiter = calls_per_minute(5);
    for key in ["alice-short", "alice-with-a-name-that-is-longer-than-what-is-kept-as-it-is"] {
        let _ = limiter.rule("calls").unwrap().check(key);
    }
    let decision = limiter.rule("calls").unwrap().check("alice-short");
    let (layer, key) = (limiter.layer(), limiter.key("alice-short"));
    for text in [format!("{limiter:?}"), format!("{decision:?}"), format!("{layer:?}"), format!("{key:?}")] {
        let digits = format!("{:?}", b"alice").replace(['[', ']'], "");
        assert!(!text.contains("alice") && !text.contains(&digits), "{}", &text[..text.len().min(500)]);
    }
}

/// F43: who knows the secret of the hashes can try out identities, and can choose keys that collide.
#[test]
fn log_output_holds_no_secret() {
    let text = format!("{:?}", calls_per_minute(5).layer().layer(Fussy::default()));
    for word in ["k0", "k1", "seed", "SipHasher"] {
        assert!(!text.contains(word), "{word} is in the Debug form");
    }
}

/// A service is logged in passing; a million histories are not.
#[test]
fn log_output_does_not_grow_with_the_callers() {
    let limiter = calls_per_minute(5);
    let before = format!("{limiter:?}").len();
    for caller in 0..1_000 {
        let _ = limiter.rule("calls").unwrap().check(caller.to_string());
    }
    let after = format!("{limiter:?}").len();
    assert!(after < before + 100, "from {before} to {after} bytes");
}

// ---- mounted twice (F24) ----

#[tokio::test]
async fn a_limiter_that_is_mounted_twice_charges_once() {
    let limiter = calls_per_minute(4);
    let service = limiter.layer().layer(limiter.layer().layer(limiter.layer().layer(answering())));
    for expected in [200, 200, 200, 200, 429] {
        assert_eq!(status(&service).await, expected);
    }
}

#[tokio::test]
async fn two_limiters_around_each_other_charge_once_each() {
    let (one, other) = (calls_per_minute(4), calls_per_minute(4));
    let service = one.layer().layer(other.layer().layer(answering()));
    let service = one.layer().layer(other.layer().layer(service));
    for left in [3, 2, 1, 0] {
        assert_eq!(status(&service).await, 200);
        assert_eq!((remaining(&one), remaining(&other)), (left, left));
    }
    assert_eq!(status(&service).await, 429);
}

#[tokio::test]
async fn a_mount_that_did_not_govern_a_request_leaves_it_to_the_next() {
    let rule = Rule::new("calls").routes(["/x"]).key(key::constant("everybody")).policy(Policy::per_minute(2));
    let limiter = RateLimiter::builder().rule(rule).build().unwrap();
    let inside = limiter.layer().layer(answering());
    let rewriting = service_fn(move |mut request: Request<()>| {
        *request.uri_mut() = request.uri().path().trim_start_matches("/v1").parse().unwrap();
        inside.clone().oneshot(request)
    });
    let service = limiter.layer().layer(rewriting);
    for (path, expected) in [("/v1/x", 200), ("/x", 200), ("/v1/x", 429), ("/x", 429)] {
        let request = Request::builder().uri(path).body(()).unwrap();
        assert_eq!(service.clone().oneshot(request).await.unwrap().status(), expected, "{path}");
    }
}

/// P8: a middleware may have asked the limiter, and put into the request what it was told.
#[tokio::test]
async fn a_decision_that_others_put_into_a_request_is_no_free_pass() {
    let limiter = calls_per_minute(2);
    let service = limiter.layer().layer(answering());
    let peeked = limiter.rule("calls").unwrap().peek("everybody");
    for expected in [200, 200, 429] {
        let mut request = request();
        request.extensions_mut().insert(peeked.clone());
        assert_eq!(service.clone().oneshot(request).await.unwrap().status(), expected);
    }
    let mut request = request();
    request.extensions_mut().insert(limiter.rule("calls").unwrap().check("everybody"));
    assert_eq!(service.oneshot(request).await.unwrap().status(), 429, "told by a decision that denied");
}

/// P8: what was skipped outside of the layer that knows the caller is counted inside of it.
#[tokio::test]
async fn a_second_mount_enforces_the_rules_that_could_not_be_applied_at_the_first() {
    let account = Rule::new("account").every_request().key(key::claim(|claims: &String| claims)).level("account");
    let account = account.policy(Policy::per_minute(2)).on_missing(OnMissing::Skip);
    let limiter = RateLimiter::builder().rule(rule("calls", Policy::per_minute(9))).rule(account).build().unwrap();
    let inside = limiter.layer().layer(answering());
    let authenticating = service_fn(move |mut request: Request<()>| {
        request.extensions_mut().insert("acme".to_owned());
        inside.clone().oneshot(request)
    });
    let service = limiter.layer().layer(authenticating);
    for expected in [200, 200, 429] {
        assert_eq!(status(&service).await, expected);
    }
    assert_eq!(remaining(&limiter), 6, "and no rule charges twice");
}

/// F11: the parts of a batch are requests of their own.
#[tokio::test]
async fn requests_that_a_handler_makes_are_charged_like_any_other() {
    let limiter = calls_per_minute(4);
    let inside = limiter.layer().layer(answering());
    let batch = service_fn(move |_: Request<()>| {
        let inside = inside.clone();
        async move {
            let mut refused = 0;
            for _ in 0..4 {
                refused += usize::from(status(&inside).await == 429);
            }
            Ok::<_, Infallible>(Response::new(refused.to_string()))
        }
    });
    let response = limiter.layer().layer(batch).oneshot(request()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "1");
}

// ---- the decision, told inwards and outwards ----

#[tokio::test]
async fn a_handler_finds_the_decision_in_the_request() {
    let handler = service_fn(|request: Request<()>| async move {
        let decision = request.extensions().get::<Decision>().unwrap();
        assert!(decision.is_admitted() && decision.retry_after().is_none() && decision.message().is_none());
        let left: Vec<_> = decision.quotas().map(|quota| (quota.rule(), quota.remaining())).collect();
        Ok::<_, Infallible>(Response::new(format!("{left:?}")))
    });
    let limiter = builder(3).rule(rule("total", Policy::per_minute(9))).build().unwrap();
    let service = limiter.layer().layer(handler);
    for expected in [r#"[("calls", 2), ("total", 8)]"#, r#"[("calls", 1), ("total", 7)]"#] {
        let response = service.clone().oneshot(request()).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), expected);
    }
}

#[tokio::test]
async fn an_outer_layer_finds_the_decision_in_the_response_if_it_is_to() {
    let service = calls_per_minute(1).layer().decision(DecisionIn::Both).layer(answering());
    let admitted = service.clone().oneshot(request()).await.unwrap();
    assert!(admitted.extensions().get::<Decision>().unwrap().is_admitted());
    let refused = service.oneshot(request()).await.unwrap();
    let decision = refused.extensions().get::<Decision>().unwrap();
    assert!(!decision.is_admitted());
    assert_eq!(decision.retry_after(), Some(Duration::from_secs(60)));
    assert_eq!(decision.exhausted().map(|quota| quota.rule()).collect::<Vec<_>>(), ["calls"]);
}

#[tokio::test]
async fn the_decision_that_refused_is_the_one_that_outer_layers_see() {
    let (wide, narrow) = (calls_per_minute(9), calls_per_minute(1));
    let service = wide.layer().layer(narrow.layer().layer(answering()));
    assert_eq!(status(&service).await, 200);
    let refused = service.oneshot(request()).await.unwrap();
    assert_eq!(refused.status(), 429);
    assert!(!refused.extensions().get::<Decision>().unwrap().is_admitted());
    assert_eq!(remaining(&wide), 7, "the outer one had let it in");
}

#[tokio::test]
async fn a_request_that_no_rule_governs_carries_no_decision() {
    let rule = Rule::new("calls").routes(["/governed"]).key(key::constant("all")).policy(Policy::per_minute(1));
    let handler = service_fn(|request: Request<()>| {
        assert!(request.extensions().get::<Decision>().is_none());
        ready(Ok::<_, Infallible>(Response::new(String::new())))
    });
    let limiter = RateLimiter::builder().rule(rule).build().unwrap();
    let response = limiter.layer().layer(handler).oneshot(request()).await.unwrap();
    assert!(response.extensions().get::<Decision>().is_none());
    assert!(response.headers().is_empty());
}

// ---- another answer (P10) ----

async fn refused<B>(layer: RateLimitLayer, request: impl Fn() -> Request<B>) -> Response<ResponseBody<String>> {
    let service = layer.layer(service_fn(|_| ready(Ok::<_, Infallible>(Response::new(String::new())))));
    assert_eq!(service.clone().oneshot(request()).await.unwrap().status(), 200);
    service.oneshot(request()).await.unwrap()
}

#[tokio::test]
async fn a_closure_answers_refused_requests() {
    let layer = calls_per_minute(1).layer().on_refusal(|refusal, request| {
        let quota = refusal.decision().unwrap().exhausted().next().unwrap();
        let path = request.uri().path();
        let text = format!("{} {path}: {} of {} left", request.method(), quota.remaining(), quota.limit());
        Response::builder().status(503).header("x-mine", "1").body(text).unwrap()
    });
    let response =
        refused(layer, || Request::builder().method("PUT").uri("/a/b?c").body("never read".to_owned()).unwrap()).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["x-mine"], "1");
    assert_eq!(response.headers()["retry-after"], "60");
    assert_eq!(response.headers()["ratelimit"], "\"minute\";r=0;t=60");
    assert!(!response.headers().contains_key("content-type"), "the body is the closure's");
    assert!(response.extensions().get::<Decision>().is_some_and(|decision| !decision.is_admitted()));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "PUT /a/b: 0 of 1 left");
}

#[tokio::test]
async fn a_closure_may_start_from_the_usual_answer_and_keeps_the_fields_it_sets() {
    let layer = calls_per_minute(1).layer().on_refusal(|refusal, _| {
        let mut response = refusal.response();
        response.headers_mut().insert("retry-after", HeaderValue::from_static("7"));
        response.headers_mut().insert("ratelimit", HeaderValue::from_static("\"mine\";r=0;t=7"));
        response
    });
    let response = refused(layer, request).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers().get_all("retry-after").iter().collect::<Vec<_>>(), ["7"]);
    assert_eq!(response.headers().get_all("ratelimit").iter().collect::<Vec<_>>(), ["\"mine\";r=0;t=7"]);
}

#[tokio::test]
async fn a_template_words_the_message() {
    let template = "{{{rule}}} {level}: {limit} per {window} ({quota}) \u{2013} \"wait\" {retry_after}\ts";
    let limiter = builder(1).message(template).build().unwrap();
    let response = refused(limiter.layer(), request).await;
    let decision = response.extensions().get::<Decision>().unwrap().clone();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let expected = "{calls} everybody: 1 per 1m (minute) \u{2013} \"wait\" 60\ts";
    assert_eq!(body["detail"], expected);
    assert_eq!(decision.message().as_deref(), Some(expected));
}

#[tokio::test]
async fn the_message_speaks_of_the_quota_with_the_longest_wait() {
    let rules = [
        rule("one", Policy::per_minute(1).and_per_hour(9)),
        rule("two", Policy::per_hour(1).and_per_minute(9)),
        rule("three", Policy::per_second(1)),
    ];
    let builder = with_rules(RateLimiter::builder().clock(ManualClock::new()), rules);
    let limiter = builder.message("{rule} {quota} {retry_after}").build().unwrap();
    let response = refused(limiter.layer(), request).await;
    let decision = response.extensions().get::<Decision>().unwrap();
    assert_eq!(decision.message().as_deref(), Some("two hour 3600"));
    assert_eq!(response.headers()["retry-after"], "3600");
}

/// Compiles: the response's body is a body whatever the inner one is.
#[test]
fn the_response_of_a_layered_service_is_a_body_of_bytes() {
    fn has_body<S, B>(_: &S)
    where
        S: Service<Request<()>, Response = Response<B>>,
        B: Body<Data = Bytes>,
    {
    }
    has_body(&calls_per_minute(1).layer().layer(answering()));
}

/// Who has no use for it outside does not pay for it.
#[tokio::test]
async fn the_decision_is_not_attached_to_admitted_responses_unless_asked_for() {
    let layer = RateLimitLayer::new(key::constant("everybody"), Policy::per_minute(1)).unwrap();
    let service = layer.layer(tower::service_fn(|_: Request<()>| async {
        Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
    }));
    let mut told = Vec::new();
    for _ in 0..2 {
        let response = service.clone().oneshot(Request::new(())).await.unwrap();
        told.push(response.extensions().get::<Decision>().map(Decision::is_admitted));
    }
    assert_eq!(told, [None, Some(false)]);
}
