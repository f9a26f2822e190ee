//! What a refused caller is told on HTTP, word for word (P10), and what everybody else is told.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashSet, VecDeque},
    convert::Infallible,
    future::ready,
    io::Cursor,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, BodyStream, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::{Value, json};
use sfv::{ListEntry, Parser};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_quota::{
    Decision, OnMissing, Policy, Quota, RateLimitLayer, RateLimiter, RateLimiterBuilder, Rule,
    clock::ManualClock,
    http::{DecisionIn, Headers, LegacyReset, OnConflict, ResponseBody},
    key,
};
use tower_quota_tests::{
    full_store::FullStore,
    limiter::{rule, with_rules},
};

const MINUTE: Duration = Duration::from_secs(60);
const PER_MINUTE: &str = "You've exceeded the per-minute rate limit. Please wait for sometime before retrying.";
const HOURLY: &str = "You've exceeded the hourly rate limit. Please wait for sometime before retrying.";

type Answer<B> = Response<ResponseBody<B>>;

fn builder(clock: &ManualClock, rules: impl IntoIterator<Item = Rule>) -> RateLimiterBuilder {
    with_rules(RateLimiter::builder().clock(clock.clone()), rules)
}

fn limiter(clock: &ManualClock, policy: Policy) -> RateLimiter {
    builder(clock, [rule("calls", policy)]).build().unwrap()
}

/// A layer for one policy, at a time that stands still.
fn layer(policy: Policy) -> RateLimitLayer {
    limiter(&ManualClock::new(), policy).layer()
}

/// A service that answers 200 with an empty body.
fn answering() -> impl Service<Request<()>, Response = Response<String>, Error = Infallible> + Clone {
    service_fn(|_: Request<()>| ready(Ok(Response::new(String::new()))))
}

/// Sends a GET through the layer to a service that answers with `response`.
async fn send_to<B: Body>(layer: &RateLimitLayer, response: Response<B>) -> Answer<B> {
    let response = Cell::new(Some(response));
    let inner = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(response.take().unwrap())));
    layer.layer(inner).oneshot(Request::new(())).await.unwrap()
}

async fn send(layer: &RateLimitLayer) -> Answer<String> {
    send_to(layer, Response::new(String::new())).await
}

/// The answer to a request that comes when all is used up.
async fn refused(layer: &RateLimitLayer) -> Answer<String> {
    for _ in 0..100 {
        let response = send(layer).await;
        if response.status() == 429 {
            return response;
        }
    }
    panic!("never refused")
}

async fn body<B: Body<Error: std::fmt::Debug>>(response: Response<B>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

async fn problem(response: Answer<String>) -> Value {
    serde_json::from_slice(&body(response).await).unwrap()
}

/// The items of a structured List, which must be Strings with Integers, and of different names ignoring case.
fn items(headers: &HeaderMap, field: &str) -> Vec<(String, BTreeMap<String, i64>)> {
    let lines: Vec<&str> = headers.get_all(field).iter().map(|line| line.to_str().unwrap()).collect();
    let list: sfv::List = Parser::new(&lines.join(", ")).parse().unwrap_or_else(|error| panic!("{lines:?}: {error}"));
    let items: Vec<_> = list
        .iter()
        .map(|entry| {
            let ListEntry::Item(item) = entry else { panic!("{lines:?} holds an inner list") };
            let name = item.bare_item.as_string().unwrap_or_else(|| panic!("a name in {lines:?} is no String"));
            let params = item.params.iter().map(|(key, value)| {
                let integer = value.as_integer().unwrap_or_else(|| panic!("{key} in {lines:?} is no Integer"));
                (key.as_str().to_owned(), i64::from(integer))
            });
            (name.as_str().to_owned(), params.collect())
        })
        .collect();
    let names: HashSet<_> = items.iter().map(|(name, _)| name.to_lowercase()).collect();
    assert_eq!(names.len(), items.len(), "a name stands twice in {field}: {lines:?}");
    items
}

/// Name, `r` and `t`.
fn limits(headers: &HeaderMap) -> Vec<(String, i64, i64)> {
    let items = items(headers, "ratelimit").into_iter();
    items.map(|(name, params)| (name, params["r"], params["t"])).collect()
}

/// Name, `q` and `w`.
fn policies(headers: &HeaderMap) -> Vec<(String, i64, i64)> {
    let items = items(headers, "ratelimit-policy").into_iter();
    items.map(|(name, params)| (name, params["q"], params["w"])).collect()
}

fn named(name: &str, one: i64, other: i64) -> (String, i64, i64) {
    (name.to_owned(), one, other)
}

fn lines<'a>(response: &'a Answer<String>, field: &str) -> Vec<&'a HeaderValue> {
    response.headers().get_all(field).iter().collect()
}

// ---- the refusal ----

