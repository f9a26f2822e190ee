//! Whatever the router behind takes for a route is governed by that route's rule, and no spelling of a path escapes one.
//!
//! Input: templates, one a line, up to an empty line; then paths, one a line.

use std::{
    borrow::Cow,
    convert::Infallible,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{Request, Response, Uri};
use percent_encoding::percent_decode_str;
use tower::{Layer, Service, service_fn};
use tower_quota::{
    Decision, Policy, RateLimiter, Rule,
    clock::ManualClock,
    http::{DecisionIn, RequestView},
    key,
    key::Key,
};

use crate::input::Input;

const MOST_TEMPLATES: usize = 6;
const MOST_PATHS: usize = 6;
const MINUTE: Duration = Duration::from_secs(60);

/// What axum has under its `Router`: the number of each template, and its first parameter.
type Router = matchit::Router<(usize, Option<String>)>;

/// Which rules govern a path, and whom they count.
type Found = Vec<(String, Option<Key>)>;

pub(crate) fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let next = || input.text_line().filter(|line| !line.is_empty());
    let templates: Vec<&str> = std::iter::from_fn(next).take(MOST_TEMPLATES).collect();
    let clock = ManualClock::new();
    let Some((limiter, router)) = both(&templates, &clock) else { return };
    let targets: Vec<Uri> = input.lines().take(MOST_PATHS).filter_map(|line| line.try_into().ok()).collect();
    for path in targets.iter().map(Uri::path).filter(|path| path.starts_with('/')) {
        let found = governing(&limiter, path);
        assert_is_what_the_router_has(&limiter, &router, path, &found);
        assert_is_charged_once(&limiter, path);
        clock.advance(MINUTE);
        if is_plain(path) {
            for spelling in spellings(path) {
                let met = governing(&limiter, &spelling);
                assert!(found.iter().all(|rule| met.contains(rule)), "{spelling} escapes a rule of {path}");
            }
        }
    }
}

/// A limiter with a rule for each template, and the router that axum has with the same.
fn both(templates: &[&str], clock: &ManualClock) -> Option<(RateLimiter, Router)> {
    let mut router = matchit::Router::new();
    let mut builder = RateLimiter::builder().clock(clock.clone()).max_keys(1000);
    for (at, template) in templates.iter().enumerate() {
        // A rule's route is trimmed, and a router's is not; of many parameters a router panics.
        let is_sound = template.starts_with('/') && template.trim() == *template && template.matches('{').count() <= 25;
        let param = is_sound.then(|| first_param(template))?;
        let rule = Rule::new(format!("r{at}")).routes([*template]).policy(Policy::per_minute(60));
        let rule = match &param {
            Some(name) => rule.key(key::path(name.clone())).level("param"),
            None => rule.key(|_: &RequestView<'_>| Some("all")).level("all"),
        };
        builder = builder.rule(rule);
        router.insert(*template, (at, param)).ok()?;
    }
    Some((builder.build().ok()?, router))
}

fn first_param(template: &str) -> Option<String> {
    let plain = template.replace("{{", "  ").replace("}}", "  ");
    let (_, behind) = plain.split_once('{')?;
    Some(behind.split_once('}')?.0.trim_start_matches('*').to_owned())
}

fn assert_is_what_the_router_has(limiter: &RateLimiter, router: &Router, path: &str, found: &Found) {
    let Ok(route) = router.at(path) else { return };
    let (at, param) = route.value;
    let value = param.as_ref().and_then(|name| route.params.get(name));
    let key = match value {
        Some(value) => limiter.key(&*Cow::<[u8]>::from(percent_decode_str(value))),
        None => limiter.key("all"),
    };
    let expected = (format!("r{at}"), Some(key));
    assert!(found.contains(&expected), "{path} runs r{at} with {value:?}, which is not charged; but {found:?}");
}

fn governing(limiter: &RateLimiter, path: &str) -> Found {
    let request = Request::get(path).body(()).unwrap();
    let governing = limiter.matching(&RequestView::new(&request));
    governing.iter().map(|rule| (rule.rule().to_owned(), rule.key())).collect()
}

/// MultipleValues readings of a path may lead to the same history. Nothing has been charged within the last minute.
fn assert_is_charged_once(limiter: &RateLimiter, path: &str) {
    let inner = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) });
    let mut service = limiter.layer().decision(DecisionIn::Both).layer(inner);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Service::<Request<()>>::poll_ready(&mut service, &mut cx).is_ready());
    let answered = pin!(service.call(Request::get(path).body(()).unwrap())).poll(&mut cx);
    let Poll::Ready(Ok(response)) = answered else { panic!("there is nothing to wait for") };
    if let Some(decision) = response.extensions().get::<Decision>() {
        let is_one = decision.quotas().all(|quota| quota.limit() - quota.remaining() == 1);
        assert!(is_one, "{path} is charged twice: {decision:?}");
    }
}

/// Whether nothing in a path can be read in two ways.
fn is_plain(path: &str) -> bool {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_~.".contains(char);
    let mut segments = path.split('/').skip(1);
    segments.all(|segment| segment.chars().all(is_plain) && !["", ".", ".."].contains(&segment))
}

fn spellings(path: &str) -> Vec<String> {
    let end = path.len() - 1;
    let encoded = |at: usize| format!("{}%{:02x}{}", &path[..at], path.as_bytes()[at], &path[at + 1..]);
    let with = |slash: &str| path.replace('/', slash);
    vec![
        encoded(1),
        encoded(end).to_ascii_uppercase().replace(&path[..end].to_ascii_uppercase(), &path[..end]),
        with("//"),
        with("/./"),
        with("/x/../"),
        with("/%2e/"),
        format!("{path}/"),
        format!("{path}//"),
        format!("{path}%2F"),
        format!("/..{path}"),
    ]
}
