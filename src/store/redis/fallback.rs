//! Decides without the server, while that is unavailable.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    clock::Clock,
    error::{ConfigError, Unavailable},
    history::Plan,
    key::Charge,
    store::{
        MemoryStore, QuotaState, Scopes, Setup, Store, Verdict,
        redis::{counts::Counts, failure::Failure},
    },
};

/// When a request may come back that costs more than the share of this process.
const RETRY_AFTER: Duration = Duration::from_secs(1);

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
pub(super) struct Fallback {
    choice: Choice,
    counts: Arc<Counts>,
}

#[derive(Debug)]
enum Choice {
    Open,
    Closed,
    Local(Box<LocalFallback>),
}

/// A share of each limit, in this process.
#[derive(Debug)]
pub(super) struct LocalFallback {
    store: MemoryStore,
    share: f64,
    /// The scopes of the limiter, with the whole limits.
    whole: Scopes,
    /// A copy of them with the shares, which is continued when a charge has a plan that it lacks.
    shared: Scopes,
}

impl Fallback {
    pub(super) fn new(on_outage: OnOutage, setup: &Setup, counts: Arc<Counts>) -> Result<Self, ConfigError> {
        let choice = match on_outage {
            OnOutage::Open => Choice::Open,
            OnOutage::Closed => Choice::Closed,
            OnOutage::Local { share } if share > 0.0 && share <= 1.0 => {
                Choice::Local(Box::new(LocalFallback::open(share, setup)?))
            }
            OnOutage::Local { share } => {
                return Err(ConfigError::new("on_outage: share", share, "a share is more than 0 and at most 1"));
            }
        };
        Ok(Self { choice, counts })
    }

    /// Decides about a request that the server has not decided about.
    pub(super) fn decide(&self, charges: &[Charge], failure: Failure) -> Result<Verdict, Unavailable> {
        let number = failure.number();
        let decided = match &self.choice {
            Choice::Open => Ok(Verdict::new(true)),
            Choice::Closed => Err(failure.into_unavailable()),
            Choice::Local(local) => local.decide(charges).ok_or_else(|| failure.into_unavailable()),
        };
        self.counts.count_outage(number, decided.as_ref());
        decided
    }

    /// Records units that the server has admitted.
    pub(super) fn record_admitted(&self, charges: &[Charge]) {
        if let Choice::Local(local) = &self.choice {
            local.record(charges);
        }
    }

    /// Returns whether requests are decided in this process.
    pub(super) const fn is_local(&self) -> bool {
        matches!(self.choice, Choice::Local(_))
    }

    /// Resets the local history of a charge.
    pub(super) fn reset(&self, charge: &Charge) {
        if let Choice::Local(local) = &self.choice {
            local.reset(charge);
        }
    }
}

impl LocalFallback {
    fn open(share: f64, setup: &Setup) -> Result<Self, ConfigError> {
        let (mut store, whole, shared) = (MemoryStore::default(), setup.scopes.clone(), Scopes::default());
        let clock: Arc<dyn Clock> = Arc::clone(&setup.clock);
        let observer = Arc::clone(&setup.observer);
        store.open(Setup { scopes: shared.clone(), max_keys: setup.max_keys, clock, observer })?;
        Ok(Self { store, share, whole, shared })
    }

    /// Decides by the shares. The verdict is in terms of the whole limits: the shares of other processes count as used.
    ///
    /// Returns `None` if the rules were replaced since the charges were made, and their histories belong to the new ones.
    fn decide(&self, charges: &[Charge]) -> Option<Verdict> {
        self.learn_plans(charges);
        let mut verdict = Verdict::default();
        self.store.decide(charges, &mut verdict);
        let missing = charges.iter().flat_map(|charge| self.missing(charge));
        for (state, missing) in verdict.states.iter_mut().zip(missing) {
            state.used = state.used.saturating_add(missing);
        }
        self.expect_the_server(charges, &mut verdict);
        (!verdict.is_stale).then_some(verdict)
    }

    /// Leaves out the receipts, which mean nothing to the server. A cost that is only too high for the share is possible again
    /// when the server is.
    fn expect_the_server(&self, charges: &[Charge], verdict: &mut Verdict) {
        let full: Vec<usize> = (0..charges.len()).filter(|at| verdict.is_without_room(*at)).collect();
        verdict.notes = None;
        full.into_iter().for_each(|at| verdict.set_without_room(at));
        let limits = charges.iter().flat_map(|charge| {
            let windows = self.whole.plan(charge).into_iter().flat_map(Plan::windows);
            windows.map(|window| (charge.units, window.limit))
        });
        for (state, (units, limit)) in verdict.states.iter_mut().zip(limits) {
            if state.changes_at == QuotaState::NEVER && units <= limit {
                state.changes_at = verdict.now.saturating_add(RETRY_AFTER).nanos();
            }
        }
    }

