//! Which answers are refusals.

use http::{HeaderMap, HeaderName, StatusCode};

use crate::client::answers::{family::X_RATE_LIMIT, number::digits};

/// 503 of a server that wants to be told from its proxies; no RFC has it.
const OVERLOADED: u16 = 529;
static SHOULD_RETRY: [HeaderName; 2] =
    [HeaderName::from_static("x-should-retry"), HeaderName::from_static("stripe-should-retry")];
const AWS_ERROR: HeaderName = HeaderName::from_static("x-amzn-errortype");
const SALESFORCE_USAGE: HeaderName = HeaderName::from_static("sforce-limit-info");

/// What the clients of AWS take for throttling.
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

/// Which answers say that a call was not executed because of a limit.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    added: Vec<StatusCode>,
    left_out: Vec<StatusCode>,
    is_forbidden_one: bool,
}

impl Refusals {
    pub(super) fn add(&mut self, status: StatusCode) {
        self.left_out.retain(|other| *other != status);
        self.added.push(status);
    }

    pub(super) fn leave_out(&mut self, status: StatusCode) {
        self.added.retain(|other| *other != status);
        self.left_out.push(status);
    }

    /// Takes a 403 for one if its fields say so.
    pub(super) const fn add_forbidden(&mut self) {
        self.is_forbidden_one = true;
    }

    pub(super) fn include(&self, status: StatusCode, headers: &HeaderMap, states_a_wait: bool) -> bool {
        if self.left_out.contains(&status) {
            return false;
        }
        let is_one_if_stated = status == StatusCode::SERVICE_UNAVAILABLE || status.as_u16() == OVERLOADED;
        status == StatusCode::TOO_MANY_REQUESTS
            || self.added.contains(&status)
            || is_one_if_stated && states_a_wait
            || self.is_forbidden_one && status == StatusCode::FORBIDDEN && (states_a_wait || has_nothing_left(headers))
            || (status.is_client_error() || status.is_server_error()) && is_aws_throttling(headers)
    }
}

/// Whether the server has said that the call is not to be made again.
pub(super) fn forbids_retry(headers: &HeaderMap) -> bool {
    SHOULD_RETRY.iter().filter_map(|name| headers.get(name)).any(|value| value.as_bytes().trim_ascii() == b"false")
}

fn has_nothing_left(headers: &HeaderMap) -> bool {
    X_RATE_LIMIT.iter().any(|family| family.is_exhausted(headers)) || has_used_all(headers)
}

/// `api-usage=5000/5000`
fn has_used_all(headers: &HeaderMap) -> bool {
    let usage = || headers.get(SALESFORCE_USAGE)?.to_str().ok()?.split_once("api-usage=")?.1.split_once('/');
    usage().is_some_and(|(used, limit)| {
        let limit = limit.split(|char: char| !char.is_ascii_digit()).next().map(str::as_bytes).and_then(digits);
        limit.zip(digits(used.as_bytes())).is_some_and(|(limit, used)| used >= limit)
    })
}

/// `ThrottlingException:http://...`, perhaps with a namespace and `#` in front.
fn is_aws_throttling(headers: &HeaderMap) -> bool {
    let name = || {
        let error = headers.get(AWS_ERROR)?.to_str().ok()?.split(':').next()?;
        error.rsplit('#').next().map(str::trim)
    };
    name().is_some_and(|name| AWS_THROTTLING.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        [(HeaderName::from_static(name), http::HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn a_status_is_added_and_left_out_and_the_last_word_counts() {
        let (mut refusals, overloaded) = (Refusals::default(), StatusCode::from_u16(OVERLOADED).unwrap());
        let is_one = |refusals: &Refusals, status| refusals.include(status, &HeaderMap::new(), false);
        assert!(!is_one(&refusals, overloaded) && refusals.include(overloaded, &HeaderMap::new(), true));
        refusals.add(overloaded);
        assert!(is_one(&refusals, overloaded));
        refusals.leave_out(overloaded);
        assert!(!refusals.include(overloaded, &HeaderMap::new(), true));
        refusals.leave_out(StatusCode::TOO_MANY_REQUESTS);
        assert!(!is_one(&refusals, StatusCode::TOO_MANY_REQUESTS));
        refusals.add(StatusCode::TOO_MANY_REQUESTS);
        assert!(is_one(&refusals, StatusCode::TOO_MANY_REQUESTS));
    }

    #[test]
    fn aws_names_its_throttling() {
        let is_one = |status, value| {
            let status = StatusCode::from_u16(status).unwrap();
            Refusals::default().include(status, &headers("x-amzn-errortype", value), false)
        };
        assert!(is_one(400, "ThrottlingException:http://internal.amazon.com/coral/"));
        assert!(is_one(400, "com.amazon.coral.availability#ThrottlingException"));
        assert!(is_one(503, "SlowDown"));
        assert!(!is_one(400, "ValidationException") && !is_one(200, "ThrottlingException"));
    }

    #[test]
    fn a_forbidden_thing_is_a_refusal_only_if_nothing_is_left() {
        let mut refusals = Refusals::default();
        let all_used = headers("sforce-limit-info", "api-usage=5000/5000 per-app-api-usage=1/250(appName=x)");
        assert!(!refusals.include(StatusCode::FORBIDDEN, &all_used, false));
        refusals.add_forbidden();
        assert!(refusals.include(StatusCode::FORBIDDEN, &all_used, false));
        for value in ["api-usage=18/5000", "api-usage=x/y", "api-usage=", "5000/5000"] {
            assert!(!refusals.include(StatusCode::FORBIDDEN, &headers("sforce-limit-info", value), false), "{value}");
        }
    }
}
