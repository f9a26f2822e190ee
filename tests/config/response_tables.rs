//! What a file says of header fields and refusals, the layers of its limiter begin with.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{
    Decision, Policy, RateLimitLayer, RateLimiter, RateLimiterBuilder, Rule,
    clock::ManualClock,
    config::Sources,
    http::{CallerProtocol, Headers, LegacyReset, OnConflict, Refusal, RefusalFormat, RequestView},
    key,
};

const RULE: &str = "
[[rule]]
name = 'calls'
key = 'header:x-account'
quotas = ['1/minute']
applies_to = 'every_request'
on_missing = 401
";

fn builder(tables: &str) -> RateLimiterBuilder {
    let builder = RateLimiter::builder().clock(ManualClock::new());
    builder.toml(&format!("{tables}{RULE}"), &Sources::new()).unwrap()
}

fn layer(tables: &str) -> RateLimitLayer {
    builder(tables).build().unwrap().layer()
}

/// The layer of code with the same rule.
fn in_code() -> RateLimitLayer {
    let rule = Rule::new("calls").every_request().key(key::header("x-account")).policy(Policy::per_minute(1));
    RateLimiter::builder().clock(ManualClock::new()).rule(rule).build().unwrap().layer()
}

type Answer = (StatusCode, HeaderMap, Bytes);

/// The answers to two requests, of which the second is refused.
async fn answers(layer: &RateLimitLayer, request: impl Fn() -> Request<()>) -> [Answer; 2] {
    let service = layer.layer(service_fn(async |_: Request<()>| {
        let response = Response::builder().header("x-ratelimit-limit", "7");
        Ok::<_, Infallible>(response.body(String::from("hello")).unwrap())
    }));
    let mut answers = Vec::new();
    for _ in 0..2 {
        let (parts, body) = service.clone().oneshot(request()).await.unwrap().into_parts();
        answers.push((parts.status, parts.headers, body.collect().await.unwrap().to_bytes()));
    }
    answers.try_into().unwrap()
}

fn call() -> Request<()> {
    Request::post("/").header("x-account", "acme").body(()).unwrap()
}

fn grpc_call() -> Request<()> {
    Request::post("/s/m").header("x-account", "acme").header("content-type", "application/grpc").body(()).unwrap()
}

#[tokio::test]
async fn a_file_without_these_tables_changes_nothing() {
    assert_eq!(answers(&layer(""), call).await, answers(&in_code(), call).await);
    assert_eq!(answers(&layer("[headers]\n[refusal]\n"), call).await, answers(&in_code(), call).await);
}

#[tokio::test]
async fn headers_of_a_file_are_those_of_the_method() {
    let legacy = Headers::on_refusals().with_legacy(LegacyReset::Delta);
    let cases: [(&str, RateLimitLayer); 6] = [
        ("rate_limit = 'always'", in_code().headers(Headers::rate_limit())),
        ("rate_limit = 'on_refusals'", in_code().headers(Headers::on_refusals())),
        ("rate_limit = 'never'", in_code().headers(Headers::none())),
        ("legacy = 'delta'\nrate_limit = 'on_refusals'", in_code().headers(legacy)),
        ("legacy = 'epoch'", in_code().headers(Headers::rate_limit().with_legacy(LegacyReset::Epoch))),
        ("legacy = 'delta'\non_conflict = 'replace'", {
            let headers = Headers::rate_limit().with_legacy(LegacyReset::Delta);
            in_code().headers(headers).on_conflict(OnConflict::Replace)
        }),
    ];
    for (fields, code) in cases {
        let file = layer(&format!("[headers]\n{fields}\n"));
        assert_eq!(answers(&file, call).await, answers(&code, call).await, "{fields}");
    }
    let file = layer("[headers]\nin_trailers_only = true\n[refusal]\npushback_jitter = 0\n");
    let code = in_code().headers(Headers::rate_limit().in_trailers_only()).pushback_jitter(0);
    assert_eq!(answers(&file, grpc_call).await, answers(&code, grpc_call).await);
}

