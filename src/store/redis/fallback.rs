//! Deciding without the server.

use std::sync::Arc;

use crate::{
    clock::Clock,
    error::{ConfigError, Unavailable},
    key::Charge,
    policy::Policy,
    store::{
        MemoryStore, Scope, Scopes, Setup, Store, Verdict,
        redis::{OnOutage, failure::Failure},
    },
};

/// What happens to requests while the server is unavailable, ready for use.
#[derive(Debug)]
pub(super) enum Fallback {
    Open,
    Closed,
    LocalFallback(Box<LocalFallback>),
}

/// A share of each limit, in this process.
#[derive(Debug)]
pub(super) struct LocalFallback {
    store: MemoryStore,
    /// By how much the limits of each scope are lower here.
    less: Vec<Vec<u32>>,
}

impl Fallback {
    /// For the histories of a limiter.
    pub(super) fn new(on_outage: OnOutage, setup: &Setup) -> Result<Self, ConfigError> {
        match on_outage {
            OnOutage::Open => Ok(Self::Open),
            OnOutage::Closed => Ok(Self::Closed),
            OnOutage::Local { share } if share > 0.0 && share <= 1.0 => {
                Ok(Self::LocalFallback(Box::new(LocalFallback::open(share, setup)?)))
            }
            OnOutage::Local { share } => {
                Err(ConfigError::new("on_outage: share", share, "a share is more than 0 and at most 1"))
            }
        }
    }

    /// What becomes of a request.
    pub(super) fn decide(&self, charges: &[Charge], failure: Failure) -> Result<Verdict, Unavailable> {
        match self {
            Self::Open => Ok(Verdict::new(true)),
            Self::Closed => Err(failure.into_unavailable()),
            Self::LocalFallback(local) => Ok(local.decide(charges)),
        }
    }

    /// Takes note of what the store has admitted.
    pub(super) fn note_admitted(&self, charges: &[Charge]) {
        if let Self::LocalFallback(local) = self {
            local.store.record(charges);
        }
    }

    /// Whether this process decides.
    pub(super) const fn is_local(&self) -> bool {
        matches!(self, Self::LocalFallback(_))
    }

    /// Forgets what was noted of a history.
    pub(super) fn forget(&self, charge: &Charge) {
        if let Self::LocalFallback(local) = self {
            local.store.reset(charge);
        }
    }
}

impl LocalFallback {
    fn open(share: f64, setup: &Setup) -> Result<Self, ConfigError> {
        let mut store = MemoryStore::default();
        let shared = |scope: &Scope| Scope::new(scope.name().to_owned(), &share_of(scope.policy(), share));
        let scopes = Scopes::new(setup.scopes.iter().map(shared));
        let less = setup.scopes.iter().zip(scopes.iter()).map(|(whole, part)| difference(whole, part)).collect();
        let clock: Arc<dyn Clock> = Arc::clone(&setup.clock);
        store.open(Setup { scopes, max_keys: setup.max_keys, clock })?;
        Ok(Self { store, less })
    }

    /// The verdict speaks of the whole limits, as all others do: what others may have used counts as used.
    fn decide(&self, charges: &[Charge]) -> Verdict {
        let mut verdict = Verdict::default();
        self.store.decide(charges, &mut verdict);
        let less = charges.iter().filter_map(|charge| self.less.get(charge.scope as usize)).flatten();
        for (state, less) in verdict.states.iter_mut().zip(less) {
            state.used = state.used.saturating_add(*less);
        }
        verdict
    }
}

fn share_of(policy: &Policy, share: f64) -> Policy {
    policy.with_limits(|limit| ((f64::from(limit) * share) as u32).max(1))
}

fn difference(whole: &Scope, part: &Scope) -> Vec<u32> {
    whole.policy().quotas().zip(part.policy().quotas()).map(|(whole, part)| whole.limit() - part.limit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::ManualClock,
        key::{KeyBuilder, KeyHasher},
    };

    fn fallback(on_outage: OnOutage) -> Result<(Fallback, ManualClock), ConfigError> {
        let clock = ManualClock::new();
        let policy = Policy::per_minute(60).and_per_hour(1);
        let scopes = Scopes::new([Scope::new("calls".to_owned(), &policy)]);
        let setup = Setup { scopes, max_keys: 10, clock: Arc::new(clock.clone()) };
        Ok((Fallback::new(on_outage, &setup)?, clock))
    }

    fn charge() -> Charge {
        let hasher = KeyHasher::with_secret([0; 32]);
        KeyBuilder::new(&hasher).charge_in(0)
    }

    #[test]
    fn open_admits_without_a_word_and_closed_says_why_it_does_not() {
        let (open, _) = fallback(OnOutage::Open).unwrap();
        let verdict = open.decide(&[charge()], Failure::impossible("gone")).unwrap();
        assert!(verdict.admitted && verdict.states.is_empty());
        let (closed, _) = fallback(OnOutage::Closed).unwrap();
        assert_eq!(closed.decide(&[charge()], Failure::impossible("gone")).unwrap_err().reason(), "gone");
    }

    #[test]
    fn a_share_is_at_least_one_and_the_rest_counts_as_used() {
        let (local, _) = fallback(OnOutage::Local { share: 0.25 }).unwrap();
        let first = local.decide(&[charge()], Failure::impossible("")).unwrap();
        assert!(first.admitted);
        assert_eq!([first.states[0].used, first.states[1].used], [46, 1]);
        let second = local.decide(&[charge()], Failure::impossible("")).unwrap();
        assert!(!second.admitted, "a quarter of one an hour is one");
    }

    #[test]
    fn what_was_admitted_before_counts_even_beyond_the_share() {
        let policy = Policy::per_minute(4);
        let scopes = Scopes::new([Scope::new("calls".to_owned(), &policy)]);
        let clock = ManualClock::new();
        let setup = Setup { scopes, max_keys: 10, clock: Arc::new(clock.clone()) };
        let local = Fallback::new(OnOutage::Local { share: 0.5 }, &setup).unwrap();
        for _ in 0..4 {
            local.note_admitted(&[charge()]);
            clock.advance(std::time::Duration::from_secs(10));
        }
        // Two of the four are enough, and the later two count for longer.
        clock.advance(std::time::Duration::from_secs(39));
        assert!(!local.decide(&[charge()], Failure::impossible("")).unwrap().admitted);
        clock.advance(std::time::Duration::from_secs(1));
        assert!(local.decide(&[charge()], Failure::impossible("")).unwrap().admitted);
    }

    #[test]
    fn a_share_that_is_none_is_refused() {
        for share in [0.0, -1.0, 1.1, f64::NAN, f64::INFINITY] {
            let error = fallback(OnOutage::Local { share }).map(drop).unwrap_err();
            assert_eq!((error.field(), error.value()), ("on_outage: share", &*share.to_string()));
        }
    }
}
