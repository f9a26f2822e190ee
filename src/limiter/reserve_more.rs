//! Further units of a request that has reserved some already.

use std::sync::Arc;

use crate::{
    error::Unavailable,
    limiter::{
        Decision, Reservation,
        reservation::{DecidedMore, Ledger},
    },
    store::{Detail, MaybeReady},
};

impl Reservation {
    /// Reserves further units for the same request, in the middle of a stream: a hard cap. They are part of the reservation
    /// then, and settled with it.
    ///
    /// # Errors
    ///
    /// If the store is not in this process, so that its answer has to be awaited: call
    /// [`reserve_more_async`](Self::reserve_more_async). Or if nothing in this unit is reserved any more.
    pub fn reserve_more(&self, unit: &str, units: u64) -> Result<Decision, Unavailable> {
        let mut last = None;
        for (ledger, charges) in self.further_charges(unit, units) {
            let MaybeReady::Ready(decided) = Arc::clone(&ledger.settler).decide_more(charges) else {
                return Err(Unavailable::new("the store is not in this process: call reserve_more_async"));
            };
            let decision = last.insert(recorded(ledger, decided));
            if !decision.is_admitted() {
                break;
            }
        }
        last.ok_or_else(nothing_reserved)
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
        let mut last = None;
        for (ledger, charges) in self.further_charges(unit, units) {
            let decided = match Arc::clone(&ledger.settler).decide_more(charges) {
                MaybeReady::Ready(decided) => decided,
                MaybeReady::Pending(decided) => decided.await?,
            };
            let decision = last.insert(recorded(ledger, decided));
            if !decision.is_admitted() {
                break;
            }
        }
        last.ok_or_else(nothing_reserved)
    }
}

/// Returns the decision about further units, which are part of the reservation if they are admitted.
fn recorded(ledger: &Ledger, decided: DecidedMore) -> Decision {
    if decided.verdict.is_admitted() {
        ledger.extend(&decided);
    }
    let DecidedMore { held, verdict } = decided;
    let decision = Decision::pending(held.rulebook, held.charges.rules, Detail::Full);
    let mut decision = decision.with_costs(&held.charges.charges, || Arc::clone(&ledger.settler));
    *decision.verdict_mut() = verdict;
    decision
}

fn nothing_reserved() -> Unavailable {
    Unavailable::new("nothing in this unit is reserved, or it is settled already")
}
