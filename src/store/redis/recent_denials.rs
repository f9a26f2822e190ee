//! Denials of the server that are remembered for a while.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::{key::Charge, store::Verdict};

/// Denials that are remembered at a time. One that is overwritten is asked for again, so nothing is lost.
const CAPACITY: usize = 4096;

/// Histories are told apart by so many hashes where it matters which plans have admitted. If two share one, a denial is asked
/// for again sooner.
const TRACKED: usize = 4096;

/// A cache of denials: it answers requests without the server until one of them might be admitted.
///
/// A denial is about charges, and so about the plans that they name: it does not answer for another tier. An admission under
/// another plan of one of its histories voids it, since it says fewer units than there are, and so too short a wait.
pub(super) struct RecentDenials {
    /// By hash of the charges.
    entries: Box<[Mutex<Option<RecentDenial>>]>,
    hasher: RandomState,
    ttl: Duration,
    /// Time after which a denial is trusted if it is met again.
    confirm_after: Duration,
    /// The number of resets in this process.
    resets: AtomicU64,
    /// The number of admissions in this process to histories that several plans judge.
    admissions: AtomicU64,
    /// Which plans have admitted last, by hash of the history.
    admitted: Box<[Mutex<LastAdmissions>]>,
}

/// The last admission to some histories, and the last one under any other plan, each with its number; 0 if there was none.
#[derive(Clone, Copy, Debug, Default)]
struct LastAdmissions([(u32, u64); 2]);

#[derive(Clone)]
struct RecentDenial {
    charges: SmallVec<[Charge; 2]>,
    verdict: Verdict,
    received: Instant,
    /// The number of admissions by the time when the server was asked.
    admissions: u64,
    /// The moment after which the server has to be asked again.
    expires_at: Instant,
}

/// The moment at which the server was asked, and the numbers of resets and admissions by then.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskedAt {
    instant: Instant,
    resets: u64,
    admissions: u64,
}

impl AskedAt {
    pub(super) const fn instant(self) -> Instant {
        self.instant
    }
}

impl RecentDenials {
    /// Creates a cache that keeps a denial for at most `ttl`: a reset by another process goes unnoticed for as long.
    ///
    /// On a cluster a denial may be caused by a reservation that is about to be rolled back. So a denial is trusted only
    /// if it was met before, at least `confirm_after` ago.
    pub(super) fn new(ttl: Duration, confirm_after: Duration) -> Self {
        let capacity = if ttl.is_zero() { 0 } else { CAPACITY };
        let entries = std::iter::repeat_with(Mutex::default).take(capacity).collect();
        let tracked = if ttl.is_zero() { 0 } else { TRACKED };
        Self {
            entries,
            hasher: RandomState::new(),
            ttl,
            confirm_after,
            resets: AtomicU64::new(0),
            admissions: AtomicU64::new(0),
            admitted: std::iter::repeat_with(Mutex::default).take(tracked).collect(),
        }
    }

    /// Returns the denial that the server would answer with now, if it is known.
    pub(super) fn get(&self, charges: &[Charge], now: Instant) -> Option<Verdict> {
        let entry = self.entry(charges)?.lock();
        let denial = entry.as_ref().filter(|denial| denial.charges.as_slice() == charges)?;
        let holds = now < denial.expires_at && !self.is_voided(charges, denial.admissions);
        holds.then(|| denial.verdict_at(now))
    }

    /// Returns the point in time of a call that is about to be sent.
    pub(super) fn asked_at(&self, now: Instant) -> AskedAt {
        let admissions = self.admissions.load(Ordering::Acquire);
        AskedAt { instant: now, resets: self.resets.load(Ordering::Acquire), admissions }
    }

    /// Voids denials of the same history under other plans, because the server has admitted this charge. Needed where several
    /// plans judge the history.
    pub(super) fn record_admitted(&self, charge: &Charge) {
        if let Some(admitted) = self.last_admissions(charge) {
            let mut admitted = admitted.lock();
            let number = self.admissions.fetch_add(1, Ordering::AcqRel) + 1;
            admitted.record(charge.plan(), number);
        }
    }

    /// Returns whether a history was charged under another plan since the server was asked.
    fn is_voided(&self, charges: &[Charge], asked: u64) -> bool {
        let last = |charge: &Charge| self.last_admissions(charge).map(|last| last.lock().under_others(charge.plan()));
        charges.iter().filter_map(last).any(|number| number > asked)
    }

