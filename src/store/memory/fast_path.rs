//! The usual decision about several charges: all keys have histories of their own.

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use crate::{
    clock::Timestamp,
    history::{Plan, Room},
    key::Charge,
    store::{
        Receipt,
        contract::{Detail, Verdict},
        memory::{
            shards::Shards,
            table::{Slot, Table},
        },
    },
};

/// Maximum number of charges. More of them, and all that is unusual, take a [`Transaction`](super::transaction::Transaction).
/// The usual decision about a single charge is [`History::decide`](crate::history::History).
const MAX_CHARGES: usize = 8;

/// A decision that holds the locks of the shards of its charges, taken in order.
pub(super) struct FastPath<'a> {
    shards: &'a Shards,
    items: SmallVec<[Item<'a>; MAX_CHARGES]>,
    tables: Tables<'a>,
}

/// A charge, its plan, and the position of its history.
struct Item<'a> {
    charge: &'a Charge,
    plan: &'a Plan,
    /// Index among the locked tables.
    table: usize,
    bucket: usize,
}

/// Locked tables, each with the number of its shard.
struct Tables<'a>(SmallVec<[(usize, MutexGuard<'a, Table>); MAX_CHARGES]>);

impl<'a> FastPath<'a> {
    /// Locks the histories of all charges. Returns `None` if the fast path does not apply at that time.
    pub(super) fn lock(shards: &'a Shards, charges: &'a [Charge], now: Timestamp) -> Option<Self> {
        if !(2..=MAX_CHARGES).contains(&charges.len()) {
            return None;
        }
        let hashes: SmallVec<[u64; MAX_CHARGES]> = charges.iter().map(|charge| shards.hash(charge)).collect();
        let mut tables = Tables::lock(shards, &hashes)?;
        let mut items = SmallVec::new();
        for (charge, hash) in charges.iter().zip(hashes) {
            let plan = shards.scopes().plan(charge).filter(|plan| !plan.counts_denied() && !plan.has_siblings())?;
            if !charge.enforcement.is_enforced() {
                return None;
            }
            let item = tables.locate(hash, charge, plan)?;
            item.slot(&mut tables).filter(|slot| !slot.may_share_overflow() && !slot.history.is_ahead_of(plan, now))?;
            shards.denials().invalidate_ended(hash, now);
            items.push(item);
        }
        Some(Self { shards, items, tables })
    }

    /// Admits all charges or none of them, at the time in the verdict. Returns whether a step of the sweep is due.
    pub(super) fn decide(mut self, verdict: &mut Verdict) -> Option<bool> {
        let is_room = verdict.detail != Detail::Full && self.is_room_for_all(verdict.now)?;
        if is_room {
            self.charge_all(verdict)?;
        }
        verdict.admitted = is_room;
        if !is_room && verdict.detail != Detail::None {
            self.decide_in_full(verdict)?;
        }
        self.tables.0.first_mut().map(|(_, table)| table.count_decision())
    }

    fn is_room_for_all(&mut self, now: Timestamp) -> Option<bool> {
        for item in &self.items {
            let history = &mut item.slot(&mut self.tables)?.history;
            let has_room = match item.plan.has_costs() {
                true => history.room_for(item.plan, item.charge.units(), now) == Room::Now,
                false => history.has_credit(item.plan, now) || history.room_at(item.plan, now).is_none(),
            };
            if !has_room {
                return Some(false);
            }
        }
        Some(true)
    }

    fn charge_all(&mut self, verdict: &mut Verdict) -> Option<()> {
        for (at, item) in self.items.iter().enumerate() {
            let history = &mut item.slot(&mut self.tables)?.history;
            if item.plan.has_costs() {
                let receipt = history.charge_units(item.plan, item.charge.units(), verdict.now);
                self.shards.note_receipt(item.charge, at, Receipt::from_history(receipt), verdict);
            } else {
                history.charge_with_room(item.plan, verdict.now);
            }
        }
        Some(())
    }

    fn decide_in_full(&mut self, verdict: &mut Verdict) -> Option<()> {
        let now = verdict.now;
        verdict.states.reserve(self.items.iter().map(|item| item.plan.windows().len()).sum());
        verdict.admitted = true;
        for item in &self.items {
            let history = &mut item.slot(&mut self.tables)?.history;
            verdict.admitted &= match item.plan.has_costs() {
                true => history.measure_cost(item.plan, item.charge.units(), now, &mut verdict.states),
                false => history.measure(item.plan, now, &mut verdict.states),
            };
        }
        if verdict.admitted { self.admit_all(verdict) } else { Some(()) }
    }

    /// Records all charges, in the histories and in the states measured before.
    fn admit_all(&mut self, verdict: &mut Verdict) -> Option<()> {
        let (now, mut begin) = (verdict.now, 0);
        for (at, item) in self.items.iter().enumerate() {
            let end = begin + item.plan.windows().len();
            let (states, history) = (verdict.states.get_mut(begin..end)?, &mut item.slot(&mut self.tables)?.history);
            if item.plan.has_costs() {
                let receipt = history.admit_cost(item.plan, item.charge.units(), now, states);
                self.shards.note_receipt(item.charge, at, Receipt::from_history(receipt), verdict);
            } else {
                history.admit(item.plan, now, states);
            }
            begin = end;
        }
        Some(())
    }
}

impl<'a> Tables<'a> {
    /// Locks the tables of these hashes, each once.
    fn lock(shards: &'a Shards, hashes: &[u64]) -> Option<Self> {
        let mut numbers: SmallVec<[usize; MAX_CHARGES]> = hashes.iter().map(|hash| Shards::shard_of(*hash)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut tables = SmallVec::new();
        for number in numbers {
            tables.push((number, shards.lock(number)?));
        }
        Some(Self(tables))
    }

    fn locate(&self, hash: u64, charge: &'a Charge, plan: &'a Plan) -> Option<Item<'a>> {
        let number = Shards::shard_of(hash);
        let table = self.0.iter().position(|(held, _)| *held == number)?;
        let bucket = self.0.get(table)?.1.bucket_of(hash, charge)?;
        Some(Item { charge, plan, table, bucket })
    }
}

impl Item<'_> {
    #[inline]
    fn slot<'t>(&self, tables: &'t mut Tables<'_>) -> Option<&'t mut Slot> {
        tables.0.get_mut(self.table)?.1.slot_in(self.bucket)
    }
}
