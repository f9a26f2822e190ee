//! Routers within routers, of axum's own: whatever runs is governed by the rule of its route, with the same key, wherever the
//! limiter stands and whoever has rewritten the path before it.
//!
//! `NESTING_REQUESTS` serves more or fewer than an ordinary run does, and `NESTING_SEED` tries one router.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    env,
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    extract::{RawPathParams, Request, rejection::RawPathParamsRejection},
    response::Response,
    routing::{MethodFilter, MethodRouter, any, on},
};
use futures_util::FutureExt;
use http::Method;
use parking_lot::Mutex;
use tower::{Layer, ServiceExt, util::BoxCloneSyncService, util::MapRequestLayer};
use tower_quota::{
    Policy, RateLimiter, Rule,
    http::RequestView,
    key::{self, Key},
};
use tower_quota_tests::panics::caught;

/// Numbers that a seed determines.
struct Dice(fastrand::Rng);

impl Dice {
    fn percent(&mut self, percent: u32) -> bool {
        self.0.u32(..100) < percent
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.0.usize(..of.len())]
    }
}

/// A router: its routes, the routers below it, and where it has limiters.
#[derive(Debug, Default)]
struct Node {
    routes: Vec<(String, Option<Method>)>,
    below: Vec<Below>,
    layer: bool,
    route_layer: bool,
}

#[derive(Debug)]
struct Below {
    /// None for a fallback.
    prefix: Option<String>,
    is_service: bool,
    rewrite: Option<Rewrite>,
    /// Whether a limiter is around the service.
    around: bool,
    node: Node,
}

/// What a layer does to a path before an inner router has it.
#[derive(Clone, Copy, Debug)]
enum Rewrite {
    /// `/v1/a/b` is `/a/b`.
    DropFirst,
    /// `/a/mine` is `/a/7`.
    LastIsSeven,
    /// `/a` is `/a/`.
    AddSlash,
}

impl Rewrite {
    fn path(self, path: &str) -> String {
        match self {
            Self::DropFirst => path[1..].find('/').map_or_else(|| path.to_owned(), |at| path[1 + at..].to_owned()),
            Self::LastIsSeven => path.rfind('/').map_or_else(|| path.to_owned(), |at| format!("{}7", &path[..=at])),
            Self::AddSlash => format!("{path}/"),
        }
    }
}

fn template(dice: &mut Dice, names: &mut u32) -> String {
    let mut text = String::new();
    for _ in 0..dice.0.usize(..4) {
        *names += 1;
        text.push_str(&match dice.one(&["a", "b", "item", "p", "p", "p", "vp", "login"]) {
            "p" => format!("/{{p{names}}}"),
            "vp" => format!("/v{{p{names}}}"),
            plain => format!("/{plain}"),
        });
    }
    if dice.percent(20) {
        text.push_str("/{*rest}");
    } else if text.is_empty() || dice.percent(10) {
        text.push('/');
    }
    text
}

fn node(dice: &mut Dice, depth: u32, names: &mut u32) -> Node {
    let method = |dice: &mut Dice| dice.percent(40).then(|| dice.one(&["GET", "POST"]).parse().unwrap());
    let routes = (0..1 + dice.0.usize(..4)).map(|_| (template(dice, names), method(dice))).collect();
    let kids = if depth == 0 { 0 } else { dice.0.usize(..3) };
    let below = (0..kids).map(|at| below(dice, depth, at, names)).collect();
    Node { routes, below, layer: dice.percent(35), route_layer: dice.percent(25) }
}

fn below(dice: &mut Dice, depth: u32, at: usize, names: &mut u32) -> Below {
    *names += 1;
    // axum takes no prefix off that has a parameter in a part of a segment: a limiter outside cannot know that.
    let kinds = if env::var_os("NESTING_AFFIX").is_some() { 5 } else { 4 };
    let prefix = match dice.one(&["n", "n/m", "param", "n/param", "v"][..kinds]) {
        "param" => format!("/{{p{names}}}/n{at}"),
        "n/param" => format!("/n{at}/{{p{names}}}"),
        "v" => format!("/n{at}/v{{p{names}}}"),
        plain => format!("/{plain}{at}"),
    };
    let prefix = (depth < 3 || dice.percent(80)).then_some(prefix);
    let is_service = prefix.is_none() || dice.percent(60);
    let rewrite = match dice.0.u32(..if is_service { 10 } else { 1 }) {
        _ if prefix.is_none() => Some(Rewrite::DropFirst),
        7 => Some(Rewrite::DropFirst),
        8 => Some(Rewrite::LastIsSeven),
        9 => Some(Rewrite::AddSlash),
        _ => None,
    };
    let around = is_service && dice.percent(30);
    Below { prefix, is_service, rewrite, around, node: node(dice, depth - 1, names) }
}

