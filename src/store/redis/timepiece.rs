//! The one clock by which this process waits.

use tokio::time::Instant;

use crate::store::redis::script::Script;

/// Zero would be the server's own time.
#[cfg(feature = "test-util")]
const VIRTUAL_START: u64 = 1_000_000_000;

/// What breakers, leases and remembered denials take the time from: tokio's clock, or the virtual time of a test. Then the
/// script takes it from there, too.
#[derive(Clone, Debug, Default)]
pub(super) struct Timepiece {
    #[cfg(feature = "test-util")]
    virtual_time: Option<(Instant, crate::clock::ManualClock)>,
}

#[cfg(feature = "test-util")]
impl Timepiece {
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

    /// Waits until then.
    pub(super) async fn reach(&self, end: Instant) {
        // Nobody is told when a virtual time moves.
        while self.virtual_time.is_some() && self.now() < end {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        if self.virtual_time.is_none() {
            tokio::time::sleep_until(end).await;
        }
    }

    pub(super) fn script(&self) -> Script {
        use crate::clock::Clock;
        let micros = |clock: &crate::clock::ManualClock| u64::try_from(clock.now().as_micros()).unwrap_or(u64::MAX);
        let at = |(_, clock): &(Instant, _)| Script::at(micros(clock).saturating_add(VIRTUAL_START));
        self.virtual_time.as_ref().map_or_else(Script::new, at)
    }
}

#[cfg(not(feature = "test-util"))]
#[expect(clippy::unused_self, reason = "its twin needs it")]
impl Timepiece {
    pub(super) fn now(&self) -> Instant {
        Instant::now()
    }

    /// Waits until then.
    pub(super) async fn reach(&self, end: Instant) {
        tokio::time::sleep_until(end).await;
    }

    pub(super) const fn script(&self) -> Script {
        Script::new()
    }
}
