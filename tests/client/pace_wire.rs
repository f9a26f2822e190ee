//! Pacing around real clients: hyper's, tonic's and reqwest's, and the limits that Kore.ai documents.

#[path = "../../examples/kore/server.rs"]
mod kore;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint, Server};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_quota::{
    Policy, Quota, RateLimitLayer, RateLimiter, Rule,
    client::{Advice, pace::PaceLayer},
    clock::TokioClock,
    key,
};
use tower_quota_tests::{echo::listen, serve};

/// What the servers admit; and the clients keep to it with a margin that covers any jitter of a busy machine.
const WINDOW: Duration = Duration::from_millis(20);
const MARGIN: Duration = Duration::from_secs(1);
const LIMIT: u64 = 5;

fn server_policy() -> Policy {
    Policy::new(Quota::new(LIMIT, WINDOW))
}

fn client_policy() -> Policy {
    server_policy().margin(MARGIN)
}

/// An app behind a limiter, and how often it is reached.
async fn serve_limited() -> (SocketAddr, Arc<AtomicUsize>) {
    let reached = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reached);
    let handler = get(async move || counter.fetch_add(1, Ordering::Relaxed).to_string());
    let app =
        Router::new().route("/", handler).layer(RateLimitLayer::new(key::constant("all"), server_policy()).unwrap());
    (serve(app).await, reached)
}

/// Serves the health service of tonic behind a limiter, and connects to it.
async fn connect_to_health(policy: Policy) -> Channel {
    let (address, incoming) = listen();
    let (_, health) = tonic_health::server::health_reporter();
    let layer = RateLimitLayer::new(key::constant("all"), policy).unwrap();
    tokio::spawn(Server::builder().layer(layer).add_service(health).serve_with_incoming(incoming));
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn a_paced_hyper_client_is_refused_nothing_by_axum() {
    let (address, reached) = serve_limited().await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let client = PaceLayer::new(key::host(), client_policy()).layer(client);
    let calls = (0..2 * LIMIT).map(|_| {
        let request = Request::get(format!("http://{address}/")).body(Empty::new()).unwrap();
        client.clone().oneshot(request)
    });
    for answer in join_all(calls).await {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(reached.load(Ordering::Relaxed), 2 * LIMIT as usize);
}

#[tokio::test]
async fn a_paced_reqwest_client_is_refused_nothing_by_axum() {
    let (address, reached) = serve_limited().await;
    let host = |request: &reqwest::Request| request.url().host_str().map(str::to_owned);
    let rule = Rule::new("calls").every_request().key(host).level("host").policy(client_policy());
    let limiter = RateLimiter::builder_for::<reqwest::Request>().rule(rule).build().unwrap();
    let layer = limiter.pace().read_advice_with(|outcome: &Result<reqwest::Response, reqwest::Error>| match outcome {
        Ok(answer) if answer.status() == StatusCode::TOO_MANY_REQUESTS => Advice::none().refused(),
        _ => Advice::none(),
    });
    let client = layer.layer(reqwest::Client::builder().no_proxy().build().unwrap());
    let calls = (0..2 * LIMIT).map(|_| {
        let request = reqwest::Request::new(reqwest::Method::GET, format!("http://{address}/").parse().unwrap());
        client.clone().oneshot(request)
    });
    for answer in join_all(calls).await {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(reached.load(Ordering::Relaxed), 2 * LIMIT as usize);
}

#[tokio::test]
async fn a_paced_tonic_client_is_refused_nothing_by_tonic() {
    let channel = connect_to_health(server_policy()).await;
    let client = HealthClient::new(PaceLayer::new(key::constant("health"), client_policy()).layer(channel));
    let calls = (0..2 * LIMIT).map(|_| {
        let mut client = client.clone();
        async move { client.check(HealthCheckRequest::default()).await }
    });
    for answer in join_all(calls).await {
        answer.unwrap();
    }
}

#[tokio::test]
async fn a_tonic_client_heeds_the_pushback_of_a_refusal() {
    let channel = connect_to_health(Policy::per_minute(1)).await;
    let layer = PaceLayer::new(key::constant("health"), Policy::per_second(1000));
    let handle = layer.handle();
    // Somebody else makes the only call of this minute.
    HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    let mut client = HealthClient::new(layer.layer(channel));
    let refused = client.check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert!(handle.queues()[0].forecast() > Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn rules_pace_requests_by_route_and_account() {
    let rule = |name: &str| Rule::new(name).key(key::header("account"));
    let limiter = RateLimiter::builder()
        .rule(rule("search").routes(["GET /search"]).policy(Policy::per_second(1)))
        .rule(rule("all").every_request().policy(Policy::per_second(3)))
        .clock(TokioClock::new())
        .build()
        .unwrap();
    let begin = Instant::now();
    let client = limiter.pace().layer(service_fn(async |request: Request<()>| {
        Ok::<_, BoxError>(http::Response::new(request.uri().path().to_owned()))
    }));
    let call = |path: &'static str, account: &'static str| {
        let request = Request::get(path).header("account", account).body(()).unwrap();
        let client = client.clone();
        async move {
            client.oneshot(request).await.unwrap();
            (path, account, begin.elapsed().as_secs())
        }
    };
    let calls = [("/search", "a"), ("/search", "a"), ("/search", "b"), ("/x", "a"), ("/x", "a"), ("/x", "a")];
    let times = join_all(calls.map(|(path, account)| call(path, account))).await;
    let seconds: Vec<_> = times.iter().map(|(.., seconds)| *seconds).collect();
    assert_eq!(seconds, [0, 1, 0, 0, 0, 1], "{times:?}");
}

/// Kore.ai's server at the other end of a connection within this process, whose time tokio's timers keep as well.
async fn connect_to_kore() -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let app = kore::app(&kore::limiter(TokioClock::new()).unwrap());
    tokio::spawn(async {
        let server = Builder::new(TokioExecutor::new());
        server.serve_connection(TokioIo::new(theirs), TowerToHyperService::new(app)).await.unwrap();
    });
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(ours)).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test(start_paused = true)]
async fn a_client_that_knows_only_the_url_finishes_a_batch_that_exceeds_the_minute_without_a_refusal() {
    const CALLS: u32 = 150;
    let (kore, token) = (connect_to_kore().await, kore::token("cs-acme").unwrap());
    let client = service_fn(move |request: Request<Empty<Bytes>>| {
        let mut kore = kore.clone();
        async move { Ok::<http::Response<Incoming>, BoxError>(kore.send_request(request).await?) }
    });
    let layer = PaceLayer::new(key::host(), Policy::per_second(1000)).adaptive();
    let client = layer.layer(client);
    let begin = Instant::now();
    let calls = (0..CALLS).map(|_| {
        let request = Request::post("http://kore.example/api/public/bot/st-1/export").header("auth", &token);
        client.clone().oneshot(request.body(Empty::new()).unwrap())
    });
    for answer in join_all(calls).await {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    // 60 at once, 60 a minute later, and the rest after another one.
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    assert!((2.0..2.1).contains(&minutes), "{minutes} minutes");
}