#[tokio::test]
async fn a_refusal_is_429_with_a_problem_document() {
    let response = refused(&layer(Policy::per_minute(60).and_per_hour(1800))).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(lines(&response, "content-type"), ["application/problem+json"]);
    assert_eq!(lines(&response, "retry-after"), ["60"]);
    assert_eq!(lines(&response, "ratelimit"), [r#""minute";r=0;t=60, "hour";r=1740;t=3600"#]);
    assert_eq!(lines(&response, "ratelimit-policy"), [r#""minute";q=60;w=60, "hour";q=1800;w=3600"#]);
    assert_eq!(response.headers().len(), 4);
    let expected = json!({
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "detail": PER_MINUTE,
        "violated-policies": ["minute"],
    });
    assert_eq!(problem(response).await, expected);
}

#[tokio::test]
async fn the_body_of_a_refusal_has_no_member_twice_and_its_length_is_known() {
    let response = refused(&layer(Policy::per_minute(1))).await;
    let announced = response.body().size_hint().exact().unwrap();
    assert!(!response.body().is_end_stream());
    let text = body(response).await;
    assert_eq!(announced, text.len() as u64);
    let text = std::str::from_utf8(&text).unwrap();
    for member in ["type", "title", "status", "detail", "violated-policies"] {
        assert_eq!(text.matches(&format!("\"{member}\":")).count(), 1, "{text}");
    }
}

#[tokio::test]
async fn an_exhausted_hour_refuses_while_the_minute_has_room_and_says_so() {
    let clock = ManualClock::new();
    let layer = limiter(&clock, Policy::per_minute(2).and_per_hour(3)).layer();
    for expected in [200, 200, 429] {
        assert_eq!(send(&layer).await.status(), expected);
    }
    clock.advance(2 * MINUTE);
    assert_eq!(send(&layer).await.status(), 200);
    let response = send(&layer).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "3480");
    assert_eq!(limits(response.headers()), [named("minute", 1, 60), named("hour", 0, 3480)]);
    let problem = problem(response).await;
    assert_eq!(problem["detail"], HOURLY);
    assert_eq!(problem["violated-policies"], json!(["hour"]));
}

#[tokio::test]
async fn if_both_are_exhausted_both_are_named_and_the_longer_wait_counts() {
    let response = refused(&layer(Policy::per_minute(2).and_per_hour(2))).await;
    assert_eq!(response.headers()["retry-after"], "3600");
    assert_eq!(limits(response.headers()), [named("minute", 0, 60), named("hour", 0, 3600)]);
    let problem = problem(response).await;
    assert_eq!(problem["detail"], HOURLY);
    assert_eq!(problem["violated-policies"], json!(["minute", "hour"]));
}

/// The two sentences that the first users' documents promise.
#[tokio::test]
async fn the_messages_for_a_minute_and_an_hour_are_the_promised_ones() {
    for (policy, message) in [(Policy::per_minute(1), PER_MINUTE), (Policy::per_hour(1), HOURLY)] {
        assert_eq!(problem(refused(&layer(policy)).await).await["detail"], message);
    }
}

/// Also when a window is written otherwise or has a name of its own.
#[tokio::test]
async fn the_message_speaks_of_the_window_and_not_of_its_name() {
    let named = Policy::new(Quota::new(1, Duration::from_secs(3600)).named("burst"));
    let response = refused(&layer(named)).await;
    assert_eq!(limits(response.headers()), [("burst".to_owned(), 0, 3600)]);
    assert_eq!(problem(response).await["detail"], HOURLY);
}

/// T8, F18.
#[tokio::test]
async fn retry_after_is_rounded_up_and_never_0() {
    let nanos = Duration::from_nanos;
    let waits = [
        (nanos(1), "1"),
        (nanos(500_000_000), "1"),
        (nanos(999_000_000), "1"),
        (nanos(1_000_000_000), "1"),
        (nanos(1_000_000_001), "2"),
        (nanos(59_000_000_001), "60"),
        (MINUTE, "60"),
    ];
    for (wait, expected) in waits {
        let clock = ManualClock::new();
        let layer = limiter(&clock, Policy::per_minute(1)).layer();
        assert_eq!(send(&layer).await.status(), 200);
        clock.advance(MINUTE - wait);
        let response = send(&layer).await;
        assert_eq!(response.status(), 429, "{wait:?} before there is room");
        assert_eq!(response.headers()["retry-after"], expected, "{wait:?}");
        let seconds: i64 = expected.parse().unwrap();
        assert_eq!(limits(response.headers()), [named("minute", 0, seconds)]);
        assert_eq!(response.extensions().get::<Decision>().unwrap().retry_after(), Some(wait));
        clock.advance(wait);
        assert_eq!(send(&layer).await.status(), 200, "P4: the wait is true");
    }
}

/// Recording rounds up, so the wait for all of a window is a part of a millisecond longer than that. Nobody is told a second
/// more for it, nor a millisecond.
#[tokio::test]
async fn nothing_on_the_wire_states_more_than_the_window() {
    for (window, seconds) in [(1_000, "1"), (1_500, "2"), (60_000, "60"), (3_600_000, "3600"), (86_400_000, "86400")] {
        for nanos in [0, 1, 200_000, 999_999] {
            let (clock, window) = (ManualClock::new(), Duration::from_millis(window));
            clock.advance(Duration::from_nanos(nanos));
            let layer = limiter(&clock, Quota::new(2, window).into())
                .layer()
                .headers(Headers::rate_limit().with_legacy(LegacyReset::Delta));
            let told = |response: &Answer<String>| {
                assert_eq!(response.headers()["x-ratelimit-reset"], seconds, "{window:?} and {nanos} ns");
                let reset = limits(response.headers())[0].2;
                assert_eq!(reset.to_string(), seconds, "{window:?} and {nanos} ns");
            };
            for status in [200, 200, 429] {
                let response = send(&layer).await;
                assert_eq!(response.status(), status);
                told(&response);
            }
            let response = send(&layer).await;
            assert_eq!(response.headers()["retry-after"], seconds);
            let decision = response.extensions().get::<Decision>().unwrap();
            let wait = decision.retry_after().unwrap();
            assert!(wait >= window && wait < window + Duration::from_millis(1), "the decision is exact: {wait:?}");
        }
    }
}

/// Only what rounding adds is left out: a wait that is longer for another reason is told.
#[tokio::test]
async fn a_wait_within_the_window_is_rounded_up_as_ever() {
    let clock = ManualClock::new();
    let layer = limiter(&clock, Policy::per_minute(1)).layer();
    send(&layer).await;
    clock.advance(Duration::from_nanos(29_999_999_999));
    let response = send(&layer).await;
    assert_eq!(response.headers()["retry-after"], "31");
    clock.advance(Duration::from_secs(30));
    assert_eq!(send(&layer).await.status(), 429, "30 seconds would have been too few");
}

/// P4, F18: for odd moments of arrival as well. What recording adds, less than a millisecond, is the way of the request.
#[tokio::test]
async fn a_caller_that_sleeps_for_retry_after_is_served() {
    let clock = ManualClock::new();
    clock.advance(Duration::from_nanos(123_456_789));
    let layer = limiter(&clock, Policy::per_second(2).and(Quota::new(3, Duration::from_millis(2_500)))).layer();
    let mut refusals = 0;
    for step in 0..200_u64 {
        let response = send(&layer).await;
        if let Some(wait) = response.headers().get("retry-after") {
            refusals += 1;
            assert_eq!(response.status(), 429);
            let seconds: u64 = wait.to_str().unwrap().parse().unwrap();
            assert!((1..=3).contains(&seconds));
            clock.advance(Duration::from_secs(seconds) + Duration::from_nanos(999_999));
            assert_eq!(send(&layer).await.status(), 200);
        }
        clock.advance(Duration::from_nanos(step * 1_000_003));
    }
    assert!(refusals > 50, "{refusals}");
}

#[tokio::test]
async fn a_refused_head_has_the_fields_and_no_body() {
    let layer = layer(Policy::per_minute(1));
    let ask = async |method: Method| {
        let service = layer.layer(answering());
        service.oneshot(Request::builder().method(method).body(()).unwrap()).await.unwrap()
    };
    assert_eq!(ask(Method::GET).await.status(), 200);
    let (get, head) = (ask(Method::GET).await, ask(Method::HEAD).await);
    assert_eq!((get.status(), head.status()), (StatusCode::TOO_MANY_REQUESTS, StatusCode::TOO_MANY_REQUESTS));
    let mut fields = head.headers().clone();
    let length = fields.remove("content-length").unwrap();
    assert_eq!(get.headers(), &fields);
    assert_eq!(Some(length.to_str().unwrap().parse().unwrap()), get.body().size_hint().exact());
    assert!(head.body().is_end_stream());
    assert!(body(head).await.is_empty());
    assert!(!body(get).await.is_empty());
}

#[tokio::test]
async fn other_refusals_of_a_head_have_no_body_either() {
    let closure = layer(Policy::per_minute(1)).on_refusal(|_, _| Response::new("text"));
    let insisting = rule("calls", Policy::per_minute(1)).key(key::header("x-account")).level("account");
    let insisting = builder(&ManualClock::new(), [insisting.on_missing(OnMissing::Reject(StatusCode::UNAUTHORIZED))]);
    for layer in [closure, insisting.build().unwrap().layer()] {
        let service = layer.layer(answering());
        for _ in 0..2 {
            let head = Request::builder().method(Method::HEAD).body(()).unwrap();
            assert!(body(service.clone().oneshot(head).await.unwrap()).await.is_empty());
        }
    }
}

// ---- the fields ----

#[tokio::test]
async fn served_requests_are_told_what_is_left() {
    let clock = ManualClock::new();
    let layer = limiter(&clock, Policy::per_minute(3).and_per_hour(100)).layer();
    let told = [
        [named("minute", 2, 60), named("hour", 99, 3600)],
        [named("minute", 1, 50), named("hour", 98, 3590)],
        [named("minute", 0, 40), named("hour", 97, 3580)],
    ];
    for expected in told {
        let response = send(&layer).await;
        assert_eq!(limits(response.headers()), expected);
        assert_eq!(policies(response.headers()), [named("minute", 3, 60), named("hour", 100, 3600)]);
        assert!(!response.headers().contains_key("retry-after"));
        clock.advance(Duration::from_secs(10));
    }
}

/// The draft asks for care on redirects, of which 304 is none; a 401 would tell strangers about somebody's traffic (F43); and
/// who is refused by somebody else has no use for what is left here.
#[tokio::test]
async fn redirects_401_and_refusals_are_told_nothing_and_everybody_else_is() {
    let layer = layer(Policy::per_minute(10_000))
        .headers(Headers::rate_limit().with_legacy(LegacyReset::Delta))
        .decision(DecisionIn::Both);
    for status in (200..600).filter_map(|code| StatusCode::from_u16(code).ok()) {
        let response = send_to(&layer, Response::builder().status(status).body(String::new()).unwrap()).await;
        let is_redirect = status.is_redirection() && status != 304;
        let is_told = !(is_redirect || [401, 429, 503].contains(&status.as_u16()));
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().is_empty(), !is_told, "{status}");
        assert_eq!(response.headers().contains_key("ratelimit"), is_told, "{status}");
        assert!(!response.headers().contains_key("retry-after"));
        assert!(response.extensions().get::<Decision>().is_some(), "outer layers are told in any case");
    }
}

#[tokio::test]
async fn switched_off_the_fields_stay_away_except_from_refusals() {
    let layer = layer(Policy::per_minute(1)).headers(Headers::on_refusals());
    assert!(send(&layer).await.headers().is_empty());
    let response = send(&layer).await;
    assert_eq!(limits(response.headers()), [named("minute", 0, 60)]);
    assert_eq!(policies(response.headers()), [named("minute", 1, 60)]);
    assert_eq!(response.headers()["retry-after"], "60");
}

#[tokio::test]
async fn the_old_fields_in_delta_form_count_seconds_from_now() {
    let clock = ManualClock::new();
    let layer = limiter(&clock, Policy::per_minute(2).and_per_hour(100))
        .layer()
        .headers(Headers::rate_limit().with_legacy(LegacyReset::Delta));
    let told = async || {
        let response = send(&layer).await;
        ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"].map(|field| {
            assert_eq!(lines(&response, field).len(), 1);
            response.headers()[field].to_str().unwrap().parse::<u64>().unwrap()
        })
    };
    assert_eq!(told().await, [2, 1, 60]);
    clock.advance(Duration::from_millis(500));
    assert_eq!(told().await, [2, 0, 60]);
    clock.advance(Duration::from_millis(59_499));
    assert_eq!(told().await, [2, 0, 1], "refused");
    clock.advance(Duration::from_millis(1));
    assert_eq!(told().await, [2, 0, 1], "admitted again, and 500 ms from one more");
}

