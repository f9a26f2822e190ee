//! A store under test, and the model beside it.

use std::time::Duration;

use crate::{
    clock::{Clock, ManualClock},
    conformance::{
        Guarantee, Violation,
        model::{Model, Timestamps, is_comparable},
        violation::ensure,
    },
    error::CheckError,
    limiter::{Decision, RateLimiter, RateLimiterBuilder, RuleHandle},
    policy::Policy,
    request::Http,
    rule::Rule,
    store::Store,
};

const MAX_KEYS: usize = 1000;

/// The name of a history: the number of its rule, and its key.
pub(super) type HistoryName<'a> = (usize, &'a str);

/// Creates the stores under test, each with a clock of its own.
pub(super) struct Stores<F> {
    pub(super) fresh: F,
    /// The smallest step of the clock.
    pub(super) tick: Duration,
}

/// A limiter on the store under test, its clock, and the model that it is compared with.
#[derive(Debug)]
pub(super) struct Harness<S> {
    limiter: RateLimiter<Http, S>,
    clock: ManualClock,
    policies: Vec<Policy>,
    names: Vec<String>,
    model: Model,
}

impl<S: Store, F: FnMut(ManualClock) -> S> Stores<F> {
    /// Creates a harness with an empty store, under rules with these policies.
    pub(super) fn harness(&mut self, policies: impl Into<Vec<Policy>>) -> Result<Harness<S>, Violation> {
        self.small_harness(policies, MAX_KEYS)
    }

    /// Creates a harness whose store may keep at most this many histories in this process.
    pub(super) fn small_harness(
        &mut self,
        policies: impl Into<Vec<Policy>>,
        max_keys: usize,
    ) -> Result<Harness<S>, Violation> {
        let clock = ManualClock::new();
        Harness::new((self.fresh)(clock.clone()), clock, policies.into(), max_keys)
    }
}

impl<S: Store> Harness<S> {
    fn new(store: S, clock: ManualClock, policies: Vec<Policy>, max_keys: usize) -> Result<Self, Violation> {
        let names: Vec<String> = (0..policies.len()).map(|number| format!("rule-{number}")).collect();
        let builder = RateLimiter::builder().clock(clock.clone()).max_keys(max_keys).store(store);
        let rules = names
            .iter()
            .zip(&policies)
            .map(|(name, policy)| Rule::new(name.as_str()).no_requests().policy(policy.clone()));
        let limiter = rules.fold(builder, RateLimiterBuilder::rule).build();
        let limiter = limiter
            .map_err(|error| Violation::new(Guarantee::Contract, format!("the store was not opened: {error}")))?;
        Ok(Self { limiter, clock, policies, names, model: Model::default() })
    }

    pub(super) const fn limiter(&self) -> &RateLimiter<Http, S> {
        &self.limiter
    }

    pub(super) fn advance(&self, step: Duration) {
        self.clock.advance(step);
    }

    pub(super) const fn clock(&self) -> &ManualClock {
        &self.clock
    }

    pub(super) fn rule(&self, name: &str) -> Result<RuleHandle<Http, S>, Violation> {
        answered(self.limiter.rule(name))
    }

