//! The status of a gRPC call, written as header fields or trailers.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::grpc::Protocol;

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub(super) const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
pub(super) const GRPC_RETRY_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const APPLICATION_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The characters that `grpc-message` has to encode: all except %x20-24 and %x26-7E.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');
/// Maximum size of an encoded message, in bytes. A client may reject more than 8 KiB of header fields, and the details need 6 of
/// them.
const MAX_MESSAGE: usize = 1024;

/// The codes that ask a caller to back off.
const BACK_OFF: [Code; 2] = [Code::ResourceExhausted, Code::Unavailable];

/// The codes of `google.rpc.Code` that a refusal may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// The status of a call.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    code: Code,
    message: String,
    /// An encoded `google.rpc.Status`, or empty.
    details: Vec<u8>,
    /// Milliseconds after which a client should retry.
    pushback: Option<i32>,
}

impl Code {
    /// Returns the code of an HTTP status: the inverse of the table in the comments of `google/rpc/code.proto`.
    ///
    /// Clients read the status of a proxy that does not speak gRPC by another table, which servers must not use.
    pub(crate) fn from_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::InvalidArgument,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::NotFound,
            409 => Self::Aborted,
            429 => Self::ResourceExhausted,
            499 => Self::Cancelled,
            500 => Self::Internal,
            501 => Self::Unimplemented,
            503 => Self::Unavailable,
            504 => Self::DeadlineExceeded,
            _ if status.is_client_error() => Self::FailedPrecondition,
            _ => Self::Unknown,
        }
    }

    pub(crate) const fn number(self) -> u8 {
        self as u8
    }
}

impl Status {
    /// Creates a status. A message that is too long for a header block is truncated.
    pub(crate) fn new(code: Code, message: &str) -> Self {
        Self { code, message: truncate(message).to_owned(), details: Vec::new(), pushback: None }
    }

    pub(super) fn with_details(self, details: Vec<u8>) -> Self {
        Self { details, ..self }
    }

    pub(super) fn with_pushback(self, millis: i32) -> Self {
        Self { pushback: Some(millis), ..self }
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    #[cfg(test)]
    pub(super) fn details(&self) -> &[u8] {
        &self.details
    }

    /// Returns the answer to a call that is refused before it begins: a header block that holds the trailers.
    ///
    /// Its body must be known to be empty before it is polled. Otherwise END_STREAM comes in a frame of its own, which some
    /// clients treat as a broken stream.
    pub(crate) fn trailers_only(&self, protocol: Protocol<'_>) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        let content_type = match protocol {
            Protocol::GrpcWeb(media_type) => HeaderValue::from_str(media_type).unwrap_or(APPLICATION_GRPC),
            Protocol::Grpc | Protocol::Http => APPLICATION_GRPC,
        };
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        self.write(response.headers_mut());
        response
    }

    /// Returns the trailers that end a stream of messages.
    pub(crate) fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        self.write(&mut trailers);
        trailers
    }

    fn write(&self, headers: &mut HeaderMap) {
        headers.insert(GRPC_STATUS, u16::from(self.code.number()).into());
        insert_if_any(headers, GRPC_MESSAGE, percent_encoded(&self.message));
        insert_if_any(headers, GRPC_STATUS_DETAILS, STANDARD_NO_PAD.encode(&self.details));
        if let Some(millis) = self.pushback {
            headers.insert(GRPC_RETRY_PUSHBACK, i64::from(millis).into());
        }
    }
}

/// Returns whether the header fields of a response are its trailers as well.
///
/// A `grpc-status` alone is not enough: gateways leave it in the JSON that they make of a call.
pub(crate) fn is_trailers_only(headers: &HeaderMap) -> bool {
    let is_grpc = |content_type| Protocol::from_content_type(content_type) != Protocol::Http;
    // Responses have few fields, and a look-up by name takes longer than a look at their names.
    headers.keys().any(|name| *name == GRPC_STATUS) && headers.get(CONTENT_TYPE).is_none_or(is_grpc)
}

/// Returns whether header fields that are trailers as well ask the caller to back off.
pub(crate) fn asks_to_back_off(headers: &HeaderMap) -> bool {
    let is_one_of = |status: &HeaderValue| BACK_OFF.iter().any(|code| *status == u16::from(code.number()).to_string());
    headers.get(GRPC_STATUS).is_some_and(is_one_of) || headers.contains_key(GRPC_RETRY_PUSHBACK)
}

fn insert_if_any(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Some(value) = HeaderValue::try_from(value).ok().filter(|value| !value.is_empty()) {
        headers.insert(name, value);
    }
}

/// Returns the longest prefix of the text that an encoded message may have.
fn truncate(text: &str) -> &str {
    let mut room = MAX_MESSAGE;
    let fits = |char: &char| {
        let length = utf8_percent_encode(char.encode_utf8(&mut [0; 4]), ENCODED).map(str::len).sum();
        room.checked_sub(length).inspect(|rest| room = *rest).is_some()
    };
    let end = text.chars().take_while(fits).map(char::len_utf8).sum();
    text.get(..end).unwrap_or_default()
}

