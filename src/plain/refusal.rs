//! Why a request goes no further.

use std::time::Duration;

use crate::{
    error::Unavailable,
    limiter::{Decision, missing_key},
};

/// Why a request goes no further.
///
/// Its text is that for the caller: `You've exceeded the hourly rate limit. Please wait for sometime before retrying.`
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Some quota has no room. Nothing was charged, unless the policy [counts denials](crate::Policy::count_denied).
    #[error("{}", .0.message().unwrap_or_default())]
    Denied(Box<Decision>),
    /// The store could not decide, and the request is not to go on without a decision.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// The request does not carry the key of a rule that [requires](crate::Rule::key_required) it. Nothing was decided.
    #[error("{}", missing_key(.level))]
    KeyMissing {
        /// The enforcement level, which is what the request does not carry.
        level: String,
    },
}

impl Refusal {
    /// The decision, if there was one.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision> {
        match self {
            Self::Denied(decision) => Some(decision),
            Self::Unavailable(_) | Self::KeyMissing { .. } => None,
        }
    }

    /// How long until the request would be admitted if nobody else came; none if that is not known, or
    /// never will be as it is.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.decision().and_then(Decision::retry_after)
    }
}
