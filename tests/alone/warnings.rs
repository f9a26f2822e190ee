//! Mistakes in the deployment that only requests can show: each is a warning, once, that names the rule and nobody's key.

use std::{convert::Infallible, future::ready, net::SocketAddr};

use http::{Method, Request, Response, StatusCode};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_quota::{
    OnMissing, Policy, RateLimitLayer, RateLimiter, Rule,
    clock::ManualClock,
    http::{PeerAddr, RequestView},
    key::{self, KeyExtractor},
};
use tower_quota_tests::{limiter::frozen, log_lines::LogLines};
use tracing::{Level, subscriber::DefaultGuard};

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(LogLines);

impl Log {
    fn listen() -> (Self, DefaultGuard) {
        let log = Self::default();
        let listening = log.0.listen(Level::INFO);
        (log, listening)
    }

    /// The warnings since the last time.
    fn lines(&self) -> Vec<String> {
        self.0.take().into_iter().filter(|line| line.contains("WARN")).collect()
    }

    /// The one warning since the last time, which names the rule `calls` and its level.
    fn one(&self, code: &str) -> String {
        let lines = self.lines();
        let [line] = &lines[..] else { panic!("expected one {code}, not {lines:#?}") };
        assert!(line.contains(code), "{line}");
        assert!(line.contains("WARN tower_quota: rule \"calls\", level \"caller\": "), "{line}");
        line.clone()
    }

    fn assert_silent(&self) {
        assert_eq!(self.lines(), Vec::<String>::new());
    }
}

#[derive(Clone)]
struct Claims(&'static str);

fn claims() -> impl KeyExtractor {
    key::claim(|claims: &Claims| claims.0)
}

fn rule(extractor: impl KeyExtractor) -> Rule {
    Rule::new("calls").every_request().key(extractor).level("caller").policy(Policy::per_minute(1_000_000))
}

/// Sends a request `times` times through a layer, and says how the last one was answered.
async fn send(layer: &RateLimitLayer, times: usize, request: &Request<()>) -> StatusCode {
    let mut service = layer.layer(service_fn(|_| ready(Ok::<_, Infallible>(Response::new(String::new())))));
    let mut status = StatusCode::OK;
    for _ in 0..times {
        status = service.ready().await.unwrap().call(request.clone()).await.unwrap().status();
    }
    status
}

fn nothing() -> Request<()> {
    Request::get("/calls/secret").body(()).unwrap()
}

fn with_header() -> Request<()> {
    Request::get("/calls/secret").header("x-account", "secret").body(()).unwrap()
}

fn with_peer() -> Request<()> {
    Request::get("/calls/secret").extension(PeerAddr(SocketAddr::from(([192, 0, 2, 1], 443)))).body(()).unwrap()
}

fn with_claims() -> Request<()> {
    Request::get("/calls/secret").extension(Claims("secret")).body(()).unwrap()
}

// ---- no peer address ----

#[tokio::test]
async fn a_missing_peer_address_is_a_warning_at_the_first_request_and_once() {
    let (log, _listening) = Log::listen();
    let limiter = frozen([rule(key::peer_ip())]);
    send(&limiter.layer(), 1, &nothing()).await;
    assert!(log.one("peer-missing").contains("into_make_service_with_connect_info"));
    send(&limiter.layer(), 500, &nothing()).await;
    log.assert_silent();
}

#[tokio::test]
async fn every_limiter_and_every_rule_warns_for_itself() {
    let (log, _listening) = Log::listen();
    let others = || rule(key::peer_ip());
    let two = frozen([
        rule(key::peer_ip()),
        Rule::new("more").every_request().key(key::client_ip()).level("ip").policy(Policy::per_day(9)),
    ]);
    send(&two.layer(), 3, &nothing()).await;
    let lines = log.lines();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("\"calls\"") && lines[1].contains("rule \"more\", level \"ip\""), "{lines:?}");
    send(&frozen([others()]).layer(), 3, &nothing()).await;
    log.one("peer-missing");
}