#[tokio::test]
async fn the_old_fields_in_epoch_form_keep_to_a_clock_that_is_moved_by_hand() {
    let clock = ManualClock::new();
    let layer =
        limiter(&clock, Policy::per_hour(1)).layer().headers(Headers::rate_limit().with_legacy(LegacyReset::Epoch));
    let told = async || send(&layer).await.headers()["x-ratelimit-reset"].clone();
    assert_eq!(told().await, "3600");
    clock.advance(Duration::from_millis(1_000_500));
    assert_eq!(told().await, "3600");
    clock.set(Duration::from_secs(1_700_000_000));
    assert_eq!(told().await, "1700003600");
}

#[tokio::test]
async fn the_old_fields_in_epoch_form_name_a_second_of_the_calendar() {
    let layer = RateLimitLayer::new(tower_quota::key::constant("everybody"), Policy::per_hour(1))
        .unwrap()
        .headers(Headers::rate_limit().with_legacy(LegacyReset::Epoch));
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    for _ in 0..2 {
        let earliest = now() + 3600;
        let response = send(&layer).await;
        let reset: u64 = response.headers()["x-ratelimit-reset"].to_str().unwrap().parse().unwrap();
        assert!((earliest..=now() + 3601).contains(&reset), "{reset}");
    }
}

