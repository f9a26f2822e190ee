//! Costs of a file are those of the methods, and each mistake has its line.

use std::convert::Infallible;

use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{ConfigError, Decision, RateLimiter, config::Sources, grpc::RequestBody, http::RequestView};

const RULE: &str =
    "[[rule]]\nname = 'api'\nkey = 'header:x-account'\nquotas = ['100/minute']\napplies_to = 'every_request'\n";
const ROUTES: &str =
    "[[rule]]\nname = 'api'\nkey = 'header:x-account'\nquotas = ['100/minute']\nroutes = ['GET /cases']\n";

fn limiter(text: &str) -> Result<RateLimiter, ConfigError> {
    let prompt = |request: &RequestView<'_>| request.extensions().get::<u64>().copied();
    RateLimiter::builder().toml(text, &Sources::new().cost_source("prompt", prompt))?.build()
}

/// Returns what is left of the quota after this request, which is one of a key of its own.
fn left_after(limiter: &RateLimiter, request: http::request::Builder, key: &str) -> u64 {
    let left = service_fn(async |request: Request<()>| {
        let decision = request.extensions().get::<Decision>().unwrap();
        let left = decision.quotas().next().unwrap().remaining();
        Ok::<_, Infallible>(Response::builder().header("left", left).body(String::new()).unwrap())
    });
    let request = request.header("x-account", key).body(()).unwrap();
    let response = limiter.layer().layer(left).oneshot(request).now_or_never().unwrap().unwrap();
    response.headers()["left"].to_str().unwrap().parse().unwrap()
}

#[track_caller]
fn assert_mistake(text: &str, message: &str) {
    assert_eq!(limiter(text).unwrap_err().to_string(), message);
}

#[test]
fn a_number_is_what_every_request_costs() {
    let limiter = limiter(&format!("{RULE}unit = 'points'\ncost = 40")).unwrap();
    let api = limiter.rule("api").unwrap();
    assert_eq!(["ann"; 3].map(|key| api.admit(key)), [true, true, false]);
    let decision = api.check_cost("ann", 20).unwrap();
    assert_eq!(
        decision.quotas().next().map(|quota| (quota.unit().to_owned(), quota.cost())),
        Some(("points".to_owned(), 20))
    );
    assert!(decision.is_admitted());
}

#[test]
fn a_cost_is_read_from_the_first_source_that_has_one() {
    let limiter = limiter(&format!("{RULE}unit = 'tokens'\ncost = 'header:x-tokens | prompt | 5'")).unwrap();
    assert_eq!(left_after(&limiter, Request::get("/").header("x-tokens", "30"), "a"), 70);
    assert_eq!(left_after(&limiter, Request::get("/").extension(20_u64), "b"), 80);
    assert_eq!(left_after(&limiter, Request::get("/"), "c"), 95);
}

#[test]
fn routes_may_have_a_cost_of_their_own() {
    let costs = "[[rule.routes_costing]]\nunits = 10\nroutes = ['POST /reports', 'GET /search']\n\
                 [[rule.routes_costing]]\nunits = 0\nroutes = ['GET /me']";
    let limiter = limiter(&format!("{ROUTES}unit = 'points'\ncost = 1\n{costs}")).unwrap();
    assert_eq!(left_after(&limiter, Request::get("/cases"), "a"), 99);
    assert_eq!(left_after(&limiter, Request::post("/reports"), "a"), 89);
    assert_eq!(left_after(&limiter, Request::get("/search"), "a"), 79);
    assert_eq!(left_after(&limiter, Request::get("/me"), "a"), 79);
}

#[test]
fn routes_with_a_cost_need_no_others_beside_them() {
    let rule = ROUTES.replace("routes = ['GET /cases']\n", "");
    let costs = "[[rule.routes_costing]]\nunits = 10\nroutes = ['POST /reports']";
    let limiter = limiter(&format!("{rule}unit = 'points'\ncost = 1\n{costs}")).unwrap();
    assert_eq!(left_after(&limiter, Request::post("/reports"), "a"), 90);
}

