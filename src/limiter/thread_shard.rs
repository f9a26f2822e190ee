//! The numbers by which threads keep to different copies of the same.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of copies of what all threads refer to at every request.
pub(super) const SHARDS: usize = 16;

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: usize = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

/// Returns the number of this thread's copy, below [`SHARDS`].
#[inline]
pub(super) fn thread_shard() -> usize {
    SHARD.with(|shard| *shard)
}