#[tokio::test]
async fn the_old_fields_are_off_by_default_and_independent_of_the_new_ones() {
    let headers = send(&layer(Policy::per_minute(1))).await.headers().clone();
    assert!(headers.keys().all(|name| !name.as_str().starts_with("x-")));
    let only_old = layer(Policy::per_minute(1)).headers(Headers::none().with_legacy(LegacyReset::Delta));
    let headers = send(&only_old).await.headers().clone();
    assert_eq!(headers.len(), 3);
    assert!(headers.keys().all(|name| name.as_str().starts_with("x-ratelimit-")));
}

/// F42, RFC 9651: an Integer has at most 15 digits, and the whole field is void if one has more.
#[tokio::test]
async fn the_largest_limits_and_the_longest_windows_stay_valid() {
    let century = Duration::from_secs(36_525 * 24 * 60 * 60);
    for policy in [
        Policy::new(Quota::new(Quota::MAX_LIMIT, century)),
        Policy::new(Quota::new(Quota::MAX_LIMIT, Duration::from_millis(1))),
        Policy::new(Quota::new(1, century)).and_per_second(Quota::MAX_LIMIT),
    ] {
        let clock = ManualClock::new();
        clock.set(Duration::MAX);
        for legacy in [LegacyReset::Delta, LegacyReset::Epoch] {
            let layer = limiter(&clock, policy.clone()).layer().headers(Headers::rate_limit().with_legacy(legacy));
            for _ in 0..2 {
                let response = send(&layer).await;
                for (_, one, other) in limits(response.headers()).into_iter().chain(policies(response.headers())) {
                    assert!(one >= 0 && other >= 1, "{:?}", response.headers());
                }
                assert!(policies(response.headers()).iter().any(|(_, q, _)| *q == Quota::MAX_LIMIT as i64));
            }
        }
    }
    let response = refused(&layer(Policy::new(Quota::new(1, century)))).await;
    assert_eq!(response.headers()["retry-after"], "3155760000");
    assert_eq!(policies(response.headers())[0].2, 3_155_760_000);
}

