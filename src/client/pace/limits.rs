//! What a policy says about the pace in the long run.

use std::{sync::Arc, time::Duration};

use smallvec::SmallVec;

use crate::{
    limiter::{GovernedBy, RateLimiter},
    policy::Policy,
    request::RequestKind,
};

/// The rule that a history belongs to, and what its policy says about the pace in the long run.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    rule: Arc<str>,
    quotas: SmallVec<[(u32, Duration); 2]>,
}

impl Limits {
    /// Those of all histories of a limiter, by scope.
    pub(super) fn of<K: RequestKind, T>(limiter: &RateLimiter<K, T>) -> Box<[Self]> {
        limiter.rulebook().rules().flat_map(Self::of_rule).collect()
    }

    fn of_rule(rule: &GovernedBy) -> impl Iterator<Item = Self> {
        let limits = Self::new(rule.name(), rule.policy());
        rule.scopes().map(move |_| limits.clone())
    }

    fn new(rule: &str, policy: &Policy) -> Self {
        Self { rule: rule.into(), quotas: policy.quotas().map(|quota| (quota.limit(), quota.window())).collect() }
    }

    pub(super) const fn rule(&self) -> &Arc<str> {
        &self.rule
    }

    /// Calls per second that the policy has room for in the long run.
    pub(super) fn per_second(&self) -> f64 {
        let paces = self.quotas.iter().map(|(limit, window)| f64::from(*limit) / window.as_secs_f64());
        paces.fold(f64::INFINITY, f64::min)
    }

    /// No wait for room is longer, if nothing else is charged meanwhile.
    pub(super) fn longest_window(&self) -> Duration {
        self.quotas.iter().map(|(_, window)| *window).max().unwrap_or_default()
    }

    /// The least time in which so many calls go if the first goes at once: after each N of them a window has passed.
    pub(super) fn least_time_for(&self, calls: usize) -> Duration {
        let least = self.quotas.iter().map(|(limit, window)| {
            let windows = calls / (*limit).max(1) as usize;
            window.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX))
        });
        least.max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_slowest_quota_is_the_pace() {
        let limits = Limits::new("calls", &Policy::per_minute(60).and_per_hour(1800));
        assert_eq!(limits.per_second(), 0.5);
    }

    #[test]
    fn calls_that_fit_in_a_window_take_no_time_and_every_n_take_another() {
        let limits = Limits::new("calls", &Policy::per_second(10));
        assert_eq!([0, 9, 10, 19, 20].map(|calls| limits.least_time_for(calls).as_secs()), [0, 0, 1, 1, 2]);
        let limits = Limits::new("calls", &Policy::per_second(10).and_per_minute(20));
        assert_eq!(limits.least_time_for(20), 60 * SECOND);
        assert_eq!(Limits::new("calls", &Policy::per_day(1)).least_time_for(usize::MAX), SECOND * 86_400 * u32::MAX);
    }
}
