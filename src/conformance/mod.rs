//! A test suite for authors of stores (feature `test-util`): it finds the guarantees that a store does not keep.
//!
//! ```
//! use tower_quota::{conformance::Suite, store::MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Each call returns an empty store that reads the time from this clock. It is the limiter's clock as well, which
//! // `MemoryStore` is given when it is opened.
//! Suite::new(|_clock| MemoryStore::default()).run().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The suite runs scenarios and random schedules on the store, compares every answer with a simple model, a list of timestamps, and
//! lets many tasks decide at once. A [`Violation`] names the [`Guarantee`] and how to reproduce it. Run the suite on
//! a tokio runtime with several threads.

mod harness;
mod model;
mod random;
mod scenarios;
mod stores;
mod suite;
mod violation;

pub use suite::Suite;
pub use violation::{Guarantee, Violation};
