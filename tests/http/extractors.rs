//! Who is counted, and by which rules: whatever a client writes, it gets no key and no history for free (P8).

use std::{convert::Infallible, future::ready, sync::Arc};

use http::{HeaderValue, Method, Request, Response, StatusCode, request::Builder};
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{
    ConfigError, Decision, OnMissing, Policy, RateLimitLayer, RateLimiter, Rule,
    http::{DecisionIn, RequestView},
    key::{self, Key, KeyBuilder, KeyExtractor, KeyParts, MissingKey, MultipleValues, RouteParams},
};
use tower_quota_tests::limiter::{frozen, per_minute};

const ID: &str = "x-account";

fn send(layer: &RateLimitLayer, request: Request<()>) -> Response<impl Sized> {
    let service = layer.layer(service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new())))));
    let mut response = std::pin::pin!(service.oneshot(request));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(response) = response.as_mut().poll(&mut cx) else { panic!("not answered at once") };
    response.unwrap()
}

fn status(layer: &RateLimitLayer, request: Request<()>) -> StatusCode {
    send(layer, request).status()
}

fn get(path: &str) -> Request<()> {
    with_method("GET", path)
}

fn with_method(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(path).body(()).unwrap()
}

fn with_headers<'a>(lines: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Request<()> {
    let add = |request: Builder, (name, value): (&str, &[u8])| request.header(name, value);
    lines.into_iter().fold(Request::builder(), add).body(()).unwrap()
}

fn with_id(value: impl AsRef<[u8]>) -> Request<()> {
    with_headers([(ID, value.as_ref())])
}

/// The keys that one extractor reads.
struct Keys(RateLimiter);

impl Keys {
    fn by(extractor: impl KeyExtractor) -> Self {
        Self(frozen([per_minute("calls", 1).every_request().key(extractor).level("level")]))
    }

    /// Of a rule with one route for all methods.
    fn on(route: &str, extractor: impl KeyExtractor) -> Self {
        Self(frozen([per_minute("calls", 1).routes([route]).key(extractor).level("level")]))
    }

    fn of(&self, request: &Request<()>) -> Option<Key> {
        self.0.matching(&RequestView::new(request))[0].key()
    }

    #[track_caller]
    fn assert(&self, request: &Request<()>, parts: impl KeyParts) {
        assert_eq!(self.of(request), Some(self.0.key(parts)), "{request:?}");
    }

    #[track_caller]
    fn assert_missing(&self, request: &Request<()>) {
        assert_eq!(self.of(request), None, "{request:?}");
    }
}

// ---- header ----

#[test]
fn a_header_is_read_byte_for_byte() {
    let keys = Keys::by(key::header(ID));
    for value in ["acme", "ACME", "a b", "a,b", "\u{e9}", "%61", "x".repeat(200).as_str()] {
        keys.assert(&with_id(value), value);
    }
    assert_ne!(keys.of(&with_id("acme")), keys.of(&with_id("ACME")));
}

#[test]
fn the_name_of_a_header_is_not_case_sensitive() {
    Keys::by(key::header("X-Account")).assert(&with_id("acme"), "acme");
}

/// B8, F07.
#[test]
fn bytes_that_are_not_text_are_a_key_of_their_own() {
    let keys = Keys::by(key::header(ID));
    keys.assert(&with_id(b"\xff\xfe"), b"\xff\xfe"[..].to_vec().as_slice());
    assert_ne!(keys.of(&with_id(b"\xff")), keys.of(&with_id(b"\xfe")));
    assert_ne!(keys.of(&with_id(b"\xff")), keys.of(&with_id("\u{fffd}")));
}

/// B8, F07.
#[test]
fn a_value_of_16_kib_is_a_key_like_any_other() {
    let keys = Keys::by(key::header(ID));
    let long = "x".repeat(16 * 1024);
    keys.assert(&with_id(&long), long.as_str());
    assert_ne!(keys.of(&with_id(&long)), keys.of(&with_id(format!("{}y", &long[1..]))));
    assert_ne!(keys.of(&with_id(&long)), keys.of(&with_id(&long[1..])));
    assert!(size_of::<Key>() <= 64);
}

