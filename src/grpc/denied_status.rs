//! The status of a denied call.

use std::{cmp::Reverse, ops::RangeInclusive, time::Duration};

use crate::{
    grpc::{
        Code, Status,
        details::{ErrorInfo, QuotaViolation, StatusDetail, encode},
        protobuf::Message,
    },
    limiter::{Decision, QuotaStatus},
    wire::REQUESTS,
};

/// The pushback that tells clients not to retry (gRFC A6).
const NEVER: i32 = -1;
const CODE: Code = Code::ResourceExhausted;
const REASON: &str = "RATE_LIMIT_EXCEEDED";
/// Maximum size of the details, in bytes. Base64 adds a third, which makes 6 of the 8 KiB that a client may accept in all.
const MAX_DETAILS: usize = 6 * 1024 / 4 * 3;

/// A decision that denied, and the options for its status.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeniedStatus<'a> {
    pub(crate) decision: &'a Decision,
    pub(crate) domain: &'a str,
    /// In percent of the wait.
    pub(crate) pushback_jitter: u8,
}

impl DeniedStatus<'_> {
    pub(crate) fn status(&self) -> Status {
        let wait = (!self.decision.is_never_possible()).then(|| self.decision.stated_wait());
        let status = Status::new(CODE, &self.decision.message().unwrap_or_default());
        let details = self.details(status.message(), wait);
        let pushback = wait.map_or(NEVER, |wait| pushback(wait, self.pushback_jitter, fastrand::u64));
        status.with_details(details).with_pushback(pushback)
    }

    /// Encodes as many details as fit, the most important first: the wait, the reason, the quotas by their waits, and last the
    /// metadata of the reason, which repeat one of the quotas. Without a wait, clients are not to retry.
    fn details(&self, message: &str, wait: Option<Duration>) -> Vec<u8> {
        let (retry, bare) = (wait.map(StatusDetail::retry_info), self.error_info(None));
        let room = MAX_DETAILS.saturating_sub(encode(CODE, message, retry.iter().chain([&bare])).len());
        let mut violations = violations(self.decision).peekable();
        let failure = StatusDetail::quota_failure(&mut violations, room);
        let full = if violations.peek().is_none() { self.error_info(self.decision.worst()) } else { bare.clone() };
        let with = |info| encode(CODE, message, retry.iter().chain(&failure).chain([info]));
        let mut attempts = [&full, &bare].into_iter().map(with);
        let fitting = attempts.find(|details| details.len() <= MAX_DETAILS);
        fitting.unwrap_or_else(|| encode(CODE, message, &retry))
    }

    fn error_info(&self, quota: Option<QuotaStatus<'_>>) -> StatusDetail {
        let metadata = quota.as_ref().map_or_else(Vec::new, metadata);
        StatusDetail::error_info(&ErrorInfo { reason: REASON, domain: self.domain, metadata })
    }
}

/// Describes a quota, and what the call costs if that is not one request.
fn metadata(quota: &QuotaStatus<'_>) -> Vec<(&'static str, String)> {
    let mut metadata = vec![
        ("rule", quota.rule().to_owned()),
        ("quota", quota.name().into_owned()),
        ("limit", quota.limit().to_string()),
        ("window", humantime::format_duration(quota.window()).to_string()),
    ];
    if quota.unit() != REQUESTS {
        metadata.extend([("unit", quota.unit().to_owned()), ("cost", quota.cost().to_string())]);
    }
    metadata
}

/// Returns the exhausted quotas, the longest wait first.
fn violations(decision: &Decision) -> impl Iterator<Item = Message> {
    let mut exhausted: Vec<_> = decision.tightest().filter(QuotaStatus::is_exhausted).collect();
    exhausted.sort_by_key(|quota| Reverse(quota.reset_after()));
    exhausted.into_iter().map(|quota| violation(&quota).encode())
}

/// Describes a quota without the key, which may be another caller's identity.
fn violation<'a>(quota: &QuotaStatus<'a>) -> QuotaViolation<'a> {
    let (rule, name, limit) = (quota.rule(), quota.name(), quota.limit());
    let unit = if quota.unit() == REQUESTS { String::new() } else { format!(" {}", quota.unit()) };
    QuotaViolation {
        subject: format!("level:{}", quota.level()),
        description: format!("{rule}/{name}: {limit}{unit} per {}", humantime::format_duration(quota.window())),
        quota_id: quota.policy_name(),
        quota_value: limit,
    }
}

