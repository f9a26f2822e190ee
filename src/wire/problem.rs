//! Problem documents (RFC 9457).

use bytes::Bytes;
use http::StatusCode;

use crate::wire::json;

const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const QUOTA_EXCEEDED_TITLE: &str = "Request cannot be satisfied as assigned quota has been exceeded";

/// The problem document of a denial.
pub(crate) fn quota_exceeded(message: &str, violated: &[&str]) -> Bytes {
    let violated: Vec<String> = violated.iter().map(|name| json::string(name)).collect();
    let extra = format!(r#","violated-policies":[{}]"#, violated.join(","));
    document(StatusCode::TOO_MANY_REQUESTS, QUOTA_EXCEEDED, QUOTA_EXCEEDED_TITLE, message, &extra)
}

/// A problem document (RFC 9457); `extra` is JSON already.
pub(crate) fn document(status: StatusCode, kind: &str, title: &str, detail: &str, extra: &str) -> Bytes {
    let (code, detail) = (status.as_u16(), json::string(detail));
    format!(r#"{{"type":"{kind}","title":"{title}","status":{code},"detail":{detail}{extra}}}"#).into()
}
