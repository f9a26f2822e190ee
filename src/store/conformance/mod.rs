//! Whether a store keeps the promises: a suite for whoever writes one (feature `test-util`).
//!
//! ```
//! use tower_quota::store::{MemoryStore, conformance::Suite};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A store that has nothing in it, each time, and that takes its time from this clock. The clock is the limiter's, too,
//! // and `MemoryStore` is given it when it is opened.
//! Suite::new(|_clock| MemoryStore::default()).run().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The suite runs schedules, some of them arranged and most of them random, on the store and on the obvious model, a list
//! of times; and many tasks at once. The error says which [`Promise`] is broken and how to see it again. Run it in a tokio
//! runtime of several threads.

mod breach;
mod dice;
mod model;
mod promise;
mod schedule;
mod subject;
mod suite;
mod trials;

pub use breach::Breach;
pub use promise::Promise;
pub use suite::Suite;
