//! Where histories live, and where a request is decided: all its charges in one atomic step.
//!
//! * [`memory`]: the store in this process.
//! * [`transaction`]: one decision about several charges.
//! * [`shards`]: the table of histories, in parts that are locked one by one.
//! * [`table`]: one of these parts; lets go of histories that are equal to fresh ones, a few at a time.
//! * [`overflow`]: the histories that keys without a place share.
//! * [`slot`]: one key's place.
//! * [`measure`]: how a history is read and changed in the course of one decision.
//! * [`scopes`]: the plans that histories are kept by.
//! * [`verdict`]: what is asked and what is answered.

mod measure;
mod memory;
mod overflow;
mod scopes;
mod shards;
mod slot;
mod table;
mod transaction;
mod verdict;

pub(crate) use memory::MemoryStore;
pub(crate) use scopes::Scopes;
pub(crate) use verdict::{Charge, QuotaState, Verdict};
