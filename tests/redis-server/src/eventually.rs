//! Waiting for what comes about elsewhere.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long to wait at most for what should be there at once. It only keeps a test from hanging for ever.
pub(crate) const GUARD: Duration = Duration::from_secs(60);

/// Tries until there is something. Panics with `what` if there never is.
#[track_caller]
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(made) = attempt() {
            return made;
        }
        assert!(start.elapsed() < GUARD, "still not so after {GUARD:?}: {what}");
        thread::sleep(Duration::from_millis(3));
    }
}
