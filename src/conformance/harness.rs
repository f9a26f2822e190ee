//! A store under test, and the model beside it.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    clock::{Clock, ManualClock},
    conformance::{
        Guarantee, Violation,
        model::{Model, Timestamps, is_comparable},
        tested_rule::TestedRule,
        violation::ensure,
    },
    error::CheckError,
    limiter::{Decision, RateLimiter, RateLimiterBuilder, RuleHandle},
    policy::{Policy, Quota},
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
    rules: Vec<HarnessRule>,
    /// The tiers that were set, by the rule and the key.
    tiers: BTreeMap<(usize, String), usize>,
    model: Model,
}

/// A rule of the limiter, and by how much its reloads may have moved timestamps.
#[derive(Debug)]
struct HarnessRule {
    name: String,
    tested: TestedRule,
    moved: Duration,
}

impl<S: Store, F: FnMut(ManualClock) -> S> Stores<F> {
    /// Creates a harness with an empty store, under these rules.
    pub(super) fn harness<R: Into<TestedRule>>(
        &mut self,
        rules: impl IntoIterator<Item = R>,
    ) -> Result<Harness<S>, Violation> {
        self.small_harness(rules, MAX_KEYS)
    }

    /// Creates a harness whose store may keep at most this many histories in this process.
    pub(super) fn small_harness<R: Into<TestedRule>>(
        &mut self,
        rules: impl IntoIterator<Item = R>,
        max_keys: usize,
    ) -> Result<Harness<S>, Violation> {
        let clock = ManualClock::new();
        let rules = rules.into_iter().map(Into::into).collect();
        Harness::new((self.fresh)(clock.clone()), clock, rules, max_keys)
    }
}

impl<S: Store> Harness<S> {
    fn new(store: S, clock: ManualClock, rules: Vec<TestedRule>, max_keys: usize) -> Result<Self, Violation> {
        let numbered = rules.into_iter().enumerate();
        let rules: Vec<HarnessRule> = numbered.map(|(number, tested)| HarnessRule::new(number, tested)).collect();
        let builder = RateLimiter::builder().clock(clock.clone()).max_keys(max_keys).store(store);
        let limiter = rules.iter().map(HarnessRule::rule).fold(builder, RateLimiterBuilder::rule).build();
        let limiter = limiter
            .map_err(|error| Violation::new(Guarantee::Contract, format!("the store was not opened: {error}")))?;
        Ok(Self { limiter, clock, rules, tiers: BTreeMap::new(), model: Model::default() })
    }

    /// Sets the tier of a key, by its number; 0 for the rule's own policy. A tier that the rule does not have is left alone.
    pub(super) fn set_tier(&mut self, (rule, key): HistoryName<'_>, tier: usize) -> Result<(), Violation> {
        let of = &self.rules[rule];
        if tier >= of.tested.policies() {
            return Ok(());
        }
        let set = self.limiter.set_tier(&of.name, key, TestedRule::tier_name(tier).as_deref());
        set.map_err(|error| Violation::new(Guarantee::Contract, format!("a tier was not set: {error}")))?;
        self.tiers.insert((rule, key.to_owned()), tier);
        Ok(())
    }

