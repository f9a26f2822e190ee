//! Time in this process: tokio's clock, or the virtual time of a test.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::redis::{failure::Failure, script::Script};

/// Zero would stand for the server's own time.
#[cfg(feature = "test-util")]
const VIRTUAL_START: u64 = 1_000_000_000;

/// The time source of circuit breakers, leases and remembered denials: tokio's clock, or the virtual time of a test.
///
/// With virtual time the script takes its time from here, too.
#[derive(Clone, Debug, Default)]
pub(super) struct Timer {
    #[cfg(feature = "test-util")]
    virtual_time: Option<(Instant, crate::clock::ManualClock)>,
}

/// The instant by which an answer is due, and the time that was allowed for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) end: Instant,
    pub(super) length: Duration,
}

#[cfg(feature = "test-util")]
impl Timer {
    pub(super) fn new(virtual_time: Option<crate::clock::ManualClock>) -> Self {
        Self { virtual_time: virtual_time.map(|clock| (Instant::now(), clock)) }
    }

    pub(super) fn now(&self) -> Instant {
        use crate::clock::Clock;
        match &self.virtual_time {
            Some((start, clock)) => start.checked_add(clock.now()).unwrap_or(*start),
            None => Instant::now(),
        }
    }

    /// Waits until `end`.
    pub(super) async fn sleep_until(&self, end: Instant) {
        // Virtual time wakes no task when it moves, so it is polled.
        while self.virtual_time.is_some() && self.now() < end {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if self.virtual_time.is_none() {
            tokio::time::sleep_until(end).await;
        }
    }

    /// Returns the script, by the time that it is to decide at.
    pub(super) fn script(&self) -> Script {
        use crate::clock::Clock;
        let Some((_, clock)) = &self.virtual_time else { return Script::new() };
        let micros = u64::try_from(clock.now().as_micros()).unwrap_or(u64::MAX);
        Script::at(micros.saturating_add(VIRTUAL_START))
    }
}

#[cfg(not(feature = "test-util"))]
#[expect(clippy::unused_self, reason = "its twin needs it")]
impl Timer {
    pub(super) fn now(&self) -> Instant {
        Instant::now()
    }

    /// Waits until `end`.
    pub(super) async fn sleep_until(&self, end: Instant) {
        tokio::time::sleep_until(end).await;
    }

    /// Returns the script, by the server's own time.
    pub(super) const fn script(&self) -> Script {
        Script::new()
    }
}

impl Deadline {
    /// Returns the deadline of something that begins now and may take `length`.
    pub(super) fn after(length: Duration) -> Self {
        Self { end: Instant::now() + length, length }
    }

    /// Returns the failure of a request that missed this deadline.
    pub(super) const fn missed(self) -> Failure {
        Failure::Timeout(self.length)
    }
}
