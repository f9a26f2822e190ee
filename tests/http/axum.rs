//! Behind a real axum server on a real socket: what is covered, what is shared, and what a client reads.

use std::{collections::HashSet, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{ConnectInfo, Path, Request},
    middleware::{Next, from_fn},
    response::{IntoResponse, Redirect, Response},
    routing::{any, get, post},
};
use http::{Method, StatusCode};
use parking_lot::Mutex;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Barrier,
    task::JoinSet,
};
use tower::ServiceBuilder;
use tower_quota::{
    Decision, OnMissing, Policy, RateLimitLayer, RateLimiter, Rule,
    clock::ManualClock,
    http::{DecisionIn, RequestView},
    key,
};
use tower_quota_tests::{
    limiter::{frozen, per_minute},
    serve,
};

/// An app on a port of its own, for as long as the test runs.
struct Server {
    address: SocketAddr,
    client: Client,
}

impl Server {
    async fn start(app: Router) -> Self {
        Self { address: serve(app).await, client: client() }
    }

    /// Without telling the app who connects.
    async fn start_without_connect_info(app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, client: client() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn send(&self, method: Method, path: &str) -> reqwest::Response {
        self.client.request(method, self.url(path)).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        self.send(Method::GET, path).await
    }

    async fn status(&self, path: &str) -> u16 {
        self.get(path).await.status().as_u16()
    }

    async fn statuses<const N: usize>(&self, paths: [&str; N]) -> [u16; N] {
        let mut statuses = [0; N];
        for (status, path) in statuses.iter_mut().zip(paths) {
            *status = self.status(path).await;
        }
        statuses
    }

    /// Sends a request line as it is, which no client library would write, and returns the status.
    async fn raw(&self, method: &str, target: &str) -> u16 {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request =
            format!("{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.unwrap();
        std::str::from_utf8(&response[9..12]).unwrap().parse().unwrap()
    }
}

fn client() -> Client {
    Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// One history for everybody.
fn total(limit: u64) -> RateLimitLayer {
    frozen([per_minute("total", limit).every_request()]).layer()
}

async fn ok() -> &'static str {
    "served"
}

// ---- end to end ----

#[tokio::test]
async fn a_client_is_refused_reads_why_waits_and_is_served_again() {
    let clock = ManualClock::new();
    let cases = Rule::new("cases").routes(["/cases"]).key(key::header("x-account")).level("account");
    let cases = cases.policy(Policy::per_minute(60).and_per_hour(1800));
    let limiter = RateLimiter::builder().rule(cases).clock(clock.clone()).build().unwrap();
    let server = Server::start(Router::new().route("/cases", get(ok)).layer(limiter.layer())).await;
    let ask = async || server.client.get(server.url("/cases")).header("x-account", "acme").send().await.unwrap();

    for left in (0..60).rev() {
        let response = ask().await;
        assert_eq!(response.status(), 200);
        assert_eq!(
            response.headers()["ratelimit"],
            format!("\"minute\";r={left};t=60, \"hour\";r={};t=3600", left + 1740)
        );
        assert_eq!(response.text().await.unwrap(), "served");
    }
    clock.advance(Duration::from_millis(20_500));
    let refused = ask().await;
    assert_eq!(refused.status(), 429);
    let headers = refused.headers().clone();
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(headers["ratelimit"], "\"minute\";r=0;t=40, \"hour\";r=1740;t=3580");
    assert_eq!(headers["ratelimit-policy"], "\"minute\";q=60;w=60, \"hour\";q=1800;w=3600");
    let text = refused.text().await.unwrap();
    assert_eq!(headers["content-length"], text.len().to_string());
    let expected = json!({
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "detail": "You've exceeded the per-minute rate limit. Please wait for sometime before retrying.",
        "violated-policies": ["minute"],
    });
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);

    let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert_eq!(wait, 40);
    clock.advance(Duration::from_secs(wait));
    assert_eq!(ask().await.status(), 200);
}

#[tokio::test]
async fn a_simple_layer_counts_each_account() {
    let layer = RateLimitLayer::new(key::header("x-account"), Policy::per_minute(2)).unwrap();
    let server = Server::start(Router::new().route("/", get(ok)).layer(layer)).await;
    for account in ["acme", "globex"] {
        for expected in [200, 200, 429] {
            let request = server.client.get(server.url("/")).header("x-account", account);
            assert_eq!(request.send().await.unwrap().status(), expected, "{account}");
        }
    }
}

#[tokio::test]
async fn head_counts_as_get_and_is_refused_without_a_body() {
    let read = per_minute("read", 2).routes(["GET /"]);
    let server = Server::start(Router::new().route("/", get(ok)).layer(frozen([read]).layer())).await;
    assert_eq!(server.send(Method::HEAD, "/").await.status(), 200);
    assert_eq!(server.send(Method::GET, "/").await.status(), 200);
    let mut lengths = Vec::new();
    for (method, is_empty) in [(Method::HEAD, true), (Method::GET, false), (Method::HEAD, true)] {
        let response = server.send(method, "/").await;
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "60");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        lengths.push(response.headers()["content-length"].clone());
        assert_eq!(response.text().await.unwrap().is_empty(), is_empty);
    }
    assert!(lengths.iter().all(|length| *length == lengths[1] && length != "0"));
}

