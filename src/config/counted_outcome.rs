//! The outcomes of requests that a rule counts, as a file names them.

use http::StatusCode;

use crate::{
    error::{ConfigError, nearest},
    outcome::Outcome,
};

const FAILURES: &str = "failures";
const SUCCESSES: &str = "successes";
const GRPC: &str = "grpc:";
/// The largest code of gRPC.
const MAX_CODE: u32 = 16;
const UNKNOWN: &str = "not an outcome: write \"failures\", \"successes\", a status such as \"401\", \"4xx\", or a gRPC code such as \"grpc:16\"";

/// One of the outcomes that a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CountedOutcome {
    Failures,
    Successes,
    Status(StatusCode),
    /// All statuses that begin with this digit.
    Statuses(u16),
    GrpcCode(u32),
}

impl CountedOutcome {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        let refuse = |reason: &str| ConfigError::new("count_only", format_args!("\"{text}\""), reason);
        if let Some(code) = text.strip_prefix(GRPC) {
            let code = code.parse().ok().filter(|code| *code <= MAX_CODE);
            return code
                .map(Self::GrpcCode)
                .ok_or_else(|| refuse("a gRPC code is a number from 0 to 16: write \"grpc:16\""));
        }
        match (text.as_bytes(), status(text)) {
            _ if text == FAILURES => Ok(Self::Failures),
            _ if text == SUCCESSES => Ok(Self::Successes),
            (_, Some(status)) => Ok(Self::Status(status)),
            ([digit @ b'1'..=b'5', b'x', b'x'], None) => Ok(Self::Statuses(u16::from(digit - b'0'))),
            _ => Err(match nearest(text, [FAILURES, SUCCESSES]) {
                Some(word) => refuse(&format!("not an outcome: write \"{word}\"")),
                None => refuse(UNKNOWN),
            }),
        }
    }

    /// Returns `true` if a request had this outcome.
    pub(super) fn is_met(self, outcome: &Outcome<'_>) -> bool {
        match self {
            Self::Failures => outcome.is_failure(),
            Self::Successes => !outcome.is_failure(),
            Self::Status(status) => outcome.status() == Some(status),
            Self::Statuses(digit) => outcome.status().is_some_and(|status| status.as_u16() / 100 == digit),
            Self::GrpcCode(code) => outcome.grpc_code() == Some(code),
        }
    }
}

/// Returns the status that a text is, from 100 to 599.
fn status(text: &str) -> Option<StatusCode> {
    StatusCode::from_bytes(text.as_bytes()).ok().filter(|status| status.as_u16() < 600)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn is_met(text: &str, status: u16, grpc_code: Option<u32>) -> bool {
        let (status, headers) = (StatusCode::from_u16(status).unwrap(), HeaderMap::new());
        CountedOutcome::parse(text).unwrap().is_met(&Outcome::from_response(status, &headers, grpc_code))
    }

    #[test]
    fn an_outcome_is_what_its_text_says() {
        assert!(is_met("failures", 404, None) && !is_met("failures", 200, None));
        assert!(is_met("successes", 204, None) && !is_met("successes", 500, None));
        assert!(is_met("401", 401, None) && !is_met("401", 403, None));
        assert!(is_met("4xx", 499, None) && !is_met("4xx", 500, None) && !is_met("4xx", 399, None));
        assert!(is_met("grpc:16", 200, Some(16)) && !is_met("grpc:16", 200, Some(0)) && !is_met("grpc:0", 200, None));
    }

    #[test]
    fn another_text_is_refused_with_what_is_meant() {
        for (text, reason) in [
            ("failure", "write \"failures\""),
            ("succeses", "write \"successes\""),
            ("4XX", "not an outcome"),
            ("6xx", "not an outcome"),
            ("600", "not an outcome"),
            ("099", "not an outcome"),
            ("", "not an outcome"),
            ("grpc:17", "from 0 to 16"),
            ("grpc:UNAUTHENTICATED", "from 0 to 16"),
            ("grpc:", "from 0 to 16"),
        ] {
            let error = CountedOutcome::parse(text).unwrap_err();
            assert_eq!((error.field(), error.value()), ("count_only", &*format!("\"{text}\"")));
            assert!(error.reason().contains(reason), "{error}");
        }
    }
}
