//! The table of one shard: slots with histories, and the sweep that evicts idle ones.

use crate::{
    history::{History, Plan},
    key::{Charge, ChargeTarget, Key, PackedKey},
    policy::Enforcement,
    store::{
        Scopes,
        memory::probe_table::{ProbeTable, Swept},
    },
};

/// Buckets examined in one step of the sweep.
pub(super) const SWEEP_STEP: usize = 16;
/// Decisions of one shard between two steps of the sweep.
const DECISIONS_PER_STEP: u32 = 64;

/// The histories of a shard, and the progress of the sweep.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: ProbeTable<Slot>,
    /// The bucket that is examined next.
    swept: usize,
    decisions: u32,
}

/// A key and its history: one cache line, and all the memory that a key with up to five units needs.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot {
    key: PackedKey,
    /// The number of the history's shape times two, plus one if the key [may share overflow](Self::may_share_overflow).
    shape_and_overflow: u32,
    pub(super) history: History,
}

impl Table {
    #[inline]
    pub(super) fn find(&mut self, hash: u64, charge: &Charge) -> Option<&mut Slot> {
        let bucket = self.bucket_of(hash, charge)?;
        self.slot_in(bucket)
    }

    /// Returns the bucket of a history. It is valid until a history is inserted or removed.
    #[inline]
    fn bucket_of(&self, hash: u64, charge: &Charge) -> Option<usize> {
        self.slots.find(hash, |slot| slot.holds(charge))
    }

    /// Returns the slot in a bucket.
    #[inline]
    fn slot_in(&mut self, bucket: usize) -> Option<&mut Slot> {
        self.slots.get_mut(bucket)
    }

    /// Finds the history of the same key in whatever shape.
    pub(super) fn find_in_any_shape(&mut self, hash: u64, charge: &Charge, scopes: &Scopes) -> Option<&mut Slot> {
        let bucket = self.bucket_in_any_shape(hash, charge, scopes)?;
        self.slot_in(bucket)
    }

    fn bucket_in_any_shape(&self, hash: u64, charge: &Charge, scopes: &Scopes) -> Option<usize> {
        let is_of_key = |slot: &Slot| slot.key == charge.key.packed() && slot.scope(scopes) == Some(charge.scope());
        self.slots.find(hash, is_of_key)
    }

    pub(super) fn insert(&mut self, hash: u64, slot: Slot, hash_of: impl Fn(&Slot) -> u64) {
        self.slots.insert(hash, slot, hash_of);
    }

    /// Removes the history of the same key, in whatever shape, and returns `true` if there was one.
    pub(super) fn remove(
        &mut self,
        hash: u64,
        charge: &Charge,
        scopes: &Scopes,
        hash_of: impl Fn(&Slot) -> u64,
    ) -> bool {
        let bucket = self.bucket_in_any_shape(hash, charge, scopes);
        bucket.and_then(|bucket| self.slots.remove(bucket, hash_of)).is_some()
    }

    /// Counts a decision, and returns `true` if a step of the sweep is due.
    ///
    /// No thread sweeps in the background. One decision in 64, and every decision that inserts a key, takes one step in the
    /// shards that are next. A full store is swept once in about four decisions per key, whichever shards these are in, and
    /// a store with few keys in some thousands of decisions.
    pub(super) const fn count_decision(&mut self) -> bool {
        self.decisions = self.decisions.wrapping_add(1);
        self.decisions.is_multiple_of(DECISIONS_PER_STEP)
    }

    /// Calls `visit` with every slot.
    pub(super) fn for_each(&mut self, visit: impl FnMut(&mut Slot)) {
        self.slots.iter_mut().for_each(visit);
    }

    /// Examines the next `buckets`, and removes the slots that `evict` returns `true` for.
    pub(super) fn sweep(
        &mut self,
        buckets: usize,
        evict: impl FnMut(&mut Slot) -> bool,
        hash_of: impl Fn(&Slot) -> u64,
    ) -> Swept {
        self.slots.sweep(&mut self.swept, buckets, evict, hash_of)
    }
}

impl Slot {
    pub(super) const fn new(charge: &Charge, may_share_overflow: bool, history: History) -> Self {
        Self {
            key: charge.key.packed(),
            shape_and_overflow: charge.target.shape << 1 | may_share_overflow as u32,
            history,
        }
    }

    #[inline]
    pub(super) fn holds(&self, charge: &Charge) -> bool {
        self.shape() == charge.target.shape && self.key == charge.key.packed()
    }

    #[inline]
    pub(super) const fn shape(&self) -> u32 {
        self.shape_and_overflow >> 1
    }

    /// Returns a charge of the key that is charged here.
    #[expect(clippy::expect_used, reason = "shapes are never removed")]
    pub(super) fn charge(&self, scopes: &Scopes) -> Charge {
        let target = scopes.target_of_shape(self.shape()).expect("a slot has the shape of a charge");
        Charge { target, key: Key::from_packed(self.key), enforcement: Enforcement::On, units: 1 }
    }

    pub(super) const fn key(&self) -> Key {
        Key::from_packed(self.key)
    }

    pub(super) fn scope(&self, scopes: &Scopes) -> Option<u32> {
        scopes.target_of_shape(self.shape()).map(|target| target.scope)
    }

    /// Gives the history the shape of another plan.
    pub(super) fn reshape(&mut self, from: &Plan, to: &Plan, target: ChargeTarget) {
        self.history = std::mem::replace(&mut self.history, History::new(to)).reshaped(from, to);
        self.shape_and_overflow = target.shape << 1 | self.shape_and_overflow & 1;
    }

    /// Returns `true` if the key got its slot while keys without one shared a history, so that units of that may be its own.
    #[inline]
    pub(super) const fn may_share_overflow(&self) -> bool {
        self.shape_and_overflow & 1 == 1
    }

    /// Notes that all shared units which may be the key's have left.
    pub(super) const fn clear_overflow(&mut self) {
        self.shape_and_overflow &= !1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_one_cache_line_and_so_is_a_free_one() {
        assert_eq!((size_of::<Slot>(), size_of::<Option<Slot>>()), (64, 64));
    }
}