#[tokio::test]
async fn redirects_carry_no_fields() {
    let app = Router::new().route("/", get(async || Redirect::to("/elsewhere"))).layer(total(9));
    let response = Server::start(app).await.get("/").await;
    assert_eq!(response.status(), 303);
    assert!(!response.headers().contains_key("ratelimit"));
}

// ---- what handlers and outer layers learn ----

#[tokio::test]
async fn a_handler_reads_the_decision() {
    async fn left(Extension(decision): Extension<Decision>) -> Json<Value> {
        Json(decision.quotas().map(|quota| (quota.name().into_owned(), quota.remaining())).collect())
    }
    let layer = RateLimitLayer::new(key::constant("everybody"), Policy::per_minute(10).and_per_hour(20)).unwrap();
    let server = Server::start(Router::new().route("/left", get(left)).layer(layer)).await;
    for left in ["{\"hour\":19,\"minute\":9}", "{\"hour\":18,\"minute\":8}"] {
        assert_eq!(server.get("/left").await.text().await.unwrap(), left);
    }
}

#[tokio::test]
async fn an_outer_layer_reads_the_decision() {
    async fn note(request: Request, next: Next) -> Response {
        let response = next.run(request).await;
        let decision = response.extensions().get::<Decision>().cloned();
        let note =
            decision.map_or("none".into(), |decision| format!("{} {:?}", decision.is_admitted(), decision.message()));
        ([("x-note", note)], response).into_response()
    }
    let limiter =
        RateLimiter::builder().rule(per_minute("calls", 1).routes(["/x"])).message("no more").build().unwrap();
    let layer = limiter.layer().decision(DecisionIn::Both);
    let app = Router::new().route("/x", get(ok)).route("/y", get(ok)).layer(layer).layer(from_fn(note));
    let server = Server::start(app).await;
    for (path, note) in [("/x", "true None"), ("/x", "false Some(\"no more\")"), ("/y", "none")] {
        assert_eq!(server.get(path).await.headers()["x-note"], note);
    }
}

#[tokio::test]
async fn claims_of_an_outer_layer_are_keys() {
    #[derive(Clone)]
    struct Claims(String);

    async fn authenticate(mut request: Request, next: Next) -> Response {
        let token = request.headers().get("authorization").and_then(|token| token.to_str().ok()).map(str::to_owned);
        if let Some(token) = token {
            request.extensions_mut().insert(Claims(token));
        }
        next.run(request).await
    }
    let calls = per_minute("calls", 1).every_request().key(key::claim(|claims: &Claims| &claims.0)).level("account");
    let calls = calls.on_missing(OnMissing::Reject(StatusCode::UNAUTHORIZED));
    let app = Router::new().route("/", get(ok)).layer(frozen([calls]).layer()).layer(from_fn(authenticate));
    let server = Server::start(app).await;
    assert_eq!(server.status("/").await, 401);
    for token in ["one", "two"] {
        for expected in [200, 429] {
            let request = server.client.get(server.url("/")).header("authorization", token);
            assert_eq!(request.send().await.unwrap().status(), expected);
        }
    }
}

// ---- where it is mounted ----

