//! A call that is about to be made again, for those who watch.

use std::{fmt, time::Duration};

use crate::request::RequestView;

/// A call that is made again, as [`on_retry`](super::RetryPolicyBuilder::on_retry) is told.
#[derive(Clone, Debug)]
pub struct Repeat<'a> {
    request: &'a RequestView<'a>,
    attempts: u32,
    wait: Duration,
    reason: Reason,
}

/// Why a call is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It was refused because of a limit, and not executed.
    Refused,
    /// It failed, and may be executed twice.
    Failed,
    /// The client could not send it.
    NeverSent,
}

impl<'a> Repeat<'a> {
    pub(super) const fn new(request: &'a RequestView<'a>, attempts: u32, wait: Duration, reason: Reason) -> Self {
        Self { request, attempts, wait, reason }
    }

    /// The request, but for its body.
    #[must_use]
    pub const fn request(&self) -> &'a RequestView<'a> {
        self.request
    }

    /// How many attempts the call has had so far: 1 before it is made again for the first time.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long it waits before the next attempt.
    #[must_use]
    pub const fn wait(&self) -> Duration {
        self.wait
    }

    /// Why it is made again.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::NeverSent => "never sent",
        })
    }
}

/// Tells those who trace. What may be secret in a request (its query, its fields) is left out.
#[cfg(feature = "tracing")]
pub(super) fn trace(repeat: &Repeat<'_>) {
    tracing::debug!(
        target: "tower_quota::retry",
        method = %repeat.request.method(),
        host = repeat.request.uri().host(),
        path = repeat.request.uri().path(),
        attempts = repeat.attempts,
        wait_ms = repeat.wait.as_millis() as u64,
        reason = %repeat.reason,
        "a call is made again",
    );
}

#[cfg(not(feature = "tracing"))]
pub(super) const fn trace(_: &Repeat<'_>) {}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use http::Request;

    use super::*;
    use crate::warn::heard::heard_during;

    #[test]
    fn the_event_tells_of_a_repeat_and_of_nothing_secret() {
        let request =
            Request::post("https://ann:word@api.example.com/bots?token=secret").header("authorization", "secret");
        let request = request.body(()).unwrap();
        let view = RequestView::of(&request);
        let told = heard_during(|| trace(&Repeat::new(&view, 2, Duration::from_millis(1500), Reason::Refused)));
        let fields = r#"method=POST host="api.example.com" path="/bots" attempts=2 wait_ms=1500 reason=refused"#;
        assert_eq!(told, [format!("DEBUG a call is made again {fields}")]);
    }
}