#[tokio::test]
async fn refusals_have_the_status_and_the_message_of_the_file() {
    let file = layer("[refusal]\nstatus = 503\nmessage = 'Come back in {retry_after} s.'\n");
    let [_, (status, headers, body)] = answers(&file, call).await;
    assert_eq!((status, &headers["retry-after"]), (StatusCode::SERVICE_UNAVAILABLE, &"60".parse().unwrap()));
    let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((document["status"].as_u64(), document["detail"].as_str()), (Some(503), Some("Come back in 60 s.")));
}

#[tokio::test]
async fn a_request_that_is_never_possible_has_the_status_of_the_file() {
    let rule =
        "[[rule]]\nname = 'tokens'\nkey = 'header:x-account'\nquotas = ['10/minute']\napplies_to = 'every_request'\n";
    let costs = "unit = 'tokens'\ncost = 'header:x-tokens | 1'\n";
    for (table, status) in [("", 413), ("[refusal]\nnever_possible = 422\n", 422)] {
        let file = RateLimiter::builder().toml(&format!("{table}{rule}{costs}"), &Sources::new()).unwrap();
        let request = || Request::post("/").header("x-account", "acme").header("x-tokens", "11").body(()).unwrap();
        let [(answered, headers, _), _] = answers(&file.build().unwrap().layer(), request).await;
        assert_eq!((answered.as_u16(), headers.get("retry-after")), (status, None));
    }
    let mistake = RateLimiter::builder().toml("[refusal]\nnever_possible = 200\n", &Sources::new()).unwrap_err();
    assert_eq!((mistake.field(), mistake.line()), ("refusal.never_possible", Some(2)));
}

/// A document that is prepared has the status, too.
#[tokio::test]
async fn a_status_is_in_the_problem_document() {
    let [_, (_, _, body)] = answers(&layer("[refusal]\nstatus = 420\n"), call).await;
    let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(document["status"], 420);
}

#[tokio::test]
async fn refusals_have_the_format_of_the_file_whatever_their_reason() {
    let without_key = || Request::post("/").body(()).unwrap();
    let text = layer("[refusal]\nformat = 'text'\n");
    let [_, (status, headers, body)] = answers(&text, call).await;
    assert_eq!((status.as_u16(), &headers["content-type"]), (429, &"text/plain; charset=utf-8".parse().unwrap()));
    assert!(body.starts_with(b"You've exceeded the per-minute rate limit."));
    let [(status, _, body), _] = answers(&text, without_key).await;
    assert_eq!(
        (status.as_u16(), &*body),
        (401, &b"The request does not carry the x-account by which it is limited."[..])
    );

    let empty = layer("[refusal]\nformat = 'empty'\n");
    let [_, (status, headers, body)] = answers(&empty, call).await;
    assert_eq!((status.as_u16(), headers.get("content-type"), &*body), (429, None, &b""[..]));
    let [(status, _, body), _] = answers(&empty, without_key).await;
    assert_eq!((status.as_u16(), &*body), (401, &b""[..]));
}

