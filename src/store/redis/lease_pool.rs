//! The leases of this process.

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
        Verdict,
        redis::{LeaseConfig, failure::Failure},
    },
};

/// Keys that may be leased at a time. The server decides about all others.
const MAX_KEYS: usize = 1024;

/// A refund may take units that were recorded up to this much after its timestamp: 10 ms, and what clocks need.
const REFUND_REACH: Duration = Duration::from_millis(12);

/// The leases of this process, by the charges that they are for. A charge has the number of its plan, so units that were leased
/// under earlier limits are not spent under others.
#[derive(Debug)]
pub(super) struct LeasePool {
    duration: Duration,
    max_units: u8,
    /// Time limit of a refill.
    refill_timeout: Duration,
    keys: Mutex<HashMap<Vec<Charge>, HotKey>>,
}

/// A key that has been asked about lately, or several that are charged together.
#[derive(Debug)]
struct HotKey {
    lease: Option<Arc<Lease>>,
    demand: DemandEstimate,
    refill: Option<Refill>,
}

/// A request to the server for more units that is under way.
#[derive(Debug)]
struct Refill {
    result: watch::Receiver<RefillResult>,
    /// The moment by which there has to be a result.
    ends: Instant,
}

/// An estimate of the requests of a key within the duration of a lease.
#[derive(Debug)]
struct DemandEstimate {
    since: Instant,
    /// Requests since then.
    requests: u32,
    /// Requests in the same time before that.
    before: u32,
}

/// Units that the server leased in one call.
#[derive(Debug)]
pub(super) struct Lease {
    left: AtomicU32,
    expires_at: Instant,
    /// The verdict on the units, and when it was received.
    verdict: Verdict,
    received: Instant,
}

/// The result of a refill.
#[derive(Clone, Debug)]
pub(super) enum RefillResult {
    Pending,
    Leased,
    Denied(Verdict),
    /// The slot is moving, so the charges have to be asked about one by one.
    Divided,
    Failed(Failure),
}

/// The next step of a request.
#[derive(Debug)]
pub(super) enum LeaseStep {
    /// Finished: a leased unit was spent.
    Spent(Verdict),
    /// Ask the server about this request alone.
    Direct,
    /// Ask the server for this many units, and send the result to the waiting requests.
    Refill(u8, watch::Sender<RefillResult>),
    /// Wait for the refill of another request.
    AwaitRefill(watch::Receiver<RefillResult>),
}

impl LeasePool {
    pub(super) fn new(lease: Option<&LeaseConfig>, refill_timeout: Duration) -> Self {
        Self {
            duration: lease.map(LeaseConfig::duration).unwrap_or_default(),
            max_units: lease.map_or(0, LeaseConfig::max_units),
            refill_timeout,
            keys: Mutex::default(),
        }
    }

    /// Returns the next step of a request whose keys may be leased, and counts the request.
    pub(super) fn next_step(&self, charges: &[Charge], now: Instant) -> LeaseStep {
        let mut keys = self.keys.lock();
        if keys.len() >= MAX_KEYS && !keys.contains_key(charges) {
            keys.retain(|_, hot| hot.is_in_use(now, self.duration));
            if keys.len() >= MAX_KEYS {
                return LeaseStep::Direct;
            }
        }
        let hot = keys.entry_ref(charges).or_insert_with(|| HotKey::new(now));
        let wanted = hot.demand.record(now, self.duration).min(u32::from(self.max_units)) as u8;
        hot.next_step(wanted, now, self.refill_timeout)
    }

    /// Inserts a lease of so many units, with the times when the server was asked and when it answered. It cannot be
    /// spent unless `is_current`.
    pub(super) fn insert(
        &self,
        charges: &[Charge],
        units: u32,
        verdict: Verdict,
        [asked, received]: [Instant; 2],
        is_current: impl Fn() -> bool,
    ) -> Arc<Lease> {
        // The server counts the units from a moment after it was asked.
        let expires_at = asked + self.duration;
        let lease = Arc::new(Lease { left: AtomicU32::new(units), expires_at, verdict, received });
        let mut keys = self.keys.lock();
        if !is_current() {
            lease.drain();
        } else if let Some(hot) = keys.get_mut(charges) {
            hot.lease = Some(Arc::clone(&lease));
        }
        drop(keys);
        lease
    }

    /// Records that the refill has ended.
    pub(super) fn finish_refill(&self, charges: &[Charge]) {
        if let Some(hot) = self.keys.lock().get_mut(charges) {
            hot.refill = None;
        }
    }

