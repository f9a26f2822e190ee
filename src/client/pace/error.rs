//! A call that was not made, or failed.

use std::{sync::Arc, time::Duration};

use crate::{
    error::{ConfigError, Unavailable},
    limiter::missing_key,
};

/// The error of a paced call: the inner service's, or why that was never called.
///
/// In all cases but [`Inner`](Self::Inner) the call was not made and nothing was charged.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PaceError<E> {
    /// The call was made, and failed.
    #[error("{0}")]
    Inner(#[source] E),
    /// As many calls wait for the key as [may](super::PaceLayer::max_waiting).
    #[error("{waiting} calls wait already")]
    QueueFull {
        /// How many wait.
        waiting: usize,
    },
    /// It would have had to wait longer than it [may](super::PaceLayer::max_wait).
    #[error("it would have had to wait for {wait:?}")]
    TooLong {
        /// How long at least, from the time of the call on.
        wait: Duration,
    },
    /// The request does not carry the key of a rule that rejects such requests.
    #[error("{}", missing_key(.level))]
    KeyMissing {
        /// The enforcement level, which is what the request does not carry.
        level: String,
    },
    /// The store could not decide, and calls are not to go on without a decision.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// It has to wait, and is polled outside of a tokio runtime, which has the timers.
    #[error("a call can only wait within a tokio runtime")]
    NoRuntime,
    /// The layer was not built right.
    #[error("the pacing is misconfigured: {0}")]
    Misconfigured(#[source] Arc<ConfigError>),
}

/// Why a ticket cannot wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full(usize),
    TooLong(Duration),
}

impl<E> PaceError<E> {
    /// The inner service's error, if the call was made.
    #[must_use]
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Inner(error) => Some(error),
            _ => None,
        }
    }

    /// How long the call would have had to wait, at least, if that was too long.
    #[must_use]
    pub const fn wait(&self) -> Option<Duration> {
        match self {
            Self::TooLong { wait } => Some(*wait),
            _ => None,
        }
    }

    /// Whether the inner service was called.
    #[must_use]
    pub const fn was_called(&self) -> bool {
        matches!(self, Self::Inner(_))
    }
}

impl<E> From<Refused> for PaceError<E> {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full(waiting) => Self::QueueFull { waiting },
            Refused::TooLong(wait) => Self::TooLong { wait },
        }
    }
}
