//! The observer of a limiter, and what it keeps for each rule.

use std::sync::Arc;

#[cfg(feature = "metrics")]
use crate::observe::RuleMeters;
#[cfg(feature = "tracing")]
use crate::observe::{RuleLog, is_on, log_settled, record_in_span};
use crate::{
    key::Key,
    limiter::{CompiledRule, RuleTier},
    observe::{Check, Decided, Event, Observer, RequestOutcome, RuleOutcome, Settled, SettledOutcome},
    store::Detail,
    warn::{Share, WarnOnce, Warning},
};

/// The observer of a limiter, and what it keeps for each rule of one version.
#[derive(Debug)]
pub(crate) struct Observation {
    pub(crate) observer: Arc<Observer>,
    is_observed: bool,
    has_hook: bool,
    /// Something has to be looked at in each decision, whether it is observed or not.
    has_costs: bool,
    /// By the numbers of the rules.
    rules: Box<[RuleObservation]>,
    warned: WarnOnce,
}

struct RuleObservation {
    #[cfg(feature = "metrics")]
    meters: Option<RuleMeters>,
    #[cfg(feature = "tracing")]
    log: RuleLog,
    never_possible: Share,
    unsettled: Share,
    above_estimate: Share,
}

/// A reservation of one rule that was settled, or ended unsettled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settling {
    pub(super) rule: RuleTier,
    pub(super) key: Key,
    pub(super) outcome: SettledOutcome,
    pub(super) reserved: u64,
    pub(super) units: u64,
    pub(super) moved: u64,
}

impl Observation {
    pub(super) fn new(observer: &Arc<Observer>, rules: &[CompiledRule]) -> Self {
        Self {
            observer: Arc::clone(observer),
            is_observed: observer.is_observing(),
            has_hook: observer.has_hook(),
            has_costs: rules.iter().any(CompiledRule::has_costs),
            rules: rules.iter().map(|rule| RuleObservation::new(observer, rule)).collect(),
            warned: WarnOnce::default(),
        }
    }

    /// Returns `true` if somebody wants to know of every decision.
    #[inline]
    pub(crate) const fn is_observed(&self) -> bool {
        self.is_observed
    }

    /// Returns `true` if each decision has to be looked at.
    #[inline]
    pub(super) fn is_needed(&self) -> bool {
        self.is_observed | self.has_costs || is_logging()
    }

    /// Returns `true` if some rule counts costs.
    #[inline]
    pub(super) const fn has_costs(&self) -> bool {
        self.has_costs
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

    /// Returns how much a decision has to report of the quotas: what its caller needs, and what observers need.
    #[inline]
    pub(super) const fn detail(&self, needed: Detail) -> Detail {
        match needed {
            _ if self.has_hook => Detail::Full,
            Detail::None if self.is_observed => Detail::OnDenial,
            needed => needed,
        }
    }

    /// Notes that a request is about to be charged that is a copy of one which the limiter has charged.
    #[cold]
    pub(super) fn note_copy(&self) {
        if self.warned.is_first(Check::CountedTwice) {
            self.observer.warn(&Warning::CountedTwice, None);
        }
    }

    /// Reports a request that no rule has decided about.
    #[inline]
    pub(super) fn report_undecided(&self, outcome: RequestOutcome) {
        if self.is_observed || is_logging() {
            self.observer.count_request(outcome);
            #[cfg(feature = "tracing")]
            if is_on() {
                record_in_span(outcome, None);
            }
            self.observer.emit(&Event::Decided(&Decided { outcome, retry_after: None, rules: &[] }));
        }
    }

    /// Counts a request that all rules have admitted.
    #[inline]
    pub(super) fn count_admitted(&self, rules: &[RuleTier]) {
        self.observer.count_request(RequestOutcome::Admitted);
        for used in rules {
            self.count_rule(*used, RuleOutcome::Admitted);
        }
    }

    #[inline]
    #[cfg_attr(not(feature = "metrics"), expect(clippy::missing_const_for_fn, reason = "its twin counts"))]
    pub(super) fn count_rule(&self, used: RuleTier, outcome: RuleOutcome) {
        #[cfg(feature = "metrics")]
        if let Some(meters) = self.meters(used) {
            meters.decided(used.tier, outcome);
        }
        #[cfg(not(feature = "metrics"))]
        let _ = (used, outcome);
    }

    /// Notes that a paced call waits.
    #[cfg(all(feature = "client", feature = "metrics"))]
    pub(super) fn begin_wait(&self, used: RuleTier) {
        if let Some(meters) = self.meters(used) {
            meters.begin_wait();
        }
    }

    /// Notes that a paced call has waited for so long.
    #[cfg(all(feature = "client", feature = "metrics"))]
    pub(super) fn end_wait(&self, used: RuleTier, waited: std::time::Duration) {
        if let Some(meters) = self.meters(used) {
            meters.end_wait(waited);
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
    pub(super) fn meters(&self, used: RuleTier) -> Option<&RuleMeters> {
        self.rules.get(used.rule.index())?.meters.as_ref()
    }

    pub(super) fn note_never_possible(&self, used: RuleTier, rule: &CompiledRule, is_never: bool) {
        let share = self.rules.get(used.rule.index()).map(|rule| &rule.never_possible);
        if let Some((some, all)) = share.and_then(|share| share.note(is_never)) {
            self.warn(&Warning::NeverPossible(some, all), rule);
        }
    }

    fn warn(&self, warning: &Warning, rule: &CompiledRule) {
        self.observer.warn(warning, Some((rule.name(), rule.level())));
    }

    /// Reports a reservation that was settled, or ended unsettled.
    pub(super) fn report_settled(&self, rule: &CompiledRule, settled: &Settling) {
        let Settling { outcome, reserved, units, moved, .. } = *settled;
        self.check_settled(rule, settled);
        #[cfg(feature = "metrics")]
        if let Some(meters) = self.meters(settled.rule) {
            meters.settled(outcome, (reserved, units, moved));
        }
        #[cfg(feature = "tracing")]
        log_settled(rule.name(), outcome, (reserved, units, moved));
        if self.has_hook {
            let (key, tier) = (self.observer.view(settled.key), rule.tier(settled.rule.tier).name());
            let (rule, unit) = (rule.name(), rule.unit());
            self.observer.emit(&Event::Settled(&Settled { rule, tier, unit, key, outcome, reserved, units, moved }));
        }
    }

    fn check_settled(&self, rule: &CompiledRule, settled: &Settling) {
        let Some(observation) = self.rules.get(settled.rule.rule.index()) else { return };
        let is_unsettled = settled.outcome == SettledOutcome::Unsettled;
        if let Some((some, all)) = observation.unsettled.note(is_unsettled) {
            self.warn(&Warning::Unsettled(some, all), rule);
        }
        if let Some((some, all)) = observation.above_estimate.note(settled.units > settled.reserved) {
            self.warn(&Warning::AboveEstimate(some, all), rule);
        }
    }
}

impl RuleObservation {
    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, reason = "only metrics are registered"),
        allow(clippy::missing_const_for_fn, reason = "its twins are not")
    )]
    fn new(observer: &Observer, rule: &CompiledRule) -> Self {
        #[cfg(feature = "metrics")]
        let tiers = rule.tiers().iter().map(|tier| (tier.name(), tier.policy()));
        Self {
            #[cfg(feature = "metrics")]
            meters: observer.meters().map(|_| RuleMeters::register(rule.name(), rule.unit(), tiers)),
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