    /// Revokes all leases, because some key was reset. The units that are left go back to the server when the leases
    /// expire, so no other key loses them; the refund of the key that was reset finds nothing there.
    pub(super) fn revoke_all(&self) {
        let now = Instant::now();
        self.keys.lock().retain(|_, hot| {
            // A refund reaches a little beyond its timestamp, and must not take units from after the reset.
            if let Some(lease) = hot.lease.take().filter(|lease| now < lease.received + REFUND_REACH) {
                lease.drain();
            }
            hot.refill.is_some()
        });
    }

    /// Removes all leases, to be returned to the server.
    pub(super) fn drain(&self) -> Vec<(Vec<Charge>, Arc<Lease>)> {
        let mut keys = self.keys.lock();
        keys.iter_mut().filter_map(|(charges, hot)| Some((charges.clone(), hot.lease.take()?))).collect()
    }
}

impl HotKey {
    const fn new(now: Instant) -> Self {
        Self { lease: None, demand: DemandEstimate { since: now, requests: 0, before: 0 }, refill: None }
    }

    fn next_step(&mut self, wanted: u8, now: Instant, refill_timeout: Duration) -> LeaseStep {
        if let Some(verdict) = self.lease.as_ref().and_then(|lease| lease.spend(now)) {
            return LeaseStep::Spent(verdict);
        }
        if let Some(refill) = self.refill.as_ref().filter(|refill| refill.is_running(now)) {
            return LeaseStep::AwaitRefill(refill.result.clone());
        }
        if wanted < 2 {
            return LeaseStep::Direct;
        }
        let (sender, result) = watch::channel(RefillResult::Pending);
        self.refill = Some(Refill { result, ends: now + refill_timeout });
        LeaseStep::Refill(wanted, sender)
    }

    fn is_in_use(&self, now: Instant, duration: Duration) -> bool {
        let is_refilling = self.refill.as_ref().is_some_and(|refill| refill.is_running(now));
        is_refilling || now < self.demand.since + duration * 2
    }
}

impl Refill {
    /// Returns whether a result can be expected. The task may have ended with its runtime, or be in one that stands still.
    fn is_running(&self, now: Instant) -> bool {
        now < self.ends && self.result.has_changed().is_ok()
    }
}

impl DemandEstimate {
    /// Counts a request, and estimates how many there will be within the duration of a lease.
    fn record(&mut self, now: Instant, duration: Duration) -> u32 {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= duration {
            let before = if elapsed < duration * 2 { self.requests } else { 0 };
            *self = Self { since: now, requests: 0, before };
        }
        self.requests = self.requests.saturating_add(1);
        self.requests.max(self.before)
    }
}

impl Lease {
    /// Returns when the units may no longer be spent.
    pub(super) const fn expires_at(&self) -> Instant {
        self.expires_at
    }

    /// Returns when the units were admitted, by the clock of the server.
    pub(super) const fn admitted_at(&self) -> Timestamp {
        self.verdict.now
    }

    /// Takes all units that are left, so that they are no longer spent. Returns their number.
    pub(super) fn drain(&self) -> u32 {
        self.left.swap(0, Ordering::Relaxed)
    }

    /// Spends a unit on a request, if one is left.
    fn spend(&self, now: Instant) -> Option<Verdict> {
        if now >= self.expires_at {
            return None;
        }
        let one_less = |left: u32| left.checked_sub(1);
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).ok()? - 1;
        let elapsed = now.saturating_duration_since(self.received);
        let mut verdict = Verdict { now: self.verdict.now.saturating_add(elapsed), ..self.verdict.clone() };
        // Leased units that are not spent are not used yet.
        for state in &mut verdict.states {
            state.used = state.used.saturating_sub(left.into());
        }
        Some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{ChargeTarget, KeyBuilder, KeyHasher};

    const DURATION: Duration = Duration::from_millis(500);

    fn leases(max_units: u8) -> LeasePool {
        LeasePool::new(Some(&LeaseConfig::new(max_units, DURATION)), DURATION / 10)
    }

    fn charge(key: &str) -> [Charge; 1] {
        charge_under(0, key)
    }

    fn charge_under(plan: u32, key: &str) -> [Charge; 1] {
        let hasher = KeyHasher::with_secret([0; 32]);
        let mut builder = KeyBuilder::for_target(ChargeTarget { plan, ..ChargeTarget::default() }, &hasher);
        builder.part(key);
        [*builder.charge()]
    }

