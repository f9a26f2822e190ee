//! Outcomes: what came of a request, for rules that count only some of them.
//!
//! ```
//! use tower_quota::{Policy, Quota, Rule, key, outcome};
//!
//! let minutes = std::time::Duration::from_secs(60) * 15;
//! let logins = Rule::new("logins")
//!     .routes(["POST /login"])
//!     .key(key::header("x-account"))
//!     .policy(Quota::new(5, minutes))
//!     .count_only(outcome::statuses([401, 403]));
//! # let _ = logins;
//! ```

use std::fmt;

use http::{HeaderMap, StatusCode};

/// What came of a request: the head of its response, and how it ended.
///
/// A rule that [counts only](crate::Rule::count_only) some outcomes is asked about each response. A request that got none
/// counts, whatever the rule says: callers that hang up before the answer would guess for free.
#[derive(Clone, Copy)]
pub struct Outcome<'a> {
    head: Option<(StatusCode, &'a HeaderMap)>,
    grpc_code: Option<u32>,
    is_failure: bool,
}

impl<'a> Outcome<'a> {
    /// Creates the outcome of a response with this status and these header fields, and the code if it is one to a gRPC call.
    pub(crate) fn from_response(status: StatusCode, headers: &'a HeaderMap, grpc_code: Option<u32>) -> Self {
        let is_failure = match grpc_code {
            Some(code) => code != 0,
            None => status.is_client_error() || status.is_server_error(),
        };
        Self { head: Some((status, headers)), grpc_code, is_failure }
    }

    /// Creates the outcome of a request of any other kind.
    pub(crate) const fn from_result(is_failure: bool) -> Self {
        Self { head: None, grpc_code: None, is_failure }
    }

    /// Returns the status of the response; `None` if the request is not one of HTTP.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.head.map(|(status, _)| status)
    }

    /// Returns the header fields of the response; `None` if the request is not one of HTTP.
    #[must_use]
    pub fn headers(&self) -> Option<&'a HeaderMap> {
        self.head.map(|(_, headers)| headers)
    }

    /// Returns the code with which a gRPC call has ended, from its trailers or from the head of a response without a body: 0 for
    /// success, 16 for `UNAUTHENTICATED`. `None` if it is no gRPC call.
    #[must_use]
    pub const fn grpc_code(&self) -> Option<u32> {
        self.grpc_code
    }

    /// Returns `true` for a 4xx or 5xx status, for a gRPC code other than 0, and for an error of a service that is not one of
    /// HTTP.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        self.is_failure
    }
}

impl fmt::Debug for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("status", &self.status())
            .field("grpc_code", &self.grpc_code)
            .field("is_failure", &self.is_failure)
            .finish()
    }
}

/// Counts [failures](Outcome::is_failure).
pub fn failures() -> impl Fn(&Outcome<'_>) -> bool + Send + Sync + 'static {
    |outcome| outcome.is_failure()
}

/// Counts all but [failures](Outcome::is_failure).
pub fn successes() -> impl Fn(&Outcome<'_>) -> bool + Send + Sync + 'static {
    |outcome| !outcome.is_failure()
}

/// Counts responses with one of these statuses.
pub fn statuses(statuses: impl IntoIterator<Item = u16>) -> impl Fn(&Outcome<'_>) -> bool + Send + Sync + 'static {
    let statuses: Box<[u16]> = statuses.into_iter().collect();
    move |outcome| outcome.status().is_some_and(|status| statuses.contains(&status.as_u16()))
}

/// Counts gRPC calls that end with one of these codes.
pub fn grpc_codes(codes: impl IntoIterator<Item = u32>) -> impl Fn(&Outcome<'_>) -> bool + Send + Sync + 'static {
    let codes: Box<[u32]> = codes.into_iter().collect();
    move |outcome| outcome.grpc_code().is_some_and(|code| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: impl Fn(&Outcome<'_>) -> bool, status: u16, grpc_code: Option<u32>) -> bool {
        let (status, headers) = (StatusCode::from_u16(status).unwrap(), HeaderMap::new());
        counts(&Outcome::from_response(status, &headers, grpc_code))
    }

    #[test]
    fn a_4xx_and_a_5xx_are_failures_and_other_statuses_are_not() {
        for (status, is_failure) in [(200, false), (304, false), (400, true), (401, true), (500, true), (503, true)] {
            assert_eq!(counts(failures(), status, None), is_failure, "{status}");
            assert_eq!(counts(successes(), status, None), !is_failure, "{status}");
        }
    }

    #[test]
    fn a_grpc_call_fails_by_its_code_whatever_its_status() {
        assert!(counts(failures(), 200, Some(16)) && counts(successes(), 200, Some(0)));
        assert!(counts(grpc_codes([16, 7]), 200, Some(7)) && !counts(grpc_codes([16, 7]), 200, Some(0)));
    }

    #[test]
    fn some_statuses_alone_are_counted() {
        let logins = || statuses([401, 403]);
        assert!(counts(logins(), 401, None) && counts(logins(), 403, None));
        assert!(!counts(logins(), 404, None) && !counts(logins(), 200, None));
        assert!(!logins()(&Outcome::from_result(true)));
    }
}