/// One limiter's view of a request: where it stands, and what it found.
type Sight = (String, Vec<(String, Option<Key>)>);

/// What a handler saw.
#[derive(Clone, Debug)]
struct Seen {
    route: String,
    place: String,
    params: Option<Vec<(String, String)>>,
}

#[derive(Clone, Default)]
struct Journal {
    sights: Arc<Mutex<Vec<Sight>>>,
    seen: Arc<Mutex<Option<Seen>>>,
}

type App = BoxCloneSyncService<Request, Response, Infallible>;

/// Builds the routers of a plan.
struct Builder<'a> {
    limiter: &'a RateLimiter,
    journal: &'a Journal,
}

impl Builder<'_> {
    fn router(&self, node: &Node, base: &str, place: &str) -> Router {
        let mut router = Router::new();
        for (template, method) in &node.routes {
            router =
                router.route(template, self.handler(route(base, template, method.as_ref()), place, method.as_ref()));
        }
        if node.route_layer {
            router = router.route_layer(self.observer(format!("{place} route_layer")));
        }
        for below in &node.below {
            router = self.join(router, below, base, place);
        }
        if node.layer { router.layer(self.observer(format!("{place} layer"))) } else { router }
    }

    fn join(&self, router: Router, below: &Below, base: &str, place: &str) -> Router {
        let base = below.prefix.as_ref().map_or_else(String::new, |prefix| format!("{base}{prefix}"));
        let place = format!("{place} > {base}{}{:?}", if below.is_service { " service " } else { " " }, below.rewrite);
        let inner = self.router(&below.node, &base, &place);
        if let (false, Some(prefix)) = (below.is_service, &below.prefix) {
            return router.nest(prefix, inner);
        }
        let mut app = App::new(inner);
        if below.around {
            app = App::new(self.observer(format!("{place} around")).layer(app));
        }
        if let Some(rewrite) = below.rewrite {
            app = App::new(self.rewriter(rewrite).layer(app));
        }
        match &below.prefix {
            Some(prefix) => router.nest_service(prefix, app),
            None => router.fallback_service(app),
        }
    }

    fn handler(&self, route: String, place: &str, method: Option<&Method>) -> MethodRouter {
        let (seen, place) = (Arc::clone(&self.journal.seen), place.to_owned());
        let handler = move |params: Result<RawPathParams, RawPathParamsRejection>| {
            let own = |params: RawPathParams| params.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            *seen.lock() = Some(Seen { route, place, params: params.ok().map(own) });
            async { "" }
        };
        match method {
            Some(method) => on(MethodFilter::try_from(method.clone()).unwrap(), handler),
            None => any(handler),
        }
    }

    fn observer(&self, place: String) -> MapRequestLayer<impl Fn(Request) -> Request + Clone + Send + Sync + 'static> {
        let (limiter, sights) = (self.limiter.clone(), Arc::clone(&self.journal.sights));
        MapRequestLayer::new(move |request: Request| {
            let governing = limiter.matching(&RequestView::new(&request));
            let found = governing.iter().map(|rule| (rule.rule().to_owned(), rule.key())).collect();
            sights.lock().push((place.clone(), found));
            request
        })
    }

    /// Limiters outside of it cannot know what it does.
    fn rewriter(
        &self,
        rewrite: Rewrite,
    ) -> MapRequestLayer<impl Fn(Request) -> Request + Clone + Send + Sync + 'static> {
        let sights = Arc::clone(&self.journal.sights);
        MapRequestLayer::new(move |mut request: Request| {
            sights.lock().clear();
            *request.uri_mut() = rewrite.path(request.uri().path()).parse().unwrap();
            request
        })
    }
}

fn route(base: &str, template: &str, method: Option<&Method>) -> String {
    let template = if template == "/" && !base.is_empty() { "" } else { template };
    format!("{} {base}{template}", method.map_or("ANY", Method::as_str))
}

