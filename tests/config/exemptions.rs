//! Exemptions in code and in a file: what they mean, and the mistakes in them.

use http::Request;
use tower_quota::{
    ConfigError, Policy, RateLimiter, Rule, exempt,
    http::{PeerAddr, RequestView},
    key,
};

const RULE: &str =
    "[[rule]]\nname = 'calls'\nkey = 'header:x-account'\nquotas = ['60/minute']\napplies_to = 'every_request'\n";

fn rule() -> Rule {
    Rule::new("calls").every_request().key(key::header("x-account")).policy(Policy::per_minute(60))
}

fn is_exempt(limiter: &RateLimiter, peer: &str, request: http::request::Builder) -> bool {
    let request = request.extension(PeerAddr(format!("{peer}:4711").parse().unwrap())).body(()).unwrap();
    limiter.matching(&RequestView::new(&request)).is_empty()
}

#[test]
fn exemptions_of_a_file_are_those_of_the_code() {
    let list = "exempt = ['GET /healthz', '/static/{*file}', '192.0.2.0/24', 'preflights', 'grpc-health']\n";
    let client_ip = "[client_ip]\ntrust = ['10.0.0.1']\n";
    for text in [format!("{list}{client_ip}{RULE}"), format!("{client_ip}{RULE}{list}")] {
        let limiter = RateLimiter::from_toml(&text).unwrap();
        let of = |peer: &str, request| is_exempt(&limiter, peer, request);
        assert!(of("198.51.100.7", Request::get("/healthz")));
        assert!(of("198.51.100.7", Request::put("/static/a")));
        assert!(of("198.51.100.7", Request::post("/grpc.health.v1.Health/Check")));
        assert!(of("192.0.2.7", Request::get("/")));
        assert!(of("10.0.0.1", Request::get("/").header("x-forwarded-for", "192.0.2.7")));
        let preflight = Request::options("/").header("origin", "x").header("access-control-request-method", "GET");
        assert!(of("198.51.100.7", preflight));
        for request in
            [Request::get("/"), Request::post("/healthz"), Request::get("/").header("x-forwarded-for", "192.0.2.7")]
        {
            assert!(!of("198.51.100.7", request));
        }
    }
}

#[test]
fn an_exemption_of_one_rule_of_a_file_leaves_the_others() {
    let second = RULE.replace("'calls'", "'others'");
    let limiter = RateLimiter::from_toml(&format!("{RULE}exempt = ['/healthz']\n{second}")).unwrap();
    let request = Request::get("/healthz").body(()).unwrap();
    let found = limiter.matching(&RequestView::new(&request));
    assert_eq!(found.iter().map(tower_quota::MatchedRule::rule).collect::<Vec<_>>(), ["others"]);
}

#[test]
fn readings_of_one_path_may_be_exempt_by_two_routes_of_a_file() {
    let limiter = RateLimiter::from_toml(&format!("exempt = ['/health', '/health/']\n{RULE}")).unwrap();
    assert!(is_exempt(&limiter, "192.0.2.1", Request::get("/health/")));
}

#[test]
fn no_exemptions_are_none() {
    let limiter = RateLimiter::from_toml(&format!("exempt = []\n{RULE}")).unwrap();
    assert!(!is_exempt(&limiter, "192.0.2.1", Request::get("/healthz")));
}

#[track_caller]
fn assert_mistake(text: &str, line: usize, rule: Option<&str>, value: &str, reason: &str) {
    let error = RateLimiter::from_toml(text).unwrap_err();
    assert_eq!(
        (error.line(), error.rule(), error.field(), error.value()),
        (Some(line), rule, "exempt", value),
        "{error}"
    );
    assert!(error.reason().contains(reason), "{error}");
}

