//! One decision about any number of charges: measure all, then charge all or none, except those that are not enforced.

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use crate::{
    clock::{Clock, Timestamp},
    history::{History, Plan},
    key::Charge,
    store::{
        Receipt,
        contract::{QuotaState, QuotaStates, Verdict},
        memory::{
            overflow::{Overflow, RangeUsages, UnitRange},
            shards::{Shards, Stale},
            table::{Slot, Table},
        },
    },
};

/// A decision that holds the locks of the shards of its charges.
///
/// Locks are taken in one order, shards by number and the overflow last, so decisions cannot deadlock.
pub(super) struct Transaction<'a> {
    store: &'a Shards,
    clock: &'a dyn Clock,
    now: Timestamp,
    shards: SmallVec<[(usize, MutexGuard<'a, Table>); 4]>,
    overflow: Option<MutexGuard<'a, Overflow>>,
    items: SmallVec<[Item<'a>; 2]>,
    has_newcomer: bool,
}

/// One charge, and all that was found out about it.
struct Item<'a> {
    charge: Charge,
    plan: &'a Plan,
    hash: u64,
    target: Target,
    states: QuotaStates,
    has_room: bool,
    /// Where the units were recorded, if they may be given back.
    receipt: Option<Receipt>,
    /// The shared units that may be the key's own.
    range: Option<UnitRange>,
    /// The units of the range that each quota counts; empty if there is none.
    range_usages: RangeUsages,
}

/// The history that a charge goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// The key's own history.
    Own,
    /// A history that the key is about to get.
    New,
    /// The shared history, because the store is full.
    Overflow,
}

impl<'a> Transaction<'a> {
    /// Locks the histories of all charges, and looks for places for those that have none.
    ///
    /// # Errors
    ///
    /// If a history has the shape of newer rules than its charge is of.
    pub(super) fn begin(
        store: &'a Shards,
        charges: &[Charge],
        now: Timestamp,
        clock: &'a dyn Clock,
    ) -> Result<Self, Stale> {
        let mut transaction = Self::lock(store, charges, now, clock);
        // The sweep locks the overflow, and whatever follows may hold it.
        transaction.sweep_for_newcomers();
        transaction.prepare()
    }

    /// Locks the histories of all charges, for a decision that charges nothing.
    ///
    /// # Errors
    ///
    /// If a history has the shape of newer rules than its charge is of.
    pub(super) fn begin_peek(
        store: &'a Shards,
        charges: &[Charge],
        now: Timestamp,
        clock: &'a dyn Clock,
    ) -> Result<Self, Stale> {
        Self::lock(store, charges, now, clock).prepare()
    }

