//! Who is exempt, and who is not: an exemption holds in every reading of a request, at every place of a layer.

use std::{
    convert::Infallible,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Extension, Router, body::Body, extract::Request, middleware, response::Response, routing::any};
use futures_util::FutureExt;
use http::{Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use proptest::{prelude::*, sample::select};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_quota::{
    Decision, OnMissing, Policy, RateLimiter, RateLimiterBuilder, Rule,
    clock::ManualClock,
    exempt,
    http::{DecisionIn, RequestView},
    key,
    plain::Plain,
};
use tower_quota_tests::{
    limiter::{per_minute, with_rules},
    panics::caught,
};

/// A rule of one request a minute for everybody, whatever the path.
fn strict() -> Rule {
    per_minute("strict", 1).every_request()
}

/// A limiter with the strict rule, whose clock stands still.
fn limiter(configure: impl FnOnce(RateLimiterBuilder) -> RateLimiterBuilder) -> RateLimiter {
    configure(RateLimiter::builder().clock(ManualClock::new()).rule(strict())).build().unwrap()
}

fn exempting(routes: &[&str]) -> RateLimiter {
    limiter(|builder| builder.exempt(exempt::routes(routes.iter().copied())))
}

fn request(method: &str, target: &str) -> Request {
    Request::builder().method(method).uri(target).body(Body::empty()).unwrap()
}

async fn answer<S>(app: &S, request: Request) -> Response
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    app.clone().oneshot(request).await.unwrap()
}

/// Whether three requests are served, though one a minute is admitted.
async fn is_exempt<S>(app: &S, method: &str, target: &str) -> bool
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    let mut served = 0;
    for _ in 0..3 {
        let status = answer(app, request(method, target)).await.status();
        assert!([StatusCode::OK, StatusCode::TOO_MANY_REQUESTS].contains(&status), "{target}: {status}");
        served += usize::from(status == StatusCode::OK);
    }
    served == 3
}

/// A router that rewrites paths before `inner` has them.
fn rewriting<S>(rewrite: fn(&str) -> String, inner: S) -> Router
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    Router::new().fallback_service(service_fn(move |mut request: Request| {
        *request.uri_mut() = rewrite(request.uri().path()).parse().unwrap();
        inner.clone().oneshot(request)
    }))
}

// ---- what an exempt request is spared ----

#[tokio::test]
async fn an_exempt_request_is_charged_nothing_and_has_no_decision() {
    let limiter = exempting(&["GET /healthz"]);
    let saw_decision =
        |decision: Option<Extension<Decision>>| async move { if decision.is_some() { "yes" } else { "no" } };
    let app = Router::new().fallback(any(saw_decision)).layer(limiter.layer().decision(DecisionIn::Both));
    for _ in 0..3 {
        let answer = answer(&app, request("GET", "/healthz")).await;
        assert_eq!(answer.status(), 200);
        assert!(!answer.headers().contains_key("ratelimit"));
        assert!(answer.extensions().get::<Decision>().is_none());
        assert_eq!(axum::body::to_bytes(answer.into_body(), 9).await.unwrap(), "no");
    }
    assert!(limiter.is_empty());
    assert!(limiter.matching(&RequestView::new(&request("GET", "/healthz"))).is_empty());
    assert_eq!(limiter.matching(&RequestView::new(&request("GET", "/other"))).len(), 1);
    assert!(answer(&app, request("GET", "/other")).await.headers().contains_key("ratelimit"));
}

#[tokio::test]
async fn an_exempt_request_needs_no_key() {
    let insisting = Rule::new("calls").every_request().key(key::header("x-account")).policy(Policy::per_minute(1));
    let insisting = insisting.on_missing(OnMissing::Reject(StatusCode::UNAUTHORIZED));
    for limiter in [
        RateLimiter::builder().exempt(exempt::routes(["/healthz"])).rule(insisting.clone()).build().unwrap(),
        RateLimiter::builder().rule(insisting.exempt(exempt::routes(["/healthz"]))).build().unwrap(),
    ] {
        let app = Router::new().fallback(any("")).layer(limiter.layer());
        assert_eq!(answer(&app, request("GET", "/healthz")).await.status(), 200);
        assert_eq!(answer(&app, request("GET", "/other")).await.status(), 401);
    }
}