/// F07.
#[test]
fn an_empty_value_is_a_key_and_an_absent_one_is_missing() {
    for several in [MultipleValues::First, MultipleValues::Joined, MultipleValues::MissingKey] {
        let keys = Keys::by(key::header(ID).multiple_values(several));
        keys.assert(&with_id(""), "");
        keys.assert_missing(&get("/"));
        keys.assert_missing(&with_headers([("x-accounts", &b"acme"[..])]));
    }
}

/// B8.
#[test]
fn among_several_values_the_first_counts_or_all_or_none() {
    let twice = with_headers([(ID, &b"a"[..]), ("other", b"x"), (ID, b"b")]);
    Keys::by(key::header(ID)).assert(&twice, "a");
    Keys::by(key::header(ID).multiple_values(MultipleValues::First)).assert(&twice, "a");
    Keys::by(key::header(ID).multiple_values(MultipleValues::Joined)).assert(&twice, ("a", "b"));
    Keys::by(key::header(ID).multiple_values(MultipleValues::MissingKey)).assert_missing(&twice);

    let joined = Keys::by(key::header(ID).multiple_values(MultipleValues::Joined));
    joined.assert(&with_id("a"), "a");
    for other in ["ab", "a,b", "a, b", "a\tb"] {
        assert_ne!(joined.of(&twice), joined.of(&with_id(other)));
    }
    assert_ne!(joined.of(&twice), joined.of(&with_headers([(ID, &b"b"[..]), (ID, b"a")])));
}

// ---- query ----

#[test]
fn a_query_parameter_is_decoded_as_a_form() {
    let keys = Keys::by(key::query("id"));
    for (query, value) in [
        ("id=acme", "acme"),
        ("x=1&id=acme&y=2", "acme"),
        ("id=a%20b", "a b"),
        ("id=a+b", "a b"),
        ("%69d=acme", "acme"),
        ("id=%61%63me", "acme"),
        ("id=a=b", "a=b"),
        ("&&id=acme", "acme"),
        ("id=one&id=two", "two"),
        ("id=", ""),
        ("id", ""),
        ("id=%E2%82%AC", "\u{20ac}"),
        ("id=100%", "100%"),
    ] {
        keys.assert(&get(&format!("/?{query}")), value);
    }
    for target in ["/", "/?", "/?ids=x", "/?ID=x", "/?x=id", "/id=x", "/?x=1;id=acme"] {
        keys.assert_missing(&get(target));
    }
}

// ---- cookie ----

#[test]
fn a_cookie_is_found_in_any_of_the_lines() {
    let keys = Keys::by(key::cookie("id"));
    let cookie = |line: &'static str| with_headers([("cookie", line.as_bytes())]);
    for (line, value) in [
        ("id=acme", "acme"),
        ("a=1; id=acme; b=2", "acme"),
        ("a=1;id=acme", "acme"),
        ("id=\"acme\"", "acme"),
        ("id = acme ", "acme"),
        ("id=one; id=two", "two"),
        ("idx=1; xid=2; id=acme", "acme"),
        ("id=", ""),
        ("id=a=b", "a=b"),
        ("id=\"", "\""),
        ("a=\"; id=acme", "acme"),
    ] {
        keys.assert(&cookie(line), value);
    }
    for line in ["", "id", "ID=acme", "idx=acme", "a=id=acme", "a=1, id=acme"] {
        keys.assert_missing(&cookie(line));
    }
    keys.assert_missing(&get("/"));
    keys.assert(&with_headers([("cookie", &b"a=1"[..]), ("cookie", b"b=2; id=acme")]), "acme");
    keys.assert_missing(&with_headers([("cookie", &b"id=\xff"[..])]));
}

// ---- claim, constant, closure, own extractors ----

#[derive(Clone)]
struct Claims {
    account: String,
    teams: Vec<u8>,
}

fn with_claims(account: &str) -> Request<()> {
    let mut request = get("/");
    request.extensions_mut().insert(Claims { account: account.into(), teams: vec![7] });
    request
}

#[test]
fn a_claim_is_read_from_the_extensions() {
    let keys = Keys::by(key::claim(|claims: &Claims| &claims.account));
    keys.assert(&with_claims("acme"), "acme");
    keys.assert(&with_claims(""), "");
    keys.assert_missing(&with_id("acme"));
    Keys::by(key::claim(|claims: &Claims| claims.teams.as_slice())).assert(&with_claims("acme"), "\u{7}");
}

