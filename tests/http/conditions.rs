//! How rules combine: routes by the most specific template, and beside them rules by prefix, host, method, header field or closure.

use axum::{Router, body::Body, extract::Request, routing::any};
use http::request::Builder;
use tower::ServiceExt;
use tower_quota::{OnMissing, Policy, RateLimiter, Rule, http::RequestView, key};
use tower_quota_tests::limiter::{frozen, per_minute};

fn rule(name: &str) -> Rule {
    per_minute(name, 10)
}

/// The rules that govern a request, in the order of the limiter's answer.
#[track_caller]
fn governing(limiter: &RateLimiter, request: Builder) -> Vec<String> {
    let request = request.body(()).unwrap();
    limiter.matching(&RequestView::new(&request)).iter().map(|rule| rule.rule().to_owned()).collect()
}

fn left(limiter: &RateLimiter, rule: &str) -> u64 {
    limiter.rule(rule).unwrap().peek("everybody").quotas().next().map_or(0, |quota| quota.remaining())
}

async fn statuses(app: &Router, targets: &[&str]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for target in targets {
        let request = Request::get(*target).body(Body::empty()).unwrap();
        statuses.push(app.clone().oneshot(request).await.unwrap().status().as_u16());
    }
    statuses
}

// ---- a broad and a specific rule ----

#[tokio::test]
async fn a_broad_and_a_specific_rule_bind_in_one_step() {
    let limiter =
        frozen([per_minute("api", 3).paths_under(["/api"]), per_minute("exports", 2).routes(["/api/export"])]);
    let app = Router::new().fallback(any("")).layer(limiter.layer());
    let export = "/api/export";
    assert_eq!(statuses(&app, &[export, export, export]).await, [200, 200, 429], "the specific one has no room");
    assert_eq!((left(&limiter, "api"), left(&limiter, "exports")), (1, 0), "and the broad one is not charged for it");
    assert_eq!(statuses(&app, &["/api/other", "/api/other", "/other"]).await, [200, 429, 200]);
    limiter.rule("exports").unwrap().reset("everybody");
    assert_eq!(statuses(&app, &[export]).await, [429], "the broad one has no room");
    assert_eq!(left(&limiter, "exports"), 2, "and the specific one is not charged for it");
}

#[test]
fn the_most_specific_template_decides_and_a_prefix_governs_beside_it() {
    let limiter = frozen([
        rule("rest").routes(["/api/{*rest}"]),
        rule("bot").routes(["/api/bots/{id}"]),
        rule("api").paths_under(["/api"]),
        rule("bots").paths_under(["/api/bots"]),
        rule("all").every_request(),
    ]);
    let of = |path: &str| governing(&limiter, Request::get(path));
    assert_eq!(of("/api/bots/7"), ["bot", "api", "bots", "all"]);
    assert_eq!(of("/api/cases"), ["rest", "api", "all"]);
    assert_eq!(of("/apis"), ["all"]);
}

#[test]
fn the_conditions_of_a_rule_with_routes_hold_beside_its_template() {
    let limiter = frozen([
        rule("bots").routes(["/bots/{*rest}"]),
        rule("beta").routes(["POST /bots/{id}"]).when_header("x-plan", "beta"),
    ]);
    assert_eq!(governing(&limiter, Request::post("/bots/7").header("x-plan", "beta")), ["bots", "beta"]);
    assert_eq!(governing(&limiter, Request::get("/bots/7").header("x-plan", "beta")), ["bots"]);
    assert_eq!(governing(&limiter, Request::post("/bots/7/x").header("x-plan", "beta")), ["bots"]);
    // Its template is more specific, and hides the other all the same from nobody.
    assert_eq!(governing(&limiter, Request::post("/bots/7")), ["bots"]);
}

#[test]
fn a_more_specific_template_does_not_hide_one_with_conditions() {
    let limiter = frozen([
        rule("import").routes(["/bots/import"]),
        rule("beta").routes(["/bots/{*rest}"]).when_header("x-plan", "beta"),
    ]);
    assert_eq!(governing(&limiter, Request::get("/bots/import").header("x-plan", "beta")), ["import", "beta"]);
}

#[test]
fn templates_of_two_rules_with_conditions_may_conflict() {
    let limiter = frozen([
        rule("eu").routes(["/a/{x}/b"]).hosts(["eu.example.com"]),
        rule("us").routes(["/a/{*rest}"]).hosts(["us.example.com"]),
    ]);
    assert_eq!(governing(&limiter, Request::get("/a/1/b").header("host", "eu.example.com")), ["eu"]);
    assert_eq!(governing(&limiter, Request::get("/a/1/b").header("host", "us.example.com")), ["us"]);
}

#[test]
fn unmatched_requests_are_those_that_no_rule_with_routes_governs() {
    let limiter = frozen([
        rule("beta").routes(["/bots"]).when_header("x-plan", "beta"),
        rule("plain").routes(["/cases"]),
        rule("api").paths_under(["/"]),
        rule("rest").unmatched_requests(),
    ]);
    assert_eq!(governing(&limiter, Request::get("/bots").header("x-plan", "beta")), ["beta", "api"]);
    assert_eq!(
        governing(&limiter, Request::get("/bots")),
        ["api", "rest"],
        "who leaves out the field is limited still"
    );
    assert_eq!(governing(&limiter, Request::get("/cases")), ["plain", "api"]);
    assert_eq!(governing(&limiter, Request::get("/other")), ["api", "rest"]);
}

