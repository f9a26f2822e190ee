//! What callers are told of costs: the units of quotas, and that a request is never possible.

use std::{convert::Infallible, future::ready, io, time::Duration};

use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sfv::{BareItem, ListEntry, Parser};
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{
    Decision, Enforcement, Policy, RateLimitLayer, RateLimiter, Rule, cost,
    http::{Headers, LegacyReset, Refusal, RefusalFormat, ResponseBody},
};
use tower_quota_tests::limiter::{frozen, limiter, rule};

/// Reads what a request costs from a field.
fn tokens(policy: impl Into<Policy>) -> Rule {
    rule("tokens", policy).cost("tokens", cost::header("x-cost").or(1))
}

async fn send(layer: &RateLimitLayer, cost: u64) -> Response<ResponseBody<String>> {
    let inner = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new()))));
    let request = Request::get("/").header("x-cost", cost).body(()).unwrap();
    layer.layer(inner).oneshot(request).await.unwrap()
}

/// The items of a list: their names and their parameters.
fn items(headers: &HeaderMap, name: &str) -> Vec<(String, Vec<(String, String)>)> {
    let list: sfv::List = Parser::new(headers[name].to_str().unwrap()).parse().unwrap();
    let items = list.into_iter().map(|entry| {
        let ListEntry::Item(item) = entry else { panic!("an inner list") };
        let shown = |value: &BareItem| match value {
            BareItem::String(text) => format!("{:?}", text.as_str()),
            BareItem::Integer(number) => i64::from(*number).to_string(),
            other => panic!("{other:?}"),
        };
        let params = item.params.iter().map(|(key, value)| (key.as_str().to_owned(), shown(value)));
        (shown(&item.bare_item), params.collect())
    });
    items.collect()
}

fn param(params: &[(String, String)], name: &str) -> Option<String> {
    params.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
}

#[tokio::test]
async fn each_quota_names_its_unit_and_what_remains_of_it() {
    let requests = rule("requests", Policy::per_minute(60));
    let bytes = rule("bytes", Policy::per_hour((1 << 48) - 1)).cost("bytes", 1000);
    let logins = rule("logins", Policy::per_minute(9)).count_only(|_| true);
    let limiter = frozen([requests, tokens(Policy::per_minute(90_000).and_per_day(1_000_000)), bytes, logins]);
    let headers = send(&limiter.layer(), 4000).await.headers().clone();

    let policies = items(&headers, "ratelimit-policy");
    let told = policies.iter().map(|(name, params)| (name.as_str(), param(params, "q"), param(params, "qu")));
    let told: Vec<_> = told.map(|(name, limit, unit)| (name, limit.unwrap(), unit)).collect();
    let unit = |name: &str| Some(format!("{name:?}"));
    assert_eq!(
        told,
        [
            ("\"requests/minute\"", "60".to_owned(), None),
            ("\"tokens/minute\"", "90000".to_owned(), unit("tokens")),
            ("\"tokens/day\"", "1000000".to_owned(), unit("tokens")),
            ("\"bytes/hour\"", "281474976710655".to_owned(), unit("content-bytes")),
            ("\"logins/minute\"", "9".to_owned(), None),
        ]
    );
    let left: Vec<_> = items(&headers, "ratelimit").iter().map(|(_, params)| param(params, "r").unwrap()).collect();
    assert_eq!(left, ["59", "86000", "996000", "281474976709655", "8"]);
}

#[tokio::test]
async fn the_older_fields_describe_requests_if_any_quota_counts_them() {
    let legacy = |limiter: &RateLimiter| limiter.layer().headers(Headers::none().with_legacy(LegacyReset::Delta));
    let fields = |headers: &HeaderMap| {
        ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
            .map(|name| headers[name].to_str().unwrap().to_owned())
    };
    let requests = || rule("requests", Policy::per_minute(60).and_per_hour(90));
    let both = legacy(&frozen([tokens(Policy::per_minute(10)), requests()]));
    assert_eq!(fields(send(&both, 8).await.headers()), ["60", "59", "60"]);
    let refused = send(&both, 8).await;
    assert_eq!((refused.status().as_u16(), fields(refused.headers())), (429, ["60", "59", "60"].map(str::to_owned)));

    let alone = legacy(&frozen([tokens(Policy::per_minute(10).and_per_hour(11))]));
    assert_eq!(fields(send(&alone, 8).await.headers()), ["10", "2", "60"]);
    assert_eq!(fields(send(&alone, 8).await.headers()), ["11", "3", "3600"]);
}