#[tokio::test]
async fn a_limit_beyond_32_bits_is_told_in_every_field() {
    let headers = Headers::rate_limit().with_legacy(LegacyReset::Delta);
    let response = send(&layer(Policy::per_hour(1 << 40)).headers(headers)).await;
    assert_eq!(lines(&response, "ratelimit"), [r#""hour";r=1099511627775;t=3600"#]);
    assert_eq!(lines(&response, "ratelimit-policy"), [r#""hour";q=1099511627776;w=3600"#]);
    assert_eq!(lines(&response, "x-ratelimit-limit"), ["1099511627776"]);
    assert_eq!(lines(&response, "x-ratelimit-remaining"), ["1099511627775"]);
}

#[tokio::test]
async fn a_limit_beyond_32_bits_is_told_in_the_refusal() {
    let builder = builder(&ManualClock::new(), [rule("calls", Policy::per_hour(1 << 40))]);
    let layer = builder.message("{limit} per {window}").store(FullStore::default()).build().unwrap().layer();
    let response = layer.layer(answering()).oneshot(Request::new(())).await.unwrap();
    assert_eq!(lines(&response, "ratelimit"), [r#""hour";r=0;t=3600"#]);
    assert_eq!(lines(&response, "ratelimit-policy"), [r#""hour";q=1099511627776;w=3600"#]);
    let problem = problem(response).await;
    assert_eq!((&problem["detail"], &problem["violated-policies"]), (&json!("1099511627776 per 1h"), &json!(["hour"])));
}

/// `w` is a whole number of seconds and not 0.
#[tokio::test]
async fn windows_of_parts_of_a_second_are_rounded_up() {
    for (millis, seconds) in [(1, 1), (999, 1), (1_000, 1), (1_001, 2)] {
        let response = refused(&layer(Policy::new(Quota::new(1, Duration::from_millis(millis))))).await;
        assert_eq!(policies(response.headers())[0].2, seconds);
        assert_eq!(response.headers()["retry-after"], seconds.to_string());
    }
}

#[tokio::test]
async fn every_name_a_quota_may_have_survives_the_wire() {
    let every_character: String = ('!'..='~').filter(|letter| !matches!(letter, '"' | '\\')).collect();
    let policy = Policy::new(Quota::per_minute(1).named(every_character.clone()));
    let response = refused(&layer(policy)).await;
    assert_eq!(limits(response.headers()), [named(&every_character, 0, 60)]);
    assert_eq!(policies(response.headers()), [named(&every_character, 1, 60)]);
    assert_eq!(problem(response).await["violated-policies"], json!([every_character]));
}

// ---- several rules ----

#[tokio::test]
async fn several_rules_are_told_under_names_of_their_own() {
    let clock = ManualClock::new();
    let rules = [
        rule("bot", Policy::per_minute(3).and_per_hour(9)),
        rule("account", Policy::per_minute(2)),
        rule("total", Policy::new(Quota::per_minute(50).named("shared"))),
    ];
    let layer = builder(&clock, rules).build().unwrap().layer();
    assert_eq!(send(&layer).await.status(), 200);
    let response = refused(&layer).await;
    assert_eq!(
        limits(response.headers()),
        [
            named("bot/minute", 1, 60),
            named("bot/hour", 7, 3600),
            named("account/minute", 0, 60),
            named("total/shared", 48, 60)
        ]
    );
    assert_eq!(
        policies(response.headers()),
        [
            named("bot/minute", 3, 60),
            named("bot/hour", 9, 3600),
            named("account/minute", 2, 60),
            named("total/shared", 50, 60)
        ]
    );
    assert_eq!(problem(response).await["violated-policies"], json!(["account/minute"]));
}

#[tokio::test]
async fn a_request_is_told_of_the_rules_that_govern_it_only() {
    let other = Rule::new("other").routes(["/other"]).key(key::constant("all")).policy(Policy::per_minute(5));
    let layer = builder(&ManualClock::new(), [other, rule("calls", Policy::per_minute(5))]).build().unwrap().layer();
    assert_eq!(limits(send(&layer).await.headers()), [named("calls/minute", 4, 60)]);
}

/// A request may be charged twice under one rule, to two keys: two readings of its path give two values.
#[tokio::test]
async fn a_rule_that_charges_a_request_twice_is_named_once() {
    // F42, F10
    let by_bot = Rule::new("bots").key(key::path("id")).level("bot").policy(Policy::per_minute(2));
    let by_query = Rule::new("bots").key(key::query("id")).level("query").policy(Policy::per_minute(2));
    let by_query = by_query.routes(["/bots/{id}"]).group(key::path("id"), ["GET /bots/{id}"]);
    let cases = [
        (by_bot.clone().routes(["/bots/{id}", "/bots/{id}/{action}"]), "/bots/a%2Fb"),
        (by_bot.clone().routes(["/{*id}"]), "/x/../a"),
        (by_bot.routes(["/bots/{id}", "GET /bots/{id}"]).per_route(), "/bots/a"),
        (by_query, "/bots/a?id=b"),
    ];
    for (rule, path) in cases {
        let layer = builder(&ManualClock::new(), [rule]).build().unwrap().layer();
        let service = layer.layer(answering());
        for expected in [200, 200, 429] {
            let request = Request::builder().uri(path).body(()).unwrap();
            let response = service.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), expected, "{path}");
            assert_eq!(limits(response.headers()).len(), 1, "{path}: {:?}", response.headers());
            assert_eq!(policies(response.headers()).len(), 1, "{path}: {:?}", response.headers());
            if expected == 429 {
                assert_eq!(problem(response).await["violated-policies"], json!(["minute"]));
            }
        }
    }
}

// ---- fields that the inner service has set itself (F42) ----

/// An answer of a service that limits by itself.
fn limited(fields: &[(&'static str, &'static str)]) -> Response<String> {
    let mut response = Response::new(String::new());
    for (name, value) in fields {
        response.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

const INNER: [(&str, &str); 2] = [("ratelimit", "\"inner\";r=7;t=1"), ("ratelimit-policy", "\"inner\";q=9;w=10")];

#[tokio::test]
async fn fields_of_the_inner_service_are_kept_by_default() {
    for layer in [layer(Policy::per_minute(9)), layer(Policy::per_minute(9)).on_conflict(OnConflict::Keep)] {
        let response = send_to(&layer, limited(&INNER)).await;
        assert_eq!(lines(&response, "ratelimit"), ["\"inner\";r=7;t=1"]);
        assert_eq!(lines(&response, "ratelimit-policy"), ["\"inner\";q=9;w=10"]);
    }
}

#[tokio::test]
async fn fields_of_the_inner_service_are_replaced_on_demand() {
    let layer = layer(Policy::per_minute(9)).on_conflict(OnConflict::Replace);
    let twice = [INNER[0], ("ratelimit", "\"more\";r=1;t=1"), INNER[1]];
    let response = send_to(&layer, limited(&twice)).await;
    assert_eq!(limits(response.headers()), [named("minute", 8, 60)]);
    assert_eq!(policies(response.headers()), [named("minute", 9, 60)]);
}

#[tokio::test]
async fn fields_of_the_inner_service_are_merged_on_demand() {
    let layer = layer(Policy::per_minute(9)).on_conflict(OnConflict::Merge);
    let response = send_to(&layer, limited(&INNER)).await;
    assert_eq!(limits(response.headers()), [named("inner", 7, 1), named("minute", 8, 60)]);
    assert_eq!(policies(response.headers()), [named("inner", 9, 10), named("minute", 9, 60)]);
}

#[tokio::test]
async fn merging_never_says_a_name_twice() {
    let layer = layer(Policy::per_minute(99).and_per_hour(99)).on_conflict(OnConflict::Merge);
    for line in ["\"minute\";r=7;t=1", "\"x\";r=1, \"MINUTE\";r=7;t=1", "\"a\";r=1;t=1,\"Hour\";r=1;t=1"] {
        for name in ["ratelimit", "ratelimit-policy"] {
            let response = send_to(&layer, limited(&[(name, line)])).await;
            assert_eq!(lines(&response, name), [line]);
            assert_eq!(response.headers().len(), 1, "neither in the other field");
        }
    }
}

/// The draft's editors let names be Tokens as well, and do not tell `minute` from `"minute"`.
#[tokio::test]
async fn merging_knows_a_name_that_is_a_token() {
    let layer = layer(Policy::per_minute(99)).on_conflict(OnConflict::Merge);
    for line in ["minute;r=7;t=1", "other;r=1;t=1,minute;r=7;t=1", "Minute"] {
        let response = send_to(&layer, limited(&[("ratelimit", line)])).await;
        assert_eq!(lines(&response, "ratelimit"), [line]);
    }
}

#[tokio::test]
async fn merging_is_not_put_off_by_a_parameter_that_holds_the_name() {
    let layer = layer(Policy::per_minute(99)).on_conflict(OnConflict::Merge);
    let response = send_to(&layer, limited(&[("ratelimit", "\"inner\";r=7;t=1;unit=\"minute\"")])).await;
    assert_eq!(lines(&response, "ratelimit").len(), 2);
}

#[tokio::test]
async fn two_limiters_of_equal_names_never_say_a_name_twice() {
    for outcome in [OnConflict::Keep, OnConflict::Replace, OnConflict::Merge] {
        let (outer, inner) = (layer(Policy::per_minute(9)), layer(Policy::per_minute(5).and_per_hour(7)));
        let inner = inner.layer(answering());
        let response = outer.on_conflict(outcome).layer(inner).oneshot(Request::new(())).await.unwrap();
        assert!(!items(response.headers(), "ratelimit").is_empty());
        assert!(!items(response.headers(), "ratelimit-policy").is_empty());
    }
}

#[tokio::test]
async fn other_fields_of_the_inner_service_are_left_alone() {
    let layer = layer(Policy::per_minute(9))
        .on_conflict(OnConflict::Replace)
        .headers(Headers::rate_limit().with_legacy(LegacyReset::Delta));
    let fields = [("retry-after", "5"), ("x-ratelimit-used", "3"), ("set-cookie", "a=b"), ("set-cookie", "c=d")];
    let response = send_to(&layer, limited(&fields)).await;
    assert_eq!(lines(&response, "retry-after"), ["5"]);
    assert_eq!(lines(&response, "x-ratelimit-used"), ["3"]);
    assert_eq!(lines(&response, "set-cookie"), ["a=b", "c=d"]);
    assert_eq!(limits(response.headers()), [named("minute", 8, 60)]);
    assert_eq!(lines(&response, "x-ratelimit-limit"), ["9"]);
}

/// Every field that a limiter further in may set, alone: what it leaves out is not ours to add.
#[tokio::test]
async fn a_set_of_fields_is_of_one_limiter_as_a_whole() {
    let draft = ["ratelimit", "ratelimit-policy", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"];
    let legacy = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    let ours = |response: &Answer<String>, names: &[&str]| {
        let others = names.iter().filter(|name| lines(response, name).contains(&&HeaderValue::from_static("3600")));
        (names.iter().filter(|name| response.headers().contains_key(**name)).count(), others.count())
    };
    for (set, (mine, all)) in [(&draft[..], (2, 2)), (&legacy, (3, 3))] {
        let other = if set.len() == 3 { &draft[..] } else { &legacy };
        for &name in set {
            let layer = layer(Policy::per_minute(9)).headers(Headers::rate_limit().with_legacy(LegacyReset::Delta));
            let kept = send_to(&layer, limited(&[(name, "3600")])).await;
            assert_eq!(ours(&kept, set), (1, 1), "{name} is kept and nothing added");
            let replaced = send_to(&layer.clone().on_conflict(OnConflict::Replace), limited(&[(name, "3600")])).await;
            assert_eq!(ours(&replaced, set), (mine, 0), "{name} is replaced with all of its set");
            let merged = send_to(&layer.on_conflict(OnConflict::Merge), limited(&[(name, "3600")])).await;
            assert_eq!(ours(&merged, set), (1, 1), "{name} cannot be merged");
            for response in [&kept, &replaced, &merged] {
                assert_eq!(ours(response, other), (5 - all, 0), "{name} is none of the other set");
            }
        }
    }
}

/// Drafts up to 7 had other fields of the same name: nothing of ours can stand beside these.
#[tokio::test]
async fn fields_of_an_older_draft_are_not_merged() {
    let layer = layer(Policy::per_minute(9)).on_conflict(OnConflict::Merge);
    let older: [&[(&str, &str)]; 5] = [
        &[("ratelimit", "limit=100, remaining=50, reset=5")],
        &[("ratelimit-policy", "100;w=60")],
        &[("ratelimit-limit", "100"), ("ratelimit-remaining", "50"), ("ratelimit-reset", "5")],
        &[("ratelimit", "\"inner\";r=7;t=1"), ("ratelimit-policy", "100;w=60")],
        &[("ratelimit", "\"inner\";r=7;t=1"), ("ratelimit-limit", "100")],
    ];
    for fields in older {
        let response = send_to(&layer, limited(fields)).await;
        assert_eq!(response.headers().len(), fields.len(), "{fields:?}: {:?}", response.headers());
    }
}

/// A caller who is told to stay away by somebody else must not read that there is room.
#[tokio::test]
async fn a_refusal_of_somebody_further_in_is_not_decorated() {
    let grpc = |fields: &'static [(&str, &str)]| {
        let mut response = limited(fields);
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        response
    };
    let http = |status: u16, fields: &'static [(&str, &str)]| {
        let mut response = limited(fields);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    };
    for outcome in [OnConflict::Keep, OnConflict::Replace, OnConflict::Merge] {
        let layer = layer(Policy::per_minute(999)).on_conflict(outcome);
        let layer = layer.headers(Headers::rate_limit().with_legacy(LegacyReset::Delta).in_trailers_only());
        let refusals = [
            http(429, &[]),
            http(429, &[("retry-after", "3600"), ("x-ratelimit-limit", "5000"), ("x-ratelimit-remaining", "0")]),
            http(429, &[("ratelimit-remaining", "0")]),
            http(429, &INNER),
            http(503, &[]),
            http(403, &[("retry-after", "60")]),
            http(529, &[("retry-after", "5")]),
            grpc(&[("grpc-status", "8")]),
            grpc(&[("grpc-status", "14")]),
            grpc(&[("grpc-status", "10"), ("grpc-retry-pushback-ms", "100")]),
        ];
        for refusal in refusals {
            let expected = refusal.headers().clone();
            assert_eq!(send_to(&layer, refusal).await.headers(), &expected, "{outcome:?}");
        }
        let answers = [http(200, &[]), http(202, &[("retry-after", "5")]), http(404, &[]), http(500, &[])];
        for answer in answers.into_iter().chain([grpc(&[]), grpc(&[("grpc-status", "5")])]) {
            let told = send_to(&layer, answer).await;
            assert!(told.headers().contains_key("ratelimit") && told.headers().contains_key("x-ratelimit-reset"));
        }
    }
}

/// What a closure says of a refusal of ours stays, whatever happens to the fields of the inner service.
#[tokio::test]
async fn fields_of_a_closure_are_kept_as_a_whole() {
    let layer = layer(Policy::per_minute(1))
        .on_conflict(OnConflict::Replace)
        .headers(Headers::rate_limit().with_legacy(LegacyReset::Delta));
    let layer = layer.on_refusal(|refusal, _| {
        let mut response = refusal.response();
        response.headers_mut().insert("x-ratelimit-limit", 7.into());
        response.headers_mut().insert("ratelimit-policy", HeaderValue::from_static("\"mine\";q=7"));
        response
    });
    let response = refused(&layer).await;
    let fields: Vec<_> = response.headers().keys().filter(|name| name.as_str().contains("ratelimit")).collect();
    assert_eq!(fields, ["x-ratelimit-limit", "ratelimit-policy"]);
    assert_eq!(response.headers()["retry-after"], "60");
}

// ---- requests that are turned away for other reasons ----

#[tokio::test]
async fn a_request_without_the_key_that_a_rule_insists_on_is_told_what_is_missing() {
    let insisting = rule("calls", Policy::per_minute(9)).key(key::header("x-account")).level("account");
    let insisting = insisting.on_missing(OnMissing::Reject(StatusCode::UNAUTHORIZED));
    let limiter = builder(&ManualClock::new(), [rule("total", Policy::per_minute(9)), insisting]).build().unwrap();
    let response = send(&limiter.layer().headers(Headers::rate_limit().with_legacy(LegacyReset::Delta))).await;
    assert_eq!(response.status(), 401);
    assert_eq!(lines(&response, "content-type"), ["application/problem+json"]);
    assert_eq!(response.headers().len(), 1, "nothing of anybody's quotas, and no Retry-After");
    let expected = json!({
        "type": "about:blank",
        "title": "Unauthorized",
        "status": 401,
        "detail": "The request does not carry the account by which it is limited.",
    });
    assert_eq!(problem(response).await, expected);
    assert!(limiter.is_empty(), "nothing is charged, by no rule");
}

#[tokio::test]
async fn a_status_without_a_name_has_a_title_all_the_same() {
    let status = StatusCode::from_u16(499).unwrap();
    let insisting = rule("calls", Policy::per_minute(9)).key(key::header("x-account")).level("account");
    let limiter = builder(&ManualClock::new(), [insisting.on_missing(OnMissing::Reject(status))]).build().unwrap();
    let response = send(&limiter.layer()).await;
    assert_eq!(response.status(), 499);
    assert!(problem(response).await["title"].as_str().is_some_and(|title| !title.is_empty()));
}

#[test]
fn a_mistake_is_found_where_the_layer_is_made() {
    let error = RateLimitLayer::new(key::constant("all"), Policy::per_minute(0)).unwrap_err();
    assert_eq!((error.field(), error.value()), ("quota \"minute\": limit", "0"));
    let error = RateLimitLayer::new(key::header(""), Policy::per_minute(1)).unwrap_err();
    assert_eq!((error.field(), error.value()), ("key", "\"header:\""));
    assert!(RateLimitLayer::new(key::constant("all"), Policy::per_minute(1)).is_ok());
}

// ---- the inner service's body passes ----

/// A body of the frames given, whose data need not be [`Bytes`]. It knows its length.
struct Frames<D>(VecDeque<Frame<D>>);

impl<D: Buf + Unpin> Body for Frames<D> {
    type Data = D;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<D>, Self::Error>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.0.iter().filter_map(Frame::data_ref);
        SizeHint::with_exact(data.map(|data| data.remaining() as u64).sum())
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))])
}

fn frames() -> Frames<bytes::buf::Chain<Cursor<Vec<u8>>, &'static [u8]>> {
    let data =
        |text: &str, more: &'static str| Frame::data(Cursor::new(text.as_bytes().to_vec()).chain(more.as_bytes()));
    Frames(VecDeque::from([data("one, ", "two, "), data("", ""), data("three", ""), Frame::trailers(trailers())]))
}

#[tokio::test]
async fn data_of_any_type_and_trailers_pass_through() {
    let layer = layer(Policy::per_minute(9));
    let streamed = StreamBody::new(BodyStream::new(frames()));
    let boxed: UnsyncBoxBody<Bytes, std::io::Error> =
        frames().map_frame(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))).boxed_unsync();
    let (a, b, c) = (
        send_to(&layer, Response::new(frames())).await.into_body().collect().await.unwrap(),
        send_to(&layer, Response::new(streamed)).await.into_body().collect().await.unwrap(),
        send_to(&layer, Response::new(boxed)).await.into_body().collect().await.unwrap(),
    );
    for collected in [a, b, c] {
        assert_eq!(collected.trailers(), Some(&trailers()));
        assert_eq!(collected.to_bytes(), "one, two, three");
    }
}

