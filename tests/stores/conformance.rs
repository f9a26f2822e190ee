//! The suite that every store passes: on the store in memory, and on a store of somebody else's, which keeps all guarantees
//! or all but one.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tower_quota::{
    ConfigError, Policy,
    clock::{Clock, ManualClock},
    conformance::{Guarantee, Suite},
    key::Key,
    store::{Charge, MaybeReady, MemoryStore, Scopes, Setup, Store, Unavailable, Verdict},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_memory_keeps_every_guarantee() {
    Suite::new(|_| MemoryStore::default()).schedules(150).run().await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_a_list_of_times_keeps_every_guarantee() {
    Suite::new(|clock| ListStore::new(clock, None)).run().await.unwrap();
}

#[tokio::test]
async fn the_guarantee_that_a_store_breaks_is_named() {
    for guarantee in [
        Guarantee::NeverMoreThanN,
        Guarantee::NeverDeniedWithRoom,
        Guarantee::AllOrNothing,
        Guarantee::TrueWait,
        Guarantee::FreeDenial,
        Guarantee::NothingForgotten,
        Guarantee::Contract,
    ] {
        let violation = Suite::new(|clock| ListStore::new(clock, Some(guarantee))).run().await.unwrap_err();
        assert_eq!(violation.guarantee(), guarantee, "{violation}");
    }
}

#[tokio::test]
async fn a_store_that_takes_tiers_or_reloads_for_other_histories_or_for_the_same_limits_is_found() {
    for mistake in [Mistake::HistoryPerPolicy, Mistake::FirstPolicy] {
        let fresh = |clock| ListStore { mistake: Some(mistake), ..ListStore::new(clock, None) };
        let violation = Suite::new(fresh).run().await.unwrap_err();
        assert!(violation.details().starts_with("a key that changes its tier: "), "{mistake:?}: {violation}");
    }
}

#[tokio::test]
async fn a_store_that_refuses_other_rules_is_found() {
    let fresh = |clock| ListStore { mistake: Some(Mistake::NoReload), ..ListStore::new(clock, None) };
    let violation = Suite::new(fresh).run().await.unwrap_err();
    assert_eq!(violation.guarantee(), Guarantee::Contract);
    assert!(violation.details().starts_with("limits that are reloaded: the rules were not replaced: "), "{violation}");
}

#[tokio::test]
async fn a_schedule_that_fails_can_be_seen_again() {
    let suite = || Suite::new(|clock| ListStore::new(clock, Some(Guarantee::TrueWait)));
    let (violation, again) = (suite().run().await.unwrap_err(), suite().run().await.unwrap_err());
    assert_eq!(violation.to_string(), again.to_string());
    assert!(violation.to_string().starts_with("P4, the wait is true: "), "{violation}");
}

/// A store that anybody might write: of each history a list of times, all behind one lock.
#[derive(Debug)]
struct ListStore {
    clock: ManualClock,
    setup: Option<Setup>,
    lists: Mutex<HashMap<(u32, Key), Vec<Duration>>>,
    /// The guarantee that it does not keep.
    flaw: Option<Guarantee>,
    /// The mistake that it makes with tiers and reloads.
    mistake: Option<Mistake>,
    /// The first policy that judged each scope.
    first: Mutex<HashMap<u32, u32>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    HistoryPerPolicy,
    FirstPolicy,
    NoReload,
}

impl ListStore {
    fn new(clock: ManualClock, flaw: Option<Guarantee>) -> Self {
        Self { clock, setup: None, lists: Mutex::default(), flaw, mistake: None, first: Mutex::default() }
    }

    fn policy(&self, charge: &Charge) -> &Policy {
        let first = *self.first.lock().entry(charge.scope()).or_insert(charge.plan());
        let number = if self.mistake == Some(Mistake::FirstPolicy) { first } else { charge.plan() };
        self.setup.as_ref().unwrap().scopes().policy(number).unwrap()
    }

    fn name(&self, charge: &Charge) -> (u32, Key) {
        let is_per_policy = self.mistake == Some(Mistake::HistoryPerPolicy);
        (if is_per_policy { charge.plan() } else { charge.scope() }, charge.key())
    }

    fn has(&self, flaw: Guarantee) -> bool {
        self.flaw == Some(flaw)
    }

    fn decide(&self, charges: &[Charge], charging: bool) -> Verdict {
        let (now, mut lists) = (self.clock.now(), self.lists.lock());
        if self.has(Guarantee::NothingForgotten) && lists.len() > 100 {
            lists.clear();
        }
        for charge in charges {
            // Who comes from a time to come was there now.
            let list = lists.entry(self.name(charge)).or_default();
            list.iter_mut().for_each(|at| *at = now.min(*at));
        }
        let has_room = |charge: &Charge| {
            let list = &lists[&self.name(charge)];
            self.policy(charge).quotas().all(|quota| {
                let spare = u64::from(self.has(Guarantee::NeverMoreThanN));
                let shy = u64::from(self.has(Guarantee::NeverDeniedWithRoom) && quota.limit() > 1);
                counted(list, quota.window(), now) < quota.limit() + spare - shy
            })
        };
        let admitted = charges.iter().all(has_room);
        let mut verdict = Verdict::new(admitted);
        for charge in charges {
            let policy = self.policy(charge);
            // Room beside: the others deny, and this one is charged all the same.
            let leaks = self.has(Guarantee::AllOrNothing) && charges.len() > 1 || self.has(Guarantee::FreeDenial);
            let list = lists.get_mut(&self.name(charge)).unwrap();
            if charging && (admitted || policy.counts_denied() || leaks) {
                list.push(now);
            }
            for quota in policy.quotas() {
                let used = counted(list, quota.window(), now).min(quota.limit());
                let is_exhausted = !admitted && used == quota.limit();
                let nth = if is_exhausted { quota.limit() } else { used };
                let oldest = list.len().checked_sub(nth as usize).and_then(|at| list.get(at));
                let wait = oldest.map_or(Duration::ZERO, |at| (*at + quota.window()).saturating_sub(now));
                verdict.push_quota(used, if self.has(Guarantee::TrueWait) { wait / 2 } else { wait });
            }
        }
        verdict
    }
}

fn counted(list: &[Duration], window: Duration, now: Duration) -> u64 {
    list.iter().filter(|at| **at + window > now).count() as u64
}

impl Store for ListStore {
    type Future = std::future::Pending<Result<Verdict, Unavailable>>;

    fn open(&mut self, setup: Setup) -> Result<(), ConfigError> {
        self.setup = Some(setup);
        Ok(())
    }

    fn decide(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        *verdict = self.decide(charges, true);
        MaybeReady::Ready(())
    }

    fn peek(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        *verdict = self.decide(charges, self.has(Guarantee::Contract));
        MaybeReady::Ready(())
    }

    fn reset(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        let mut lists = self.lists.lock();
        let removed = charges.iter().filter_map(|charge| lists.remove(&self.name(charge)));
        *verdict = Verdict::new(removed.fold(false, |found, list| found | !list.is_empty()));
        MaybeReady::Ready(())
    }

    fn accept(&self, _: &Scopes) -> Result<(), ConfigError> {
        let refused = ConfigError::new("rules", "", "this store has only those that it was opened with");
        if self.mistake == Some(Mistake::NoReload) { Err(refused) } else { Ok(()) }
    }
}
