//! A store of your own, in the fewest lines: each history is a list of timestamps, and one lock guards all lists.
//!
//! ```sh
//! cargo run --example store
//! ```
//!
//! It runs the crate's conformance suite against the store, and ends by itself.

use std::{collections::HashMap, future::Pending, time::Duration};

use parking_lot::Mutex;
use tower_quota::{
    ConfigError, Policy, Quota,
    clock::ManualClock,
    conformance::Suite,
    key::Key,
    store::{Charge, MaybeReady, Setup, Store, Unavailable, Verdict},
};

type Lists = HashMap<(u32, Key), Vec<Duration>>;

#[derive(Debug, Default)]
struct ListStore {
    setup: Option<Setup>,
    lists: Mutex<Lists>,
}

impl ListStore {
    /// Answers for all charges under one lock; only `peek` does not charge them.
    fn answer(&self, charges: &[Charge], is_peek: bool) -> Option<Verdict> {
        let setup = self.setup.as_ref()?;
        let now = setup.clock().now();
        let mut lists = self.lists.lock();
        let charges: Vec<(Charge, &Policy)> = charges
            .iter()
            .map(|charge| Some((*charge, setup.scopes().policy(charge.plan())?)))
            .collect::<Option<_>>()?;

        let mut admitted = true;
        for (charge, policy) in &charges {
            let list = lists.entry((charge.scope(), charge.key())).or_default();
            for at in list.iter_mut() {
                *at = now.min(*at); // The clock has stepped back: units from the future count as charged now.
            }
            admitted &= policy.quotas().all(|quota| used(list, quota, now) < quota.limit());
        }
        let mut verdict = Verdict::new(admitted);
        for (charge, policy) in &charges {
            let list = lists.entry((charge.scope(), charge.key())).or_default();
            if !is_peek && (admitted || policy.counts_denied()) {
                list.push(now);
            }
            for quota in policy.quotas() {
                let used = used(list, quota, now).min(quota.limit());
                verdict.push_quota(used, leaves_after(list, used, quota, now));
            }
        }
        Some(verdict)
    }
}

/// Returns the units that a quota counts.
fn used(list: &[Duration], quota: &Quota, now: Duration) -> u64 {
    list.iter().filter(|at| **at + quota.window() > now).count() as u64
}

/// Returns the time until the oldest of the newest `count` units leaves the window.
fn leaves_after(list: &[Duration], count: u64, quota: &Quota, now: Duration) -> Duration {
    let oldest = list.len().checked_sub(count as usize).and_then(|at| list.get(at));
    oldest.map_or(Duration::ZERO, |at| (*at + quota.window()).saturating_sub(now))
}

impl Store for ListStore {
    /// It answers immediately, so nobody waits for a future.
    type Future = Pending<Result<Verdict, Unavailable>>;

    fn open(&mut self, setup: Setup) -> Result<(), ConfigError> {
        self.setup = Some(setup);
        Ok(())
    }

    fn decide(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        *verdict = self.answer(charges, false).unwrap_or_default();
        MaybeReady::Ready(())
    }

    fn peek(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        *verdict = self.answer(charges, true).unwrap_or_default();
        MaybeReady::Ready(())
    }

    fn reset(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        let mut lists = self.lists.lock();
        let removed = charges.iter().filter_map(|charge| lists.remove(&(charge.scope(), charge.key())));
        *verdict = Verdict::new(removed.filter(|list| !list.is_empty()).count() > 0);
        MaybeReady::Ready(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    Suite::new(|_: ManualClock| ListStore::default()).run().await?;
    println!("the store keeps every guarantee");
    Ok(())
}
