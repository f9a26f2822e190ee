//! Keys that are known to be exhausted for a while.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::{key::Charge, store::Verdict};

/// RecentDenials remembered at a time. One that is overwritten is asked for again: nothing is lost.
const PLACES: usize = 4096;

/// RecentDenials of the store, which answer the same question until somebody might be admitted.
pub(super) struct RecentDenials {
    places: Box<[Mutex<Option<RecentDenial>>]>,
    hasher: RandomState,
    longest: Duration,
    /// How long ago a denial was met first before it is believed.
    doubtful_for: Duration,
    /// How often something was reset here.
    resets: AtomicU64,
}

#[derive(Clone)]
struct RecentDenial {
    charges: SmallVec<[Charge; 2]>,
    verdict: Verdict,
    /// When it was received.
    received: Instant,
    /// When it has to be asked for again.
    ends: Instant,
}

/// When something was asked, and how often something had been reset by then.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskedAt {
    asked: Instant,
    resets: u64,
}

impl AskedAt {
    pub(super) const fn asked(self) -> Instant {
        self.asked
    }
}

impl RecentDenials {
    /// Remembers for at most `longest`: for so long another process may reset a key without being noticed here.
    ///
    /// Where units may be reserved that are given back soon, as on a cluster, a denial may be about to end. So it is
    /// remembered only if the same one was met before, at least `doubtful_for` ago.
    pub(super) fn new(longest: Duration, doubtful_for: Duration) -> Self {
        let places = if longest.is_zero() { 0 } else { PLACES };
        let places = std::iter::repeat_with(Mutex::default).take(places).collect();
        Self { places, hasher: RandomState::new(), longest, doubtful_for, resets: AtomicU64::new(0) }
    }

    /// What the store would answer now, if that is known.
    pub(super) fn get(&self, charges: &[Charge], now: Instant) -> Option<Verdict> {
        let place = self.place(charges)?.lock();
        let denial = place.as_ref().filter(|denial| denial.charges.as_slice() == charges)?;
        (now < denial.ends).then(|| denial.at(now))
    }

    /// A question that is about to be asked.
    pub(super) fn question(&self, now: Instant) -> AskedAt {
        AskedAt { asked: now, resets: self.resets.load(Ordering::Acquire) }
    }

    /// Whether nothing was reset since it was asked.
    pub(super) fn is_current(&self, question: AskedAt) -> bool {
        self.resets.load(Ordering::Acquire) == question.resets
    }

    /// Remembers a verdict if it is a denial, for as long as nothing changes and if nothing was reset since the question.
    pub(super) fn remember(&self, charges: &[Charge], verdict: &Verdict, question: AskedAt, now: Instant) {
        let Some(place) = self.place(charges).filter(|_| !verdict.admitted) else { return };
        let changes = verdict.states.iter().filter(|state| state.used > 0);
        let unchanged_for = changes.map(|state| verdict.now.until(state.changes_at)).min().unwrap_or_default();
        let mut place = place.lock();
        if !self.is_current(question) {
            return;
        }
        let before = place.as_ref().filter(|denial| denial.charges.as_slice() == charges);
        // One that is long gone says nothing about this one.
        let age = before.map(|denial| now.saturating_duration_since(denial.received));
        let age = age.filter(|age| *age <= self.doubtful_for + self.longest * 2);
        let is_certain = self.doubtful_for.is_zero() || age.is_some_and(|age| age >= self.doubtful_for);
        if !is_certain && age.is_some() {
            return;
        }
        // The server decided after the question was sent: never later than its own clock would say.
        let ends = if is_certain { question.asked + unchanged_for.min(self.longest) } else { now };
        *place = Some(RecentDenial { charges: charges.into(), verdict: verdict.clone(), received: now, ends });
    }

    /// Forgets everything, because some key was reset. What was asked before is not to be remembered afterwards.
    pub(super) fn clear(&self) {
        self.resets.fetch_add(1, Ordering::Release);
        self.places.iter().for_each(|place| *place.lock() = None);
    }

    fn place(&self, charges: &[Charge]) -> Option<&Mutex<Option<RecentDenial>>> {
        let hash = charges.iter().fold(0, |hash, charge| self.hasher.hash_one((hash, charge.scope, charge.key)));
        self.places.get(hash as usize % self.places.len().max(1))
    }
}

impl RecentDenial {
    /// The verdict as it would be given now: time goes on here as it does on the server.
    fn at(&self, now: Instant) -> Verdict {
        let elapsed = now.saturating_duration_since(self.received);
        Verdict { now: self.verdict.now.saturating_add(elapsed), ..self.verdict.clone() }
    }
}

impl std::fmt::Debug for RecentDenials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecentDenials").field("longest", &self.longest).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyBuilder, KeyHasher};

    fn charge(key: &str) -> Charge {
        let hasher = KeyHasher::with_secret([0; 32]);
        let mut builder = KeyBuilder::new(&hasher);
        builder.part(key);
        builder.charge_in(0)
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
        denials.remember(&[charge(key)], &denial(wait), denials.question(asked), now);
    }

    #[test]
    fn a_denial_is_known_for_a_while_and_its_wait_gets_shorter() {
        let (denials, start) = (RecentDenials::new(SECOND, Duration::ZERO), Instant::now());
        remember(&denials, "ann", MINUTE, start, start);
        let then = start + 600 * MILLI;
        let known = denials.get(&[charge("ann")], then).unwrap();
        assert!(!known.admitted);
        assert_eq!(wait_of(&known), Duration::from_millis(59_400));
        assert!(denials.get(&[charge("bob")], then).is_none());
        assert!(denials.get(&[charge("ann"), charge("bob")], then).is_none(), "another question");
        assert!(denials.get(&[charge("ann")], start + SECOND).is_none());
    }

    #[test]
    fn it_is_asked_again_before_there_can_be_room() {
        let (denials, asked) = (RecentDenials::new(MINUTE, Duration::ZERO), Instant::now());
        remember(&denials, "ann", 20 * MILLI, asked, asked + 3 * MILLI);
        assert!(denials.get(&[charge("ann")], asked + 19 * MILLI).is_some());
        assert!(
            denials.get(&[charge("ann")], asked + 20 * MILLI).is_none(),
            "20 ms after the question, 17 after the answer"
        );
    }

    #[test]
    fn admissions_are_not_remembered_and_a_reset_forgets() {
        let (denials, now) = (RecentDenials::new(MINUTE, Duration::ZERO), Instant::now());
        denials.remember(&[charge("ann")], &Verdict::new(true), denials.question(now), now);
        assert!(denials.get(&[charge("ann")], now).is_none());
        remember(&denials, "ann", MINUTE, now, now);
        let question = denials.question(now);
        denials.clear();
        assert!(denials.get(&[charge("ann")], now).is_none());
        denials.remember(&[charge("ann")], &denial(MINUTE), question, now);
        assert!(denials.get(&[charge("ann")], now).is_none(), "it was reset since it was asked about");
    }

    #[test]
    fn with_no_time_to_remember_nothing_is() {
        let (denials, now) = (RecentDenials::new(Duration::ZERO, Duration::ZERO), Instant::now());
        remember(&denials, "ann", MINUTE, now, now);
        assert!(denials.get(&[charge("ann")], now).is_none());
        denials.clear();
    }

    #[test]
    fn where_units_may_be_on_their_way_back_a_denial_is_believed_when_it_is_met_again() {
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
