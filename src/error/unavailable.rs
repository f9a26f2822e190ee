//! A store that cannot decide.

/// The store could not decide, and the request is not to go on without a decision.
///
/// The text is for the operator; callers are told no more than that they may try again later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of the rate limiter is unavailable: {reason}")]
pub struct Unavailable {
    reason: Box<str>,
}

impl Unavailable {
    /// For a reason such as `no answer within 50ms`.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into().into() }
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}
