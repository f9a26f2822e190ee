//! What a refused gRPC caller is told.

use std::{convert::Infallible, future::ready, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use prost::Message;
use tonic::Code;
use tonic_types::{StatusExt, pb};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_quota::{
    Decision, OnMissing, Policy, Quota, RateLimitLayer, RateLimiter, Rule,
    clock::ManualClock,
    http::{DecisionIn, Headers, LegacyReset, ResponseBody},
    key,
};
use tower_quota_tests::{
    full_store::FullStore,
    limiter::{frozen, rule, with_rules},
};

const GRPC: &str = "application/grpc";
const PER_MINUTE: &str = "You've exceeded the per-minute rate limit. Please wait for sometime before retrying.";

/// The fields of a refusal, in the order of their names.
pub(crate) const FIELDS: [&str; 6] =
    ["content-type", "grpc-message", "grpc-retry-pushback-ms", "grpc-status", "grpc-status-details-bin", "retry-after"];

type Answer = Response<ResponseBody<String>>;

fn layer(policy: impl Into<Policy>) -> RateLimitLayer {
    frozen([rule("calls", policy)]).layer()
}

fn request(content_type: &str) -> Request<()> {
    Request::post("/bots.Bots/Export").header("content-type", content_type).body(()).unwrap()
}

/// Sends a request through the layer to a service that answers with these fields.
async fn send_to(layer: &RateLimitLayer, request: Request<()>, fields: &[(&'static str, &'static str)]) -> Answer {
    let mut inner = Response::new(String::new());
    for (name, value) in fields {
        inner.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    let mut inner = Some(inner);
    let service = service_fn(move |_: Request<()>| ready(Ok::<_, Infallible>(inner.take().unwrap())));
    layer.layer(service).oneshot(request).await.unwrap()
}

async fn send(layer: &RateLimitLayer, request: Request<()>) -> Answer {
    send_to(layer, request, &[("content-type", GRPC), ("inner", "reached")]).await
}

/// The answer to a request that comes when all is used up.
async fn refused(layer: &RateLimitLayer, content_type: &str) -> Answer {
    for _ in 0..100 {
        let answer = send(layer, request(content_type)).await;
        if !answer.headers().contains_key("inner") {
            return answer;
        }
    }
    panic!("never refused")
}

/// The status, read as tonic's clients do.
fn status(answer: &Answer) -> tonic::Status {
    tonic::Status::from_header_map(answer.headers()).unwrap()
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

fn has_fields(answer: &Answer) -> bool {
    let fields = ["ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    let sent = fields.iter().filter(|name| answer.headers().contains_key(**name)).count();
    assert!(sent == 0 || sent == fields.len(), "{sent} of the fields");
    sent > 0
}

#[tokio::test]
async fn a_refusal_is_trailers_only() {
    let answer = refused(&layer(Policy::per_minute(2).and_per_hour(1800)), GRPC).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(names(answer.headers()), FIELDS);
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    assert_eq!(answer.headers()["grpc-status"], "8");
    assert_eq!(answer.headers()["grpc-message"], PER_MINUTE);
    assert_eq!(answer.headers()["retry-after"], "60");
    assert!(answer.body().is_end_stream(), "END_STREAM has to be on the HEADERS frame");
    assert_eq!(answer.body().size_hint().exact(), Some(0));
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "");
}

#[tokio::test]
async fn tonic_reads_the_status_and_its_details() {
    let layer = layer(Quota::new(1, Duration::from_millis(1500))).error_domain("bots.example.com");
    let answer = refused(&layer, "application/grpc+proto").await;
    let status = status(&answer);
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = status.get_error_details();
    assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_millis(1500)));
    let info = details.error_info().unwrap();
    assert_eq!((&*info.reason, &*info.domain), ("RATE_LIMIT_EXCEEDED", "bots.example.com"));
    assert_eq!((&*info.metadata["rule"], &*info.metadata["quota"]), ("calls", "1s500ms"));
    assert_eq!((&*info.metadata["limit"], &*info.metadata["window"]), ("1", "1s 500ms"));

    let written = pb::Status::decode(status.details()).unwrap();
    assert_eq!((written.code, written.message.as_str()), (8, status.message()));
    let failure = pb::QuotaFailure::decode(&*written.details[1].value).unwrap();
    let [violation] = &failure.violations[..] else { panic!("{failure:?}") };
    assert_eq!((&*violation.subject, &*violation.quota_id), ("level:everybody", "1s500ms"));
    assert_eq!((&*violation.description, violation.quota_value), ("calls/1s500ms: 1 per 1s 500ms", 1));
}

#[tokio::test]
async fn a_limit_beyond_32_bits_is_told_in_the_details() {
    let builder = RateLimiter::builder().rule(rule("calls", Policy::per_hour(1 << 40))).clock(ManualClock::new());
    let layer = builder.store(FullStore::default()).build().unwrap().layer();
    let service = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new()))));
    let status = status(&layer.layer(service).oneshot(request(GRPC)).await.unwrap());
    assert_eq!(status.get_error_details().error_info().unwrap().metadata["limit"], "1099511627776");
    let written = pb::Status::decode(status.details()).unwrap();
    let failure = pb::QuotaFailure::decode(&*written.details[1].value).unwrap();
    let [violation] = &failure.violations[..] else { panic!("{failure:?}") };
    assert_eq!((&*violation.description, violation.quota_value), ("calls/hour: 1099511627776 per 1h", 1 << 40));
}