#[tokio::test]
async fn a_denial_waits_for_room_for_its_own_cost() {
    let (limiter, clock) = limiter([tokens(Policy::per_minute(10))]);
    let layer = limiter.layer();
    for cost in [4, 6] {
        assert_eq!(send(&layer, cost).await.status(), 200);
        clock.advance(Duration::from_secs(10));
    }
    for (cost, wait) in [(4, "40"), (5, "50")] {
        let refused = send(&layer, cost).await;
        assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, wait));
    }
}

/// There is some room, and not enough for it.
#[tokio::test]
async fn a_rule_in_shadow_without_room_for_a_cost_is_named_though_units_are_left() {
    let limiter = frozen([tokens(Policy::per_minute(10)).enforcement(Enforcement::Shadow)]);
    let layer = limiter.layer().shadow_field(HeaderName::from_static("x-would-be-limited"));
    assert!(!send(&layer, 8).await.headers().contains_key("x-would-be-limited"));
    let passed = send(&layer, 3).await;
    assert_eq!((passed.status().as_u16(), &passed.headers()["x-would-be-limited"]), (200, &"tokens".parse().unwrap()));
    let decision = limiter.rule("tokens").unwrap().check_cost("everybody", 3).unwrap();
    let denied_by: Vec<_> = decision.would_be_denied_by().map(|quota| quota.remaining()).collect();
    assert_eq!((decision.is_admitted(), denied_by), (true, vec![2]));
    assert!(!send(&layer, 2).await.headers().contains_key("x-would-be-limited"));
}

async fn body(response: Response<ResponseBody<String>>) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn a_request_that_is_never_possible_is_too_large_and_is_told_no_wait() {
    let requests = rule("requests", Policy::per_minute(60));
    let limiter = frozen([requests, tokens(Policy::per_minute(20_000).and_per_day(20_000))]);
    for layer in [limiter.layer(), limiter.layer().headers(Headers::none())] {
        let refused = send(&layer, 20_001).await;
        assert_eq!(refused.status(), 413);
        assert!(!refused.headers().contains_key("retry-after"));
        let decision = refused.extensions().get::<Decision>().unwrap();
        assert!(decision.is_never_possible() && decision.retry_after().is_none());
        let document = json!({
            "type": "about:blank",
            "title": "Payload Too Large",
            "status": 413,
            "detail": "This request costs 20001 tokens; at most 20000 are admitted per minute.",
            "violated-policies": ["tokens/minute", "tokens/day"],
            "cost": 20_001,
            "limit": 20_000,
            "unit": "tokens",
        });
        assert_eq!(body(refused).await, document);
    }
    let refused = send(&limiter.layer(), 20_001).await;
    let fields = "\"requests/minute\";r=60;t=60, \"tokens/minute\";r=20000;t=60, \"tokens/day\";r=20000;t=86400";
    assert_eq!(refused.headers()["ratelimit"], fields);
    let legacy = limiter.layer().headers(Headers::none().with_legacy(LegacyReset::Delta));
    assert_eq!(send(&legacy, 20_001).await.headers()["x-ratelimit-reset"], "1", "requests have room");
    assert_eq!(send(&limiter.layer(), 20_000).await.status(), 200, "nothing was charged");
}