#[tokio::test]
async fn frames_stay_as_many_and_as_long_as_they_were() {
    let mut body = send_to(&layer(Policy::per_minute(9)), Response::new(frames())).await.into_body();
    let mut lengths = Vec::new();
    while let Some(frame) = body.frame().await {
        lengths.push(frame.unwrap().into_data().map(|data| data.len()).ok());
    }
    assert_eq!(lengths, [Some(10), Some(0), Some(5), None]);
}

#[tokio::test]
async fn the_inner_body_s_length_and_end_are_forwarded() {
    let layer = layer(Policy::per_minute(99));
    let mut body = send_to(&layer, Response::new(frames())).await.into_body();
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(15), false));
    while body.frame().await.is_some() {}
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));

    let empty = send_to(&layer, Response::new(Empty::<Bytes>::new())).await.into_body();
    assert_eq!((empty.size_hint().exact(), empty.is_end_stream()), (Some(0), true));
    let full = send_to(&layer, Response::new(Full::new(&b"four"[..]))).await.into_body();
    assert_eq!((full.size_hint().exact(), full.is_end_stream()), (Some(4), false));
    let unknown = send_to(&layer, Response::new(StreamBody::new(BodyStream::new(frames())))).await.into_body();
    assert_eq!((unknown.size_hint().exact(), unknown.is_end_stream()), (None, false));
}

