//! Where histories live, and where a request is decided: all its charges in one atomic step.
//!
//! * [`memory`]: the table of histories in this process.
//! * [`slot`]: one key's place in it.
//! * [`transaction`]: one decision about several charges.
//! * [`overflow`]: the shared history of the keys that found the table full.
//! * [`sweep`]: lets go of histories that are equal to fresh ones, a few at a time.

pub(crate) mod memory;
mod overflow;
mod slot;
mod sweep;
mod transaction;
mod verdict;

pub(crate) use memory::{MemoryStore, Scopes};
pub(crate) use verdict::{Charge, QuotaState, Verdict};
