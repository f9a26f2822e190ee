//! What callers are told, on HTTP and gRPC, of rules that are on, soft, in shadow or off.

use std::{convert::Infallible, time::Duration};

use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tonic_types::StatusExt;
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{
    Decision, Enforcement, Policy, RateLimitLayer, RateLimiter, Rule,
    clock::ManualClock,
    http::{DecisionIn, Headers, LegacyReset, ResponseBody},
    key,
};
use tower_quota_tests::limiter::{frozen, rule};

type Answer = Response<ResponseBody<String>>;

const WOULD: HeaderName = HeaderName::from_static("x-would-be-limited");

fn per_minute(name: &str, limit: u64, enforcement: Enforcement) -> Rule {
    rule(name, Policy::per_minute(limit)).enforcement(enforcement)
}

/// A strict rule in this enforcement beside one that is on and has room for two.
fn layer(enforcement: Enforcement) -> RateLimitLayer {
    frozen([per_minute("strict", 1, enforcement), per_minute("api", 2, Enforcement::On)]).layer()
}

async fn send(layer: &RateLimitLayer, request: Request<()>) -> Answer {
    let inner = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) });
    layer.layer(inner).oneshot(request).await.unwrap()
}

async fn get(layer: &RateLimitLayer) -> Answer {
    send(layer, Request::new(())).await
}

fn field<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

async fn body(answer: Answer) -> serde_json::Value {
    serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn a_shadow_is_in_no_field_of_an_admission() {
    let layer = layer(Enforcement::Shadow);
    for left in [1, 0] {
        let answer = get(&layer).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(field(&answer, "ratelimit"), Some(&*format!("\"api/minute\";r={left};t=60")));
        assert_eq!(field(&answer, "ratelimit-policy"), Some("\"api/minute\";q=2;w=60"));
        assert!(!answer.headers().contains_key(&WOULD));
    }
}

#[tokio::test]
async fn a_shadow_is_in_no_part_of_a_refusal() {
    let layer = layer(Enforcement::Shadow);
    let _ = (get(&layer).await, get(&layer).await);
    let refused = get(&layer).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(&refused, "ratelimit"), Some("\"api/minute\";r=0;t=60"));
    assert_eq!(field(&refused, "ratelimit-policy"), Some("\"api/minute\";q=2;w=60"));
    assert_eq!(refused.extensions().get::<Decision>().unwrap().would_be_denied_by().count(), 1);
    assert_eq!(body(refused).await["violated-policies"], serde_json::json!(["api/minute"]));
}

#[tokio::test]
async fn a_shadow_alone_leaves_a_response_as_it_is() {
    let layer = frozen([per_minute("strict", 1, Enforcement::Shadow)]).layer();
    let layer = layer.headers(Headers::rate_limit().with_legacy(LegacyReset::Delta));
    for _ in 0..3 {
        let answer = get(&layer).await;
        assert_eq!((answer.status(), answer.headers().len()), (StatusCode::OK, 0));
    }
}

#[tokio::test]
async fn a_field_names_the_rules_in_shadow_that_would_deny_if_the_layer_shows_them() {
    let rules = [
        per_minute("strict", 1, Enforcement::Shadow),
        per_minute("api", 3, Enforcement::On),
        per_minute("other", 2, Enforcement::Shadow),
    ];
    let layer = frozen(rules).layer().shadow_field(WOULD);
    let would = async || field(&get(&layer).await, WOULD.as_str()).map(str::to_owned);
    assert_eq!(would().await, None);
    assert_eq!(would().await.as_deref(), Some("strict"));
    assert_eq!(would().await.as_deref(), Some("strict, other"));
    assert_eq!(would().await.as_deref(), Some("strict, other"), "of a refusal too");
}

#[tokio::test]
async fn a_field_is_shown_where_nothing_else_is() {
    let rules = [per_minute("strict", 1, Enforcement::Shadow), per_minute("api", 9, Enforcement::On)];
    let layer = frozen(rules).layer().shadow_field(WOULD).headers(Headers::none()).decision(DecisionIn::Neither);
    assert_eq!(get(&layer).await.headers().len(), 0);
    let second = get(&layer).await;
    assert_eq!((second.headers().len(), field(&second, WOULD.as_str())), (1, Some("strict")));
}

#[tokio::test]
async fn a_soft_rule_is_told_with_nothing_left_and_marks_the_decision_for_the_handler() {
    let layer = frozen([per_minute("prompts", 1, Enforcement::Soft)]).layer();
    let handler = service_fn(|request: Request<()>| async move {
        let is_over = request.extensions().get::<Decision>().unwrap().is_over_soft_limit();
        Ok::<_, Infallible>(Response::new(if is_over { "small model" } else { "large model" }.to_owned()))
    });
    let service = layer.layer(handler);
    for model in ["large model", "small model", "small model"] {
        let answer = service.clone().oneshot(Request::new(())).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(field(&answer, "ratelimit"), Some("\"minute\";r=0;t=60"));
        assert_eq!(field(&answer, "ratelimit-policy"), Some("\"minute\";q=1;w=60"));
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), model);
    }
}