#[tokio::test]
async fn grpc_refusals_have_the_domain_of_the_file_and_no_http_status() {
    let file = layer("[refusal]\nstatus = 503\nformat = 'text'\nerror_domain = 'example.com'\npushback_jitter = 0\n");
    let code = in_code().error_domain("example.com").pushback_jitter(0);
    let [file, code] = [answers(&file, grpc_call).await, answers(&code, grpc_call).await];
    assert_eq!(file, code);
    assert_eq!((file[1].0.as_u16(), &file[1].1["grpc-status"]), (200, &"8".parse().unwrap()));
    let [_, (status, ..)] = answers(&layer("[refusal]\ncaller_protocol = 'http'\n"), grpc_call).await;
    assert_eq!(status, 429);
    let [_, (status, ..)] = answers(&layer("[refusal]\ncaller_protocol = 'grpc'\n"), call).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_method_of_the_layer_replaces_what_the_file_says() {
    let file = "[headers]\nrate_limit = 'never'\nlegacy = 'delta'\n[refusal]\ncaller_protocol = 'grpc'\n";
    let layer = layer(file).headers(Headers::rate_limit()).caller_protocol(CallerProtocol::ByContentType);
    assert_eq!(answers(&layer, call).await, answers(&in_code(), call).await);
}

#[tokio::test]
async fn a_later_file_or_method_replaces_what_an_earlier_one_says() {
    let builder = builder("[refusal]\nstatus = 503\nformat = 'text'\nmessage = 'no'\n[headers]\nlegacy = 'delta'\n");
    let builder = builder.toml("[refusal]\nformat = 'empty'\n[headers]\nlegacy = 'never'\n", &Sources::new()).unwrap();
    let layer = builder.denied_status(StatusCode::FORBIDDEN).build().unwrap().layer();
    let [(_, admitted, _), (status, headers, body)] = answers(&layer, call).await;
    assert_eq!((status, &*body), (StatusCode::FORBIDDEN, &b""[..]));
    assert!(!headers.contains_key("x-ratelimit-limit") && admitted["x-ratelimit-limit"] == "7");
}

#[tokio::test]
async fn decisions_are_where_the_file_puts_them() {
    for (word, in_request, in_response) in
        [("request", true, false), ("response", false, true), ("both", true, true), ("neither", false, false)]
    {
        let service = layer(&format!("decision = '{word}'\n")).layer(service_fn(async |request: Request<()>| {
            Ok::<_, Infallible>(Response::new(request.extensions().get::<Decision>().is_some().to_string()))
        }));
        let (parts, body) = service.oneshot(call()).await.unwrap().into_parts();
        assert_eq!(body.collect().await.unwrap().to_bytes(), in_request.to_string());
        assert_eq!(parts.extensions.get::<Decision>().is_some(), in_response);
    }
}

#[tokio::test]
async fn preflights_pass_if_the_file_says_so() {
    let preflight = || {
        let request = Request::options("/").header("origin", "https://a.example");
        request.header("access-control-request-method", "POST").body(()).unwrap()
    };
    assert_eq!(answers(&layer(""), preflight).await[0].0, 401);
    assert_eq!(answers(&layer("limit_preflights = false\n"), preflight).await[1].0, 200);
}

#[test]
fn answers_made_of_a_decision_alone_follow_the_file() {
    let tables = "[headers]\nrate_limit = 'never'\nlegacy = 'delta'\n[refusal]\nstatus = 403\nformat = 'text'\n";
    let limiter = builder(tables).build().unwrap();
    let calls = limiter.rule("calls").unwrap();
    assert!(calls.admit("acme"));
    let refused = calls.check("acme").refusal(&RequestView::new(&call())).unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["x-ratelimit-reset"]), (403, &"60".parse().unwrap()));
    assert!(!refused.headers().contains_key("ratelimit"));
    assert_eq!(refused.headers()["content-type"], "text/plain; charset=utf-8");
}

/// A closure that gives the standard answer gives that of the limiter.
#[tokio::test]
async fn the_standard_answer_in_a_closure_is_that_of_the_limiter() {
    let tables = "[refusal]\nstatus = 503\nformat = 'text'\n";
    let closure = layer(tables).on_refusal(|refusal, _| refusal.response());
    assert_eq!(answers(&closure, call).await, answers(&layer(tables), call).await);
    let document = Refusal::NotGrpc.response_as(RefusalFormat::Problem);
    assert_eq!(document.headers()["content-type"], "application/problem+json");
}

#[test]
fn a_status_that_is_no_refusal_is_refused() {
    for status in [StatusCode::OK, StatusCode::FOUND, StatusCode::CONTINUE] {
        let error = builder("").denied_status(status).build().unwrap_err();
        assert_eq!((error.field(), error.value()), ("denied_status", status.as_str()));
        assert!(error.reason().contains("from 400 to 599"));
    }
}
