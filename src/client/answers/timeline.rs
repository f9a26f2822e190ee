//! Times that a server speaks of.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header::DATE};

use crate::client::answers::moment::read_date;

/// When an answer was given, and how far ahead of that it is believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeline {
    given_at: SystemTime,
    longest: Duration,
}

impl Timeline {
    /// By the server's own clock, if it says what that shows.
    pub(super) fn of(headers: &HeaderMap, longest: Duration, wall_clock: impl FnOnce() -> SystemTime) -> Self {
        let date = headers.get(DATE).and_then(|date| read_date(date.to_str().ok()?));
        Self { given_at: date.unwrap_or_else(wall_clock), longest }
    }

    pub(super) fn seconds(&self, seconds: u64) -> Duration {
        self.capped(Duration::from_secs(seconds))
    }

    pub(super) fn millis(&self, millis: u64) -> Duration {
        self.capped(Duration::from_millis(millis))
    }

    /// From when the answer was given until then; zero if that has passed.
    pub(super) fn until(&self, date: SystemTime) -> Duration {
        self.capped(date.duration_since(self.given_at).unwrap_or_default())
    }

    /// The same, until so long after the beginning of 1970.
    pub(super) fn until_epoch(&self, since_1970: Duration) -> Duration {
        SystemTime::UNIX_EPOCH.checked_add(since_1970).map_or(self.longest, |date| self.until(date))
    }

    pub(super) fn capped(&self, wait: Duration) -> Duration {
        wait.min(self.longest)
    }
}