#[tokio::test]
async fn a_soft_rule_without_room_is_not_the_reason_of_a_refusal() {
    let layer = layer(Enforcement::Soft);
    let _ = (get(&layer).await, get(&layer).await);
    let refused = get(&layer).await;
    assert_eq!(field(&refused, "ratelimit"), Some("\"strict/minute\";r=0;t=60, \"api/minute\";r=0;t=60"));
    assert_eq!(body(refused).await["violated-policies"], serde_json::json!(["api/minute"]));
}

#[tokio::test]
async fn a_longer_debt_does_not_lengthen_the_wait_of_a_refusal() {
    let clock = ManualClock::new();
    let soft = rule("soft", Policy::per_hour(1)).enforcement(Enforcement::Soft);
    let limiter = RateLimiter::builder().clock(clock).rule(soft).rule(per_minute("api", 2, Enforcement::On));
    let layer = limiter.build().unwrap().layer();
    let _ = (get(&layer).await, get(&layer).await);
    assert_eq!(field(&get(&layer).await, "retry-after"), Some("60"));
}

#[tokio::test]
async fn a_rule_that_is_off_is_not_told() {
    let answer = get(&layer(Enforcement::Off)).await;
    assert_eq!(field(&answer, "ratelimit"), Some("\"api/minute\";r=1;t=60"));
    let off = frozen([per_minute("strict", 1, Enforcement::Off)]).layer().shadow_field(WOULD);
    for _ in 0..3 {
        let answer = get(&off).await;
        assert_eq!((answer.status(), answer.headers().len()), (StatusCode::OK, 0));
    }
}

#[tokio::test]
async fn without_an_enforced_rule_there_is_no_decision_if_all_are_off() {
    let layer = frozen([per_minute("strict", 1, Enforcement::Off)]).layer().decision(DecisionIn::Both);
    let inner = service_fn(|request: Request<()>| async move {
        assert!(request.extensions().get::<Decision>().is_none());
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let answer = layer.layer(inner).oneshot(Request::new(())).await.unwrap();
    assert!(answer.extensions().get::<Decision>().is_none());
}

#[tokio::test]
async fn a_layer_follows_the_switch() {
    let limiter = frozen([per_minute("strict", 1, Enforcement::On)]);
    let layer = limiter.layer();
    let status = async || get(&layer).await.status().as_u16();
    assert_eq!([status().await, status().await], [200, 429]);
    limiter.enforce("strict", Enforcement::Shadow).unwrap();
    assert_eq!(status().await, 200);
    limiter.enforce("strict", Enforcement::Off).unwrap();
    assert_eq!(status().await, 200);
    limiter.enforce_as_configured("strict").unwrap();
    assert_eq!(status().await, 429);
}

#[tokio::test]
async fn a_limiter_that_is_mounted_twice_charges_a_shadow_once() {
    let limiter = frozen([per_minute("strict", 2, Enforcement::Shadow)]);
    let (outer, inner) = (limiter.layer().shadow_field(WOULD), limiter.layer());
    let service = outer
        .layer(inner.layer(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) })));
    for would in [false, false, true] {
        let answer = service.clone().oneshot(Request::new(())).await.unwrap();
        assert_eq!(answer.headers().contains_key(&WOULD), would);
    }
}

// gRPC.

fn call() -> Request<()> {
    Request::post("/bots.Bots/Export").header("content-type", "application/grpc").body(()).unwrap()
}

#[tokio::test]
async fn grpc_callers_are_told_of_the_enforced_rules_alone() {
    for enforcement in [Enforcement::Soft, Enforcement::Shadow, Enforcement::Off] {
        let layer = layer(enforcement).shadow_field(WOULD);
        for _ in 0..2 {
            assert!(!send(&layer, call()).await.headers().contains_key("grpc-status"), "{enforcement}");
        }
        let refused = send(&layer, call()).await;
        let status = tonic::Status::from_header_map(refused.headers()).unwrap();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        let details = status.get_error_details();
        let violations = &details.quota_failure().unwrap().violations;
        assert_eq!(violations.len(), 1, "{enforcement}");
        assert!(violations[0].description.starts_with("api/minute"), "{enforcement}");
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(60)));
        let would = (enforcement == Enforcement::Shadow).then_some("strict");
        assert_eq!(field(&refused, WOULD.as_str()), would, "{enforcement}");
    }
}

// Requests of any type.

#[tokio::test]
async fn services_of_any_type_are_refused_by_enforced_rules_alone() {
    for (enforcement, passed) in
        [(Enforcement::On, 1), (Enforcement::Soft, 5), (Enforcement::Shadow, 5), (Enforcement::Off, 5)]
    {
        let rule = Rule::new("jobs").every_request().key(key::constant("all")).policy(Policy::per_minute(1));
        let limiter = RateLimiter::builder_for::<bool>().clock(ManualClock::new()).rule(rule.enforcement(enforcement));
        let layer = limiter.build().unwrap().layer(|_: bool, _| Err(()));
        let layer = layer.on_admitted(|is_over, decision| *is_over = decision.is_over_soft_limit());
        let service = layer.layer(service_fn(async |is_over: bool| Ok(is_over)));
        let mut outcomes = Vec::new();
        for _ in 0..5 {
            outcomes.push(service.clone().oneshot(false).await);
        }
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), passed, "{enforcement}");
        let over = outcomes.iter().filter(|outcome| **outcome == Ok(true)).count();
        assert_eq!(over, if enforcement == Enforcement::Soft { 4 } else { 0 }, "{enforcement}");
    }
}