#[tokio::test]
async fn a_peer_address_that_is_there_or_not_wanted_is_no_warning() {
    let (log, _listening) = Log::listen();
    send(&frozen([rule(key::peer_ip())]).layer(), 2000, &with_peer()).await;
    let header_first = key::first_of((key::header("x-account"), key::peer_ip()));
    send(&frozen([rule(header_first)]).layer(), 2000, &with_header()).await;
    send(&frozen([rule(key::header("x-account"))]).layer(), 2000, &with_header()).await;
    log.assert_silent();
}

#[tokio::test]
async fn an_untrusted_proxy_is_a_warning_that_names_the_rule() {
    let (log, _listening) = Log::listen();
    let through = |header: &str| {
        let proxy = PeerAddr(SocketAddr::from(([10, 0, 0, 1], 443)));
        Request::get("/").header(header, "198.51.100.7").extension(proxy).body(()).unwrap()
    };
    send(&frozen([rule(key::client_ip().trust(["10.0.0.0/8"]))]).layer(), 3, &through("x-forwarded-for")).await;
    log.assert_silent();
    let layer = frozen([rule(key::client_ip())]).layer();
    // However late it comes.
    send(&layer, 3000, &through("accept")).await;
    log.assert_silent();
    send(&layer, 3, &through("x-forwarded-for")).await;
    log.one("proxy-untrusted");
}

// ---- claims ----

#[tokio::test]
async fn a_claim_that_is_in_no_request_is_a_warning() {
    for outcome in [OnMissing::Share, OnMissing::Skip, OnMissing::Reject(StatusCode::UNAUTHORIZED)] {
        let (log, _listening) = Log::listen();
        let layer = frozen([rule(claims()).on_missing(outcome)]).layer();
        send(&layer, 99, &nothing()).await;
        log.assert_silent();
        send(&layer, 1, &nothing()).await;
        let line = log.one("claim-missing");
        assert!(line.contains("`warnings::Claims`") && line.contains("outside of the limiter"), "{line}");
        send(&layer, 500, &nothing()).await;
        log.assert_silent();
    }
}

/// The address stands in for it, so nobody misses a key; and yet no account is limited.
#[tokio::test]
async fn a_claim_with_an_alternative_is_missed_as_well() {
    let (log, _listening) = Log::listen();
    let layer = frozen([rule(key::first_of((claims(), key::peer_ip())))]).layer();
    send(&layer, 300, &with_peer()).await;
    log.one("claim-missing");

    let layer = frozen([rule(key::first_of((claims(), key::peer_ip())))]).layer();
    send(&layer, 300, &nothing()).await;
    let lines = log.lines();
    assert!(lines.len() == 2 && lines[0].contains("peer-missing") && lines[1].contains("claim-missing"), "{lines:?}");
}

#[tokio::test]
async fn a_claim_that_some_requests_carry_is_no_warning() {
    let (log, _listening) = Log::listen();
    let layer = frozen([rule(claims()).on_missing(OnMissing::Skip)]).layer();
    send(&layer, 60, &nothing()).await;
    send(&layer, 1, &with_claims()).await;
    send(&layer, 3000, &nothing()).await;
    log.assert_silent();
    let other = key::claim(|name: &String| name);
    let layer = frozen([rule(key::first_of((other, claims())))]).layer();
    for _ in 0..1000 {
        send(&layer, 1, &with_claims()).await;
        let request = Request::get("/").extension("secret".to_owned()).body(()).unwrap();
        send(&layer, 1, &request).await;
    }
    log.assert_silent();
}

// ---- keys ----

#[tokio::test]
async fn a_key_that_many_requests_do_not_carry_is_a_warning() {
    let (log, _listening) = Log::listen();
    let layer = frozen([rule(key::header("x-acount"))]).layer();
    send(&layer, 999, &with_header()).await;
    log.assert_silent();
    send(&layer, 1, &with_header()).await;
    assert!(log.one("key-missing").contains("1000 of the first 1000 requests"));
    send(&layer, 3000, &with_header()).await;
    log.assert_silent();

    let layer = frozen([rule(key::header("x-account"))]).layer();
    send(&layer, 101, &nothing()).await;
    send(&layer, 899, &with_header()).await;
    assert!(log.one("key-missing").contains("101 of the first 1000 requests"));
}