    /// Returns whether there was no reset since.
    pub(super) fn is_current(&self, asked: AskedAt) -> bool {
        self.resets.load(Ordering::Acquire) == asked.resets
    }

    /// Remembers a verdict if it is a denial, until it may change, unless there was a reset since the server was asked.
    pub(super) fn insert(&self, charges: &[Charge], verdict: &Verdict, asked: AskedAt, now: Instant) {
        let Some(entry) = self.entry(charges).filter(|_| !verdict.admitted) else { return };
        let changes = verdict.states.iter().filter(|state| state.used > 0);
        let unchanged_for = changes.map(|state| verdict.now.until(state.changes_at)).min().unwrap_or_default();
        let mut entry = entry.lock();
        if !self.is_current(asked) {
            return;
        }
        let before = entry.as_ref().filter(|denial| denial.charges.as_slice() == charges);
        // A denial of long ago does not confirm this one.
        let age = before.map(|denial| now.saturating_duration_since(denial.received));
        let age = age.filter(|age| *age <= self.confirm_after + self.ttl * 2);
        let is_certain = self.confirm_after.is_zero() || age.is_some_and(|age| age >= self.confirm_after);
        if !is_certain && age.is_some() {
            return;
        }
        // The server decided after it was asked, so this is never later than by its own clock.
        let expires_at = if is_certain { asked.instant + unchanged_for.min(self.ttl) } else { now };
        *entry = Some(RecentDenial {
            charges: charges.into(),
            verdict: verdict.clone(),
            received: now,
            admissions: asked.admissions,
            expires_at,
        });
    }

    /// Forgets everything, because some key was reset. Answers to earlier calls are not remembered either.
    pub(super) fn clear(&self) {
        self.resets.fetch_add(1, Ordering::Release);
        for entry in &self.entries {
            *entry.lock() = None;
        }
    }

    fn entry(&self, charges: &[Charge]) -> Option<&Mutex<Option<RecentDenial>>> {
        let hash = charges.iter().fold(0, |hash, charge| self.hasher.hash_one((hash, charge)));
        self.entries.get(hash as usize % self.entries.len().max(1))
    }

    fn last_admissions(&self, charge: &Charge) -> Option<&Mutex<LastAdmissions>> {
        let hash = self.hasher.hash_one((charge.scope(), charge.key));
        self.admitted.get(hash as usize % self.admitted.len().max(1))
    }
}

impl LastAdmissions {
    const fn record(&mut self, plan: u32, number: u64) {
        let [last, before] = self.0;
        self.0 = [(plan, number), if last.0 == plan { before } else { last }];
    }

    /// Returns the number of the last admission under any other plan.
    const fn under_others(&self, plan: u32) -> u64 {
        let [last, before] = self.0;
        if last.0 == plan { before.1 } else { last.1 }
    }
}

impl RecentDenial {
    /// Returns the verdict as the server would give it now: time passes here as it does there.
    fn verdict_at(&self, now: Instant) -> Verdict {
        let elapsed = now.saturating_duration_since(self.received);
        Verdict { now: self.verdict.now.saturating_add(elapsed), ..self.verdict.clone() }
    }
}

