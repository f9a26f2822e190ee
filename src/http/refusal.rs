//! The answers to HTTP requests that go no further.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};

use crate::{
    limiter::{Decision, QuotaStatus},
    request::RequestView,
};

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const REDUCED_CAPACITY: &str = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
const REDUCED_CAPACITY_TITLE: &str = "Request cannot be satisfied due to temporary server capacity constraints";
const QUOTA_EXCEEDED_TITLE: &str = "Request cannot be satisfied as assigned quota has been exceeded";

/// An HTTP request that was denied: what a closure makes an answer of.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    decision: &'a Decision,
    request: &'a RequestView<'a>,
}

impl<'a> Refusal<'a> {
    pub(crate) const fn new(decision: &'a Decision, request: &'a RequestView<'a>) -> Self {
        Self { decision, request }
    }

    /// The decision, which denied.
    pub const fn decision(&self) -> &'a Decision {
        self.decision
    }

    /// The request.
    #[must_use]
    pub const fn request(&self) -> &'a RequestView<'a> {
        self.request
    }

    /// The answer that is given without a closure, to start from: 429 and a problem document.
    ///
    /// `Retry-After` and the `RateLimit` fields are added to whatever a closure returns, unless it has set them.
    #[must_use]
    pub fn response(&self) -> Response<Bytes> {
        let body = self.decision.prepared_body().unwrap_or_else(|| {
            let exhausted: Vec<&str> =
                self.decision.tightest().filter(QuotaStatus::is_exhausted).map(|quota| quota.policy_name()).collect();
            quota_exceeded(&self.decision.message().unwrap_or_default(), &exhausted)
        });
        problem(StatusCode::TOO_MANY_REQUESTS, body)
    }
}

/// The problem document of a denial.
pub(crate) fn quota_exceeded(message: &str, violated: &[&str]) -> Bytes {
    let violated: Vec<String> = violated.iter().map(|name| json(name)).collect();
    let extra = format!(r#","violated-policies":[{}]"#, violated.join(","));
    document(StatusCode::TOO_MANY_REQUESTS, QUOTA_EXCEEDED, QUOTA_EXCEEDED_TITLE, message, &extra)
}

/// The answer to a request that cannot be decided about. That may be over in a second.
pub(crate) fn reduced_capacity(detail: &str) -> Response<Bytes> {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let mut response = problem(status, document(status, REDUCED_CAPACITY, REDUCED_CAPACITY_TITLE, detail, ""));
    response.headers_mut().insert(RETRY_AFTER, 1.into());
    response
}

/// The answer to a request for which waiting would not help.
pub(crate) fn turned_away(status: StatusCode, detail: &str) -> Response<Bytes> {
    problem(status, document(status, "about:blank", status.canonical_reason().unwrap_or("Refused"), detail, ""))
}

fn problem(status: StatusCode, document: Bytes) -> Response<Bytes> {
    let mut response = Response::new(document);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
    response
}

/// A problem document; `extra` is JSON already.
fn document(status: StatusCode, kind: &str, title: &str, detail: &str, extra: &str) -> Bytes {
    let (code, detail) = (status.as_u16(), json(detail));
    format!(r#"{{"type":"{kind}","title":"{title}","status":{code},"detail":{detail}{extra}}}"#).into()
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
