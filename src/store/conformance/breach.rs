//! A promise that was broken.

use crate::store::conformance::Promise;

/// A promise that a store does not keep, and how that was seen.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{promise}: {story}")]
pub struct Breach {
    promise: Promise,
    story: Box<str>,
}

impl Breach {
    pub(super) fn of(promise: Promise, story: impl Into<String>) -> Self {
        Self { promise, story: story.into().into() }
    }

    /// Which one.
    #[must_use]
    pub const fn promise(&self) -> Promise {
        self.promise
    }

    /// How that was seen.
    #[must_use]
    pub fn story(&self) -> &str {
        &self.story
    }

    pub(super) fn during(self, what: impl std::fmt::Display) -> Self {
        Self { story: format!("{what}: {}", self.story).into(), ..self }
    }
}

/// Fails with `promise` and a story unless `kept`.
pub(super) fn expect(kept: bool, promise: Promise, story: impl FnOnce() -> String) -> Result<(), Breach> {
    if kept { Ok(()) } else { Err(Breach::of(promise, story())) }
}
