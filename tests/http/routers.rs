//! Whatever axum routes to a handler is governed by the rule of that route, with the same key: random routers of axum's own,
//! and random targets.
//!
//! `ROUTER_REQUESTS=10000000 ./tests/run --test http routers::` serves more of them than the 300,000 of an ordinary
//! run, and `ROUTER_SEED=7` tries one router.

use std::{collections::BTreeSet, env, fmt::Write, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{RawPathParams, Request},
    response::Response,
    routing::{MethodFilter, any, get, on},
};
use futures_util::FutureExt;
use http::{Method, StatusCode};
use parking_lot::Mutex;
use tower::{Layer, Service, ServiceExt, service_fn, util::MapRequestLayer};
use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
use tower_quota_tests::{limiter::frozen, panics::caught};

/// Numbers that a seed determines.
struct Dice(u64);

impl Dice {
    const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    const fn below(&mut self, sides: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides as u64) as usize
    }

    const fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Where the limiter stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// Around the router, which has matched nothing yet.
    Outside,
    /// `Router::layer` of the outermost router.
    Layer,
    /// `Router::route_layer` of the outermost router.
    RouteLayer,
    /// `Router::layer` of the routers that are nested, and of the outermost one's own routes.
    Inside,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Nesting {
    Nest,
    NestService,
}

/// A handler: its full template, and the methods that it is for.
#[derive(Clone, Debug)]
struct Endpoint {
    prefix: String,
    template: String,
    method: Option<Method>,
}

impl Endpoint {
    /// As a rule has it: what axum's documentation says of nested routes.
    fn route(&self) -> String {
        let method = self.method.as_ref().map_or_else(String::new, |method| format!("{method} "));
        let template = if self.template == "/" && !self.prefix.is_empty() { "" } else { &self.template };
        format!("{method}{}{template}", self.prefix)
    }

    fn params(&self) -> Vec<String> {
        let full = format!("{}{}", self.prefix, self.template);
        let names =
            full.split('{').skip(1).map(|part| part.split('}').next().unwrap().trim_start_matches('*').to_owned());
        names.collect()
    }
}

/// A router as it is drawn, and which endpoints it has.
#[derive(Debug)]
struct Plan {
    place: Place,
    nesting: Nesting,
    rewrites: bool,
    top: Vec<Endpoint>,
    nested: Vec<Endpoint>,
    prefix: String,
}

const SEGMENTS: [&str; 9] = ["a", "b", "login", "api", "{x}", "{y}", "v{z}", "items", "%61"];
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];

impl Plan {
    fn draw(dice: &mut Dice) -> Self {
        let place = *dice.one(&[Place::Outside, Place::Layer, Place::RouteLayer, Place::Inside]);
        let nesting = if dice.percent(50) { Nesting::Nest } else { Nesting::NestService };
        let prefix = format!("/{}", dice.one(&["n", "n/{p}", "{t}/n", "n/m"]));
        let endpoints = |dice: &mut Dice, prefix: &str, most: usize| -> Vec<Endpoint> {
            (0..1 + dice.below(most)).map(|_| Endpoint { prefix: prefix.to_owned(), ..endpoint(dice) }).collect()
        };
        Self {
            place,
            nesting,
            rewrites: dice.percent(15),
            top: endpoints(dice, "", 5),
            nested: endpoints(dice, &prefix, 4),
            prefix,
        }
    }
}

fn endpoint(dice: &mut Dice) -> Endpoint {
    let mut template = String::new();
    let mut names = BTreeSet::new();
    for _ in 0..dice.below(4) {
        let segment = *dice.one(&SEGMENTS);
        if !segment.contains('{') || names.insert(segment) {
            write!(template, "/{segment}").unwrap();
        }
    }
    if dice.percent(20) {
        template.push_str("/{*rest}");
    } else if dice.percent(15) || template.is_empty() {
        template.push('/');
    }
    let method = if dice.percent(60) { Some(dice.one(&METHODS).parse().unwrap()) } else { None };
    Endpoint { prefix: String::new(), template, method }
}

/// What a handler saw: its route, and what axum gave it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    route: String,
    params: Option<Vec<(String, String)>>,
}

type Journal = Arc<Mutex<Option<Seen>>>;
/// The rules and keys that the limiter has charged.
type Charged = Arc<Mutex<Vec<(String, Option<tower_quota::key::Key>)>>>;