fn routes<'n>(node: &'n Node, base: &str, found: &mut Vec<(String, &'n Node)>) {
    found.extend(node.routes.iter().map(|(template, method)| (route(base, template, method.as_ref()), node)));
    for below in &node.below {
        let base = below.prefix.as_ref().map_or_else(String::new, |prefix| format!("{base}{prefix}"));
        routes(&below.node, &base, found);
    }
}

fn names(route: &str) -> Vec<&str> {
    route.split('{').skip(1).map(|part| part.split('}').next().unwrap().trim_start_matches('*')).collect()
}

struct World {
    app: App,
    limiter: RateLimiter,
    journal: Journal,
    rules: BTreeMap<String, String>,
    plan: Node,
}

impl World {
    /// None if axum or the limiter does not take these routes.
    fn build(plan: Node) -> Option<Self> {
        let mut found = Vec::new();
        routes(&plan, "", &mut found);
        let texts: BTreeSet<_> = found.into_iter().map(|(text, _)| text).collect();
        let rules: BTreeMap<_, _> = texts.into_iter().enumerate().map(|(n, text)| (text, format!("r{n}"))).collect();
        let limiter = limiter(&rules)?;
        let journal = Journal::default();
        let builder = Builder { limiter: &limiter, journal: &journal };
        // axum says by a panic what it does not take.
        let app = caught(|| App::new(builder.observer("outside".to_owned()).layer(builder.router(&plan, "", ""))))?;
        Some(Self { app, limiter, journal, rules, plan })
    }

    /// What ran, and each limiter that did not see it so.
    fn serve(&self, method: &Method, target: &str) -> Option<(Seen, Vec<Sight>)> {
        let request = Request::builder().method(method).uri(target).body(Body::empty()).ok()?;
        *self.journal.seen.lock() = None;
        self.journal.sights.lock().clear();
        // One that axum asserts never to come, in a debug build, is not served.
        caught(|| self.app.clone().oneshot(request).now_or_never())?.unwrap().unwrap();
        let seen = self.journal.seen.lock().take()?;
        let sights = std::mem::take(&mut *self.journal.sights.lock());
        // Who stands outside cannot know which of the routers below has a template; the most specific of all decides there.
        let is_shadowed = self.is_shadowed(&seen, method, target);
        // axum takes a slash too many off where a prefix is followed by two; nobody outside can know for two prefixes.
        let depth = |place: &str| place.matches('>').count();
        let is_out_of_sight =
            |place: &str| is_shadowed || target.contains("//") && depth(&seen.place) > depth(place).max(1);
        let is_wrong = |(place, found): &Sight| {
            !self.is_charged(&seen, found) && (place.ends_with("route_layer") || !is_out_of_sight(place))
        };
        let wrong = sights.into_iter().filter(is_wrong).collect();
        Some((seen, wrong))
    }

    /// Whether the template of another router is more specific.
    fn is_shadowed(&self, seen: &Seen, method: &Method, target: &str) -> bool {
        let counts = |of: &str| of == "ANY" || of == method.as_str() || (of == "GET" && *method == Method::HEAD);
        let mut matcher = matchit::Router::new();
        for (methods, template) in self.rules.keys().filter_map(|route| route.split_once(' ')) {
            if counts(methods) {
                _ = matcher.insert(template, template.to_owned());
            }
        }
        let is_other =
            |path: &str| matcher.at(path).is_ok_and(|found| !seen.route.ends_with(&format!(" {}", found.value)));
        let dropped = Rewrite::DropFirst.path(target);
        is_other(target) || (seen.place.contains("DropFirst") && is_other(&dropped))
    }

    fn is_charged(&self, seen: &Seen, governing: &[(String, Option<Key>)]) -> bool {
        let mut own = governing.iter().filter(|(rule, _)| *rule == self.rules[&seen.route]);
        let names = names(&seen.route);
        match &seen.params {
            // axum gives no values, as one is not UTF-8: with some key.
            None => own.any(|(_, key)| key.is_some()),
            Some(params) => {
                let values: Vec<_> = params[params.len() - names.len()..].iter().map(|(_, value)| value).collect();
                let key = match &values[..] {
                    [] => self.limiter.key("none"),
                    [value] => self.limiter.key(value.as_str()),
                    [first, .., last] => self.limiter.key((first.as_str(), last.as_str())),
                };
                own.any(|(_, found)| *found == Some(key))
            }
        }
    }
}

