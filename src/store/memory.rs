//! The table of histories in this process.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use hashbrown::{DefaultHashBuilder, hash_table::OccupiedEntry};
use parking_lot::{Mutex, MutexGuard};

use crate::{
    clock::{Clock, Moment},
    history::Plan,
    store::{
        overflow::Overflow,
        sweep::{STEP, Table},
        transaction::Transaction,
        verdict::{Charge, Verdict},
    },
};

/// Many, so that two threads rarely meet, and so that the pause when one of them grows is short.
const SHARDS: usize = 256;

/// The plans of a limiter, by scope.
#[derive(Clone, Debug)]
pub(crate) struct Scopes(Arc<[Arc<Plan>]>);

/// Histories in memory, in shards that are locked in order.
///
/// A decision locks the shards of its charges, looks at all histories, and then charges all of them or none.
#[derive(Debug)]
pub(crate) struct MemoryStore {
    shards: Box<[Shard]>,
    scopes: Scopes,
    hasher: DefaultHashBuilder,
    keys: AtomicUsize,
    max_keys: usize,
    overflow: Mutex<Overflow>,
    /// A copy of the overflow's, to be read without its lock.
    overflow_drained_at: AtomicU64,
    /// The number of steps of the sweep; the next is in the shard of this number.
    swept: AtomicUsize,
}

/// Two cache lines apart from its neighbours.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Table>);

impl Scopes {
    pub(crate) fn new(plans: impl IntoIterator<Item = Arc<Plan>>) -> Self {
        Self(plans.into_iter().collect())
    }

    pub(crate) fn plan(&self, scope: u32) -> Option<&Plan> {
        self.0.get(scope as usize).map(|plan| &**plan)
    }
}

impl MemoryStore {
    pub(crate) fn new(scopes: Scopes, max_keys: usize) -> Self {
        Self {
            shards: std::iter::repeat_with(Shard::default).take(SHARDS).collect(),
            scopes,
            hasher: DefaultHashBuilder::default(),
            keys: AtomicUsize::new(0),
            max_keys,
            overflow: Mutex::default(),
            overflow_drained_at: AtomicU64::new(0),
            swept: AtomicUsize::new(0),
        }
    }

    /// Histories kept.
    pub(crate) fn len(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// Admits all charges or none of them. The answer is written in place.
    pub(crate) fn decide(&self, charges: &[Charge], clock: &dyn Clock, verdict: &mut Verdict) {
        verdict.now = Moment::read(clock);
        if let [charge] = charges
            && self.decide_known(charge, clock, verdict).is_some()
        {
            return;
        }
        self.decide_together(charges, clock, verdict);
    }

    /// What [`decide`](Self::decide) would answer now; charges nothing.
    pub(crate) fn peek(&self, charges: &[Charge], clock: &dyn Clock, verdict: &mut Verdict) {
        *verdict = Transaction::begin(self, charges, Moment::read(clock), clock).peek();
    }

    /// Forgets one history; says whether there was one.
    pub(crate) fn reset(&self, charge: &Charge) -> bool {
        let hash = self.hash(charge);
        let Some(mut table) = self.lock_shard(Self::shard_of(hash)) else { return false };
        let found = table.slots.find_entry(hash, |slot| slot.holds(charge)).map(OccupiedEntry::remove).is_ok();
        self.give_back(usize::from(found));
        found
    }

    /// The common case, in one look-up under one lock: a single charge of a key that has a history of its own.
    #[inline]
    fn decide_known(&self, charge: &Charge, clock: &dyn Clock, verdict: &mut Verdict) -> Option<()> {
        let plan = self.scopes.plan(charge.scope)?;
        let hash = self.hash(charge);
        let mut table = self.lock_shard(Self::shard_of(hash))?;
        let slot = table.slots.find_mut(hash, |slot| slot.holds(charge)).filter(|slot| !slot.owes)?;
        let history = &mut slot.history;
        let now = history.agree(plan, verdict.now, clock);
        let admitted = history.measure(plan, now, &mut verdict.states);
        if admitted {
            history.admit(plan, now, &mut verdict.states);
        } else {
            history.explain(plan, &mut verdict.states);
            if plan.counts_denied() {
                history.charge(plan, now);
            }
        }
        verdict.now = now;
        verdict.admitted = admitted;
        let is_turn = table.count_decision();
        drop(table);
        if is_turn {
            self.sweep(now);
        }
        Some(())
    }

    pub(super) const fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.max_keys
    }

    /// Whether one more key may have a place. If so it is taken.
    pub(super) fn take_place(&self) -> bool {
        let one_more = |keys: usize| (keys < self.max_keys).then_some(keys + 1);
        self.keys.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    pub(super) fn give_back(&self, places: usize) {
        if places > 0 {
            self.keys.fetch_sub(places, Ordering::Relaxed);
        }
    }

    pub(super) fn lock_shard(&self, number: usize) -> Option<MutexGuard<'_, Table>> {
        self.shards.get(number).map(|shard| shard.0.lock())
    }

    pub(super) fn lock_overflow(&self) -> MutexGuard<'_, Overflow> {
        self.overflow.lock()
    }

    /// Whether any shared history may still count.
    pub(super) fn may_owe(&self, now: Moment) -> bool {
        now.millis() < self.overflow_drained_at.load(Ordering::Relaxed)
    }

    pub(super) fn note_overflow(&self, drained_at: u64) {
        self.overflow_drained_at.fetch_max(drained_at, Ordering::Relaxed);
    }

    /// Any number of charges, of known keys or not. Apart from the common case so as not to burden it.
    #[inline(never)]
    fn decide_together(&self, charges: &[Charge], clock: &dyn Clock, verdict: &mut Verdict) {
        *verdict = Transaction::begin(self, charges, verdict.now, clock).decide();
    }

    /// Takes a step of the sweep in the shard whose turn it is, unless that is busy.
    fn sweep(&self, now: Moment) {
        let turn = self.swept.fetch_add(1, Ordering::Relaxed);
        if let Some(mut table) = self.shards.get(turn % SHARDS).and_then(|shard| shard.0.try_lock()) {
            self.give_back(table.sweep(STEP, &self.scopes, now));
        }
    }

    pub(super) fn hash(&self, charge: &Charge) -> u64 {
        use std::hash::BuildHasher;
        self.hasher.hash_one((charge.scope, charge.key))
    }

    /// The table uses the lowest and the highest bits of a hash; the shard is chosen by others.
    pub(super) const fn shard_of(hash: u64) -> usize {
        (hash >> 40) as usize % SHARDS
    }
}
