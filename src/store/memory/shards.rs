//! All histories, in tables that are locked one by one.

use std::{
    hash::{BuildHasher, Hasher},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use hashbrown::DefaultHashBuilder;
use parking_lot::{Mutex, MutexGuard};

use crate::{
    clock::{Clock, Timestamp},
    history::{History, Plan},
    key::Charge,
    store::{
        Receipt, Scopes, Settlement,
        contract::Verdict,
        memory::{
            denial_cache::DenialCache,
            live_ticks::LiveTicks,
            notices::{Notice, Notices},
            overflow::Overflow,
            table::{SWEEP_STEP, Slot, Table},
        },
    },
};

/// Number of shards. There are many, so that two threads rarely lock the same, and so that growing one takes a short time.
const SHARDS: usize = 256;

/// Buckets of its own table that a newcomer sweeps, so that the table does not grow while much of it is idle.
const NEWCOMER_STEP: usize = 4;

/// Maximum number of shards in a step of the sweep: empty ones take time as well.
const SHARDS_PER_STEP: usize = 4;

/// Buckets of all tables that a newcomer to a full store sweeps.
const SEARCH_STEP: usize = 128;

/// Maximum number of keys of a small store, which a newcomer sweeps whole: so few idle ones among so many shards are easily missed.
const SMALL_STORE: usize = 1000;

/// All histories, how many there are, and how many there may be.
#[derive(Debug)]
pub(super) struct Shards {
    shards: Box<[Shard; SHARDS]>,
    scopes: Scopes,
    denials: DenialCache,
    hasher: DefaultHashBuilder,
    keys: AtomicUsize,
    max_keys: usize,
    overflow: Mutex<Overflow>,
    /// Nanosecond of the clock from which on no shared unit counts any more.
    overflow_ends_at: AtomicU64,
    /// Number of shards that the sweep has visited. The next is the shard with this number.
    swept: AtomicUsize,
    overflow_decisions: AtomicU64,
    notices: Notices,
}

/// The table of one shard, two cache lines apart from its neighbours.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Table>);

/// A charge is of older rules than its history: the rules were reloaded meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stale;

impl Shards {
    pub(super) fn new(scopes: Scopes, max_keys: usize) -> Self {
        Self {
            shards: Box::new(std::array::from_fn(|_| Shard::default())),
            overflow: Mutex::new(Overflow::new(scopes.clone())),
            scopes,
            denials: DenialCache::default(),
            hasher: DefaultHashBuilder::default(),
            keys: AtomicUsize::new(0),
            max_keys,
            overflow_ends_at: AtomicU64::new(0),
            swept: AtomicUsize::new(0),
            overflow_decisions: AtomicU64::new(0),
            notices: Notices::default(),
        }
    }

    /// Returns the number of histories.
    pub(super) fn len(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    pub(super) const fn max_keys(&self) -> usize {
        self.max_keys
    }

    /// Returns the number of units that keys without a slot were charged together.
    pub(super) fn overflow_decisions(&self) -> u64 {
        self.overflow_decisions.load(Ordering::Relaxed)
    }

    /// Counts a charge of a key without a slot.
    pub(super) fn count_overflow(&self) {
        self.overflow_decisions.fetch_add(1, Ordering::Relaxed);
        self.notices.note(Notice::TableFull);
    }

    /// Returns the reasons to warn.
    #[inline]
    pub(super) const fn notices(&self) -> &Notices {
        &self.notices
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.max_keys
    }

    pub(super) const fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// Returns the denials that need no look at a history.
    #[inline]
    pub(super) const fn denials(&self) -> &DenialCache {
        &self.denials
    }

    /// Returns the time to decide at: `now`, unless the history is ahead of it.
    ///
    /// Another thread may have read the clock later and been first. Then reading it again is enough. If the history is
    /// still ahead, the clock itself has stepped back, and the history follows.
    #[inline]
    pub(super) fn sync(&self, slot: &mut Slot, plan: &Plan, now: Timestamp, clock: &dyn Clock) -> Timestamp {
        if !slot.history.is_ahead_of(plan, now) {
            return now;
        }
        let now = Timestamp::read(clock);
        self.clamp_to(slot, plan, now);
        now
    }

    /// Sets units from the future to `now`, if the clock has stepped back.
    pub(super) fn clamp_to(&self, slot: &mut Slot, plan: &Plan, now: Timestamp) {
        if slot.history.clamp_to(plan, now) {
            self.notices.note(Notice::ClockSteppedBack);
            self.denials.invalidate(self.hash_of(slot));
        }
    }

    /// Returns the hash of key and scope in four words, by which shard, slot and cached denial are found.
    #[inline]
    pub(super) fn hash(&self, charge: &Charge) -> u64 {
        let [first, second, third, rest] = charge.key.packed().to_words();
        let mut hasher = self.hasher.build_hasher();
        let words = [first, second, third, rest | u64::from(charge.scope()) << 32];
        words.into_iter().for_each(|word| hasher.write_u64(word));
        hasher.finish()
    }

    /// Returns the hash of the key and the scope of a slot.
    pub(super) fn hash_of(&self, slot: &Slot) -> u64 {
        self.hash(&slot.charge(&self.scopes))
    }

    /// Returns the shard of a hash. Its table uses the lowest bits, so others choose the shard.
    pub(super) const fn shard_of(hash: u64) -> usize {
        (hash >> 40) as usize % SHARDS
    }

    /// Locks the table of a shard.
    #[inline]
    pub(super) fn lock(&self, shard: usize) -> MutexGuard<'_, Table> {
        self.shards[shard % SHARDS].0.lock()
    }

    /// Locks the overflow. To be called after locking all shards of a decision.
    pub(super) fn lock_overflow(&self) -> MutexGuard<'_, Overflow> {
        self.overflow.lock()
    }

    /// Returns `true` if any shared unit may still count.
    pub(super) fn is_overflow_live(&self, now: Timestamp) -> bool {
        now.nanos() < self.overflow_ends_at.load(Ordering::Relaxed)
    }

    /// Notes that shared units count until this nanosecond.
    pub(super) fn extend_overflow(&self, ends_at: u64) {
        self.overflow_ends_at.fetch_max(ends_at, Ordering::Relaxed);
    }

    /// Reserves a slot for one more key. Returns `false` if the store is full.
    pub(super) fn reserve_slot(&self) -> bool {
        let one_more = |keys: usize| (keys < self.max_keys).then_some(keys + 1);
        self.keys.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Releases slots that are not used, or not any more.
    pub(super) fn release_slots(&self, count: usize) {
        if count > 0 {
            self.keys.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// Gives a new key a slot, and decides about its first unit. Returns `None`, with nothing changed, if the store is full,
    /// if shared units may be the key's, or if it has a history of another shape.
    #[inline(never)]
    pub(super) fn insert_slot(
        &self,
        table: &mut Table,
        hash: u64,
        charge: &Charge,
        plan: &Plan,
        verdict: &mut Verdict,
        clock: &dyn Clock,
    ) -> Option<()> {
        let now = verdict.now;
        let may_have_slot =
            self.scopes.is_reshaped(charge.scope()) && table.find_in_any_shape(hash, charge, &self.scopes).is_some();
        if may_have_slot || self.is_overflow_live(now) || !self.reserve_slot() {
            return None;
        }
        self.sweep_table(table, self.newcomer_step(), &[], now, clock);
        let mut history = History::new(plan);
        history.decide(plan, now, verdict);
        table.insert(hash, Slot::new(charge, false, history), |slot| self.hash_of(slot));
        Some(())
    }

    /// Gives the history of a key the shape that the charge wants, if it has another since the rules were reloaded. To be
    /// called where no history is found.
    ///
    /// # Errors
    ///
    /// If the history has the shape of newer rules than the charge is of.
    #[cold]
    pub(super) fn reshape(&self, table: &mut Table, hash: u64, charge: &Charge) -> Result<(), Stale> {
        let Some(slot) = table.find_in_any_shape(hash, charge, &self.scopes) else { return Ok(()) };
        let (from, target) = (slot.shape(), charge.target);
        if from == target.shape {
            return Ok(());
        }
        if !self.scopes.may_move(from, target.shape) {
            return Err(Stale);
        }
        if let (Some(old), Some(new)) = (self.scopes.plan_of_shape(from), self.scopes.plan(charge)) {
            slot.reshape(old, new, target);
            self.denials.invalidate(hash);
        }
        Ok(())
    }

    /// Gives units back to a history, whatever shape it has by now. Returns how many.
    ///
    /// The cached denials of other rules stay: those of rules with costs are not cached.
    pub(super) fn give_back(&self, settlement: &Settlement, now: Timestamp, clock: &dyn Clock) -> u64 {
        let (charge, receipt) = (settlement.charge(), settlement.receipt().to_history());
        let hash = self.hash(charge);
        let mut table = self.lock(Self::shard_of(hash));
        let Some(slot) = table.find_in_any_shape(hash, charge, &self.scopes) else { return 0 };
        let Some(plan) = self.scopes.plan_of_shape(slot.shape()) else { return 0 };
        let now = self.sync(slot, plan, now, clock);
        slot.history.give_back(plan, receipt, settlement.surplus(), now)
    }

    /// Notes in a verdict where the units of a charge were recorded, if they may be given back.
    pub(super) fn note_receipt(&self, charge: &Charge, at: usize, receipt: Option<Receipt>, verdict: &mut Verdict) {
        if let Some(receipt) = receipt.filter(|_| self.scopes.settles(charge)) {
            verdict.set_receipt(at, receipt);
        }
    }

    /// Evicts idle histories among the next buckets of one table, except those of the `kept` hashes. Returns the number of
    /// buckets examined.
    pub(super) fn sweep_table(
        &self,
        table: &mut Table,
        buckets: usize,
        kept: &[u64],
        now: Timestamp,
        clock: &dyn Clock,
    ) -> usize {
        let mut live = LiveTicks::new(&self.scopes, now);
        let evict = |slot: &mut Slot| {
            if live.hold(slot) || kept.contains(&self.hash_of(slot)) {
                return false;
            }
            let plan = self.scopes.plan_of_shape(slot.shape());
            plan.is_some_and(|plan| self.begin_eviction(slot, plan, now, clock))
        };
        let swept = table.sweep(buckets, evict, |slot| self.hash_of(slot));
        self.release_slots(swept.removed);
        swept.examined
    }

    /// Returns `true` if a history is idle. Then the overflow and the cached denials are prepared for its removal.
    fn begin_eviction(&self, slot: &mut Slot, plan: &Plan, now: Timestamp, clock: &dyn Clock) -> bool {
        let now = self.sync(slot, plan, now, clock);
        if !slot.history.is_idle(plan, now) {
            return false;
        }
        let charge = slot.charge(&self.scopes);
        let hash = self.hash(&charge);
        if slot.may_share_overflow() || self.is_overflow_live(now) {
            let mut overflow = self.lock_overflow();
            if slot.may_share_overflow() && !overflow.has_left(hash, charge.target, plan, now, clock) {
                return false;
            }
            overflow.evict(hash, charge.scope(), self.max_keys);
        }
        self.denials.invalidate_ended(hash, now);
        true
    }

    /// Removes one history, whatever rules it was charged by, and forgets the shared units that may be the key's. Returns `true`
    /// if there were any.
    pub(super) fn remove(&self, charge: &Charge, now: Timestamp) -> bool {
        let hash = self.hash(charge);
        let mut table = self.lock(Self::shard_of(hash));
        let had_slot = table.remove(hash, charge, &self.scopes, |slot| self.hash_of(slot));
        self.release_slots(usize::from(had_slot));
        let had_shared = self.is_overflow_live(now) && self.lock_overflow().forget(hash, charge, now, self.max_keys);
        self.denials.invalidate(hash);
        had_slot || had_shared
    }

    /// Calls `visit` with every slot, a plan of its shape, and its scope. One table is locked at a time.
    pub(super) fn for_each_slot(&self, mut visit: impl FnMut(&mut Slot, &Plan, u32)) {
        for shard in &*self.shards {
            shard.0.lock().for_each(|slot| {
                let (plan, scope) = (self.scopes.plan_of_shape(slot.shape()), slot.scope(&self.scopes));
                if let (Some(plan), Some(scope)) = (plan, scope) {
                    visit(slot, plan, scope);
                }
            });
        }
    }

    /// Takes a step of the sweep: evicts idle histories in a few buckets of the next shards.
    pub(super) fn sweep(&self, now: Timestamp, clock: &dyn Clock) {
        self.sweep_shards(SWEEP_STEP, SWEEP_STEP, SHARDS_PER_STEP, now, clock);
    }

    /// Evicts idle histories in many buckets, in as many shards as it takes; in all of a small store.
    pub(super) fn search(&self, now: Timestamp, clock: &dyn Clock) {
        let (step, buckets) = if self.is_small() { (usize::MAX, usize::MAX) } else { (SWEEP_STEP, SEARCH_STEP) };
        self.sweep_shards(step, buckets, SHARDS, now, clock);
    }

    /// Returns the number of buckets of its own table that a newcomer sweeps.
    pub(super) const fn newcomer_step(&self) -> usize {
        if self.is_small() { usize::MAX } else { NEWCOMER_STEP }
    }

    const fn is_small(&self) -> bool {
        self.max_keys <= SMALL_STORE
    }

    /// Sweeps up to `step` buckets of each table, at least so many `buckets` in all, in at most so many `shards`. Locked shards are
    /// skipped.
    fn sweep_shards(&self, step: usize, buckets: usize, shards: usize, now: Timestamp, clock: &dyn Clock) {
        let mut examined = 0;
        for _ in 0..shards {
            let next = self.swept.fetch_add(1, Ordering::Relaxed);
            if let Some(mut table) = self.shards[next % SHARDS].0.try_lock() {
                examined += self.sweep_table(&mut table, step, &[], now, clock);
            }
            if examined >= buckets {
                return;
            }
        }
    }
}