#[test]
fn a_constant_is_the_same_key_for_everybody() {
    let keys = Keys::by(key::constant("everybody"));
    for request in [get("/"), with_id("acme"), with_claims("acme")] {
        keys.assert(&request, "everybody");
    }
}

#[test]
fn a_closure_reads_what_it_likes() {
    let keys = Keys::by(|request: &RequestView<'_>| request.uri().host().map(str::to_lowercase));
    keys.assert(&get("http://API.example/x"), "api.example");
    keys.assert_missing(&get("/x"));
    let length = |request: &RequestView<'_>| Some(request.method().as_str().len().to_be_bytes());
    Keys::by(length).assert(&get("/"), 3_usize.to_be_bytes().as_slice().to_vec().as_slice());
}

/// Writes parts and then says whether they hold.
struct Written(&'static [&'static str], Result<(), MissingKey>);

impl KeyExtractor for Written {
    fn extract(&self, _: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        self.0.iter().for_each(|part| key.part(part));
        self.1
    }
}

#[test]
fn an_extractor_of_one_s_own_writes_any_number_of_parts() {
    Keys::by(Written(&["a", "b"], Ok(()))).assert(&get("/"), ("a", "b"));
    Keys::by(Written(&["a", "b"], Err(MissingKey))).assert_missing(&get("/"));
    let boxed: Box<dyn KeyExtractor> = Box::new(Written(&["a"], Ok(())));
    Keys::by(boxed).assert(&get("/"), "a");
    let shared: Arc<dyn KeyExtractor> = Arc::new(Written(&["a"], Ok(())));
    Keys::by(shared).assert(&get("/"), "a");
}

#[test]
fn an_extractor_that_writes_nothing_is_not_a_free_pass() {
    let calls = per_minute("calls", 1).every_request().key(Written(&[], Ok(()))).level("nothing");
    let layer = frozen([calls]).layer();
    assert_eq!([get("/"), get("/")].map(|request| status(&layer, request)), [200, 429]);
}

// ---- several parts and several places ----

/// F08.
#[test]
fn the_parts_of_a_tuple_do_not_run_into_each_other() {
    let keys = Keys::by((key::header("a"), key::header("b")));
    let of = |a: &str, b: &str| keys.of(&with_headers([("a", a.as_bytes()), ("b", b.as_bytes())])).unwrap();
    keys.assert(&with_headers([("a", &b"one"[..]), ("b", b"two")]), ("one", "two"));
    let pairs = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"), ("a|b", "c"), ("a", "b|c"), ("{a}", "bc")];
    for (at, (a, b)) in pairs.iter().enumerate() {
        for (other_a, other_b) in &pairs[..at] {
            assert_ne!(of(a, b), of(other_a, other_b));
        }
    }
}

#[test]
fn a_tuple_is_missing_if_one_of_its_parts_is() {
    let keys = Keys::by((key::header("a"), key::constant("constant"), key::header("b")));
    keys.assert(&with_headers([("a", &b"1"[..]), ("b", b"2")]), ("1", "constant", "2"));
    keys.assert_missing(&with_headers([("a", &b"1"[..])]));
    keys.assert_missing(&with_headers([("b", &b"2"[..])]));
}

#[test]
fn tuples_have_up_to_four_parts_and_nest() {
    let text = |text: &'static str| key::constant(text);
    let letters = (text("e"), text("f"), text("g"), text("h"));
    let nested = ((text("a"), text("b")), key::first_of((key::header("none"), text("c"))), text("d"), letters);
    Keys::by(nested).assert(&get("/"), ("a", "b", ("c", "d"), ("e", "f", "g", "h")));
}

