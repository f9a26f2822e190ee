//! Decisions, as they are told to the hook, to metrics and to the log.

use std::time::Duration;

#[cfg(feature = "metrics")]
use crate::observe::RuleMeters;
#[cfg(feature = "tracing")]
use crate::observe::{NoRoom, is_on, record_in_span};
use crate::{
    key::Charge,
    limiter::{CompiledRule, Decision, Observation, QuotaStatus, RuleTier},
    observe::{Decided, Event, KeyView, QuotaUse, RequestOutcome, RuleDecided, RuleOutcome, Stopwatch},
    store::Verdict,
};

/// The answer of one rule, as its quotas give it.
#[derive(Debug, Default)]
struct Answer {
    quotas: usize,
    /// The quotas that have no room, as bits; those beyond 64 are not told apart.
    exhausted: u64,
    held: u64,
    is_never_possible: bool,
    longest: Duration,
}

impl Answer {
    #[inline]
    fn add(&mut self, quota: &QuotaStatus<'_>) {
        let bit = 1 << self.quotas.min(63);
        self.quotas += 1;
        if quota.is_exhausted() {
            self.exhausted |= bit;
            self.held |= if quota.is_held() { bit } else { 0 };
            self.is_never_possible |= quota.is_never_possible();
            self.longest = self.longest.max(quota.stated_wait());
        }
    }

    const fn outcome(&self, used: RuleTier, is_without_room: bool) -> RuleOutcome {
        match () {
            () if is_without_room && !used.enforcement.is_enforced() => RuleOutcome::WouldDeny,
            () if self.exhausted == 0 => RuleOutcome::Admitted,
            () if self.exhausted == self.held => RuleOutcome::Held,
            () => RuleOutcome::Denied,
        }
    }

    #[cfg(feature = "metrics")]
    fn count(&self, meters: &RuleMeters, used: RuleTier) {
        if self.exhausted == 0 {
            return;
        }
        (0..self.quotas)
            .filter(|at| self.exhausted & 1 << (*at).min(63) != 0)
            .for_each(|at| meters.exhausted(used.tier, at));
        if !self.is_never_possible {
            meters.note_wait(self.longest);
        }
    }
}

/// What observers are told.
impl Decision {
    /// Reports the decision. To be called once, when nothing is locked.
    #[inline]
    pub(crate) fn observe(&self) {
        let observation = self.observation();
        if observation.is_needed() {
            self.report(observation);
        }
    }

    /// Notes how long the store took. If its verdict is not known, this reports the request, which passes all the same
    /// if no rule is enforced.
    pub(super) fn observe_answer(&self, began: Stopwatch, is_known: bool, passes: bool) {
        let observation = self.observation();
        observation.observer.note_duration("decide", began);
        match () {
            () if is_known => {}
            () if passes => observation.report_undecided(RequestOutcome::Admitted),
            () => observation.report_undecided(RequestOutcome::Unavailable),
        }
    }

    #[inline(never)]
    fn report(&self, observation: &Observation) {
        if self.is_admitted() && !observation.has_costs() && !self.has_without_room() {
            observation.count_admitted(self.rule_tiers());
        } else {
            self.report_rules(observation);
        }
        #[cfg(feature = "tracing")]
        if is_on() {
            self.log(observation);
        }
        if observation.has_hook() {
            self.emit(observation);
        }
    }

    /// Counts the answers of all rules, in one pass over the quotas.
    fn report_rules(&self, observation: &Observation) {
        let (mut quotas, mut is_possible) = (self.statuses().peekable(), true);
        for (at, (used, rule, _)) in self.rules().enumerate() {
            let mut answer = Answer::default();
            while let Some((_, quota)) = quotas.next_if(|(of, _)| *of == at) {
                answer.add(&quota);
            }
            is_possible &= !answer.is_never_possible;
            observation.count_rule(used, answer.outcome(used, self.is_without_room(at)));
            if rule.has_costs() {
                observation.note_never_possible(used, rule, answer.is_never_possible);
            }
            #[cfg(feature = "metrics")]
            if let Some(meters) = observation.meters(used) {
                answer.count(meters, used);
                let is_charged = used.enforcement.is_charged(self.is_admitted(), !self.is_without_room(at));
                if let Some(charge) = self.charge(at).filter(|_| is_charged && rule.has_costs()) {
                    meters.charged(charge.units());
                }
            }
        }
        observation.observer.count_request(match self.is_admitted() {
            true => RequestOutcome::Admitted,
            false if is_possible => RequestOutcome::Denied,
            false => RequestOutcome::NeverPossible,
        });
    }