/// Waiting helps with the one and not with the other.
#[tokio::test]
async fn a_request_that_is_both_denied_for_now_and_never_possible_is_never_possible() {
    let limiter = frozen([rule("requests", Policy::per_day(1)), tokens(Policy::per_minute(100))]);
    assert_eq!(send(&limiter.layer(), 1).await.status(), 200);
    let refused = send(&limiter.layer(), 101).await;
    assert_eq!((refused.status().as_u16(), refused.headers().get("retry-after")), (413, None));
    let document = body(refused).await;
    assert_eq!(document["detail"], "This request costs 101 tokens; at most 100 are admitted per minute.");
    assert_eq!(document["violated-policies"], json!(["requests/day", "tokens/minute"]));
    assert_eq!(send(&limiter.layer(), 1).await.status(), 429);
}

#[tokio::test]
async fn the_status_of_what_is_never_possible_is_the_limiter_s_to_choose() {
    let builder = || RateLimiter::builder().rule(tokens(Policy::per_minute(10)));
    for status in [StatusCode::BAD_REQUEST, StatusCode::TOO_MANY_REQUESTS, StatusCode::INSUFFICIENT_STORAGE] {
        let limiter = builder().never_possible(status).denied_status(StatusCode::SERVICE_UNAVAILABLE).build().unwrap();
        let refused = send(&limiter.layer(), 11).await;
        assert_eq!((refused.status(), refused.headers().get("retry-after")), (status, None));
        assert_eq!(body(refused).await["status"], status.as_u16());
        assert_eq!(send(&limiter.layer(), 10).await.status(), 200);
        assert_eq!(send(&limiter.layer(), 10).await.status(), 503);
    }
    for status in [StatusCode::OK, StatusCode::FOUND] {
        let error = builder().never_possible(status).build().unwrap_err();
        assert_eq!((error.field(), error.value()), ("never_possible", status.as_str()));
        assert!(error.to_string().contains("write one such as 413"), "{error}");
    }
}

#[tokio::test]
async fn a_template_says_the_unit_and_the_cost_and_nothing_of_a_wait_that_there_is_not() {
    let limiter = RateLimiter::builder()
        .rule(tokens(Policy::per_minute(10)))
        .refusal_format(RefusalFormat::Text)
        .message("{cost} of {limit} {unit}: wait {retry_after} s")
        .build()
        .unwrap();
    let text = async |cost| send(&limiter.layer(), cost).await.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text(11).await, "This request costs 11 tokens; at most 10 are admitted per minute.");
    assert_eq!(text(10).await, "");
    assert_eq!(text(7).await, "7 of 10 tokens: wait 60 s");
}

#[tokio::test]
async fn a_closure_for_refusals_sees_what_is_never_possible_and_may_say_its_own() {
    let limiter = frozen([tokens(Policy::per_minute(10))]);
    let layer = limiter.layer().on_refusal(|refusal, _| {
        let Refusal::Denied(decision) = refusal else { return refusal.response() };
        assert!(decision.is_never_possible() && refusal.retry_after().is_none());
        assert_eq!(refusal.status(), 413);
        let quota = decision.exhausted().next().unwrap();
        Response::new(format!("{} {} of {}", quota.cost(), quota.unit(), quota.limit()).into())
    });
    let refused = send(&layer, 99).await;
    assert!(!refused.headers().contains_key("retry-after"));
    assert_eq!(refused.into_body().collect().await.unwrap().to_bytes(), "99 tokens of 10");
}

/// Callers must not learn of another caller's traffic; and the attempt counts all the same.
#[tokio::test]
async fn a_401_has_no_fields_and_counts() {
    let limiter = frozen([rule("logins", Policy::per_minute(2)).count_only(tower_quota::outcome::statuses([401]))]);
    let inner = service_fn(|_: Request<()>| {
        ready(Response::builder().status(401).body(String::new()).map_err(io::Error::other))
    });
    for _ in 0..2 {
        let response = limiter.layer().layer(inner).oneshot(Request::new(())).await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers().len()), (401, 0));
    }
    assert_eq!(limiter.layer().layer(inner).oneshot(Request::new(())).await.unwrap().status(), 429);
}