#[tokio::test]
async fn the_domain_is_that_of_the_crate_by_default() {
    let details = status(&refused(&layer(Policy::per_minute(1)), GRPC).await).get_error_details();
    assert_eq!(details.error_info().unwrap().domain, "tower-quota");
}

#[tokio::test]
async fn the_content_type_chooses_the_protocol() {
    let rows = [
        ("application/grpc", Some("application/grpc")),
        ("application/grpc+proto", Some("application/grpc")),
        ("APPLICATION/GRPC; charset=utf-8", Some("application/grpc")),
        ("application/grpc-web", Some("application/grpc-web")),
        ("application/grpc-web+proto; a=b", Some("application/grpc-web+proto")),
        ("application/grpc-web-text", Some("application/grpc-web-text")),
        (" application/grpc-web-text+proto ;a=b", Some("application/grpc-web-text+proto")),
        ("application/grpcfoo", None),
        ("application/grpc-webfoo", None),
        ("application/grpc+", None),
        ("application/proto", None),
        ("", None),
    ];
    for (content_type, expected) in rows {
        let answer = refused(&layer(Policy::per_minute(1)), content_type).await;
        assert_eq!(answer.headers()["content-type"], expected.unwrap_or("application/problem+json"), "{content_type}");
        assert_eq!(answer.status(), if expected.is_some() { 200 } else { 429 }, "{content_type}");
        assert_eq!(answer.headers().contains_key("grpc-status"), expected.is_some(), "{content_type}");
        assert_eq!(answer.body().is_end_stream(), expected.is_some(), "{content_type}");
    }
}

#[tokio::test]
async fn a_refusal_carries_the_decision() {
    let layer = layer(Policy::per_minute(1));
    let answer = refused(&layer, GRPC).await;
    assert!(!answer.extensions().get::<Decision>().unwrap().is_admitted());
}

#[tokio::test]
async fn the_words_of_the_limiter_are_those_on_grpc_too() {
    let words = "100% of {rule} – {limit} per {window}, {retry_after} s ";
    let limiter = with_rules(RateLimiter::builder().clock(ManualClock::new()), [rule("calls", Policy::per_minute(1))])
        .message(words)
        .build()
        .unwrap();
    let answer = refused(&limiter.layer(), GRPC).await;
    assert_eq!(answer.headers()["grpc-message"], "100%25 of calls %E2%80%93 1 per 1m, 60 s%20");
    let status = status(&answer);
    assert_eq!(status.message(), "100% of calls – 1 per 1m, 60 s ");
    assert_eq!(pb::Status::decode(status.details()).unwrap().message, status.message());
}

#[tokio::test]
async fn the_pushback_is_the_wait_and_a_tenth_at_most() {
    let pushback = async |layer: &RateLimitLayer| -> u64 {
        let answer = refused(layer, GRPC).await;
        answer.headers()["grpc-retry-pushback-ms"].to_str().unwrap().parse().unwrap()
    };
    let layer = layer(Policy::per_minute(1));
    for _ in 0..100 {
        assert!((60_000..=66_000).contains(&pushback(&layer).await));
        assert!((60_000..=61_200).contains(&pushback(&layer.clone().pushback_jitter(2)).await));
        assert_eq!(pushback(&layer.clone().pushback_jitter(0)).await, 60_000);
    }
}

/// A number that is no int32 would mean never to try again.
#[tokio::test]
async fn the_pushback_of_a_wait_of_years_is_the_largest_number_there_is() {
    let layer = layer(Quota::new(1, Duration::from_secs(36_525 * 24 * 60 * 60)));
    let answer = refused(&layer, GRPC).await;
    assert_eq!(answer.headers()["grpc-retry-pushback-ms"], "2147483647");
    assert_eq!(answer.headers()["retry-after"], "3155760000");
}

