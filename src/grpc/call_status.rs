//! How a call ended, as its trailers say.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::grpc::{
    retry_info::retry_delay,
    status::{GRPC_RETRY_PUSHBACK, GRPC_STATUS, GRPC_STATUS_DETAILS},
};

const UNKNOWN: u32 = 2;

/// How a call ended, read from trailers, or from header fields that are trailers as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallStatus {
    code: u32,
    pushback: Option<Pushback>,
    retry_delay: Option<Duration>,
}

/// What `grpc-retry-pushback-ms` says (gRFC A6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushback {
    After(Duration),
    /// A negative number, and anything that is no number.
    Never,
}

impl CallStatus {
    /// The outcome; none if the fields say nothing of it.
    pub(crate) fn of(trailers: &HeaderMap) -> Option<Self> {
        let code = trailers.get(GRPC_STATUS).map(|code| natural(code).unwrap_or(UNKNOWN))?;
        let mut lines = trailers.get_all(GRPC_RETRY_PUSHBACK).iter();
        let pushback = match (lines.next(), lines.next()) {
            (None, _) => None,
            (Some(line), None) => Some(Pushback::read(line)),
            (Some(_), Some(_)) => Some(Pushback::Never),
        };
        let retry_delay = trailers.get(GRPC_STATUS_DETAILS).and_then(|details| retry_delay(details.as_bytes()));
        Some(Self { code, pushback, retry_delay })
    }

    /// The code, which may be one that gRPC does not have.
    pub(crate) const fn code(&self) -> u32 {
        self.code
    }

    pub(crate) const fn pushback(&self) -> Option<Pushback> {
        self.pushback
    }

    /// That of a `google.rpc.RetryInfo`.
    pub(crate) const fn retry_delay(&self) -> Option<Duration> {
        self.retry_delay
    }
}

impl Pushback {
    fn read(field: &HeaderValue) -> Self {
        let millis = natural(field).and_then(|millis| i32::try_from(millis).ok());
        millis.map_or(Self::Never, |millis| Self::After(Duration::from_millis(millis.unsigned_abs().into())))
    }
}

/// Digits and nothing else: `parse` alone would take a sign.
fn natural(field: &HeaderValue) -> Option<u32> {
    let text = str::from_utf8(field.as_bytes()).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(fields: &[(&'static str, &str)]) -> Option<CallStatus> {
        let mut trailers = HeaderMap::new();
        for (name, value) in fields {
            trailers.append(*name, value.parse().unwrap());
        }
        CallStatus::of(&trailers)
    }

    fn pushback(lines: &[&str]) -> Option<Pushback> {
        let lines = lines.iter().map(|line| ("grpc-retry-pushback-ms", *line));
        outcome(&[("grpc-status", "8")].into_iter().chain(lines).collect::<Vec<_>>())?.pushback()
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
        let code = |text| outcome(&[("grpc-status", text)]).map(|outcome| outcome.code());
        assert_eq!((code("8"), code("0"), code("99")), (Some(8), Some(0), Some(99)));
        assert_eq!((code("+8"), code(""), code("eight")), (Some(2), Some(2), Some(2)));
        assert_eq!(outcome(&[("grpc-retry-pushback-ms", "5")]), None);
    }
}
