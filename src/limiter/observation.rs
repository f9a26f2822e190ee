//! The observer of a limiter, and what it keeps for each rule.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

#[cfg(feature = "metrics")]
use crate::limiter::{CompiledTier, thread_shard::SHARDS};
#[cfg(feature = "metrics")]
use crate::observe::{CountedRule, DecisionMeters};
#[cfg(feature = "tracing")]
use crate::observe::{RuleLog, is_on, log_settled, record_in_span};
use crate::{
    limiter::{CompiledRule, RuleTier, batch_entry::BatchEntry, thread_shard::thread_shard},
    observe::{Check, Decided, Event, Observer, RequestOutcome, RuleOutcome, Settled, SettledOutcome},
    warn::{Share, Shared, WarnOnce, Warning},
};

/// The observer of a limiter, and what it keeps for each rule of one version.
#[derive(Debug)]
pub(crate) struct Observation {
    pub(crate) observer: Arc<Observer>,
    is_observed: bool,
    has_hook: bool,
    #[cfg(feature = "metrics")]
    meters: Option<Arc<DecisionMeters>>,
    /// By the numbers of the rules.
    rules: Box<[RuleObservation]>,
    /// The number of rules with costs, and of those that settle them, of which the first ones are still counted.
    counting: [AtomicUsize; 2],
    warned: WarnOnce,
}

struct RuleObservation {
    #[cfg(feature = "tracing")]
    log: RuleLog,
    never_possible: Share,
    unsettled: Share,
    above_estimate: Share,
}

impl Observation {
    pub(super) fn new(observer: &Arc<Observer>, rules: &[CompiledRule]) -> Self {
        Self {
            observer: Arc::clone(observer),
            is_observed: observer.is_observing(),
            has_hook: observer.has_hook(),
            #[cfg(feature = "metrics")]
            meters: observer.register(rules.iter().map(CompiledRule::counted), SHARDS),
            rules: rules.iter().map(|_| RuleObservation::default()).collect(),
            counting: [
                rules.iter().filter(|rule| rule.has_costs()).count().into(),
                rules.iter().filter(|rule| rule.settling().is_some()).count().into(),
            ],
            warned: WarnOnce::default(),
        }
    }

    /// Returns `true` if somebody wants to know of every decision.
    #[inline]
    pub(crate) const fn is_observed(&self) -> bool {
        self.is_observed
    }

    #[cfg(feature = "tracing")]
    pub(super) fn log(&self, used: RuleTier) -> Option<&RuleLog> {
        self.rules.get(used.rule.index()).map(|rule| &rule.log)
    }

    /// Returns `true` if a hook is told of every decision, with the keys.
    #[inline]
    pub(crate) const fn has_hook(&self) -> bool {
        self.has_hook
    }

    /// Notes that a unit was settled which no rule reserves.
    pub(super) fn note_unknown_unit(&self, unit: &str) {
        if self.warned.is_first(Check::UnknownUnit) {
            self.observer.warn(&Warning::UnknownUnit(unit.to_owned()), None);
        }
    }

    /// Notes that a request is about to be charged that is a copy of one which the limiter has charged.
    #[cold]
    pub(super) fn note_copy(&self) {
        if self.warned.is_first(Check::CountedTwice) {
            self.observer.warn(&Warning::CountedTwice, None);
        }
    }

    /// Reports a request that no rule has decided about, if somebody wants to know.
    #[inline]
    pub(super) fn report_undecided(&self, outcome: RequestOutcome) {
        if self.is_observed || is_logging() {
            self.report_without_rules(outcome);
        }
    }

    #[inline(never)]
    fn report_without_rules(&self, outcome: RequestOutcome) {
        self.count_request(thread_shard(), outcome);
        #[cfg(feature = "tracing")]
        if is_on() {
            record_in_span(outcome, None);
        }
        self.observer.emit(&Event::Decided(&Decided { outcome, retry_after: None, rules: &[] }));
    }

    /// Counts a request that all rules have admitted.
    #[inline]
    pub(super) fn count_admitted(&self, thread: usize, rules: &[RuleTier]) {
        match rules {
            [] => self.count_request(thread, RequestOutcome::Ungoverned),
            [only] => self.count_only_answer(thread, *only, RuleOutcome::Admitted),
            several => {
                self.count_request(thread, RequestOutcome::Admitted);
                several.iter().for_each(|used| self.count_answer(thread, *used, RuleOutcome::Admitted));
            }
        }
    }

    /// Notes that a paced call waits.
    #[cfg(all(feature = "client", feature = "metrics"))]
    pub(super) fn begin_wait(&self, used: RuleTier) {
        if let Some(meters) = &self.meters {
            meters.begin_wait(used.rule.index());
        }
    }

    /// Notes that a paced call has waited for so long.
    #[cfg(all(feature = "client", feature = "metrics"))]
    pub(super) fn end_wait(&self, used: RuleTier, waited: std::time::Duration) {
        if let Some(meters) = &self.meters {
            meters.end_wait(used.rule.index(), waited);
        }
    }

    /// Notes that the rules are in force from now on.
    #[cfg_attr(not(feature = "metrics"), expect(clippy::missing_const_for_fn, reason = "its twin counts"))]
    pub(super) fn note_loaded(&self) {
        #[cfg(feature = "metrics")]
        if let Some(meters) = self.observer.meters() {
            meters.note_loaded();
        }
    }

