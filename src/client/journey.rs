//! The way of one call through the layers of a caller.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use http::Extensions;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Among the extensions of a request that is retried: what its attempts have in common.
#[derive(Clone, Debug, Default)]
pub(super) struct Journey {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    repeats: AtomicU32,
    /// When the first attempt left the last layer that knows of this.
    reached: Mutex<Option<Instant>>,
}

impl Journey {
    /// That of this request, if it is retried.
    pub(super) fn in_request(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The call goes on towards the client. Of the first attempt the last layer that says so counts: it may have been kept
    /// waiting in those before.
    pub(super) fn go(&self) {
        if self.attempts() == 1 {
            *self.shared.reached.lock() = Some(Instant::now());
        }
    }

    /// There will be another attempt.
    pub(super) fn repeat(&self) {
        self.shared.repeats.fetch_add(1, Ordering::Relaxed);
    }

    /// How many attempts there are, the first one included.
    pub(super) fn attempts(&self) -> u32 {
        self.shared.repeats.load(Ordering::Relaxed).saturating_add(1)
    }

    /// When the first attempt reached the client.
    pub(super) fn reached(&self) -> Option<Instant> {
        *self.shared.reached.lock()
    }
}