#[test]
fn an_estimate_is_settled_by_what_was_observed() {
    for (unsettled, left) in [("observed", 93), ("keep", 60), ("release", 100)] {
        let limiter = limiter(&format!("{RULE}unit = 'tokens'\nreserve = 40\nunsettled = '{unsettled}'")).unwrap();
        let api = limiter.rule("api").unwrap();
        let decision = api.check("ann");
        decision.reservation().unwrap().observe("tokens", 7);
        drop(decision);
        assert_eq!(api.peek("ann").quotas().next().map(|quota| quota.remaining()), Some(left), "{unsettled}");
    }
}

#[test]
fn messages_may_cost_their_length() {
    let left_after_call = |message_cost: &str| {
        let limiter = limiter(&format!("{RULE}unit = 'bytes'\ncost = 0\nmessage_cost = {message_cost}")).unwrap();
        let layer = limiter.layer().per_message(["api"]).unwrap();
        let read = service_fn(async |request: Request<RequestBody<String>>| {
            request.into_body().collect().await.map(|_| Response::new(String::new()))
        });
        let request = Request::post("/").header("content-type", "application/grpc").header("x-account", "ann");
        let request = request.body("\0\0\0\0\u{3}abc\0\0\0\0\u{1}d".to_owned()).unwrap();
        layer.layer(read).oneshot(request).now_or_never().unwrap().unwrap();
        limiter.rule("api").unwrap().peek("ann").quotas().next().map(|quota| quota.remaining())
    };
    assert_eq!(left_after_call("'message-length'"), Some(96));
    assert_eq!(left_after_call("5"), Some(90));
}

#[test]
fn a_rule_without_a_cost_counts_requests() {
    let limiter = limiter(RULE).unwrap();
    let error = limiter.rule("api").unwrap().check_cost("ann", 2).unwrap_err();
    assert_eq!(error.rule(), "api");
}

#[test]
fn a_limit_in_units_is_reloaded_like_any_other() {
    let text = format!("{RULE}unit = 'points'\ncost = 40");
    let limiter = limiter(&text).unwrap();
    assert!(limiter.rule("api").unwrap().admit("ann"));
    let text = text.replace("100/minute", "50/minute");
    limiter.reload(|builder| builder.toml(&text, &Sources::new())).unwrap();
    assert!(!limiter.rule("api").unwrap().admit("ann"));
    assert!(limiter.rule("api").unwrap().admit_cost("ann", 10).unwrap());
}

