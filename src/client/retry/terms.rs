//! What all calls of a policy have in common.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use http::Response;

use crate::{
    client::{
        Answers,
        retry::{Backoff, Budget},
    },
    error::ConfigError,
    grpc::{Outcome, is_trailers_only},
    http::RequestView,
};

/// UNAVAILABLE
const GRPC_UNAVAILABLE: u32 = 14;

/// What all calls of a policy have in common.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) answers: Answers,
    pub(super) attempts: u32,
    pub(super) deadline: Duration,
    pub(super) longest_wait: Duration,
    /// If none is chosen then it goes by the wait.
    pub(super) spread: Option<Duration>,
    pub(super) backoff: Backoff,
    pub(super) budget: Budget,
    pub(super) is_idempotent: Arc<IsIdempotent>,
    pub(super) is_passing: Arc<IsPassing>,
}

pub(super) type IsIdempotent = dyn Fn(&RequestView<'_>) -> bool + Send + Sync;
/// Whether an error may be over the next time.
pub(super) type IsPassing = dyn Fn(&dyn Any) -> bool + Send + Sync;

/// A call that may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repeatable {
    /// The wait that the server has stated.
    pub(super) stated: Option<Duration>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            answers: Answers::new(),
            attempts: 4,
            deadline: Duration::from_secs(180),
            longest_wait: Duration::from_secs(90),
            spread: None,
            backoff: Backoff::full(Duration::from_millis(100), Duration::from_secs(10)),
            budget: Budget::default(),
            is_idempotent: Arc::new(|_| false),
            is_passing: Arc::new(|_| false),
        }
    }
}

impl Terms {
    /// Whether a call that ended like this may be made again, for all that is known of it.
    pub(super) fn judge<B, E: 'static>(
        &self,
        request: &RequestView<'_>,
        result: &Result<Response<B>, E>,
    ) -> Option<Repeatable> {
        let is_idempotent = || request.method().is_idempotent() || (self.is_idempotent)(request);
        match result {
            Ok(response) => {
                let advice = self.answers.of(response);
                let may_repeat = advice.is_refusal() || has_failed(response) && is_idempotent();
                (may_repeat && !advice.forbids_retry()).then_some(Repeatable { stated: advice.wait_time() })
            }
            Err(error) => ((self.is_passing)(error) && is_idempotent()).then_some(Repeatable { stated: None }),
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.attempts == 0 {
            return Err(ConfigError::new("attempts", 0, "the first one counts, so there is at least 1"));
        }
        if self.deadline.is_zero() {
            return Err(ConfigError::new("deadline", "0s", "it is more than nothing, or no call is ever repeated"));
        }
        if self.longest_wait >= self.answers.longest_believed() {
            let reason = "it is shorter than the longest time that answers are believed, or that would be waited for \
                          in place of a longer one";
            return Err(ConfigError::new("longest_wait", humantime::format_duration(self.longest_wait), reason));
        }
        self.backoff.validate()
    }
}

/// Whether a response is no answer, but what somebody on the way says in its place.
fn has_failed<B>(response: &Response<B>) -> bool {
    match Outcome::of(response.headers()).filter(|_| is_trailers_only(response.headers())) {
        Some(outcome) => outcome.code() == GRPC_UNAVAILABLE,
        None => matches!(response.status().as_u16(), 502..=504),
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms")
            .field("answers", &self.answers)
            .field("attempts", &self.attempts)
            .field("deadline", &self.deadline)
            .field("longest_wait", &self.longest_wait)
            .field("spread", &self.spread)
            .field("backoff", &self.backoff)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}
