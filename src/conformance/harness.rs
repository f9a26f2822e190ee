//! A store under test, and the model beside it.

use std::time::Duration;

use crate::{
    clock::{Clock, ManualClock},
    conformance::{
        Guarantee, Violation,
        model::{Log, Model, is_told},
        violation::ensure,
    },
    error::CheckError,
    limiter::{Decision, RateLimiter, RateLimiterBuilder, RuleHandle},
    policy::Policy,
    request::Http,
    rule::Rule,
    store::Store,
};

/// One history: the number of its rule, and its key.
pub(super) type Charge<'a> = (usize, &'a str);

/// A limiter on the store under test, its clock, and the model of what it should remember.
#[derive(Debug)]
pub(super) struct Harness<S> {
    limiter: RateLimiter<Http, S>,
    clock: ManualClock,
    policies: Vec<Policy>,
    names: Vec<String>,
    model: Model,
}

impl<S: Store> Harness<S> {
    pub(super) fn new(store: S, clock: ManualClock, policies: Vec<Policy>, max_keys: usize) -> Result<Self, Violation> {
        let names: Vec<String> = (0..policies.len()).map(|number| format!("rule-{number}")).collect();
        let builder = RateLimiter::builder().clock(clock.clone()).max_keys(max_keys).store(store);
        let rules = names
            .iter()
            .zip(&policies)
            .map(|(name, policy)| Rule::new(name.as_str()).no_requests().policy(policy.clone()));
        let limiter = rules.fold(builder, RateLimiterBuilder::rule).build();
        let limiter = limiter.map_err(|error| Violation::new(Guarantee::Contract, format!("not opened: {error}")))?;
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

    /// Asks for a decision, which has to agree with the model. Returns the wait of a denial.
    pub(super) async fn ask(&mut self, charges: &[Charge<'_>]) -> Result<Option<Duration>, Violation> {
        let now = self.clock.now();
        let before = self.logs(charges);
        let named = charges.iter().map(|(rule, key)| (self.names[*rule].as_str(), *key));
        let decision = answered(self.limiter.check_all_async(named).await)?;
        let admitted = decision.is_admitted();
        self.check(charges, &before, admitted, now)?;
        for (rule, key) in charges {
            if admitted || self.policies[*rule].counts_denied() {
                self.model.charge(*rule, key, now);
            }
        }
        let blamed = match charges {
            _ if admitted => Guarantee::NeverDeniedWithRoom,
            [_] => Guarantee::FreeDenial,
            _ => Guarantee::AllOrNothing,
        };
        self.compare(charges, &decision, now, blamed)?;
        if admitted {
            return Ok(None);
        }
        for charge in charges {
            self.peek_and_blame(*charge, blamed).await?;
        }
        ensure(decision.retry_after() > Some(Duration::ZERO), Guarantee::TrueWait, || {
            "a denial without a wait".to_owned()
        })?;
        Ok(decision.retry_after())
    }

    /// Asks about one history, as [`ask`](Self::ask) does. Returns `true` if it was admitted.
    pub(super) async fn admits(&mut self, charge: Charge<'_>) -> Result<bool, Violation> {
        Ok(self.ask(&[charge]).await?.is_none())
    }

    /// Peeks at a history: the answer has to agree with the model.
    pub(super) async fn peek(&self, charge: Charge<'_>) -> Result<(), Violation> {
        self.peek_and_blame(charge, Guarantee::Contract).await
    }

    async fn peek_and_blame(&self, charge: Charge<'_>, blamed: Guarantee) -> Result<(), Violation> {
        let now = self.clock.now();
        let decision = answered(self.rule(&self.names[charge.0])?.peek_async(charge.1).await)?;
        let logs = self.logs(&[charge]);
        let checked = self.check(&[charge], &logs, decision.is_admitted(), now);
        checked.map_err(|violation| match violation.guarantee() {
            Guarantee::NeverDeniedWithRoom => Violation::new(blamed, violation.details()),
            _ => violation,
        })?;
        self.compare(&[charge], &decision, now, blamed)
    }

    pub(super) async fn reset(&mut self, (rule, key): Charge<'_>) -> Result<(), Violation> {
        let found = answered(self.rule(&self.names[rule])?.reset_async(key).await)?;
        let (log, now) = (self.model.log(rule, key), self.clock.now());
        let is_live = self.policies[rule].quotas().any(|quota| log.counted(quota.window(), now) > 0);
        ensure(found || !is_live, Guarantee::Contract, || format!("a reset of rule {rule}, {key:?} found nothing"))?;
        ensure(!found || !log.is_empty(), Guarantee::Contract, || {
            format!("a reset of rule {rule}, {key:?} found what was never charged")
        })?;
        self.model.forget(rule, key);
        Ok(())
    }

    fn logs(&self, charges: &[Charge<'_>]) -> Vec<Log> {
        charges.iter().map(|(rule, key)| self.model.log(*rule, key)).collect()
    }

    /// Checks the verdict, given what was charged before.
    fn check(&self, charges: &[Charge<'_>], logs: &[Log], admitted: bool, now: Duration) -> Result<(), Violation> {
        let (mut is_full, mut may_be_full) = (false, false);
        for ((rule, _), log) in charges.iter().zip(logs) {
            let policy = &self.policies[*rule];
            for quota in policy.quotas() {
                let used = log.used(policy, quota, now);
                is_full |= used.least >= quota.limit();
                may_be_full |= used.most >= quota.limit();
            }
        }
        let told = || format!("at {now:?}, of {}", self.told(charges));
        ensure(!admitted || !is_full, Guarantee::NeverMoreThanN, || format!("admitted although full, {}", told()))?;
        ensure(admitted || may_be_full, Guarantee::NeverDeniedWithRoom, || {
            format!("denied although there is room, {}", told())
        })
    }

    /// Checks what a decision tells of each quota. `blamed` is broken if too little is left.
    fn compare(
        &self,
        charges: &[Charge<'_>],
        decision: &Decision,
        now: Duration,
        blamed: Guarantee,
    ) -> Result<(), Violation> {
        let told: Vec<_> = decision.quotas().collect();
        let quotas = charges.iter().flat_map(|charge| {
            let (policy, log) = (&self.policies[charge.0], self.model.log(charge.0, charge.1));
            policy.quotas().map(move |quota| (charge, policy, log.clone(), quota))
        });
        let quotas: Vec<_> = quotas.collect();
        ensure(told.len() == quotas.len(), Guarantee::Contract, || {
            format!("{} quotas were asked for, and {} are told of", quotas.len(), told.len())
        })?;
        let both = || told.iter().zip(&quotas).filter(|(_, (_, policy, _, quota))| is_told(policy, quota));
        let place = |charge: &Charge<'_>, quota| format!("of {quota} at {now:?}, of {}", self.told(&[*charge]));
        for (status, (charge, policy, log, quota)) in both() {
            let (used, is_used) = (log.used(policy, quota, now), quota.limit() - status.remaining());
            let counts = || format!("{is_used} used where {used:?} is right, {}", place(charge, quota));
            ensure(is_used >= used.least, Guarantee::NeverMoreThanN, counts)?;
            ensure(is_used <= used.most, blamed, counts)?;
        }
        for (status, (charge, policy, log, quota)) in both() {
            let right = log.changes_after(policy, quota, status.is_exhausted(), now);
            let (wait, is_idle) = (status.reset_after(), status.remaining() == quota.limit());
            ensure(right.contains(&wait) || (is_idle && wait.is_zero()), Guarantee::TrueWait, || {
                format!("{wait:?} told where {right:?} is right, {}", place(charge, quota))
            })?;
        }
        Ok(())
    }

    fn told(&self, charges: &[Charge<'_>]) -> String {
        let told = charges.iter().map(|(rule, key)| {
            format!("key {key:?} under {}, charged at {:?}", self.policies[*rule], self.model.log(*rule, key))
        });
        told.collect::<Vec<_>>().join("; and ")
    }
}

pub(super) fn answered<T, E: Into<CheckError>>(answer: Result<T, E>) -> Result<T, Violation> {
    answer.map_err(|error| Violation::new(Guarantee::Contract, format!("no answer: {}", error.into())))
}
