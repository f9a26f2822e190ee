//! The time by which we measure.

use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
