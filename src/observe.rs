//! Telling the operator about a mistake in the deployment, once.

use std::sync::atomic::{AtomicBool, Ordering};

/// A warning that is given at most once per process, through `tracing` if that feature is on.
#[derive(Debug)]
pub(crate) struct Warning {
    text: &'static str,
    given: AtomicBool,
}

impl Warning {
    pub(crate) const fn new(text: &'static str) -> Self {
        Self { text, given: AtomicBool::new(false) }
    }

    pub(crate) fn once(&self) {
        if !self.given.load(Ordering::Relaxed) && !self.given.swap(true, Ordering::Relaxed) {
            warn(self.text);
        }
    }
}

/// Gives a warning that is in other words each time.
#[cfg(feature = "tracing")]
pub(crate) fn warn(text: &str) {
    tracing::warn!(target: "tower_quota", "{text}");
}

#[cfg(not(feature = "tracing"))]
pub(crate) const fn warn(_: &str) {}
