//! The settings of a pacing layer, and the limits that its rules set.

use std::{sync::Arc, time::Duration};

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::{
    client::{advice::Advice, backoff::random_between},
    limiter::{CompiledRule, RateLimiter},
    policy::Policy,
    request::RequestKind,
};

/// Longer than any process lives, and short enough to be added to any time.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
/// The largest jitter, as 1/N of the pause that it is added to.
const JITTER_DIVISOR: u32 = 10;

/// The settings of a pacing layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// The number of calls that may wait for one key.
    pub(super) max_waiting: usize,
    pub(super) max_wait: Option<Duration>,
    /// The longest time for which a server may hold calls back.
    pub(super) max_hold: Duration,
    /// The pause after a refusal that states none.
    pub(super) default_wait: Duration,
    pub(super) max_jitter: Duration,
    pub(super) is_adaptive: bool,
}

/// The quotas of one scope, and the name of its rule.
#[derive(Clone, Debug)]
pub(super) struct ScopeLimits {
    rule: Arc<str>,
    has_costs: bool,
    quotas: SmallVec<[(u64, Duration); 2]>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_waiting: 1024,
            max_wait: None,
            max_hold: Duration::from_secs(600),
            default_wait: Duration::from_secs(1),
            max_jitter: Duration::from_secs(1),
            is_adaptive: false,
        }
    }
}

impl Settings {
    /// Returns the pause that advice asks for. A refusal that asks for calls at once, or states no time, is not believed.
    pub(super) fn pause_after(&self, advice: &Advice) -> Option<Duration> {
        let stated = advice.wait_time().filter(|wait| !wait.is_zero());
        let is_silent = stated.is_none() && advice.allowances().iter().all(|allowance| allowance.remaining() > 0);
        let pause = if advice.is_refusal() && is_silent { Some(self.default_wait) } else { stated };
        pause.map(|pause| pause.min(self.max_hold))
    }

    /// Adds jitter to a pause, so that it does not end for all clients that were refused together at the same time.
    pub(super) fn with_jitter(&self, pause: Duration) -> Duration {
        let jitter = random_between(Duration::ZERO, (pause / JITTER_DIVISOR).min(self.max_jitter));
        pause.saturating_add(jitter).min(self.max_hold)
    }
}

impl ScopeLimits {
    /// Returns the limits of all scopes of a limiter, in order.
    pub(super) fn from_limiter<K: RequestKind, T>(limiter: &RateLimiter<K, T>) -> Box<[Self]> {
        limiter.rules().rulebook.rules().flat_map(Self::from_rule).collect()
    }

    fn from_rule(rule: &CompiledRule) -> impl Iterator<Item = Self> {
        let limits = Self { has_costs: rule.has_costs(), ..Self::new(rule.name(), rule.policy()) };
        rule.targets(0).map(move |_| limits.clone())
    }

    fn new(rule: &str, policy: &Policy) -> Self {
        let quotas = policy.quotas().map(|quota| (quota.limit(), quota.window())).collect();
        Self { rule: rule.into(), has_costs: false, quotas }
    }

    /// Returns `true` if calls may cost other than one unit.
    pub(super) const fn has_costs(&self) -> bool {
        self.has_costs
    }

    /// Returns the name of the rule.
    pub(super) const fn rule(&self) -> &Arc<str> {
        &self.rule
    }

    /// Returns the sustained rate that the quotas allow, in units per second.
    pub(super) fn per_second(&self) -> f64 {
        let rates = self.quotas.iter().map(|(limit, window)| *limit as f64 / window.as_secs_f64());
        rates.fold(f64::INFINITY, f64::min)
    }

    /// Returns the longest wait for room, if nothing else is charged meanwhile.
    pub(super) fn longest_window(&self) -> Duration {
        self.quotas.iter().map(|(_, window)| *window).max().unwrap_or_default()
    }

    /// Returns the least time until a call goes that costs so many units, if there is room now, and others go before it: a window
    /// for each N units of all of them but the last.
    pub(super) fn least_time_for(&self, ahead: u64, cost: u64) -> Duration {
        let before_last = ahead.saturating_add(cost).saturating_sub(1);
        let least = self.quotas.iter().map(|(limit, window)| {
            let windows = before_last / (*limit).max(1);
            window.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX))
        });
        least.max().unwrap_or_default()
    }
}

/// Adds to a time whatever a server or a policy says, without overflow.
pub(super) fn saturating_add(time: Instant, by: Duration) -> Instant {
    time.checked_add(by.min(FOREVER)).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_slowest_quota_sets_the_rate() {
        let limits = ScopeLimits::new("calls", &Policy::per_minute(60).and_per_hour(1800));
        assert_eq!(limits.per_second(), 0.5);
    }

    #[test]
    fn a_call_waits_until_its_own_units_fit_behind_those_before_it() {
        let limits = ScopeLimits::new("calls", &Policy::per_second(10));
        let times = [(0, 10), (0, 0), (5, 5), (5, 6), (10, 1), (10, 0), (15, 10)];
        let seconds = times.map(|(ahead, cost)| limits.least_time_for(ahead, cost).as_secs());
        assert_eq!(seconds, [0, 0, 0, 1, 1, 0, 2]);
    }

    #[test]
    fn calls_that_fit_in_a_window_take_no_time_and_every_n_take_another() {
        let limits = ScopeLimits::new("calls", &Policy::per_second(10));
        assert_eq!([0, 9, 10, 19, 20].map(|calls| limits.least_time_for(calls, 1).as_secs()), [0, 0, 1, 1, 2]);
        let limits = ScopeLimits::new("calls", &Policy::per_second(10).and_per_minute(20));
        assert_eq!(limits.least_time_for(20, 1), 60 * SECOND);
        assert_eq!(
            ScopeLimits::new("calls", &Policy::per_day(1)).least_time_for(u64::MAX, 1),
            SECOND * 86_400 * u32::MAX
        );
    }
}