    fn admitted() -> Verdict {
        let mut verdict = Verdict::new(true);
        verdict.push_quota(10, Duration::from_secs(60));
        verdict
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_rarely_asked_about_gets_no_lease() {
        let leases = leases(8);
        for _ in 0..10 {
            assert!(matches!(leases.next_step(&charge("ann"), Instant::now()), LeaseStep::Direct));
            tokio::time::advance(DURATION * 2).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_refills_and_the_others_wait() {
        let leases = leases(8);
        let now = Instant::now();
        assert!(matches!(leases.next_step(&charge("ann"), now), LeaseStep::Direct));
        let LeaseStep::Refill(2, sender) = leases.next_step(&charge("ann"), now) else { panic!("not asked for two") };
        assert!(matches!(leases.next_step(&charge("ann"), now), LeaseStep::AwaitRefill(_)));
        assert!(matches!(leases.next_step(&charge("bob"), now), LeaseStep::Direct), "another key");
        drop(sender);
        assert!(matches!(leases.next_step(&charge("ann"), now), LeaseStep::Refill(4, _)), "the refill is gone");
        let LeaseStep::Refill(5, _sender) = leases.next_step(&charge("ann"), now) else { panic!("gone again") };
        assert!(matches!(leases.next_step(&charge("ann"), now + DURATION / 20), LeaseStep::AwaitRefill(_)));
        assert!(
            matches!(leases.next_step(&charge("ann"), now + DURATION / 10), LeaseStep::Refill(7, _)),
            "it took too long"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn units_are_spent_one_by_one_and_only_until_the_lease_expires() {
        let leases = leases(8);
        let asked = Instant::now();
        drop(leases.next_step(&charge("ann"), asked));
        leases.insert(&charge("ann"), 3, admitted(), [asked; 2], || true);
        tokio::time::advance(DURATION - Duration::from_millis(1)).await;
        for used in [8, 9] {
            let LeaseStep::Spent(verdict) = leases.next_step(&charge("ann"), Instant::now()) else {
                panic!("not leased")
            };
            assert_eq!(verdict.states[0].used, used);
        }
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!matches!(leases.next_step(&charge("ann"), Instant::now()), LeaseStep::Spent(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn units_leased_under_one_plan_are_not_spent_under_another() {
        let leases = leases(8);
        let now = Instant::now();
        drop(leases.next_step(&charge_under(0, "ann"), now));
        leases.insert(&charge_under(0, "ann"), 3, admitted(), [now; 2], || true);
        assert!(!matches!(leases.next_step(&charge_under(1, "ann"), now), LeaseStep::Spent(_)));
        assert!(matches!(leases.next_step(&charge_under(0, "ann"), now), LeaseStep::Spent(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn units_that_were_drained_or_revoked_are_not_spent() {
        let leases = leases(8);
        let now = Instant::now();
        drop(leases.next_step(&charge("ann"), now));
        let lease = leases.insert(&charge("ann"), 3, admitted(), [now; 2], || true);
        assert_eq!(lease.drain(), 3);
        assert!(!matches!(leases.next_step(&charge("ann"), now), LeaseStep::Spent(_)));
        let lease = leases.insert(&charge("ann"), 3, admitted(), [now; 2], || true);
        leases.revoke_all();
        assert_eq!(lease.drain(), 0, "a refund of it might find what came after the reset");
        drop(leases.next_step(&charge("ann"), now));
        let lease = leases.insert(&charge("ann"), 3, admitted(), [now; 2], || false);
        assert_eq!(lease.drain(), 0, "it was reset since it was asked for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_of_one_key_loses_no_units_of_the_others() {
        let leases = leases(8);
        drop(leases.next_step(&charge("ann"), Instant::now()));
        let lease = leases.insert(&charge("ann"), 3, admitted(), [Instant::now(); 2], || true);
        tokio::time::advance(REFUND_REACH).await;
        leases.revoke_all();
        assert!(!matches!(leases.next_step(&charge("ann"), Instant::now()), LeaseStep::Spent(_)));
        assert_eq!(lease.drain(), 3, "to be returned when the lease expires");
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_room_for_so_many_keys_and_idle_ones_make_room() {
        let leases = leases(8);
        for number in 0..MAX_KEYS {
            leases.next_step(&charge(&number.to_string()), Instant::now());
        }
        assert!(matches!(leases.next_step(&charge("new"), Instant::now()), LeaseStep::Direct));
        assert!(
            matches!(leases.next_step(&charge("new"), Instant::now()), LeaseStep::Direct),
            "there is no room to count it"
        );
        tokio::time::advance(DURATION * 2).await;
        leases.next_step(&charge("new"), Instant::now());
        assert!(matches!(leases.next_step(&charge("new"), Instant::now()), LeaseStep::Refill(2, _)));
        assert_eq!(leases.keys.lock().len(), 1);
    }
}
