//! HTTP and gRPC in one process, counted by one limiter and refused each in its own way.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, extract::Request, middleware, response::Response, routing::get};
use reqwest::Client as HttpClient;
use serde_json::Value;
use tonic::{
    Code, Status,
    service::{InterceptorLayer, Routes},
    transport::Server,
};
use tonic_types::StatusExt;
use tower::ServiceBuilder;
use tower_quota::{Policy, RateLimiter, Rule, clock::ManualClock, config::Sources, key};
use tower_quota_tests::{
    echo::{Client, Echo, listen},
    limiter::limiter,
    serve,
};

/// An axum app and the echo on one port, behind one layer.
async fn serve_both(limiter: &RateLimiter) -> (SocketAddr, Echo) {
    let echo = Echo::default();
    let app = Router::new().route("/accounts/{account}", get(async || "served"));
    let both = Routes::new(echo.clone()).into_axum_router().merge(app).layer(limiter.layer());
    (serve(both).await, echo)
}

fn http_client() -> HttpClient {
    HttpClient::builder().no_proxy().build().unwrap()
}

async fn get_account(server: SocketAddr, account: &str) -> reqwest::Response {
    http_client().get(format!("http://{server}/accounts/{account}")).send().await.unwrap()
}

fn per_minute(limit: u64, rule: Rule) -> (RateLimiter, ManualClock) {
    limiter([rule.policy(Policy::per_minute(limit))])
}

/// A rule whose key is in the path of HTTP requests and in the metadata of gRPC calls.
fn by_account() -> Rule {
    Rule::new("accounts")
        .routes(["GET /accounts/{account}"])
        .key(key::path("account"))
        .group(key::metadata("x-account"), ["POST /echo.Echo/{*method}"])
}

#[tokio::test]
async fn both_kinds_of_callers_share_one_history_and_are_refused_each_in_its_own_way() {
    let (limiter, clock) = per_minute(4, by_account());
    let (server, echo) = serve_both(&limiter).await;
    let grpc = Client::connect(server).await;
    let acme = grpc.clone().with("x-account", "acme");

    for _ in 0..2 {
        let served = get_account(server, "acme").await;
        assert_eq!((served.status().as_u16(), &*served.text().await.unwrap()), (200, "served"));
        assert_eq!(acme.say("hello").await.unwrap(), "hello");
    }
    let refused = get_account(server, "acme").await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    assert_eq!(refused.headers()["retry-after"], "60");
    assert_eq!(refused.headers()["ratelimit"], "\"minute\";r=0;t=60");
    assert!(!refused.headers().contains_key("grpc-status"));
    let problem: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    let refused = acme.say("hello").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.message(), problem["detail"], "in the same words");
    let wait = refused.get_details_retry_info().unwrap().retry_delay;
    assert_eq!(wait, Some(Duration::from_secs(60)));
    assert_eq!(echo.calls(), 2);

    assert_eq!(get_account(server, "globex").await.status(), 200);
    assert_eq!(grpc.with("x-account", "globex").admitted_of(5).await, 3, "one of the four was over HTTP");

    clock.advance(Duration::from_secs(60));
    assert_eq!(acme.admitted_of(5).await, 4);
    assert_eq!(get_account(server, "acme").await.status(), 429);
}

#[tokio::test]
async fn the_peer_is_one_and_the_same_over_http_and_grpc() {
    let (limiter, _) = per_minute(5, Rule::new("everything").every_request().key(key::peer_ip()).level("peer"));
    let (server, _) = serve_both(&limiter).await;
    assert_eq!(get_account(server, "acme").await.status(), 200);
    assert_eq!(Client::connect(server).await.admitted_of(9).await, 4);
    assert_eq!(get_account(server, "acme").await.status(), 429);
    assert_eq!(Client::connect_from([127, 0, 0, 2], server).await.admitted_of(9).await, 5);
}

/// What axum answers for want of a route is 404, which gRPC clients take for `Unimplemented`.
#[tokio::test]
async fn calls_of_services_that_are_not_there_meet_the_rule_for_unmatched_requests() {
    let clock = ManualClock::new();
    let served = by_account().policy(Policy::per_minute(9));
    let rest = Rule::new("rest").unmatched_requests().key(key::constant("all")).policy(Policy::per_minute(2));
    let limiter = RateLimiter::builder().rule(served).rule(rest).clock(clock).build().unwrap();
    let app = Router::new().route("/accounts/{account}", get(async || "served"));
    let server = serve(app.layer(limiter.layer())).await;
    let client = Client::connect(server).await;
    // Its rule knows the echo, and the app does not.
    assert_eq!(client.code().await, Code::Unimplemented);
    let unknown = async |path: &str| {
        http_client().post(format!("http://{server}/{path}")).header("content-type", "application/grpc").send().await
    };
    for (path, status) in [("echo.Other/Say", 404), ("echo.Other/Many", 404), ("echo.Third/Say", 200)] {
        assert_eq!(unknown(path).await.unwrap().status(), status, "{path}");
    }
    let refused = unknown("echo.Other/Say").await.unwrap();
    let status = Status::from_header_map(refused.headers()).unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let html = http_client().post(format!("http://{server}/not-there")).send().await.unwrap();
    assert_eq!(html.status(), 429);
}

