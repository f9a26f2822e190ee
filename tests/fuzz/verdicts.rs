//! Whatever a store says, and whatever fields an inner service has set, callers are told something that they can read.
//!
//! Input: a digit for the answer's form, one for what becomes of the fields that are there, `+` if the request is admitted;
//! a line with the `RateLimit` field of the inner service; for each quota four bytes of what is used, eight of the seconds
//! until it changes, and four of nanoseconds.

use std::{
    cell::RefCell,
    convert::Infallible,
    pin::pin,
    sync::LazyLock,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use sfv::{List, ListEntry, Parser};
use tower::{Layer, Service, service_fn};
use tower_quota::{
    ConfigError, Policy, Quota, RateLimitLayer, RateLimiter, Rule,
    client::AdviceReader,
    http::{Headers, Http, LegacyReset, OnConflict, RequestView, ResponseBody},
    store::{Charge, MaybeReady, Setup, Store, Unavailable, Verdict},
};

use crate::input::Input;

const QUOTAS: usize = 3;
const CONTENT_TYPES: [&str; 3] = ["application/json", "application/grpc", "application/grpc-web-text+proto"];
const CONFLICTS: [OnConflict; 3] = [OnConflict::Keep, OnConflict::Replace, OnConflict::Merge];
const BILLION: u32 = 1_000_000_000;

thread_local! {
    /// What the store says.
    static SAID: RefCell<Said> = RefCell::default();
}

static LIMITER: LazyLock<RateLimiter<Http, AnyVerdict>> = LazyLock::new(limiter);

#[derive(Clone, Debug, Default)]
struct Said {
    admitted: bool,
    quotas: Vec<(u64, Duration)>,
}

pub(crate) fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let (content_type, on_conflict) = (*input.choice(&CONTENT_TYPES), *input.choice(&CONFLICTS));
    let admitted = input.byte() == b'+';
    let theirs = HeaderValue::from_bytes(input.line()).ok().filter(|field| !field.is_empty());
    let quotas = (0..QUOTAS).map(|_| quota(&mut input)).collect();
    SAID.set(Said { admitted, quotas });
    let layer = LIMITER.layer().on_conflict(on_conflict).headers(Headers::rate_limit().with_legacy(LegacyReset::Delta));
    let fields = answer(&layer, content_type, theirs.as_ref());
    if admitted {
        assert!(!fields.contains_key("retry-after"), "{fields:?}");
    } else {
        assert_is_told(&fields, content_type);
    }
}

fn quota(input: &mut Input<'_>) -> (u64, Duration) {
    let mut bytes = [0; 16];
    bytes.fill_with(|| input.byte());
    let [used, low, high, nanos] =
        [0, 4, 8, 12].map(|at| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
    (used.into(), Duration::new(u64::from(high) << 32 | u64::from(low), nanos % BILLION))
}

fn answer(layer: &RateLimitLayer<AnyVerdict>, content_type: &'static str, theirs: Option<&HeaderValue>) -> HeaderMap {
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        let mut response = Response::new(String::new());
        theirs.map(|field| response.headers_mut().insert("ratelimit", field.clone()));
        std::future::ready(Ok::<_, Infallible>(response))
    }));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Service::<Request<()>>::poll_ready(&mut service, &mut cx).is_ready());
    let request = Request::post("/").header("content-type", content_type).body(()).unwrap();
    let answered: Poll<Result<Response<ResponseBody<String>>, Infallible>> = pin!(service.call(request)).poll(&mut cx);
    let Poll::Ready(Ok(response)) = answered else { panic!("there is nothing to wait for") };
    response.into_parts().0.headers
}

/// A refusal says when to come back, in every dialect.
fn assert_is_told(fields: &HeaderMap, content_type: &str) {
    let retry_after: u64 = fields["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(retry_after > 0);
    if content_type == CONTENT_TYPES[0] {
        let wait =
            AdviceReader::new().max_time(Duration::MAX).read(http::StatusCode::TOO_MANY_REQUESTS, fields).wait_time();
        // Nobody means thirty years: such a number is taken for a time since 1970.
        assert!(wait == Some(Duration::from_secs(retry_after)) || retry_after >= 1_000_000_000);
        assert_is_readable(&fields["ratelimit"]);
        assert_is_readable(&fields["ratelimit-policy"]);
    } else {
        assert_eq!(fields["grpc-status"], "8");
        let pushback: i32 = fields["grpc-retry-pushback-ms"].to_str().unwrap().parse().unwrap();
        assert!(pushback > 0);
        let advice = AdviceReader::new().max_time(Duration::MAX).read_trailers(fields);
        assert!(advice.is_refusal() && advice.wait_time() == Some(Duration::from_millis(pushback as u64)));
    }
}

fn assert_is_readable(field: &HeaderValue) {
    let list: List = Parser::new(field.as_bytes()).parse().unwrap();
    assert_eq!(list.len(), QUOTAS, "{field:?}");
    assert!(list.iter().all(|entry| matches!(entry, ListEntry::Item(item) if item.bare_item.as_string().is_some())));
}

/// Says what it is told to say.
#[derive(Debug)]
struct AnyVerdict;

impl Store for AnyVerdict {
    type Future = std::future::Pending<Result<Verdict, Unavailable>>;

    fn open(&mut self, _: Setup) -> Result<(), ConfigError> {
        Ok(())
    }

    fn decide(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        assert_eq!(charges.len(), 2);
        SAID.with_borrow(|said| {
            *verdict = Verdict::new(said.admitted);
            said.quotas.iter().for_each(|(used, changes_after)| verdict.push_quota(*used, *changes_after));
        });
        MaybeReady::Ready(())
    }

    fn peek(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        self.decide(charges, verdict)
    }

    fn reset(&self, _: &[Charge], _: &mut Verdict) -> MaybeReady<Self::Future> {
        MaybeReady::Ready(())
    }
}

fn limiter() -> RateLimiter<Http, AnyVerdict> {
    let rule =
        |name| Rule::new(name).every_request().key(|_: &RequestView<'_>| Some(Bytes::from_static(b"all"))).level("all");
    let builder = RateLimiter::builder()
        .rule(rule("two").policy(Policy::per_minute(60).and_per_hour(1800)))
        .rule(rule("one").policy(Policy::per_day(Quota::MAX_LIMIT)));
    builder.store(AnyVerdict).build().unwrap()
}
