//! What this process has been lent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use crate::{
    clock::Timestamp,
    key::Charge,
    store::{
        Scopes, Verdict,
        redis::{LeaseConfig, failure::Failure},
    },
};

/// Keys that may be lent units at a time. The others are decided by the server.
const PLACES: usize = 1024;

/// What was recorded so much later than the stamp of a refund may be taken for it: 10 ms, and what a clock needs.
const REFUND_REACH: Duration = Duration::from_millis(12);

/// The leases of this process, by what they are for.
#[derive(Debug)]
pub(super) struct LeasePool {
    life: Duration,
    most: u8,
    /// How long those who take more may take for it.
    patience: Duration,
    /// Of each scope.
    is_lent: Box<[bool]>,
    table: Mutex<HashMap<Vec<Charge>, HotKey>>,
}

/// A key that has been asked about lately, or several that are charged together.
#[derive(Debug)]
struct HotKey {
    lease: Option<Arc<Lease>>,
    demand: DemandEstimate,
    refill: Option<Refill>,
}

/// Somebody is asking the server for more.
#[derive(Debug)]
struct Refill {
    told: watch::Receiver<RefillResult>,
    /// Until when there has to be an answer.
    ends: Instant,
}

/// How often a key is asked about within the life of a lease.
#[derive(Debug)]
struct DemandEstimate {
    since: Instant,
    asked: u32,
    before: u32,
}

/// Units that were lent in one call.
#[derive(Debug)]
pub(super) struct Lease {
    left: AtomicU32,
    /// Until when they may be spent.
    ends: Instant,
    /// What the server said when it lent them, and when that was heard.
    verdict: Verdict,
    received: Instant,
}

/// How somebody who asked the server for more has fared.
#[derive(Clone, Debug)]
pub(super) enum RefillResult {
    NotYet,
    Lent,
    Denied(Verdict),
    /// The charges have to be asked about one by one.
    Apart,
    Failed(Failure),
}

/// What is to be done about a request.
#[derive(Debug)]
pub(super) enum Step {
    /// It has been lent a unit.
    Spent(Verdict),
    /// The server is to be asked about this one.
    Direct,
    /// The server is to be asked for so many units, and those who wait to be told.
    Refill(u8, watch::Sender<RefillResult>),
    /// Somebody is asking for more.
    AwaitRefill(watch::Receiver<RefillResult>),
}

impl LeasePool {
    pub(super) fn new(lease: Option<&LeaseConfig>, scopes: &Scopes, patience: Duration) -> Self {
        let is_lent = |lease: &LeaseConfig| scopes.iter().map(|scope| lease.covers(scope)).collect();
        Self {
            life: lease.map(LeaseConfig::life).unwrap_or_default(),
            most: lease.map_or(0, LeaseConfig::most),
            patience,
            is_lent: lease.map_or_else(Box::default, is_lent),
            table: Mutex::default(),
        }
    }

    /// What is to be done about a request.
    pub(super) fn next(&self, charges: &[Charge], now: Instant) -> Step {
        if !self.covers(charges) {
            return Step::Direct;
        }
        let mut table = self.table.lock();
        if table.len() >= PLACES && !table.contains_key(charges) {
            table.retain(|_, hot| hot.is_in_use(now, self.life));
            if table.len() >= PLACES {
                return Step::Direct;
            }
        }
        let hot = table.entry_ref(charges).or_insert_with(|| HotKey::new(now));
        let wanted = hot.demand.count(now, self.life).min(u32::from(self.most)) as u8;
        hot.next(wanted, now, self.patience)
    }

    /// Notes that so many units have been lent, if that `is_current`, with when the question was sent and the answer came.
    pub(super) fn lend(
        &self,
        charges: &[Charge],
        units: u32,
        verdict: Verdict,
        [asked, received]: [Instant; 2],
        is_current: impl Fn() -> bool,
    ) -> Arc<Lease> {
        // The server counts from a moment after the question was sent.
        let ends = asked + self.life;
        let loan = Arc::new(Lease { left: AtomicU32::new(units), ends, verdict, received });
        let mut table = self.table.lock();
        if !is_current() {
            loan.take_back();
        } else if let Some(hot) = table.get_mut(charges) {
            hot.lease = Some(Arc::clone(&loan));
        }
        drop(table);
        loan
    }

