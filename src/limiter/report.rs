//! Decisions, as they are told to the hook, to metrics and to the log.

use std::time::Duration;

#[cfg(feature = "metrics")]
use crate::observe::DecisionMeters;
#[cfg(feature = "tracing")]
use crate::observe::{NoRoom, is_on, record_in_span};
use crate::{
    key::Charge,
    limiter::{CompiledRule, Decision, Observation, QuotaStatus, RuleTier, observation::is_logging},
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

    /// Counts the quotas that had no room, and the longest wait.
    #[cfg(feature = "metrics")]
    fn count(&self, meters: &DecisionMeters, thread: usize, used: RuleTier) {
        if self.exhausted == 0 {
            return;
        }
        let (rule, mut exhausted) = (used.rule.index(), self.exhausted);
        while exhausted != 0 {
            meters.exhausted(thread, (rule, used.tier), exhausted.trailing_zeros() as usize);
            exhausted &= exhausted - 1;
        }
        if !self.is_never_possible {
            meters.note_wait(rule, self.longest);
        }
    }
}

/// What observers are told.
impl Decision {
    /// Returns `true` if it is to be reported, or its costs are to be checked.
    #[inline]
    pub(super) fn is_needed(&self) -> bool {
        self.is_watched() || self.has_costs() && self.observation().is_counting_costs()
    }

    /// Returns `true` if nothing is to be reported of it but that all its rules have admitted it.
    #[inline]
    pub(super) fn is_counted_alone(&self) -> bool {
        let is_plain = self.is_admitted() && !self.has_costs() && !self.has_without_room();
        is_plain && !is_logging() && !self.observation().has_hook()
    }

    /// Notes how long the store took. If its verdict is not known, this reports the request, which passes all the same if no rule is
    /// enforced.
    pub(super) fn observe_answer(&self, began: Stopwatch, is_known: bool, passes: bool) {
        let observation = self.observation();
        observation.observer.note_duration("decide", began);
        match () {
            () if is_known => {}
            () if passes => observation.report_undecided(RequestOutcome::Admitted),
            () => observation.report_undecided(RequestOutcome::Unavailable),
        }
    }

    /// Reports the decision, and checks its costs. To be called once, when nothing is locked.
    #[inline(never)]
    pub(super) fn report(&self) {
        let observation = self.observation();
        if !self.is_watched() {
            return self.check_costs();
        }
        match (self.only_rule().filter(|_| !self.has_costs()), self.rule_tiers()) {
            _ if self.is_admitted() && !self.has_costs() && !self.has_without_room() => {
                observation.count_admitted(self.thread(), self.rule_tiers());
            }
            (Some((rule, _)), [used]) if !self.is_admitted() => {
                observation.count_denial(self.thread(), *used, rule, self.verdict());
            }
            _ => self.count_answers(observation),
        }
        if self.has_costs() {
            self.check_costs();
        }
        #[cfg(feature = "tracing")]
        if is_on() {
            self.log(observation);
        }
        if observation.observer.remembers_names() && !self.is_admitted() {
            self.remember_names(observation);
        }
        if observation.has_hook() {
            self.emit(observation);
        }
    }

    /// Remembers the names of the keys that the request was denied for.
    #[cold]
    fn remember_names(&self, observation: &Observation) {
        let denied = self.statuses().filter(|(_, quota)| quota.is_exhausted());
        for key in denied.filter_map(|(at, _)| self.charge(at)).map(Charge::key) {
            if let Some(parts) = self.name(key) {
                observation.observer.remember(key, parts);
            }
        }
    }

    /// Looks whether the request is never possible, while the first requests are still counted.
    fn check_costs(&self) {
        let observation = self.observation();
        if !self.has_costs() || !observation.is_counting_costs() {
            return;
        }
        for (at, (used, rule, _)) in self.rules().enumerate() {
            if rule.has_costs() {
                let is_never = self.quotas_of(at).any(|quota| quota.is_never_possible());
                observation.note_never_possible(used, rule, is_never);
            }
        }
    }

    /// Counts the answers of all rules, in one pass over the quotas.
    fn count_answers(&self, observation: &Observation) {
        let (mut index, mut is_possible, mut only) = (0, true, None);
        let is_alone = self.rule_tiers().len() == 1;
        for (at, (used, rule, tier)) in self.rules().enumerate() {
            let mut answer = Answer::default();
            for (quota, name) in tier.quotas() {
                if let Some(status) = self.status((at, index), (rule, tier, used.enforcement), (quota, name)) {
                    answer.add(&status);
                }
                index += 1;
            }
            is_possible &= !answer.is_never_possible;
            let outcome = answer.outcome(used, self.is_without_room(at));
            match is_alone && is_possible {
                true => only = Some((used, outcome)),
                false => observation.count_answer(self.thread(), used, outcome),
            }
            #[cfg(feature = "metrics")]
            if let Some(meters) = observation.meters() {
                answer.count(meters, self.thread(), used);
                let is_charged = used.enforcement.is_charged(self.is_admitted(), !self.is_without_room(at));
                // A store that fails open says nothing of any quota, and has charged nothing.
                let is_charged = is_charged && rule.has_costs() && answer.quotas == tier.quotas().count();
                if let Some(charge) = self.charge(at).filter(|_| is_charged) {
                    meters.charged(self.thread(), used.rule.index(), charge.units());
                }
            }
            #[cfg(not(feature = "metrics"))]
            let _ = rule;
        }
        match only {
            Some((used, outcome)) => observation.count_only_answer(self.thread(), used, outcome),
            None => observation.count_request(self.thread(), self.counted_outcome(is_possible)),
        }
    }

    const fn counted_outcome(&self, is_possible: bool) -> RequestOutcome {
        match () {
            () if self.is_admitted() => RequestOutcome::Admitted,
            () if is_possible => RequestOutcome::Denied,
            () => RequestOutcome::NeverPossible,
        }
    }

    fn request_outcome(&self) -> RequestOutcome {
        match () {
            // It is off.
            () if self.rule_tiers().is_empty() => RequestOutcome::Ungoverned,
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
    /// Counts a denial by one rule that counts requests and that is enforced, and that no other looks at.
    pub(super) fn count_denial(&self, thread: usize, used: RuleTier, rule: &CompiledRule, verdict: &Verdict) {
        let tier = rule.tier(used.tier);
        let mut answer = Answer::default();
        for ((quota, name), state) in tier.quotas().zip(&verdict.states) {
            answer.add(&QuotaStatus::new((rule, tier, used.enforcement), quota, name, *state, verdict));
        }
        self.count_only_answer(thread, used, answer.outcome(used, false));
        #[cfg(feature = "metrics")]
        if let Some(meters) = self.meters() {
            answer.count(meters, thread, used);
        }
    }
}