#[tokio::test]
async fn a_key_that_few_requests_do_not_carry_is_no_warning() {
    let (log, _listening) = Log::listen();
    let layer = frozen([rule(key::header("x-account"))]).layer();
    send(&layer, 100, &nothing()).await;
    send(&layer, 900, &with_header()).await;
    send(&layer, 3000, &nothing()).await;
    // One may be there for few on purpose where the others are let through or turned away.
    for outcome in [OnMissing::Skip, OnMissing::Reject(StatusCode::UNAUTHORIZED)] {
        let layer = frozen([rule(key::header("x-account")).on_missing(outcome)]).layer();
        send(&layer, 900, &nothing()).await;
        send(&layer, 1, &with_header()).await;
        send(&layer, 2000, &nothing()).await;
    }
    log.assert_silent();
    for outcome in [OnMissing::Skip, OnMissing::Reject(StatusCode::UNAUTHORIZED)] {
        let layer = frozen([rule(key::header("x-account")).on_missing(outcome)]).layer();
        send(&layer, 1000, &nothing()).await;
        log.one("key-missing");
    }
}

/// A claim of one's own making, read by a closure, is found out the same way.
#[tokio::test]
async fn a_closure_that_finds_nothing_is_a_warning() {
    let (log, _listening) = Log::listen();
    let account = |request: &RequestView<'_>| request.extensions().get::<Claims>().map(|claims| claims.0);
    send(&frozen([rule(account)]).layer(), 1000, &nothing()).await;
    log.one("key-missing");
    send(&frozen([rule(account)]).layer(), 1000, &with_claims()).await;
    log.assert_silent();
}

// ---- rules ----

#[tokio::test]
async fn a_rule_that_governs_nothing_is_a_warning() {
    let (log, _listening) = Log::listen();
    let on = |route: &str| {
        let rule = Rule::new("calls").routes([route.to_owned()]).key(tower_quota::key::constant("all")).level("caller");
        frozen([rule.policy(Policy::per_minute(1_000_000))]).layer()
    };
    let layer = on("GET /api/calls/{id}");
    send(&layer, 9999, &nothing()).await;
    log.assert_silent();
    send(&layer, 1, &nothing()).await;
    assert!(log.one("rule-idle").contains("none of the first 10000 requests"));
    send(&layer, 12_000, &nothing()).await;
    log.assert_silent();

    let layer = on("GET /calls/{id}");
    send(&layer, 9998, &Request::get("/other").body(()).unwrap()).await;
    send(&layer, 1, &nothing()).await;
    send(&layer, 12_000, &Request::get("/other").body(()).unwrap()).await;
    log.assert_silent();
}

#[tokio::test]
async fn a_rule_for_what_matches_no_route_may_be_idle() {
    let (log, _listening) = Log::listen();
    let routed = Rule::new("routed")
        .routes(["/calls/{id}"])
        .key(tower_quota::key::constant("all"))
        .level("caller")
        .policy(Policy::per_minute(1_000_000));
    let unmatched = Rule::new("calls")
        .unmatched_requests()
        .key(tower_quota::key::constant("all"))
        .level("caller")
        .policy(Policy::per_minute(1));
    send(&frozen([routed, unmatched]).layer(), 12_000, &nothing()).await;
    log.assert_silent();
}

