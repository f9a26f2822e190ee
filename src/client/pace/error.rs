//! The error of a paced call.

use std::{sync::Arc, time::Duration};

use crate::{
    error::{ConfigError, Unavailable},
    limiter::{QuotaStatus, missing_key},
};

/// The error of a paced call: the inner service's, or the reason for which that was never called.
///
/// In all cases but [`Inner`](Self::Inner) the call was not made and nothing was charged.
///
/// ```
/// use std::{convert::Infallible, time::Duration};
///
/// use http::{Request, Response};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_quota::{
///     Policy,
///     client::pace::{PaceError, PaceLayer},
///     key,
/// };
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// # let client = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
/// let layer = PaceLayer::new(key::host(), Policy::per_minute(1));
/// let client = layer.max_wait(Duration::from_secs(10)).layer(client);
///
/// let request = || Request::get("https://api.example.com/").body(()).unwrap();
/// assert!(client.clone().oneshot(request()).await.is_ok());
/// let error: PaceError<Infallible> = client.oneshot(request()).await.unwrap_err();
/// assert!(!error.was_called());
/// assert_eq!(error.wait(), Some(Duration::from_secs(60)));
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PaceError<E> {
    /// The call was made, and failed.
    #[error("{0}")]
    Inner(#[source] E),
    /// The queue of a key is [full](super::PaceLayer::max_waiting).
    #[error("{waiting} calls wait already")]
    QueueFull {
        /// The number of calls in the queue.
        waiting: usize,
    },
    /// The call would have had to wait longer than it [may](super::PaceLayer::max_wait).
    #[error("it would have had to wait for {wait:?}")]
    TooLong {
        /// The least time it would have waited, from the time of the call on.
        wait: Duration,
    },
    /// The call costs more than some quota admits: it would wait for ever.
    #[error("it costs {cost} {unit}, and rule \"{rule}\" admits at most {limit}")]
    NeverPossible {
        /// The name of the rule.
        rule: String,
        /// The name of the units.
        unit: String,
        /// The units that the call costs.
        cost: u64,
        /// The limit of the quota, in the same units.
        limit: u64,
    },
    /// The request does not carry the key of a rule that rejects such requests.
    #[error("{}", missing_key(.level))]
    KeyMissing {
        /// The enforcement level, which names the missing key.
        level: String,
    },
    /// The store could not decide, and fails closed.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// The call has to wait, and is polled outside of a tokio runtime, which has the timers.
    #[error("a call can only wait within a tokio runtime")]
    NoRuntime,
    /// The layer was built with a mistake.
    #[error("the pacing is misconfigured: {0}")]
    Misconfigured(#[source] Arc<ConfigError>),
}

/// The reason for which a call cannot wait in the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CannotQueue {
    Full { waiting: usize },
    TooLong { wait: Duration },
}

impl<E> PaceError<E> {
    /// Creates the error of a call that costs more than a quota admits.
    pub(super) fn never_possible(quota: &QuotaStatus<'_>) -> Self {
        let (rule, unit) = (quota.rule().to_owned(), quota.unit().to_owned());
        Self::NeverPossible { rule, unit, cost: quota.cost(), limit: quota.limit() }
    }

    /// Returns the inner service's error, if the call was made.
    #[must_use]
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Inner(error) => Some(error),
            _ => None,
        }
    }

    /// Returns the least time that the call would have had to wait, if that was too long.
    #[must_use]
    pub const fn wait(&self) -> Option<Duration> {
        match self {
            Self::TooLong { wait } => Some(*wait),
            _ => None,
        }
    }

    /// Returns `true` if the inner service was called.
    #[must_use]
    pub const fn was_called(&self) -> bool {
        matches!(self, Self::Inner(_))
    }
}

impl<E> From<CannotQueue> for PaceError<E> {
    fn from(reason: CannotQueue) -> Self {
        match reason {
            CannotQueue::Full { waiting } => Self::QueueFull { waiting },
            CannotQueue::TooLong { wait } => Self::TooLong { wait },
        }
    }
}
