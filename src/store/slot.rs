//! One key's place in the table.

use crate::{
    history::History,
    key::{Charge, Key, PackedKey},
};

/// A key and its history: one cache line, and all the memory that a key with up to five units needs.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot {
    key: PackedKey,
    /// The number of the scope times two, plus one if it [owes](Self::owes).
    scope_and_debt: u32,
    pub(super) history: History,
}

impl Slot {
    pub(super) const fn new(charge: &Charge, owes: bool, history: History) -> Self {
        Self { key: charge.key.packed(), scope_and_debt: charge.scope << 1 | owes as u32, history }
    }

    #[inline]
    pub(super) fn holds(&self, charge: &Charge) -> bool {
        self.scope() == charge.scope && self.key == charge.key.packed()
    }

    #[inline]
    pub(super) const fn scope(&self) -> u32 {
        self.scope_and_debt >> 1
    }

    /// Who is charged here.
    pub(super) const fn charge(&self) -> Charge {
        Charge { scope: self.scope(), key: Key::from_packed(self.key) }
    }

    /// The key arrived while keys without a place were sharing an overflow history, so part of that may be its own.
    #[inline]
    pub(super) const fn owes(&self) -> bool {
        self.scope_and_debt & 1 == 1
    }

    /// What it may have owed has drained.
    pub(super) const fn settle_debt(&mut self) {
        self.scope_and_debt &= !1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_one_cache_line() {
        assert_eq!(size_of::<Slot>(), 64);
    }
}
