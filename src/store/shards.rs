//! The table of histories, in parts that are locked one by one.

use std::{
    hash::BuildHasher,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use hashbrown::DefaultHashBuilder;
use parking_lot::{Mutex, MutexGuard};

use crate::{
    clock::{Clock, Timestamp},
    history::{History, Plan},
    key::Charge,
    store::{
        contract::Scopes,
        denial_cache::DenialCache,
        overflow::Overflow,
        slot::Slot,
        table::{STEP, Table},
        verdict::Verdict,
    },
};

/// Many, so that two threads rarely meet, and so that the pause when one of them grows is short.
const SHARDS: usize = 256;

/// Places that a newcomer looks at for one to let go, so that the table does not grow while much of it is idle.
pub(super) const STEP_OF_NEWCOMER: usize = 4;

/// At most so many shards per sweep: one without any places takes time as well.
const SHARDS_OF_SWEEP: usize = 4;

/// Places that a newcomer to a full table looks at, elsewhere.
const SEARCH: usize = 128;

/// All histories, how many there are, and how many there may be.
#[derive(Debug)]
pub(super) struct Shards {
    shards: Box<[Shard]>,
    scopes: Scopes,
    denials: DenialCache,
    hasher: DefaultHashBuilder,
    keys: AtomicUsize,
    max_keys: usize,
    overflow: Mutex<Overflow>,
    /// From which nanosecond of the clock on no shared history counts any more.
    overflow_drained_at: AtomicU64,
    /// The number of steps of the sweep; the next is in the shard of this number.
    swept: AtomicUsize,
}

/// Two cache lines apart from its neighbours.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Table>);

impl Shards {
    pub(super) fn new(scopes: Scopes, max_keys: usize) -> Self {
        Self {
            shards: std::iter::repeat_with(Shard::default).take(SHARDS).collect(),
            scopes,
            denials: DenialCache::default(),
            hasher: DefaultHashBuilder::default(),
            keys: AtomicUsize::new(0),
            max_keys,
            overflow: Mutex::default(),
            overflow_drained_at: AtomicU64::new(0),
            swept: AtomicUsize::new(0),
        }
    }

    /// Histories kept.
    pub(super) fn len(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.max_keys
    }

    pub(super) const fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// What is known without looking at any history.
    #[inline]
    pub(super) const fn denials(&self) -> &DenialCache {
        &self.denials
    }

    /// The moment to decide at: `now`, unless the history is ahead of it.
    ///
    /// Another thread may have read the clock later and come first; reading it again settles that. If the history is
    /// still ahead then the clock itself stepped back, and the history comes back to it.
    #[inline]
    pub(super) fn agree(&self, slot: &mut Slot, plan: &Plan, now: Timestamp, clock: &dyn Clock) -> Timestamp {
        if !slot.history.is_ahead_of(plan, now) {
            return now;
        }
        let now = Timestamp::read(clock);
        self.bring_back(slot, plan, now);
        now
    }

    /// Brings a history back to a clock that has stepped back, if it has.
    pub(super) fn bring_back(&self, slot: &mut Slot, plan: &Plan, now: Timestamp) {
        if slot.history.clamp_to(plan, now) {
            self.denials.forget(&slot.charge());
        }
    }

    #[inline]
    pub(super) fn hash(&self, charge: &Charge) -> u64 {
        self.hasher.hash_one((charge.key, charge.scope))
    }

    /// The table uses the lowest and the highest bits of a hash; the shard is chosen by others.
    pub(super) const fn number_of(hash: u64) -> usize {
        (hash >> 40) as usize % SHARDS
    }

    pub(super) fn lock(&self, number: usize) -> Option<MutexGuard<'_, Table>> {
        self.shards.get(number).map(|shard| shard.0.lock())
    }

    /// To be locked after all shards.
    pub(super) fn lock_overflow(&self) -> MutexGuard<'_, Overflow> {
        self.overflow.lock()
    }

    /// Whether any shared history may still count.
    pub(super) fn may_owe(&self, now: Timestamp) -> bool {
        now.nanos() < self.overflow_drained_at.load(Ordering::Relaxed)
    }

    pub(super) fn note_overflow(&self, drained_at: u64) {
        self.overflow_drained_at.fetch_max(drained_at, Ordering::Relaxed);
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

    /// Gives a key its history, with the first unit in it. None, with nothing changed, if it is not sure to have a place
    /// of its own, or owes something to those who have none.
    #[inline(never)]
    pub(super) fn move_in(
        &self,
        table: &mut Table,
        hash: u64,
        charge: &Charge,
        plan: &Plan,
        verdict: &mut Verdict,
        clock: &dyn Clock,
    ) -> Option<()> {
        let now = verdict.now;
        if self.may_owe(now) || !self.take_place() {
            return None;
        }
        self.sweep_table(table, STEP_OF_NEWCOMER, now, clock);
        let mut history = History::new(plan);
        history.decide(plan, now, verdict);
        table.insert(hash, Slot::new(charge, false, history), |slot| self.hash(&slot.charge()));
        Some(())
    }

    /// Looks at the next places of one table for idle histories; says how many these were.
    pub(super) fn sweep_table(&self, table: &mut Table, places: usize, now: Timestamp, clock: &dyn Clock) -> usize {
        let step = table.sweep(places, &self.scopes, |slot, plan| self.may_go(slot, plan, now, clock));
        self.give_back(step.dropped);
        step.seen
    }

    /// Whether a history is equal to a fresh one. If so it is about to go, and what follows from that is noted.
    fn may_go(&self, slot: &mut Slot, plan: &Plan, now: Timestamp, clock: &dyn Clock) -> bool {
        let (charge, now) = (slot.charge(), self.agree(slot, plan, now, clock));
        if !slot.history.is_idle(plan, now) {
            return false;
        }
        if slot.owes() || self.may_owe(now) {
            let (hash, mut overflow) = (self.hash(&charge), self.lock_overflow());
            if slot.owes() && !overflow.is_settled(hash, charge.scope, plan, now, clock) {
                return false;
            }
            overflow.let_go(hash, charge.scope, self.max_keys);
        }
        self.denials.pass(&charge, now);
        true
    }

    /// Forgets one history; says whether there was one.
    pub(super) fn remove(&self, charge: &Charge, now: Timestamp) -> bool {
        let hash = self.hash(charge);
        let Some(mut table) = self.lock(Self::number_of(hash)) else { return false };
        let found = table.remove(hash, charge);
        self.give_back(usize::from(found));
        if self.may_owe(now) {
            self.lock_overflow().let_go(hash, charge.scope, self.max_keys);
        }
        self.denials.forget(charge);
        found
    }

    /// Looks at a few places for idle histories, in the shards whose turn it is.
    pub(super) fn sweep(&self, now: Timestamp, clock: &dyn Clock) {
        self.look(STEP, SHARDS_OF_SWEEP, now, clock);
    }

    /// Looks at many places for idle histories, wherever there are any.
    pub(super) fn search(&self, now: Timestamp, clock: &dyn Clock) {
        self.look(SEARCH, SHARDS, now, clock);
    }

    /// Looks at so many places, in so many shards that are not busy.
    fn look(&self, places: usize, shards: usize, now: Timestamp, clock: &dyn Clock) {
        let mut seen = 0;
        for _ in 0..shards {
            let turn = self.swept.fetch_add(1, Ordering::Relaxed);
            if let Some(mut table) = self.shards.get(turn % SHARDS).and_then(|shard| shard.0.try_lock()) {
                seen += self.sweep_table(&mut table, STEP, now, clock);
            }
            if seen >= places {
                return;
            }
        }
    }
}