/// Returns the milliseconds to wait, with jitter: `draw` returns a random number in a range.
///
/// Clients retry after exactly this time, so those that were refused together need different waits, none of them too short. A
/// number that is not a positive `int32` would mean never to retry.
fn pushback(wait: Duration, jitter: u8, draw: impl FnOnce(RangeInclusive<u64>) -> u64) -> i32 {
    let millis = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    let max_jitter = millis.saturating_mul(jitter.into()) / 100;
    i32::try_from(millis.saturating_add(draw(0..=max_jitter))).unwrap_or(i32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
    use proptest::prelude::*;
    use prost::Message as _;
    use tonic_types::{ErrorDetails, StatusExt, pb};

    use super::*;
    use crate::{Policy, Quota, RateLimiter, RateLimiterBuilder, Rule, clock::ManualClock, grpc::Protocol, key};

    fn limiter(rules: impl IntoIterator<Item = Rule>, message: &str) -> RateLimiter {
        let builder = RateLimiter::builder().clock(ManualClock::new()).message(message);
        rules.into_iter().fold(builder, RateLimiterBuilder::rule).build().unwrap()
    }

    fn rule(name: &str, policy: impl Into<Policy>) -> Rule {
        Rule::new(name).every_request().key(key::constant("")).level("caller").policy(policy)
    }

    /// The decision that denied, when every rule was asked often enough for `key`.
    fn denied<'r>(limiter: &RateLimiter, rules: impl IntoIterator<Item = &'r str>) -> Decision {
        let charges: Vec<_> = rules.into_iter().map(|rule| (rule, "secret-key")).collect();
        loop {
            let decision = limiter.check_all(charges.iter().copied()).unwrap();
            if !decision.is_admitted() {
                return decision;
            }
        }
    }

    fn status(decision: &Decision) -> Status {
        DeniedStatus { decision, domain: "example.com", pushback_jitter: 0 }.status()
    }

    fn read(status: &Status) -> (pb::Status, ErrorDetails) {
        let response = status.trailers_only(Protocol::Grpc);
        let details = tonic::Status::from_header_map(response.headers()).unwrap().get_error_details();
        (pb::Status::decode(status.details()).unwrap(), details)
    }

    fn quota_failure(status: &pb::Status) -> pb::QuotaFailure {
        let any = status.details.iter().find(|any| any.type_url.ends_with("/google.rpc.QuotaFailure")).unwrap();
        pb::QuotaFailure::decode(&*any.value).unwrap()
    }

    #[test]
    fn a_denial_says_which_quotas_and_how_long() {
        let policy = Policy::per_minute(2).and_per_hour(2);
        let limiter = limiter([rule("bots", policy), rule("other", Policy::per_minute(9))], "wait for {quota}");
        let (written, details) = read(&status(&denied(&limiter, ["bots", "other"])));
        assert_eq!((written.code, written.message.as_str()), (8, "wait for hour"));

        let names: Vec<_> = written.details.iter().filter_map(|any| any.type_url.rsplit('.').next()).collect();
        assert_eq!(names, ["RetryInfo", "QuotaFailure", "ErrorInfo"]);
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(3600)));
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("RATE_LIMIT_EXCEEDED", "example.com"));
        let mut metadata: Vec<_> = info.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
        metadata.sort();
        assert_eq!(metadata, ["limit=2", "quota=hour", "rule=bots", "window=1h"]);

        let violations = quota_failure(&written).violations;
        let rows: Vec<_> = violations.iter().map(|row| (&*row.description, &*row.quota_id, row.quota_value)).collect();
        assert_eq!(rows, [("bots/hour: 2 per 1h", "bots/hour", 2), ("bots/minute: 2 per 1m", "bots/minute", 2)]);
        assert!(violations.iter().all(|row| row.subject == "level:caller"));
    }

    #[test]
    fn a_key_is_never_revealed() {
        let limiter = limiter([rule("bots", Policy::per_minute(1))], "{rule} {level} {quota}");
        let status = status(&denied(&limiter, ["bots"]));
        assert!(!status.details().windows(10).any(|bytes| bytes == b"secret-key"));
    }

    #[test]
    fn a_quota_that_is_exhausted_for_two_keys_is_named_once_and_the_longest_wait_comes_first() {
        let (calls, bots) = (rule("calls", Policy::per_minute(1)), rule("bots", Policy::per_hour(1)));
        let limiter = limiter([calls, bots], "no");
        let charges = [("calls", "ann"), ("calls", "bob"), ("bots", "ann")];
        assert!(limiter.check_all(charges).unwrap().is_admitted());
        let decision = limiter.check_all(charges).unwrap();
        assert_eq!(decision.exhausted().count(), 3);
        let violations = quota_failure(&read(&status(&decision)).0).violations;
        let ids: Vec<_> = violations.iter().map(|row| &*row.quota_id).collect();
        assert_eq!(ids, ["bots/hour", "calls/minute"]);
    }

    #[test]
    fn the_wait_is_exact_though_retry_after_is_whole_seconds() {
        let limiter = limiter([rule("bots", Quota::new(1, Duration::from_millis(1500)))], "");
        let (_, details) = read(&status(&denied(&limiter, ["bots"])));
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_millis(1500)));
    }

    /// Recording rounds up to a millisecond, which callers must not see.
    #[test]
    fn no_stated_wait_is_longer_than_the_window() {
        let clock = ManualClock::new();
        clock.advance(Duration::from_nanos(1));
        let limiter = RateLimiter::builder().clock(clock).rule(rule("bots", Policy::per_minute(1))).build().unwrap();
        let decision = denied(&limiter, ["bots"]);
        assert!(decision.retry_after().unwrap() > Duration::from_secs(60));
        let status = status(&decision);
        assert_eq!(read(&status).1.retry_info().unwrap().retry_delay, Some(Duration::from_secs(60)));
        assert_eq!(status.trailers()["grpc-retry-pushback-ms"], "60000");
    }

    #[test]
    fn a_thousand_exhausted_quotas_find_their_limit() {
        let names: Vec<_> = (0..1000).map(|at| format!("rule-{at:04}")).collect();
        let rules = names.iter().enumerate().map(|(at, name)| {
            rule(name, Quota::new(1, Duration::from_secs(60 + at as u64)))
                .key(key::constant(""))
                .level("caller-of-this-rule")
        });
        let limiter = limiter(rules, &"long ".repeat(10_000));
        let status = status(&denied(&limiter, names.iter().map(String::as_str)));
        let (written, details) = read(&status);
        assert!(STANDARD_NO_PAD.encode(status.details()).len() <= 6 * 1024);
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(1059)));
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.metadata.len()), ("RATE_LIMIT_EXCEEDED", 0));
        let ids: Vec<_> = quota_failure(&written).violations.into_iter().map(|row| row.quota_id).collect();
        assert!(ids.len() > 20, "{} violations", ids.len());
        let longest: Vec<_> = (0..1000).rev().map(|at| format!("rule-{at:04}/{}", name_of(at))).collect();
        assert_eq!(ids, longest[..ids.len()]);
    }

    fn name_of(at: u64) -> String {
        Quota::new(1, Duration::from_secs(60 + at)).name().into_owned()
    }

    #[test]
    fn what_is_too_long_by_itself_is_left_out_and_the_wait_stays() {
        let long = "x".repeat(8000);
        let limiter = limiter([rule(&long, Policy::per_minute(1))], "no");
        let decision = denied(&limiter, [long.as_str()]);
        let (written, details) = read(&status(&decision));
        assert_eq!(written.details.len(), 2);
        assert_eq!(details.error_info().unwrap().reason, "RATE_LIMIT_EXCEEDED");

        let status = DeniedStatus { decision: &decision, domain: &long, pushback_jitter: 0 }.status();
        let (written, details) = read(&status);
        assert_eq!((written.message.as_str(), written.details.len()), ("no", 1));
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(60)));
    }

    #[test]
    fn a_header_block_of_the_largest_denial_is_below_8_kib() {
        let names: Vec<_> = (0..200).map(|at| format!("rule-{at}")).collect();
        let limiter = limiter(names.iter().map(|name| rule(name, Policy::per_day(1))), &"–\n ".repeat(5000));
        let response = status(&denied(&limiter, names.iter().map(String::as_str))).trailers_only(Protocol::Grpc);
        // What HTTP/2 counts: 32 bytes for each field on top.
        let size: usize = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!((6 * 1024..7680).contains(&size), "{size}");
    }

    #[test]
    fn a_pushback_is_rounded_up_and_a_positive_int32() {
        let none = |wait| pushback(wait, 10, |_| 0);
        let most = |wait| pushback(wait, 10, |range| *range.end());
        let days = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
        assert_eq!(none(Duration::from_nanos(1_500_000_001)), 1501);
        assert_eq!(none(Duration::ZERO), 1);
        assert_eq!(none(Duration::from_nanos(1)), 1);
        assert_eq!((none(Duration::from_secs(60)), most(Duration::from_secs(60))), (60_000, 66_000));
        assert_eq!((none(days(24)), most(days(24))), (2_073_600_000, i32::MAX));
        for years in [1, 100, 1_000_000] {
            assert_eq!(none(days(years * 365)), i32::MAX);
        }
        assert_eq!((none(Duration::MAX), most(Duration::MAX)), (i32::MAX, i32::MAX));
        assert_eq!(pushback(Duration::MAX, 255, |range| *range.end()), i32::MAX);
    }

    proptest! {
        #[test]
        fn jitter_only_lengthens_and_keeps_to_its_percentage(millis in 1u64..2_000_000_000, percent: u8) {
            let stated = pushback(Duration::from_millis(millis), percent, fastrand::u64) as u64;
            let most = (millis + millis * u64::from(percent) / 100).min(i32::MAX as u64);
            prop_assert!((millis..=most).contains(&stated), "{stated} for {millis} ms and {percent} %");
        }
    }

    #[test]
    fn callers_that_are_refused_together_get_different_waits() {
        let waits: std::collections::HashSet<_> =
            (0..100).map(|_| pushback(Duration::from_secs(60), 10, fastrand::u64)).collect();
        assert!(waits.len() > 50, "{waits:?}");
    }
}
