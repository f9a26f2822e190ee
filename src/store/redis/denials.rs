//! Keys that are known to be exhausted for a while.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::store::{Charge, Verdict};

/// Denials remembered at a time. One that is overwritten is asked for again: nothing is lost.
const PLACES: usize = 4096;

/// Denials of the store, which answer the same question until somebody might be admitted.
pub(super) struct Denials {
    places: Box<[Mutex<Option<Denial>>]>,
    hasher: RandomState,
    longest: Duration,
}

#[derive(Clone)]
struct Denial {
    charges: SmallVec<[Charge; 2]>,
    verdict: Verdict,
    /// When it was received.
    received: Instant,
    /// When it has to be asked for again.
    ends: Instant,
}

impl Denials {
    /// Remembers for at most `longest`: for so long another process may reset a key without being noticed here.
    pub(super) fn new(longest: Duration) -> Self {
        let places = if longest.is_zero() { 0 } else { PLACES };
        let places = std::iter::repeat_with(Mutex::default).take(places).collect();
        Self { places, hasher: RandomState::new(), longest }
    }

    /// What the store would answer now, if that is known.
    pub(super) fn get(&self, charges: &[Charge]) -> Option<Verdict> {
        let place = self.place(charges)?.lock();
        let denial = place.as_ref().filter(|denial| denial.charges.as_slice() == charges)?;
        let now = Instant::now();
        (now < denial.ends).then(|| denial.at(now))
    }

    /// Remembers a verdict if it is a denial, for as long as nothing changes and if it `is_current`. The question was sent
    /// when `asked` says.
    pub(super) fn remember(
        &self,
        charges: &[Charge],
        verdict: &Verdict,
        asked: Instant,
        unchanged_for: Duration,
        is_current: impl Fn() -> bool,
    ) {
        let Some(place) = self.place(charges).filter(|_| !verdict.admitted) else { return };
        let denial = Denial {
            charges: charges.into(),
            verdict: verdict.clone(),
            received: Instant::now(),
            // The server decided after the question was sent: never later than its own clock would say.
            ends: asked + unchanged_for.min(self.longest),
        };
        let mut place = place.lock();
        if is_current() {
            *place = Some(denial);
        }
    }

    /// Forgets everything, because some key was reset.
    pub(super) fn clear(&self) {
        self.places.iter().for_each(|place| *place.lock() = None);
    }

    fn place(&self, charges: &[Charge]) -> Option<&Mutex<Option<Denial>>> {
        let hash = charges.iter().fold(0, |hash, charge| self.hasher.hash_one((hash, charge.scope, charge.key)));
        self.places.get(hash as usize % self.places.len().max(1))
    }
}

impl Denial {
    /// The verdict as it would be given now: time goes on here as it does on the server.
    fn at(&self, now: Instant) -> Verdict {
        let elapsed = now.saturating_duration_since(self.received);
        Verdict { now: self.verdict.now.later(elapsed), ..self.verdict.clone() }
    }
}

impl std::fmt::Debug for Denials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Denials").field("longest", &self.longest).finish_non_exhaustive()
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
        verdict.tell(60, wait);
        verdict
    }

    fn wait_of(verdict: &Verdict) -> Duration {
        verdict.now.until(verdict.states[0].changes_at)
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_denial_is_known_for_a_while_and_its_wait_gets_shorter() {
        let denials = Denials::new(Duration::from_secs(1));
        denials.remember(&[charge("ann")], &denial(MINUTE), Instant::now(), MINUTE, || true);
        tokio::time::advance(Duration::from_millis(600)).await;
        let known = denials.get(&[charge("ann")]).unwrap();
        assert!(!known.admitted);
        assert_eq!(wait_of(&known), Duration::from_millis(59_400));
        assert!(denials.get(&[charge("bob")]).is_none());
        assert!(denials.get(&[charge("ann"), charge("bob")]).is_none(), "another question");
        tokio::time::advance(Duration::from_millis(400)).await;
        assert!(denials.get(&[charge("ann")]).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_again_before_there_can_be_room() {
        let denials = Denials::new(MINUTE);
        let asked = Instant::now();
        tokio::time::advance(Duration::from_millis(3)).await;
        denials.remember(
            &[charge("ann")],
            &denial(Duration::from_millis(20)),
            asked,
            Duration::from_millis(20),
            || true,
        );
        tokio::time::advance(Duration::from_millis(16)).await;
        assert!(denials.get(&[charge("ann")]).is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(denials.get(&[charge("ann")]).is_none(), "20 ms after the question, 17 after the answer");
    }

    #[tokio::test(start_paused = true)]
    async fn admissions_are_not_remembered_and_a_reset_forgets() {
        let denials = Denials::new(MINUTE);
        denials.remember(&[charge("ann")], &Verdict::new(true), Instant::now(), MINUTE, || true);
        assert!(denials.get(&[charge("ann")]).is_none());
        denials.remember(&[charge("ann")], &denial(MINUTE), Instant::now(), MINUTE, || true);
        denials.clear();
        assert!(denials.get(&[charge("ann")]).is_none());
        denials.remember(&[charge("ann")], &denial(MINUTE), Instant::now(), MINUTE, || false);
        assert!(denials.get(&[charge("ann")]).is_none(), "it was reset since it was asked about");
    }

    #[tokio::test(start_paused = true)]
    async fn with_no_time_to_remember_nothing_is() {
        let denials = Denials::new(Duration::ZERO);
        denials.remember(&[charge("ann")], &denial(MINUTE), Instant::now(), MINUTE, || true);
        assert!(denials.get(&[charge("ann")]).is_none());
        denials.clear();
    }
}
