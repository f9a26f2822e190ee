//! Classification of responses: served, refused because of a limit, or failed.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};

use crate::{
    client::{
        advice::{Advice, Allowance},
        answers::{header_family::X_RATE_LIMIT, number::parse_digits, server_time::ServerTime},
    },
    grpc::{CallStatus, Pushback},
};

const GRPC_OK: u32 = 0;
const GRPC_RESOURCE_EXHAUSTED: u32 = 8;
/// The counterpart of HTTP's 503.
const GRPC_UNAVAILABLE: u32 = 14;

/// A 503 of servers that distinguish themselves from their proxies; no RFC has it.
const OVERLOADED: u16 = 529;
static SHOULD_RETRY: [HeaderName; 2] =
    [HeaderName::from_static("x-should-retry"), HeaderName::from_static("stripe-should-retry")];
const AWS_ERROR: HeaderName = HeaderName::from_static("x-amzn-errortype");
const SALESFORCE_USAGE: HeaderName = HeaderName::from_static("sforce-limit-info");

/// Errors that the clients of AWS take for throttling.
const AWS_THROTTLING: [&str; 14] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
];

/// The outcome of a call, as its response has it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Classification {
    pub(super) is_refusal: bool,
    /// The wait that a refusal states explicitly.
    pub(super) retry_after: Option<Duration>,
    is_failure: bool,
    forbids_retry: bool,
}

/// The responses that mean that a call was not executed because of a limit.
#[derive(Clone, Debug, Default)]
pub(super) struct RefusalRules {
    added: Vec<StatusCode>,
    removed: Vec<StatusCode>,
    includes_forbidden: bool,
}

impl Classification {
    pub(super) fn from_http(
        status: StatusCode,
        headers: &HeaderMap,
        server_time: &ServerTime,
        rules: &RefusalRules,
    ) -> Self {
        let retry_after = server_time.retry_after(headers);
        let is_refusal = rules.include(status, headers, retry_after.is_some());
        Self {
            is_refusal,
            retry_after: retry_after.filter(|_| is_refusal),
            is_failure: status.is_server_error() && !is_refusal,
            forbids_retry: !status.is_success() && forbids_retry(headers),
        }
    }

    /// Classifies the end of a gRPC call, whose own fields take precedence over `retry_after`.
    pub(super) fn from_grpc(outcome: &CallStatus, retry_after: Option<Duration>, bare_exhausted: bool) -> Self {
        let pushback = match outcome.pushback() {
            Some(Pushback::After(wait)) => Some(wait),
            Some(Pushback::Never) | None => None,
        };
        let retry_after = pushback.or(outcome.retry_delay()).or(retry_after);
        let retry_after = retry_after.filter(|_| [GRPC_RESOURCE_EXHAUSTED, GRPC_UNAVAILABLE].contains(&outcome.code()));
        let forbids_retry = outcome.pushback() == Some(Pushback::Never) && outcome.code() != GRPC_OK;
        // Messages that are too large end like this as well, but nobody says when to retry them.
        let is_exhausted = outcome.code() == GRPC_RESOURCE_EXHAUSTED && (bare_exhausted || forbids_retry);
        let is_refusal = retry_after.is_some() || is_exhausted;
        Self { is_refusal, retry_after, is_failure: outcome.code() != GRPC_OK && !is_refusal, forbids_retry }
    }

    /// Makes advice of this and the limits that the response states. Exhausted limits are a wait, unless the response has
    /// stated one explicitly; the others are allowances.
    pub(super) fn advise(self, limits: &[Allowance]) -> Advice {
        let mut advice = self.bare_advice();
        // A limit within no time at all is none.
        let limits = limits.iter().copied().filter(|limit| !limit.within().is_zero());
        let (exhausted, others): (Vec<_>, Vec<_>) = limits.partition(|limit| limit.remaining() == 0);
        if let Some(wait) = self.retry_after {
            advice = advice.wait(wait);
        } else if let Some(longest) = exhausted.iter().map(Allowance::within).max() {
            // Several limits may count from different moments: the later one holds for all of them.
            let is_until_date = exhausted.iter().any(Allowance::is_since_answered);
            advice = if is_until_date { advice.wait(longest) } else { advice.wait_since_sent(longest) };
        }
        others.into_iter().fold(advice, Advice::with_allowance)
    }

    fn bare_advice(self) -> Advice {
        let advice = if self.is_refusal { Advice::none().refused() } else { Advice::none() };
        let advice = if self.is_failure { advice.failed() } else { advice };
        if self.forbids_retry { advice.never_retry() } else { advice }
    }
}

impl RefusalRules {
    pub(super) fn add(&mut self, status: StatusCode) {
        self.removed.retain(|other| *other != status);
        self.added.push(status);
    }

    pub(super) fn remove(&mut self, status: StatusCode) {
        self.added.retain(|other| *other != status);
        self.removed.push(status);
    }

    /// Includes a 403 whose fields say so.
    pub(super) const fn add_forbidden(&mut self) {
        self.includes_forbidden = true;
    }

    fn include(&self, status: StatusCode, headers: &HeaderMap, states_a_wait: bool) -> bool {
        if self.removed.contains(&status) {
            return false;
        }
        let is_overload = status == StatusCode::SERVICE_UNAVAILABLE || status.as_u16() == OVERLOADED;
        let is_forbidden = self.includes_forbidden && status == StatusCode::FORBIDDEN;
        status == StatusCode::TOO_MANY_REQUESTS
            || self.added.contains(&status)
            || is_overload && states_a_wait
            || is_forbidden && (states_a_wait || is_exhausted(headers))
            || (status.is_client_error() || status.is_server_error()) && is_aws_throttling(headers)
    }
}