/// Data in [`Bytes`] is passed on without a copy.
#[tokio::test]
async fn bytes_are_not_copied() {
    let data = Bytes::from(vec![7; 100_000]);
    let response = send_to(&layer(Policy::per_minute(9)), Response::new(Full::new(data.clone()))).await;
    let passed = response.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(passed.as_ptr(), data.as_ptr());
}

#[tokio::test]
async fn an_error_of_the_inner_body_is_forwarded_as_it_is() {
    struct Broken;

    impl Body for Broken {
        type Data = Bytes;
        type Error = std::num::ParseIntError;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(Some(Err("x".parse::<u8>().unwrap_err())))
        }
    }

    let mut body = send_to(&layer(Policy::per_minute(9)), Response::new(Broken)).await.into_body();
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(*error.downcast::<std::num::ParseIntError>().unwrap(), "x".parse::<u8>().unwrap_err());
}

#[tokio::test]
async fn a_pending_inner_body_is_waited_for() {
    struct Never;

    impl Body for Never {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    let mut body = send_to(&layer(Policy::per_minute(9)), Response::new(Never)).await.into_body();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut body).poll_frame(&mut cx).is_pending());
}

#[test]
fn a_body_made_by_default_is_the_inner_one_s_default() {
    let body = ResponseBody::<Empty<Bytes>>::default();
    assert!(body.is_end_stream());
}
