//! The status of a gRPC call, read from its trailers.

use std::time::Duration;

use base64::Engine;
use http::{HeaderMap, HeaderValue};

use crate::{
    grpc::{
        protobuf::{WireValue, parse_fields},
        status::{GRPC_RETRY_PUSHBACK, GRPC_STATUS_DETAILS, parse_digits, status_code},
    },
    key::LENIENT_BASE64,
};

const RETRY_INFO: &[u8] = b"google.rpc.RetryInfo";
const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// The status of a call, read from trailers, or from header fields that are trailers as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallStatus {
    code: u32,
    pushback: Option<Pushback>,
    retry_delay: Option<Duration>,
}

/// The value of `grpc-retry-pushback-ms` (gRFC A6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushback {
    After(Duration),
    /// A negative number, or anything else.
    Never,
}

impl CallStatus {
    /// Reads the status, or returns `None` if there is no `grpc-status`.
    pub(crate) fn from_trailers(trailers: &HeaderMap) -> Option<Self> {
        let code = status_code(trailers)?;
        let mut lines = trailers.get_all(GRPC_RETRY_PUSHBACK).iter();
        let pushback = match (lines.next(), lines.next()) {
            (None, _) => None,
            (Some(line), None) => Some(Pushback::parse(line)),
            (Some(_), Some(_)) => Some(Pushback::Never),
        };
        let retry_delay = trailers.get(GRPC_STATUS_DETAILS).and_then(|details| retry_delay(details.as_bytes()));
        Some(Self { code, pushback, retry_delay })
    }

    /// Returns the code, which may be one that gRPC does not define.
    pub(crate) const fn code(&self) -> u32 {
        self.code
    }

    pub(crate) const fn pushback(&self) -> Option<Pushback> {
        self.pushback
    }

    /// Returns the delay of the `google.rpc.RetryInfo` among the details, if there is one.
    pub(crate) const fn retry_delay(&self) -> Option<Duration> {
        self.retry_delay
    }
}

impl Pushback {
    fn parse(field: &HeaderValue) -> Self {
        let millis = parse_digits(field).and_then(|millis| i32::try_from(millis).ok());
        millis.map_or(Self::Never, |millis| Self::After(Duration::from_millis(millis.unsigned_abs().into())))
    }
}

/// Returns the `retry_delay` in a field `grpc-status-details-bin`, if there is one and everything around it is well-formed.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = LENIENT_BASE64.decode(details).ok()?;
    let details = parse_fields(&status)?;
    let info = details.iter().find_map(|detail| retry_info(delimited(detail, 3)?))?;
    duration(&merged_message(info, 1)?)
}

/// Returns the content of a `google.protobuf.Any`, if that is a `RetryInfo`.
fn retry_info(any: &[u8]) -> Option<&[u8]> {
    let type_url = last_value(any, 1)?;
    let name = type_url.rsplit(|byte| *byte == b'/').next()?;
    if name == RETRY_INFO { last_value(any, 2) } else { None }
}

/// Decodes a `google.protobuf.Duration` that is not negative.
fn duration(message: &[u8]) -> Option<Duration> {
    let (mut seconds, mut nanos) = (0, 0);
    for field in parse_fields(message)? {
        match field {
            (1, WireValue::Integer(value)) => seconds = value,
            (2, WireValue::Integer(value)) => nanos = value,
            _ => {}
        }
    }
    // Negative numbers are encoded as very large ones.
    let seconds = i64::try_from(seconds).ok()?.unsigned_abs();
    let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < NANOS_PER_SECOND)?;
    Some(Duration::new(seconds, nanos))
}

const fn delimited<'a>(field: &(u64, WireValue<'a>), number: u64) -> Option<&'a [u8]> {
    match *field {
        (at, WireValue::Bytes(bytes)) if at == number => Some(bytes),
        _ => None,
    }
}

/// Returns a message field. One that occurs several times is the concatenation of them all.
fn merged_message(bytes: &[u8], number: u64) -> Option<Vec<u8>> {
    let fields = parse_fields(bytes)?;
    let mut parts = fields.iter().filter_map(|field| delimited(field, number)).peekable();
    parts.peek()?;
    Some(parts.flatten().copied().collect())
}