// ---- the whole matrix ----

/// What an authentication leaves, of HTTP requests and of gRPC calls.
#[derive(Clone)]
struct Claims {
    app_id: String,
}

async fn authenticate(mut request: Request, next: middleware::Next) -> Response {
    let app_id = request.headers()["auth"].to_str().unwrap().to_owned();
    request.extensions_mut().insert(Claims { app_id });
    next.run(request).await
}

fn authenticate_call(mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
    let app_id = request.metadata().get("auth").and_then(|app| app.to_str().ok());
    let app_id = app_id.ok_or_else(|| Status::unauthenticated("no app"))?.to_owned();
    request.extensions_mut().insert(Claims { app_id });
    Ok(request)
}

const MATRIX: &str = include_str!("../../examples/kore/limits.toml");
const GRPC_RULE: &str = r#"
    [[rule]]
    name = "grpc"
    level = "account"
    key = "claim:appId"
    quotas = ["60/minute", "1800/hour"]
    routes = ["POST /echo.Echo/{*method}"]
"#;

/// An app's calls of both ports, and how many of them were admitted.
struct Caller {
    http: HttpClient,
    server: SocketAddr,
    app_id: &'static str,
    grpc: Client,
}

impl Caller {
    async fn posts(&self, path: &str, times: usize) -> usize {
        let mut admitted = 0;
        for _ in 0..times {
            let request = self.http.post(format!("http://{}{path}", self.server)).header("auth", self.app_id);
            let status = request.send().await.unwrap().status().as_u16();
            assert!(matches!(status, 200 | 429), "{status}");
            admitted += usize::from(status == 200);
        }
        admitted
    }

    async fn calls(&self, times: usize) -> usize {
        self.grpc.admitted_of(times).await
    }
}

#[tokio::test]
async fn the_kore_matrix_over_http_and_a_rule_for_grpc_are_enforced_by_one_limiter_on_two_ports() {
    let clock = ManualClock::new();
    let sources = Sources::new().source("claim:appId", key::claim(|claims: &Claims| &claims.app_id));
    let limiter = RateLimiter::builder()
        .toml(&format!("{MATRIX}{GRPC_RULE}"), &sources)
        .unwrap()
        .clock(clock.clone())
        .build()
        .unwrap();
    let app = Router::new().fallback(async || "served").layer(limiter.layer()).layer(middleware::from_fn(authenticate));
    let server = serve(app).await;
    let (echo, (address, incoming)) = (Echo::default(), listen());
    let stack = ServiceBuilder::new().layer(InterceptorLayer::new(authenticate_call)).layer(limiter.layer());
    tokio::spawn(Server::builder().add_service(stack.service(echo.clone())).serve_with_incoming(incoming));

    let mut callers = Vec::new();
    for app_id in ["cs-1", "cs-2"] {
        let grpc = Client::connect(address).await.with("auth", app_id);
        callers.push(Caller { http: http_client(), server, app_id, grpc });
    }
    let [one, two] = &callers[..] else { panic!() };
    let (export, other) = ("/api/public/bot/st-1/export", "/api/public/bot/st-2/export");

    // The bot of a row is exhausted: whoever calls, and over HTTP only.
    assert_eq!(one.posts(export, 61).await, 60);
    assert_eq!((two.posts(export, 1).await, two.posts(other, 1).await), (0, 1));
    // The app is exhausted: over gRPC only.
    assert_eq!(one.calls(61).await, 60);
    assert_eq!((two.calls(1).await, one.posts(other, 1).await), (1, 1));
    assert_eq!(echo.calls(), 61);

    for (rule, key) in [("automation.bot", "st-1"), ("grpc", "cs-1")] {
        let left: Vec<_> = limiter.rule(rule).unwrap().peek(key).quotas().map(|quota| quota.remaining()).collect();
        assert_eq!(left, [0, 1740], "{rule}");
    }
    assert_eq!(limiter.len(), 4);
    clock.advance(Duration::from_secs(60));
    assert_eq!((one.posts(export, 1).await, one.calls(1).await), (1, 1));
}
