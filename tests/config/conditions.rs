//! Conditions of rules in a file, and the mistakes in them.

use http::{Request, request::Builder};
use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};

const RULE: &str = "[[rule]]\nname = 'calls'\nkey = 'header:x-account'\nquotas = ['60/minute']\n";

fn governs(text: &str, request: Builder) -> bool {
    let limiter = RateLimiter::from_toml(&format!("{RULE}{text}")).unwrap();
    !limiter.matching(&RequestView::new(&request.body(()).unwrap())).is_empty()
}

#[test]
fn conditions_of_a_file_all_have_to_hold() {
    let text = "paths_under = ['/api', '/v2']\nhosts = ['a.example']\nmethods = ['POST']\n\
                when_header = { x-plan = ['beta', 'pro'], x-region = 'eu' }";
    let request = |method: &str, path: &str, host: &str, plan: &str, region: &str| {
        let request = Request::builder().method(method).uri(path).header("host", host);
        request.header("x-plan", plan).header("x-region", region)
    };
    assert!(governs(text, request("POST", "/api/x", "a.example", "beta", "eu")));
    assert!(governs(text, request("POST", "/v2", "A.example:80", "pro", "eu")));
    assert!(!governs(text, request("GET", "/api/x", "a.example", "beta", "eu")));
    assert!(!governs(text, request("POST", "/x", "a.example", "beta", "eu")));
    assert!(!governs(text, request("POST", "/api/x", "b.example", "beta", "eu")));
    assert!(!governs(text, request("POST", "/api/x", "a.example", "free", "eu")));
    assert!(!governs(text, request("POST", "/api/x", "a.example", "beta", "us")));
}

#[test]
fn conditions_hold_beside_routes_and_with_every_request_and_unmatched_ones() {
    for applies_to in ["routes = ['/api/x']", "applies_to = 'every_request'", "applies_to = 'unmatched_requests'", ""] {
        let text = format!("{applies_to}\nmethods = ['POST']");
        assert!(governs(&text, Request::post("/api/x")), "{applies_to}");
        assert!(!governs(&text, Request::get("/api/x")), "{applies_to}");
    }
    assert!(!governs("routes = ['/api/x']\nmethods = ['POST']", Request::post("/api/y")));
    let groups = "paths_under = ['/api']\n[[rule.group]]\nkey = 'query:a'\nroutes = ['/{x}/y']";
    let text = format!("{}{groups}", RULE.replace("key = 'header:x-account'\n", ""));
    let limiter = RateLimiter::from_toml(&text).unwrap();
    let found = |uri: &str| limiter.matching(&RequestView::new(&Request::get(uri).body(()).unwrap())).len();
    assert_eq!([found("/api/y"), found("/other/y")], [1, 0]);
}

#[test]
fn a_mistake_in_a_condition_is_named_with_its_line() {
    #[rustfmt::skip]
    let mistakes = [
        ("paths_under = [\n'/api',\n'api']", 7, "paths_under", "\"api\"", "write \"/api\""),
        ("paths_under = ['/api/{id}']", 5, "paths_under", "\"/api/{id}\"", "no parameters"),
        ("paths_under = '/api'", 5, "paths_under", "'/api'", "write paths_under = [\"/api\"]"),
        ("under = ['/api']", 5, "under", "['/api']", "write paths_under = "),
        ("hosts = [\n'a.example',\n'*.example']", 7, "hosts", "\"*.example\"", "no wildcards"),
        ("host = 'a.example'", 5, "host", "'a.example'", "write hosts = "),
        ("methods = ['post']", 5, "methods", "\"post\"", "write POST"),
        ("methods = ['ANY']", 5, "methods", "\"ANY\"", "leave it out"),
        ("when_header = { x-plan = 7 }", 5, "when_header", "7", "each value is a string"),
        ("when_header = { x-plan = [] }", 5, "when_header", "[]", "each value is a string"),
        ("when_header = 'x-plan: beta'", 5, "when_header", "'x-plan: beta'", "write when_header = { x-plan = \"beta\" }"),
        ("[rule.when_header]\nx-region = 'eu'\n'x plan' = 'beta'", 7, "when_header", "\"x plan: beta\"", "not the name of a header field"),
        ("when_header = { host = 'a' }", 5, "when_header", "\"host: a\"", "one of the hosts"),
        ("applies_to = 'no_requests'\nmethods = ['GET']", 5, "applies_to", "\"no_requests\"", "has no conditions"),
        ("applies_to = 'routes'\nmethods = ['GET']", 2, "routes", "[]", "governs no request"),
    ];
    for (text, line, field, value, reason) in mistakes {
        let error = RateLimiter::from_toml(&format!("{RULE}{text}")).map(|_| ()).expect_err(text);
        let found = (error.line(), error.rule(), error.field(), error.value());
        assert_eq!(found, (Some(line), Some("calls"), field, value), "{error}");
        assert!(error.reason().contains(reason), "{text}: {error}");
    }
}

#[test]
fn a_mistake_in_code_is_named_with_the_rule() {
    let rule = || Rule::new("calls").key(key::header("x-account")).policy(Policy::per_minute(60));
    let conditional = rule().methods(["GET"]);
    for (rule, field, value) in [
        (rule().paths_under(["api"]), "paths_under", "\"api\""),
        (rule().hosts(["http://a.example"]), "hosts", "\"http://a.example\""),
        (rule().methods(["GTE"]), "methods", "\"GTE\""),
        (rule().when_header("x plan", "beta"), "when_header", "\"x plan: beta\""),
        (conditional.clone().no_requests(), "no_requests", ""),
        (conditional.per_route(), "per_route", "true"),
    ] {
        let error = RateLimiter::builder().rule(rule).build().unwrap_err();
        assert_eq!(
            (error.rule(), error.field(), error.value(), error.line()),
            (Some("calls"), field, value, None),
            "{error}"
        );
    }
}
