//! The store in this process.

use std::{fmt, future::Pending, slice, sync::Arc, time::Duration};

use crate::{
    clock::{Clock, SystemClock, Timestamp},
    error::{ConfigError, Unavailable},
    key::Charge,
    observe::{Figures, Observer},
    store::{
        CostSupport, Receipt, Scopes, Settlement,
        contract::{Detail, MaybeReady, Setup, Store, Verdict},
        memory::{
            shards::{Shards, Stale},
            transaction::Transaction,
        },
    },
};

/// A store in the memory of this process.
///
/// A decision locks the shards of its charges, reads all histories, and then charges all of them or none. It never waits
/// and never fails. This is the store of a limiter unless [another one](crate::RateLimiterBuilder::store) is chosen.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, store::MemoryStore};
///
/// let calls = Rule::new("calls").no_requests().policy(Policy::per_minute(1));
/// let limiter = RateLimiter::builder()
///     .store(MemoryStore::default()) // It is the default.
///     .max_keys(10_000)
///     .rule(calls)
///     .build()?;
///
/// assert!(limiter.rule("calls")?.check("ann").is_admitted());
/// assert!(!limiter.rule("calls")?.check("ann").is_admitted());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MemoryStore {
    shards: Shards,
    clock: Arc<dyn Clock>,
    observer: Arc<Observer>,
}

impl MemoryStore {
    /// Returns the number of histories.
    pub(crate) fn len(&self) -> usize {
        self.shards.len()
    }