#[test]
fn the_first_place_that_has_the_key_counts_and_its_whereabouts_do_not() {
    let places = (key::header(ID), key::query("id"), key::cookie("id"), key::claim(|claims: &Claims| &claims.account));
    let keys = Keys::by(key::first_of(places));
    keys.assert(&with_id("acme"), "acme");
    keys.assert(&get("/?id=acme"), "acme");
    keys.assert(&with_headers([("cookie", &b"id=acme"[..])]), "acme");
    keys.assert(&with_claims("acme"), "acme");
    keys.assert_missing(&get("/"));
    let both = Request::builder().uri("/?id=query").header(ID, "header").body(()).unwrap();
    keys.assert(&both, "header");
    keys.assert(&with_headers([(ID, &b""[..]), ("cookie", b"id=acme")]), "");
}

#[test]
fn an_extractor_that_finds_half_a_key_leaves_nothing_behind() {
    let long = "long".repeat(60);
    let half_then_whole = key::first_of(((key::header("a"), key::header("b")), key::header("c")));
    let keys = Keys::by((key::header("c"), half_then_whole));
    for a in ["", "short", &long] {
        let request = with_headers([("a", a.as_bytes()), ("c", b"c")]);
        keys.assert(&request, ("c", "c"));
    }
    let lists: Vec<Arc<dyn KeyExtractor>> =
        vec![Arc::new(Written(&["x", "y"], Err(MissingKey))), Arc::new(key::header("c"))];
    Keys::by(key::first_of(lists)).assert(&with_headers([("c", &b"c"[..])]), "c");
    Keys::by(key::first_of([key::header("a"), key::header("c")])).assert(&with_headers([("c", &b"c"[..])]), "c");
}

// ---- path ----

/// F10: however it is written, it is one key.
#[test]
fn a_path_parameter_is_percent_decoded() {
    let keys = Keys::on("/bots/{id}/run", key::path("id"));
    for path in ["/bots/abc/run", "/bots/a%62c/run", "/bots/%61%62%63/run", "//bots//abc//run/", "/bots/a%62c/run?x"] {
        keys.assert(&get(path), "abc");
    }
    for (path, value) in [
        ("/bots/ABC/run", "ABC"),
        ("/bots/a%20b/run", "a b"),
        ("/bots/a+b/run", "a+b"),
        ("/bots/%25/run", "%"),
        ("/bots/%2561/run", "%61"),
        ("/bots/100%/run", "100%"),
        ("/bots/%C3%A9/run", "\u{e9}"),
        ("/bots/a%00b/run", "a\0b"),
        ("/bots/{id}/run", "{id}"),
    ] {
        keys.assert(&get(path), value);
    }
    keys.assert(&get("/bots/%FF/run"), b"\xff"[..].to_vec().as_slice());
    assert_ne!(keys.of(&get("/bots/%FF/run")), keys.of(&get("/bots/%FE/run")));
}

#[test]
fn a_path_parameter_is_found_by_its_name() {
    let keys = Keys::on("/{a}/x-{b}/{*rest}", (key::path("rest"), key::path("a"), key::path("b")));
    keys.assert(&get("/one/x-two/three/four"), ("three/four", "one", "two"));
    keys.assert(&get("/one/x-two/three%2Ffour"), ("three/four", "one", "two"));
}

/// Each template of a rule may call it by the same name in another place.
#[test]
fn all_routes_of_a_rule_share_one_history() {
    let calls = per_minute("calls", 2).key(key::path("id")).level("bot");
    let calls = calls.routes(["POST /bots/{id}/run", "GET|PUT /{id}/status", "/legacy/{tenant}/{id}"]);
    let layer = frozen([calls.group(key::header(ID), ["POST /run"])]).layer();
    assert_eq!(status(&layer, with_method("POST", "/bots/b1/run")), 200);
    assert_eq!(status(&layer, with_method("PUT", "/b1/status")), 200);
    for request in [with_method("DELETE", "/legacy/t/b1"), with_method("GET", "/b1/status")] {
        assert_eq!(status(&layer, request), 429);
    }
    let by_header = Request::builder().method("POST").uri("/run").header(ID, "b1").body(()).unwrap();
    assert_eq!(status(&layer, by_header), 429);
    assert_eq!(status(&layer, with_method("POST", "/b2/status")), 200, "no route of this method");
    assert_eq!(status(&layer, with_method("POST", "/bots/b2/run")), 200);
}

