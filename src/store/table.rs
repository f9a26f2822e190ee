//! A shard's histories, and how those that are equal to fresh ones are let go.

use hashbrown::{HashTable, hash_table::OccupiedEntry};

use crate::{
    history::Plan,
    key::Charge,
    store::{contract::Scopes, slot::Slot},
};

/// Places looked at in one step.
pub(super) const STEP: usize = 16;
/// Decisions of one shard from one step to the next.
const PAUSE: u32 = 64;

/// A shard's histories and how far the sweep has come in them.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: HashTable<Slot>,
    swept: usize,
    decisions: u32,
}

/// What a step of the sweep did: places looked at, and histories let go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) seen: usize,
    pub(super) dropped: usize,
}

impl Table {
    pub(super) fn find(&mut self, hash: u64, charge: &Charge) -> Option<&mut Slot> {
        self.slots.find_mut(hash, |slot| slot.holds(charge))
    }

    /// Where a history is found until one is inserted or removed.
    #[inline]
    pub(super) fn locate(&self, hash: u64, charge: &Charge) -> Option<usize> {
        self.slots.find_bucket_index(hash, |slot| slot.holds(charge))
    }

    /// What was located.
    #[inline]
    pub(super) fn located(&mut self, bucket: usize) -> Option<&mut Slot> {
        self.slots.get_bucket_mut(bucket)
    }

    pub(super) fn insert(&mut self, hash: u64, slot: Slot, hash_of: impl Fn(&Slot) -> u64) {
        self.slots.insert_unique(hash, slot, hash_of);
    }

    /// Says whether there was one.
    pub(super) fn remove(&mut self, hash: u64, charge: &Charge) -> bool {
        self.slots.find_entry(hash, |slot| slot.holds(charge)).map(OccupiedEntry::remove).is_ok()
    }

    /// Counts a decision; says whether it is this one's turn to sweep a little.
    ///
    /// There is no thread: one decision in 64, and every one that brings a new key, takes one step in the shards whose
    /// turn it is. So where these are full everything is looked at once in about four decisions per key, wherever they
    /// fall; and where there are few keys, in some thousands of decisions.
    pub(super) const fn count_decision(&mut self) -> bool {
        self.decisions = self.decisions.wrapping_add(1);
        self.decisions.is_multiple_of(PAUSE)
    }

    /// Looks at the next `places` and lets go of those that may go.
    pub(super) fn sweep(&mut self, places: usize, scopes: &Scopes, may_go: impl Fn(&mut Slot, &Plan) -> bool) -> Step {
        // An empty table says that it has one place.
        let places = if self.slots.is_empty() { 0 } else { places.min(self.slots.num_buckets()) };
        let mut step = Step { seen: places, dropped: 0 };
        for _ in 0..step.seen {
            self.swept = (self.swept + 1) % self.slots.num_buckets();
            let Ok(mut entry) = self.slots.get_bucket_entry(self.swept) else { continue };
            let slot = entry.get_mut();
            let Some(plan) = scopes.plan(slot.scope()) else { continue };
            if may_go(slot, plan) {
                entry.remove();
                step.dropped += 1;
            }
        }
        step
    }
}