#[tokio::test]
async fn a_condition_that_holds_for_nothing_is_a_warning() {
    let (log, _listening) = Log::listen();
    let rule = |condition: fn(&u32) -> bool| {
        let rule = Rule::new("calls")
            .when(condition)
            .key(tower_quota::key::constant("all"))
            .level("caller")
            .policy(Policy::per_minute(1_000_000));
        let limiter = RateLimiter::builder_for::<u32>().rule(rule).clock(ManualClock::new()).build().unwrap();
        limiter.layer(|_: u32, refusal| Err(refusal)).layer(service_fn(|number: u32| ready(Ok(number))))
    };
    for (condition, is_idle) in
        [((|number| *number > 100_000) as fn(&u32) -> bool, true), (|number| *number == 7, false)]
    {
        let mut service = rule(condition);
        for number in 0..10_000 {
            service.ready().await.unwrap().call(number).await.unwrap();
        }
        if is_idle { drop(log.one("rule-idle")) } else { log.assert_silent() }
    }
}

// ---- preflights ----

fn options(fields: &[&str]) -> Request<()> {
    let request = Request::builder().method(Method::OPTIONS).uri("/calls/secret");
    fields.iter().fold(request, |request, field| request.header(*field, "https://example.com")).body(()).unwrap()
}

#[tokio::test]
async fn a_refused_preflight_is_a_warning() {
    let (log, _listening) = Log::listen();
    let preflight = options(&["origin", "access-control-request-method"]);
    let layer = frozen([rule(key::constant("all")).policy(Policy::per_minute(1))]).layer();
    assert_eq!(send(&layer, 1, &preflight).await, 200);
    log.assert_silent();
    assert_eq!(send(&layer, 3, &preflight).await, 429);
    assert!(log.one("preflight-refused").contains("limit_preflights(false)"));

    let insisting = rule(key::header("x-account")).on_missing(OnMissing::Reject(StatusCode::UNAUTHORIZED));
    assert_eq!(send(&frozen([insisting]).layer(), 3, &preflight).await, 401);
    log.one("preflight-refused");
}

#[tokio::test]
async fn requests_that_are_no_preflight_or_pass_are_no_warning() {
    let (log, _listening) = Log::listen();
    let layer = frozen([rule(key::constant("all")).policy(Policy::per_minute(1))]).layer();
    for fields in [&[][..], &["origin"], &["access-control-request-method"]] {
        assert_eq!(send(&layer, 3, &options(fields)).await, 429);
    }
    let layer = layer.limit_preflights(false);
    assert_eq!(send(&layer, 3, &options(&["origin", "access-control-request-method"])).await, 200);
    log.assert_silent();
}

// ---- and none at all ----

/// Whatever else happens, from many threads at once.
#[test]
fn a_warning_is_given_once_by_any_number_of_threads() {
    let log = Log::default();
    let limiter = frozen([rule(key::peer_ip())]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let (_listening, view) = (log.0.listen(Level::INFO), nothing());
                futures_util::FutureExt::now_or_never(send(&limiter.layer(), 400, &view)).unwrap();
            });
        }
    });
    let lines = log.lines();
    let count = |code: &str| lines.iter().filter(|line| line.contains(code)).count();
    assert_eq!((count("peer-missing"), count("key-missing"), lines.len()), (1, 1, 2), "{lines:#?}");
}

#[test]
fn a_request_that_names_an_unknown_tier_is_warned_about_once_and_held_to_the_rules_own_policy() {
    let (log, _guard) = Log::listen();
    let tiered = rule(key::constant("secret")).tier("pro", Policy::per_minute(9)).tier_from(key::header("x-tier"));
    let limiter = frozen([tiered]);
    let tier = |name: Option<&str>| {
        let mut request = Request::get("/");
        if let Some(name) = name {
            request = request.header("x-tier", name);
        }
        let matching = limiter.matching(&RequestView::new(&request.body(()).unwrap()));
        matching[0].tier().map(ToOwned::to_owned)
    };
    assert_eq!((tier(Some("pro")).as_deref(), tier(None)), (Some("pro"), None));
    log.assert_silent();
    assert_eq!(tier(Some("secret")), None);
    let lines = log.lines();
    assert!(lines.len() == 1 && lines[0].contains("rule \"calls\"") && lines[0].contains("a tier"), "{lines:#?}");
    assert_eq!((tier(Some("secret")), tier(Some("gold"))), (None, None));
    log.assert_silent();
}