/// Encodes a text. Spaces are encoded only at the ends, where a header field may not have any.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    let _ = write!(encoded, "{}", utf8_percent_encode(text, ENCODED));
    if encoded.ends_with(' ') {
        encoded.pop();
        encoded.push_str("%20");
    }
    if encoded.starts_with(' ') {
        encoded.replace_range(..1, "%20");
    }
    encoded
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    fn trailers(status: &Status) -> HeaderMap {
        status.trailers_only(Protocol::Grpc).into_parts().0.headers
    }

    #[test]
    fn a_message_is_encoded_no_more_than_it_must_be() {
        let encoded = percent_encoded("rate limited: 100% – try later\nno");
        assert_eq!(encoded, "rate limited: 100%25 %E2%80%93 try later%0Ano");
        assert_eq!(percent_encoded("\u{7f}\0~!\"#$&"), "%7F%00~!\"#$&");
        assert_eq!(percent_encoded("  a b  "), "%20 a b %20");
        assert_eq!(percent_encoded(" "), "%20");
    }

    #[test]
    fn a_status_is_a_header_block() {
        let status = Status::new(Code::Internal, "a\nb").with_details(vec![0xff; 4]).with_pushback(1500);
        let response = status.trailers_only(Protocol::Grpc);
        let headers = response.headers();
        assert_eq!((response.status().as_u16(), response.body().len()), (200, 0));
        assert_eq!(headers["content-type"], "application/grpc");
        assert_eq!(headers["grpc-status"], "13");
        assert_eq!(headers["grpc-message"], "a%0Ab");
        assert_eq!(headers["grpc-status-details-bin"], "/////w");
        assert_eq!(headers["grpc-retry-pushback-ms"], "1500");
        assert_eq!(headers.len(), 5);
    }

    #[test]
    fn what_there_is_not_is_not_sent() {
        let headers = trailers(&Status::new(Code::Unavailable, ""));
        assert_eq!((headers.len(), &headers["grpc-status"]), (2, &HeaderValue::from_static("14")));
    }

    #[test]
    fn a_browser_gets_its_own_media_type_back() {
        let response =
            Status::new(Code::Unknown, "").trailers_only(Protocol::GrpcWeb("application/grpc-web-text+proto"));
        assert_eq!(response.headers()["content-type"], "application/grpc-web-text+proto");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(truncate(&"a".repeat(1025)), "a".repeat(1024));
        assert_eq!(truncate(&"–".repeat(1000)), "–".repeat(1024 / 9));
        assert_eq!(truncate(&"%".repeat(1000)), "%".repeat(1024 / 3));
        assert_eq!(truncate("short"), "short");
    }

    #[test]
    fn header_fields_are_trailers_if_they_hold_the_status_of_a_grpc_message() {
        let is = |fields: &[(&'static str, &'static str)]| {
            let named = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
            is_trailers_only(&fields.iter().copied().map(named).collect())
        };
        assert!(is(&[("grpc-status", "5"), ("content-type", "application/grpc+proto")]));
        assert!(is(&[("grpc-status", "5"), ("content-type", "application/grpc-web")]));
        assert!(is(&[("grpc-status", "5")]));
        assert!(!is(&[("grpc-status", "0"), ("content-type", "application/json")]));
        assert!(!is(&[("content-type", "application/grpc")]));
    }

    #[test]
    fn an_http_status_has_the_code_that_google_documents() {
        let rows = [
            (400, 3),
            (401, 16),
            (403, 7),
            (404, 5),
            (409, 10),
            (429, 8),
            (499, 1),
            (500, 13),
            (501, 12),
            (503, 14),
            (504, 4),
        ];
        for (status, code) in rows {
            assert_eq!(Code::from_http(StatusCode::from_u16(status).unwrap()).number(), code, "{status}");
        }
    }

    #[test]
    fn any_other_status_has_the_code_of_its_class() {
        for (status, code) in [(402, 9), (405, 9), (418, 9), (428, 9), (502, 2), (505, 2), (599, 2), (200, 2), (302, 2)]
        {
            assert_eq!(Code::from_http(StatusCode::from_u16(status).unwrap()).number(), code, "{status}");
        }
    }

    proptest! {
        #[test]
        fn a_message_is_read_back_as_it_was(text in any::<String>()) {
            let status = Status::new(Code::Unknown, &text);
            let headers = trailers(&status);
            let written = headers.get("grpc-message").map_or("", |value| value.to_str().unwrap());
            prop_assert!(written.bytes().all(|byte| matches!(byte, 0x20..=0x7e)));
            prop_assert_eq!(written.trim(), written);
            prop_assert_eq!(percent_decode_str(written).decode_utf8().unwrap(), truncate(&text));
            prop_assert!(written.len() <= MAX_MESSAGE + 4 && text.starts_with(truncate(&text)));
            let read = tonic::Status::from_header_map(&headers).unwrap();
            prop_assert_eq!(read.message(), truncate(&text));
        }
    }
}