#[test]
fn per_route_each_route_has_a_history_of_its_own() {
    let calls = per_minute("calls", 1).key(key::path("id")).level("bot").per_route();
    let layer = frozen([calls.routes(["/a/{id}", "/b/{id}", "/c/{id}"])]).layer();
    for expected in [200, 429] {
        for path in ["/a/1", "/b/1", "/c/1"] {
            assert_eq!(status(&layer, get(path)), expected);
        }
    }
}

// ---- a missing key ----

fn about_accounts(outcome: OnMissing) -> Rule {
    per_minute("accounts", 2).every_request().key(key::header(ID)).level("account").on_missing(outcome)
}

/// F12.
#[test]
fn requests_without_the_key_share_one_history_by_default() {
    let default = per_minute("accounts", 2).every_request().key(key::header(ID)).level("account");
    for rule in [default, about_accounts(OnMissing::Share)] {
        let layer = frozen([rule]).layer();
        let anonymous = || [get("/a"), get("/b"), get("/c")].map(|request| status(&layer, request));
        assert_eq!(anonymous(), [200, 200, 429]);
        assert_eq!(anonymous(), [429, 429, 429]);
        for account in ["", "acme", "shared", "Key(shared)"] {
            let statuses = [(); 3].map(|()| status(&layer, with_id(account)));
            assert_eq!(statuses, [200, 200, 429], "{account:?} is nobody else");
        }
    }
}

#[test]
fn requests_without_the_key_are_rejected_on_demand_and_cost_nobody_anything() {
    let total = || per_minute("total", 1).every_request();
    let reject = about_accounts(OnMissing::Reject(StatusCode::FORBIDDEN));
    for rules in [[total(), reject.clone()], [reject, total()]] {
        let limiter = frozen(rules);
        for _ in 0..5 {
            assert_eq!(status(&limiter.layer(), get("/")), 403);
        }
        assert!(limiter.is_empty());
        assert_eq!(status(&limiter.layer(), with_id("acme")), 200);
        assert_eq!(status(&limiter.layer(), with_id("acme")), 429);
    }
}

#[test]
fn a_rule_may_skip_requests_without_the_key_and_the_other_rules_stay() {
    let limiter_of_both = frozen([about_accounts(OnMissing::Skip), per_minute("total", 3).every_request()]);
    let layer = limiter_of_both.layer().decision(DecisionIn::Both);
    let anonymous = send(&layer, get("/"));
    let decision = anonymous.extensions().get::<Decision>().unwrap();
    assert_eq!(decision.quotas().map(|quota| quota.rule()).collect::<Vec<_>>(), ["total"]);
    assert_eq!([(); 3].map(|()| status(&layer, get("/"))), [200, 200, 429]);

    let layer = frozen([about_accounts(OnMissing::Skip)]).layer();
    for _ in 0..5 {
        let response = send(&layer, get("/"));
        assert_eq!(response.status(), 200);
        assert!(response.headers().is_empty(), "nothing governs it");
    }
    assert_eq!([(); 3].map(|()| status(&layer, with_id("acme"))), [200, 200, 429]);
}

// ---- several rules at once (P3) ----

#[test]
fn a_request_is_charged_to_all_rules_that_govern_it_or_to_none() {
    let rules = || {
        [
            per_minute("bot", 2).routes(["/bots/{id}"]).key(key::path("id")).level("bot"),
            per_minute("account", 3).routes(["GET /bots/{bot}"]).key(key::header(ID)).level("account"),
            per_minute("total", 4).every_request(),
        ]
    };
    let [bot, account, total] = rules();
    for rules in [rules(), [total, account, bot]] {
        let limiter = frozen(rules);
        let (layer, request) = (limiter.layer(), |path: &str| {
            let builder = Request::builder().uri(path).header(ID, "acme");
            builder.body(()).unwrap()
        });
        let left = || {
            ["bot", "account", "total"].map(|rule| {
                let key = match rule {
                    "bot" => "b1",
                    "account" => "acme",
                    _ => "everybody",
                };
                limiter.rule(rule).unwrap().peek(key).quotas().next().unwrap().remaining()
            })
        };
        assert_eq!([(); 2].map(|()| status(&layer, request("/bots/b1"))), [200, 200]);
        assert_eq!(left(), [0, 1, 2]);
        assert_eq!([(); 9].map(|()| status(&layer, request("/bots/b1"))), [429; 9]);
        assert_eq!(left(), [0, 1, 2], "a refusal costs nothing");
        assert_eq!(status(&layer, request("/bots/b2")), 200);
        assert_eq!(status(&layer, request("/bots/b3")), 429, "the account has had its three");
        assert_eq!(left(), [0, 0, 1]);
        assert_eq!(status(&layer, request("/elsewhere")), 200);
        assert_eq!(status(&layer, request("/elsewhere")), 429, "all in all four");
    }
}

