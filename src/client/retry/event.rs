//! Events of retries, for observers.

use std::{fmt, time::Duration};

use crate::request::RequestView;

/// A retry that is about to be made, as [`inspect_retry`](super::RetryPolicyBuilder::inspect_retry) sees it.
///
/// ```
/// use tower_quota::client::{RetryPolicy, retry::RetryEvent};
///
/// let log = |event: &RetryEvent<'_>| {
///     let (path, reason) = (event.request().uri().path(), event.reason());
///     println!("{path} was {reason}: attempt {} follows", event.attempts() + 1);
/// };
/// let policy = RetryPolicy::builder().inspect_retry(log).build()?;
/// # let _ = policy;
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RetryEvent<'a> {
    request: &'a RequestView<'a>,
    attempts: u32,
    wait: Duration,
    reason: RetryReason,
}

/// The reason for a retry.
///
/// ```
/// use tower_quota::client::retry::RetryReason;
///
/// assert_eq!(RetryReason::Refused.to_string(), "refused");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryReason {
    /// The call was refused because of a limit, and not executed.
    Refused,
    /// The call failed, and may be executed twice.
    Failed,
    /// The client could not send the call.
    NotSent,
}

impl<'a> RetryEvent<'a> {
    pub(super) const fn new(request: &'a RequestView<'a>, attempts: u32, wait: Duration, reason: RetryReason) -> Self {
        Self { request, attempts, wait, reason }
    }

    /// Returns the request, without its body.
    #[must_use]
    pub const fn request(&self) -> &'a RequestView<'a> {
        self.request
    }

    /// Returns the number of attempts so far: 1 before the first retry.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Returns the wait before the next attempt.
    #[must_use]
    pub const fn wait(&self) -> Duration {
        self.wait
    }

    /// Returns the reason for the retry.
    #[must_use]
    pub const fn reason(&self) -> RetryReason {
        self.reason
    }
}

impl fmt::Display for RetryReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::NotSent => "not sent",
        })
    }
}

/// Emits a tracing event. Parts of a request that may be secret (its query, its fields) are left out.
#[cfg(feature = "tracing")]
pub(super) fn trace(event: &RetryEvent<'_>) {
    tracing::debug!(
        target: "tower_quota::retry",
        method = %event.request.method(),
        host = event.request.uri().host(),
        path = event.request.uri().path(),
        attempts = event.attempts,
        wait_ms = event.wait.as_millis() as u64,
        reason = %event.reason,
        "retrying a call",
    );
}

#[cfg(not(feature = "tracing"))]
pub(super) const fn trace(_: &RetryEvent<'_>) {}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use http::Request;

    use super::*;
    use crate::warn::capture::logged_during;

    #[test]
    fn the_event_tells_of_a_retry_and_of_nothing_secret() {
        let request =
            Request::post("https://ann:word@api.example.com/bots?token=secret").header("authorization", "secret");
        let request = request.body(()).unwrap();
        let view = RequestView::new(&request);
        let told =
            logged_during(|| trace(&RetryEvent::new(&view, 2, Duration::from_millis(1500), RetryReason::Refused)));
        let fields = r#"method=POST host="api.example.com" path="/bots" attempts=2 wait_ms=1500 reason=refused"#;
        assert_eq!(told, [format!("DEBUG retrying a call {fields}")]);
    }
}
