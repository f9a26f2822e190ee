//! The usual decision about several charges: all of keys that have histories of their own.

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use crate::{
    clock::Timestamp,
    history::Plan,
    key::Charge,
    store::{
        shards::Shards,
        slot::Slot,
        table::Table,
        verdict::{Detail, Verdict},
    },
};

/// More charges than a request usually has are decided [in another way](super::transaction), as is whatever is unusual, and
/// a single charge, whose usual decision is [simpler](super::MemoryStore).
const MOST: usize = 8;

/// A decision while it holds the shards of its charges, which are locked in order.
pub(super) struct FastPath<'a> {
    items: SmallVec<[Item<'a>; MOST]>,
    tables: Tables<'a>,
}

/// A charge, and where its history is.
struct Item<'a> {
    plan: &'a Plan,
    /// Among the tables that are held.
    table: usize,
    bucket: usize,
}

/// Locked tables, by the number of their shard.
struct Tables<'a>(SmallVec<[(usize, MutexGuard<'a, Table>); MOST]>);

impl<'a> FastPath<'a> {
    /// None if this is not a usual decision at that moment.
    pub(super) fn lock(shards: &'a Shards, charges: &[Charge], now: Timestamp) -> Option<Self> {
        if !(2..=MOST).contains(&charges.len()) {
            return None;
        }
        let hashes: SmallVec<[u64; MOST]> = charges.iter().map(|charge| shards.hash(charge)).collect();
        let mut tables = Tables::lock(shards, &hashes)?;
        let mut items = SmallVec::new();
        for (charge, hash) in charges.iter().zip(hashes) {
            let plan = shards.scopes().plan(charge.scope).filter(|plan| !plan.counts_denied())?;
            let item = tables.locate(hash, charge, plan)?;
            item.slot(&mut tables).filter(|slot| !slot.owes() && !slot.history.is_ahead_of(plan, now))?;
            shards.denials().pass(charge, now);
            items.push(item);
        }
        Some(Self { items, tables })
    }

    /// Admits all charges or none of them, at the moment that stands in the verdict. Says whether it is this decision's turn
    /// to sweep.
    pub(super) fn decide(mut self, verdict: &mut Verdict) -> Option<bool> {
        let is_room = verdict.told != Detail::Full && self.is_room_for_all(verdict.now)?;
        if is_room {
            self.charge_all(verdict.now)?;
        }
        verdict.admitted = is_room;
        if !is_room && verdict.told != Detail::None {
            self.decide_in_full(verdict)?;
        }
        self.tables.0.first_mut().map(|(_, table)| table.count_decision())
    }

    fn is_room_for_all(&mut self, now: Timestamp) -> Option<bool> {
        for item in &self.items {
            if item.slot(&mut self.tables)?.history.room_at(item.plan, now).is_some() {
                return Some(false);
            }
        }
        Some(true)
    }

    fn charge_all(&mut self, now: Timestamp) -> Option<()> {
        for item in &self.items {
            item.slot(&mut self.tables)?.history.charge(item.plan, now);
        }
        Some(())
    }

    fn decide_in_full(&mut self, verdict: &mut Verdict) -> Option<()> {
        let now = verdict.now;
        verdict.states.reserve(self.items.iter().map(|item| item.plan.windows().len()).sum());
        verdict.admitted = true;
        for item in &self.items {
            verdict.admitted &= item.slot(&mut self.tables)?.history.measure(item.plan, now, &mut verdict.states);
        }
        if verdict.admitted {
            let mut states = verdict.states.as_mut_slice();
            for item in &self.items {
                let (own, others) = states.split_at_mut_checked(item.plan.windows().len())?;
                item.slot(&mut self.tables)?.history.admit(item.plan, now, own);
                states = others;
            }
        }
        Some(())
    }
}

impl<'a> Tables<'a> {
    /// The tables of these hashes, each once.
    fn lock(shards: &'a Shards, hashes: &[u64]) -> Option<Self> {
        let mut numbers: SmallVec<[usize; MOST]> = hashes.iter().map(|hash| Shards::number_of(*hash)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut tables = SmallVec::new();
        for number in numbers {
            tables.push((number, shards.lock(number)?));
        }
        Some(Self(tables))
    }

    fn locate(&self, hash: u64, charge: &Charge, plan: &'a Plan) -> Option<Item<'a>> {
        let number = Shards::number_of(hash);
        let table = self.0.iter().position(|(held, _)| *held == number)?;
        let bucket = self.0.get(table)?.1.locate(hash, charge)?;
        Some(Item { plan, table, bucket })
    }
}

impl Item<'_> {
    #[inline]
    fn slot<'t>(&self, tables: &'t mut Tables<'_>) -> Option<&'t mut Slot> {
        tables.0.get_mut(self.table)?.1.located(self.bucket)
    }
}
