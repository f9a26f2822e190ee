//! One decision about several charges: look at all, then charge all or none.

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use crate::{
    clock::{Clock, Timestamp},
    history::{History, Plan},
    key::Charge,
    store::{
        debt::{AllOwed, Debt},
        overflow::Overflow,
        shards::{STEP_OF_NEWCOMER, Shards},
        slot::Slot,
        table::Table,
        verdict::{QuotaStates, Verdict},
    },
};

/// A decision while it holds the shards of its charges.
///
/// Locks are taken in one order, shards by number and the overflow last, so decisions cannot block each other for ever.
pub(super) struct Transaction<'a> {
    store: &'a Shards,
    clock: &'a dyn Clock,
    now: Timestamp,
    shards: SmallVec<[(usize, MutexGuard<'a, Table>); 4]>,
    overflow: Option<MutexGuard<'a, Overflow>>,
    items: SmallVec<[Item<'a>; 2]>,
    has_newcomer: bool,
}

/// One charge and what has been found out about it.
struct Item<'a> {
    charge: Charge,
    plan: &'a Plan,
    hash: u64,
    place: Destination,
    states: QuotaStates,
    /// What may be the key's own of the shared history.
    debt: Option<Debt>,
    /// What each quota counts of that; nothing if there is none.
    owed: AllOwed,
}

/// Where a charge goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Destination {
    /// To the key's own history.
    Own,
    /// To a history that the key is about to get.
    New,
    /// To the shared history, because the table is full.
    Overflow,
}