    /// Makes a decision, which has to agree with the model. Returns the wait of a denial.
    pub(super) async fn decide(&mut self, charges: &[HistoryName<'_>]) -> Result<Option<Duration>, Violation> {
        let now = self.clock.now();
        let before = self.timestamps(charges);
        let named = charges.iter().map(|(rule, key)| (self.names[*rule].as_str(), *key));
        let decision = answered(self.limiter.check_all_async(named).await)?;
        let admitted = decision.is_admitted();
        self.check(charges, &before, admitted, now)?;
        for (rule, key) in charges {
            if admitted || self.policies[*rule].counts_denied() {
                self.model.charge(*rule, key, now);
            }
        }
        let broken = match charges {
            _ if admitted => Guarantee::NeverDeniedWithRoom,
            [_] => Guarantee::FreeDenial,
            _ => Guarantee::AllOrNothing,
        };
        self.compare(charges, &decision, now, broken)?;
        if admitted {
            return Ok(None);
        }
        for charge in charges {
            self.check_peek(*charge, broken).await?;
        }
        ensure(decision.retry_after() > Some(Duration::ZERO), Guarantee::TrueWait, || {
            "a denial without a wait".to_owned()
        })?;
        Ok(decision.retry_after())
    }

    /// Makes a decision about one history. Returns `true` if it is admitted.
    pub(super) async fn admits(&mut self, charge: HistoryName<'_>) -> Result<bool, Violation> {
        Ok(self.decide(&[charge]).await?.is_none())
    }

    /// Peeks at a history. The verdict has to agree with the model.
    pub(super) async fn peek(&self, charge: HistoryName<'_>) -> Result<(), Violation> {
        self.check_peek(charge, Guarantee::Contract).await
    }

    /// Peeks at a history. If too little is left of a quota then `broken` is violated.
    async fn check_peek(&self, charge: HistoryName<'_>, broken: Guarantee) -> Result<(), Violation> {
        let now = self.clock.now();
        let decision = answered(self.rule(&self.names[charge.0])?.peek_async(charge.1).await)?;
        let timestamps = self.timestamps(&[charge]);
        let checked = self.check(&[charge], &timestamps, decision.is_admitted(), now);
        checked.map_err(|violation| match violation.guarantee() {
            Guarantee::NeverDeniedWithRoom => Violation::new(broken, violation.details()),
            _ => violation,
        })?;
        self.compare(&[charge], &decision, now, broken)
    }

    pub(super) async fn reset(&mut self, (rule, key): HistoryName<'_>) -> Result<(), Violation> {
        let found = answered(self.rule(&self.names[rule])?.reset_async(key).await)?;
        let (timestamps, now) = (self.model.timestamps(rule, key), self.clock.now());
        let is_live = self.policies[rule].quotas().any(|quota| timestamps.counted(quota.window(), now) > 0);
        ensure(found || !is_live, Guarantee::Contract, || {
            format!("a reset of rule {rule} and key {key:?} found no history")
        })?;
        ensure(!found || !timestamps.is_empty(), Guarantee::Contract, || {
            format!("a reset of rule {rule} and key {key:?} found a history that was never charged")
        })?;
        self.model.forget(rule, key);
        Ok(())
    }

    fn timestamps(&self, charges: &[HistoryName<'_>]) -> Vec<Timestamps> {
        charges.iter().map(|(rule, key)| self.model.timestamps(*rule, key)).collect()
    }

    /// Checks whether the request may be admitted or denied, after the units charged before.
    fn check(
        &self,
        charges: &[HistoryName<'_>],
        before: &[Timestamps],
        admitted: bool,
        now: Duration,
    ) -> Result<(), Violation> {
        let (mut is_full, mut may_be_full) = (false, false);
        for ((rule, _), timestamps) in charges.iter().zip(before) {
            let policy = &self.policies[*rule];
            for quota in policy.quotas() {
                let used = timestamps.used(policy, quota, now);
                is_full |= used.min >= quota.limit();
                may_be_full |= used.max >= quota.limit();
            }
        }
        let context = || format!("at {now:?}: {}", self.describe(charges));
        ensure(!admitted || !is_full, Guarantee::NeverMoreThanN, || format!("admitted although full, {}", context()))?;
        ensure(admitted || may_be_full, Guarantee::NeverDeniedWithRoom, || {
            format!("denied although there is room, {}", context())
        })
    }

    /// Checks the reported state of each quota. If too little is left of one then `broken` is violated.
    fn compare(
        &self,
        charges: &[HistoryName<'_>],
        decision: &Decision,
        now: Duration,
        broken: Guarantee,
    ) -> Result<(), Violation> {
        let reported: Vec<_> = decision.quotas().collect();
        let quotas = charges.iter().flat_map(|charge| {
            let (policy, timestamps) = (&self.policies[charge.0], self.model.timestamps(charge.0, charge.1));
            policy.quotas().map(move |quota| (charge, policy, timestamps.clone(), quota))
        });
        let quotas: Vec<_> = quotas.collect();
        ensure(reported.len() == quotas.len(), Guarantee::Contract, || {
            format!("{} quotas were reported instead of {}", reported.len(), quotas.len())
        })?;
        let both = || reported.iter().zip(&quotas).filter(|(_, (_, policy, _, quota))| is_comparable(policy, quota));
        let context = |charge: &HistoryName<'_>, quota| format!("of {quota} at {now:?}: {}", self.describe(&[*charge]));
        for (status, (charge, policy, timestamps, quota)) in both() {
            let (right, used) = (timestamps.used(policy, quota, now), quota.limit() - status.remaining());
            let details = || format!("{used} units reported as used instead of {right:?}, {}", context(charge, quota));
            ensure(used >= right.min, Guarantee::NeverMoreThanN, details)?;
            ensure(used <= right.max, broken, details)?;
        }
        for (status, (charge, policy, timestamps, quota)) in both() {
            let right = timestamps.changes_after(policy, quota, status.is_exhausted(), now);
            let (wait, is_idle) = (status.reset_after(), status.remaining() == quota.limit());
            ensure(right.contains(&wait) || (is_idle && wait.is_zero()), Guarantee::TrueWait, || {
                format!("a wait of {wait:?} reported instead of {right:?}, {}", context(charge, quota))
            })?;
        }
        Ok(())
    }

    fn describe(&self, charges: &[HistoryName<'_>]) -> String {
        let described = charges.iter().map(|(rule, key)| {
            format!("key {key:?} under {}, charged at {:?}", self.policies[*rule], self.model.timestamps(*rule, key))
        });
        described.collect::<Vec<_>>().join("; and ")
    }
}

/// Returns the answer of a store, which must not fail.
pub(super) fn answered<T, E: Into<CheckError>>(answer: Result<T, E>) -> Result<T, Violation> {
    answer.map_err(|error| Violation::new(Guarantee::Contract, format!("the store did not answer: {}", error.into())))
}