    /// Returns the time for [`decide_at_once`](Self::decide_at_once) and [`admits`](Self::admits).
    ///
    /// Callers read it before they make a key: nothing has to be there before the processor's counter is read, so the key is made
    /// and hashed while the lock still waits for the counter.
    #[inline]
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::read(&*self.clock)
    }

    pub(super) const fn shards(&self) -> &Shards {
        &self.shards
    }

    /// Admits all charges or none of them, and writes the verdict in place.
    #[inline]
    pub(crate) fn decide(&self, charges: &[Charge], verdict: &mut Verdict) {
        verdict.now = self.now();
        self.decide_at_once(charges, verdict);
    }

    /// Does what [`decide`](Self::decide) does, at the time in the verdict, which was read just before.
    #[inline]
    pub(crate) fn decide_at_once(&self, charges: &[Charge], verdict: &mut Verdict) {
        if let [charge] = charges
            && charge.enforcement.is_enforced()
            && self.decide_one(charge, verdict).is_some()
        {
            return;
        }
        self.decide_together(charges, verdict);
    }

    /// Returns `true` if a charge is admitted, as [`decide_at_once`](Self::decide_at_once) does, for callers that need no verdict.
    /// Returns `None`, with nothing changed, if the charge is of older rules than its history.
    ///
    /// The charge must be enforced.
    #[inline]
    pub(crate) fn admits(&self, charge: &Charge, now: Timestamp) -> Option<bool> {
        let hash = self.shards.hash(charge);
        let (is_admitted, is_sweep_due) = match self.shards.denials().holds(hash, charge, now) {
            Some(is_sweep_due) => (false, is_sweep_due),
            None => match self.charge_on_credit(hash, charge, now) {
                Some(is_sweep_due) => (true, is_sweep_due),
                None => return self.admits_after_a_look(hash, charge, now),
            },
        };
        self.finish(is_sweep_due, now);
        Some(is_admitted)
    }

    /// Charges a key that is known to have room, at a time that was read just before. Returns `false`, with nothing changed, if
    /// it is not known.
    ///
    /// The charge must be enforced.
    #[inline]
    pub(crate) fn admits_on_credit(&self, charge: &Charge, now: Timestamp) -> bool {
        let charged = self.charge_on_credit(self.shards.hash(charge), charge, now);
        self.finish(charged == Some(true), now);
        charged.is_some()
    }

    /// Writes the verdict that [`decide`](Self::decide) would write now, and charges nothing.
    pub(crate) fn peek(&self, charges: &[Charge], verdict: &mut Verdict) {
        let clock = &*self.clock;
        match Transaction::begin_peek(&self.shards, charges, Timestamp::read(clock), clock) {
            Ok(transaction) => *verdict = transaction.peek(),
            Err(Stale) => verdict.is_stale = true,
        }
    }

    /// Charges a request that was admitted elsewhere, whether there is room for it here or not.
    ///
    /// # Errors
    ///
    /// If a charge is of older rules than its history. Nothing is charged then.
    pub(crate) fn record(&self, charges: &[Charge]) -> Result<(), Stale> {
        let clock = &*self.clock;
        let now = Timestamp::read(clock);
        Transaction::begin(&self.shards, charges, now, clock).map(Transaction::record)?;
        self.finish(false, now);
        Ok(())
    }

    /// Corrects one cost that was an estimate. Returns the units that were given back, or recorded in addition.
    fn settle_one(&self, settlement: &Settlement) -> u64 {
        let clock = &*self.clock;
        let now = Timestamp::read(clock);
        let moved = match settlement.debt() {
            0 => self.shards.give_back(settlement, now, clock),
            debt => self.owe(settlement.charge(), debt),
        };
        self.finish(false, now);
        moved
    }

    /// Records units, whether there is room for them or not. Returns how many.
    fn owe(&self, charge: &Charge, units: u64) -> u64 {
        loop {
            // By the newest rules, since another history of the scope may have their shape already.
            let target = self.shards.scopes().newest_target(charge.scope()).unwrap_or(charge.target);
            // They may be replaced in between.
            if self.record(&[Charge { target, units, ..*charge }]).is_ok() {
                return units;
            }
        }
    }

    /// Forgets one history, and returns `true` if there was one, or if shared units may have been the key's.
    pub(crate) fn reset(&self, charge: &Charge) -> bool {
        self.shards.remove(charge, Timestamp::read(&*self.clock))
    }

    /// Charges a key that is known to have room. Returns whether a step of the sweep is due, or `None`, with nothing changed, if
    /// it is not known.
    #[inline(always)]
    fn charge_on_credit(&self, hash: u64, charge: &Charge, now: Timestamp) -> Option<bool> {
        let plan = self.shards.scopes().plan(charge)?;
        let mut table = self.shards.lock(Shards::shard_of(hash));
        let slot = table.find(hash, charge).filter(|slot| !slot.may_share_overflow())?;
        if !slot.history.charge_on_credit(plan, now) {
            return None;
        }
        self.shards.denials().invalidate_ended(hash, now);
        Some(table.count_decision())
    }

    /// Returns what [`admits`](Self::admits) does if the history has to be looked at.
    #[inline(never)]
    fn admits_after_a_look(&self, hash: u64, charge: &Charge, now: Timestamp) -> Option<bool> {
        let mut verdict = Verdict { now, ..Verdict::with_detail(Detail::None) };
        if self.decide_alone(hash, charge, &mut verdict).is_none() {
            self.decide_together(slice::from_ref(charge), &mut verdict);
        }
        (!verdict.is_stale).then_some(verdict.admitted)
    }

    /// Decides about a single charge in one of three short ways. Returns `None`, with nothing changed, if all are closed.
    #[inline]
    fn decide_one(&self, charge: &Charge, verdict: &mut Verdict) -> Option<()> {
        let hash = self.shards.hash(charge);
        self.decide_from_cache(hash, charge, verdict)
            .or_else(|| self.decide_alone(hash, charge, verdict))
            .or_else(|| self.decide_cost_alone(hash, charge, verdict))
    }

    /// Writes a cached denial. Returns `None` if there is none.
    #[inline]
    fn decide_from_cache(&self, hash: u64, charge: &Charge, verdict: &mut Verdict) -> Option<()> {
        let is_sweep_due = self.shards.denials().get(hash, charge, verdict)?;
        self.finish(is_sweep_due, verdict.now);
        Some(())
    }

    /// Decides about a single charge in one look-up under one lock: the common case. Returns `None`, with nothing changed,
    /// if a shared history may matter to the key.
    #[inline]
    fn decide_alone(&self, hash: u64, charge: &Charge, verdict: &mut Verdict) -> Option<()> {
        let clock = &*self.clock;
        let plan = self.shards.scopes().plan(charge).filter(|plan| !plan.has_costs())?;
        let mut table = self.shards.lock(Shards::shard_of(hash));
        let (denied_until, is_sweep_due) = match table.find(hash, charge) {
            Some(slot) if slot.may_share_overflow() => return None,
            Some(slot) => {
                let now = self.shards.sync(slot, plan, verdict.now, clock);
                self.shards.denials().invalidate_ended(hash, now);
                (slot.history.decide(plan, now, verdict), table.count_decision())
            }
            None => {
                self.shards.insert_slot(&mut table, hash, charge, plan, verdict, clock)?;
                (None, true)
            }
        };
        if verdict.admitted && plan.has_siblings() {
            self.shards.denials().invalidate_cached(hash);
        }
        // Still under the lock, before another decision may charge the history.
        if let Some(until) = denied_until.filter(|_| !plan.counts_denied()) {
            self.shards.denials().insert(hash, charge, verdict, until);
        }
        drop(table);
        self.finish(is_sweep_due, verdict.now);
        Some(())
    }

    /// Decides about a single charge with a cost, if the key has a history. Returns `None`, with nothing changed, if it has not,
    /// or if a shared history may matter to the key.
    #[inline(never)]
    fn decide_cost_alone(&self, hash: u64, charge: &Charge, verdict: &mut Verdict) -> Option<()> {
        let clock = &*self.clock;
        let plan = self.shards.scopes().plan(charge).filter(|plan| plan.has_costs())?;
        let mut table = self.shards.lock(Shards::shard_of(hash));
        let slot = table.find(hash, charge).filter(|slot| !slot.may_share_overflow())?;
        let now = self.shards.sync(slot, plan, verdict.now, clock);
        let receipt = Receipt::from_history(slot.history.decide_cost(plan, charge.units(), now, verdict));
        let is_sweep_due = table.count_decision();
        drop(table);
        self.shards.note_receipt(charge, 0, receipt, verdict);
        self.finish(is_sweep_due, verdict.now);
        Some(())
    }

    /// Decides about any number of charges, of known keys and new ones. Not inlined, to keep the common case short.
    #[inline(never)]
    fn decide_together(&self, charges: &[Charge], verdict: &mut Verdict) {
        let clock = &*self.clock;
        let is_sweep_due = self.shards.decide_few(charges, verdict).unwrap_or_else(|| {
            let Ok(transaction) = Transaction::begin(&self.shards, charges, verdict.now, clock) else {
                (verdict.admitted, verdict.is_stale) = (false, true);
                return false;
            };
            *verdict = transaction.decide();
            false
        });
        self.finish(is_sweep_due, verdict.now);
    }

    /// Takes a step of the sweep if one is due, and gives the warnings that were noted while something was locked.
    #[inline]
    fn finish(&self, is_sweep_due: bool, now: Timestamp) {
        if is_sweep_due {
            self.shards.sweep(now, &*self.clock);
        }
        if self.shards.notices().are_due() {
            self.warn();
        }
    }

    #[cold]
    fn warn(&self) {
        self.shards.notices().take().for_each(|warning| self.observer.warn(&warning, None));
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        let shards = Shards::new(Scopes::default(), 0);
        Self { shards, clock: Arc::new(SystemClock::new()), observer: Arc::default() }
    }
}

