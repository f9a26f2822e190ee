//! Decides without the server, while that is unavailable.

use std::{fmt, sync::Arc};

use crate::{
    clock::Clock,
    error::{ConfigError, Unavailable},
    key::Charge,
    policy::Policy,
    store::{MemoryStore, Scope, Scopes, Setup, Store, Verdict, redis::failure::Failure},
};

/// The fate of requests while the store is unavailable: fail open, fail closed, or decide locally.
///
/// It applies to a request whose decision fails or misses its [deadline](super::RedisStore::deadline), and to all requests
/// while the server's circuit breaker is open. There is no default, since each choice has its price.
///
/// ```
/// use tower_quota::store::{OnOutage, RedisStore};
///
/// // Four processes that are equally busy.
/// let on_outage = OnOutage::Local { share: 0.25 };
/// assert_eq!(on_outage.to_string(), "local, a share of 0.25");
/// let store = RedisStore::new("redis://127.0.0.1:6379", on_outage);
/// # let _ = store;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum OnOutage {
    /// Fail open: requests are admitted, and not counted.
    Open,
    /// Fail closed: requests are rejected, with 503 and the problem type `temporary-reduced-capacity`, on gRPC with
    /// `UNAVAILABLE`.
    Closed,
    /// Decide locally: requests are counted in this process, against a share of each limit.
    ///
    /// Each share is rounded down, but is at least 1. What this process admitted before the outage counts, too.
    Local {
        /// The share, more than 0 and at most 1: with four processes that are equally busy, 0.25.
        share: f64,
    },
}

/// The decider of an outage, made from [`OnOutage`].
#[derive(Debug)]
pub(super) enum Fallback {
    Open,
    Closed,
    Local(Box<LocalFallback>),
}

/// A share of each limit, in this process.
#[derive(Debug)]
pub(super) struct LocalFallback {
    store: MemoryStore,
    /// The difference between each limit and its share, by scope.
    missing: Vec<Vec<u64>>,
}

impl Fallback {
    pub(super) fn new(on_outage: OnOutage, setup: &Setup) -> Result<Self, ConfigError> {
        match on_outage {
            OnOutage::Open => Ok(Self::Open),
            OnOutage::Closed => Ok(Self::Closed),
            OnOutage::Local { share } if share > 0.0 && share <= 1.0 => {
                Ok(Self::Local(Box::new(LocalFallback::open(share, setup)?)))
            }
            OnOutage::Local { share } => {
                Err(ConfigError::new("on_outage: share", share, "a share is more than 0 and at most 1"))
            }
        }
    }

    /// Decides about a request that the server has not decided about.
    pub(super) fn decide(&self, charges: &[Charge], failure: Failure) -> Result<Verdict, Unavailable> {
        match self {
            Self::Open => Ok(Verdict::new(true)),
            Self::Closed => Err(failure.into_unavailable()),
            Self::Local(local) => Ok(local.decide(charges)),
        }
    }

    /// Records units that the server has admitted.
    pub(super) fn record_admitted(&self, charges: &[Charge]) {
        if let Self::Local(local) = self {
            local.store.record(charges);
        }
    }

    /// Returns whether requests are decided in this process.
    pub(super) const fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// Resets the local history of a charge.
    pub(super) fn reset(&self, charge: &Charge) {
        if let Self::Local(local) = self {
            local.store.reset(charge);
        }
    }
}

impl LocalFallback {
    fn open(share: f64, setup: &Setup) -> Result<Self, ConfigError> {
        let mut store = MemoryStore::default();
        let shared = |scope: &Scope| Scope::new(scope.name().to_owned(), &share_of(scope.policy(), share));
        let scopes = Scopes::new(setup.scopes.iter().map(shared));
        let missing = setup.scopes.iter().zip(scopes.iter()).map(|(whole, part)| difference(whole, part)).collect();
        let clock: Arc<dyn Clock> = Arc::clone(&setup.clock);
        store.open(Setup { scopes, max_keys: setup.max_keys, clock })?;
        Ok(Self { store, missing })
    }

    /// Decides by the shares. The verdict is in terms of the whole limits: the shares of other processes count as used.
    fn decide(&self, charges: &[Charge]) -> Verdict {
        let mut verdict = Verdict::default();
        self.store.decide(charges, &mut verdict);
        let missing = charges.iter().filter_map(|charge| self.missing.get(charge.scope as usize)).flatten();
        for (state, missing) in verdict.states.iter_mut().zip(missing) {
            state.used = state.used.saturating_add(*missing);
        }
        verdict
    }
}

impl fmt::Display for OnOutage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Closed => f.write_str("closed"),
            Self::Local { share } => write!(f, "local, a share of {share}"),
        }
    }
}

fn share_of(policy: &Policy, share: f64) -> Policy {
    policy.with_limits(|limit| ((limit as f64 * share) as u64).max(1))
}

fn difference(whole: &Scope, part: &Scope) -> Vec<u64> {
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
    fn open_admits_without_quotas_and_closed_says_why_it_does_not() {
        let (open, _) = fallback(OnOutage::Open).unwrap();
        let verdict = open.decide(&[charge()], Failure::other("gone")).unwrap();
        assert!(verdict.admitted && verdict.states.is_empty());
        let (closed, _) = fallback(OnOutage::Closed).unwrap();
        assert_eq!(closed.decide(&[charge()], Failure::other("gone")).unwrap_err().reason(), "gone");
    }

    #[test]
    fn a_share_is_at_least_one_and_the_rest_counts_as_used() {
        let (local, _) = fallback(OnOutage::Local { share: 0.25 }).unwrap();
        let first = local.decide(&[charge()], Failure::other("")).unwrap();
        assert!(first.admitted);
        assert_eq!([first.states[0].used, first.states[1].used], [46, 1]);
        let second = local.decide(&[charge()], Failure::other("")).unwrap();
        assert!(!second.admitted, "a quarter of one an hour is one");
    }

    #[test]
    fn units_admitted_before_the_outage_count_even_beyond_the_share() {
        let policy = Policy::per_minute(4);
        let scopes = Scopes::new([Scope::new("calls".to_owned(), &policy)]);
        let clock = ManualClock::new();
        let setup = Setup { scopes, max_keys: 10, clock: Arc::new(clock.clone()) };
        let local = Fallback::new(OnOutage::Local { share: 0.5 }, &setup).unwrap();
        for _ in 0..4 {
            local.record_admitted(&[charge()]);
            clock.advance(std::time::Duration::from_secs(10));
        }
        // Two of the four are enough, and the later two count for longer.
        clock.advance(std::time::Duration::from_secs(39));
        assert!(!local.decide(&[charge()], Failure::other("")).unwrap().admitted);
        clock.advance(std::time::Duration::from_secs(1));
        assert!(local.decide(&[charge()], Failure::other("")).unwrap().admitted);
    }

    #[test]
    fn a_share_out_of_range_is_an_error() {
        for share in [0.0, -1.0, 1.1, f64::NAN, f64::INFINITY] {
            let error = fallback(OnOutage::Local { share }).map(drop).unwrap_err();
            assert_eq!((error.field(), error.value()), ("on_outage: share", &*share.to_string()));
        }
    }
}
