//! Calls that are made again: which, when, and how often. Time is tokio's, and stands still unless all wait for it.

use std::{
    convert::Infallible,
    io::{Error, ErrorKind},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneService};
use tower_quota::{
    Policy,
    client::{
        Advice, AdviceReader, PaceLayer, RetryLayer, RetryPolicy,
        retry::{Attempts, Backoff, Budget, ReplayBody, Retry, RetryEvent, RetryPolicyBuilder, RetryReason},
    },
    http::RequestView,
    key,
};

type Answer = Result<Response<String>, Error>;

/// What the server says, always the same.
#[derive(Clone, Debug)]
struct Says {
    status: u16,
    fields: Vec<(&'static str, String)>,
}

fn says(status: u16, fields: &[(&'static str, &str)]) -> Says {
    Says { status, fields: fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect() }
}

/// The end of a gRPC call that is all trailers.
fn grpc(code: &str, fields: &[(&'static str, &str)]) -> Says {
    let status = [("content-type", "application/grpc"), ("grpc-status", code)];
    says(200, &[&status, fields].concat())
}

fn ok() -> Says {
    says(200, &[])
}

impl Says {
    fn response(&self) -> Response<String> {
        let response = Response::builder().status(self.status);
        let add =
            |response: http::response::Builder, (name, value): &(&'static str, String)| response.header(*name, value);
        self.fields.iter().fold(response, add).body(String::new()).unwrap()
    }
}

/// A server, and when which requests have reached it.
#[derive(Clone, Debug, Default)]
struct Server {
    calls: Arc<Mutex<Vec<(Instant, Method, HeaderMap)>>>,
}

impl Server {
    fn calls(&self) -> usize {
        self.calls.lock().len()
    }

    /// How long after the first call each of the others has come.
    fn waits(&self) -> Vec<Duration> {
        let calls = self.calls.lock();
        calls.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
    }

    fn fields(&self, name: &str) -> Vec<Option<String>> {
        let text =
            |(_, _, headers): &(Instant, Method, HeaderMap)| Some(headers.get(name)?.to_str().unwrap().to_owned());
        self.calls.lock().iter().map(text).collect()
    }

    /// Says one thing after another, and the last for ever.
    fn saying<B: Send + 'static>(&self, script: Vec<Says>) -> Client<B> {
        self.answering(move |at| Ok(script.get(at).or(script.last()).unwrap().response()))
    }

    fn answering<B: Send + 'static>(&self, answer: impl Fn(usize) -> Answer + Clone + Send + 'static) -> Client<B> {
        let server = self.clone();
        BoxCloneService::new(service_fn(move |request: Request<B>| {
            let call = (Instant::now(), request.method().clone(), request.headers().clone());
            server.calls.lock().push(call);
            let answer = answer(server.calls() - 1);
            async { answer }
        }))
    }
}

type Client<B> = BoxCloneService<Request<B>, Response<String>, Error>;

fn builder() -> RetryPolicyBuilder {
    RetryPolicy::builder()
}

fn request(method: &str) -> Request<Full<Bytes>> {
    Request::builder().method(method).uri("http://api.example.com/bots").body(Full::from("body")).unwrap()
}

fn grpc_request() -> Request<Full<Bytes>> {
    let mut request = request("POST");
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    request
}

/// Calls once through a layer with the policy; how often that has called the server, when, and the last answer.
async fn call_with(policy: RetryPolicyBuilder, request: Request<Full<Bytes>>, script: Vec<Says>) -> (Server, u16) {
    let server = Server::default();
    let client = RetryLayer::new(policy.build().unwrap()).layer(server.saying(script));
    let answer = client.oneshot(request).await.unwrap();
    (server, answer.status().as_u16())
}

async fn calls_of(method: &str, says: Says) -> usize {
    call_with(builder(), request(method), vec![says, ok()]).await.0.calls()
}

async fn grpc_calls_of(policy: RetryPolicyBuilder, says: Says) -> usize {
    call_with(policy, grpc_request(), vec![says, ok()]).await.0.calls()
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

// ---- what is called again ----

#[tokio::test(start_paused = true)]
async fn a_refused_call_is_made_again_whatever_its_method() {
    for method in ["GET", "POST", "PATCH", "PUT", "DELETE"] {
        assert_eq!(calls_of(method, says(429, &[])).await, 2, "{method}");
        assert_eq!(calls_of(method, says(503, &[("retry-after", "1")])).await, 2, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_is_made_again_if_it_is_idempotent() {
    for status in [502, 503, 504] {
        for (method, calls) in
            [("GET", 2), ("HEAD", 2), ("PUT", 2), ("DELETE", 2), ("OPTIONS", 2), ("POST", 1), ("PATCH", 1)]
        {
            assert_eq!(calls_of(method, says(status, &[])).await, calls, "{method} {status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn any_other_answer_is_handed_on() {
    for status in [200, 204, 301, 400, 401, 403, 404, 408, 409, 413, 425, 500, 501, 505] {
        assert_eq!(calls_of("GET", says(status, &[("retry-after", "1")])).await, 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_may_be_executed_twice_can_be_named() {
    let with_key = |request: &RequestView<'_>| request.headers().contains_key("idempotency-key");
    for (name, calls) in [("idempotency-key", 2), ("x-other", 1)] {
        let mut request = request("POST");
        request.headers_mut().insert(name, "7".parse().unwrap());
        let (server, _) = call_with(builder().idempotent_if(with_key), request, vec![says(502, &[]), ok()]).await;
        assert_eq!(server.calls(), calls, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_worth_another_attempt_if_that_is_said_and_the_call_is_idempotent() {
    let refused = |error: &Error| error.kind() == ErrorKind::ConnectionRefused;
    let rows = [
        (builder(), "GET", ErrorKind::ConnectionRefused, 1),
        (builder().retry_errors_if(refused), "GET", ErrorKind::ConnectionRefused, 2),
        (builder().retry_errors_if(refused), "GET", ErrorKind::BrokenPipe, 1),
        (builder().retry_errors_if(refused), "POST", ErrorKind::ConnectionRefused, 1),
        (builder().retry_errors_if(|_: &std::fmt::Error| true), "GET", ErrorKind::ConnectionRefused, 1),
    ];
    for (policy, method, kind, calls) in rows {
        let server = Server::default();
        let client = server.answering(move |at| if at == 0 { Err(kind.into()) } else { Ok(ok().response()) });
        let outcome = RetryLayer::new(policy.build().unwrap()).layer(client).oneshot(request(method)).await;
        assert_eq!((server.calls(), outcome.is_ok()), (calls, calls == 2), "{method} {kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_client_is_known_again_around_a_pacing_layer() {
    let refused = |error: &Error| error.kind() == ErrorKind::ConnectionRefused;
    for (kind, calls) in [(ErrorKind::ConnectionRefused, 2), (ErrorKind::BrokenPipe, 1)] {
        let server = Server::default();
        let client = server.answering(move |at| if at == 0 { Err(kind.into()) } else { Ok(ok().response()) });
        let client = PaceLayer::new(key::constant("all"), Policy::per_second(10)).layer(client);
        let policy = builder().retry_errors_if(refused).build().unwrap();
        let outcome = RetryLayer::new(policy).layer(client).oneshot(request("GET")).await;
        assert_eq!((server.calls(), outcome.is_ok()), (calls, calls == 2), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_last_attempt_the_answer_is_handed_back_as_it_came() {
    for attempts in [1, 2, 5] {
        let refusal = says(429, &[("retry-after", "1"), ("x-name", "value")]);
        let server = Server::default();
        let layer = RetryLayer::new(builder().max_attempts(attempts).build().unwrap());
        let answer = layer.layer(server.saying(vec![refusal])).oneshot(request("GET")).await.unwrap();
        assert_eq!(
            (answer.status(), answer.headers()["x-name"].as_bytes()),
            (StatusCode::TOO_MANY_REQUESTS, &b"value"[..])
        );
        assert_eq!(server.calls(), attempts as usize);
    }
}

// ---- when ----

#[tokio::test(start_paused = true)]
async fn a_stated_wait_is_kept_and_lengthened_by_no_more_than_the_spread() {
    let script = vec![says(429, &[("retry-after", "38")]), says(503, &[("retry-after", "1")]), ok()];
    let (server, status) = call_with(builder(), request("POST"), script).await;
    assert_eq!(status, 200);
    let [long, short] = server.waits()[..] else { panic!("{server:?}") };
    assert!((seconds(38)..=seconds(43)).contains(&long), "{long:?}");
    assert!((seconds(1)..=seconds(3)).contains(&short), "{short:?}");
    let script = vec![says(503, &[("retry-after", "1")]), ok()];
    let (server, _) = call_with(builder().max_jitter(seconds(5)), request("POST"), script).await;
    assert!(server.waits()[0] <= seconds(2), "{server:?}: at most twice as long");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_states_more_than_the_longest_wait_is_handed_back_at_once() {
    for (stated, calls) in [("10", 2), ("11", 1), ("9999999999", 1)] {
        let policy = builder().max_stated_wait(seconds(10)).max_jitter(Duration::ZERO);
        let (begun, script) = (Instant::now(), vec![says(429, &[("retry-after", stated)]), ok()]);
        let (server, status) = call_with(policy, request("GET"), script).await;
        assert_eq!((server.calls(), status == 200), (calls, calls == 2), "{stated}");
        assert_eq!(begun.elapsed() < seconds(1), calls == 1, "{stated}");
    }
}

/// F36
#[tokio::test(start_paused = true)]
async fn no_retry_after_makes_a_call_outlast_its_deadline() {
    let digits = "9".repeat(400);
    let far = "Fri, 31 Dec 9999 23:59:59 GMT";
    let past = "Sun, 06 Nov 1994 08:49:37 GMT";
    for stated in ["9999999999", &digits, far, past, "-1", "+5", "1.5", "", "89"] {
        let begun = Instant::now();
        let refusal = says(429, &[("retry-after", stated)]);
        let (server, status) = call_with(builder().max_attempts(100), request("GET"), vec![refusal]).await;
        assert!(status == 429 && begun.elapsed() <= seconds(180), "{stated:?}: {:?}", begun.elapsed());
        assert!(server.calls() <= 100, "{stated:?}");
    }
    let two = says(429, &[("retry-after", "5"), ("retry-after", "40")]);
    let (server, _) = call_with(builder(), request("GET"), vec![two, ok()]).await;
    assert!(server.waits()[0] >= seconds(40));
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_nothing_is_as_long_as_the_base_of_the_backoff() {
    for nothing in ["0", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let policy = builder().max_jitter(seconds(5));
        let (server, _) = call_with(policy, request("GET"), vec![says(429, &[("retry-after", nothing)])]).await;
        let base = Duration::from_millis(100);
        assert!(
            server.waits().iter().all(|wait| (base..=base * 2 + Duration::from_millis(1)).contains(wait)),
            "{server:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_end_behind_the_deadline_is_not_begun() {
    let policy = builder().max_elapsed(seconds(100)).max_jitter(Duration::ZERO);
    let begun = Instant::now();
    let (server, status) = call_with(policy, request("GET"), vec![says(429, &[("retry-after", "40")])]).await;
    assert_eq!((server.calls(), status), (3, 429));
    assert!(begun.elapsed() < seconds(81));
}

#[tokio::test(start_paused = true)]
async fn the_spread_never_passes_the_deadline() {
    for _ in 0..50 {
        let begun = Instant::now();
        let script = vec![says(429, &[("retry-after", "40")]), ok()];
        let (_, status) = call_with(builder().max_elapsed(seconds(40)), request("GET"), script).await;
        // Timers are exact to the millisecond.
        assert!(status == 200 && begun.elapsed() <= Duration::from_millis(40_001), "{:?}", begun.elapsed());
    }
}

/// Those who are not told wait ever longer, and not all the same.
#[tokio::test(start_paused = true)]
async fn without_a_stated_wait_the_backoff_grows_up_to_its_cap() {
    fastrand::seed(1);
    let backoff = Backoff::decorrelated(Duration::from_millis(100), seconds(2));
    let policy = builder().max_attempts(40).backoff(backoff);
    let (server, _) = call_with(policy, request("GET"), vec![says(429, &[])]).await;
    let waits = server.waits();
    assert_eq!(waits.len(), 39);
    assert!(waits.iter().all(|wait| *wait >= Duration::from_millis(100) && *wait <= Duration::from_millis(2001)));
    assert!(waits.iter().any(|wait| *wait > seconds(1)), "{waits:?}");
    assert!(waits[0] <= Duration::from_millis(301), "{waits:?}");
}

/// How long after a refusal, which states a wait, each of 1000 clients is back.
async fn returns_of_a_thousand(layer: &RetryLayer, stated: &str) -> Vec<Duration> {
    fastrand::seed(7);
    let begun = Instant::now();
    let calls = (0..1000).map(|_| async {
        let server = Server::default();
        let script = vec![says(429, &[("retry-after", stated)]), ok()];
        layer.layer(server.saying(script)).oneshot(request("POST")).await.unwrap();
        server.waits()[0]
    });
    let returns = join_all(calls).await;
    assert!(begun.elapsed() < seconds(60), "all at once");
    returns
}

/// How many are back in the fullest slice of time of this length.
fn fullest(returns: &[Duration], slice: Duration) -> usize {
    let begins = returns.iter();
    let within = |begin: Duration| returns.iter().filter(|at| (begin..begin + slice).contains(*at)).count();
    begins.map(|begin| within(*begin)).max().unwrap()
}

fn for_a_thousand() -> RetryPolicyBuilder {
    builder().budget(Budget::new(100, 1000).unwrap())
}

/// F38 and L6
#[tokio::test(start_paused = true)]
async fn a_thousand_clients_that_were_refused_together_return_one_by_one() {
    let layer = RetryLayer::new(for_a_thousand().build().unwrap());
    let returns = returns_of_a_thousand(&layer, "38").await;
    let (stated, spread) = (38.0, 5.0);
    assert!(returns.iter().all(|at| at.as_secs_f64() >= stated && at.as_secs_f64() <= stated + spread + 0.002));

    let mean = returns.iter().map(Duration::as_secs_f64).sum::<f64>() / 1000.0;
    let variance = returns.iter().map(|at| (at.as_secs_f64() - mean).powi(2)).sum::<f64>() / 1000.0;
    assert!(variance.sqrt() >= 0.1 * spread, "standard deviation {}", variance.sqrt());
    let slices: Vec<_> = (0..100).map(|slice| seconds(38) + Duration::from_millis(50) * slice).collect();
    let most = slices
        .iter()
        .map(|from| returns.iter().filter(|at| (*from..*from + Duration::from_millis(50)).contains(*at)).count());
    assert!(most.max().unwrap() <= 20, "at most two in a hundred within a hundredth of the spread");
    let most = fullest(&returns, Duration::from_millis(100));
    assert!(most <= 50, "{most} of 1000 within 100 ms");
    // Not even after a wait that is shorter than the time that they need.
    let returns = returns_of_a_thousand(&layer, "1").await;
    let per_tenth = (0..20).map(|tenth| seconds(1) + Duration::from_millis(100) * tenth);
    let per_tenth: Vec<_> = per_tenth
        .map(|from| returns.iter().filter(|at| (from..from + seconds(1) / 10).contains(*at)).count())
        .collect();
    assert!(per_tenth.iter().all(|count| *count <= 75), "fifty on the average: {per_tenth:?}");
}

/// F38
#[tokio::test(start_paused = true)]
async fn two_policies_and_two_calls_of_one_policy_draw_independently() {
    let waits = |policy: RetryPolicy| async move {
        let server = Server::default();
        RetryLayer::new(policy).layer(server.saying(vec![says(429, &[])])).oneshot(request("GET")).await.unwrap();
        server.waits()
    };
    let policies = [(); 2].map(|()| builder().max_attempts(6).build().unwrap());
    let sequences = join_all(policies.iter().flat_map(|policy| [policy.clone(), policy.clone()]).map(waits)).await;
    for (at, sequence) in sequences.iter().enumerate() {
        assert_eq!(sequence.len(), 5);
        assert!(!sequences[..at].contains(sequence), "{sequences:?}");
    }
}

// ---- gRPC ----

#[tokio::test(start_paused = true)]
async fn a_pushback_is_kept_and_each_attempt_says_how_many_there_were() {
    let refusal = grpc("8", &[("grpc-retry-pushback-ms", "1700")]);
    let (server, _) = call_with(builder(), grpc_request(), vec![refusal.clone(), refusal, ok()]).await;
    assert!(server.waits().iter().all(|wait| *wait >= Duration::from_millis(1700)), "{server:?}");
    let attempts = server.fields("grpc-previous-rpc-attempts");
    assert_eq!(attempts, [None, Some("1".to_owned()), Some("2".to_owned())]);
    let (server, _) = call_with(builder(), request("POST"), vec![says(429, &[]), ok()]).await;
    assert_eq!(server.fields("grpc-previous-rpc-attempts"), [None, None], "that is gRPC's");
}

#[tokio::test(start_paused = true)]
async fn a_retry_info_is_kept() {
    // Of 1.5 s
    let details = "CAgaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIARCAyrXuAQ";
    let refusal = grpc("8", &[("grpc-status-details-bin", details)]);
    let (server, _) = call_with(builder(), grpc_request(), vec![refusal, ok()]).await;
    assert!(server.waits()[0] >= Duration::from_millis(1500));
}

/// F40: it may be a message that is too large, or a connection that was closed for too many cancelled streams.
#[tokio::test(start_paused = true)]
async fn an_exhaustion_without_a_stated_wait_is_retried_only_if_asked() {
    assert_eq!(grpc_calls_of(builder(), grpc("8", &[])).await, 1);
    let asked = builder().advice_reader(AdviceReader::new().exhausted_as_refusal(true));
    assert_eq!(grpc_calls_of(asked, grpc("8", &[])).await, 2);
}

/// B12
#[tokio::test(start_paused = true)]
async fn a_call_is_not_made_again_if_the_server_forbids_it_or_cannot_be_understood() {
    let any = || builder().advice_reader(AdviceReader::new().exhausted_as_refusal(true)).idempotent_if(|_| true);
    for pushback in ["-1", "abc", "2147483648"] {
        for code in ["8", "14"] {
            let refusal = grpc(code, &[("grpc-retry-pushback-ms", pushback), ("retry-after", "1")]);
            assert_eq!(grpc_calls_of(any(), refusal).await, 1, "{code} {pushback}");
        }
    }
    for details in ["!!!not base64", "////", "CAg"] {
        assert_eq!(grpc_calls_of(builder(), grpc("8", &[("grpc-status-details-bin", details)])).await, 1, "{details}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_call_is_made_again_if_it_only_reads_or_a_wait_is_stated() {
    let reads = |request: &RequestView<'_>| request.uri().path().starts_with("/bots");
    assert_eq!(grpc_calls_of(builder(), grpc("14", &[])).await, 1);
    assert_eq!(grpc_calls_of(builder().idempotent_if(reads), grpc("14", &[])).await, 2);
    assert_eq!(grpc_calls_of(builder(), grpc("14", &[("grpc-retry-pushback-ms", "100")])).await, 2);
    for code in ["0", "1", "2", "4", "5", "10", "13"] {
        assert_eq!(grpc_calls_of(builder().idempotent_if(reads), grpc(code, &[])).await, 1, "{code}");
    }
}

// ---- how often ----

/// F39
#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_everything_is_called_little_more_often_than_without_retries() {
    let policy = builder().max_attempts(10).build().unwrap();
    let server = Server::default();
    let client = RetryLayer::new(policy).layer(server.saying(vec![says(429, &[])]));
    let begun = Instant::now();
    let mut calls = Vec::new();
    while begun.elapsed() < seconds(60) {
        calls.push(tokio::spawn(client.clone().oneshot(request("GET"))));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let requests = calls.len();
    join_all(calls).await;
    assert!(requests > 2500, "{requests}");
    assert!(server.calls() * 10 <= requests * 12 + 100 * 10, "{} attempts for {requests} requests", server.calls());
    assert!(server.calls() > requests + 100, "the budget is used");
}

#[tokio::test(start_paused = true)]
async fn all_clones_and_layers_of_a_policy_share_its_budget() {
    let budget = Budget::new(0, 3).unwrap();
    let policy = builder().budget(budget.clone()).build().unwrap();
    let other = builder().budget(budget.clone()).build().unwrap();
    let server = Server::default();
    for policy in [&policy, &policy, &other] {
        let client = RetryLayer::new(policy.clone()).layer(server.saying(vec![says(429, &[])]));
        client.clone().oneshot(request("GET")).await.unwrap();
        client.oneshot(request("GET")).await.unwrap();
    }
    assert_eq!((server.calls(), budget.balance(), policy.budget().balance()), (6 + 3, 0, 0));
}

/// F39: the outermost retries, and the others let it.
#[tokio::test(start_paused = true)]
async fn nested_layers_do_not_multiply() {
    let layer = || RetryLayer::new(builder().max_attempts(3).build().unwrap());
    let server = Server::default();
    let client = ServiceBuilder::new().layer(layer()).layer(layer()).layer(layer());
    let client = client.service(server.saying(vec![says(429, &[])]));
    assert_eq!(client.oneshot(request("GET")).await.unwrap().status(), 429);
    assert_eq!(server.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_that_waits_makes_no_further_attempt() {
    let server = Server::default();
    let client = RetryLayer::new(builder().build().unwrap()).layer(server.saying(vec![says(429, &[])]));
    let call = client.oneshot(request("GET"));
    assert!(tokio::time::timeout(Duration::from_micros(1), call).await.is_err());
    tokio::time::sleep(seconds(600)).await;
    assert_eq!(server.calls(), 1);
}

#[test]
fn mistakes_are_found_when_the_policy_is_built() {
    let backoff = Backoff::full(Duration::ZERO, seconds(1));
    let rows = [
        (builder().max_attempts(0), "max_attempts", "0"),
        (builder().max_elapsed(Duration::ZERO), "max_elapsed", "0s"),
        (builder().backoff(backoff), "backoff: base", "0s"),
        (builder().max_stated_wait(seconds(24 * 60 * 60)), "max_stated_wait", "1day"),
        (builder().advice_reader(AdviceReader::new().max_time(seconds(60))), "max_stated_wait", "1m 30s"),
    ];
    for (policy, field, value) in rows {
        let error = policy.build().unwrap_err();
        assert_eq!((error.field(), error.value()), (field, value));
    }
}

// ---- bodies ----

/// What one attempt has sent.
#[derive(Debug, Default, PartialEq)]
struct Sent {
    data: String,
    trailers: Option<HeaderMap>,
    failed: bool,
}

/// Reads so much of a body, counted in frames.
async fn read(mut body: impl Body<Data = Bytes, Error = impl Sized> + Unpin, frames: usize) -> Sent {
    let mut sent = Sent::default();
    for _ in 0..frames {
        match body.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => sent.data.push_str(str::from_utf8(&data).unwrap()),
                Err(trailers) => sent.trailers = trailers.into_trailers().ok(),
            },
            Some(Err(_)) => sent.failed = true,
            None => break,
        }
    }
    sent
}

/// Calls a server once that reads so many frames of each attempt and refuses it, and afterwards all of the last, which
/// it serves; what it has been sent.
async fn sent<B>(layer: &RetryLayer, body: B, frames: &[usize]) -> Vec<Sent>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let (seen, frames) = (Arc::clone(&attempts), frames.to_vec());
    let server = service_fn(move |request: Request<ReplayBody<B>>| {
        let (seen, frames) = (Arc::clone(&seen), frames.clone());
        async move {
            let at = seen.lock().len();
            let refused = at < frames.len();
            let sent = read(request.into_body(), frames.get(at).copied().unwrap_or(usize::MAX)).await;
            seen.lock().push(sent);
            Ok::<_, Infallible>(
                Response::builder().status(if refused { 429 } else { 200 }).body(String::new()).unwrap(),
            )
        }
    });
    layer.layer(server).oneshot(Request::post("/").body(body).unwrap()).await.unwrap();
    std::mem::take(&mut *attempts.lock())
}

fn stream(frames: Vec<Result<Frame<Bytes>, Error>>) -> impl Body<Data = Bytes, Error = Error> + Send + 'static {
    StreamBody::new(tokio_stream::iter(frames))
}

fn data(text: &'static str) -> Result<Frame<Bytes>, Error> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

fn trailers() -> HeaderMap {
    [(http::HeaderName::from_static("checksum"), http::HeaderValue::from_static("7"))].into_iter().collect()
}

fn layer() -> RetryLayer {
    RetryLayer::new(builder().max_attempts(4).build().unwrap())
}

fn whole(text: &str) -> Sent {
    Sent { data: text.to_owned(), ..Sent::default() }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_sent_again_as_it_was_with_its_trailers() {
    let body = || stream(vec![data("one "), data("two "), data("three"), Ok(Frame::trailers(trailers()))]);
    let complete = || Sent { trailers: Some(trailers()), ..whole("one two three") };
    assert_eq!(sent(&layer(), body(), &[9]).await, [complete(), complete()]);
    // As far as a refused attempt has read, and the rest behind it.
    assert_eq!(sent(&layer(), body(), &[2, 0]).await, [whole("one two "), whole(""), complete()]);
    assert_eq!(
        sent(&layer(), body(), &[0, 3, 1]).await,
        [whole(""), whole("one two three"), whole("one two three"), complete()]
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_longer_than_its_copy_may_be_is_passed_on_and_sent_once() {
    let body = || stream(vec![data("one "), data("two "), data("three")]);
    assert_eq!(sent(&layer().max_body_copy(13), body(), &[9]).await.len(), 2);
    assert_eq!(sent(&layer().max_body_copy(12), body(), &[9]).await, [whole("one two three")]);
    assert_eq!(sent(&layer().max_body_copy(12), body(), &[2]).await.len(), 2, "what was sent of it is in the copy");
    assert_eq!(sent(&layer().max_body_copy(0), body(), &[9]).await, [whole("one two three")]);
    assert_eq!(sent(&layer().max_body_copy(0), Empty::<Bytes>::new(), &[9]).await.len(), 2);
    let with_trailers = stream(vec![data("one"), Ok(Frame::trailers(trailers()))]);
    let complete = Sent { trailers: Some(trailers()), ..whole("one") };
    assert_eq!(sent(&layer().max_body_copy(11), with_trailers, &[9]).await, [complete]);
}

#[tokio::test(start_paused = true)]
async fn a_body_of_64_kib_is_sent_again_and_a_longer_one_in_pieces_is_not() {
    for (length, attempts) in [(64 * 1024, 2), (64 * 1024 + 1, 1)] {
        let body = stream(vec![data("a"), Ok(Frame::data(Bytes::from(vec![b'a'; length - 1])))]);
        let sent = sent(&layer(), body, &[9]).await;
        assert_eq!(sent.len(), attempts, "{length}");
        assert!(sent.iter().all(|sent| sent.data.len() == length));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_body_has_failed_is_not_made_again() {
    let body = stream(vec![data("one"), Err(Error::other("disk"))]);
    assert_eq!(sent(&layer(), body, &[9]).await, [Sent { failed: true, ..whole("one") }]);
}

proptest! {
    #[test]
    fn whatever_was_read_of_an_attempt_the_next_one_sends_all_of_the_body(
        pieces in prop::collection::vec("[a-z]{0,9}", 0..8),
        has_trailers: bool,
        frames in prop::collection::vec(0usize..10, 0..4),
        limit in 0usize..80,
    ) {
        let data = pieces.iter().map(|piece| Frame::data(Bytes::from(piece.clone())));
        let body = stream(data.chain(has_trailers.then(|| Frame::trailers(trailers()))).map(Ok).collect());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let attempts = runtime.block_on(sent(&layer().max_body_copy(limit), body, &frames));

        let text = pieces.concat();
        for attempt in &attempts {
            prop_assert!(text.starts_with(&attempt.data) && !attempt.failed, "{attempt:?}");
        }
        let length = text.len() + if has_trailers { "checksum7".len() } else { 0 };
        if limit >= length {
            prop_assert_eq!(attempts.len(), frames.len() + 1);
        }
        if attempts.len() == frames.len() + 1 {
            prop_assert_eq!(attempts.last(), Some(&Sent { trailers: has_trailers.then(trailers), ..whole(&text) }));
        }
    }
}

/// A body that is still being sent when the answer comes, as gRPC's streams may be.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_over_sends_no_more_of_what_the_next_one_needs() {
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, Error>>(8);
    let body = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(receiver));
    let (bodies, mut attempts) = mpsc::channel(8);
    let answers = Server::default().saying(vec![says(429, &[]), ok()]);
    let may_answer = Arc::new(Semaphore::new(0));
    let permits = Arc::clone(&may_answer);
    let client = layer().layer(service_fn(move |request: Request<ReplayBody<_>>| {
        let (bodies, answers, permits) = (bodies.clone(), answers.clone(), Arc::clone(&permits));
        async move {
            let (parts, body) = request.into_parts();
            bodies.send(body).await.unwrap();
            permits.acquire().await.unwrap().forget();
            answers.oneshot(Request::from_parts(parts, ())).await
        }
    }));
    let call = tokio::spawn(client.oneshot(Request::post("/").body(body).unwrap()));

    let mut first = attempts.recv().await.unwrap();
    sender.send(data("one ")).await.unwrap();
    assert_eq!(read(&mut first, 1).await, whole("one "));
    may_answer.add_permits(2);
    call.await.unwrap().unwrap();
    let mut second = attempts.recv().await.unwrap();
    sender.send(data("two")).await.unwrap();
    drop(sender);
    assert!(read(&mut first, 1).await.failed, "or the second would miss it");
    assert_eq!(read(&mut second, 9).await, whole("one two"));
}

#[tokio::test]
async fn a_body_keeps_its_length_and_its_end() {
    let ends = service_fn(async |request: Request<ReplayBody<Full<Bytes>>>| {
        let mut body = request.into_body();
        let before = (body.size_hint().exact(), body.is_end_stream());
        body.frame().await;
        Ok::<_, Infallible>(Response::new((before, (body.size_hint().exact(), body.is_end_stream()))))
    });
    let ask = |text| layer().layer(ends).oneshot(Request::post("/").body(Full::from(text)).unwrap());
    assert_eq!(ask("hello").await.unwrap().into_body(), ((Some(5), false), (Some(0), true)));
    assert_eq!(ask("").await.unwrap().into_body(), ((Some(0), true), (Some(0), true)));
}

// ---- with tower ----

/// Its clones are not ready, as tower has it, and it insists on being so.
#[derive(Debug, Default)]
struct Strict {
    is_ready: bool,
    calls: Arc<Mutex<usize>>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { is_ready: false, calls: Arc::clone(&self.calls) }
    }
}

impl<B> Service<Request<B>> for Strict {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        self.is_ready = true;
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without having been polled ready");
        *self.calls.lock() += 1;
        std::future::ready(Ok(says(429, &[]).response()))
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_made_by_a_service_that_was_polled_ready() {
    let strict = Strict::default();
    let client = layer().layer(strict.clone());
    for _ in 0..3 {
        client.clone().oneshot(request("GET")).await.unwrap();
    }
    assert_eq!(*strict.calls.lock(), 3 * 4);
}

#[tokio::test(start_paused = true)]
async fn the_policy_is_one_for_towers_own_layer_where_bodies_can_be_cloned() {
    let server = Server::default();
    let layer = tower::retry::RetryLayer::new(builder().build().unwrap());
    let client = layer.layer(server.saying(vec![says(429, &[("retry-after", "5")]), ok()]));
    assert_eq!(client.oneshot(request("POST")).await.unwrap().status(), 200);
    assert!(server.waits()[0] >= seconds(5));
}

#[test]
fn the_public_types_can_be_sent_shared_and_kept_in_a_struct() {
    fn assert_kept<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    fn assert_sent<T: Send + 'static>() {}
    type Named = Retry<Strict, fn(ReplayBody<Full<Bytes>>) -> Full<Bytes>>;
    assert_kept::<(RetryLayer, RetryPolicy, Retry<Strict>, Named, Budget)>();
    assert_sent::<<Retry<Strict> as Service<Request<Full<Bytes>>>>::Future>();
    assert_sent::<ReplayBody<http_body_util::combinators::UnsyncBoxBody<Bytes, Error>>>();
}

// ---- what a policy can be taught ----

fn connect_error() -> Error {
    Error::from(ErrorKind::ConnectionRefused)
}

async fn calls_with(
    policy: RetryPolicyBuilder,
    method: &str,
    answer: impl Fn(usize) -> Answer + Clone + Send + 'static,
) -> usize {
    let server = Server::default();
    let client = RetryLayer::new(policy.build().unwrap()).layer(server.answering(answer));
    let _ = client.oneshot(request(method)).await;
    server.calls()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_never_sent_is_made_again_whatever_its_method() {
    let unsent = |error: &Error| error.kind() == ErrorKind::ConnectionRefused;
    assert_eq!(calls_with(builder().unsent_if(unsent), "POST", |_| Err(connect_error())).await, 4);
    assert_eq!(calls_with(builder().retry_errors_if(unsent), "POST", |_| Err(connect_error())).await, 1);
    let reset = |_| Err(Error::from(ErrorKind::ConnectionReset));
    assert_eq!(calls_with(builder().unsent_if(unsent), "POST", reset).await, 1);
}

#[tokio::test(start_paused = true)]
async fn statuses_can_be_added_and_left_out() {
    let answer = |status| move |_| Ok(says(status, &[("retry-after", "1")]).response());
    let internal = [StatusCode::INTERNAL_SERVER_ERROR];
    assert_eq!(calls_with(builder(), "GET", answer(500)).await, 1);
    assert_eq!(calls_with(builder().retry_statuses(internal), "GET", answer(500)).await, 4);
    assert_eq!(
        calls_with(builder().retry_statuses(internal), "POST", answer(500)).await,
        1,
        "it may be executed twice"
    );
    for left_out in [429, 503] {
        let status = StatusCode::from_u16(left_out).unwrap();
        assert_eq!(calls_with(builder().never_retry_statuses([status]), "GET", answer(left_out)).await, 1);
    }
    let taught = builder().advice_reader(AdviceReader::new().with_refusal(StatusCode::LOCKED));
    assert_eq!(calls_with(taught, "POST", answer(423)).await, 4);
}

#[tokio::test(start_paused = true)]
async fn advice_may_depend_on_the_request_the_status_and_the_fields() {
    let read = |request: &RequestView<'_>, status: StatusCode, headers: &HeaderMap| {
        let is_busy = status == 409 && headers.contains_key("x-busy") && request.method() == Method::POST;
        if is_busy { Advice::none().refused().wait(seconds(7)) } else { Advice::none() }
    };
    let answer = |_| Ok(says(409, &[("x-busy", "1")]).response());
    assert_eq!(calls_with(builder().read_advice_with(read), "POST", answer).await, 4);
    assert_eq!(calls_with(builder().read_advice_with(read), "GET", answer).await, 1);
    assert_eq!(calls_with(builder().read_advice_with(read), "POST", |_| Ok(says(429, &[]).response())).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_has_been_read_and_a_typed_error_are_advice_too() {
    let answer = |_| Ok(Response::new("THROTTLED".to_owned()));
    let throttled = |_: &RequestView<'_>, response: &Response<String>| {
        (response.body() == "THROTTLED").then(|| Advice::none().refused().wait(seconds(1)))
    };
    assert_eq!(calls_with(builder().read_response_with(throttled), "POST", answer).await, 4);
    assert_eq!(calls_with(builder(), "POST", answer).await, 1);
    let refused = |_| Ok(says(429, &[("retry-after", "1")]).response());
    assert_eq!(calls_with(builder().read_response_with(throttled), "POST", refused).await, 4, "the fields are read");

    let error = |_| Err(Error::from(ErrorKind::QuotaExceeded));
    let exceeded = |_: &RequestView<'_>, error: &Error| {
        (error.kind() == ErrorKind::QuotaExceeded).then(|| Advice::none().refused())
    };
    assert_eq!(calls_with(builder().read_error_with(exceeded), "POST", error).await, 4);
    let never = |_: &RequestView<'_>, _: &Error| Some(Advice::none().refused().never_retry());
    assert_eq!(calls_with(builder().read_error_with(never), "POST", error).await, 1);
}

#[tokio::test(start_paused = true)]
async fn failures_are_for_the_statuses_to_say_whoever_reads_the_answer() {
    let answer = |status| move |_| Ok(says(status, &[]).response());
    let by_fields = |_: &RequestView<'_>, _: StatusCode, _: &HeaderMap| Advice::none().failed();
    let by_response = |_: &RequestView<'_>, _: &Response<String>| Some(Advice::none().failed());
    let delegated =
        |_: &RequestView<'_>, response: &Response<String>| Some(AdviceReader::new().read_response(response));
    for (status, attempts) in [(500, 1), (501, 1), (503, 4)] {
        assert_eq!(
            calls_with(builder().read_advice_with(by_fields), "GET", answer(status)).await,
            attempts,
            "{status}"
        );
        assert_eq!(calls_with(builder().read_response_with(by_response), "GET", answer(status)).await, attempts);
        assert_eq!(calls_with(builder().read_response_with(delegated), "GET", answer(status)).await, attempts);
    }
    let failed = |_: &RequestView<'_>, _: &Error| Some(Advice::none().failed());
    let error = |_| Err(Error::from(ErrorKind::ConnectionReset));
    assert_eq!(calls_with(builder().read_error_with(failed), "GET", error).await, 4);
    assert_eq!(calls_with(builder().read_error_with(failed), "POST", error).await, 1);
}

#[tokio::test(start_paused = true)]
async fn refusals_that_state_no_wait_are_answered_with_a_growing_patience() {
    let server = Server::default();
    let policy = builder().max_attempts(12).max_elapsed(seconds(3600)).build().unwrap();
    let client = RetryLayer::new(policy).layer(server.saying(vec![says(429, &[])]));
    client.oneshot(request("GET")).await.unwrap();
    let waits = server.waits();
    assert!(waits.iter().all(|wait| (seconds(1)..=seconds(61)).contains(wait)), "{waits:?}");
    assert!(waits.iter().max() > Some(&seconds(3)), "it grows: {waits:?}");

    let chosen = builder().max_attempts(40).max_elapsed(seconds(3600)).budget(Budget::new(20, 100).unwrap());
    let chosen = chosen
        .refusal_backoff(Backoff::decorrelated(seconds(2), seconds(5)))
        .backoff(Backoff::full(seconds(9), seconds(9)));
    let (server, _) = call_with(chosen, request("GET"), vec![says(429, &[])]).await;
    assert!(server.waits().iter().all(|wait| (seconds(2)..=seconds(6)).contains(wait)), "{:?}", server.waits());
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_turn_is_not_taken_off_the_deadline() {
    let (server, policy) = (Server::default(), builder().max_elapsed(seconds(30)).build().unwrap());
    let pace =
        PaceLayer::new(tower_quota::key::constant("everybody"), Policy::new(tower_quota::Quota::new(1, seconds(100))));
    let retry = RetryLayer::new(policy.clone());
    let script = vec![ok(), says(429, &[("retry-after", "1")]), ok()];
    let client = ServiceBuilder::new().layer(retry).layer(pace).service(server.saying(script));
    let first = client.clone().oneshot(request("GET"));
    let second = client.oneshot(request("GET"));
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.unwrap().status(), second.unwrap().status()), (StatusCode::OK, StatusCode::OK));
    assert_eq!(server.calls(), 3, "the second call waited for 100 seconds, and was repeated all the same");
}

#[tokio::test(start_paused = true)]
async fn repeats_can_be_seen_while_they_wait_and_afterwards() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let hook = {
        let told = Arc::clone(&told);
        move |repeat: &RetryEvent<'_>| {
            let line = (repeat.request().method().clone(), repeat.attempts(), repeat.wait(), repeat.reason());
            told.lock().push(line);
        }
    };
    let policy = builder().inspect_retry(hook).max_jitter(Duration::ZERO).build().unwrap();
    let server = Server::default();
    let script = vec![says(429, &[("retry-after", "5")]), says(503, &[("retry-after", "7")]), ok()];
    let client = RetryLayer::new(policy.clone()).layer(server.saying(script));
    let call = tokio::spawn(client.oneshot(request("POST")));
    tokio::time::sleep(seconds(1)).await;
    assert_eq!(policy.in_backoff(), 1);
    let response = call.await.unwrap().unwrap();
    assert_eq!((policy.in_backoff(), response.extensions().get()), (0, Some(&Attempts(3))));
    let expected =
        [(Method::POST, 1, seconds(5), RetryReason::Refused), (Method::POST, 2, seconds(7), RetryReason::Refused)];
    assert_eq!(*told.lock(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_between_attempts_is_no_longer_asleep() {
    let (server, policy) = (Server::default(), builder().build().unwrap());
    let client = RetryLayer::new(policy.clone()).layer(server.saying(vec![says(429, &[("retry-after", "50")])]));
    let call = tokio::spawn(client.oneshot(request("GET")));
    tokio::time::sleep(seconds(1)).await;
    assert_eq!(policy.in_backoff(), 1);
    call.abort();
    assert!(call.await.is_err());
    assert_eq!(policy.in_backoff(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_nested_retry_counts_no_attempts_of_its_own() {
    let (server, policy) = (Server::default(), builder().build().unwrap());
    let layers = ServiceBuilder::new().layer(RetryLayer::new(policy.clone())).layer(RetryLayer::new(policy));
    let client = layers.service(server.saying(vec![says(429, &[("retry-after", "5")]), ok()]));
    let response = client.oneshot(request("GET")).await.unwrap();
    assert_eq!((server.calls(), response.extensions().get()), (2, Some(&Attempts(2))));
}

#[tokio::test(start_paused = true)]
async fn a_long_body_in_one_piece_is_sent_again_and_the_budget_pays_only_for_what_is_sent() {
    let policy = || builder().budget(Budget::new(0, 10).unwrap()).build().unwrap();
    let read = |policy: RetryPolicy, body: BoxedBody| async move {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&calls);
        let client = service_fn(move |request: Request<ReplayBody<BoxedBody>>| {
            let seen = Arc::clone(&seen);
            async move {
                let bytes = request.into_body().collect().await.unwrap().to_bytes();
                seen.lock().push(bytes.len());
                let status = if seen.lock().len() < 3 { 429 } else { 200 };
                Ok::<_, Infallible>(says(status, &[("retry-after", "1")]).response())
            }
        });
        let request = Request::post("http://api.example.com/").body(body).unwrap();
        let _ = RetryLayer::new(policy).layer(client).oneshot(request).await.unwrap();
        Arc::into_inner(calls).map_or_else(Vec::new, Mutex::into_inner)
    };
    const LONG: usize = 10 << 20;
    let whole = BoxedBody::new(Full::from(vec![b'a'; LONG]).map_err(|never| match never {}));
    let kept = policy();
    assert_eq!(read(kept.clone(), whole).await, [LONG; 3]);
    assert_eq!(kept.budget().balance(), 8);

    let pieces = (0..10).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'a'; LONG / 10]))));
    let streamed = BoxedBody::new(StreamBody::new(tokio_stream::iter(pieces)));
    let kept = policy();
    assert_eq!(read(kept.clone(), streamed).await, [LONG]);
    assert_eq!(kept.budget().balance(), 10, "nothing is paid for a call that cannot be sent again");
}

type BoxedBody = http_body_util::combinators::BoxBody<Bytes, Infallible>;
