//! What can be set on a layer: whether it limits at all, whom it takes for a gRPC caller, and what it does with preflights.

use std::{convert::Infallible, future::ready};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, header::RETRY_AFTER};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::cors::CorsLayer;
use tower_quota::{
    Policy, RateLimitLayer, RateLimiter, Rule,
    clock::ManualClock,
    http::{CallerProtocol, Headers, LegacyReset},
    key,
    store::MemoryStore,
};
use tower_quota_tests::limiter::calls_per_minute;

fn answering() -> impl Service<Request<()>, Response = Response<String>, Error = Infallible, Future: Send> + Clone {
    service_fn(|_: Request<()>| ready(Ok(Response::new(String::new()))))
}

// ---- no limit ----

#[tokio::test]
async fn a_disabled_layer_lets_everything_pass_and_adds_nothing() {
    let service =
        RateLimitLayer::disabled().headers(Headers::rate_limit().with_legacy(LegacyReset::Epoch)).layer(answering());
    for _ in 0..100 {
        let response = service.clone().oneshot(Request::new(())).await.unwrap();
        assert!(response.status() == 200 && response.headers().is_empty() && response.extensions().is_empty());
    }
}

/// The type is the same, so a setting can choose.
#[tokio::test]
async fn a_limiter_that_may_be_there_makes_a_layer() {
    for (limit, expected) in [(Some(1), 429), (None, 200)] {
        let app = Router::new().route("/", get("hello")).layer(RateLimitLayer::from(limit.map(calls_per_minute)));
        let mut status = 0;
        for _ in 0..2 {
            let request = Request::get("/").body(Body::empty()).unwrap();
            status = app.clone().oneshot(request).await.unwrap().status().as_u16();
        }
        assert_eq!(status, expected);
    }
    let layer: RateLimitLayer<MemoryStore> = None.into();
    assert!(layer.limiter().is_none());
}

#[tokio::test]
async fn a_disabled_layer_counts_no_messages() {
    let layer = RateLimitLayer::disabled().per_message(["messages"]).unwrap();
    assert!(RateLimitLayer::disabled().per_message([]).is_err());
    let handler = service_fn(|_: Request<_>| ready(Ok::<_, Infallible>(Response::new(String::new()))));
    let service = layer.layer(handler);
    for _ in 0..9 {
        assert_eq!(service.clone().oneshot(Request::new(String::new())).await.unwrap().headers().len(), 0);
    }
}

// ---- the protocol of the caller ----

async fn refused(layer: RateLimitLayer, content_type: Option<&'static str>) -> Response<Bytes> {
    let service = layer.layer(answering());
    let mut request = Request::post("/bots").body(()).unwrap();
    request
        .headers_mut()
        .extend(content_type.map(|value| (http::header::CONTENT_TYPE, HeaderValue::from_static(value))));
    assert_eq!(service.clone().oneshot(request.clone()).await.unwrap().status(), 200);
    let (parts, body) = service.oneshot(request).await.unwrap().into_parts();
    Response::from_parts(parts, http_body_util::BodyExt::collect(body).await.unwrap().to_bytes())
}

