//! The `RateLimit-Policy` field of a tier.

use std::{sync::LazyLock, thread};

use http::HeaderValue;

use crate::limiter::thread_shard::{SHARDS, thread_shard};

/// The `RateLimit-Policy` field of a tier.
///
/// Each response shares its text, and with a single reference count all threads would write to the same cache line. So there
/// are as many copies as threads run at once, and each thread keeps to one of them.
pub(crate) struct PolicyField(Box<[HeaderValue]>);

/// The number of copies: a power of two, like [`SHARDS`].
static COPIES: LazyLock<usize> = LazyLock::new(|| {
    let at_once = thread::available_parallelism().map_or(SHARDS, usize::from);
    at_once.min(SHARDS).next_power_of_two()
});

impl PolicyField {
    pub(super) fn new(value: &HeaderValue) -> Self {
        Self((0..*COPIES).filter_map(|_| HeaderValue::from_bytes(value.as_bytes()).ok()).collect())
    }

    /// Returns the copy that this thread shares.
    #[inline]
    pub(crate) fn local(&self) -> Option<&HeaderValue> {
        self.0.get(thread_shard() & self.0.len().wrapping_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_has_a_copy_of_the_field() {
        let value = HeaderValue::from_static("\"minute\";q=60;w=60");
        let field = PolicyField::new(&value);
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                assert_eq!(scope.spawn(|| field.local().cloned()).join().unwrap().as_ref(), Some(&value));
            }
        });
    }
}