    /// Replaces the rules by as many others of the same names.
    pub(super) fn reload(&mut self, rules: &[TestedRule]) -> Result<(), Violation> {
        for (number, (rule, new)) in self.rules.iter_mut().zip(rules).enumerate() {
            self.model.reload(number, new.longest_window(), rule.tested.most_remembered());
            rule.moved += rule.tested.coarseness() + new.coarseness();
            rule.tested = new.clone();
        }
        let rules = self.rules.iter().map(HarnessRule::rule);
        let reloaded = self.limiter.reload(|builder| Ok(rules.fold(builder, RateLimiterBuilder::rule)));
        let refused = |error| Violation::new(Guarantee::Contract, format!("the rules were not replaced: {error}"));
        reloaded.map(drop).map_err(refused)
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
        let named = charges.iter().map(|(rule, key)| (self.rules[*rule].name.as_str(), *key));
        let decision = answered(self.limiter.check_all_async(named).await)?;
        let admitted = decision.is_admitted();
        self.check(charges, &before, admitted, now)?;
        for (rule, key) in charges {
            self.model.touch(*rule, key, now);
            let tested = &self.rules[*rule].tested;
            if admitted || tested.counts_denied() {
                self.model.charge(*rule, key, now, tested.longest_window());
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
            format!("a denial without a wait, {decision:?} at {now:?}: {}", self.describe(charges))
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
        let decision = answered(self.rule(&self.rules[charge.0].name)?.peek_async(charge.1).await)?;
        let timestamps = self.timestamps(&[charge]);
        let checked = self.check(&[charge], &timestamps, decision.is_admitted(), now);
        checked.map_err(|violation| match violation.guarantee() {
            Guarantee::NeverDeniedWithRoom => Violation::new(broken, violation.details()),
            _ => violation,
        })?;
        self.compare(&[charge], &decision, now, broken)
    }

    pub(super) async fn reset(&mut self, (rule, key): HistoryName<'_>) -> Result<(), Violation> {
        let of = &self.rules[rule];
        let found = answered(self.rule(&of.name)?.reset_async(key).await)?;
        let now = self.clock.now();
        let timestamps = self.model.timestamps(rule, key, now);
        let is_live = timestamps.counted(of.tested.longest_window(), now) > 0;
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
        let now = self.clock.now();
        charges.iter().map(|(rule, key)| self.model.timestamps(*rule, key, now)).collect()
    }

    /// Returns the policy that a key is held to now.
    fn policy(&self, (rule, key): HistoryName<'_>) -> &Policy {
        let tier = self.tiers.get(&(rule, key.to_owned()));
        self.rules[rule].tested.policy(tier.copied().unwrap_or(0))
    }

    /// Returns by how much a unit may come back late to a quota.
    fn lateness(&self, rule: usize, quota: &Quota) -> Duration {
        self.rules[rule].tested.lateness(quota) + self.rules[rule].moved
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
        for (charge, timestamps) in charges.iter().zip(before) {
            for quota in self.policy(*charge).quotas() {
                let used = timestamps.used(quota, self.lateness(charge.0, quota), now);
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
            let (policy, timestamps) = (self.policy(*charge), self.model.timestamps(charge.0, charge.1, now));
            policy.quotas().map(move |quota| (charge, policy, timestamps.clone(), quota))
        });
        let quotas: Vec<_> = quotas.collect();
        ensure(reported.len() == quotas.len(), Guarantee::Contract, || {
            format!("{} quotas were reported instead of {}", reported.len(), quotas.len())
        })?;
        let is_comparable = |charge: &HistoryName<'_>, policy: &Policy, quota: &Quota| {
            is_comparable(policy, quota, self.rules[charge.0].is_reloaded())
        };
        let compared = reported.iter().zip(&quotas);
        let both = || compared.clone().filter(|(_, (charge, policy, _, quota))| is_comparable(charge, policy, quota));
        let context = |charge: &HistoryName<'_>, quota| format!("of {quota} at {now:?}: {}", self.describe(&[*charge]));
        for (status, (charge, _, timestamps, quota)) in both() {
            let late = self.lateness(charge.0, quota);
            let (right, used) = (timestamps.used(quota, late, now), quota.limit() - status.remaining());
            let details = || format!("{used} units reported as used instead of {right:?}, {}", context(charge, quota));
            ensure(used >= right.min, Guarantee::NeverMoreThanN, details)?;
            ensure(used <= right.max, broken, details)?;
        }
        for (status, (charge, _, timestamps, quota)) in both() {
            let late = self.lateness(charge.0, quota);
            let right = timestamps.changes_after(quota, late, status.is_exhausted(), now);
            let (wait, is_idle) = (status.reset_after(), status.remaining() == quota.limit());
            ensure(right.contains(&wait) || (is_idle && wait.is_zero()), Guarantee::TrueWait, || {
                format!("a wait of {wait:?} reported instead of {right:?}, {}", context(charge, quota))
            })?;
        }
        Ok(())
    }

    fn describe(&self, charges: &[HistoryName<'_>]) -> String {
        let now = self.clock.now();
        let described = charges.iter().map(|charge @ (rule, key)| {
            let (policy, timestamps) = (self.policy(*charge), self.model.timestamps(*rule, key, now));
            format!("key {key:?} under {policy}, charged at {timestamps:?}")
        });
        described.collect::<Vec<_>>().join("; and ")
    }
}

impl HarnessRule {
    fn new(number: usize, tested: TestedRule) -> Self {
        Self { name: format!("rule-{number}"), tested, moved: Duration::ZERO }
    }

    const fn is_reloaded(&self) -> bool {
        !self.moved.is_zero()
    }

    fn rule(&self) -> Rule {
        self.tested.named(&self.name)
    }
}

/// Returns the answer of a store, which must not fail.
pub(super) fn answered<T, E: Into<CheckError>>(answer: Result<T, E>) -> Result<T, Violation> {
    answer.map_err(|error| Violation::new(Guarantee::Contract, format!("the store did not answer: {}", error.into())))
}
