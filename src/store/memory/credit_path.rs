//! The shortest decision about a few charges: all keys are known to have room.

use parking_lot::MutexGuard;

use crate::{
    clock::Timestamp,
    history::Plan,
    key::Charge,
    store::memory::{shards::Shards, table::Table},
};

/// Maximum number of charges. More of them take the [`FastPath`](super::fast_path::FastPath), as do two in one shard.
const MAX_CHARGES: usize = 4;

/// Charges to keys that are known to have room. It holds the locks of their shards, taken in order.
pub(super) struct CreditPath<'a> {
    shards: &'a Shards,
    items: [Option<Item<'a>>; MAX_CHARGES],
}

/// A charge: its plan, and the place of its history in a locked table.
struct Item<'a> {
    hash: u64,
    plan: &'a Plan,
    table: MutexGuard<'a, Table>,
    bucket: usize,
}

impl<'a> CreditPath<'a> {
    /// Locks the histories of all charges. Returns `None` if one of them has to be looked at.
    pub(super) fn lock(shards: &'a Shards, charges: &[Charge], now: Timestamp) -> Option<Self> {
        if !(2..=MAX_CHARGES).contains(&charges.len()) {
            return None;
        }
        let mut hashes = [(0, 0, None); MAX_CHARGES];
        for (place, charge) in hashes.iter_mut().zip(charges) {
            let plan = shards.scopes().plan(charge).filter(|plan| plan.may_have_credit())?;
            let hash = shards.hash(charge);
            *place = (Shards::shard_of(hash), hash, Some((charge, plan)));
        }
        let hashes = hashes.get_mut(..charges.len())?;
        hashes.sort_unstable_by_key(|(shard, ..)| *shard);
        if hashes.iter().zip(hashes.iter().skip(1)).any(|((one, ..), (next, ..))| one == next) {
            return None;
        }
        let mut path = Self { shards, items: [const { None }; MAX_CHARGES] };
        for (place, (_, hash, charge)) in path.items.iter_mut().zip(hashes) {
            let (charge, plan) = (*charge)?;
            *place = Some(Item::lock(shards, *hash, charge, plan, now)?);
        }
        Some(path)
    }

    /// Charges all of them. Returns whether a step of the sweep is due.
    pub(super) fn charge(mut self, now: Timestamp) -> bool {
        for item in self.items.iter_mut().flatten() {
            self.shards.denials().invalidate_ended(item.hash, now);
            if let Some(slot) = item.table.slot_in(item.bucket) {
                slot.history.charge(item.plan, now);
            }
        }
        self.items.iter_mut().flatten().next().is_some_and(|item| item.table.count_decision())
    }
}

impl<'a> Item<'a> {
    #[inline]
    fn lock(shards: &'a Shards, hash: u64, charge: &Charge, plan: &'a Plan, now: Timestamp) -> Option<Self> {
        if !charge.enforcement.is_enforced() {
            return None;
        }
        let mut table = shards.lock(Shards::shard_of(hash))?;
        let bucket = table.bucket_of(hash, charge)?;
        let slot = table.slot_in(bucket)?;
        let is_known = !slot.may_share_overflow() && slot.history.has_credit(plan, now);
        is_known.then_some(Self { hash, plan, table, bucket })
    }
}
