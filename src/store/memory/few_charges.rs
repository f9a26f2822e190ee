//! The usual decision about a few charges: all keys have histories of their own.

use smallvec::SmallVec;

use crate::{
    clock::Timestamp,
    history::{History, Plan, Room},
    key::Charge,
    store::{
        Receipt,
        contract::{Detail, QuotaState, Verdict},
        memory::{shards::Shards, table::Table},
    },
};

/// Maximum number of charges. More of them, and all that is unusual, take a [`Transaction`](super::transaction::Transaction).
/// The usual decision about a single charge is [`History::decide`](crate::history::History).
const MAX_CHARGES: usize = 8;

/// A charge, and the plan that judges it.
#[derive(Clone, Copy)]
struct Item<'a> {
    charge: &'a Charge,
    plan: &'a Plan,
    hash: u64,
    /// Index among the charges.
    at: u32,
    /// Index of its first state among those of all charges.
    first_state: u32,
}

/// The charges of a decision, in the order of their shards, by which every decision locks.
type Items<'a> = SmallVec<[Item<'a>; MAX_CHARGES]>;

impl Shards {
    /// Admits a few charges or none of them, at the time in the verdict. Returns whether a step of the sweep is due, or `None`, with
    /// no history changed, if the charges or their histories are unusual.
    ///
    /// This is a recursion: each step locks one shard, looks at its history, takes the steps of the other charges, and then knows
    /// whether to charge. So locks and histories wait on the stack, and nothing is looked up twice.
    pub(super) fn decide_few(&self, charges: &[Charge], verdict: &mut Verdict) -> Option<bool> {
        if !(2..=MAX_CHARGES).contains(&charges.len()) {
            return None;
        }
        let (mut items, mut states) = (Items::new(), 0);
        for (at, charge) in charges.iter().enumerate() {
            let item = Item::new(self, charge, at as u32, states)?;
            states += item.plan.windows().len() as u32;
            items.push(item);
        }
        items.sort_unstable_by_key(Item::shard);
        let are_apart = items.is_sorted_by(|one, next| one.shard() < next.shard());
        if are_apart { self.decide_items(&items, states as usize, verdict) } else { None }
    }

    #[inline]
    fn decide_items(&self, items: &[Item<'_>], states: usize, verdict: &mut Verdict) -> Option<bool> {
        verdict.admitted = true;
        let mut is_sweep_due = false;
        if verdict.detail != Detail::Full {
            is_sweep_due = self.charge_if_room(items, verdict)?;
            if verdict.admitted || verdict.detail == Detail::None {
                return Some(is_sweep_due);
            }
        }
        verdict.states = QuotaState::blank(states);
        verdict.admitted = true;
        Some(self.decide_in_full(items, verdict)? | is_sweep_due)
    }

    /// Charges these items, if they and those before them have room.
    fn charge_if_room(&self, items: &[Item<'_>], verdict: &mut Verdict) -> Option<bool> {
        let Some((item, others)) = items.split_first() else { return Some(false) };
        let (now, mut table) = (verdict.now, self.lock(item.shard()));
        let history = item.history(&mut table)?;
        self.denials().invalidate_ended(item.hash, now);
        let has_credit = history.has_credit(item.plan, now);
        verdict.admitted = has_credit || item.has_room(history, now)?;
        let is_sweep_due = verdict.admitted && self.charge_if_room(others, verdict)?;
        if verdict.admitted {
            match has_credit {
                true => history.charge(item.plan, now),
                false => self.note_receipt(item.charge, item.at as usize, item.record(history, now), verdict),
            }
        }
        Some(table.count_decision() | is_sweep_due)
    }

    /// Writes the states of these items, and charges them if they and those before them have room.
    fn decide_in_full(&self, items: &[Item<'_>], verdict: &mut Verdict) -> Option<bool> {
        let Some((item, others)) = items.split_first() else { return Some(false) };
        let (now, mut table) = (verdict.now, self.lock(item.shard()));
        let history = item.history(&mut table).filter(|history| !history.is_ahead_of(item.plan, now))?;
        self.denials().invalidate_ended(item.hash, now);
        verdict.admitted &= item.measure(history, now, item.states(verdict)?);
        let is_sweep_due = self.decide_in_full(others, verdict)?;
        if verdict.admitted {
            let receipt = item.admit(history, now, item.states(verdict)?);
            self.note_receipt(item.charge, item.at as usize, receipt, verdict);
        }
        Some(table.count_decision() | is_sweep_due)
    }
}

impl<'a> Item<'a> {
    #[inline]
    fn new(shards: &'a Shards, charge: &'a Charge, at: u32, first_state: u32) -> Option<Self> {
        let plan = shards.scopes().plan(charge).filter(|plan| !plan.counts_denied() && !plan.has_siblings())?;
        let item = Self { charge, plan, hash: shards.hash(charge), at, first_state };
        charge.enforcement.is_enforced().then_some(item)
    }

    #[inline]
    const fn shard(&self) -> usize {
        Shards::shard_of(self.hash)
    }

    /// Returns the history, if it is in the table and only its own units matter.
    #[inline]
    fn history<'t>(&self, table: &'t mut Table) -> Option<&'t mut History> {
        let slot = table.find(self.hash, self.charge).filter(|slot| !slot.may_share_overflow())?;
        Some(&mut slot.history)
    }

    /// Returns its states among those of all charges.
    #[inline]
    fn states<'v>(&self, verdict: &'v mut Verdict) -> Option<&'v mut [QuotaState]> {
        verdict.states.get_mut(self.first_state as usize..)?.get_mut(..self.plan.windows().len())
    }

    /// Looks for room. Returns `None` if the history is ahead of `now`.
    #[inline]
    fn has_room(&self, history: &mut History, now: Timestamp) -> Option<bool> {
        if history.is_ahead_of(self.plan, now) {
            return None;
        }
        Some(match self.plan.has_costs() {
            true => history.room_for(self.plan, self.charge.units(), now) == Room::Now,
            false => history.room_at(self.plan, now).is_none(),
        })
    }

    /// Records the units, of which it is known that there is room for them. Returns where, if they may be given back.
    #[inline]
    fn record(&self, history: &mut History, now: Timestamp) -> Option<Receipt> {
        if self.plan.has_costs() {
            return Receipt::from_history(history.charge_units(self.plan, self.charge.units(), now));
        }
        history.charge_with_room(self.plan, now);
        None
    }

    #[inline]
    fn measure(&self, history: &mut History, now: Timestamp, states: &mut [QuotaState]) -> bool {
        let mut states = states.iter_mut();
        let note = |state| {
            if let Some(place) = states.next() {
                *place = state;
            }
        };
        match self.plan.has_costs() {
            true => history.measure_cost(self.plan, self.charge.units(), now, note),
            false => history.measure(self.plan, now, note),
        }
    }

    #[inline]
    fn admit(&self, history: &mut History, now: Timestamp, states: &mut [QuotaState]) -> Option<Receipt> {
        if self.plan.has_costs() {
            return Receipt::from_history(history.admit_cost(self.plan, self.charge.units(), now, states));
        }
        history.admit(self.plan, now, states);
        None
    }
}