#[test]
fn a_mistake_in_a_file_is_named_with_its_line() {
    #[rustfmt::skip]
    let mistakes = [
        ("'GET healthz'", "\"GET healthz\"", "begins with /"),
        ("'get /healthz'", "\"get /healthz\"", "capital letters"),
        ("'/users/:id'", "\"/users/:id\"", "write {id}"),
        ("'GET /health/'", "\"GET /health/\"", "may read /health/ as /health"),
        ("'10.0.0.0/33'", "\"10.0.0.0/33\"", "not a network"),
        ("'10.0.0.1/8'", "\"10.0.0.1/8\"", "bits are set behind the prefix"),
        ("'0.0.0.0/0'", "\"0.0.0.0/0\"", "exempts every client"),
        ("'10.0.0.0/8'", "\"10.0.0.0/8\"", "all of it is trusted as proxies"),
        ("'preflight'", "\"preflight\"", "write \"preflights\""),
        ("'grpc_health'", "\"grpc_health\"", "write \"grpc-health\""),
        ("'internal'", "\"internal\"", "neither a route"),
        ("7", "7", "each element is a string"),
    ];
    for (text, value, reason) in mistakes {
        let list = format!("exempt = [\n'/ok',\n{text}]\n");
        let client_ip = "[client_ip]\ntrust = ['10.0.0.0/8']\n";
        assert_mistake(&format!("{list}{client_ip}{RULE}"), 3, None, value, reason);
        assert_mistake(&format!("{RULE}{list}{client_ip}"), 8, Some("calls"), value, reason);
    }
    assert_mistake(
        &format!("exempt = 'GET /healthz'\n{RULE}"),
        1,
        None,
        "'GET /healthz'",
        "write exempt = [\"GET /healthz\"]",
    );
}

#[test]
fn a_network_needs_the_table_that_names_the_proxies() {
    let reason = "needs the table [client_ip]";
    assert_mistake(&format!("exempt = [\n'/ok',\n'10.0.0.0/8']\n{RULE}"), 3, None, "\"10.0.0.0/8\"", reason);
    assert_mistake(&format!("{RULE}exempt = ['10.0.0.0/8']"), 6, Some("calls"), "\"10.0.0.0/8\"", reason);
}

#[test]
fn a_rule_for_no_requests_exempts_none() {
    let text = RULE.replace("every_request", "no_requests") + "exempt = ['/healthz']";
    let error = RateLimiter::from_toml(&text).unwrap_err();
    assert_eq!((error.line(), error.field(), error.value()), (Some(5), "applies_to", "\"no_requests\""), "{error}");
    let error = RateLimiter::builder().rule(rule().no_requests().exempt(exempt::preflights())).build().unwrap_err();
    assert_eq!((error.rule(), error.field()), (Some("calls"), "no_requests"));
}

#[test]
fn a_mistake_in_code_is_named_with_the_rule_if_there_is_one() {
    let assert_exempt = |error: ConfigError, rule: Option<&str>, value: &str| {
        assert_eq!(
            (error.rule(), error.field(), error.value(), error.line()),
            (rule, "exempt", value, None),
            "{error}"
        );
    };
    let of_rule = |exemption| RateLimiter::builder().rule(rule().exempt(exemption)).build().unwrap_err();
    let of_limiter = |exemption| RateLimiter::builder().exempt(exemption).rule(rule()).build().unwrap_err();
    assert_exempt(of_rule(exempt::routes(["GET healthz"])), Some("calls"), "\"GET healthz\"");
    assert_exempt(of_limiter(exempt::routes(["GET healthz"])), None, "\"GET healthz\"");
    assert_exempt(of_rule(exempt::networks(key::peer_ip(), ["10/8"])), Some("calls"), "\"10/8\"");
    assert_exempt(of_limiter(exempt::networks(key::peer_ip(), ["10/8"])), None, "\"10/8\"");
    let error = of_rule(exempt::networks(key::client_ip().trust(["10/8"]), ["192.0.2.0/24"]));
    assert_eq!((error.rule(), error.field()), (Some("calls"), "client_ip.trust"));
}
