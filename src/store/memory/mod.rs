//! Histories in this process.
//!
//! * [`store`]: [`MemoryStore`], which chooses among three ways to a decision.
//! * [`denial_cache`]: the first, a known denial without a look at any history.
//! * [`decide`]: the second, a decision about one history, and [`few_charges`]: about a few.
//! * [`transaction`]: the third, any number of charges of keys with and without histories.
//! * [`shards`]: all histories, in tables that are locked one by one. Each is a [`table`], which is a [`probe_table`] with a sweep that
//!   tells live histories by their newest units: [`live_ticks`].
//! * [`notices`]: reasons to warn, given as soon as nothing is locked.
//! * [`overflow`]: the histories that keys share while the store is full.

mod decide;
mod denial_cache;
mod few_charges;
mod heaviest;
mod live_ticks;
mod notices;
mod overflow;
mod probe_table;
mod shards;
mod store;
mod table;
mod transaction;

pub use store::MemoryStore;
