//! What a refused gRPC call is told can be read by others, and what others tell is read as they would.
//!
//! Input: `w` and lines (domain, message, then for each rule its name, level and quotas), or `r` and the bytes of a
//! `google.rpc.Status`.

use std::{
    convert::Infallible,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;
use tonic_types::pb;
use tower::{Layer, Service, service_fn};
use tower_quota::{
    Policy, RateLimiter, Rule,
    client::AdviceReader,
    clock::ManualClock,
    http::{DecisionIn, RequestView},
    key::KeyExtractor,
};

use crate::input::Input;

const MOST_RULES: usize = 12;
const RETRY_INFO: &str = "google.rpc.RetryInfo";
/// What HTTP/2 counts for a field beside its name and value, and what clients accept in all.
const OF_FIELD: usize = 32;
const MOST_BYTES: usize = 8 * 1024;
/// As much as a wait may exceed its window by, which nobody is told.
const SURPLUS: Duration = Duration::from_millis(1);

pub(crate) fn check(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() {
        b'w' => check_written(input),
        b'r' => check_read(input.rest()),
        _ => {}
    }
}

fn check_written(mut input: Input<'_>) {
    let (Some(domain), Some(message)) = (input.text_line(), input.text_line()) else { return };
    let mut builder = RateLimiter::builder().clock(ManualClock::new()).max_keys(64);
    if !message.is_empty() {
        builder = builder.message(message);
    }
    for _ in 0..MOST_RULES {
        let Some(rule) = rule(&mut input) else { break };
        builder = builder.rule(rule);
    }
    let Ok(limiter) = builder.build() else { return };
    let Some((decision, fields)) = refusal(&limiter, domain) else { return };

    assert_eq!(fields["grpc-status"], "8");
    let size: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + OF_FIELD).sum();
    assert!(size <= MOST_BYTES, "{size} bytes of fields");
    let status = status(&fields["grpc-status-details-bin"]).unwrap();
    let told = tonic::Status::from_header_map(&fields).unwrap();
    assert_eq!((status.code, &*status.message), (8, told.message()));
    assert!(decision.message().unwrap_or_default().starts_with(&status.message), "cut, at most: {}", status.message);

    let wait = decision.retry_after().unwrap();
    let stated = retry_info(&status).as_ref().and_then(self::wait).unwrap();
    assert!(stated <= wait && wait - stated <= SURPLUS, "{stated:?} is stated of {wait:?}");
    let pushback: i32 = fields["grpc-retry-pushback-ms"].to_str().unwrap().parse().unwrap();
    assert!(pushback > 0 && (pushback == i32::MAX || Duration::from_millis(pushback as u64) >= stated), "{pushback}");
    let advice = AdviceReader::new().max_time(Duration::MAX).read_trailers(&fields);
    assert_eq!(advice.wait_time(), Some(Duration::from_millis(pushback as u64)));
    let ids = quotas_failed(&status);
    let exhausted: Vec<&str> = decision.exhausted().map(|quota| quota.policy_name()).collect();
    assert!(ids.iter().all(|id| exhausted.contains(&&**id)), "{ids:?} of {exhausted:?}");
}

fn rule(input: &mut Input<'_>) -> Option<Rule> {
    let (name, level) = (input.text_line().filter(|name| !name.is_empty())?, input.text_line()?);
    let policy: Policy = input.text_line()?.parse().ok()?;
    let few = policy.quotas().all(|quota| quota.limit() <= 8);
    few.then(|| Rule::new(name).every_request().key(everybody()).level(level).policy(policy))
}

fn everybody() -> impl KeyExtractor {
    |_: &RequestView<'_>| Some("somebody's secret")
}

/// The first denial, and the fields that it is told with.
fn refusal(limiter: &RateLimiter, domain: &str) -> Option<(tower_quota::Decision, HeaderMap)> {
    let layer = limiter.layer().error_domain(domain).decision(DecisionIn::Both);
    let mut service =
        layer.layer(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) }));
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..=8 {
        let request = Request::post("/a.B/C").header("content-type", "application/grpc").body(()).unwrap();
        assert!(Service::<Request<()>>::poll_ready(&mut service, &mut cx).is_ready());
        let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut cx) else { panic!("it is ready") };
        let (mut parts, _) = response.into_parts();
        let decision = parts.extensions.remove::<tower_quota::Decision>()?;
        if !decision.is_admitted() {
            let secret = b"somebody's secret";
            let is_told =
                parts.headers.values().any(|value| value.as_bytes().windows(secret.len()).any(|at| at == secret));
            assert!(!is_told, "the key is told");
            return Some((decision, parts.headers));
        }
    }
    None
}

fn status(details: &HeaderValue) -> Option<pb::Status> {
    pb::Status::decode(&*STANDARD_NO_PAD.decode(details.as_bytes()).unwrap()).ok()
}

fn quotas_failed(status: &pb::Status) -> Vec<String> {
    let any = status.details.iter().find(|any| any.type_url.ends_with("google.rpc.QuotaFailure"));
    let failure = any.map(|any| pb::QuotaFailure::decode(&*any.value).unwrap()).unwrap_or_default();
    failure.violations.into_iter().map(|violation| violation.quota_id).collect()
}

/// The `RetryInfo` that prost finds, of those that say something; none if it takes that for malformed.
fn retry_info(status: &pb::Status) -> Option<pb::RetryInfo> {
    let mut infos = status.details.iter().filter(|any| any.type_url.rsplit('/').next() == Some(RETRY_INFO));
    infos
        .find(|any| !any.value.is_empty())
        .map_or_else(|| Some(pb::RetryInfo::default()), |any| pb::RetryInfo::decode(&*any.value).ok())
}

fn wait(info: &pb::RetryInfo) -> Option<Duration> {
    let delay = info.retry_delay.as_ref()?;
    let nanos = u32::try_from(delay.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, nanos))
}

fn is_written_as_usual(status: &pb::Status, bytes: &[u8]) -> bool {
    let is_usual = |value: &[u8]| pb::RetryInfo::decode(value).is_ok_and(|info| info.encode_to_vec() == value);
    status.encode_to_vec() == bytes && status.details.iter().all(|any| is_usual(&any.value))
}

fn check_read(bytes: &[u8]) {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", 8.into());
    let Ok(details) = HeaderValue::try_from(STANDARD_NO_PAD.encode(bytes)) else { return };
    trailers.insert("grpc-status-details-bin", details);
    let ours = AdviceReader::new().max_time(Duration::MAX).read_trailers(&trailers).wait_time();
    let Ok(status) = pb::Status::decode(bytes) else { return };
    let Some(theirs) = retry_info(&status).as_ref().map(wait) else { return };
    // Who writes a message in an unusual way may not be understood, but is not misunderstood.
    if ours.is_some() || is_written_as_usual(&status, bytes) {
        assert_eq!(ours, theirs, "{status:?}");
    }
}