    /// Notes that nobody is asking for more.
    pub(super) fn taken(&self, charges: &[Charge]) {
        if let Some(hot) = self.table.lock().get_mut(charges) {
            hot.refill = None;
        }
    }

    /// Lets nothing be spent that was lent before, because some key was reset. What is left goes back to the server at the end
    /// of the lease, so that no other key loses it; of the key that was reset nothing is found there then.
    pub(super) fn clear(&self) {
        let now = Instant::now();
        self.table.lock().retain(|_, hot| {
            // A refund reaches a little beyond its stamp, and must not find what came after the reset.
            if let Some(loan) = hot.lease.take().filter(|loan| now < loan.received + REFUND_REACH) {
                loan.take_back();
            }
            hot.refill.is_some()
        });
    }

    /// All that is left, to be given back.
    pub(super) fn take_back(&self) -> Vec<(Vec<Charge>, Arc<Lease>)> {
        let mut table = self.table.lock();
        table.iter_mut().filter_map(|(charges, hot)| Some((charges.clone(), hot.lease.take()?))).collect()
    }

    fn covers(&self, charges: &[Charge]) -> bool {
        self.most > 0 && charges.iter().all(|charge| self.is_lent.get(charge.scope as usize) == Some(&true))
    }
}

impl HotKey {
    const fn new(now: Instant) -> Self {
        Self { lease: None, demand: DemandEstimate { since: now, asked: 0, before: 0 }, refill: None }
    }

    fn next(&mut self, wanted: u8, now: Instant, patience: Duration) -> Step {
        if let Some(verdict) = self.lease.as_ref().and_then(|loan| loan.spend(now)) {
            return Step::Spent(verdict);
        }
        if let Some(taking) = self.refill.as_ref().filter(|taking| taking.is_going_on(now)) {
            return Step::AwaitRefill(taking.told.clone());
        }
        if wanted < 2 {
            return Step::Direct;
        }
        let (tell, told) = watch::channel(RefillResult::NotYet);
        self.refill = Some(Refill { told, ends: now + patience });
        Step::Refill(wanted, tell)
    }

    fn is_in_use(&self, now: Instant, life: Duration) -> bool {
        let is_taking = self.refill.as_ref().is_some_and(|taking| taking.is_going_on(now));
        is_taking || now < self.demand.since + life * 2
    }
}

impl Refill {
    /// Whoever was asking may be gone with its runtime, or in one that stands still.
    fn is_going_on(&self, now: Instant) -> bool {
        now < self.ends && self.told.has_changed().is_ok()
    }
}

impl DemandEstimate {
    /// Counts one more, and says how many are likely to be asked for within the life of a lease.
    fn count(&mut self, now: Instant, life: Duration) -> u32 {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= life {
            let before = if elapsed < life * 2 { self.asked } else { 0 };
            *self = Self { since: now, asked: 0, before };
        }
        self.asked = self.asked.saturating_add(1);
        self.asked.max(self.before)
    }
}

impl Lease {
    pub(super) const fn ends(&self) -> Instant {
        self.ends
    }

    /// When it was lent, by the clock of the server.
    pub(super) const fn lent_at(&self) -> Timestamp {
        self.verdict.now
    }

    /// What is left of it, which is not to be spent any more.
    pub(super) fn take_back(&self) -> u32 {
        self.left.swap(0, Ordering::Relaxed)
    }

