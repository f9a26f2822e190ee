//! Decisions in the log: every denial at level DEBUG, and at INFO at most one for each rule and second.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tracing::{Level, level_filters::LevelFilter};

use crate::observe::{RequestOutcome, RuleOutcome, SettledOutcome};

/// What was logged about one rule at level INFO.
#[derive(Debug, Default)]
pub(crate) struct RuleLog {
    /// The second in which something was logged last, plus one.
    logged_in: AtomicU64,
    left_out: AtomicU64,
}

/// The answer of a rule that has no room, to be logged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoRoom<'a> {
    pub(crate) rule: &'a str,
    pub(crate) level: &'a str,
    pub(crate) tier: Option<&'a str>,
    pub(crate) outcome: RuleOutcome,
    /// The quota with the longest wait.
    pub(crate) quota: &'a str,
    pub(crate) wait: Duration,
}

/// Returns `true` if something may be logged: a look at a static number.
#[inline]
pub(crate) fn is_on() -> bool {
    LevelFilter::current() >= Level::INFO
}

/// Records the outcome in the current span, if it has fields for that.
pub(crate) fn record_in_span(outcome: RequestOutcome, rule: Option<&str>) {
    let span = tracing::Span::current();
    if span.has_field("rate_limit.outcome") {
        span.record("rate_limit.outcome", outcome.as_str());
    }
    if let Some(rule) = rule.filter(|_| span.has_field("rate_limit.rule")) {
        span.record("rate_limit.rule", rule);
    }
}

/// Logs a settlement: what is owed at level DEBUG, the others at TRACE.
pub(crate) fn settled(rule: &str, outcome: SettledOutcome, (reserved, units, moved): (u64, u64, u64)) {
    let outcome = outcome.as_str();
    if units > reserved {
        tracing::debug!(target: "tower_quota", rule, outcome, reserved, units, moved, "owed");
    } else {
        tracing::trace!(target: "tower_quota", rule, outcome, reserved, units, moved, "settled");
    }
}

impl RuleLog {
    /// Logs that the rule has no room, `now` after the limiter was built.
    pub(crate) fn no_room(&self, told: &NoRoom<'_>, now: Duration) {
        let NoRoom { rule, level, quota, wait, .. } = *told;
        let (tier, outcome) = (told.tier.unwrap_or_default(), told.outcome.as_str());
        tracing::debug!(target: "tower_quota", rule, level, tier, quota, outcome, ?wait, "no room");
        if tracing::enabled!(target: "tower_quota", Level::INFO)
            && let Some(left_out) = self.next(now)
        {
            tracing::info!(target: "tower_quota", rule, level, tier, quota, outcome, ?wait, left_out, "no room");
        }
    }

    /// Returns how many were left out since the last one, if it is time for another one.
    fn next(&self, now: Duration) -> Option<u64> {
        let second = now.as_secs() + 1;
        if self.logged_in.swap(second, Ordering::Relaxed) == second {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_denial_of_each_second_is_logged_with_the_number_left_out() {
        let log = RuleLog::default();
        let at = |millis| log.next(Duration::from_millis(millis));
        assert_eq!([at(0), at(1), at(999)], [Some(0), None, None]);
        assert_eq!([at(1000), at(1001), at(5000), at(6000)], [Some(2), None, Some(1), Some(0)]);
    }
}