    fn lock(store: &'a Shards, charges: &[Charge], now: Timestamp, clock: &'a dyn Clock) -> Self {
        let items: SmallVec<[Item<'a>; 2]> = charges
            .iter()
            .filter_map(|charge| Some(Item::new(*charge, store.scopes().plan(charge)?, store.hash(charge))))
            .collect();
        let mut numbers: SmallVec<[usize; 4]> = items.iter().map(|item| Shards::shard_of(item.hash)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let shards = numbers.into_iter().map(|number| (number, store.lock(number))).collect();
        Self { store, clock, now, shards, overflow: None, items, has_newcomer: false }
    }

    /// Gives the histories the shapes and the time to decide at.
    fn prepare(mut self) -> Result<Self, Stale> {
        self.reshape()?;
        self.sync();
        Ok(self)
    }

    /// Gives histories the shapes that the charges want, where the rules were reloaded since.
    fn reshape(&mut self) -> Result<(), Stale> {
        let mut reshaped = Ok(());
        self.for_each_item(|transaction, item| {
            let (store, charge) = (transaction.store, item.charge);
            if !store.scopes().is_reshaped(charge.scope()) {
                return;
            }
            if transaction.slot(item).is_none()
                && let Some(table) = transaction.table(item.hash)
            {
                reshaped = reshaped.and(store.reshape(table, item.hash, &charge));
            }
            if store.is_overflow_live(transaction.now) && transaction.overflow().is_stale(charge.target) {
                reshaped = Err(Stale);
            }
        });
        reshaped
    }

    /// Admits all enforced charges or none, and charges the others as their enforcement says. Takes a step of the sweep if one
    /// is due.
    pub(super) fn decide(mut self) -> Verdict {
        let admitted = self.measure(true);
        self.for_each_item(|transaction, item| match item.is_charged(admitted) {
            true => transaction.charge(item),
            false => transaction.deny(item),
        });
        // Several charges may have gone to one history.
        self.for_each_item(|transaction, item| {
            let is_charged = item.is_charged(admitted);
            // What a unit without room leaves behind is not what it found with one more.
            let is_usual = is_charged && item.has_room && item.target != Target::Overflow;
            if (is_charged || item.plan.counts_denied()) && !is_usual {
                transaction.measure_target(item);
            }
        });
        self.for_each_item(Self::report_range);
        if self.is_sweep_due() {
            self.sweep();
        }
        self.into_verdict(admitted)
    }

    /// Charges all of them, whether there is room or not.
    pub(super) fn record(mut self) {
        self.measure(true);
        self.for_each_item(|transaction, item| {
            transaction.charge(item);
            transaction.store.denials().invalidate(item.hash);
        });
    }

    /// Returns the verdict that [`decide`](Self::decide) would return, and charges nothing.
    pub(super) fn peek(mut self) -> Verdict {
        let admitted = self.measure(false);
        self.for_each_item(Self::report_range);
        self.into_verdict(admitted)
    }

    fn into_verdict(self, admitted: bool) -> Verdict {
        let mut verdict = Verdict { now: self.now, ..Verdict::new(admitted) };
        for (at, item) in self.items.iter().enumerate() {
            verdict.states.extend(item.states.iter().copied());
            if !item.has_room && !item.charge.enforcement.is_enforced() {
                verdict.set_without_room(at);
            }
            self.store.note_receipt(&item.charge, at, item.receipt, &mut verdict);
        }
        verdict
    }

    /// Counts the decision. A step of the sweep is always due if it brings a new key.
    fn is_sweep_due(&mut self) -> bool {
        let is_due = self.shards.first_mut().is_some_and(|(_, table)| table.count_decision());
        is_due || self.has_newcomer
    }

    /// Sweeps with the shards still locked, so that the sweep skips them: see [`sweep_for_newcomers`](Self::sweep_for_newcomers).
    fn sweep(&mut self) {
        // The sweep locks it.
        self.overflow = None;
        self.store.sweep(self.now, self.clock);
    }

    /// Runs `step` on every item, which it may change along with the transaction.
    fn for_each_item(&mut self, mut step: impl FnMut(&mut Self, &mut Item<'a>)) {
        let mut items = std::mem::take(&mut self.items);
        for item in &mut items {
            step(self, item);
        }
        self.items = items;
    }

    /// Reads the clock again if a history is ahead of it, and clamps the histories that still are.
    fn sync(&mut self) {
        if !self.is_any_ahead() {
            return;
        }
        self.now = Timestamp::read(self.clock);
        let now = self.now;
        self.for_each_item(|transaction, item| {
            let store = transaction.store;
            if let Some(slot) = transaction.slot(item) {
                store.clamp_to(slot, item.plan, now);
            }
        });
    }

    fn is_any_ahead(&mut self) -> bool {
        let (now, mut is_any) = (self.now, false);
        self.for_each_item(|transaction, item| {
            is_any |= transaction.slot(item).is_some_and(|slot| slot.history.is_ahead_of(item.plan, now));
        });
        is_any
    }

    /// Finds the target of every item, and returns `true` if all that are enforced have room. Reserves slots only if `reserve` is set.
    fn measure(&mut self, reserve: bool) -> bool {
        let mut admitted = true;
        self.for_each_item(|transaction, item| {
            let may_share_overflow = transaction.find_target(item, reserve);
            let has_room = transaction.measure_target(item) & (!may_share_overflow || transaction.measure_range(item));
            item.has_room = has_room;
            admitted &= has_room || !item.charge.enforcement.is_enforced();
        });
        admitted
    }

    /// Finds the target of an item. Returns `true` if shared units may be the key's own.
    fn find_target(&mut self, item: &mut Item<'a>, reserve: bool) -> bool {
        let now = self.now;
        if let Some(slot) = self.slot(item) {
            item.target = Target::Own;
            return slot.may_share_overflow();
        }
        self.has_newcomer = true;
        let is_free = if reserve { self.store.reserve_slot() } else { !self.store.is_full() };
        item.target = if is_free { Target::New } else { Target::Overflow };
        is_free && self.store.is_overflow_live(now)
    }

    /// Evicts idle histories for keys that are about to get slots, and none of this very decision: a key whose slot went to
    /// another of the same request would be held to the overflow, and the request denied after the wait that it was told.
    fn sweep_for_newcomers(&mut self) {
        let kept: SmallVec<[u64; 2]> = self.items.iter().map(|item| item.hash).collect();
        self.for_each_item(|transaction, item| transaction.sweep_for_newcomer(item, &kept));
    }

    fn sweep_for_newcomer(&mut self, item: &Item<'a>, kept: &[u64]) {
        let (store, now, clock) = (self.store, self.now, self.clock);
        if let Some(table) = self.table(item.hash) {
            if table.find_in_any_shape(item.hash, &item.charge, store.scopes()).is_some() {
                return;
            }
            store.sweep_table(table, store.newcomer_step(), kept, now, clock);
        }
        if store.is_full() {
            store.search(now, clock);
        }
    }

    fn measure_target(&mut self, item: &mut Item<'a>) -> bool {
        let (store, now, clock, mut states) = (self.store, self.now, self.clock, QuotaStates::new());
        let has_room = match item.target {
            Target::Own => {
                store.denials().invalidate_ended(item.hash, now);
                self.slot(item).is_some_and(|slot| item.measure(&mut slot.history, now, &mut states))
            }
            Target::New => item.measure(&mut History::new(item.plan), now, &mut states),
            Target::Overflow => {
                let shared = self.overflow().history(item.charge.target, item.plan);
                let synced = shared.sync(item.plan, now, clock);
                let has_room = item.measure(shared.history_mut(), synced, &mut states);
                self.now = now.max(synced);
                has_room
            }
        };
        item.states = states;
        has_room
    }

    /// Measures the shared units that may be the key's own. Returns `true` if there is room beside them.
    fn measure_range(&mut self, item: &mut Item<'a>) -> bool {
        let (now, clock, target, plan) = (self.now, self.clock, item.charge.target, item.plan);
        let overflow = self.overflow();
        item.range = match item.target {
            Target::Own => overflow.range(item.hash),
            _ => Some(overflow.range_of_newcomer(item.hash, target, plan, now)),
        };
        if let (Some(range), Some(shared)) = (item.range, overflow.live_history(target, plan, now)) {
            let synced = shared.sync(plan, now, clock);
            item.range_usages = shared.usages(range, plan, synced);
            self.now = now.max(synced);
        }
        if !item.has_shared_units() {
            self.remove_range(item);
        }
        item.has_room_beside_range()
    }

    fn remove_range(&mut self, item: &mut Item<'a>) {
        item.range = None;
        item.range_usages.clear();
        if item.target == Target::Own {
            self.overflow().remove_range(item.hash);
            if let Some(slot) = self.slot(item) {
                slot.clear_overflow();
            }
        }
    }

    fn deny(&mut self, item: &mut Item<'a>) {
        if item.plan.counts_denied() {
            self.charge(item);
        } else if item.target == Target::New {
            self.store.release_slots(1);
        }
    }

    fn charge(&mut self, item: &mut Item<'a>) {
        let (now, plan) = (self.now, item.plan);
        match item.target {
            Target::Own => {
                self.store.denials().invalidate_ended(item.hash, now);
                if plan.has_siblings() || !item.charge.enforcement.is_enforced() {
                    self.store.denials().invalidate_cached(item.hash);
                }
                if let Some(slot) = self.slot(item) {
                    item.receipt = admit(&mut slot.history, &item.charge, plan, now, &mut item.states);
                }
            }
            // A cost of nothing leaves nothing behind.
            Target::New if item.charge.units == 0 => self.store.release_slots(1),
            Target::New => {
                let mut history = History::new(plan);
                item.receipt = admit(&mut history, &item.charge, plan, now, &mut item.states);
                self.insert_slot(item, history);
                item.target = Target::Own;
            }
            Target::Overflow => {
                self.overflow().admit(&item.charge, plan, now, &mut item.states);
                item.receipt = Some(Receipt::SHARED);
                self.store.count_overflow();
                let ends_at = now.ceil_ticks(plan.tick()).saturating_add(plan.horizon());
                self.store.extend_overflow(plan.tick().beginning(ends_at));
            }
        }
    }

    /// Reports the shared units that may be the key's own as if they were.
    fn report_range(&mut self, item: &mut Item<'a>) {
        let Some(range) = item.range else { return };
        let (now, plan, mut overflow) = (self.now, item.plan, self.overflow.take());
        if let Some(shared) =
            overflow.as_mut().and_then(|overflow| overflow.live_history(item.charge.target, plan, now))
        {
            let (usages, newcomer) = (shared.usages(range, plan, now), History::new(plan));
            let own = self.slot(item).map_or(&newcomer, |slot| &slot.history);
            shared.add_to_states(&usages, own, plan, item.charge.units, &mut item.states);
        }
        self.overflow = overflow;
    }

    fn insert_slot(&mut self, item: &Item<'a>, history: History) {
        let slot = Slot::new(&item.charge, item.range.is_some(), history);
        let store = self.store;
        if let Some(range) = item.range {
            self.overflow().insert_range(item.hash, range);
        }
        if let Some(table) = self.table(item.hash) {
            table.insert(item.hash, slot, |slot| store.hash_of(slot));
        }
    }

    fn table(&mut self, hash: u64) -> Option<&mut Table> {
        let number = Shards::shard_of(hash);
        let at = self.shards.binary_search_by_key(&number, |(held, _)| *held).ok()?;
        self.shards.get_mut(at).map(|(_, table)| &mut **table)
    }

    fn slot(&mut self, item: &Item<'a>) -> Option<&mut Slot> {
        self.table(item.hash)?.find(item.hash, &item.charge)
    }

    fn overflow(&mut self) -> &mut Overflow {
        self.overflow.get_or_insert_with(|| self.store.lock_overflow())
    }
}

impl<'a> Item<'a> {
    fn new(charge: Charge, plan: &'a Plan, hash: u64) -> Self {
        Self {
            charge,
            plan,
            hash,
            target: Target::Own,
            states: QuotaStates::new(),
            has_room: true,
            receipt: None,
            range: None,
            range_usages: RangeUsages::new(),
        }
    }

    /// Returns `true` if its unit is recorded, in a request that is `admitted` or not.
    const fn is_charged(&self, admitted: bool) -> bool {
        self.charge.enforcement.is_charged(admitted, self.has_room)
    }

    /// Appends the state of each quota, and returns `true` if all of them have room for the cost.
    fn measure(&self, history: &mut History, now: Timestamp, states: &mut QuotaStates) -> bool {
        match self.plan.has_costs() {
            true => history.measure_cost(self.plan, self.charge.units, now, |state| states.push(state)),
            false => history.measure(self.plan, now, |state| states.push(state)),
        }
    }

    fn has_room_beside_range(&self) -> bool {
        let mut quotas = self.states.iter().zip(&self.range_usages).zip(self.plan.windows());
        let units = self.charge.units;
        quotas.all(|((state, usage), window)| {
            state.used.saturating_add(usage.units()).saturating_add(units) <= window.limit
        })
    }

    fn has_shared_units(&self) -> bool {
        self.range_usages.iter().any(|usage| usage.units() > 0)
    }
}

/// Records an admitted charge, in the history and in the states measured before. Returns where.
fn admit(
    history: &mut History,
    charge: &Charge,
    plan: &Plan,
    now: Timestamp,
    states: &mut [QuotaState],
) -> Option<Receipt> {
    // A debt may be owed by a history that has lost its costs in the meantime.
    if plan.has_costs() || charge.units != 1 {
        return Receipt::from_history(history.admit_cost(plan, charge.units, now, states));
    }
    history.admit(plan, now, states);
    None
}
