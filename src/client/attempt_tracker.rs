//! Facts that the layers around a client share about one call.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use http::Extensions;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Counts the attempts of a call. A retry layer puts it among the extensions of the request; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct AttemptTracker {
    attempts: Arc<TrackedAttempts>,
}

#[derive(Debug, Default)]
struct TrackedAttempts {
    repeats: AtomicU32,
    /// The time at which the first attempt left the innermost layer that knows of this.
    first_sent_at: Mutex<Option<Instant>>,
}

impl AttemptTracker {
    /// Returns the tracker of a request that is retried.
    pub(super) fn from_extensions(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Notes that the call goes on towards the client. For the first attempt the innermost layer that says so counts:
    /// layers further out may have kept the call waiting.
    pub(super) fn mark_sent(&self) {
        if self.attempts() == 1 {
            *self.attempts.first_sent_at.lock() = Some(Instant::now());
        }
    }

    /// Notes that there will be another attempt.
    pub(super) fn add_attempt(&self) {
        self.attempts.repeats.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of attempts, including the first.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts.repeats.load(Ordering::Relaxed).saturating_add(1)
    }

    /// Returns when the first attempt reached the client.
    pub(super) fn first_sent_at(&self) -> Option<Instant> {
        *self.attempts.first_sent_at.lock()
    }
}
