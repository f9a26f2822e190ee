//! The part of the suite that is for stores with costs: on the store in memory, and on one of somebody else's, which keeps all
//! guarantees or makes one mistake.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tower_quota::{
    ConfigError,
    clock::{Clock, ManualClock},
    conformance::{Guarantee, Suite, Violation},
    key::Key,
    store::{Charge, CostSupport, MaybeReady, MemoryStore, Receipt, Settlement, Setup, Store, Unavailable, Verdict},
};

#[tokio::test]
async fn a_list_of_costs_keeps_every_guarantee() {
    Suite::new(|clock| CostList::new(clock, None)).schedules(50).run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_memory_keeps_every_guarantee_of_costs() {
    Suite::new(|_| MemoryStore::default()).seed(10_000).schedules(100).run().await.unwrap();
}

#[tokio::test]
async fn a_store_without_settlements_is_tested_for_costs_alone() {
    let fresh = |clock| CostList { support: CostSupport::Costs, ..CostList::new(clock, Some(Mistake::NothingSettled)) };
    Suite::new(fresh).schedules(20).run().await.unwrap();
}

async fn violation(mistake: Mistake) -> Violation {
    Suite::new(|clock| CostList::new(clock, Some(mistake))).run().await.unwrap_err()
}

#[tokio::test]
async fn a_store_that_ignores_the_units_is_told_so() {
    let violation = violation(Mistake::UnitsIgnored).await;
    assert_eq!(violation.guarantee(), Guarantee::NeverMoreThanN);
    let details = violation.details();
    assert!(details.starts_with("requests that cost more than one unit: "), "{violation}");
    assert!(details.contains("1 units reported as used instead of"), "{violation}");
    assert!(details.contains("a request that costs 7, key \"ann\" under 10/minute"), "{violation}");
}

#[tokio::test]
async fn a_store_that_settles_otherwise_is_told_what_it_breaks() {
    for (mistake, scenario) in [
        (Mistake::AllGivenBack, "a cost that is settled down: "),
        (Mistake::NothingSettled, "a cost that is settled down: "),
        (Mistake::NewestGivenBack, "a settlement beside others of the same time: "),
        (Mistake::GivenBackOnlyToAllWindows, "a settlement after a window has passed: "),
        (Mistake::NoDebt, "a debt: "),
        (Mistake::DebtOfOldTime, "a debt: "),
        (Mistake::NoMoreDebtThanRoom, "a debt: "),
        (Mistake::GivenBackAfterReset, "a settlement after a reset: "),
        (Mistake::GivenBackAfterStepBack, "a settlement after the clock stepped back: "),
    ] {
        let violation = violation(mistake).await;
        assert_eq!(violation.guarantee(), Guarantee::ExactSettlement, "{mistake:?}: {violation}");
        assert!(violation.details().starts_with(scenario), "{mistake:?}: {violation}");
    }
}

#[tokio::test]
async fn a_wait_that_is_not_that_of_the_cost_is_found() {
    let violation = violation(Mistake::WaitForOneUnit).await;
    assert_eq!(violation.guarantee(), Guarantee::TrueWait, "{violation}");
}

#[tokio::test]
async fn a_wait_for_what_is_never_possible_is_found() {
    let violation = violation(Mistake::WaitForTheImpossible).await;
    assert_eq!(violation.guarantee(), Guarantee::Contract, "{violation}");
    assert!(violation.details().starts_with("a cost above a limit: "), "{violation}");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    UnitsIgnored,
    WaitForOneUnit,
    WaitForTheImpossible,
    NothingSettled,
    AllGivenBack,
    NewestGivenBack,
    GivenBackOnlyToAllWindows,
    NoDebt,
    DebtOfOldTime,
    NoMoreDebtThanRoom,
    GivenBackAfterReset,
    GivenBackAfterStepBack,
}

/// A store that anybody might write: of each history a list of costs, all behind one lock.
#[derive(Debug)]
struct CostList {
    clock: ManualClock,
    setup: Option<Setup>,
    histories: Mutex<Histories>,
    support: CostSupport,
    mistake: Option<Mistake>,
}

#[derive(Debug, Default)]
struct Histories {
    by_name: HashMap<(u32, Key), History>,
    numbers: u64,
}

#[derive(Debug, Default)]
struct History {
    number: u64,
    has_stepped_back: bool,
    /// When, how many units, and the number of the entry: the oldest first.
    recorded: Vec<(Duration, u64, u64)>,
}

impl Histories {
    const fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Returns the history as it is now: what comes from a time to come was recorded now.
    fn at(&mut self, charge: &Charge, now: Duration) -> &mut History {
        let (number, other) = (self.number(), self.number());
        let name = (charge.scope(), charge.key());
        let history = self.by_name.entry(name).or_insert_with(|| History { number, ..History::default() });
        if history.recorded.last().is_some_and(|(at, ..)| *at > now) {
            history.recorded.iter_mut().for_each(|(at, ..)| *at = now.min(*at));
            (history.number, history.has_stepped_back) = (other, true);
        }
        history
    }
}

impl History {
    /// Returns what the window holds, the oldest first. An entry without units was given back.
    fn counted(&self, window: Duration, now: Duration) -> &[(Duration, u64, u64)] {
        &self.recorded[self.recorded.partition_point(|(at, ..)| *at + window <= now)..]
    }

    fn used(&self, window: Duration, now: Duration) -> u64 {
        let mut sum = 0;
        for (_, units, _) in self.counted(window, now) {
            sum += units;
        }
        sum
    }

    /// Returns the time until so many units have left.
    fn leave_after(&self, window: Duration, now: Duration, units: u64) -> Duration {
        let mut sum = 0;
        let last = self.counted(window, now).iter().find(|(_, of_entry, _)| {
            sum += of_entry;
            *of_entry > 0 && sum >= units
        });
        last.map_or(Duration::ZERO, |(at, ..)| *at + window - now)
    }
}

impl CostList {
    fn new(clock: ManualClock, mistake: Option<Mistake>) -> Self {
        Self { clock, setup: None, histories: Mutex::default(), support: CostSupport::Settlements, mistake }
    }

    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    fn units(&self, charge: &Charge) -> u64 {
        if self.makes(Mistake::UnitsIgnored) { 1 } else { charge.units() }
    }

    fn decide(&self, charges: &[Charge], charging: bool) -> Verdict {
        let (now, mut histories) = (self.clock.now(), self.histories.lock());
        let scopes = self.setup.as_ref().unwrap().scopes();
        if self.makes(Mistake::GivenBackAfterStepBack) {
            let is_live = |(at, ..): &(Duration, u64, u64)| *at + Duration::from_secs(3600) > now;
            histories.by_name.values_mut().for_each(|history| history.recorded.retain(is_live));
        }
        let mut has_room = |charge: &Charge| {
            let history = histories.at(charge, now);
            let policy = scopes.policy(charge.plan()).unwrap();
            let fits = |limit: u64, used: u64| used.saturating_add(self.units(charge)) <= limit;
            policy.quotas().all(|quota| fits(quota.limit(), history.used(quota.window(), now)))
        };
        let admitted = charges.iter().fold(true, |admitted, charge| admitted & has_room(charge));
        let mut verdict = Verdict::new(admitted);
        for (index, charge) in charges.iter().enumerate() {
            let (policy, units, number) =
                (scopes.policy(charge.plan()).unwrap(), self.units(charge), histories.number());
            let history = histories.at(charge, now);
            if charging && units > 0 && (admitted || policy.counts_denied()) {
                history.recorded.push((now, units, number));
                verdict.set_receipt(index, Receipt::new(history.number, number));
            }
            for quota in policy.quotas() {
                let (used, wanted) = (history.used(quota.window(), now), if admitted { 0 } else { units });
                let beyond = used.saturating_add(wanted).saturating_sub(quota.limit());
                let beyond = if self.makes(Mistake::WaitForOneUnit) { 1 } else { beyond.max(1) };
                let is_impossible = units > quota.limit() && !self.makes(Mistake::WaitForTheImpossible);
                let wait = history.leave_after(quota.window(), now, beyond);
                verdict.push_quota(used, if is_impossible { Duration::MAX } else { wait });
            }
        }
        verdict
    }

    fn settle_one(&self, settlement: &Settlement) -> u64 {
        let (now, mut histories, charge) = (self.clock.now(), self.histories.lock(), settlement.charge());
        let number = histories.number();
        let history = histories.at(charge, now);
        let receipt = settlement.receipt();
        let entry = history.recorded.iter().position(|(.., number)| *number == receipt.recorded_at());
        if settlement.debt() > 0 {
            let quotas = self.setup.as_ref().unwrap().scopes().policy(charge.plan()).unwrap().quotas();
            let room = quotas.map(|quota| quota.limit().saturating_sub(history.used(quota.window(), now))).min();
            let (at, units) = match self.mistake {
                Some(Mistake::NoDebt | Mistake::NothingSettled) => return 0,
                Some(Mistake::NoMoreDebtThanRoom) => (now, settlement.debt().min(room.unwrap_or(0))),
                Some(Mistake::DebtOfOldTime) => (entry.map_or(now, |at| history.recorded[at].0), settlement.debt()),
                _ => (now, settlement.debt()),
            };
            let place = history.recorded.partition_point(|(recorded, ..)| *recorded <= at);
            history.recorded.insert(place, (at, units, number));
            return units;
        }
        let is_same = history.number == receipt.history();
        let entry = match self.mistake {
            Some(Mistake::NothingSettled) => None,
            Some(Mistake::NewestGivenBack) => history.recorded.len().checked_sub(1),
            Some(Mistake::GivenBackAfterReset) => entry.or(history.recorded.len().checked_sub(1)),
            // What was recorded before a step back has no number that is known: whatever is the newest is taken.
            Some(Mistake::GivenBackAfterStepBack) if history.has_stepped_back => history.recorded.len().checked_sub(1),
            Some(Mistake::GivenBackOnlyToAllWindows) => entry.filter(|at| {
                let policy = self.setup.as_ref().unwrap().scopes().policy(charge.plan()).unwrap();
                policy.quotas().all(|quota| history.recorded[*at].0 + quota.window() > now)
            }),
            _ => entry.filter(|_| is_same),
        };
        let Some(entry) = entry else { return 0 };
        let surplus = if self.makes(Mistake::AllGivenBack) { charge.units() } else { settlement.surplus() };
        let given = surplus.min(history.recorded[entry].1);
        history.recorded[entry].1 -= given;
        given
    }
}

impl Store for CostList {
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
        *verdict = self.decide(charges, false);
        MaybeReady::Ready(())
    }

    fn reset(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        let mut histories = self.histories.lock();
        let removed = charges.iter().filter_map(|charge| histories.by_name.remove(&(charge.scope(), charge.key())));
        *verdict = Verdict::new(removed.fold(false, |found, history| found | !history.recorded.is_empty()));
        MaybeReady::Ready(())
    }

    fn cost_support(&self) -> CostSupport {
        self.support
    }

    fn settle(&self, settlements: &[Settlement], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        *verdict = Verdict::new(true);
        for (index, settlement) in settlements.iter().enumerate() {
            verdict.set_moved(index, self.settle_one(settlement));
        }
        MaybeReady::Ready(())
    }
}
