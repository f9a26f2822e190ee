//! Texts on the wire that are made of quotas and other texts alone, so that a rule has them ready when it is built: problem
//! documents (RFC 9457) and the `RateLimit-Policy` header field.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::{
    error::ConfigError,
    policy::{PolicyName, Quota},
};

/// The unit of rules that count requests.
pub(crate) const REQUESTS: &str = "requests";
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const QUOTA_EXCEEDED_TITLE: &str = "Request cannot be satisfied as assigned quota has been exceeded";

/// The largest Integer of RFC 9651, section 3.3.1: 15 digits.
pub(crate) const MAX_INTEGER: u64 = 999_999_999_999_999;

/// Returns the `RateLimit-Policy` field (draft-ietf-httpapi-ratelimit-headers-11) of some quotas, their names, and the unit
/// that they count.
pub(crate) fn policy_field<'a>(
    quotas: impl Iterator<Item = (&'a Quota, &'a PolicyName)>,
    unit: &str,
) -> Result<HeaderValue, ConfigError> {
    let unit = quota_unit(unit).map_or_else(String::new, |unit| format!(";qu=\"{unit}\""));
    let items: Vec<String> = quotas
        .map(|(quota, name)| {
            let (name, limit, window) = (name.as_str(), quota.limit(), quota.window_seconds().min(MAX_INTEGER));
            format!("\"{name}\";q={limit}{unit};w={window}")
        })
        .collect();
    let field = items.join(", ");
    HeaderValue::try_from(&field).map_err(|error| ConfigError::new("quota name", field, error.to_string()))
}

/// Returns the quota unit of the draft: `None` for requests, which it need not name.
fn quota_unit(unit: &str) -> Option<&str> {
    match unit {
        REQUESTS => None,
        "bytes" => Some("content-bytes"),
        other => Some(other),
    }
}

/// Returns the problem document of a denial by the quotas with these names.
pub(crate) fn quota_exceeded(status: StatusCode, message: &str, violated: &[&str]) -> Bytes {
    let violated: Vec<String> = violated.iter().map(|name| json_string(name)).collect();
    let extra = format!(r#","violated-policies":[{}]"#, violated.join(","));
    document(status, QUOTA_EXCEEDED, QUOTA_EXCEEDED_TITLE, message, &extra)
}

/// Returns the problem document of a denial that no wait ends: what the request costs, and what is admitted.
pub(crate) fn never_possible(
    status: StatusCode,
    message: &str,
    violated: &[&str],
    (cost, limit, unit): (u64, u64, &str),
) -> Bytes {
    let violated: Vec<String> = violated.iter().map(|name| json_string(name)).collect();
    let (violated, unit) = (violated.join(","), json_string(unit));
    let extra = format!(r#","violated-policies":[{violated}],"cost":{cost},"limit":{limit},"unit":{unit}"#);
    document(status, "about:blank", status.canonical_reason().unwrap_or("Refused"), message, &extra)
}

/// Returns a problem document. `extra` is JSON already: further members, each with a comma in front.
pub(crate) fn document(status: StatusCode, kind: &str, title: &str, detail: &str, extra: &str) -> Bytes {
    let (code, detail) = (status.as_u16(), json_string(detail));
    format!(r#"{{"type":"{kind}","title":"{title}","status":{code},"detail":{detail}{extra}}}"#).into()
}

/// Quotes a text as a JSON string (RFC 8259, section 7), with the fewest escapes.
fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for char in text.chars() {
        escape(char, &mut json);
    }
    json.push('"');
    json
}

fn escape(char: char, json: &mut String) {
    match char {
        '"' => json.push_str("\\\""),
        '\\' => json.push_str("\\\\"),
        '\u{8}' => json.push_str("\\b"),
        '\t' => json.push_str("\\t"),
        '\n' => json.push_str("\\n"),
        '\u{c}' => json.push_str("\\f"),
        '\r' => json.push_str("\\r"),
        // Writing to a String does not fail.
        '\0'..'\u{20}' => drop(write!(json, "\\u{:04x}", u32::from(char))),
        _ => json.push(char),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_character_is_written_as_serde_json_has_it() {
        for char in '\0'..=char::MAX {
            let text = char.to_string();
            assert_eq!(json_string(&text), serde_json::to_string(&text).unwrap());
        }
    }

    fn field(unit: &str) -> HeaderValue {
        let quota = Quota::per_minute(90_000);
        policy_field([(&quota, &PolicyName::new("tokens/minute"))].into_iter(), unit).unwrap()
    }

    #[test]
    fn a_unit_other_than_requests_is_named_and_bytes_as_iana_has_them() {
        assert_eq!(field("tokens"), r#""tokens/minute";q=90000;qu="tokens";w=60"#);
        assert_eq!(field("bytes"), r#""tokens/minute";q=90000;qu="content-bytes";w=60"#);
        assert_eq!(field(REQUESTS), r#""tokens/minute";q=90000;w=60"#);
    }

    #[test]
    fn a_document_says_what_is_never_admitted() {
        let body = never_possible(StatusCode::PAYLOAD_TOO_LARGE, "no", &["minute", "hour"], (20_001, 20_000, "tokens"));
        let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Payload Too Large", "status": 413, "detail": "no",
            "violated-policies": ["minute", "hour"], "cost": 20_001, "limit": 20_000, "unit": "tokens",
        });
        assert_eq!(read, expected);
    }

    proptest! {
        #[test]
        fn every_text_is_read_back_as_it_was(text: String) {
            prop_assert_eq!(serde_json::from_str::<String>(&json_string(&text)).unwrap(), text);
        }
    }
}