impl<'a> Transaction<'a> {
    pub(super) fn begin(store: &'a Shards, charges: &[Charge], now: Timestamp, clock: &'a dyn Clock) -> Self {
        let items: SmallVec<[Item<'a>; 2]> = charges
            .iter()
            .filter_map(|charge| Some(Item::new(*charge, store.scopes().plan(charge.scope)?, store.hash(charge))))
            .collect();
        let mut numbers: SmallVec<[usize; 4]> = items.iter().map(|item| Shards::number_of(item.hash)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let shards = numbers.into_iter().filter_map(|number| Some((number, store.lock(number)?))).collect();
        let mut transaction = Self { store, clock, now, shards, overflow: None, items, has_newcomer: false };
        transaction.agree_on_now();
        transaction
    }

    /// Admits all charges or none. Says as well whether it is this decision's turn to sweep.
    pub(super) fn decide(mut self) -> (Verdict, bool) {
        let admitted = self.measure(true);
        self.for_each_item(if admitted { Self::charge } else { Self::refuse });
        // MultipleValues charges may have gone to one history.
        self.for_each_item(|transaction, item| {
            let is_counted = admitted || item.plan.counts_denied();
            if is_counted && (!admitted || item.place == Destination::Overflow) {
                transaction.measure_place(item);
            }
        });
        self.for_each_item(Self::explain);
        let is_turn = self.is_turn();
        (self.into_verdict(admitted), is_turn)
    }

    /// Charges all of them, whether there is room or not.
    #[cfg(feature = "redis")]
    pub(super) fn record(mut self) {
        self.measure(true);
        self.for_each_item(|transaction, item| {
            transaction.charge(item);
            transaction.store.denials().forget(&item.charge);
        });
    }

    /// Whoever brings a new key looks for idle ones.
    fn is_turn(&mut self) -> bool {
        let is_turn = self.shards.first_mut().is_some_and(|(_, table)| table.count_decision());
        is_turn || self.has_newcomer
    }

    /// Says what [`decide`](Self::decide) would, and charges nothing.
    pub(super) fn peek(mut self) -> Verdict {
        let admitted = self.measure(false);
        self.for_each_item(Self::explain);
        self.into_verdict(admitted)
    }

    fn into_verdict(self, admitted: bool) -> Verdict {
        let states = self.items.into_iter().flat_map(|item| item.states).collect();
        Verdict { now: self.now, states, ..Verdict::new(admitted) }
    }

    /// Runs `step` on every item, which it may change along with the transaction.
    fn for_each_item(&mut self, mut step: impl FnMut(&mut Self, &mut Item<'a>)) {
        let mut items = std::mem::take(&mut self.items);
        items.iter_mut().for_each(|item| step(self, item));
        self.items = items;
    }

    /// Reads the clock again if a history is ahead of it, and takes back those that still are.
    fn agree_on_now(&mut self) {
        if !self.is_any_ahead() {
            return;
        }
        self.now = Timestamp::read(self.clock);
        let now = self.now;
        self.for_each_item(|transaction, item| {
            let store = transaction.store;
            if let Some(slot) = transaction.slot(item) {
                store.bring_back(slot, item.plan, now);
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

    /// Finds every item its place and says whether all have room. Only who is `moving_in` takes a place.
    fn measure(&mut self, moving_in: bool) -> bool {
        if moving_in {
            self.for_each_item(Self::sweep_for_newcomer);
        }
        let mut admitted = true;
        self.for_each_item(|transaction, item| {
            let owes = transaction.find_place(item, moving_in);
            let has_room = transaction.measure_place(item) & (!owes || transaction.measure_debt(item));
            admitted &= has_room;
        });
        admitted
    }

    /// Says whether the key may owe units of the shared history.
    fn find_place(&mut self, item: &mut Item<'a>, moving_in: bool) -> bool {
        let now = self.now;
        if let Some(slot) = self.slot(item) {
            item.place = Destination::Own;
            return slot.owes();
        }
        self.has_newcomer = true;
        let is_free = if moving_in { self.store.take_place() } else { !self.store.is_full() };
        item.place = if is_free { Destination::New } else { Destination::Overflow };
        is_free && self.store.may_owe(now)
    }

    /// Lets go of idle histories for a key that is about to come. This is before anything is measured: an idle history
    /// of this very decision may be among them.
    fn sweep_for_newcomer(&mut self, item: &mut Item<'a>) {
        if self.slot(item).is_some() {
            return;
        }
        let (store, now, clock) = (self.store, self.now, self.clock);
        if let Some(table) = self.table(item.hash) {
            store.sweep_table(table, STEP_OF_NEWCOMER, now, clock);
        }
        if store.is_full() {
            store.search(now, clock);
        }
    }

    fn measure_place(&mut self, item: &mut Item<'a>) -> bool {
        let (store, now, clock, mut states) = (self.store, self.now, self.clock, QuotaStates::new());
        let has_room = match item.place {
            Destination::Own => {
                store.denials().pass(&item.charge, now);
                self.slot(item).is_some_and(|slot| slot.history.measure(item.plan, now, &mut states))
            }
            Destination::New => History::new(item.plan).measure(item.plan, now, &mut states),
            Destination::Overflow => {
                let shared = self.overflow().of(item.charge.scope, item.plan);
                let agreed = shared.agree(item.plan, now, clock);
                let has_room = shared.history.measure(item.plan, agreed, &mut states);
                self.now = now.max(agreed);
                has_room
            }
        };
        item.states = states;
        has_room
    }

    /// Whether there is room beside what may be owed.
    fn measure_debt(&mut self, item: &mut Item<'a>) -> bool {
        let (now, clock, scope, plan) = (self.now, self.clock, item.charge.scope, item.plan);
        let overflow = self.overflow();
        item.debt = match item.place {
            Destination::Own => overflow.debt_of(item.hash),
            _ => Some(overflow.debt_of_newcomer(item.hash, scope, plan, now)),
        };
        if let (Some(debt), Some(shared)) = (item.debt, overflow.live(scope, plan, now)) {
            let agreed = shared.agree(plan, now, clock);
            item.owed = shared.owed(debt, plan, agreed);
            self.now = now.max(agreed);
        }
        if !item.owes() {
            self.settle_debt(item);
        }
        item.has_room_beside_debts()
    }

    fn settle_debt(&mut self, item: &mut Item<'a>) {
        item.debt = None;
        item.owed.clear();
        if item.place == Destination::Own {
            self.overflow().settle(item.hash);
            self.slot(item).map(Slot::settle_debt);
        }
    }

    fn refuse(&mut self, item: &mut Item<'a>) {
        if item.plan.counts_denied() {
            self.charge(item);
        } else if item.place == Destination::New {
            self.store.give_back(1);
        }
    }

    fn charge(&mut self, item: &mut Item<'a>) {
        let (now, plan) = (self.now, item.plan);
        match item.place {
            Destination::Own => {
                self.store.denials().pass(&item.charge, now);
                if let Some(slot) = self.slot(item) {
                    slot.history.admit(plan, now, &mut item.states);
                }
            }
            Destination::New => {
                let mut history = History::new(plan);
                history.admit(plan, now, &mut item.states);
                self.move_in(item, history);
                item.place = Destination::Own;
            }
            Destination::Overflow => {
                self.overflow().admit(item.charge.scope, plan, now, &mut item.states);
                let drained_at = now.ceil_ticks(plan.tick()).saturating_add(plan.horizon());
                self.store.note_overflow(plan.tick().beginning(drained_at));
            }
        }
    }

    /// Tells of what may be owed as if it were the key's own.
    fn explain(&mut self, item: &mut Item<'a>) {
        if let Some(debt) = item.debt {
            self.explain_with(debt, item);
        }
    }

    fn explain_with(&mut self, debt: Debt, item: &mut Item<'a>) {
        let (now, plan, mut overflow) = (self.now, item.plan, self.overflow.take());
        if let Some(shared) = overflow.as_mut().and_then(|overflow| overflow.live(item.charge.scope, plan, now)) {
            let (owed, newcomer) = (shared.owed(debt, plan, now), History::new(plan));
            let own = self.slot(item).map_or(&newcomer, |slot| &slot.history);
            own.explain_with(shared, plan, &mut item.states, &owed);
        }
        self.overflow = overflow;
    }

    fn move_in(&mut self, item: &Item<'a>, history: History) {
        let slot = Slot::new(&item.charge, item.debt.is_some(), history);
        let store = self.store;
        if let Some(debt) = item.debt {
            self.overflow().take_on(item.hash, debt);
        }
        if let Some(table) = self.table(item.hash) {
            table.insert(item.hash, slot, |slot| store.hash(&slot.charge()));
        }
    }

    fn table(&mut self, hash: u64) -> Option<&mut Table> {
        let number = Shards::number_of(hash);
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
            place: Destination::Own,
            states: QuotaStates::new(),
            debt: None,
            owed: AllOwed::new(),
        }
    }

    fn has_room_beside_debts(&self) -> bool {
        let mut quotas = self.states.iter().zip(&self.owed).zip(self.plan.windows());
        quotas.all(|((state, owed), window)| state.used.saturating_add(owed.units()) < window.limit)
    }

    fn owes(&self) -> bool {
        self.owed.iter().any(|owed| owed.units() > 0)
    }
}
