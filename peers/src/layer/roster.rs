//! The layers, each around the bare service and around a route of axum.

use std::time::Duration;

use axum::{BoxError, Router, body::Body, error_handling::HandleErrorLayer, routing::get};
use http::{Request, Response, StatusCode};
use tower::{Layer, Service, ServiceBuilder};
use tower_quota::{
    RateLimitLayer, RateLimiter, Rule,
    http::{DecisionIn, Headers},
    key,
};
use tower_resilience_ratelimiter::WindowType;

use crate::{
    adapters::{
        axum_gcra, axum_governor, ours, rate_net, throttle_kit, tokio_rate_limit, tower_governor, tower_rate_tier,
        tower_resilience,
    },
    bare::{self, API_KEY, KEYS, Serve, bare, serve, serve_by_clones},
    paced_clock::PacedClock,
    subject::{ANYTHING, HOUR, Limit, MINUTE},
};

/// A layer to be measured.
pub(super) struct Layered {
    pub(super) name: &'static str,
    pub(super) in_process: Box<dyn Fn() -> Serve>,
    /// One service, for each of two threads, which clone it for each request.
    pub(super) in_two_threads: Box<dyn Fn() -> [Serve; 2]>,
    pub(super) on_axum: Box<dyn Fn() -> Router>,
}

/// From one request to the next, so that each of the keys comes as often as an hour admits.
const STEP: Duration = Duration::from_micros(2200);

/// Admits the first request of a key, and then says that the minute is used up.
const DENYING: [Limit; 2] = [Limit::new(1, MINUTE.window), HOUR];

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

/// One service for two threads.
fn twice<S, B>(service: S) -> [Serve; 2]
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
{
    [serve_by_clones(service.clone()), serve_by_clones(service)]
}

/// The layer is made anew for each of them.
macro_rules! layered {
    ($name:expr, $layer:expr) => {
        Layered {
            name: $name,
            in_process: Box::new(|| serve($layer.layer(bare()))),
            in_two_threads: Box::new(|| twice($layer.layer(bare()))),
            on_axum: Box::new(|| hello().layer($layer)),
        }
    };
}

/// For layers that answer with errors, which axum wants to be made into responses.
macro_rules! failing {
    ($name:expr, $layer:expr) => {
        Layered {
            on_axum: Box::new(|| {
                let handled = HandleErrorLayer::new(async |_: BoxError| StatusCode::TOO_MANY_REQUESTS);
                hello().layer(ServiceBuilder::new().layer(handled).map_err(|_| BoxError::from("denied")).layer($layer))
            }),
            in_process: Box::new(|| serve($layer.layer(bare()))),
            in_two_threads: Box::new(|| twice($layer.layer(bare()))),
            name: $name,
        }
    };
}

impl Layered {
    /// The bare service first.
    pub(super) fn all() -> Vec<Self> {
        vec![
            layered!("bare service", tower::layer::util::Identity::new()),
            ours("tower-quota, fields and decision", true, true, [MINUTE, HOUR]),
            ours("tower-quota, fields", true, false, [MINUTE, HOUR]),
            ours("tower-quota, decision", false, true, [MINUTE, HOUR]),
            ours("tower-quota, neither", false, false, [MINUTE, HOUR]),
            ours("tower-quota, denied", true, true, DENYING),
            layered!("tower_governor, headers", tower_governor::layer_with_headers(ANYTHING)),
            layered!(
                "2 x tower_governor, headers",
                ServiceBuilder::new()
                    .layer(tower_governor::layer_with_headers(ANYTHING))
                    .layer(tower_governor::layer_with_headers(ANYTHING))
                    .into_inner()
            ),
            layered!("tower_governor", tower_governor::layer(ANYTHING)),
            layered!(
                "2 x tower_governor",
                ServiceBuilder::new()
                    .layer(tower_governor::layer(ANYTHING))
                    .layer(tower_governor::layer(ANYTHING))
                    .into_inner()
            ),
            layered!("tower_governor, denied", tower_governor::layer_with_headers(Limit::new(1, HOUR.window))),
            layered!("axum-governor, headers", axum_governor::layer(&[ANYTHING])),
            layered!("axum-governor, stack of 2, headers", axum_governor::layer(&[ANYTHING, ANYTHING])),
            failing!("axum_gcra", axum_gcra::layer()),
            layered!("rate-net, token bucket, headers", rate_net::layer(true)),
            layered!("tower-rate-tier, headers", tower_rate_tier::layer(ANYTHING, API_KEY)),
            layered!("throttle-kit, headers", throttle_kit::layer(throttle_kit::quota(ANYTHING), API_KEY)),
            layered!("tokio-rate-limit, headers", tokio_rate_limit::layer()),
            failing!("tower-resilience, fixed, no keys", tower_resilience::layer(ANYTHING, WindowType::Fixed)),
        ]
    }
}

/// This crate with a policy of two quotas: whether the caller is told by header fields, and the handler by the decision.
fn ours(name: &'static str, fields: bool, decision: bool, limits: [Limit; 2]) -> Layered {
    let is_denied = limits == DENYING;
    let layer = move || -> RateLimitLayer {
        let rule =
            Rule::new("calls").every_request().key(key::header(API_KEY)).level("key").policy(ours::policy(&limits));
        let clock = PacedClock::new(if is_denied { Duration::ZERO } else { STEP });
        let limiter = RateLimiter::builder().rule(rule).clock(clock).build().expect("the rule is sound");
        let headers = if fields { Headers::rate_limit() } else { Headers::on_refusals() };
        let place = if decision { DecisionIn::Request } else { DecisionIn::Neither };
        fill(&limiter);
        limiter.layer().headers(headers).decision(place)
    };
    Layered {
        name,
        in_process: Box::new(move || serve(layer().layer(bare()))),
        in_two_threads: Box::new(move || twice(layer().layer(bare()))),
        on_axum: Box::new(move || hello().layer(layer())),
    }
}

/// Charges each key as often as an hour admits, so that no round is of histories that are nearly empty.
fn fill(limiter: &RateLimiter) {
    let calls = limiter.rule("calls").expect("it has that name");
    let keys: Vec<String> = (0..KEYS).map(bare::key).collect();
    for _ in 0..HOUR.units {
        for key in &keys {
            let _ = calls.admit(key);
        }
    }
}
