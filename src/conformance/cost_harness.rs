//! A store under test that counts costs, and the model beside it.

use std::time::Duration;

use crate::{
    clock::{Clock, ManualClock},
    conformance::{
        Guarantee, Violation,
        cost_model::{CostModel, RecordedCosts},
        harness::{HistoryName, Stores, answered},
        violation::ensure,
    },
    limiter::{Decision, QuotaStatus, RateLimiter, RateLimiterBuilder, Reservation, RuleHandle},
    policy::{Policy, Quota},
    request::Http,
    rule::Rule,
    store::{CostSupport, Store},
};

const MILLI: Duration = Duration::from_millis(1);
/// More than any wait.
const NEVER: Duration = Duration::from_secs(u32::MAX as u64);

/// A rule whose requests have costs.
#[derive(Clone, Debug)]
pub(super) struct CostedRule {
    pub(super) policy: Policy,
    /// The cost of a request that states none.
    pub(super) usual: u64,
    /// Whether costs are estimates.
    pub(super) settles: bool,
}

/// A limiter on the store under test, its clock, and the model that it is compared with.
#[derive(Debug)]
pub(super) struct CostHarness<S> {
    limiter: RateLimiter<Http, S>,
    clock: ManualClock,
    rules: Vec<CostedRule>,
    model: CostModel,
}

/// A charge that was admitted, and may be settled.
#[derive(Debug)]
pub(super) struct OpenCharge {
    rule: usize,
    key: String,
    units: u64,
    /// The number of what was recorded in the model.
    number: u64,
    reservation: Option<Reservation>,
}

impl CostedRule {
    pub(super) fn new(policy: impl Into<Policy>) -> Self {
        Self { policy: policy.into(), usual: 1, settles: false }
    }

    pub(super) fn usually(self, usual: u64) -> Self {
        Self { usual, ..self }
    }

    pub(super) fn settled(self) -> Self {
        Self { settles: true, ..self }
    }

    fn named(&self, number: usize) -> Rule {
        let rule = Rule::new(name(number)).no_requests().policy(self.policy.clone());
        if self.settles { rule.reserve(unit(number), self.usual) } else { rule.cost(unit(number), self.usual) }
    }

    /// Returns by how much a unit may come back late to a quota.
    fn lateness(&self, quota: &Quota) -> Duration {
        let cells = self.policy.entries_per_window();
        // With fewer cells than by default there may be more admissions than cells, whatever the limit is.
        let is_exact = quota.limit() <= u64::from(cells) && cells == Policy::per_minute(1).entries_per_window();
        if is_exact { MILLI } else { self.longest_window() / cells + MILLI }
    }

    fn longest_window(&self) -> Duration {
        self.policy.quotas().map(Quota::window).max().unwrap_or_default()
    }
}

fn name(rule: usize) -> String {
    format!("costs-{rule}")
}

fn unit(rule: usize) -> String {
    format!("units-{rule}")
}

impl<S: Store, F: FnMut(ManualClock) -> S> Stores<F> {
    /// Returns what the stores can do about costs.
    pub(super) fn cost_support(&mut self) -> CostSupport {
        (self.fresh)(ManualClock::new()).cost_support()
    }

    /// Creates a harness with an empty store, under these rules.
    pub(super) fn cost_harness(
        &mut self,
        rules: impl IntoIterator<Item = CostedRule>,
    ) -> Result<CostHarness<S>, Violation> {
        let (clock, rules) = (ManualClock::new(), rules.into_iter().collect::<Vec<_>>());
        let builder = RateLimiter::builder().clock(clock.clone()).store((self.fresh)(clock.clone()));
        let named = rules.iter().enumerate().map(|(number, rule)| rule.named(number));
        let limiter = named.fold(builder, RateLimiterBuilder::rule).build();
        let limiter = limiter
            .map_err(|error| Violation::new(Guarantee::Contract, format!("the store was not opened: {error}")))?;
        Ok(CostHarness { limiter, clock, rules, model: CostModel::default() })
    }
}

impl<S: Store> CostHarness<S> {
    pub(super) const fn limiter(&self) -> &RateLimiter<Http, S> {
        &self.limiter
    }

    pub(super) const fn clock(&self) -> &ManualClock {
        &self.clock
    }

    pub(super) fn advance(&self, step: Duration) {
        self.clock.advance(step);
    }

    /// Asks for a request that costs so many units. Its verdict has to agree with the model. Returns the charge, or the wait of a
    /// denial; no wait if it is never possible.
    pub(super) async fn decide(
        &mut self,
        (rule, key): HistoryName<'_>,
        units: u64,
    ) -> Result<Result<OpenCharge, Option<Duration>>, Violation> {
        // A reservation is of one unit at least.
        let units = units.max(u64::from(self.rules[rule].settles));
        let decision = answered(self.rule(rule)?.check_cost_async(key, units).await)?;
        let decided = self.conclude(&[(rule, key)], &[units], &decision)?;
        Ok(decided.map(|mut charges| charges.remove(0)))
    }

