//! A test suite for authors of stores (feature `test-util`): it finds the guarantees that a store breaks.
//!
//! ```
//! use tower_quota::{conformance::Suite, store::MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The closure returns an empty store that reads the time from the clock it is given. This is the limiter's
//! // clock as well, so `MemoryStore` gets it when it is opened.
//! Suite::new(|_clock| MemoryStore::default()).run().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The suite runs scenarios and random schedules on the store, and compares every verdict with a simple model, a list of
//! timestamps. In half of the schedules, keys change their tiers, and the rules are reloaded. Then many tasks decide at
//! once. If the store [supports costs](crate::store::Store::cost_support), requests cost any number of units in further scenarios
//! and schedules, and if it supports settlements, they are settled: down, up, late, after a reset, after the clock stepped back. A
//! [`Violation`] names the broken [`Guarantee`] and how to reproduce it. Run the suite on a tokio runtime with
//! several threads.

mod cost_harness;
mod cost_model;
mod cost_scenarios;
mod cost_schedule;
mod harness;
mod model;
mod random;
mod scenarios;
mod suite;
mod tested_rule;
mod violation;

pub use suite::Suite;
pub use violation::{Guarantee, Violation};