#[test]
fn the_most_specific_template_decides() {
    let import = per_minute("import", 1).routes(["/bots/import"]);
    let bots = per_minute("bots", 1).routes(["/bots/{id}"]).key(key::path("id")).level("bot");
    let rest = per_minute("rest", 1).routes(["/{*rest}"]);
    let layer = frozen([rest, bots, import]).layer();
    for path in ["/bots/import", "/bots/important", "/bots/b1/export"] {
        assert_eq!([get(path), get(path)].map(|request| status(&layer, request)), [200, 429], "{path}");
    }
}

// ---- spellings of one path (F10, A6) ----

/// Which a router may take for /login, or for something that is not there.
const SPELLINGS: [&str; 26] = [
    "/login",
    "//login",
    "///login",
    "/login/",
    "/login//",
    "/./login",
    "/login/.",
    "/x/../login",
    "/x/y/../../login",
    "/../login",
    "/login/x/..",
    "/%6cogin",
    "/%6Cogin",
    "/%6c%6f%67%69%6e",
    "/login%2F",
    "/login%2f",
    "/%2Flogin",
    "/%2e/login",
    "/%2E%2E/login",
    "/x/%2e%2e/login",
    "/x%2F..%2Flogin",
    "/x%2f../login",
    "/login?x=1",
    "/login/?/x",
    "http://example.com/login",
    "http://EXAMPLE.com:80//login/",
];

#[test]
fn all_spellings_of_a_path_share_one_history() {
    for spelling in SPELLINGS {
        for paths in [["/login", spelling], [spelling, "/login"]] {
            let layer = frozen([per_minute("login", 1).routes(["POST /login"])]).layer();
            let statuses = paths.map(|path| status(&layer, with_method("POST", path)));
            assert_eq!(statuses, [200, 429], "{paths:?}");
        }
    }
    let layer = frozen([per_minute("login", 1).routes(["POST /login"])]).layer();
    let passed = SPELLINGS.iter().filter(|path| status(&layer, with_method("POST", path)) == 200);
    assert_eq!(passed.count(), 1);
}

#[test]
fn a_template_may_be_spelled_in_any_way_too() {
    for template in ["/login", "/login/", "//login", "/%6cogin", "/log%69n//"] {
        let layer = frozen([per_minute("login", 1).routes([template])]).layer();
        assert_eq!([get("/login"), get("/login/")].map(|request| status(&layer, request)), [200, 429], "{template}");
    }
}

#[test]
fn all_spellings_of_a_path_with_a_parameter_share_one_history() {
    let spellings = [
        "/bots/abc/run",
        "/bots/a%62c/run",
        "//bots/abc/run",
        "/bots/abc//run",
        "/bots/abc/run/",
        "/bots/./abc/run",
        "/bots/x/../abc/run",
        "/bots/abc%2Frun",
        "/bots%2Fabc%2Frun",
        "/%62ots/abc/%72un",
        "/bots/abc/x/%2e%2e/run",
    ];
    let rule = || per_minute("run", 1).routes(["/bots/{id}/run"]).key(key::path("id")).level("bot");
    for spelling in spellings {
        for paths in [["/bots/abc/run", spelling], [spelling, "/bots/abc/run"]] {
            let layer = frozen([rule()]).layer();
            assert_eq!(paths.map(|path| status(&layer, get(path))), [200, 429], "{paths:?}");
        }
    }
}

/// One spelling is charged once, however many readings it has.
#[test]
fn a_path_with_several_readings_is_charged_once_per_history() {
    let login = per_minute("login", 3).routes(["/login", "/login/{*rest}", "/{any}/login"]);
    let layer = frozen([login]).layer();
    for path in ["/x/../login", "/login%2F", "/x%2F..%2Flogin"] {
        assert_eq!(status(&layer, get(path)), 200, "{path}");
    }
    assert_eq!(status(&layer, get("/login")), 429);
}

