//! The usual decision about several charges: all of keys that have histories of their own.

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use crate::{
    clock::Moment,
    history::Plan,
    store::{
        shards::Shards,
        slot::Slot,
        table::Table,
        verdict::{Charge, Verdict},
    },
};

/// More charges than a request usually has are decided [in another way](super::transaction), as is whatever is unusual, and
/// a single charge, whose usual decision is [simpler](super::MemoryStore).
const MOST: usize = 8;

/// A decision while it holds the shards of its charges, which are locked in order.
pub(super) struct Known<'a> {
    items: SmallVec<[Item<'a>; MOST]>,
    tables: SmallVec<[(usize, MutexGuard<'a, Table>); MOST]>,
}

struct Item<'a> {
    charge: Charge,
    hash: u64,
    plan: &'a Plan,
}

impl<'a> Known<'a> {
    /// None if this is not a usual decision.
    pub(super) fn lock(shards: &'a Shards, charges: &[Charge]) -> Option<Self> {
        if !(2..=MOST).contains(&charges.len()) {
            return None;
        }
        let mut items = SmallVec::new();
        let mut numbers: SmallVec<[usize; MOST]> = SmallVec::new();
        for charge in charges {
            let plan = shards.scopes().plan(charge.scope).filter(|plan| !plan.counts_denied())?;
            let hash = shards.hash(charge);
            items.push(Item { charge: *charge, hash, plan });
            numbers.push(Shards::number_of(hash));
        }
        numbers.sort_unstable();
        numbers.dedup();
        let mut tables = SmallVec::new();
        for number in numbers {
            tables.push((number, shards.lock(number)?));
        }
        Some(Self { items, tables })
    }

    /// Admits all charges or none of them, at the moment that stands in the verdict. None, with nothing changed, if one of
    /// the keys has no history of its own, or one that is ahead of that moment. Else says whether it is this decision's
    /// turn to sweep.
    pub(super) fn decide(mut self, verdict: &mut Verdict) -> Option<bool> {
        let now = verdict.now;
        if !self.items.iter().all(|item| item.is_usual(&mut self.tables, now)) {
            return None;
        }
        let mut admitted = true;
        for item in &self.items {
            let history = &mut item.slot(&mut self.tables)?.history;
            admitted &= history.measure(item.plan, now, &mut verdict.states);
        }
        if admitted {
            let mut states = verdict.states.as_mut_slice();
            for item in &self.items {
                let (own, others) = states.split_at_mut_checked(item.plan.windows().len())?;
                item.slot(&mut self.tables)?.history.admit(item.plan, now, own);
                states = others;
            }
        }
        verdict.admitted = admitted;
        self.tables.first_mut().map(|(_, table)| table.count_decision())
    }
}

impl Item<'_> {
    fn is_usual(&self, tables: &mut [(usize, MutexGuard<'_, Table>)], now: Moment) -> bool {
        self.slot(tables).is_some_and(|slot| !slot.owes() && !slot.history.is_ahead_of(now))
    }

    #[inline]
    fn slot<'t>(&self, tables: &'t mut [(usize, MutexGuard<'_, Table>)]) -> Option<&'t mut Slot> {
        let number = Shards::number_of(self.hash);
        let (_, table) = tables.iter_mut().find(|(other, _)| *other == number)?;
        table.find(self.hash, &self.charge)
    }
}