#[tokio::test]
async fn a_service_that_serves_http_alone_refuses_with_429_whatever_the_caller_claims() {
    for claimed in [None, Some("application/grpc"), Some("application/grpc-web+proto"), Some("application/json")] {
        let response = refused(calls_per_minute(1).layer().caller_protocol(CallerProtocol::Http), claimed).await;
        assert_eq!(response.status(), 429, "{claimed:?}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert!(response.headers().contains_key("ratelimit") && !response.headers().contains_key("grpc-status"));
    }
}

#[tokio::test]
async fn a_service_that_serves_grpc_alone_refuses_with_a_status_whatever_the_caller_claims() {
    let rows = [
        (None, "application/grpc"),
        (Some("application/json"), "application/grpc"),
        (Some("application/grpc+proto"), "application/grpc"),
        (Some("application/grpc-web+proto"), "application/grpc-web+proto"),
    ];
    for (claimed, expected) in rows {
        let response = refused(calls_per_minute(1).layer().caller_protocol(CallerProtocol::Grpc), claimed).await;
        assert_eq!((response.status().as_u16(), &response.headers()["grpc-status"]), (200, &8.into()), "{claimed:?}");
        assert_eq!(response.headers()["content-type"], expected);
    }
}

#[tokio::test]
async fn the_content_type_decides_by_default() {
    for (claimed, status) in [(None, 429), (Some("application/grpc"), 200), (Some("text/plain"), 429)] {
        assert_eq!(refused(calls_per_minute(1).layer(), claimed).await.status(), status, "{claimed:?}");
    }
}

/// What a caller sends is not what others are made to read.
#[tokio::test]
async fn no_more_than_a_media_type_is_repeated() {
    let claimed =
        ["application/grpc-web+a, text/html", "application/grpc-web+<b>", "application/grpc-web+a;b, text/html"];
    for (claimed, expected) in
        claimed.into_iter().zip(["application/problem+json", "application/problem+json", "application/grpc-web+a"])
    {
        let response = refused(calls_per_minute(1).layer(), Some(claimed)).await;
        assert_eq!(response.headers()["content-type"], expected, "{claimed}");
    }
}

// ---- CORS ----

fn cors() -> CorsLayer {
    let exposed = [RETRY_AFTER, HeaderName::from_static("ratelimit"), HeaderName::from_static("ratelimit-policy")];
    CorsLayer::new()
        .allow_origin(HeaderValue::from_static("https://app.example.com"))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([HeaderName::from_static("x-account")])
        .expose_headers(exposed)
}

fn by_account(limit: u64) -> RateLimiter {
    let rule = Rule::new("calls").every_request().key(key::header("x-account")).level("account");
    RateLimiter::builder().rule(rule.policy(Policy::per_minute(limit))).clock(ManualClock::new()).build().unwrap()
}

fn from_page(method: Method) -> http::request::Builder {
    Request::builder().method(method).uri("/").header("origin", "https://app.example.com")
}

fn preflight() -> Request<Body> {
    let preflight = from_page(Method::OPTIONS).header("access-control-request-method", "POST");
    preflight.header("access-control-request-headers", "x-account").body(Body::empty()).unwrap()
}

async fn send(app: &Router, request: Request<Body>) -> Response<Body> {
    app.clone().oneshot(request).await.unwrap()
}

#[tokio::test]
async fn inside_of_the_cors_layer_preflights_are_never_counted_and_the_page_can_read_why() {
    let limiter = by_account(1);
    let inside = Router::new().route("/", get("hello")).layer(limiter.layer()).layer(cors());
    let built = Router::new().route("/", get("hello"));
    let built = built.layer(ServiceBuilder::new().layer(cors()).layer(limiter.layer()));
    for app in [inside, built] {
        for _ in 0..100 {
            assert_eq!(send(&app, preflight()).await.status(), 200);
        }
        assert!(!limiter.rule("calls").unwrap().reset(key::Key::SHARED));
        let call = || from_page(Method::GET).header("x-account", "acme").body(Body::empty()).unwrap();
        send(&app, call()).await;
        let refused = send(&app, call()).await;
        assert_eq!(refused.status(), 429);
        assert_eq!(refused.headers()["access-control-allow-origin"], "https://app.example.com");
        assert_eq!(refused.headers()["access-control-expose-headers"], "retry-after,ratelimit,ratelimit-policy");
        assert!(refused.headers().contains_key("ratelimit"));
    }
}

#[tokio::test]
async fn outside_of_the_cors_layer_preflights_pass_if_they_are_to() {
    let app = |layer: RateLimitLayer| Router::new().route("/", get("hello")).layer(cors()).layer(layer);
    let limited = app(by_account(1).layer());
    assert_eq!(send(&limited, preflight()).await.status(), 200);
    assert_eq!(send(&limited, preflight()).await.status(), 429, "they are requests like any other");

    let limiter = by_account(1);
    let unlimited = app(limiter.layer().limit_preflights(false));
    for _ in 0..100 {
        let answer = send(&unlimited, preflight()).await;
        assert_eq!(answer.status(), 200);
        assert!(
            answer.headers().contains_key("access-control-allow-methods")
                && !answer.headers().contains_key("ratelimit")
        );
    }
    assert!(limiter.is_empty());
    // An OPTIONS that is no preflight is a request like any other, and so is what a page sends.
    for request in [from_page(Method::OPTIONS), Request::options("/").header("access-control-request-method", "GET")] {
        let limited = app(by_account(1).layer().limit_preflights(false));
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let request = || Request::from_parts(parts.clone(), Body::empty());
        send(&limited, request()).await;
        assert_eq!(send(&limited, request()).await.status(), 429);
    }
}