    fn request_outcome(&self) -> RequestOutcome {
        match () {
            () if self.is_admitted() => RequestOutcome::Admitted,
            () if self.is_never_possible() => RequestOutcome::NeverPossible,
            () => RequestOutcome::Denied,
        }
    }

    /// Returns the answer of one rule: that with the charge `at` this index.
    fn rule_outcome(&self, at: usize, used: RuleTier) -> RuleOutcome {
        if !used.enforcement.is_enforced() {
            return if self.is_without_room(at) { RuleOutcome::WouldDeny } else { RuleOutcome::Admitted };
        }
        let mut answer = Answer::default();
        self.quotas_of(at).for_each(|quota| answer.add(&quota));
        answer.outcome(used, false)
    }

    /// Returns the quotas of the charge at this index.
    fn quotas_of(&self, at: usize) -> impl Iterator<Item = QuotaStatus<'_>> {
        self.statuses().filter(move |(of, _)| *of == at).map(|(_, quota)| quota)
    }

    #[cfg(feature = "tracing")]
    fn log(&self, observation: &Observation) {
        let outcome = self.request_outcome();
        let denied_by = if self.is_admitted() { None } else { self.worst() };
        record_in_span(outcome, denied_by.map(|quota| quota.rule()));
        if self.is_admitted() && !self.has_without_room() {
            return;
        }
        for (at, (used, rule, tier)) in self.rules().enumerate() {
            let outcome = self.rule_outcome(at, used);
            if outcome == RuleOutcome::Admitted {
                continue;
            }
            let worst = self.quotas_of(at).filter(QuotaStatus::lacks_room).max_by_key(QuotaStatus::reset_after);
            let quota = worst.as_ref().map_or_else(String::new, |quota| quota.name().into_owned());
            let wait = worst.map(|quota| quota.stated_wait()).unwrap_or_default();
            let told =
                NoRoom { rule: rule.name(), level: rule.level(), tier: tier.name(), outcome, quota: &quota, wait };
            if let Some(log) = observation.log(used) {
                log.no_room(&told, observation.observer.elapsed());
            }
        }
    }

    #[cold]
    fn emit(&self, observation: &Observation) {
        let rules = self.rules().enumerate().map(|(at, (used, rule, tier))| RuleDecided {
            rule: rule.name(),
            level: rule.level(),
            tier: tier.name(),
            enforcement: used.enforcement,
            outcome: self.rule_outcome(at, used),
            unit: rule.unit(),
            cost: self.charge(at).map_or(1, Charge::units),
            key: self.charge(at).map_or(KeyView::Hidden, |charge| observation.observer.view(charge.key())),
            quotas: self.quotas_of(at).map(QuotaStatus::to_use).collect(),
        });
        let rules: Vec<RuleDecided<'_>> = rules.collect();
        let (outcome, retry_after) = (self.request_outcome(), self.retry_after());
        observation.observer.emit(&Event::Decided(&Decided { outcome, retry_after, rules: &rules }));
    }
}

impl<'a> QuotaStatus<'a> {
    const fn to_use(self) -> QuotaUse<'a> {
        QuotaUse { quota: self.quota(), used: self.used(), reset_after: self.reset_after() }
    }
}

impl Observation {
    /// Counts a denial by one rule that counts requests, and that no other looks at.
    pub(super) fn count_denied_alone(&self, rule: &CompiledRule, used: RuleTier, verdict: &Verdict) {
        let tier = rule.tier(used.tier);
        let mut answer = Answer::default();
        for ((quota, name), state) in tier.quotas().zip(&verdict.states) {
            answer.add(&QuotaStatus::new((rule, tier, used.enforcement), quota, name, *state, verdict));
        }
        self.observer.count_request(RequestOutcome::Denied);
        self.count_rule(used, answer.outcome(used, false));
        #[cfg(feature = "metrics")]
        if let Some(meters) = self.meters(used) {
            answer.count(meters, used);
        }
    }
}