/// What another route's reading adds must not take the default rule away: the server behind may read `/heavy`.
#[test]
fn a_detour_through_a_generous_route_does_not_escape_the_rule_for_unmatched_requests() {
    let detours =
        ["/free/../heavy", "/free/x/../../heavy", "/free/..%2Fheavy", "/free%2F..%2Fheavy", "/free/%2e%2e/heavy"];
    for detour in detours {
        let free = per_minute("free", 1_000).routes(["/free/{*rest}"]);
        let layer = frozen([free, per_minute("default", 1).unmatched_requests()]).layer();
        let statuses = ["/heavy", detour].map(|path| status(&layer, get(path)));
        assert_eq!(statuses, [200, 429], "{detour}");
    }
}

// ---- methods (F10, A6) ----

#[test]
fn head_counts_as_get() {
    for methods in [["GET", "HEAD"], ["HEAD", "GET"], ["HEAD", "HEAD"]] {
        let layer = frozen([per_minute("read", 1).routes(["GET /x"])]).layer();
        assert_eq!(methods.map(|method| status(&layer, with_method(method, "/x"))), [200, 429], "{methods:?}");
    }
}

#[test]
fn the_case_of_a_method_is_no_way_out() {
    for (route, methods) in [
        ("POST /x", ["POST", "post", "Post", "pOST"]),
        ("GET /x", ["GET", "get", "Get", "gET"]),
        ("GET /x", ["HEAD", "head", "Head", "hEAD"]),
        ("PURGE /x", ["PURGE", "purge", "Purge", "pURGE"]),
    ] {
        let layer = frozen([per_minute("calls", 1).routes([route])]).layer();
        let statuses = methods.map(|method| status(&layer, with_method(method, "/x")));
        assert_eq!(statuses, [200, 429, 429, 429], "{methods:?}");
    }
}

#[test]
fn a_method_override_is_no_free_bucket() {
    let overridden = |method: &str, name: &str, value: &str| {
        Request::builder().method(method).uri("/x").header(name, value).body(()).unwrap()
    };
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        for to in ["GET", "DELETE", "PATCH", "nonsense"] {
            let layer = frozen([per_minute("write", 1).routes(["POST /x"])]).layer();
            assert_eq!(status(&layer, with_method("POST", "/x")), 200);
            assert_eq!(status(&layer, overridden("POST", name, to)), 429, "{name}: {to}");
        }
        // A server that obeys the field wants its routes limited for any method.
        let layer = frozen([per_minute("all", 1).routes(["/x"])]).layer();
        assert_eq!(status(&layer, with_method("POST", "/x")), 200);
        assert_eq!(status(&layer, overridden("GET", name, "POST")), 429);
    }
}

#[test]
fn a_route_for_any_method_is_for_those_as_well_that_other_routes_name() {
    let layer =
        frozen([per_minute("any", 2).routes(["/x"]), per_minute("get", 9).routes(["GET /x", "PUT /y"])]).layer();
    let statuses = ["GET", "BREW", "PUT", "POST"].map(|method| status(&layer, with_method(method, "/x")));
    assert_eq!(statuses, [200, 200, 429, 429]);
}

// ---- requests that match nothing (A12) ----

#[test]
fn requests_that_match_no_route_pass_unless_a_rule_is_for_them() {
    let login = || per_minute("login", 1).routes(["POST /login"]);
    let layer = frozen([login()]).layer();
    for _ in 0..10 {
        assert_eq!(status(&layer, get("/login")), 200);
        assert!(send(&layer, get("/elsewhere")).headers().is_empty());
    }
    let layer = frozen([login(), per_minute("default", 2).unmatched_requests()]).layer();
    assert_eq!([get("/a"), get("/login"), get("/b")].map(|request| status(&layer, request)), [200, 200, 429]);
    assert_eq!(status(&layer, with_method("POST", "/login")), 200, "it has a rule of its own");
    assert_eq!(status(&layer, with_method("POST", "/login")), 429);
}