    fn record(&self, charges: &[Charge]) {
        self.learn_plans(charges);
        // Rules that were reloaded meanwhile have taken over the history.
        let _ = self.store.record(charges);
    }

    fn reset(&self, charge: &Charge) {
        self.learn_plans(std::slice::from_ref(charge));
        self.store.reset(charge);
    }

    /// Continues the copy of the scopes if rules were reloaded.
    fn learn_plans(&self, charges: &[Charge]) {
        if charges.iter().any(|charge| self.shared.plan(charge).is_none()) {
            self.whole.copy_to(&self.shared, |limit| share_of(limit, self.share));
        }
    }

    /// Returns the difference between each limit of a charge and its share.
    fn missing(&self, charge: &Charge) -> impl Iterator<Item = u64> {
        let whole = self.whole.plan(charge).into_iter().flat_map(Plan::windows);
        let shared = self.shared.plan(charge).into_iter().flat_map(Plan::windows);
        whole.zip(shared).map(|(whole, shared)| whole.limit.saturating_sub(shared.limit))
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

fn share_of(limit: u64, share: f64) -> u64 {
    ((limit as f64 * share) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Registration;
    use crate::{
        clock::ManualClock,
        key::{ChargeTarget, KeyBuilder, KeyHasher},
        policy::Policy,
    };

    fn register(scopes: &Scopes, policies: &[Policy], version: u64) -> Vec<Charge> {
        let charge = |target: ChargeTarget| *KeyBuilder::for_target(target, &KeyHasher::with_secret([0; 32])).charge();
        let targets = scopes.register(&Registration::counting_requests("calls", policies)).unwrap();
        targets.iter().for_each(|target| scopes.want(*target, version));
        targets.into_iter().map(charge).collect()
    }

    fn open(on_outage: OnOutage, policies: &[Policy]) -> Result<(Fallback, ManualClock, Scopes), ConfigError> {
        let (clock, scopes) = (ManualClock::new(), Scopes::default());
        register(&scopes, policies, 1);
        let setup =
            Setup { scopes: scopes.clone(), max_keys: 10, clock: Arc::new(clock.clone()), observer: Arc::default() };
        Ok((Fallback::new(on_outage, &setup, Arc::default())?, clock, scopes))
    }

    fn fallback(on_outage: OnOutage) -> Result<(Fallback, ManualClock), ConfigError> {
        let (fallback, clock, _) = open(on_outage, &[Policy::per_minute(60).and_per_hour(1)])?;
        Ok((fallback, clock))
    }

    fn charge() -> Charge {
        let hasher = KeyHasher::with_secret([0; 32]);
        *KeyBuilder::new(&hasher).charge()
    }

    fn admitted(local: &Fallback, charge: Charge, most: u64) -> u64 {
        let decide = || local.decide(&[charge], Failure::other("")).unwrap();
        (0..most).filter(|_| decide().admitted).count() as u64
    }

    #[test]
    fn tiers_have_shares_of_their_own_limits_over_one_history() {
        let policies = [Policy::per_minute(60), Policy::per_minute(600), [].into_iter().collect()];
        let (local, _, scopes) = open(OnOutage::Local { share: 0.1 }, &policies).unwrap();
        let [free, pro, unlimited] = *register(&scopes, &policies, 1) else { panic!("not three") };
        assert_eq!(admitted(&local, free, 100), 6);
        let first = local.decide(&[pro], Failure::other("")).unwrap();
        assert_eq!((first.admitted, first.states[0].used), (true, 547), "540 of others, six as free, and this one");
        assert_eq!(admitted(&local, pro, 100), 53);
        assert_eq!(admitted(&local, unlimited, 100), 100);
        assert_eq!((admitted(&local, free, 1), admitted(&local, pro, 1)), (0, 0));
    }

    #[test]
    fn rules_that_are_reloaded_in_an_outage_keep_their_histories_and_have_new_shares() {
        let (local, _, scopes) = open(OnOutage::Local { share: 0.5 }, &[Policy::per_minute(20)]).unwrap();
        let [old] = *register(&scopes, &[Policy::per_minute(20)], 1) else { panic!("not one") };
        assert_eq!(admitted(&local, old, 100), 10);
        for (version, policy, room) in [
            (2, Policy::per_minute(30), 5),
            (3, Policy::per_minute(20_000).and_per_hour(24_000), 10_000 - 15),
            (4, Policy::per_minute(60).and_per_day(40_000), 0),
        ] {
            let [new] = *register(&scopes, &[policy], version) else { panic!("not one") };
            assert_eq!(admitted(&local, new, 20_000), room, "version {version}");
        }
        assert!(local.decide(&[old], Failure::other("gone")).is_err(), "the history belongs to newer rules");
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
        let (local, clock, _) = open(OnOutage::Local { share: 0.5 }, &[Policy::per_minute(4)]).unwrap();
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
