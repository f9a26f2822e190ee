//! What all calls of a policy have in common.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    client::retry::{
        Backoff, Budget,
        asleep::Asleep,
        judge::{Judge, Repeatable},
        repeat::{Reason, Repeat},
    },
    error::ConfigError,
};

/// What all calls of a policy have in common.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) judge: Judge,
    pub(super) attempts: u32,
    pub(super) deadline: Duration,
    pub(super) longest_wait: Duration,
    /// If none is chosen then it goes by the wait.
    pub(super) spread: Option<Duration>,
    pub(super) backoff: Option<Backoff>,
    /// After refusals that state no wait.
    pub(super) refusal_backoff: Option<Backoff>,
    pub(super) budget: Budget,
    pub(super) on_retry: Arc<OnRetry>,
    pub(super) asleep: Asleep,
}

pub(super) type OnRetry = dyn Fn(&Repeat<'_>) + Send + Sync;

impl Default for Terms {
    fn default() -> Self {
        Self {
            judge: Judge::default(),
            attempts: 4,
            deadline: Duration::from_secs(180),
            longest_wait: Duration::from_secs(90),
            spread: None,
            backoff: None,
            refusal_backoff: None,
            budget: Budget::default(),
            on_retry: Arc::new(|_| {}),
            asleep: Asleep::default(),
        }
    }
}

impl Terms {
    /// The waits after failures.
    pub(super) fn backoff(&self) -> Backoff {
        self.backoff.unwrap_or(Backoff::full(Duration::from_millis(100), Duration::from_secs(10)))
    }

    /// The waits where none is stated. Most limits are per minute, so a refusal is not over as soon as a failure may be.
    pub(super) fn backoff_after(&self, repeatable: Repeatable) -> Backoff {
        let patient = Backoff::decorrelated(Duration::from_secs(1), Duration::from_secs(60));
        match repeatable.reason {
            Reason::Refused => self.refusal_backoff.or(self.backoff).unwrap_or(patient),
            Reason::Failed | Reason::NeverSent => self.backoff(),
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.attempts == 0 {
            return Err(ConfigError::new("attempts", 0, "the first one counts, so there is at least 1"));
        }
        if self.deadline.is_zero() {
            return Err(ConfigError::new("deadline", "0s", "it is more than nothing, or no call is ever repeated"));
        }
        if self.longest_wait >= self.judge.answers.longest_believed() {
            let reason = "it is shorter than the longest time that answers are believed, or that would be waited for \
                          in place of a longer one";
            return Err(ConfigError::new("longest_wait", humantime::format_duration(self.longest_wait), reason));
        }
        self.backoff().validate("backoff")?;
        self.refusal_backoff.map_or(Ok(()), |backoff| backoff.validate("refusal_backoff"))
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms")
            .field("judge", &self.judge)
            .field("attempts", &self.attempts)
            .field("deadline", &self.deadline)
            .field("longest_wait", &self.longest_wait)
            .field("spread", &self.spread)
            .field("backoff", &self.backoff())
            .field("refusal_backoff", &self.refusal_backoff)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}