fn handle(endpoint: &Endpoint, journal: &Journal) -> axum::routing::MethodRouter {
    let (route, journal) = (endpoint.route(), Arc::clone(journal));
    let handler = move |params: Result<RawPathParams, axum::extract::rejection::RawPathParamsRejection>| {
        let params = params.ok().map(|params| params.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect());
        *journal.lock() = Some(Seen { route, params });
        async { "" }
    };
    match &endpoint.method {
        Some(method) => on(MethodFilter::try_from(method.clone()).unwrap(), handler),
        None => any(handler),
    }
}

/// Adds routes; axum panics for those that conflict, and they are left out.
fn add(router: Router, endpoints: &mut Vec<Endpoint>, journal: &Journal) -> Router {
    let mut router = router;
    endpoints.retain(|endpoint| {
        let (before, handler) = (router.clone(), handle(endpoint, journal));
        let template = endpoint.template.clone();
        let Some(added) = caught(move || before.route(&template, handler)) else { return false };
        router = added;
        true
    });
    router
}

/// Notes what the limiter governs at its place.
fn observe<S>(
    limiter: &RateLimiter,
    charged: &Charged,
) -> impl Layer<
    S,
    Service: Service<Request, Response = S::Response, Error = S::Error, Future = S::Future>
                 + Clone
                 + Send
                 + Sync
                 + 'static,
>
+ Clone
+ Send
+ Sync
+ 'static
+ use<S>
where
    S: Service<Request> + Clone + Send + Sync + 'static,
{
    let (limiter, charged) = (limiter.clone(), Arc::clone(charged));
    MapRequestLayer::new(move |request: Request| {
        let view = RequestView::new(&request);
        let governing = limiter.matching(&view);
        charged.lock().extend(governing.iter().map(|rule| (rule.rule().to_owned(), rule.key())));
        request
    })
}

type App = tower::util::BoxCloneSyncService<Request, Response, std::convert::Infallible>;

struct World {
    app: App,
    limiter: RateLimiter,
    journal: Journal,
    charged: Charged,
    plan: Plan,
}

impl World {
    /// None if the routers cannot be built.
    fn build(mut plan: Plan) -> Option<Self> {
        let (journal, charged) = (Journal::default(), Charged::default());
        let mut inner = add(Router::new(), &mut plan.nested, &journal);
        let mut outer = add(Router::new(), &mut plan.top, &journal);
        let limiter = limiter(&plan)?;
        if plan.place == Place::Inside {
            inner = inner.layer(observe(&limiter, &charged));
            outer = outer.layer(observe(&limiter, &charged));
        }
        let (prefix, nesting) = (plan.prefix.clone(), plan.nesting);
        // axum says by a panic what it does not take.
        let router = caught(move || match nesting {
            Nesting::Nest => outer.nest(&prefix, inner),
            Nesting::NestService => outer.nest_service(&prefix, inner),
        })?;
        let router = match plan.place {
            Place::Layer => router.layer(observe(&limiter, &charged)),
            Place::RouteLayer => router.route_layer(observe(&limiter, &charged)),
            Place::Outside | Place::Inside => router,
        };
        let router = if plan.rewrites { rewriting(router) } else { router };
        let app: App = if plan.place == Place::Outside && !plan.rewrites {
            App::new(observe(&limiter, &charged).layer(router))
        } else {
            App::new(router)
        };
        if plan.place == Place::Outside && plan.rewrites {
            // What an outside layer sees is not what a rewriting one inside of it makes of the path.
            return None;
        }
        Some(Self { app, limiter, journal, charged, plan })
    }

    fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.plan.top.iter().chain(&self.plan.nested)
    }

    /// A limiter in front of a nested service cannot know which templates belong to that: one of the outer router that is more
    /// specific, and does not match there, hides it. The request is charged to that.
    fn is_hidden_from_outside(&self, endpoint: &Endpoint, charged: &[(String, Option<tower_quota::key::Key>)]) -> bool {
        let is_foreign = self.plan.place != Place::Inside && self.plan.nesting == Nesting::NestService;
        is_foreign && !endpoint.prefix.is_empty() && !charged.is_empty()
    }

    /// Whether a handler was run, and what is wrong.
    fn serve(&mut self, method: &Method, target: &str) -> Result<bool, String> {
        let Ok(request) = Request::builder().method(method).uri(target).body(Body::empty()) else { return Ok(false) };
        *self.journal.lock() = None;
        self.charged.lock().clear();
        let response = self.app.clone().oneshot(request).now_or_never().unwrap().unwrap();
        let Some(seen) = self.journal.lock().take() else { return Ok(false) };
        assert_eq!(response.status(), StatusCode::OK);
        let charged = self.charged.lock().clone();
        let endpoint = self.endpoints().find(|endpoint| endpoint.route() == seen.route).unwrap();
        // Where a value is not UTF-8 axum's own extractors fail.
        let Some(params) = &seen.params else { return Ok(true) };
        let names = endpoint.params();
        let key = names.first().map_or_else(
            || self.limiter.key("everybody"),
            |name| {
                let value = params.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
                self.limiter.key(value.unwrap_or_else(|| panic!("{name} of {seen:?}")))
            },
        );
        if charged.contains(&(seen.route.replace(' ', ":"), Some(key))) {
            return Ok(true);
        }
        if self.is_hidden_from_outside(endpoint, &charged) {
            return Ok(false);
        }
        Err(format!("{method} {target} ran {:?} with {params:?}, and {charged:?} was charged", seen.route))
    }
}