#[test]
fn floods_of_404_unknown_methods_and_options_are_counted() {
    let (mut routed, mut default) =
        (per_minute("routed", 9).routes(["/known"]), per_minute("default", 3).unmatched_requests());
    (routed, default) = (routed.key(key::constant("all")), default.key(key::constant("all")));
    let layers = [
        RateLimitLayer::new(key::constant("everybody"), Policy::per_minute(3)).unwrap(),
        frozen([per_minute("total", 3).every_request()]).layer(),
        frozen([routed, default]).layer(),
    ];
    for layer in layers {
        let flood = (0..100).map(|number| match number % 4 {
            0 => get(&format!("/not-there-{number}")),
            1 => with_method(&format!("M{number}"), "/x"),
            2 => with_method("OPTIONS", &format!("/{number}")),
            _ => with_method("OPTIONS", "*"),
        });
        assert_eq!(flood.filter(|request| status(&layer, request.clone()) == 200).count(), 3);
    }
}

#[test]
fn a_rule_for_every_request_goes_with_those_of_the_routes() {
    let layer = frozen([per_minute("routed", 1).routes(["/x"]), per_minute("total", 3).every_request()]).layer();
    let statuses = ["/x", "/x", "/y", "/z", "/y"].map(|path| status(&layer, get(path)));
    assert_eq!(statuses, [200, 429, 200, 200, 429]);
}

#[test]
fn targets_without_an_ordinary_path_are_governed_and_do_no_harm() {
    let connect = Request::builder().method(Method::CONNECT).uri("example.com:443").body(()).unwrap();
    let deep = get(&"/..".repeat(5_000));
    let wide = get(&"/%2F%2e%2e".repeat(5_000));
    for request in [connect, with_method("OPTIONS", "*"), deep, wide, get("/"), get("http://example.com")] {
        let rules = [
            per_minute("root", 9).routes(["/"]),
            per_minute("any", 9).routes(["/{*rest}"]),
            per_minute("all", 1).every_request(),
        ];
        let layer = frozen(rules).layer();
        assert_eq!([request.clone(), request.clone()].map(|request| status(&layer, request)), [200, 429]);
    }
}

#[test]
fn a_request_view_shows_all_but_the_body() {
    fn inspect(request: &RequestView<'_>) -> Option<&'static str> {
        assert_eq!(request.method(), Method::PUT);
        assert_eq!(request.uri().query(), Some("q"));
        assert_eq!(request.headers().get(ID), Some(&HeaderValue::from_static("acme")));
        assert!(request.extensions().get::<Claims>().is_some());
        assert_eq!(request.param("id").as_deref(), Some(&b"abc"[..]));
        assert_eq!(request.param("other"), None);
        assert_eq!(request.peer(), None);
        Some("seen")
    }
    let keys = Keys::on("/bots/{id}", inspect);
    let mut request = with_claims("acme");
    (*request.method_mut(), *request.uri_mut()) = (Method::PUT, "/bots/a%62c?q".parse().unwrap());
    request.headers_mut().insert(ID, HeaderValue::from_static("acme"));
    keys.assert(&request, "seen");
}

/// An extractor may refuse to be used, when the limiter is built.
#[test]
fn an_extractor_of_one_s_own_may_check_itself() {
    struct Picky;

    impl KeyExtractor for Picky {
        fn extract(&self, _: &RequestView<'_>, _: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
            Err(MissingKey)
        }

        fn validate_on(&self, params: Option<RouteParams<'_>>) -> Result<(), ConfigError> {
            let found = format!("{:?}", params.map(|params| params.iter().collect::<Vec<_>>()));
            Err(ConfigError::new("key", found, "never good enough"))
        }
    }

    let build = |rule: Rule| RateLimiter::builder().rule(rule).build().unwrap_err();
    let error = build(per_minute("calls", 1).routes(["/a/{x}/{*y}"]).key(Picky).level("picky"));
    assert_eq!((error.rule(), error.field(), error.value()), (Some("calls"), "key", r#"Some(["x", "y"])"#));
    let error = build(per_minute("calls", 1).every_request().key((key::constant("a"), Picky)).level("picky"));
    assert_eq!(error.value(), "None");
}
