//! The configuration that all calls of a retry policy share.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    client::{
        backoff::Backoff,
        retry::{
            budget::Budget,
            classifier::RetryClassifier,
            delay::DelayCounter,
            event::{RetryEvent, RetryReason},
        },
    },
    error::ConfigError,
};

/// The configuration that all calls of a retry policy share.
#[derive(Clone)]
pub(super) struct RetryConfig {
    pub(super) classifier: RetryClassifier,
    pub(super) max_attempts: u32,
    pub(super) max_elapsed: Duration,
    pub(super) max_stated_wait: Duration,
    /// If `None` it depends on the wait.
    pub(super) max_jitter: Option<Duration>,
    pub(super) backoff: Option<Backoff>,
    /// The backoff after refusals that state no wait.
    pub(super) refusal_backoff: Option<Backoff>,
    pub(super) budget: Budget,
    pub(super) inspect: Arc<InspectFn>,
    pub(super) delays: DelayCounter,
}

pub(super) type InspectFn = dyn Fn(&RetryEvent<'_>) + Send + Sync;

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            classifier: RetryClassifier::default(),
            max_attempts: 4,
            max_elapsed: Duration::from_secs(180),
            max_stated_wait: Duration::from_secs(90),
            max_jitter: None,
            backoff: None,
            refusal_backoff: None,
            budget: Budget::default(),
            inspect: Arc::new(|_| {}),
            delays: DelayCounter::default(),
        }
    }
}

impl RetryConfig {
    /// Returns the backoff after failures.
    pub(super) fn backoff(&self) -> Backoff {
        self.backoff.unwrap_or(Backoff::full(Duration::from_millis(100), Duration::from_secs(10)))
    }

    /// Returns the backoff where no wait is stated. Most limits are per minute, so a refusal lasts longer than a failure.
    pub(super) fn backoff_after(&self, reason: RetryReason) -> Backoff {
        let patient = Backoff::decorrelated(Duration::from_secs(1), Duration::from_secs(60));
        match reason {
            RetryReason::Refused => self.refusal_backoff.or(self.backoff).unwrap_or(patient),
            RetryReason::Failed | RetryReason::NotSent => self.backoff(),
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.max_attempts == 0 {
            return Err(ConfigError::new("max_attempts", 0, "the first one counts, so there is at least 1"));
        }
        if self.max_elapsed.is_zero() {
            return Err(ConfigError::new("max_elapsed", "0s", "it is more than nothing, or no call is ever retried"));
        }
        if self.max_stated_wait >= self.classifier.reader.longest_believed() {
            let reason = "it is shorter than the longest time that is believed (`AdviceReader::max_time`), or that would \
                          be waited for in place of a longer one";
            let value = humantime::format_duration(self.max_stated_wait);
            return Err(ConfigError::new("max_stated_wait", value, reason));
        }
        self.backoff().validate("backoff")?;
        self.refusal_backoff.map_or(Ok(()), |backoff| backoff.validate("refusal_backoff"))
    }
}

impl fmt::Debug for RetryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryConfig")
            .field("classifier", &self.classifier)
            .field("max_attempts", &self.max_attempts)
            .field("max_elapsed", &self.max_elapsed)
            .field("max_stated_wait", &self.max_stated_wait)
            .field("max_jitter", &self.max_jitter)
            .field("backoff", &self.backoff())
            .field("refusal_backoff", &self.refusal_backoff)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}
