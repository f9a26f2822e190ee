//! A limiter as reservations know it: it settles, and decides about further units.

use std::sync::Arc;

use crate::{
    key::Charge,
    limiter::{
        HeldCharges, RateLimiter, Settler,
        handle::State,
        reservation::{DecidedMore, DecidingMore},
        verdict_under,
    },
    request::RequestKind,
    store::{BoxFuture, MaybeReady, Settlement, Store, Verdict},
};

impl<K: RequestKind, S: Store> Settler for State<K, S> {
    fn settle(&self, settlements: &[Settlement]) -> MaybeReady<BoxFuture, Verdict> {
        let mut verdict = Verdict::new(true);
        match self.store.settle(settlements, &mut verdict).boxed() {
            MaybeReady::Ready(()) => MaybeReady::Ready(verdict),
            MaybeReady::Pending(settled) => MaybeReady::Pending(settled),
        }
    }

    fn decide_more(self: Arc<Self>, held: HeldCharges) -> MaybeReady<DecidingMore, DecidedMore> {
        let limiter = RateLimiter { state: self };
        let mut held = limiter.renewed(&held);
        loop {
            let mut verdict = Verdict::new(false);
            match limiter.state.store.decide(&held.charges.charges, &mut verdict) {
                MaybeReady::Ready(()) if verdict.is_stale => held = limiter.renewed(&held),
                MaybeReady::Ready(()) => return MaybeReady::Ready(DecidedMore { held, verdict }),
                MaybeReady::Pending(verdict) => {
                    let decided = async move {
                        let verdict = verdict_under(&held.charges.rules, verdict.await)?;
                        Ok(DecidedMore { held, verdict })
                    };
                    return MaybeReady::Pending(Box::pin(decided));
                }
            }
        }
    }

    fn hold(&self, charge: &Charge, at: u64) {
        self.held.hold(charge, at);
    }

    fn release(&self, charge: &Charge, at: u64) {
        self.held.release(charge, at);
    }

    fn held_since(&self, charge: &Charge, since: u64) -> u64 {
        self.held.since(charge, since)
    }
}