/// A rule for each endpoint, called after its route. MultipleValues handlers for one route are one rule.
fn limiter(plan: &Plan) -> Option<RateLimiter> {
    let mut routes = BTreeSet::new();
    let mut builder = RateLimiter::builder();
    for endpoint in plan.top.iter().chain(&plan.nested).filter(|endpoint| routes.insert(endpoint.route())) {
        let route = endpoint.route();
        let rule = Rule::new(route.replace(' ', ":")).routes([route]).policy(Policy::per_hour(1_000_000_000));
        let rule = match endpoint.params().first() {
            Some(name) => rule.key(key::path(name.clone())).level("key"),
            None => rule.key(|_: &RequestView<'_>| Some("everybody")).level("key"),
        };
        builder = builder.rule(rule);
    }
    builder.build().ok()
}

/// An outer router whose fallback takes `/old` off, as an application that has moved does.
fn rewriting(inner: Router) -> Router {
    Router::new().route("/new", get(async || "")).fallback_service(service_fn(move |mut request: Request| {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        if let Some(rest) = path.strip_prefix("/old").filter(|rest| rest.starts_with('/')) {
            *request.uri_mut() = rest.parse().unwrap();
        }
        inner.clone().oneshot(request)
    }))
}

const PIECES: [&str; 24] = [
    "a", "b", "login", "api", "x", "items", "v1", "v", "%61", "%6cogin", "%2F", "%2e", "..", ".", "", "", "n", "m",
    "%C3%A9", "%ff", "a%2Fb", "+", "%20", "{x}",
];

/// A target, mostly near one that an endpoint has.
fn target(dice: &mut Dice, world: &World) -> (Method, String) {
    let endpoints: Vec<_> = world.endpoints().collect();
    let endpoint = if endpoints.is_empty() || dice.percent(10) { None } else { Some(*dice.one(&endpoints)) };
    let template =
        endpoint.map_or_else(|| "/{*rest}".to_owned(), |endpoint| format!("{}{}", endpoint.prefix, endpoint.template));
    let mut path = if world.plan.rewrites && dice.percent(70) { "/old".to_owned() } else { String::new() };
    for segment in template.split('/').skip(1) {
        path.push('/');
        path.push_str(&piece(dice, segment));
    }
    for _ in 0..dice.below(3) {
        match dice.below(12) {
            0 => path.push('/'),
            1 => path = path.replacen('/', "//", 1),
            2 => path.push_str("/."),
            3 => path.push_str("?x=1"),
            _ => {}
        }
    }
    let method = match endpoint.and_then(|endpoint| endpoint.method.clone()).filter(|_| dice.percent(85)) {
        Some(Method::GET) if dice.percent(20) => Method::HEAD,
        Some(method) => method,
        None if dice.percent(15) => Method::CONNECT,
        None => dice.one(&METHODS).parse().unwrap(),
    };
    (method, if path.is_empty() { "/".to_owned() } else { path })
}

fn piece(dice: &mut Dice, segment: &str) -> String {
    let mut piece = || dice.one(&PIECES).to_owned();
    match segment.split_once('{') {
        None => segment.to_owned(),
        Some((_, "*rest}")) => format!("{}/{}", piece(), piece()),
        Some((before, _)) => format!("{before}{}", piece()),
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn whatever_axum_routes_is_governed_by_the_rule_of_that_route_with_the_same_key() {
    let wanted = number("ROUTER_REQUESTS").unwrap_or(300_000) as usize;
    let only = number("ROUTER_SEED");
    let (mut seed, mut served, mut sent, mut routers) = (only.unwrap_or(0), 0, 0, 0);
    let mut wrong = None;
    while served < wanted && wrong.is_none() {
        seed += u64::from(only.is_none());
        let mut dice = Dice::new(seed);
        let Some(mut world) = World::build(Plan::draw(&mut dice)) else {
            assert!(only.is_none(), "that router cannot be built");
            continue;
        };
        routers += 1;
        for _ in 0..200 {
            let (method, target) = target(&mut dice, &world);
            sent += 1;
            match world.serve(&method, &target) {
                Ok(is_served) => served += usize::from(is_served),
                Err(why) => wrong = Some(format!("ROUTER_SEED={seed}: {why}\n{:#?}", world.plan)),
            }
        }
        if only.is_some() {
            break;
        }
    }
    if let Some(wrong) = wrong {
        panic!("{wrong}");
    }
    println!("{routers} routers, {sent} requests, {served} served");
    assert!(only.is_some() || served * 3 > sent, "{served} of {sent} reached a handler");
}

// ---- the same by hand ----

/// Where each of these requests ran, with a layer around the router, or within it.
fn limited(route: &str, limit: u64) -> (RateLimiter, tower_quota::RateLimitLayer) {
    let rule = Rule::new("strict")
        .routes([route])
        .key(|_: &RequestView<'_>| Some(""))
        .level("all")
        .policy(Policy::per_hour(limit));
    let limiter = RateLimiter::builder().rule(rule).build().unwrap();
    (limiter.clone(), limiter.layer())
}

async fn status<S>(app: &S, method: &str, target: &str) -> StatusCode
where
    S: Service<Request, Response = Response, Error = std::convert::Infallible> + Clone,
{
    let request = Request::builder().method(method).uri(target).body(Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap().status()
}

/// How many of ten requests were served.
async fn served_of_ten<S>(app: &S, method: &str, target: &str) -> usize
where
    S: Service<Request, Response = Response, Error = std::convert::Infallible> + Clone,
{
    let mut served = 0;
    for _ in 0..10 {
        served += usize::from(status(app, method, target).await == StatusCode::OK);
    }
    served
}

#[tokio::test]
async fn an_application_behind_a_rewriting_fallback_is_limited_and_by_its_own_parameters() {
    let rule =
        Rule::new("items").routes(["GET /item/{n}"]).key(key::path("n")).level("item").policy(Policy::per_hour(3));
    let limiter = RateLimiter::builder().rule(rule).build().unwrap();
    let inner = Router::new().route("/item/{n}", get(async || "")).layer(limiter.layer());
    let app = rewriting(inner);
    assert_eq!(served_of_ten(&app, "GET", "/old/item/7").await, 3);
    let spent = limiter.rule("items").unwrap().peek("7");
    assert!(!spent.is_admitted());

    // What the caller writes into the original path is no other key.
    let limited = Router::new().route("/item/{n}", get(async || "")).layer(limiter.layer());
    let by_query = Router::new().fallback_service(service_fn(move |mut request: Request| {
        let id = request.uri().query().unwrap().trim_start_matches("id=").to_owned();
        *request.uri_mut() = format!("/item/{id}").parse().unwrap();
        limited.clone().oneshot(request)
    }));
    for junk in 0..5 {
        assert_eq!(status(&by_query, "GET", &format!("/item/{junk}?id=7")).await, StatusCode::TOO_MANY_REQUESTS);
    }
}

#[tokio::test]
async fn a_nested_router_is_governed_by_the_whole_path_alone() {
    let rules = ["/items/{n}", "/api/items/{n}"]
        .map(|route| Rule::new(route).routes([route]).key(key::path("n")).level("item").policy(Policy::per_hour(100)));
    let limiter = frozen(rules);
    let items = || Router::new().route("/items/{n}", get(async || "")).layer(limiter.layer());
    for app in [Router::new().nest("/api", items()), Router::new().nest_service("/api", items())] {
        assert_eq!(status(&app, "GET", "/api/items/7").await, StatusCode::OK);
    }
    let left = |rule| limiter.rule(rule).unwrap().peek("7").quotas().next().unwrap().remaining();
    assert_eq!((left("/items/{n}"), left("/api/items/{n}")), (100, 98));
}

#[tokio::test]
async fn no_spelling_of_a_path_escapes_the_rule_of_its_handler() {
    let rows = [
        ("/{tenant}/login", "POST", "//login"),
        ("/bots/{bot}/export", "POST", "/bots//export"),
        ("/files/{*path}", "GET", "/files//"),
        ("/{user}/", "GET", "//"),
        ("/items/{id}", "GET", "/items/lis%74"),
        ("/bots.Bots/{*method}", "POST", "/bots.Bots//"),
    ];
    for (template, method, target) in rows {
        let (_, layer) = limited(template, 3);
        let router = Router::new().route(template, any(async || ""));
        assert_eq!(served_of_ten(&router.clone().layer(layer.clone()), method, target).await, 3, "{template} {target}");
        let (_, layer) = limited(template, 3);
        let outside = tower::ServiceBuilder::new()
            .layer(tower::util::MapResponseLayer::new(
                |response: http::Response<tower_quota::http::ResponseBody<Body>>| response.map(Body::new),
            ))
            .layer(layer)
            .service(router);
        assert_eq!(served_of_ten(&outside, method, target).await, 3, "{template} {target}, from outside");
    }
}

#[tokio::test]
async fn a_generous_route_beside_a_strict_rest_does_not_take_its_requests() {
    for target in ["/api/health/", "/api//health", "/api/%68ealth"] {
        let rules = [("/api/{*rest}", 3), ("/api/health", 1000)].map(|(route, limit)| {
            let rule = Rule::new(route).routes([route]).key(|_: &RequestView<'_>| Some("")).level("all");
            rule.policy(Policy::per_hour(limit))
        });
        let limiter = frozen(rules);
        let app = Router::new().route("/api/{*rest}", get(async || "")).route("/api/health", get(async || ""));
        let app = app.layer(limiter.layer());
        assert_eq!(served_of_ten(&app, "GET", target).await, 3, "{target}");
        assert_eq!(served_of_ten(&app, "GET", "/api/health").await, 10);
    }
}

#[tokio::test]
async fn a_websocket_over_http_2_counts_as_get() {
    for route in ["GET /ws", "CONNECT /ws", "/ws"] {
        let (_, layer) = limited(route, 3);
        let app = Router::new().route("/ws", any(async || "")).layer(layer);
        assert_eq!(served_of_ten(&app, "CONNECT", "https://example.com/ws").await, 3, "{route}");
    }
    let (limiter, _) = limited("GET /ws", 3);
    let tunnel = Request::builder().method("CONNECT").uri("example.com:443").body(()).unwrap();
    assert!(limiter.matching(&RequestView::new(&tunnel)).is_empty(), "a proxy's own CONNECT has no path");
}

#[tokio::test]
async fn a_rule_for_every_request_reads_the_parameters_of_nested_services_and_fallbacks() {
    let rule = Rule::new("bots").every_request().key(key::path("id")).level("bot").policy(Policy::per_hour(100));
    let limiter = RateLimiter::builder().rule(rule).build().unwrap();
    let inner = Router::new().route("/run", get(async || "")).fallback(async || "");
    let served = service_fn(async |_: Request| Ok::<_, std::convert::Infallible>(Response::new(Body::empty())));
    for app in [
        Router::new().nest_service("/bots/{id}", inner.clone()).layer(limiter.layer()),
        Router::new().nest("/bots/{id}", inner.layer(limiter.layer())),
        Router::new().nest_service("/bots/{id}", limiter.layer().layer(served)),
    ] {
        for target in ["/bots/st-1/run", "/bots/st-1/other"] {
            assert_eq!(status(&app, "GET", target).await, StatusCode::OK);
        }
    }
    assert_eq!(limiter.rule("bots").unwrap().peek("st-1").quotas().next().unwrap().remaining(), 94);
}
