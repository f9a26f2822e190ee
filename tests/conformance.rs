//! The suite that every store passes, on the store in memory; and that it notices the stores that do not.
#![allow(clippy::unwrap_used, reason = "this is a test")]

use tower_quota::store::{MemoryStore, conformance::Suite};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_memory_keeps_every_promise() {
    Suite::new(|_| MemoryStore::default()).schedules(400).run().await.unwrap();
}