    #[cfg(feature = "metrics")]
    #[inline]
    pub(super) fn meters(&self) -> Option<&DecisionMeters> {
        self.meters.as_deref()
    }

    /// Returns `true` while it is counted how many requests are never possible, of some rule.
    #[inline]
    pub(super) fn is_counting_costs(&self) -> bool {
        let [costs, _] = &self.counting;
        costs.load(Ordering::Relaxed) > 0
    }

    /// Returns `true` if settlements are to be reported, or the first ones of some rule are still counted.
    #[inline]
    pub(super) fn is_following_settlements(&self) -> bool {
        let [_, settlements] = &self.counting;
        self.is_observed || is_logging() || settlements.load(Ordering::Relaxed) > 0
    }

    /// Notes whether a request is never possible under a rule with costs.
    pub(super) fn note_never_possible(&self, used: RuleTier, rule: &CompiledRule, is_never: bool) {
        let share = self.rules.get(used.rule.index()).map(|rule| &rule.never_possible);
        if let Some(Shared { some, all, is_too_much }) = share.and_then(|share| share.note(is_never)) {
            let [costs, _] = &self.counting;
            costs.fetch_sub(1, Ordering::Relaxed);
            if is_too_much {
                self.warn(&Warning::NeverPossible(some, all), rule);
            }
        }
    }

    fn warn(&self, warning: &Warning, rule: &CompiledRule) {
        self.observer.warn(warning, Some((rule.name(), rule.level())));
    }

    /// Reports a reservation that was settled, or ended unsettled.
    pub(super) fn report_settled(
        &self,
        rule: &CompiledRule,
        settled: &BatchEntry,
        outcome: SettledOutcome,
        moved: u64,
    ) {
        let BatchEntry { reserved, units, .. } = *settled;
        self.check_settled(rule, settled, outcome);
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.settled(settled.rule.rule.index(), outcome, (reserved, units, moved));
        }
        #[cfg(feature = "tracing")]
        log_settled(rule.name(), outcome, (reserved, units, moved));
        if self.has_hook {
            let (key, tier) = (self.observer.view(settled.key), rule.tier(settled.rule.tier).name());
            let (rule, unit) = (rule.name(), rule.unit());
            self.observer.emit(&Event::Settled(&Settled { rule, tier, unit, key, outcome, reserved, units, moved }));
        }
    }

    fn check_settled(&self, rule: &CompiledRule, settled: &BatchEntry, outcome: SettledOutcome) {
        let Some(observation) = self.rules.get(settled.rule.rule.index()) else { return };
        let is_unsettled = outcome == SettledOutcome::Unsettled;
        if let Some(Shared { some, all, is_too_much }) = observation.unsettled.note(is_unsettled) {
            let [_, settlements] = &self.counting;
            settlements.fetch_sub(1, Ordering::Relaxed);
            if is_too_much {
                self.warn(&Warning::Unsettled(some, all), rule);
            }
        }
        if let Some(Shared { some, all, is_too_much: true }) =
            observation.above_estimate.note(settled.units > settled.reserved)
        {
            self.warn(&Warning::AboveEstimate(some, all), rule);
        }
    }
}

/// Counts through the metrics, if there are any.
#[cfg(feature = "metrics")]
impl Observation {
    #[inline]
    pub(super) fn count_request(&self, thread: usize, outcome: RequestOutcome) {
        if let Some(meters) = &self.meters {
            meters.request(thread, outcome);
        }
    }

    /// Counts a request, and the answer of the only rule that governs it.
    #[inline]
    pub(super) fn count_only_answer(&self, thread: usize, used: RuleTier, outcome: RuleOutcome) {
        if let Some(meters) = &self.meters {
            meters.only_answer(thread, (used.rule.index(), used.tier), outcome);
        }
    }

    #[inline]
    pub(super) fn count_answer(&self, thread: usize, used: RuleTier, outcome: RuleOutcome) {
        if let Some(meters) = &self.meters {
            meters.answer(thread, (used.rule.index(), used.tier), outcome);
        }
    }
}

#[cfg(not(feature = "metrics"))]
#[expect(clippy::unused_self, reason = "its twin counts")]
impl Observation {
    pub(super) const fn count_request(&self, _: usize, _: RequestOutcome) {}

    pub(super) const fn count_only_answer(&self, _: usize, _: RuleTier, _: RuleOutcome) {}

    pub(super) const fn count_answer(&self, _: usize, _: RuleTier, _: RuleOutcome) {}
}

#[cfg(feature = "metrics")]
impl CompiledRule {
    fn counted(&self) -> CountedRule<'_> {
        let tiers = self.tiers().iter().map(|tier| (CompiledTier::name(tier).unwrap_or_default(), tier.policy()));
        CountedRule { rule: self.name(), unit: self.unit(), tiers: tiers.collect() }
    }
}

impl Default for RuleObservation {
    fn default() -> Self {
        Self {
            #[cfg(feature = "tracing")]
            log: RuleLog::default(),
            never_possible: Share::new(1000, 1),
            unsettled: Share::new(100, 50),
            above_estimate: Share::new(100, 10),
        }
    }
}

impl std::fmt::Debug for RuleObservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RuleObservation")
    }
}

/// Returns `true` if denials may be logged.
#[inline]
#[cfg_attr(not(feature = "tracing"), expect(clippy::missing_const_for_fn, reason = "its twin looks"))]
pub(super) fn is_logging() -> bool {
    #[cfg(feature = "tracing")]
    return is_on();
    #[cfg(not(feature = "tracing"))]
    false
}