#[tokio::test]
async fn in_a_service_builder_it_is_where_it_stands() {
    let stack = ServiceBuilder::new().layer(total(3)).concurrency_limit(4);
    let app = Router::new().route("/a", get(ok)).route("/b", post(ok)).layer(stack);
    let server = Server::start(app).await;
    assert_eq!(server.statuses(["/a", "/b", "/c", "/a"]).await, [200, 405, 404, 429]);
}

/// F11: `layer` covers the routes that are there, and the fallback.
#[tokio::test]
async fn layer_covers_404_and_405_and_the_fallback() {
    for app in [Router::new(), Router::new().fallback(async || StatusCode::NOT_FOUND)] {
        let app = app.route("/a", get(ok)).layer(total(3));
        let server = Server::start(app).await;
        assert_eq!(server.status("/not-there").await, 404);
        assert_eq!(server.send(Method::DELETE, "/a").await.status(), 405);
        assert_eq!(server.statuses(["/a", "/a", "/not-there", "/another"]).await, [200, 429, 429, 429]);
    }
}

/// A12.
#[tokio::test]
async fn a_flood_of_404_meets_the_rule_for_unmatched_requests_and_hurts_no_route() {
    let rules = [per_minute("cases", 2).routes(["GET /cases"]), per_minute("rest", 5).unmatched_requests()];
    let server = Server::start(Router::new().route("/cases", get(ok)).layer(frozen(rules).layer())).await;
    let mut found = 0;
    for number in 0..50 {
        found += usize::from(server.status(&format!("/{number}")).await == 404);
    }
    assert_eq!(found, 5);
    assert_eq!(server.statuses(["/cases", "/cases", "/cases"]).await, [200, 200, 429]);
}

/// F11: as axum documents it.
#[tokio::test]
async fn routes_that_are_added_after_the_layer_are_not_covered() {
    let app = Router::new().route("/before", get(ok)).layer(total(1)).route("/after", get(ok));
    let server = Server::start(app).await;
    assert_eq!(server.statuses(["/before", "/before", "/after", "/after"]).await, [200, 429, 200, 200]);
}

/// F11, A12: as axum documents it.
#[tokio::test]
async fn route_layer_leaves_404_alone() {
    let app = Router::new().route("/a", get(ok)).route("/b", get(ok)).route_layer(total(2));
    let server = Server::start(app).await;
    assert_eq!(server.statuses(["/x", "/y", "/z", "/a", "/b", "/a", "/x"]).await, [404, 404, 404, 200, 200, 429, 404]);
}

/// L8, F23: axum applies a layer once per route, and clones the service for every request.
#[tokio::test]
async fn ten_routes_share_one_limit() {
    let paths: Vec<String> = (0..10).map(|number| format!("/{number}")).collect();
    let router = || paths.iter().fold(Router::new(), |app, path| app.route(path, get(ok)));
    let layer = total(10);
    let each = paths.iter().fold(Router::new(), |app, path| app.route(path, get(ok).layer(layer.clone())));
    for app in [router().layer(total(10)), router().route_layer(total(10)), each] {
        let server = Server::start(app).await;
        for expected in [200, 429] {
            for path in &paths {
                assert_eq!(server.status(path).await, expected, "{path}");
            }
        }
    }
}

/// L8: 200 connections at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_connections_share_one_limit() {
    const CONNECTIONS: usize = 200;
    let (peers, all_here) = (Arc::new(Mutex::new(HashSet::new())), Arc::new(Barrier::new(CONNECTIONS)));
    let seen = Arc::clone(&peers);
    // Outside of the limiter, so that no connection is given back before all of them are open.
    let wait = from_fn(move |ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request, next: Next| {
        let (seen, all_here) = (Arc::clone(&seen), Arc::clone(&all_here));
        async move {
            seen.lock().insert(peer);
            all_here.wait().await;
            next.run(request).await
        }
    });
    let app = Router::new().route("/", get(ok)).layer(total(77)).layer(wait);
    let server = Arc::new(Server::start(app).await);
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let server = Arc::clone(&server);
        clients.spawn(async move { server.status("/").await });
    }
    let statuses = clients.join_all().await;
    assert_eq!(peers.lock().len(), CONNECTIONS);
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 77);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), CONNECTIONS - 77);
}