impl std::fmt::Debug for RecentDenials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecentDenials").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{ChargeTarget, KeyBuilder, KeyHasher};

    fn charge(key: &str) -> Charge {
        charge_under(0, key)
    }

    fn charge_under(plan: u32, key: &str) -> Charge {
        let hasher = KeyHasher::with_secret([0; 32]);
        let mut builder = KeyBuilder::for_target(ChargeTarget { plan, ..ChargeTarget::default() }, &hasher);
        builder.part(key);
        *builder.charge()
    }

    /// A denial whose quota has room after `wait`.
    fn denial(wait: Duration) -> Verdict {
        let mut verdict = Verdict::new(false);
        verdict.push_quota(60, wait);
        verdict
    }

    fn wait_of(verdict: &Verdict) -> Duration {
        verdict.now.until(verdict.states[0].changes_at)
    }

    const MINUTE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);
    const MILLI: Duration = Duration::from_millis(1);

    fn remember(denials: &RecentDenials, key: &str, wait: Duration, asked: Instant, now: Instant) {
        denials.insert(&[charge(key)], &denial(wait), denials.asked_at(asked), now);
    }

    #[test]
    fn a_denial_is_remembered_for_a_while_and_its_wait_gets_shorter() {
        let (denials, start) = (RecentDenials::new(SECOND, Duration::ZERO), Instant::now());
        remember(&denials, "ann", MINUTE, start, start);
        let then = start + 600 * MILLI;
        let known = denials.get(&[charge("ann")], then).unwrap();
        assert!(!known.admitted);
        assert_eq!(wait_of(&known), Duration::from_millis(59_400));
        assert!(denials.get(&[charge("bob")], then).is_none());
        assert!(denials.get(&[charge("ann"), charge("bob")], then).is_none(), "another request");
        assert!(denials.get(&[charge("ann")], start + SECOND).is_none());
    }

    #[test]
    fn the_server_is_asked_again_before_there_can_be_room() {
        let (denials, asked) = (RecentDenials::new(MINUTE, Duration::ZERO), Instant::now());
        remember(&denials, "ann", 20 * MILLI, asked, asked + 3 * MILLI);
        assert!(denials.get(&[charge("ann")], asked + 19 * MILLI).is_some());
        assert!(
            denials.get(&[charge("ann")], asked + 20 * MILLI).is_none(),
            "20 ms after the call, 17 after the answer"
        );
    }

    #[test]
    fn admissions_are_not_remembered_and_a_reset_forgets() {
        let (denials, now) = (RecentDenials::new(MINUTE, Duration::ZERO), Instant::now());
        denials.insert(&[charge("ann")], &Verdict::new(true), denials.asked_at(now), now);
        assert!(denials.get(&[charge("ann")], now).is_none());
        remember(&denials, "ann", MINUTE, now, now);
        let asked = denials.asked_at(now);
        denials.clear();
        assert!(denials.get(&[charge("ann")], now).is_none());
        denials.insert(&[charge("ann")], &denial(MINUTE), asked, now);
        assert!(denials.get(&[charge("ann")], now).is_none(), "it was reset since it was asked about");
    }

    #[test]
    fn a_denial_of_one_tier_does_not_answer_for_another_and_an_admission_of_another_voids_it() {
        let (denials, now) = (RecentDenials::new(MINUTE, Duration::ZERO), Instant::now());
        let (free, pro, other) = (charge_under(0, "ann"), charge_under(1, "ann"), charge("bob"));
        let deny = |charges: &[Charge], asked| denials.insert(charges, &denial(MINUTE), asked, now);
        deny(&[free], denials.asked_at(now));
        deny(&[other, free], denials.asked_at(now));
        assert!(denials.get(&[pro], now).is_none());
        denials.record_admitted(&free);
        assert!(denials.get(&[free], now).is_some() && denials.get(&[other, free], now).is_some());
        let asked = denials.asked_at(now);
        denials.record_admitted(&pro);
        assert!(denials.get(&[free], now).is_none() && denials.get(&[other, free], now).is_none());
        deny(&[free], asked);
        assert!(denials.get(&[free], now).is_none(), "the server was asked before that admission");
        deny(&[free], denials.asked_at(now));
        denials.record_admitted(&free);
        assert!(denials.get(&[free], now).is_some());
        denials.record_admitted(&pro);
        denials.record_admitted(&free);
        assert!(denials.get(&[free], now).is_none(), "it was the last but one");
    }

    #[test]
    fn with_a_ttl_of_zero_nothing_is_remembered() {
        let (denials, now) = (RecentDenials::new(Duration::ZERO, Duration::ZERO), Instant::now());
        remember(&denials, "ann", MINUTE, now, now);
        assert!(denials.get(&[charge("ann")], now).is_none());
        denials.clear();
    }

    #[test]
    fn where_reservations_may_be_rolled_back_a_denial_is_trusted_when_it_is_met_again() {
        let (denials, start) = (RecentDenials::new(SECOND, 50 * MILLI), Instant::now());
        let at = |millis: u32| start + millis * MILLI;
        for millis in [0, 20, 49] {
            remember(&denials, "ann", MINUTE, at(millis), at(millis));
            assert!(denials.get(&[charge("ann")], at(millis)).is_none(), "after {millis} ms");
        }
        remember(&denials, "ann", MINUTE, at(50), at(50));
        assert!(denials.get(&[charge("ann")], at(1049)).is_some());
        assert!(denials.get(&[charge("ann")], at(1050)).is_none());
        remember(&denials, "ann", MINUTE, at(1051), at(1051));
        assert!(denials.get(&[charge("ann")], at(1052)).is_some(), "it has been so all the time");
        remember(&denials, "ann", MINUTE, at(9000), at(9000));
        assert!(denials.get(&[charge("ann")], at(9000)).is_none(), "that was long ago");
    }
}
