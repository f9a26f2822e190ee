//! A question that got no answer.

use crate::error::{Unavailable, UnknownRule};

/// A question to a limiter that got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// A rule was named that the limiter does not have.
    #[error(transparent)]
    UnknownRule(#[from] UnknownRule),
    /// The store could not decide.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
