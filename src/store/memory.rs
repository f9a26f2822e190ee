//! The store in this process.

use std::{fmt, future::Pending, sync::Arc, time::Duration};

use crate::{
    clock::{Clock, SystemClock, Timestamp},
    error::{ConfigError, Unavailable},
    key::Charge,
    store::{MaybeReady, Scopes, Setup, Store, Verdict, fast_path::FastPath, shards::Shards, transaction::Transaction},
};

/// Histories in memory, in shards that are locked in order.
///
/// A decision locks the shards of its charges, looks at all histories, and then charges all of them or none. This is what
/// a limiter has unless [another store](crate::RateLimiterBuilder::store) is chosen.
pub struct MemoryStore {
    shards: Shards,
    clock: Arc<dyn Clock>,
}

impl MemoryStore {
    /// Histories kept.
    pub(crate) fn len(&self) -> usize {
        self.shards.len()
    }

    /// Admits all charges or none of them. The answer is written in place.
    #[inline]
    pub(crate) fn decide(&self, charges: &[Charge], verdict: &mut Verdict) {
        verdict.now = Timestamp::read(&*self.clock);
        if let [charge] = charges
            && (self.recall(charge, verdict).is_some() || self.decide_alone(charge, verdict).is_some())
        {
            return;
        }
        self.decide_together(charges, verdict);
    }

    /// What [`decide`](Self::decide) would answer now; charges nothing.
    pub(crate) fn peek(&self, charges: &[Charge], verdict: &mut Verdict) {
        let clock = &*self.clock;
        *verdict = Transaction::begin(&self.shards, charges, Timestamp::read(clock), clock).peek();
    }

    /// Charges what was admitted elsewhere, whether there is room for it here or not.
    #[cfg(feature = "redis")]
    pub(crate) fn record(&self, charges: &[Charge]) {
        let clock = &*self.clock;
        Transaction::begin(&self.shards, charges, Timestamp::read(clock), clock).record();
    }

    /// Forgets one history; says whether there was one.
    pub(crate) fn reset(&self, charge: &Charge) -> bool {
        self.shards.remove(charge, Timestamp::read(&*self.clock))
    }

    /// A denial that is known without a look at the history.
    #[inline]
    fn recall(&self, charge: &Charge, verdict: &mut Verdict) -> Option<()> {
        let is_turn = self.shards.denials().recall(charge, verdict)?;
        if is_turn {
            self.shards.sweep(verdict.now, &*self.clock);
        }
        Some(())
    }

    /// The common case, in one look-up under one lock: a single charge, and no shared history that matters to it.
    #[inline]
    fn decide_alone(&self, charge: &Charge, verdict: &mut Verdict) -> Option<()> {
        let clock = &*self.clock;
        let plan = self.shards.scopes().plan(charge.scope)?;
        let hash = self.shards.hash(charge);
        let mut table = self.shards.lock(Shards::number_of(hash))?;
        let (denied_until, is_turn) = match table.find(hash, charge) {
            Some(slot) if slot.owes() => return None,
            Some(slot) => {
                let now = self.shards.agree(slot, plan, verdict.now, clock);
                self.shards.denials().pass(charge, now);
                (slot.history.decide(plan, now, verdict), table.count_decision())
            }
            None => {
                self.shards.move_in(&mut table, hash, charge, plan, verdict, clock)?;
                (None, true)
            }
        };
        // Before anybody else may charge the history.
        if let Some(until) = denied_until.filter(|_| !plan.counts_denied()) {
            self.shards.denials().note(charge, verdict, until);
        }
        drop(table);
        if is_turn {
            self.shards.sweep(verdict.now, clock);
        }
        Some(())
    }

    /// Any number of charges, of known keys or not. Apart from the common case so as not to burden it.
    #[inline(never)]
    fn decide_together(&self, charges: &[Charge], verdict: &mut Verdict) {
        let clock = &*self.clock;
        let known = FastPath::lock(&self.shards, charges, verdict.now).and_then(|known| known.decide(verdict));
        let is_turn = known.unwrap_or_else(|| {
            let (decided, is_turn) = Transaction::begin(&self.shards, charges, verdict.now, clock).decide();
            *verdict = decided;
            is_turn
        });
        if is_turn {
            self.shards.sweep(verdict.now, clock);
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { shards: Shards::new(Scopes::default(), 0), clock: Arc::new(SystemClock::new()) }
    }
}

impl Store for MemoryStore {
    type Future = Pending<Result<Verdict, Unavailable>>;

    fn open(&mut self, setup: Setup) -> Result<(), ConfigError> {
        *self = Self { shards: Shards::new(setup.scopes, setup.max_keys), clock: setup.clock };
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

    fn since_1970(&self) -> Duration {
        self.clock.since_1970()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("keys", &self.len()).finish_non_exhaustive()
    }
}