    /// The verdict on one more request, if there is a unit for it.
    fn spend(&self, now: Instant) -> Option<Verdict> {
        if now >= self.ends {
            return None;
        }
        let one_less = |left: u32| left.checked_sub(1);
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).ok()? - 1;
        let elapsed = now.saturating_duration_since(self.received);
        let mut verdict = Verdict { now: self.verdict.now.saturating_add(elapsed), ..self.verdict.clone() };
        // What is lent and not spent is not used yet.
        verdict.states.iter_mut().for_each(|state| state.used = state.used.saturating_sub(left));
        Some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        key::{KeyBuilder, KeyHasher},
        policy::Policy,
        store::Scope,
    };

    const LIFE: Duration = Duration::from_millis(500);

    fn leases(most: u8) -> LeasePool {
        let scopes = Scopes::new([Scope::new("calls".to_owned(), &Policy::per_minute(60))]);
        LeasePool::new(Some(&LeaseConfig::new(most, LIFE)), &scopes, LIFE / 10)
    }

    fn charge(key: &str) -> [Charge; 1] {
        let hasher = KeyHasher::with_secret([0; 32]);
        let mut builder = KeyBuilder::new(&hasher);
        builder.part(key);
        [builder.charge_in(0)]
    }

    fn lent() -> Verdict {
        let mut verdict = Verdict::new(true);
        verdict.push_quota(10, Duration::from_secs(60));
        verdict
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_asked_about_once_in_a_while_is_not_lent_anything() {
        let leases = leases(8);
        for _ in 0..10 {
            assert!(matches!(leases.next(&charge("ann"), Instant::now()), Step::Direct));
            tokio::time::advance(LIFE * 2).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_asks_for_what_is_wanted_and_the_others_wait() {
        let leases = leases(8);
        let now = Instant::now();
        assert!(matches!(leases.next(&charge("ann"), now), Step::Direct));
        let Step::Refill(2, tell) = leases.next(&charge("ann"), now) else { panic!("not asked for two") };
        assert!(matches!(leases.next(&charge("ann"), now), Step::AwaitRefill(_)));
        assert!(matches!(leases.next(&charge("bob"), now), Step::Direct), "somebody else");
        drop(tell);
        assert!(matches!(leases.next(&charge("ann"), now), Step::Refill(4, _)), "who asked is gone");
        let Step::Refill(5, _tell) = leases.next(&charge("ann"), now) else { panic!("gone again") };
        assert!(matches!(leases.next(&charge("ann"), now + LIFE / 20), Step::AwaitRefill(_)));
        assert!(matches!(leases.next(&charge("ann"), now + LIFE / 10), Step::Refill(7, _)), "it took too long");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lent_is_spent_one_by_one_and_only_while_it_lives() {
        let leases = leases(8);
        let asked = Instant::now();
        drop(leases.next(&charge("ann"), asked));
        leases.lend(&charge("ann"), 3, lent(), [asked; 2], || true);
        tokio::time::advance(LIFE - Duration::from_millis(1)).await;
        for used in [8, 9] {
            let Step::Spent(verdict) = leases.next(&charge("ann"), Instant::now()) else { panic!("not lent") };
            assert_eq!(verdict.states[0].used, used);
        }
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!matches!(leases.next(&charge("ann"), Instant::now()), Step::Spent(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_taken_back_or_forgotten_is_not_spent() {
        let leases = leases(8);
        let now = Instant::now();
        drop(leases.next(&charge("ann"), now));
        let loan = leases.lend(&charge("ann"), 3, lent(), [now; 2], || true);
        assert_eq!(loan.take_back(), 3);
        assert!(!matches!(leases.next(&charge("ann"), now), Step::Spent(_)));
        let loan = leases.lend(&charge("ann"), 3, lent(), [now; 2], || true);
        leases.clear();
        assert_eq!(loan.take_back(), 0, "a refund of it might find what came after the reset");
        drop(leases.next(&charge("ann"), now));
        let loan = leases.lend(&charge("ann"), 3, lent(), [now; 2], || false);
        assert_eq!(loan.take_back(), 0, "it was reset since it was asked for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_of_any_key_loses_nothing_that_was_lent_to_others() {
        let leases = leases(8);
        drop(leases.next(&charge("ann"), Instant::now()));
        let loan = leases.lend(&charge("ann"), 3, lent(), [Instant::now(); 2], || true);
        tokio::time::advance(REFUND_REACH).await;
        leases.clear();
        assert!(!matches!(leases.next(&charge("ann"), Instant::now()), Step::Spent(_)));
        assert_eq!(loan.take_back(), 3, "to be given back at the end of the lease");
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_places_for_so_many_keys_and_those_out_of_use_make_room() {
        let leases = leases(8);
        for number in 0..PLACES {
            leases.next(&charge(&number.to_string()), Instant::now());
        }
        assert!(matches!(leases.next(&charge("new"), Instant::now()), Step::Direct));
        assert!(matches!(leases.next(&charge("new"), Instant::now()), Step::Direct), "there is no place to count it");
        tokio::time::advance(LIFE * 2).await;
        leases.next(&charge("new"), Instant::now());
        assert!(matches!(leases.next(&charge("new"), Instant::now()), Step::Refill(2, _)));
        assert_eq!(leases.table.lock().len(), 1);
    }
}
