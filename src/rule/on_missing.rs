//! What happens to a request without the key.

use http::StatusCode;

/// What happens to a request that does not carry the key of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnMissing {
    /// All such requests share one history, under the same policy. Its key has no parts: `[""; 0]`.
    #[default]
    Share,
    /// The request is answered with this status and goes no further. Nothing is charged.
    ///
    /// A gRPC caller gets the code that `google.rpc.Code` gives for it: 16 (`UNAUTHENTICATED`) for 401, 3 for 400, 7 for
    /// 403, 5 for 404, 10 for 409, 8 for 429, 1 for 499, 13 for 500, 12 for 501, 14 for 503, 4 for 504; 9
    /// (`FAILED_PRECONDITION`) for any other 4xx and 2 (`UNKNOWN`) for any other 5xx.
    Reject(StatusCode),
    /// The rule does not govern the request.
    Skip,
}