#[tokio::test]
async fn an_exemption_from_one_rule_leaves_the_others() {
    let lenient = per_minute("lenient", 5).every_request();
    let strict = strict().exempt(exempt::routes(["GET /healthz"]));
    let limiter = with_rules(RateLimiter::builder(), [strict, lenient]).build().unwrap();
    let app = Router::new().fallback(any("")).layer(limiter.layer().decision(DecisionIn::Response));
    for left in [4, 3, 2] {
        let answer = answer(&app, request("GET", "/healthz")).await;
        let decision = answer.extensions().get::<Decision>().unwrap();
        let quotas: Vec<_> = decision.quotas().map(|quota| (quota.rule(), quota.remaining())).collect();
        assert_eq!(quotas.len(), 1);
        assert!(quotas[0].0 == "lenient" && quotas[0].1 == left);
    }
    let other = limiter.matching(&RequestView::new(&request("GET", "/x"))).len();
    assert_eq!(other, 2);
}

#[tokio::test]
async fn one_of_several_exemptions_is_enough() {
    let strict =
        strict().exempt(exempt::routes(["/a"])).exempt(|request: &RequestView<'_>| request.uri().path() == "/b");
    let limiter = RateLimiter::builder().exempt(exempt::routes(["/c"])).rule(strict).build().unwrap();
    let app = Router::new().fallback(any("")).layer(limiter.layer());
    for (path, is) in [("/a", true), ("/b", true), ("/c", true), ("/d", false)] {
        assert_eq!(is_exempt(&app, "GET", path).await, is, "{path}");
    }
}

#[tokio::test]
async fn a_rule_of_routes_exempts_by_its_own_parameters() {
    let rule = per_minute("bots", 1).routes(["/bots/{bot}/{*rest}"]);
    let rule = rule.exempt(|request: &RequestView<'_>| request.param("bot").as_deref() == Some(b"canary"));
    let limiter = RateLimiter::builder().rule(rule).build().unwrap();
    let app = Router::new().fallback(any("")).layer(limiter.layer());
    assert!(is_exempt(&app, "GET", "/bots/canary/run").await);
    assert!(!is_exempt(&app, "GET", "/bots/st-1/run").await);
    // A router that resolves dot segments runs another bot.
    assert!(!is_exempt(&app, "GET", "/bots/canary/x/../../st-1/run").await);
}

#[tokio::test]
async fn asking_by_name_is_never_exempt() {
    let limiter = limiter(|builder| builder.exempt(|_: &RequestView<'_>| true));
    let strict = limiter.rule("strict").unwrap();
    assert!(strict.admit("a") && !strict.admit("a"));
    let key = strict.key_of(&RequestView::new(&request("GET", "/")));
    assert_eq!(key, Some(limiter.key("everybody")), "the key of an exempt request can be read");
}

#[tokio::test]
async fn a_condition_that_panics_fails_its_own_request_alone() {
    let explodes = Arc::new(AtomicBool::new(true));
    let armed = Arc::clone(&explodes);
    let limiter = limiter(|builder| {
        builder.exempt(move |request: &RequestView<'_>| {
            assert!(!armed.load(Ordering::SeqCst), "the condition panics");
            request.uri().path() == "/healthz"
        })
    });
    let app = Router::new().fallback(any("")).layer(limiter.layer());
    let send = |path| caught(|| answer(&app, request("GET", path)).now_or_never().unwrap().status());
    assert_eq!(send("/x"), None);
    assert!(limiter.is_empty(), "nothing is charged");
    explodes.store(false, Ordering::SeqCst);
    assert_eq!([send("/x"), send("/x"), send("/healthz")].map(Option::unwrap), [200, 429, 200]);
}

#[tokio::test]
async fn messages_of_an_exempt_call_are_not_counted() {
    let rule = per_minute("messages", 1).every_request().exempt(exempt::grpc_health());
    let limiter = RateLimiter::builder().rule(rule).build().unwrap();
    let app = Router::new().fallback(any("")).layer(limiter.layer().per_message(["messages"]).unwrap());
    let call = |path: &str| request("POST", path);
    assert_eq!(answer(&app, call("/grpc.health.v1.Health/Watch")).await.status(), 200);
    assert_ne!(
        answer(&app, call("/bots.Bots/Export")).await.status(),
        200,
        "that one would be counted, and is no gRPC"
    );
}

#[test]
fn requests_of_other_kinds_are_exempt_by_closures() {
    let rule = Rule::new("jobs").every_request().key(key::constant("all")).policy(Policy::per_minute(1));
    let limiter: RateLimiter<Plain<u32>> = RateLimiter::builder_for::<u32>()
        .exempt(|job: &u32| *job == 0)
        .rule(rule.exempt(|job: &u32| *job > 99))
        .build()
        .unwrap();
    assert_eq!([0, 1, 100].map(|job| limiter.matching(&job).len()), [0, 1, 0]);
    let service = limiter.layer(|_, refusal| Err(refusal)).layer(service_fn(async |job: u32| Ok(job)));
    let ran = |job| service.clone().oneshot(job).now_or_never().unwrap().is_ok();
    assert_eq!([0, 0, 100, 100, 1, 1].map(ran), [true, true, true, true, true, false]);
}

// ---- preflights ----

#[tokio::test]
async fn preflights_are_exempt_from_a_rule_a_limiter_or_a_layer() {
    let preflight = |name: &'static str| {
        let request = Request::options("/").header("origin", "https://app.example.com").header(name, "POST");
        request.body(Body::empty()).unwrap()
    };
    let of_rule = RateLimiter::builder().rule(strict().exempt(exempt::preflights())).build().unwrap();
    let of_limiter = limiter(|builder| builder.exempt(exempt::preflights()));
    let of_layer = limiter(|builder| builder).layer().limit_preflights(false);
    for layer in [of_rule.layer(), of_limiter.layer(), of_layer] {
        let app = Router::new().fallback(any("")).layer(layer);
        for _ in 0..3 {
            assert_eq!(answer(&app, preflight("access-control-request-method")).await.status(), 200);
        }
        answer(&app, preflight("x-other")).await;
        assert_eq!(answer(&app, preflight("x-other")).await.status(), 429, "that is no preflight");
    }
}

// ---- every reading ----

#[tokio::test]
async fn another_spelling_of_an_exempt_path_counts() {
    for target in [
        "//healthz",
        "/healthz/",
        "/./healthz",
        "/x/../healthz",
        "/%68ealthz",
        "/healthz%2F",
        "/HEALTHZ",
        "/healthz;x=1",
        "/healthz/..%2Fhealthz",
        "/static/../admin",
        "/static/..%2Fadmin",
        "/static/%2e%2e/admin",
        "/static/..%5cadmin",
        "/static/%252e%252e%252fadmin",
        "/static/..;/admin",
    ] {
        let app = Router::new().fallback(any("")).layer(exempting(&["/healthz", "/static/{*file}"]).layer());
        assert!(!is_exempt(&app, "GET", target).await, "{target}");
    }
    let app = Router::new().fallback(any("")).layer(exempting(&["/healthz", "/static/{*file}"]).layer());
    for target in ["/healthz", "/healthz?x=/../y", "/static/a.png", "/static/b%20c//d"] {
        assert!(is_exempt(&app, "GET", target).await, "{target}");
    }
}

#[tokio::test]
async fn below_a_prefix_the_whole_path_is_exempt_or_not() {
    let inner = || Router::new().route("/healthz", any(""));
    for (exempt, target, is) in [("/api/healthz", "/api/healthz", true), ("/healthz", "/api/healthz", false)] {
        let limiter = || exempting(&[exempt]).layer();
        for (place, app) in [
            ("outside of nest", Router::new().nest("/api", inner()).layer(limiter())),
            ("outside of nest_service", Router::new().nest_service("/api", inner()).layer(limiter())),
            ("inside of nest", Router::new().nest("/api", inner().layer(limiter()))),
            ("inside of nest, by route", Router::new().nest("/api", inner().route_layer(limiter()))),
            ("inside of nest_service", Router::new().nest_service("/api", inner().layer(limiter()))),
            ("inside, by route", Router::new().nest_service("/api", inner().route_layer(limiter()))),
        ] {
            assert_eq!(is_exempt(&app, "GET", target).await, is, "{exempt} {place}");
        }
    }
}

#[tokio::test]
async fn below_a_prefix_with_a_parameter_the_whole_path_is_exempt_or_not() {
    let inner = || Router::new().route("/healthz", any(""));
    for (exempt, is) in
        [("/{tenant}/healthz", true), ("/healthz", false), ("/acme/healthz", true), ("/zeta/healthz", false)]
    {
        for app in [
            Router::new().nest("/{tenant}", inner().layer(exempting(&[exempt]).layer())),
            Router::new().nest_service("/{tenant}", inner().layer(exempting(&[exempt]).layer())),
        ] {
            assert_eq!(is_exempt(&app, "GET", "/acme/healthz").await, is, "{exempt}");
        }
    }
}

#[tokio::test]
async fn a_rewritten_path_is_exempt_before_and_after() {
    let strip = |path: &str| path.replacen("/old", "", 1);
    for (exempt, target, is) in [
        (&["/healthz"][..], "/old/healthz", false),
        (&["/old/healthz"], "/old/healthz", false),
        (&["/healthz", "/old/healthz"], "/old/healthz", true),
        (&["/healthz"], "/healthz", true),
    ] {
        let inner = Router::new().fallback(any("")).layer(exempting(exempt).layer());
        assert_eq!(is_exempt(&rewriting(strip, inner), "GET", target).await, is, "{exempt:?} {target}");
    }
}

#[tokio::test]
async fn a_path_that_is_rewritten_after_routing_does_not_hide_the_handler() {
    for forgets_original in [false, true] {
        let limiter = exempting(&["/healthz"]);
        let disguise = move |mut request: Request, next: middleware::Next| async move {
            if request.headers().contains_key("x-disguise") {
                *request.uri_mut() = Uri::from_static("/healthz");
            }
            if forgets_original {
                request.extensions_mut().remove::<axum::extract::OriginalUri>();
            }
            next.run(request).await
        };
        let app = Router::new().route("/admin", any("")).route("/healthz", any("")).layer(limiter.layer());
        let app = app.layer(middleware::from_fn(disguise));
        let disguised = || Request::get("/admin").header("x-disguise", "").body(Body::empty()).unwrap();
        assert_eq!(answer(&app, disguised()).await.status(), 200);
        assert_eq!(answer(&app, disguised()).await.status(), 429);
        assert!(is_exempt(&app, "GET", "/healthz").await);
    }
}

#[tokio::test]
async fn a_part_of_what_a_handler_serves_may_be_exempt() {
    let app = Router::new().route("/static/{*file}", any("")).route("/{page}", any(""));
    let app = app.layer(exempting(&["GET /static/css/{file}", "GET /robots.txt"]).layer());
    assert!(is_exempt(&app, "GET", "/static/css/a.css").await);
    assert!(is_exempt(&app, "GET", "/robots.txt").await);
    assert!(!is_exempt(&app, "GET", "/static/js/a.js").await);
    assert!(!is_exempt(&app, "GET", "/static/css/../js/a.js").await);
}

#[tokio::test]
async fn a_limiter_that_is_mounted_twice_exempts_twice() {
    let limiter = exempting(&["/api/healthz"]);
    let inner = Router::new().fallback(any("")).layer(limiter.layer());
    let app = Router::new().nest_service("/api", inner).layer(limiter.layer());
    assert!(is_exempt(&app, "GET", "/api/healthz").await);
    assert!(!is_exempt(&app, "GET", "/api/other").await);
}

/// What some server or router does with a path before it looks the path up.
const HABITS: [fn(&str) -> String; 8] = [
    |path| format!("/{}", path.split('/').filter(|segment| !segment.is_empty()).collect::<Vec<_>>().join("/")),
    |path| path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path).to_owned(),
    |path| percent_decode_str(path).decode_utf8_lossy().into_owned(),
    |path| {
        let kept =
            ["%2F", "%2f", "%5C", "%5c"].iter().fold(path.to_owned(), |path, slash| path.replace(slash, "\u{1}"));
        percent_decode_str(&kept).decode_utf8_lossy().replace('\u{1}', "%2F")
    },
    |path| path.replace('\\', "/"),
    |path| path.split('/').map(|segment| segment.split(';').next().unwrap()).collect::<Vec<_>>().join("/"),
    |path| {
        let mut kept: Vec<&str> = Vec::new();
        for segment in path.split('/').skip(1) {
            match segment {
                "." => {}
                ".." => drop(kept.pop()),
                other => kept.push(other),
            }
        }
        format!("/{}", kept.join("/"))
    },
    |path| path.replacen("//", "/", 1),
];

const EXEMPT: [&str; 4] = ["/healthz", "/static/{*file}", "/{tenant}/health", "/tenants/{tenant}/files/{*path}"];

static LIMITER: LazyLock<RateLimiter> = LazyLock::new(|| exempting(&EXEMPT));

/// Whether a path is one of an exempt template, by another matcher than the crate's.
fn is_of_exempt_template(path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match segments[..] {
        ["healthz"] => true,
        ["static", _, ..] => path.len() > "/static/".len(),
        [tenant, "health"] => !tenant.is_empty(),
        ["tenants", tenant, "files", ref rest @ ..] => !tenant.is_empty() && !rest.join("/").is_empty(),
        _ => false,
    }
}

fn path() -> impl Strategy<Value = String> {
    let pieces = [
        "healthz",
        "static",
        "tenants",
        "files",
        "health",
        "acme",
        "admin",
        "a",
        "",
        ".",
        "..",
        "%2e%2e",
        "%2E",
        "..%2F",
        "%2F",
        "%5C",
        "..%5c..",
        "%252e%252e",
        "%25",
        "..;",
        ";x",
        "%3b",
        "%68ealth",
        "a%2Fb",
        "a%20b",
        "%C3%A9",
        "%00",
        "\\..",
    ];
    let tail = || prop::collection::vec(select(pieces.to_vec()), 0..5);
    let head =
        select(vec!["", "/static", "/tenants/acme/files", "/acme/health", "/healthz", "/acme", "/tenants/..", "/."]);
    (head, tail()).prop_map(|(head, tail)| tail.iter().fold(head.to_owned(), |path, piece| format!("{path}/{piece}")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50_000))]

    #[test]
    fn an_exempt_path_stays_within_the_exempt_templates_whatever_a_server_does_to_it(
        path in path(),
        habits in prop::collection::vec(0..HABITS.len(), 0..6),
    ) {
        let Ok(uri) = path.parse::<Uri>() else { return Ok(()) };
        prop_assume!(uri.path().starts_with('/'));
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri.clone();
        if LIMITER.matching(&RequestView::new(&request)).is_empty() {
            let served = habits.iter().fold(uri.path().to_owned(), |path, habit| HABITS[*habit](&path));
            prop_assert!(is_of_exempt_template(&served), "{} is served as {}", path, served);
        }
    }
}

#[test]
fn an_ordinary_path_of_an_exempt_template_is_exempt() {
    let limiter = exempting(&EXEMPT);
    for path in ["/healthz", "/static/a/b.css", "/acme/health", "/tenants/acme/files/a/b%20c", "/static/%C3%A9"] {
        assert!(limiter.matching(&RequestView::new(&request("GET", path))).is_empty(), "{path}");
        assert!(limiter.matching(&RequestView::new(&request(Method::HEAD.as_str(), path))).is_empty(), "{path}");
    }
}
