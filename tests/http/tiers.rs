//! Tiers that requests name, and what callers are told of them.

use std::convert::Infallible;

use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{
    Decision, Policy, RateLimitLayer, RateLimiter, Rule,
    http::{DecisionIn, ResponseBody},
    key,
};
use tower_quota_tests::limiter::frozen;

type Answer = Response<ResponseBody<String>>;

#[derive(Clone)]
struct Claims {
    account: &'static str,
    plan: &'static str,
}

/// Two a minute, and three for `pro`, by the claims of a request.
fn api() -> Rule {
    Rule::new("api")
        .key(key::claim(|claims: &Claims| claims.account))
        .level("account")
        .policy(Policy::per_minute(2))
        .tier("pro", Policy::per_minute(3).and_per_hour(100))
        .unlimited_tier("staff")
        .tier_from(key::claim(|claims: &Claims| claims.plan))
}

async fn get(layer: &RateLimitLayer, path: &str, account: &'static str, plan: &'static str) -> Answer {
    let inner = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) });
    let request = Request::get(path).extension(Claims { account, plan }).body(()).unwrap();
    layer.layer(inner).oneshot(request).await.unwrap()
}

fn field<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

/// Sends requests, and returns how many passed.
async fn passed(layer: &RateLimitLayer, path: &str, account: &'static str, plan: &'static str, most: usize) -> usize {
    let mut passed = 0;
    for _ in 0..most {
        passed += usize::from(get(layer, path, account, plan).await.status() == StatusCode::OK);
    }
    passed
}

#[tokio::test]
async fn a_claim_chooses_the_tier_and_the_fields_are_those_of_the_tier() {
    let layer = frozen([api().every_request()]).layer();
    let free = get(&layer, "/", "acme", "free").await;
    assert_eq!(field(&free, "ratelimit-policy"), Some("\"minute\";q=2;w=60"));
    assert_eq!(field(&free, "ratelimit"), Some("\"minute\";r=1;t=60"));
    let pro = get(&layer, "/", "globex", "pro").await;
    assert_eq!(field(&pro, "ratelimit-policy"), Some("\"minute\";q=3;w=60, \"hour\";q=100;w=3600"));
    assert!(field(&pro, "ratelimit").unwrap().contains("\"minute\";r=2;t=60"));
}

#[tokio::test]
async fn an_account_that_changes_its_plan_keeps_its_history() {
    let layer = frozen([api().every_request()]).layer();
    assert_eq!(passed(&layer, "/", "acme", "free", 9).await, 2);
    assert_eq!(passed(&layer, "/", "acme", "pro", 9).await, 1);
    assert_eq!(passed(&layer, "/", "acme", "free", 9).await, 0);
    let refused = get(&layer, "/", "acme", "pro").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(&refused, "retry-after"), Some("60"));
    assert!(field(&refused, "ratelimit-policy").unwrap().starts_with("\"minute\";q=3;w=60"));
}

#[tokio::test]
async fn a_tier_without_limits_passes_without_fields_and_is_recorded() {
    let layer = frozen([api().every_request()]).layer();
    for _ in 0..9 {
        let answer = get(&layer, "/", "acme", "staff").await;
        assert_eq!(
            (answer.status(), field(&answer, "ratelimit"), field(&answer, "ratelimit-policy")),
            (StatusCode::OK, None, None)
        );
    }
    assert_eq!(passed(&layer, "/", "acme", "pro", 9).await, 0);
}

#[tokio::test]
async fn a_decision_says_the_tier() {
    let layer = frozen([api().every_request()]).layer().decision(DecisionIn::Both);
    for (plan, tier) in [("free", None), ("pro", Some("pro")), ("gold", None)] {
        let answer = get(&layer, "/", "acme", plan).await;
        let decision = answer.extensions().get::<Decision>().unwrap();
        assert!(decision.quotas().all(|quota| quota.tier() == tier), "{decision:?}");
    }
}

#[tokio::test]
async fn tiers_of_a_rule_per_route_have_histories_by_route() {
    let layer = frozen([api().routes(["/a", "/b"]).per_route()]).layer();
    assert_eq!(passed(&layer, "/a", "acme", "free", 9).await, 2);
    assert_eq!(passed(&layer, "/b", "acme", "pro", 9).await, 3);
    assert_eq!(passed(&layer, "/a", "acme", "pro", 9).await, 1);
    assert_eq!(passed(&layer, "/b", "acme", "free", 9).await, 0);
}

#[tokio::test]
async fn an_override_wins_over_the_claim_and_one_at_run_time_over_both() {
    let limiter = frozen([api().every_request().tier_for("acme", "staff")]);
    let layer = limiter.layer();
    assert_eq!(passed(&layer, "/", "acme", "free", 9).await, 9);
    limiter.set_tier("api", "acme", Some("pro")).unwrap();
    assert_eq!(passed(&layer, "/", "acme", "free", 9).await, 0);
    limiter.set_tier("api", "globex", Some("pro")).unwrap();
    assert_eq!(passed(&layer, "/", "globex", "free", 9).await, 3);
}

#[tokio::test]
async fn a_layer_follows_a_reload() {
    let limiter: RateLimiter = frozen([api().every_request()]);
    let layer = limiter.layer();
    assert_eq!(passed(&layer, "/", "acme", "free", 9).await, 2);
    let larger = api().every_request().policy(Policy::per_minute(4));
    limiter.reload(|builder| Ok(builder.rule(larger))).unwrap();
    let answer = get(&layer, "/", "acme", "free").await;
    assert_eq!(field(&answer, "ratelimit-policy"), Some("\"minute\";q=4;w=60"));
    assert_eq!(passed(&layer, "/", "acme", "free", 9).await, 1);
    limiter.reload(|builder| Ok(builder.rule(api().routes(["/other"])))).unwrap();
    assert_eq!(passed(&layer, "/", "acme", "free", 9).await, 9);
}