fn forbids_retry(headers: &HeaderMap) -> bool {
    SHOULD_RETRY.iter().filter_map(|name| headers.get(name)).any(|value| value.as_bytes().trim_ascii() == b"false")
}

fn is_exhausted(headers: &HeaderMap) -> bool {
    X_RATE_LIMIT.iter().any(|family| family.is_exhausted(headers)) || is_salesforce_exhausted(headers)
}

fn is_salesforce_exhausted(headers: &HeaderMap) -> bool {
    salesforce_usage(headers).is_some_and(|(used, limit)| used >= limit)
}

/// Reads the used and the allowed calls of `api-usage=5000/5000`.
fn salesforce_usage(headers: &HeaderMap) -> Option<(u64, u64)> {
    let (_, usage) = headers.get(SALESFORCE_USAGE)?.to_str().ok()?.split_once("api-usage=")?;
    let (used, limit) = usage.split_once('/')?;
    let limit = limit.split(|char: char| !char.is_ascii_digit()).next()?;
    Some((parse_digits(used.as_bytes())?, parse_digits(limit.as_bytes())?))
}

fn is_aws_throttling(headers: &HeaderMap) -> bool {
    aws_error(headers).is_some_and(|name| AWS_THROTTLING.contains(&name))
}

/// Reads the name in `ThrottlingException:http://...`, perhaps with a namespace and `#` in front.
fn aws_error(headers: &HeaderMap) -> Option<&str> {
    let error = headers.get(AWS_ERROR)?.to_str().ok()?.split(':').next()?;
    error.rsplit('#').next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::advice::Since;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        [(HeaderName::from_static(name), http::HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn a_status_is_added_and_left_out_and_the_last_word_counts() {
        let (mut rules, overloaded) = (RefusalRules::default(), StatusCode::from_u16(OVERLOADED).unwrap());
        let is_one = |rules: &RefusalRules, status| rules.include(status, &HeaderMap::new(), false);
        assert!(!is_one(&rules, overloaded) && rules.include(overloaded, &HeaderMap::new(), true));
        rules.add(overloaded);
        assert!(is_one(&rules, overloaded));
        rules.remove(overloaded);
        assert!(!rules.include(overloaded, &HeaderMap::new(), true));
        rules.remove(StatusCode::TOO_MANY_REQUESTS);
        assert!(!is_one(&rules, StatusCode::TOO_MANY_REQUESTS));
        rules.add(StatusCode::TOO_MANY_REQUESTS);
        assert!(is_one(&rules, StatusCode::TOO_MANY_REQUESTS));
    }

    #[test]
    fn aws_names_its_throttling() {
        let is_one = |status, value| {
            let status = StatusCode::from_u16(status).unwrap();
            RefusalRules::default().include(status, &headers("x-amzn-errortype", value), false)
        };
        assert!(is_one(400, "ThrottlingException:http://internal.amazon.com/coral/"));
        assert!(is_one(400, "com.amazon.coral.availability#ThrottlingException"));
        assert!(is_one(503, "SlowDown"));
        assert!(!is_one(400, "ValidationException") && !is_one(200, "ThrottlingException"));
    }

    #[test]
    fn a_forbidden_thing_is_a_refusal_only_if_nothing_is_left() {
        let mut rules = RefusalRules::default();
        let all_used = headers("sforce-limit-info", "api-usage=5000/5000 per-app-api-usage=1/250(appName=x)");
        assert!(!rules.include(StatusCode::FORBIDDEN, &all_used, false));
        rules.add_forbidden();
        assert!(rules.include(StatusCode::FORBIDDEN, &all_used, false));
        for value in ["api-usage=18/5000", "api-usage=x/y", "api-usage=", "5000/5000"] {
            assert!(!rules.include(StatusCode::FORBIDDEN, &headers("sforce-limit-info", value), false), "{value}");
        }
    }

    const fn limit(remaining: u64, seconds: u64) -> Allowance {
        Allowance::new(remaining, Duration::from_secs(seconds), Since::Sent)
    }

    fn advise(limits: &[Allowance], retry_after: Option<Duration>) -> Advice {
        Classification { retry_after, ..Classification::default() }.advise(limits)
    }

    #[test]
    fn the_longest_of_the_exhausted_limits_is_the_wait_and_the_others_are_allowances() {
        let advice = advise(&[limit(0, 5), limit(0, 38), limit(7, 3600)], None);
        let expected = Advice::none().wait(Duration::from_secs(38)).allow(7, Duration::from_secs(3600));
        assert_eq!(advice, expected);
    }

    #[test]
    fn a_stated_wait_takes_precedence_be_it_shorter_or_longer() {
        for seconds in [1, 99] {
            let stated = Duration::from_secs(seconds);
            let advice = advise(&[limit(0, 38), limit(7, 60)], Some(stated));
            assert_eq!(advice, Advice::none().wait(stated).allow(7, Duration::from_secs(60)));
        }
    }

    #[test]
    fn no_time_says_nothing() {
        assert_eq!(advise(&[limit(0, 0), limit(7, 0)], None), Advice::none());
    }
}