#[test]
#[rustfmt::skip]
fn each_mistake_names_the_rule_the_field_the_value_and_the_line() {
    let rule = |fields: &str| format!("{RULE}{fields}");
    for (fields, mistake) in [
        ("cost = 5", r#"cost 5: the cost has no unit: write unit = "points" as well"#),
        ("unit = 'points'", r#"unit 'points': the rule counts requests: write cost = 1 as well, or leave this out"#),
        ("cost = -1", r#"cost -1: a cost is a whole number from 0 on: write cost = 5"#),
        ("cost = 1.5", r#"cost 1.5: expected a whole number or a string: write cost = 5"#),
        ("reserve = true", r#"reserve true: expected a whole number or a string: write reserve = "header:x-estimated-tokens | 2000""#),
        ("unsettled = 'keep'", r#"unsettled 'keep': the rule reserves nothing: write reserve = 2000 as well, or leave this out"#),
        ("unsettled = 'observe'", r#"unsettled "observe": unknown value: write "observed""#),
        ("count_only = []", r#"count_only []: it counts nothing: write count_only = ["failures"], or leave this out"#),
        ("count_only = 'failures'", r#"count_only 'failures': expected an array of strings: write count_only = ["failures"]"#),
        ("count_only = ['4xx', 'fail']", r#"count_only "fail": not an outcome: write "failures", "successes", a status such as "401", "4xx", or a gRPC code such as "grpc:16""#),
        ("estimate = 5", r#"estimate 5: unknown field: write reserve = 5"#),
    ] {
        assert_mistake(&rule(fields), &format!("line 6: rule \"api\": {mistake}"));
    }
    for (fields, line, mistake) in [
        ("unit = 'bytes'\ncost = 0\nmessage_cost = 101", 8, r#"message_cost 101: the rule would admit no request: at most 100 bytes are admitted per minute"#),
        ("unit = 'bytes'\ncost = 0\nmessage_cost = 'length'", 8, r#"message_cost 'length': unknown value: write "message-length", or a number of units without quotes"#),
        ("unit = 'bytes'\nreserve = 1\nmessage_cost = 1", 8, r#"message_cost 1: messages are charged as they come, beside what the call costs: write unit = "bytes" and cost = 0, and neither reserve nor count_only"#),
        ("unit = 'points'\ncost = 101", 7, r#"cost 101: the rule would admit no request: at most 100 points are admitted per minute"#),
        ("unit = 'points'\nreserve = 101", 7, r#"reserve 101: the rule would admit no request: at most 100 points are admitted per minute"#),
        ("unit = 'po ints'\ncost = 1", 6, r#"unit "po ints": a name is one or more visible ASCII characters without spaces, " and \: write one such as "po-ints""#),
        ("unit = 'points'\ncost = 'header:x-points'", 7, r#"cost "header:x-points": it does not say what other requests cost: write cost = "header:x-points | 1""#),
        ("unit = 'points'\ncost = 'query:points | 1'", 7, r#"cost "query:points": not a source of costs; known are header:NAME, content-length, prompt, and a number at the end"#),
        ("unit = 'points'\ncost = 1\nreserve = 2", 8, r#"reserve 2: a cost is charged as it is, or settled later: leave out cost or reserve"#),
        ("unit = 'points'\nreserve = 1\ncount_only = ['failures']", 8, r#"count_only ['failures']: a cost that is settled counts as settled, whatever the outcome: leave out count_only or reserve"#),
        ("count_only = ['failures']\ncount_denied = true", 7, r#"count_denied true: denials count under this policy, and have nothing to settle: leave out count_denied"#),
        ("unit = 'points'\ncost = 'content-length | 1'\nspaced_by = '1s'", 8, r#"quotas spacing=1/second: a quota of 1 admits no cost of 2: let a rule of its own space the requests"#),
    ] {
        assert_mistake(&rule(fields), &format!("line {line}: rule \"api\": {mistake}"));
    }
    for (fields, line, mistake) in [
        ("[[rule.routes_costing]]\nunits = 2\nroutes = ['/x']", 7, r#"routes_costing.units 2: the rule counts requests: write unit = "points" and cost = 1 below [[rule]]"#),
        ("unit = 'points'\ncost = 1\n[[rule.routes_costing]]\nroutes = ['/x']", 8, r#"routes_costing.units: the routes have no cost: write units = 10 below [[rule.routes_costing]]"#),
        ("unit = 'points'\ncost = 1\n[[rule.routes_costing]]\nunits = 2", 8, r#"routes_costing.routes: the cost has no routes: write routes = ["POST /reports"] below [[rule.routes_costing]]"#),
        ("unit = 'points'\ncost = 1\n[[rule.routes_costing]]\nunits = 101\nroutes = ['/x']", 9, r#"routes_costing.units 101: the rule would admit no request: at most 100 points are admitted per minute"#),
        ("unit = 'points'\ncost = 1\n[[rule.routes_costing]]\nunits = 2\nroutes = ['x']", 10, r#"route "x": a route is a template that begins with /, after the methods unless it is for all of them"#),
        ("unit = 'points'\ncost = 1\n[[rule.routes_costing]]\nunits = 2\nroutes = ['GET /cases']", 10, r#"route "GET /cases": this rule has the route already, as "GET /cases": leave one of them out"#),
        ("unit = 'points'\ncost = 1\n[[rule.routes_costing]]\nunits = 2\nroute = ['/x']", 10, r#"routes_costing.route ['/x']: unknown field: write routes = ['/x']"#),
    ] {
        assert_mistake(&format!("{ROUTES}{fields}"), &format!("line {line}: rule \"api\": {mistake}"));
    }
}