/// F24.
#[tokio::test]
async fn on_the_app_and_on_its_parts_it_charges_once() {
    let layer = total(3);
    let part = Router::new().route("/a", get(ok).layer(layer.clone())).route_layer(layer.clone()).layer(layer.clone());
    let server = Server::start(Router::new().nest("/api", part).layer(layer)).await;
    assert_eq!(server.statuses(["/api/a"; 4]).await, [200, 200, 200, 429]);
}

// ---- templates ----

async fn id_of(Path(id): Path<String>) -> String {
    id
}

#[tokio::test]
async fn a_method_router_s_layer_reads_parameters_of_the_axum_route() {
    let layer = RateLimitLayer::new(key::path("id"), Policy::per_minute(1)).unwrap();
    let app = Router::new().route("/bots/{id}", get(id_of).layer(layer));
    let server = Server::start(app).await;
    assert_eq!(server.statuses(["/bots/abc", "/bots/abd"]).await, [200, 200]);
    assert_eq!(server.statuses(["/bots/abc", "/bots/a%62c", "/bots/%61b%64"]).await, [429, 429, 429]);
}

#[tokio::test]
async fn a_layer_of_the_router_reads_parameters_of_any_axum_route() {
    let by_id = || frozen([per_minute("calls", 1).every_request().key(key::path("id")).on_missing(OnMissing::Skip)]);
    let routes = || {
        let nested = Router::new().route("/bots/{id}", get(id_of)).route("/files/{*id}", get(id_of));
        let app = Router::new().route("/bots/{id}", get(id_of)).route("/none", get(ok)).nest("/api", nested);
        app.nest("/tenants/{tenant}", Router::new().route("/bots/{id}", get(ok)))
    };
    for app in [routes().layer(by_id().layer()), routes().route_layer(by_id().layer())] {
        let server = Server::start(app).await;
        assert_eq!(server.statuses(["/bots/a", "/api/bots/a", "/api/bots/b"]).await, [200, 429, 200]);
        assert_eq!(server.statuses(["/api/files/x/y", "/api/files/x%2Fy", "/tenants/t/bots/a"]).await, [200, 429, 429]);
        assert_eq!(server.statuses(["/none", "/none", "/not-there"]).await, [200, 200, 404]);
    }
}

/// A layer inside of `nest` sees the path without the prefix; rules are written with it.
#[tokio::test]
async fn templates_have_the_full_path_inside_of_a_nested_router_too() {
    let run = || per_minute("run", 1).routes(["GET /api/v1/bots/{id}"]).key(key::path("id")).level("bot");
    let part = || Router::new().route("/bots/{id}", get(id_of));
    let nested = |part: Router| Router::new().nest("/api", Router::new().nest("/v1", part));
    let layer = || frozen([run()]).layer();
    for app in [
        nested(part()).layer(layer()),
        nested(part().layer(layer())),
        nested(part().route_layer(layer())),
        nested(Router::new().route("/bots/{id}", get(id_of).layer(layer()))),
        Router::new().nest_service("/api/v1", part().layer(layer())),
    ] {
        let server = Server::start(app).await;
        let paths = ["/api/v1/bots/a", "/api/v1/bots/a", "/api/v1/bots/b", "/bots/a", "/bots/a"];
        assert_eq!(server.statuses(paths).await, [200, 429, 200, 404, 404]);
    }
}

#[tokio::test]
async fn a_parameter_in_the_prefix_of_a_nested_router_is_read() {
    let by_tenant = || RateLimitLayer::new((key::path("tenant"), key::path("id")), Policy::per_minute(1)).unwrap();
    let part = Router::new().route("/bots/{id}", get(ok)).layer(by_tenant());
    let server = Server::start(Router::new().nest("/{tenant}", part)).await;
    assert_eq!(server.statuses(["/a/bots/1", "/a/bots/1", "/b/bots/1", "/a/bots/2"]).await, [200, 429, 200, 200]);
}