    /// Asks for a request of several rules, in each of which it costs what is usual.
    pub(super) async fn decide_together(
        &mut self,
        charges: &[HistoryName<'_>],
    ) -> Result<Result<Vec<OpenCharge>, Option<Duration>>, Violation> {
        let names: Vec<String> = charges.iter().map(|(rule, _)| name(*rule)).collect();
        let named = names.iter().map(String::as_str).zip(charges.iter().map(|(_, key)| *key));
        let decision = answered(self.limiter.check_all_async(named).await)?;
        let units: Vec<u64> = charges.iter().map(|(rule, _)| self.rules[*rule].usual).collect();
        let decided = self.conclude(charges, &units, &decision)?;
        if decided.is_err() {
            // Nobody is charged, or that is seen here.
            for charge in charges {
                self.peek_as(*charge, Guarantee::AllOrNothing).await?;
            }
        }
        Ok(decided)
    }

    fn conclude(
        &mut self,
        charges: &[HistoryName<'_>],
        units: &[u64],
        decision: &Decision,
    ) -> Result<Result<Vec<OpenCharge>, Option<Duration>>, Violation> {
        self.check(charges, units, decision)?;
        if !decision.is_admitted() {
            self.compare(charges, units, decision, Guarantee::FreeDenial)?;
            return Ok(Err(decision.retry_after()));
        }
        let now = self.clock.now();
        let reservation = decision.reservation();
        let charge = |((rule, key), units): (&HistoryName<'_>, &u64)| OpenCharge {
            rule: *rule,
            key: (*key).to_owned(),
            units: *units,
            number: self.model.charge(*rule, key, *units, now),
            reservation: reservation.cloned(),
        };
        let open = charges.iter().zip(units).map(charge).collect();
        self.compare(charges, units, decision, Guarantee::NeverDeniedWithRoom)?;
        Ok(Ok(open))
    }

    /// Settles a charge. What is counted then has to agree with the model.
    pub(super) async fn settle(&mut self, charge: &OpenCharge, units: u64) -> Result<(), Violation> {
        charge.settle_unseen(units).await?;
        if self.rules[charge.rule].settles {
            let (rule, key, now) = (charge.rule, charge.key.as_str(), self.clock.now());
            match units.checked_sub(charge.units) {
                Some(debt) => drop(self.model.charge(rule, key, debt, now)),
                None => self.model.give_back(rule, key, charge.number, charge.units - units),
            }
        }
        let settled = || format!("{} units were settled as {units}", charge.units);
        self.peek_after_settlement(charge).await.map_err(|violation| violation.during(settled()))
    }

    /// Settles a charge in the store that the model knows to be gone: nothing may change.
    pub(super) async fn settle_in_vain(&mut self, charge: &OpenCharge, units: u64) -> Result<(), Violation> {
        charge.settle_unseen(units).await?;
        let checked = self.peek_after_settlement(charge).await;
        checked.map_err(|violation| violation.during("a charge was settled that does not exist any more"))
    }

    /// Peeks at a history in which a charge was settled just now: whatever is wrong has come of that.
    async fn peek_after_settlement(&self, charge: &OpenCharge) -> Result<(), Violation> {
        let checked = self.peek_as((charge.rule, &charge.key), Guarantee::ExactSettlement).await;
        checked.map_err(|violation| match violation.guarantee() {
            Guarantee::TrueWait => Violation::new(Guarantee::ExactSettlement, violation.details()),
            _ => violation,
        })
    }

    pub(super) async fn peek(&self, charge: HistoryName<'_>) -> Result<(), Violation> {
        self.peek_as(charge, Guarantee::Contract).await
    }

    pub(super) async fn reset(&mut self, (rule, key): HistoryName<'_>) -> Result<(), Violation> {
        answered(self.rule(rule)?.reset_async(key).await)?;
        self.model.forget(rule, key);
        // Stores may tell histories apart by the microsecond in which they began.
        self.advance(Duration::from_micros(1));
        self.peek((rule, key)).await
    }

    /// Peeks at a history. If something else than the right number of units is counted then `broken` is violated.
    async fn peek_as(&self, charge: HistoryName<'_>, broken: Guarantee) -> Result<(), Violation> {
        let usual = self.rules[charge.0].usual;
        let decision = answered(self.rule(charge.0)?.peek_cost_async(charge.1, usual).await)?;
        let agrees = self.check(&[charge], &[usual], &decision);
        agrees.and_then(|()| self.compare(&[charge], &[usual], &decision, broken)).map_err(|violation| match violation
            .guarantee()
        {
            Guarantee::NeverMoreThanN | Guarantee::NeverDeniedWithRoom => Violation::new(broken, violation.details()),
            _ => violation,
        })
    }

    fn rule(&self, rule: usize) -> Result<RuleHandle<Http, S>, Violation> {
        answered(self.limiter.rule(&name(rule)))
    }

    fn history(&self, (rule, key): HistoryName<'_>) -> RecordedCosts {
        self.model.history(rule, key)
    }

    /// Checks whether the request may be admitted or denied.
    fn check(&self, charges: &[HistoryName<'_>], units: &[u64], decision: &Decision) -> Result<(), Violation> {
        let (now, admitted) = (self.clock.now(), decision.is_admitted());
        let (mut is_full, mut may_be_full) = (false, false);
        for (charge, units) in charges.iter().zip(units) {
            let (rule, history) = (&self.rules[charge.0], self.history(*charge));
            for quota in rule.policy.quotas() {
                let used = history.used(quota, rule.lateness(quota), now);
                is_full |= used.min.saturating_add(*units) > quota.limit();
                may_be_full |= used.max.saturating_add(*units) > quota.limit();
            }
        }
        let context = || format!("at {now:?}: {}", self.describe(charges, units));
        ensure(!admitted || !is_full, Guarantee::NeverMoreThanN, || format!("admitted although full, {}", context()))?;
        ensure(admitted || may_be_full, Guarantee::NeverDeniedWithRoom, || {
            format!("denied although there is room, {}", context())
        })
    }

    /// Checks the reported state of each quota. If too little is left of one then `broken` is violated.
    fn compare(
        &self,
        charges: &[HistoryName<'_>],
        units: &[u64],
        decision: &Decision,
        broken: Guarantee,
    ) -> Result<(), Violation> {
        let now = self.clock.now();
        let mut reported = decision.quotas();
        for (charge, units) in charges.iter().zip(units) {
            let (rule, history) = (&self.rules[charge.0], self.history(*charge));
            let context = |quota| format!("of {quota} at {now:?}: {}", self.describe(&[*charge], &[*units]));
            for quota in rule.policy.quotas() {
                let missing = || Violation::new(Guarantee::Contract, "a quota was not reported");
                let status = reported.next().ok_or_else(missing)?;
                let (late, used) = (rule.lateness(quota), quota.limit() - status.remaining());
                let right = history.used(quota, late, now);
                let details = || format!("{used} units reported as used instead of {right:?}, {}", context(quota));
                ensure(used >= right.min.min(quota.limit()), Guarantee::NeverMoreThanN, details)?;
                ensure(used <= right.max, broken, details)?;
                let right = match () {
                    () if *units > quota.limit() => continue,
                    () if status.is_exhausted() => history.room_after(quota, *units, late, now),
                    () => history.oldest_leaves_after(quota, late, now),
                };
                let (wait, is_idle) = (status.reset_after(), used == 0);
                ensure(right.contains(&wait) || (is_idle && wait.is_zero()), Guarantee::TrueWait, || {
                    format!("a wait of {wait:?} reported instead of {right:?}, {}", context(quota))
                })?;
            }
        }
        ensure(reported.next().is_none(), Guarantee::Contract, || "too many quotas were reported".to_owned())
    }

    /// Checks that a cost above a limit is told no wait.
    pub(super) async fn check_never_possible(&self, (rule, key): HistoryName<'_>, units: u64) -> Result<(), Violation> {
        let decision = answered(self.rule(rule)?.check_cost_async(key, units).await)?;
        ensure(!decision.is_admitted(), Guarantee::NeverMoreThanN, || {
            format!("a request that costs {units} units was admitted under {}", self.rules[rule].policy)
        })?;
        let mut impossible = decision.quotas().filter(QuotaStatus::is_never_possible);
        let waits_for_ever = impossible.all(|quota| quota.reset_after() >= NEVER);
        ensure(waits_for_ever, Guarantee::Contract, || {
            format!("a request that costs {units} units was told to wait under {}", self.rules[rule].policy)
        })
    }

    fn describe(&self, charges: &[HistoryName<'_>], units: &[u64]) -> String {
        let described = charges.iter().zip(units).map(|((rule, key), units)| {
            let (policy, history) = (&self.rules[*rule].policy, self.model.history(*rule, key));
            format!("a request that costs {units}, key {key:?} under {policy}, charged {history}")
        });
        described.collect::<Vec<_>>().join("; and ")
    }
}

impl OpenCharge {
    /// Settles it in the store alone.
    pub(super) async fn settle_unseen(&self, units: u64) -> Result<(), Violation> {
        match &self.reservation {
            Some(reservation) => answered(reservation.settle_async(&unit(self.rule), units).await),
            None => Ok(()),
        }
    }

    pub(super) const fn units(&self) -> u64 {
        self.units
    }
}
