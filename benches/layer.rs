//! What the layer adds to a request, in process: `cargo bench -p tower-quota-benches --bench layer --features governor`.
//!
//! The bare service answers with an empty response. Over it: tower_governor with one quota, two of it stacked for minute
//! and hour, and this crate with 60 per minute and 1800 per hour at once, exactly. Keys are 1,000 values of a header.
//! Printed are medians of interleaved rounds: nanoseconds over the bare service, and the ratio to the two stacked ones.

#![allow(clippy::expect_used, reason = "a benchmark may stop with a message")]

use std::{
    convert::Infallible,
    hint::black_box,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response};
use tower::{Layer, Service, service_fn};
use tower_governor::{
    GovernorError, GovernorLayer, governor::GovernorConfigBuilder, key_extractor::KeyExtractor as GovernorKey,
};
use tower_quota::{
    Policy, RateLimitLayer, RateLimiter, Rule,
    clock::ManualClock,
    http::{DecisionIn, Headers},
    key,
};

const ROUNDS: usize = 9;
const REQUESTS: usize = 100_000;
const KEYS: usize = 1_000;

type Body = axum::body::Body;
/// Serves one request and says whether it was admitted.
type Serve = Box<dyn FnMut(Request<()>) -> bool>;

/// The same key for tower_governor.
#[derive(Clone, Debug)]
struct ByHeader;

impl GovernorKey for ByHeader {
    type Key = String;

    fn extract<T>(&self, request: &Request<T>) -> Result<String, GovernorError> {
        let value = request.headers().get("x-api-key").and_then(|value| value.to_str().ok());
        value.map(ToOwned::to_owned).ok_or(GovernorError::UnableToExtractKey)
    }
}

/// A service whose responses carry a header field already, as real ones do.
fn bare() -> impl Service<Request<()>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + 'static {
    service_fn(|_: Request<()>| async {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
        Ok(response)
    })
}

/// Drives a service whose futures are ready at once.
fn serve<S, B>(mut service: S) -> Serve
where
    S: Service<Request<()>, Response = Response<B>> + 'static,
    B: 'static,
{
    Box::new(move |request| {
        let mut context = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut context).is_ready());
        let future = std::pin::pin!(service.call(request));
        match future.poll(&mut context) {
            Poll::Ready(Ok(response)) => black_box(response).status().is_success(),
            _ => unreachable!("the bare service is always ready and never fails"),
        }
    })
}

macro_rules! governor {
    ($burst:expr $(, $headers:ident)?) => {{
        let mut builder = GovernorConfigBuilder::default().key_extractor(ByHeader);
        builder.per_nanosecond(1).burst_size($burst);
        GovernorLayer::new(builder$(.$headers())?.finish().expect("not zero"))
    }};
}

/// This crate, with a clock that moves on by `every` from request to request.
fn ours(style: impl FnOnce(RateLimitLayer) -> RateLimitLayer, every: Duration) -> Serve {
    let clock = ManualClock::new();
    let policy = Policy::per_minute(60).and_per_hour(1800);
    let rule = Rule::new("calls").every_request().key(key::header("x-api-key")).level("key").policy(policy);
    let limiter =
        RateLimiter::builder().metrics(false).rule(rule).clock(clock.clone()).build().expect("the rule is sound");
    let mut serve = serve(style(limiter.layer()).layer(bare()));
    Box::new(move |request| {
        clock.advance(every);
        serve(request)
    })
}

fn requests() -> Vec<Request<()>> {
    let keys: Vec<HeaderValue> =
        (0..KEYS).map(|key| HeaderValue::try_from(format!("acct-{key:020}")).expect("visible ASCII")).collect();
    let request = |number: usize| {
        let mut request = Request::new(());
        request.headers_mut().insert("x-api-key", keys[number * 7919 % KEYS].clone());
        request
    };
    (0..REQUESTS).map(request).collect()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the time")]
fn time(serve: &mut Serve) -> (f64, usize) {
    let requests = requests();
    let started = Instant::now();
    let admitted = requests.into_iter().filter_map(|request| serve(request).then_some(())).count();
    (started.elapsed().as_nanos() as f64 / REQUESTS as f64, admitted)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let plenty = 1_000_000_000;
    let admitting = Duration::from_millis(20);
    let mut cases: Vec<(&str, Serve)> = vec![
        ("bare service", serve(bare())),
        (
            "2 x tower_governor, with headers",
            serve(governor!(plenty, use_headers).layer(governor!(plenty, use_headers).layer(bare()))),
        ),
        ("tower_governor, with headers", serve(governor!(plenty, use_headers).layer(bare()))),
        ("2 x tower_governor, no headers", serve(governor!(plenty).layer(governor!(plenty).layer(bare())))),
        ("tower_governor, no headers", serve(governor!(plenty).layer(bare()))),
        ("tower-quota, fields and decision", ours(|layer| layer, admitting)),
        ("tower-quota, decision outwards too", ours(|layer| layer.decision(DecisionIn::Both), admitting)),
        // As tower_governor does it: the caller is told by header fields, and nobody else.
        ("tower-quota, fields", ours(|layer| layer.decision(DecisionIn::Neither), admitting)),
        (
            "tower-quota, neither",
            ours(|layer| layer.decision(DecisionIn::Neither).headers(Headers::on_refusals()), admitting),
        ),
        ("tower-quota, denied, problem+json", ours(|layer| layer, Duration::ZERO)),
    ];
    let mut nanos = vec![Vec::new(); cases.len()];
    let mut admitted = vec![0; cases.len()];
    for round in 0..ROUNDS {
        for turn in 0..cases.len() {
            let at = (turn + round) % cases.len();
            let (time, count) = time(&mut cases[at].1);
            nanos[at].push(time);
            admitted[at] = count;
        }
    }
    println!("{:<42} {:>10} {:>8} {:>9}", "", "over bare", "ratio", "admitted");
    for (at, (name, _)) in cases.iter().enumerate() {
        let over = |at: usize| (0..ROUNDS).map(|round| nanos[at][round] - nanos[0][round]).collect();
        let ratios =
            (0..ROUNDS).map(|round| (nanos[at][round] - nanos[0][round]) / (nanos[1][round] - nanos[0][round]));
        let percent = 100 * admitted[at] / REQUESTS;
        println!("{name:<42} {:>7.0} ns {:>8.2} {percent:>7} %", median(over(at)), median(ratios.collect()));
    }
}
