//! Further units of a request that has reserved some already.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{
    error::Unavailable,
    limiter::{
        Decision, Reservation,
        reservation::{DecidedMore, Ledger, Parts},
    },
    store::{Detail, MaybeReady},
};

impl Reservation {
    /// Reserves further units for the same request, in the middle of a stream: a hard cap. They are part of the reservation
    /// then, and settled with it. If the response ends in the meantime they stay charged.
    ///
    /// # Errors
    ///
    /// If the store is not in this process, so that its answer has to be awaited: call
    /// [`reserve_more_async`](Self::reserve_more_async). Or if nothing in this unit is reserved any more.
    pub fn reserve_more(&self, unit: &str, units: u64) -> Result<Decision, Unavailable> {
        let mut more = More::default();
        for (ledger, charges) in self.further_charges(unit, units) {
            let MaybeReady::Ready(decided) = Arc::clone(&ledger.settler).decide_more(charges) else {
                return Err(Unavailable::new("the store is not in this process: call reserve_more_async"));
            };
            if !more.note(ledger, decided) {
                break;
            }
        }
        more.into_decision()
    }

    /// Reserves further units for the same request, as [`reserve_more`](Self::reserve_more) does, in any store.
    ///
    /// # Errors
    ///
    /// If the store cannot decide and does not fail open, or if nothing in this unit is reserved any more.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the units charged.
    pub async fn reserve_more_async(&self, unit: &str, units: u64) -> Result<Decision, Unavailable> {
        let mut more = More::default();
        for (ledger, charges) in self.further_charges(unit, units) {
            let decided = match Arc::clone(&ledger.settler).decide_more(charges) {
                MaybeReady::Ready(decided) => decided,
                MaybeReady::Pending(decided) => decided.await?,
            };
            if !more.note(ledger, decided) {
                break;
            }
        }
        more.into_decision()
    }
}

/// Further units, of one limiter after the other: all of them admit, or what was added goes back.
#[derive(Default)]
struct More<'a> {
    added: SmallVec<[(&'a Ledger, Parts); 1]>,
    last: Option<Decision>,
}

impl<'a> More<'a> {
    /// Notes the answer of a limiter. Returns `true` if it admits.
    fn note(&mut self, ledger: &'a Ledger, decided: DecidedMore) -> bool {
        let is_admitted = decided.verdict.is_admitted();
        if is_admitted {
            self.added.push((ledger, ledger.extend(&decided)));
        }
        let DecidedMore { held, verdict } = decided;
        let mut decision = Decision::pending(held.rulebook, held.charges.rules, Detail::Full);
        decision.keep_charges(&held.charges.charges, || Arc::clone(&ledger.settler));
        *decision.verdict_mut() = verdict;
        decision.report();
        self.last = Some(decision);
        is_admitted
    }

    /// Returns the decision of the last limiter that was asked. If that is an admission, all have admitted.
    fn into_decision(mut self) -> Result<Decision, Unavailable> {
        let nothing = || Unavailable::new("nothing in this unit is reserved, or it is settled already");
        let decision = self.last.take().ok_or_else(nothing)?;
        if decision.is_admitted() {
            self.added.clear();
        }
        Ok(decision)
    }
}

impl Drop for More<'_> {
    fn drop(&mut self) {
        self.added.iter().for_each(|(ledger, added)| ledger.retract(added));
    }
}