#[tokio::test]
async fn a_missing_key_has_the_code_of_its_status() {
    for (http, code) in [(401, 16), (503, 14), (400, 3), (403, 7), (428, 9), (404, 5), (500, 13), (502, 2)] {
        let reject = OnMissing::Reject(StatusCode::from_u16(http).unwrap());
        let rule =
            Rule::new("calls").every_request().key(key::metadata("tenant-bin")).level("tenant").on_missing(reject);
        let layer = frozen([rule.policy(Policy::per_minute(1))]).layer();
        let answer = send(&layer, request(GRPC)).await;
        assert_eq!((answer.status(), &answer.headers()["grpc-status"]), (StatusCode::OK, &HeaderValue::from(code)));
        assert_eq!(names(answer.headers()), ["content-type", "grpc-message", "grpc-status"]);
        assert_eq!(status(&answer).message(), "The request does not carry the tenant by which it is limited.");
        assert!(answer.body().is_end_stream());
        assert!(answer.extensions().get::<Decision>().is_none());
    }
}

#[tokio::test]
async fn a_closure_is_not_asked_for_grpc() {
    let layer = layer(Policy::per_minute(1)).on_refusal(|refusal, request| {
        assert!(!request.headers()["content-type"].as_bytes().starts_with(b"application/grpc"));
        let mut answer = refusal.response();
        answer.headers_mut().insert("closure", HeaderValue::from_static("was here"));
        answer
    });
    assert!(refused(&layer, "application/json").await.headers().contains_key("closure"));
    for content_type in [GRPC, "application/grpc-web"] {
        let answer = refused(&layer, content_type).await;
        assert_eq!((answer.headers().contains_key("closure"), &answer.headers()["grpc-status"]), (false, &8.into()));
    }
}

/// An answer of 200 to a GET is one that a cache may keep.
#[tokio::test]
async fn only_a_post_is_a_call_whatever_the_content_type() {
    let layer = layer(Policy::per_minute(1));
    refused(&layer, GRPC).await;
    for method in [Method::GET, Method::HEAD, Method::PUT] {
        let mut request = request(GRPC);
        *request.method_mut() = method;
        let answer = send(&layer, request).await;
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(!answer.headers().contains_key("grpc-status"));
    }
}

#[tokio::test]
async fn the_fields_stand_in_no_trailers_unless_they_are_asked_for() {
    let trailers: &[_] = &[("content-type", GRPC), ("grpc-status", "5")];
    let layer = layer(Policy::per_minute(5)).decision(DecisionIn::Both);
    let both = Headers::rate_limit().with_legacy(LegacyReset::Delta);
    for (headers, asked) in [(both, false), (both.in_trailers_only(), true)] {
        let layer = layer.clone().headers(headers);
        let admitted = send(&layer, request(GRPC)).await;
        assert!(has_fields(&admitted), "an answer with a body has its trailers elsewhere");
        let failed = send_to(&layer, request(GRPC), trailers).await;
        assert_eq!(has_fields(&failed), asked);
        assert!(failed.extensions().get::<Decision>().is_some_and(Decision::is_admitted));
    }
    send(&layer, request(GRPC)).await;
    for (headers, asked) in [(both, false), (both.in_trailers_only(), true)] {
        let answer = refused(&layer.clone().headers(headers), GRPC).await;
        assert_eq!(has_fields(&answer), asked);
        assert_eq!(answer.headers()["retry-after"], "60");
        assert_eq!(answer.headers()["grpc-status"], "8");
    }
    assert!(has_fields(&refused(&layer.headers(both), "application/json").await));
}

/// A gateway that makes JSON of a call leaves the status there.
#[tokio::test]
async fn an_http_response_keeps_the_fields_whatever_a_gateway_left_in_it() {
    let layer = layer(Policy::per_minute(5)).headers(Headers::rate_limit().with_legacy(LegacyReset::Delta));
    let fields: &[_] = &[("content-type", "application/json"), ("grpc-status", "0")];
    assert!(has_fields(&send_to(&layer, request("application/json"), fields).await));
}

#[tokio::test]
async fn a_refusal_further_in_is_left_alone() {
    let outer = layer(Policy::per_minute(100)).headers(Headers::rate_limit().in_trailers_only());
    let inner = layer(Policy::per_minute(1));
    let mut service =
        outer.layer(inner.layer(service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new()))))));
    service.ready().await.unwrap().call(request(GRPC)).await.unwrap();
    let answer = service.ready().await.unwrap().call(request(GRPC)).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "8");
    assert!(!answer.headers().contains_key("ratelimit"));
    assert!(answer.body().is_end_stream());
}

#[tokio::test]
async fn a_long_template_does_not_make_a_header_block_that_clients_refuse() {
    let rules = (0..300).map(|at| rule(&format!("rule-{at}"), Policy::per_minute(1)));
    let limiter = with_rules(RateLimiter::builder().clock(ManualClock::new()), rules)
        .message("–\n".repeat(20_000))
        .build()
        .unwrap();
    let answer = refused(&limiter.layer(), GRPC).await;
    let size: usize = answer.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    assert!((6 * 1024..7680).contains(&size), "{size}");
    assert_eq!(status(&answer).get_error_details().retry_info().unwrap().retry_delay, Some(Duration::from_secs(60)));
}
