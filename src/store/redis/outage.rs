//! What happens to requests while the store is unavailable.

use std::fmt;

/// What happens to requests while the store is unavailable. There is no default: it is a choice between two evils.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum OnOutage {
    /// They pass, uncounted.
    Open,
    /// They are refused: with 503 and the problem type `temporary-reduced-capacity`, on gRPC with `UNAVAILABLE`.
    Closed,
    /// They are counted in this process, against this share of each limit (rounded down, but at least 1): with four
    /// processes that are equally busy, `0.25`.
    ///
    /// What this process has admitted before the outage counts, too.
    Local {
        /// More than 0, and at most 1.
        share: f64,
    },
}

impl fmt::Display for OnOutage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Closed => f.write_str("closed"),
            Self::Local { share } => write!(f, "local, a share of {share}"),
        }
    }
}