/// F10, A6: what axum serves is counted, and what it does not serve does no harm.
#[tokio::test]
async fn no_spelling_of_a_path_is_a_way_round() {
    let login = per_minute("login", 1).routes(["POST /login"]);
    let app = Router::new().route("/login", any(ok)).fallback(ok).layer(frozen([login]).layer());
    let server = Server::start(app).await;
    assert_eq!(server.raw("POST", "/login").await, 200);
    let targets = [
        "/login",
        "//login",
        "/login/",
        "/./login",
        "/x/../login",
        "/%6cogin",
        "/login%2F",
        "/login?x=1",
        "/%2e/login",
        "http://test/login",
        "http://test//login/",
    ];
    for target in targets {
        assert_eq!(server.raw("POST", target).await, 429, "{target}");
        assert_eq!(server.raw("post", target).await, 429, "{target}");
    }
    assert_eq!(server.raw("GET", "/login").await, 200, "no rule is for it");
    assert_eq!(server.raw("OPTIONS", "*").await, 200);
}

// ---- who connects ----

#[tokio::test]
async fn connect_info_tells_the_peer() {
    let limiter = frozen([per_minute("calls", 2).every_request().key(key::peer_ip()).level("peer")]);
    let server = Server::start(Router::new().route("/", get(ok)).layer(limiter.layer())).await;
    for (number, expected) in [200, 200, 429, 429].into_iter().enumerate() {
        // F01: nobody asked for the header.
        let request = server.client.get(server.url("/")).header("x-forwarded-for", format!("192.0.2.{number}"));
        assert_eq!(request.send().await.unwrap().status(), expected);
    }
    let loopback = limiter.rule("calls").unwrap().peek([127_u8, 0, 0, 1].as_slice().to_vec().as_slice());
    assert_eq!(loopback.quotas().next().unwrap().remaining(), 0);
}

/// F12: never a free pass.
#[tokio::test]
async fn without_connect_info_all_callers_share_one_history() {
    let app = || Router::new().route("/", get(ok));
    let layer = || RateLimitLayer::new(key::peer_ip(), Policy::per_minute(2)).unwrap();
    let server = Server::start_without_connect_info(app().layer(layer())).await;
    assert_eq!(server.statuses(["/"; 3]).await, [200, 200, 429]);

    let insisting = per_minute("calls", 9).every_request().key(key::peer_ip()).level("peer");
    let insisting = frozen([insisting.on_missing(OnMissing::Reject(StatusCode::FORBIDDEN))]);
    let server = Server::start_without_connect_info(app().layer(insisting.layer())).await;
    assert_eq!(server.status("/").await, 403);
}

// ---- trouble ----

/// F10: the connection of that request breaks, and nothing else.
#[tokio::test]
async fn an_extractor_that_panics_breaks_one_request() {
    let touchy = |request: &RequestView<'_>| {
        assert!(request.uri().query().is_none(), "touched");
        Some("everybody")
    };
    let layer = RateLimitLayer::new(touchy, Policy::per_minute(2)).unwrap();
    let server = Server::start(Router::new().route("/", get(ok)).layer(layer)).await;
    assert!(server.client.get(server.url("/?x")).send().await.is_err());
    assert_eq!(server.statuses(["/"; 3]).await, [200, 200, 429]);
}

/// F25: clients that go away leave their charge and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_hang_up_have_been_counted() {
    let (entered, left) = (Arc::new(Barrier::new(2)), Arc::new(Mutex::new(0)));
    let (gate, gone) = (Arc::clone(&entered), Arc::clone(&left));
    let endless = move || {
        struct Gone(Arc<Mutex<u32>>);
        impl Drop for Gone {
            fn drop(&mut self) {
                *self.0.lock() += 1;
            }
        }
        let (gate, gone) = (Arc::clone(&gate), Gone(Arc::clone(&gone)));
        async move {
            let _gone = gone;
            gate.wait().await;
            std::future::pending::<()>().await;
        }
    };
    let limiter = frozen([per_minute("calls", 5).every_request()]);
    let app = Router::new().route("/endless", get(endless)).route("/", get(ok)).layer(limiter.layer());
    let server = Server::start(app).await;
    for _ in 0..4 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /endless HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        entered.wait().await;
        drop(stream);
    }
    assert_eq!(server.statuses(["/", "/"]).await, [200, 429]);
    while *left.lock() < 4 {
        tokio::task::yield_now().await;
    }
    assert_eq!(limiter.len(), 1);
}
