//! Texts on the wire that are made of quotas and other texts alone, so that a rule has them ready when it is built: problem
//! documents (RFC 9457) and the `RateLimit-Policy` header field.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::{
    error::ConfigError,
    policy::{PolicyName, Quota},
};

const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const QUOTA_EXCEEDED_TITLE: &str = "Request cannot be satisfied as assigned quota has been exceeded";

/// The largest Integer of RFC 9651, section 3.3.1: 15 digits.
pub(crate) const MAX_INTEGER: u64 = 999_999_999_999_999;

/// Returns the `RateLimit-Policy` field (draft-ietf-httpapi-ratelimit-headers-11) of some quotas and their names.
pub(crate) fn policy_field<'a>(
    quotas: impl Iterator<Item = (&'a Quota, &'a PolicyName)>,
) -> Result<HeaderValue, ConfigError> {
    let items: Vec<String> = quotas
        .map(|(quota, name)| {
            format!("\"{}\";q={};w={}", name.as_str(), quota.limit(), quota.window_seconds().min(MAX_INTEGER))
        })
        .collect();
    let field = items.join(", ");
    HeaderValue::try_from(&field).map_err(|error| ConfigError::new("quota name", field, error.to_string()))
}

/// Returns the problem document of a denial by the quotas with these names.
pub(crate) fn quota_exceeded(status: StatusCode, message: &str, violated: &[&str]) -> Bytes {
    let violated: Vec<String> = violated.iter().map(|name| json_string(name)).collect();
    let extra = format!(r#","violated-policies":[{}]"#, violated.join(","));
    document(status, QUOTA_EXCEEDED, QUOTA_EXCEEDED_TITLE, message, &extra)
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

    proptest! {
        #[test]
        fn every_text_is_read_back_as_it_was(text: String) {
            prop_assert_eq!(serde_json::from_str::<String>(&json_string(&text)).unwrap(), text);
        }
    }
}