/// Returns a text or bytes field. Of one that occurs several times the last counts.
fn last_value(bytes: &[u8], number: u64) -> Option<&[u8]> {
    parse_fields(bytes)?.iter().rev().find_map(|field| delimited(field, number))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use proptest::prelude::*;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;
    use crate::grpc::protobuf::Message;

    fn status(fields: &[(&'static str, &str)]) -> Option<CallStatus> {
        let mut trailers = HeaderMap::new();
        for (name, value) in fields {
            trailers.append(*name, value.parse().unwrap());
        }
        CallStatus::from_trailers(&trailers)
    }

    fn pushback(lines: &[&str]) -> Option<Pushback> {
        let lines = lines.iter().map(|line| ("grpc-retry-pushback-ms", *line));
        status(&[("grpc-status", "8")].into_iter().chain(lines).collect::<Vec<_>>())?.pushback()
    }

    #[test]
    fn a_pushback_is_a_signed_32_bit_number_of_milliseconds() {
        let after = |millis| Some(Pushback::After(Duration::from_millis(millis)));
        assert_eq!(pushback(&[]), None);
        assert_eq!(pushback(&["1500"]), after(1500));
        assert_eq!(pushback(&["0"]), after(0));
        assert_eq!(pushback(&["2147483647"]), after(2_147_483_647));
    }

    #[test]
    fn a_negative_pushback_and_one_that_is_no_number_mean_never() {
        for field in ["-1", "abc", "2147483648", "", "+5", "1.5", " 5", "0x10", "99999999999999999999"] {
            assert_eq!(pushback(&[field]), Some(Pushback::Never), "{field:?}");
        }
        assert_eq!(pushback(&["5", "5"]), Some(Pushback::Never));
    }

    #[test]
    fn a_code_that_cannot_be_read_is_unknown() {
        let code = |text| status(&[("grpc-status", text)]).map(|status| status.code());
        assert_eq!((code("8"), code("0"), code("99")), (Some(8), Some(0), Some(99)));
        assert_eq!((code("+8"), code(""), code("eight")), (Some(2), Some(2), Some(2)));
        assert_eq!(status(&[("grpc-retry-pushback-ms", "5")]), None);
    }

    /// What tonic 0.14.9 writes: RetryInfo of 1.5 s, QuotaFailure and ErrorInfo.
    const GOLDEN: &str = "CAgSI3JhdGUgbGltaXRlZDogMTAwJSDigJMgdHJ5IGxhdGVyCm5vGjYKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29v\
                          Z2xlLnJwYy5SZXRyeUluZm8SCgoICAEQgMq17gEaTgordHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlF1\
                          b3RhRmFpbHVyZRIfCh0KDGlwOjE5Mi4wLjIuMRINcGVyLWlwIDEwL21pbhpOCih0eXBlLmdvb2dsZWFwaXMuY29t\
                          L2dvb2dsZS5ycGMuRXJyb3JJbmZvEiIKE1JBVEVfTElNSVRfRVhDRUVERUQSC2V4YW1wbGUuY29t";

    fn any(type_url: &str, value: &Message) -> Message {
        Message::default().text(1, type_url).packed(2, value)
    }

    fn details(type_url: &str, seconds: i64, nanos: i32) -> Vec<u8> {
        let delay = Message::default().integer(1, seconds.cast_unsigned()).integer(2, i64::from(nanos).cast_unsigned());
        let junk = any("type.googleapis.com/google.rpc.Help", &Message::default().text(15, "junk"));
        let info = any(type_url, &Message::default().message(1, &delay));
        Message::default().integer(1, 8).text(2, "no").message(3, &junk).message(3, &info).into_bytes()
    }

    fn read(status: &[u8]) -> Option<Duration> {
        retry_delay(STANDARD_NO_PAD.encode(status).as_bytes())
    }

    #[test]
    fn what_tonic_writes_is_read_with_padding_and_without() {
        assert_eq!(retry_delay(GOLDEN.as_bytes()), Some(Duration::from_millis(1500)));
        let padded = STANDARD.encode(STANDARD_NO_PAD.decode(GOLDEN).unwrap());
        assert_eq!(retry_delay(padded.as_bytes()), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn the_type_is_known_whatever_the_host_is_that_describes_it() {
        for host in ["type.googleapis.com/", "", "example.com/types/"] {
            let url = format!("{host}google.rpc.RetryInfo");
            assert_eq!(read(&details(&url, 7, 0)), Some(Duration::from_secs(7)), "{url}");
        }
        for url in ["type.googleapis.com/google.rpc.ErrorInfo", "xgoogle.rpc.RetryInfo", ""] {
            assert_eq!(read(&details(url, 7, 0)), None, "{url}");
        }
    }

    #[test]
    fn negative_and_impossible_delays_are_none() {
        let url = "type.googleapis.com/google.rpc.RetryInfo";
        for (seconds, nanos) in [(-1, 0), (0, -1), (i64::MIN, 0), (1, 1_000_000_000), (1, i32::MAX), (1, i32::MIN)] {
            assert_eq!(read(&details(url, seconds, nanos)), None, "{seconds} {nanos}");
        }
        assert_eq!(
            read(&details(url, i64::MAX, 999_999_999)),
            Some(Duration::new(i64::MAX.unsigned_abs(), 999_999_999))
        );
        assert_eq!(read(&details(url, 0, 0)), Some(Duration::ZERO));
    }

    #[test]
    fn a_delay_that_comes_in_parts_is_put_together_as_protobuf_has_it() {
        let part = |number, value| Message::default().integer(number, value);
        let info = Message::default().message(1, &part(1, 5)).message(1, &part(2, 7)).message(1, &part(1, 6));
        let status =
            Message::default().message(3, &any("type.googleapis.com/google.rpc.RetryInfo", &info)).into_bytes();
        let theirs = tonic::Status::with_details(tonic::Code::ResourceExhausted, "no", status.clone().into());
        assert_eq!(read(&status), Some(Duration::new(6, 7)));
        assert_eq!(read(&status), theirs.get_error_details().retry_info().and_then(|info| info.retry_delay));
    }

    #[test]
    fn bad_base64_and_junk_are_none() {
        for field in ["!!!not base64", "", "A", "////////", "CAg=CAg=", "GjYK"] {
            assert_eq!(retry_delay(field.as_bytes()), None, "{field:?}");
        }
        let whole = details("google.rpc.RetryInfo", 7, 0);
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "cut at {length}");
        }
    }

    proptest! {
        #[test]
        fn what_tonic_writes_of_any_delay_is_read_back(seconds in 0u64..1 << 38, nanos in 0u32..1_000_000_000) {
            let delay = Duration::new(seconds, nanos);
            let details = ErrorDetails::with_retry_info(Some(delay));
            let status = tonic::Status::with_error_details(tonic::Code::ResourceExhausted, "no", details);
            prop_assert_eq!(read(status.details()), Some(delay));
        }

        #[test]
        fn no_bytes_are_too_strange(mut status in Just(details("google.rpc.RetryInfo", 7, 5)), at: usize, byte: u8) {
            let at = at % status.len();
            status[at] = byte;
            let _ = read(&status);
        }
    }
}
