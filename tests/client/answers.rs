//! What is made of the answers of servers: ours, those that speak other dialects, broken ones and hostile ones.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{
    Policy, RateLimitLayer, RateLimiter, Rule,
    client::{Advice, AdviceReader, answers::Reset},
    clock::ManualClock,
    http::{Headers, LegacyReset},
    key,
};

/// Thu, 15 Oct 2026 13:54:56 GMT
const NOW: u64 = 1_792_072_496;
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn answers() -> AdviceReader {
    AdviceReader::new().wall_clock(|| SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
}

fn read(status: u16, fields: &[(&'static str, &str)]) -> Advice {
    answers().read(StatusCode::from_u16(status).unwrap(), &headers(fields))
}

fn refused() -> Advice {
    Advice::none().refused()
}

fn failed() -> Advice {
    Advice::none().failed()
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

// ---- HTTP ----

#[test]
fn an_ordinary_answer_says_nothing() {
    for status in [200, 204, 301, 400, 403, 404] {
        assert_eq!(read(status, &[("content-type", "text/plain")]), Advice::none(), "{status}");
    }
    assert_eq!(read(429, &[]), refused());
}

#[test]
fn a_failed_call_is_neither_served_nor_refused() {
    for status in [500, 501, 502, 503, 504] {
        assert_eq!(read(status, &[("content-type", "text/plain")]), failed(), "{status}");
    }
    assert!(failed().is_failure() && !failed().is_refusal());
}

/// F36: one that is out of all proportion is capped, a malformed one is as good as none.
#[test]
fn a_retry_after_is_capped_or_ignored() {
    let nines = "9".repeat(400);
    let rows = [
        ("38", Some(seconds(38))),
        ("0", Some(seconds(0))),
        ("9999999999", Some(LONGEST)),
        (&*nines, Some(LONGEST)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some(LONGEST)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(seconds(0))),
        ("-1", None),
        ("+5", None),
        ("1.5", Some(seconds(2))),
        ("2.0", Some(seconds(2))),
        ("30, 30", Some(seconds(30))),
        ("1e3", None),
        ("", None),
        ("\u{e9}", None),
    ];
    for (value, expected) in rows {
        let wait = expected.into_iter().fold(refused(), Advice::wait);
        assert_eq!(read(429, &[("retry-after", value)]), wait, "{value:?}");
        let unavailable = if expected.is_some() { wait } else { failed() };
        assert_eq!(read(503, &[("retry-after", value)]), unavailable, "{value:?}");
    }
    assert_eq!(read(429, &[("retry-after", "5"), ("retry-after", "38")]), refused().wait(seconds(38)));
}

#[test]
fn a_retry_after_elsewhere_is_about_something_else() {
    let fields = [("retry-after", "38"), ("retry-after-ms", "5")];
    for status in [200, 202, 301, 403, 404, 413] {
        assert_eq!(read(status, &fields), Advice::none(), "{status}");
    }
    assert_eq!((read(500, &fields), read(502, &fields)), (failed(), failed()));
}

#[test]
fn the_longest_time_that_is_believed_can_be_chosen() {
    let answers = answers().max_time(seconds(60)).x_rate_limit(Reset::Delta);
    let fields =
        headers(&[("ratelimit", "a;r=5;t=9999"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "999")]);
    let expected = Advice::none().wait(seconds(60)).allow(5, seconds(60));
    assert_eq!(answers.read(StatusCode::OK, &fields), expected);
    let fields = headers(&[("grpc-status", "8"), ("grpc-retry-pushback-ms", "2147483647")]);
    assert_eq!(answers.read(StatusCode::OK, &fields), refused().wait(seconds(60)));
    assert_eq!(answers.read_trailers(&fields), refused().wait(seconds(60)));
    assert_eq!(answers.github().read(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new()), refused().wait(seconds(60)));
}

#[test]
fn retry_after_takes_precedence_over_what_limits_say() {
    for stated in [5, 99] {
        let retry_after = stated.to_string();
        let fields = [("retry-after", &*retry_after), ("ratelimit", "minute;r=0;t=38, hour;r=7;t=3000")];
        assert_eq!(read(429, &fields), refused().wait(seconds(stated)).allow(7, seconds(3000)));
    }
    let fields = [("retry-after", "soon"), ("ratelimit", "minute;r=0;t=38, hour;r=0;t=3000")];
    assert_eq!(read(429, &fields), refused().wait(seconds(3000)));
}

/// B9, each beside a status that says nothing: the answer stays what it was.
#[test]
fn malformed_rate_limit_fields_are_ignored() {
    let malformed = [
        r#""a";r=1.5"#,
        r#""a";r=-1.5;t=5"#,
        "R=1",
        r#""a";r=1 ;t=2"#,
        r#""a";r="1";t=2"#,
        r#""a";r=1234567890123456;t=2"#,
        r#"("a" "b");r=1;t=2"#,
        "",
    ];
    for field in malformed {
        assert_eq!(read(200, &[("ratelimit", field)]), Advice::none(), "{field}");
        assert_eq!(read(429, &[("ratelimit", field)]), refused(), "{field}");
        assert_eq!(
            read(200, &[("ratelimit", "a;r=1;t=2"), ("ratelimit-policy", field)]),
            read(200, &[("ratelimit", "a;r=1;t=2")])
        );
    }
}

/// B10
#[test]
fn both_spellings_of_the_draft_are_understood_and_names_match_whatever_their_case() {
    let expected = Advice::none().allow(3, seconds(30));
    for item in [r#""daily";r=3;t=30"#, r#""daily";a=3;w=30"#, "daily;r=3;t=30", "DAILY;a=3;w=30"] {
        assert_eq!(read(200, &[("ratelimit", item)]), expected, "{item}");
    }
    for (item, policy) in [("DAILY;a=3", r#""daily";q=9;w=30"#), (r#""daily";r=3"#, "Daily;q=9;w=30")] {
        assert_eq!(read(200, &[("ratelimit", item), ("ratelimit-policy", policy)]), expected, "{item}");
    }
}

#[test]
fn the_older_drafts_are_understood() {
    let three = [("ratelimit-limit", "100, 100;w=60"), ("ratelimit-remaining", "7"), ("ratelimit-reset", "38")];
    assert_eq!(read(200, &three), Advice::none().allow(7, seconds(38)));
    assert_eq!(read(200, &[("ratelimit", "limit=100, remaining=7, reset=38")]), Advice::none().allow(7, seconds(38)));
    assert_eq!(read(429, &[("ratelimit-reset", "38")]), refused().wait(seconds(38)));
    let gitlab = headers(&[("ratelimit-remaining", "7"), ("ratelimit-reset", &(NOW + 38).to_string())]);
    let advice = answers().rate_limit_reset(Reset::Epoch).read(StatusCode::OK, &gitlab);
    assert_eq!(advice, Advice::none().allow(7, seconds(38)));
}

#[test]
fn a_cached_answer_keeps_its_status_and_says_nothing_of_limits() {
    let fresh = [("age", "0"), ("retry-after", "5")];
    assert_eq!(read(503, &fresh), refused().wait(seconds(5)));
    for age in ["1", "3600", "99999999999999999999999"] {
        assert_eq!(read(503, &[("age", age), ("retry-after", "5")]), refused().wait(seconds(5)), "{age}");
        assert_eq!(read(429, &[("age", age), ("ratelimit", "a;r=0;t=5")]), refused(), "{age}");
        assert_eq!(read(200, &[("age", age), ("ratelimit", "a;r=0;t=5")]), Advice::none(), "{age}");
    }
    assert_eq!(read(503, &[("age", "old"), ("retry-after", "5")]), refused().wait(seconds(5)));
}

// ---- the dialects that have to be asked for ----

/// F37
#[test]
fn an_epoch_is_never_taken_for_seconds_nor_believed_as_such() {
    let epoch = (NOW + 5).to_string();
    for name in ["x-ratelimit", "x-rate-limit"] {
        let fields: HeaderMap = [("remaining", "0"), ("reset", &*epoch)]
            .map(|(field, value)| (format!("{name}-{field}").parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .into_iter()
            .collect();
        let read = |answers: AdviceReader| answers.read(StatusCode::TOO_MANY_REQUESTS, &fields).wait_time();
        assert_eq!(read(answers()), Some(seconds(5)), "a refusal that says nothing else is guessed");
        assert_eq!(answers().read(StatusCode::OK, &fields), Advice::none(), "nobody has said how to read it");
        assert_eq!(read(answers().x_rate_limit(Reset::Epoch)), Some(seconds(5)));
        assert_eq!(read(answers().x_rate_limit(Reset::Guess)), Some(seconds(5)));
        assert_eq!(read(answers().x_rate_limit(Reset::Delta)), Some(LONGEST));
    }
}

#[test]
fn an_epoch_is_relative_to_the_servers_own_clock_if_it_shows_it() {
    let fields = headers(&[
        ("date", "Thu, 15 Oct 2026 10:00:00 GMT"),
        ("x-ratelimit-remaining", "2"),
        ("x-ratelimit-reset", "1792058407"),
    ]);
    let advice = answers().x_rate_limit(Reset::Epoch).read(StatusCode::OK, &fields);
    assert_eq!(advice, Advice::none().allow(2, seconds(7)));
}

#[test]
fn github_refuses_with_403_once_nothing_is_left() {
    let reset = (NOW + 1800).to_string();
    let read = |status: u16, fields: &[(&'static str, &str)]| {
        answers().github().read(StatusCode::from_u16(status).unwrap(), &headers(fields))
    };
    let fields = |remaining| [("x-ratelimit-remaining", remaining), ("x-ratelimit-reset", &*reset)];
    assert_eq!(read(403, &fields("0")), refused().wait(seconds(1800)), "the primary limit");
    assert_eq!(read(403, &fields("59")), Advice::none().allow(59, seconds(1800)), "a forbidden thing");
    assert_eq!(read(403, &[]), Advice::none(), "a forbidden thing");
    assert_eq!(read(403, &[("retry-after", "60")]), refused().wait(seconds(60)), "a secondary limit");
    assert_eq!(read(429, &[]), refused().wait(seconds(60)), "which it asks for where it says nothing");
    assert_eq!(read(200, &fields("0")), Advice::none().wait(seconds(1800)), "the last call of the hour");
    assert_eq!(read(404, &fields("x")), Advice::none());
}

#[test]
fn envoy_says_in_seconds_when_the_window_ends() {
    let fields = headers(&[
        ("x-envoy-ratelimited", "true"),
        ("x-ratelimit-limit", r#"10, 10;w=1;name="per-ip", 1000;w=3600"#),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "3"),
    ]);
    let advice = answers().x_rate_limit(Reset::Delta).read(StatusCode::TOO_MANY_REQUESTS, &fields);
    assert_eq!(advice, refused().wait(seconds(3)));
}

#[test]
fn milliseconds_come_before_seconds() {
    let fields = [("retry-after-ms", "1250"), ("retry-after", "2")];
    assert_eq!(read(429, &fields), refused().wait(Duration::from_millis(1250)));
}

// ---- real servers ----

/// One row of the table of real servers.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    server: String,
    preset: Option<String>,
    status: u16,
    fields: Vec<(String, String)>,
    #[serde(default)]
    refused: bool,
    #[serde(default)]
    failed: bool,
    #[serde(default)]
    never_retry: bool,
    wait: Option<u64>,
    #[serde(default)]
    allow: Vec<(u64, u64)>,
}

impl Row {
    fn answers(&self) -> AdviceReader {
        match self.preset.as_deref() {
            None => answers(),
            Some("anthropic") => answers().anthropic(),
            Some("atlassian") => answers().atlassian(),
            Some("azure_openai") => answers().azure_openai(),
            Some("discord") => answers().discord(),
            Some("docker_hub") => answers().docker_hub(),
            Some("github") => answers().github(),
            Some("hubspot") => answers().hubspot(),
            Some("openai") => answers().openai(),
            Some("reddit") => answers().reddit(),
            Some("salesforce") => answers().salesforce(),
            Some("shopify") => answers().shopify(),
            Some(other) => panic!("{other} is no preset"),
        }
    }

    fn expected(&self) -> Advice {
        let advice = if self.refused { refused() } else { Advice::none() };
        let advice = if self.failed { advice.failed() } else { advice };
        let advice = if self.never_retry { advice.never_retry() } else { advice };
        let advice = self.wait.map(Duration::from_millis).into_iter().fold(advice, Advice::wait);
        let allow = |advice: Advice, (calls, millis): &(u64, u64)| advice.allow(*calls, Duration::from_millis(*millis));
        self.allow.iter().fold(advice, allow)
    }
}

#[test]
fn answers_of_real_servers_are_understood() {
    let table: toml::Table = toml::from_str(include_str!("../data/servers.toml")).unwrap();
    let rows: Vec<Row> = table["answer"].clone().try_into().unwrap();
    assert!(rows.len() > 40);
    for row in rows {
        let fields = row.fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let headers = fields.collect::<HeaderMap<HeaderValue>>();
        let advice = row.answers().read(StatusCode::from_u16(row.status).unwrap(), &headers);
        assert_eq!(advice, row.expected(), "{}", row.server);
    }
}

#[test]
fn a_status_can_be_taught_or_left_out() {
    let overloaded = StatusCode::from_u16(529).unwrap();
    assert_eq!(answers().with_refusal(overloaded).read(overloaded, &HeaderMap::new()), refused());
    assert_eq!(answers().read(overloaded, &HeaderMap::new()), failed());
    let busy = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(answers().without_refusal(busy).read(busy, &headers(&[("retry-after", "5")])), failed());
    let unstated = answers().default_wait(seconds(3));
    assert_eq!(unstated.read(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new()), refused().wait(seconds(3)));
}

#[test]
fn an_epoch_where_seconds_are_expected_is_taken_for_what_it_is() {
    let epoch = (NOW + 30).to_string();
    assert_eq!(read(429, &[("retry-after", &epoch)]), refused().wait(seconds(30)));
    let field = format!("limit=100, remaining=7, reset={epoch}");
    assert_eq!(read(200, &[("ratelimit", &field)]), Advice::none().allow(7, seconds(30)));
    assert_eq!(read(200, &[("ratelimit", &format!("a;r=7;t={epoch}"))]), Advice::none().allow(7, seconds(30)));
    let millis = ((NOW + 30) * 1000).to_string();
    let github = headers(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &millis)]);
    assert_eq!(answers().github().read(StatusCode::FORBIDDEN, &github), refused().wait(seconds(30)));
}

#[test]
fn decimals_in_structured_fields_are_rounded_as_elsewhere() {
    assert_eq!(read(200, &[("ratelimit", "a;r=7.9;t=1.5")]), Advice::none().allow(7, seconds(2)));
    assert_eq!(read(429, &[("ratelimit", "limit=9, remaining=0, reset=5.5")]), refused().wait(seconds(6)));
}

#[test]
fn among_several_header_families_a_refusal_is_about_those_that_say_so() {
    let fields = [
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-reset-requests", "1s"),
        ("x-ratelimit-reset-tokens", "6m0s"),
    ];
    assert_eq!(read(429, &fields), refused().allow(59, seconds(1)));
}

// ---- gRPC ----

/// A response that is all trailers, of this code.
fn call(code: &str, fields: &[(&'static str, &str)]) -> Advice {
    let status = [("content-type", "application/grpc"), ("grpc-status", code)];
    read(200, &[&status, fields].concat())
}

#[test]
fn a_call_is_refused_if_a_wait_is_stated_by_any_field() {
    // RetryInfo of 1.5 s
    let details =
        ("grpc-status-details-bin", "CAgaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIARCAyrXuAQ");
    let pushback = ("grpc-retry-pushback-ms", "1700");
    let retry_after = ("retry-after", "2");
    for code in ["8", "14"] {
        let millis = |millis| refused().wait(Duration::from_millis(millis));
        assert_eq!(call(code, &[retry_after]), millis(2000), "{code}");
        assert_eq!(call(code, &[retry_after, details]), millis(1500), "{code}");
        assert_eq!(call(code, &[retry_after, details, pushback]), millis(1700), "{code}");
        assert_eq!(call(code, &[]), failed(), "{code}: nothing says that it is about a limit");
    }
    for code in ["1", "2", "4", "10", "13", "99", "x"] {
        assert_eq!(call(code, &[retry_after, details, pushback]), failed(), "{code}");
    }
    assert_eq!(call("0", &[retry_after, details, pushback]), Advice::none());
}

/// B12
#[test]
fn an_unreadable_pushback_forbids_a_retry_and_unreadable_details_mean_nothing() {
    for pushback in ["-1", "abc", "2147483648", ""] {
        let advice = call("8", &[("grpc-retry-pushback-ms", pushback)]);
        assert_eq!(advice, refused().never_retry(), "{pushback:?}: there is a limit");
        assert_eq!(call("2", &[("grpc-retry-pushback-ms", pushback)]), failed().never_retry(), "{pushback:?}");
        assert!(!call("0", &[("grpc-retry-pushback-ms", pushback)]).forbids_retry(), "{pushback:?}");
    }
    for details in ["!!!not base64", "CAg", "////", ""] {
        assert_eq!(call("8", &[("grpc-status-details-bin", details)]), failed(), "{details:?}");
    }
}

#[test]
fn a_bare_exhaustion_is_a_refusal_if_that_is_asked_for() {
    let answers = answers().exhausted_as_refusal(true);
    let read = |code| answers.read(StatusCode::OK, &headers(&[("grpc-status", code)]));
    assert_eq!((read("8"), read("14"), read("0")), (refused(), failed(), Advice::none()));
}

#[test]
fn a_status_in_json_that_a_gateway_made_is_no_end_of_a_call() {
    let fields = [("content-type", "application/json"), ("grpc-status", "8"), ("grpc-retry-pushback-ms", "1700")];
    assert_eq!(read(200, &fields), Advice::none());
    assert_eq!(read(429, &fields), refused());
}

#[test]
fn trailers_are_read_like_a_response_that_has_only_them() {
    let trailers = headers(&[("grpc-status", "8"), ("grpc-retry-pushback-ms", "1700"), ("ratelimit", "a;r=0;t=99")]);
    assert_eq!(
        answers().read_trailers(&trailers),
        refused().wait(Duration::from_millis(1700)),
        "no fields of the draft"
    );
    assert_eq!(answers().read_trailers(&headers(&[("grpc-status", "0")])), Advice::none());
    assert_eq!(answers().read_trailers(&HeaderMap::new()), Advice::none());
}

// ---- what this crate's own layer says ----

async fn ask(layer: &RateLimitLayer, content_type: &'static str) -> Response<()> {
    let service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, std::convert::Infallible>(Response::new(http_body_util::Empty::<Bytes>::new()))
    }));
    let request = Request::post("/bots").header("content-type", content_type).body(()).unwrap();
    service.oneshot(request).await.unwrap().map(drop)
}

#[tokio::test]
async fn fields_of_our_layer_are_read_back() {
    let policy = Policy::per_minute(2).and_per_hour(9);
    let rule = Rule::new("calls").every_request().key(key::constant("all")).level("everybody").policy(policy);
    let limiter = RateLimiter::builder().clock(ManualClock::new()).rule(rule).build().unwrap();
    let layer = limiter.layer().headers(Headers::rate_limit().with_legacy(LegacyReset::Delta)).pushback_jitter(0);

    let served = answers().read_response(&ask(&layer, "text/plain").await);
    assert_eq!(served, Advice::none().allow(1, seconds(60)).allow(8, seconds(3600)));
    ask(&layer, "text/plain").await;

    let denied = answers().read_response(&ask(&layer, "text/plain").await);
    assert_eq!(denied, refused().wait(seconds(60)).allow(7, seconds(3600)));
    let call = answers().read_response(&ask(&layer, "application/grpc").await);
    assert_eq!(call, refused().wait(seconds(60)));
}

// ---- no bytes are too strange ----

const FIELDS: [&str; 17] = [
    "age",
    "content-type",
    "date",
    "retry-after",
    "retry-after-ms",
    "ratelimit",
    "ratelimit-policy",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-rate-limit-remaining",
    "x-rate-limit-reset",
    "grpc-status",
    "grpc-retry-pushback-ms",
    "grpc-status-details-bin",
];

/// Any bytes, and such as are nearly right.
fn value() -> impl Strategy<Value = HeaderValue> {
    let any_bytes = prop::collection::vec(any::<u8>(), 0..60);
    let number = "[-+]?[0-9]{0,25}(\\.[0-9])?".prop_map(String::into_bytes);
    let list = "(\"?[a-z]\"?(;[ratwq]=-?[0-9.]{1,16}){0,3},?){0,4}".prop_map(String::into_bytes);
    let dictionary = "((limit|remaining|reset)=[0-9]{1,16},? ?){0,4}".prop_map(String::into_bytes);
    let base64 = "[A-Za-z0-9+/]{0,80}={0,3}".prop_map(String::into_bytes);
    let bytes = prop_oneof![any_bytes, number, list, dictionary, base64];
    bytes.prop_filter_map("no field may hold it", |bytes| HeaderValue::from_bytes(&bytes).ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_answer_makes_a_reader_panic_or_believe_in_more_than_the_longest_time(
        status in prop::sample::select(vec![200u16, 301, 403, 404, 429, 500, 503]),
        fields in prop::collection::vec((prop::sample::select(FIELDS.to_vec()), value()), 0..12),
        reset in prop::sample::select(vec![Reset::Epoch, Reset::Delta, Reset::Guess]),
        github: bool,
    ) {
        let answers = answers().x_rate_limit(reset).rate_limit_reset(reset);
        let answers = if github { answers.github() } else { answers };
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value);
        }
        for advice in [answers.read(StatusCode::from_u16(status).unwrap(), &headers), answers.read_trailers(&headers)] {
            prop_assert!(advice.wait_time().is_none_or(|wait| wait <= LONGEST));
            prop_assert!(advice.allowances().len() < 20);
            for allowance in advice.allowances() {
                prop_assert!(allowance.remaining() > 0 && !allowance.within().is_zero() && allowance.within() <= LONGEST);
            }
        }
    }
}