impl Store for MemoryStore {
    type Future = Pending<Result<Verdict, Unavailable>>;

    fn open(&mut self, setup: Setup) -> Result<(), ConfigError> {
        let shards = Shards::new(setup.scopes, setup.max_keys);
        *self = Self { shards, clock: setup.clock, observer: setup.observer };
        Ok(())
    }

    #[inline]
    fn decide(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        self.decide(charges, verdict);
        MaybeReady::Ready(())
    }

    fn peek(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        self.peek(charges, verdict);
        MaybeReady::Ready(())
    }

    fn reset(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        verdict.admitted = charges.iter().fold(false, |found, charge| self.reset(charge) | found);
        MaybeReady::Ready(())
    }

    fn cost_support(&self) -> CostSupport {
        CostSupport::Settlements
    }

    fn settle(&self, settlements: &[Settlement], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        verdict.admitted = true;
        for (at, settlement) in settlements.iter().enumerate() {
            verdict.set_moved(at, self.settle_one(settlement));
        }
        MaybeReady::Ready(())
    }

    fn figures(&self) -> Figures {
        let (keys, most) = (self.shards.len() as u64, self.shards.max_keys() as u64);
        Figures::default().with_keys(keys, most).with_overflow_decisions(self.shards.overflow_decisions())
    }

    fn since_1970(&self) -> Duration {
        self.clock.since_1970()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("keys", &self.len()).finish_non_exhaustive()
    }
}
