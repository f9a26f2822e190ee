//! How long to wait, as a `google.rpc.RetryInfo` among the details of a status says it.

use std::time::Duration;

use base64::Engine;

use crate::{
    grpc::wire_field::{WireValue, parse_fields},
    key::LENIENT_BASE64,
};

const TYPE_NAME: &[u8] = b"google.rpc.RetryInfo";
const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// The `retry_delay` in a field `grpc-status-details-bin`, if there is one and everything around it is well-formed.
pub(super) fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = LENIENT_BASE64.decode(details).ok()?;
    let details = parse_fields(&status)?;
    let info = details.iter().find_map(|detail| retry_info(message(detail, 3)?))?;
    duration(&whole_message(info, 1)?)
}

/// What a `google.protobuf.Any` holds, if that is a `RetryInfo`.
fn retry_info(any: &[u8]) -> Option<&[u8]> {
    let type_url = last_message(any, 1)?;
    let name = type_url.rsplit(|byte| *byte == b'/').next()?;
    if name == TYPE_NAME { last_message(any, 2) } else { None }
}

/// A `google.protobuf.Duration` that is not negative.
fn duration(message: &[u8]) -> Option<Duration> {
    let (mut seconds, mut nanos) = (0, 0);
    for field in parse_fields(message)? {
        match field {
            (1, WireValue::Integer(value)) => seconds = value,
            (2, WireValue::Integer(value)) => nanos = value,
            _ => {}
        }
    }
    // Negative numbers are very large ones here.
    let seconds = i64::try_from(seconds).ok()?.unsigned_abs();
    let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < NANOS_PER_SECOND)?;
    Some(Duration::new(seconds, nanos))
}

const fn message<'a>(field: &(u64, WireValue<'a>), number: u64) -> Option<&'a [u8]> {
    match *field {
        (at, WireValue::Bytes(bytes)) if at == number => Some(bytes),
        _ => None,
    }
}

/// A message that is there several times is all of them, one behind the other.
fn whole_message(bytes: &[u8], number: u64) -> Option<Vec<u8>> {
    let fields = parse_fields(bytes)?;
    let mut parts = fields.iter().filter_map(|field| message(field, number)).peekable();
    parts.peek()?;
    Some(parts.flatten().copied().collect())
}

/// Of text or bytes that are there several times, the last counts.
fn last_message(bytes: &[u8], number: u64) -> Option<&[u8]> {
    parse_fields(bytes)?.iter().rev().find_map(|field| message(field, number))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use proptest::prelude::*;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;
    use crate::grpc::protobuf::Message;

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