fn limiter(rules: &BTreeMap<String, String>) -> Option<RateLimiter> {
    let mut builder = RateLimiter::builder();
    for (text, name) in rules {
        let rule = Rule::new(name).routes([text.clone()]).policy(Policy::per_hour(1000));
        let own = |name: &str| key::path(name.to_owned());
        builder = builder.rule(match &names(text)[..] {
            [] => rule.key(|_: &RequestView<'_>| Some("none")).level("all"),
            [name] => rule.key(own(name)).level("one"),
            [first, .., last] => rule.key((own(first), own(last))).level("two"),
        });
    }
    builder.build().ok()
}

const VALUES: [&str; 16] =
    ["", "", "", "x", "7", "a", "item", "%61", "%2F", "a%2Fb", "%2e%2e", "..", ".", "%C3%A9", "%ff", "b//c"];

/// A target near that of a route, with as much before it as a rewriting layer might take off.
fn target(dice: &mut Dice, texts: &[(String, &Node)]) -> (Method, String) {
    let (text, _) = &texts[dice.0.usize(..texts.len())];
    let (method, template) = text.split_once(' ').unwrap();
    let mut path = String::new();
    for segment in template.split('/').skip(1) {
        let before = segment.split('{').next().unwrap();
        path.push('/');
        path.push_str(before);
        if segment.contains('{') {
            path.push_str(dice.one(&VALUES));
        }
        if dice.percent(7) {
            path.push_str(dice.one(&["/", "/v1", "/.", "//"]));
        }
    }
    if dice.percent(10) {
        path.push('/');
    }
    let method = match method {
        _ if dice.percent(5) => dice.one(&["GET", "POST", "CONNECT", "BREW", "get"]),
        "ANY" => dice.one(&["GET", "POST", "HEAD", "CONNECT", "PURGE"]),
        "GET" if dice.percent(20) => "HEAD",
        method => method,
    };
    (method.parse().unwrap(), if path.is_empty() { "/".to_owned() } else { path })
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn each_limiter_on_the_way_in_charges_the_request() {
    let (wanted, only) = (number("NESTING_REQUESTS").unwrap_or(100_000), number("NESTING_SEED"));
    let (mut seed, mut served, mut sent, mut routers, mut wrong) = (only.unwrap_or(0), 0, 0_u64, 0, 0);
    let mut kinds: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut shapes = BTreeSet::new();
    while served < wanted {
        seed += u64::from(only.is_none());
        let mut dice = Dice(fastrand::Rng::with_seed(seed));
        let plan = node(&mut dice, 3, &mut 0);
        let Some(world) = World::build(plan) else { continue };
        let mut texts = Vec::new();
        routes(&world.plan, "", &mut texts);
        routers += 1;
        for _ in 0..100 {
            let (method, target) = target(&mut dice, &texts);
            sent += 1;
            let Some((seen, sights)) = world.serve(&method, &target) else { continue };
            served += 1;
            shapes.insert((seen.route.clone(), target.clone()));
            for (place, found) in sights {
                wrong += 1;
                let is_ruled = found.iter().any(|(rule, _)| *rule == world.rules[&seen.route]);
                let kind = format!(
                    "{}{} at {}{}",
                    match found.len() {
                        _ if is_ruled => "other key",
                        0 => "NOTHING",
                        _ => "other rule",
                    },
                    if seen.params.is_none() { " (not UTF-8)" } else { "" },
                    place.rsplit(' ').next().unwrap(),
                    if place.contains("Some(") { " behind a rewriting layer" } else { "" },
                );
                let example = || format!("NESTING_SEED={seed} {method} {target} ran {seen:?}; at{place}");
                kinds.entry(kind).or_insert_with(|| (0, example())).0 += 1;
            }
        }
        if only.is_some() {
            break;
        }
    }
    println!("{routers} routers, {sent} requests, {served} served, {} shapes, {wrong} wrong", shapes.len());
    for (kind, (times, example)) in &kinds {
        println!("{times:8} {kind}: {example}");
    }
    assert!(only.is_some() || served * 2 > sent, "{served} of {sent} were served");
    assert_eq!(wrong, 0);
}