#[test]
fn a_rule_for_unmatched_requests_may_have_conditions() {
    let limiter = frozen([rule("x").routes(["/api/x"]), rule("rest").unmatched_requests().paths_under(["/api"])]);
    assert_eq!(governing(&limiter, Request::get("/api/y")), ["rest"]);
    assert_eq!(governing(&limiter, Request::get("/api/x")), ["x"]);
    assert_eq!(governing(&limiter, Request::get("/y")), [""; 0]);
}

#[test]
fn conditions_alone_are_for_every_request() {
    for with_every_request in [false, true] {
        let rule = rule("post").methods(["POST"]).when(|request: &RequestView<'_>| request.uri().query().is_some());
        let limiter = frozen([if with_every_request { rule.every_request() } else { rule }]);
        assert_eq!(governing(&limiter, Request::post("/x?y")), ["post"]);
        assert_eq!(governing(&limiter, Request::post("/x")), [""; 0]);
        assert_eq!(governing(&limiter, Request::get("/x?y")), [""; 0]);
    }
}

#[test]
fn of_several_closures_all_have_to_hold() {
    let both = rule("both")
        .when(|request: &RequestView<'_>| request.uri().path().starts_with("/a"))
        .when(|request: &RequestView<'_>| request.uri().path().ends_with('z'));
    let limiter = frozen([both]);
    assert_eq!(["/az", "/a", "/z"].map(|path| governing(&limiter, Request::get(path)).len()), [1, 0, 0]);
}

#[test]
fn a_conditional_rule_has_groups_and_histories_per_route_like_any_other() {
    let rule = Rule::new("bots")
        .routes(["/bots/{bot}"])
        .key(key::path("bot"))
        .group(key::query("bot"), ["/import"])
        .level("bot")
        .per_route()
        .hosts(["api.example.com"])
        .on_missing(OnMissing::Skip)
        .policy(Policy::per_minute(1));
    let limiter = frozen([rule]);
    let request = |uri: &str| Request::get(uri).header("host", "api.example.com").body(()).unwrap();
    for uri in ["/bots/7", "/import?bot=7"] {
        let found = limiter.matching(&RequestView::new(&request(uri)));
        assert_eq!(found[0].key(), Some(limiter.key("7")), "{uri}");
    }
    let elsewhere = Request::get("/bots/7").body(()).unwrap();
    assert!(limiter.matching(&RequestView::new(&elsewhere)).is_empty());
    let key = limiter.rule("bots").unwrap().key_of(&RequestView::new(&elsewhere));
    assert_eq!(key, Some(limiter.key("7")), "the key can be read where the conditions do not hold");
}

// ---- prefixes and routers ----

#[tokio::test]
async fn a_prefix_governs_wherever_the_limiter_stands() {
    let inner = || Router::new().route("/bots/{id}", any(""));
    let limited = || frozen([per_minute("api", 1).paths_under(["/api/v1"])]).layer();
    for (place, app) in [
        ("outside of nest", Router::new().nest("/api/v1", inner()).layer(limited())),
        ("outside of nest_service", Router::new().nest_service("/api/v1", inner()).layer(limited())),
        ("inside of nest", Router::new().nest("/api/v1", inner().layer(limited()))),
        ("inside of nest_service", Router::new().nest_service("/api/v1", inner().layer(limited()))),
        ("inside of two", Router::new().nest("/api", Router::new().nest_service("/v1", inner().layer(limited())))),
        ("by route", Router::new().nest("/{api}/v1", inner().route_layer(limited()))),
    ] {
        assert_eq!(statuses(&app, &["/api/v1/bots/7", "/api/v1/bots/8"]).await, [200, 429], "{place}");
    }
}

#[tokio::test]
async fn a_prefix_is_not_that_of_the_rest_of_a_path() {
    let limited = frozen([per_minute("bots", 1).paths_under(["/bots"])]).layer();
    let inner = Router::new().route("/bots/{id}", any("")).layer(limited);
    for app in [Router::new().nest("/api", inner.clone()), Router::new().nest_service("/api", inner)] {
        assert_eq!(statuses(&app, &["/api/bots/7", "/api/bots/7"]).await, [200, 200]);
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_escapes_a_prefix() {
    for target in [
        "/api",
        "/api/",
        "//api/x",
        "/api//x",
        "/%61pi/x",
        "/./api/x",
        "/x/../api/y",
        "/api%2Fx",
        "/x%2F..%2Fapi",
        "/api%5Cx",
    ] {
        let limiter = frozen([per_minute("api", 1).paths_under(["/api"])]);
        let app = Router::new().fallback(any("")).layer(limiter.layer());
        assert_eq!(statuses(&app, &[target, "/api/plain"]).await, [200, 429], "{target}");
    }
}
