//! One key's place in the table.

use crate::{history::History, key::Key, store::verdict::Charge};

/// A key and its history: one cache line, and all the memory that a key with up to five units needs.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot {
    pub(super) scope: u32,
    pub(super) key: Key,
    /// The key arrived while keys without a place were sharing an overflow history, so part of that may be its own.
    pub(super) owes: bool,
    pub(super) history: History,
}

impl Slot {
    pub(super) fn holds(&self, charge: &Charge) -> bool {
        self.scope == charge.scope && self.key == charge.key
    }
}
