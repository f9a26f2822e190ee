//! Settings of leases: units that a process takes in advance.

use std::time::Duration;

use crate::{
    error::ConfigError,
    policy::{Policy, Quota},
    store::{Scope, Scopes, scopes::Judge},
};

/// Leases: units that a process takes from the server in advance and then spends without it, for very busy keys.
///
/// A key that was asked about several times lately is leased as many units as were asked for within the duration of a
/// lease, up to [a maximum](Self::new). Until they are spent, its requests are admitted without a call and without
/// waiting.
///
/// ```
/// use std::time::Duration;
/// use tower_quota::store::{LeaseConfig, OnOutage, RedisStore};
/// use tower_quota::{Policy, RateLimiter, Rule, key};
///
/// let store = |lease| RedisStore::new("redis://127.0.0.1", OnOutage::Closed).lease(lease);
/// let limiter = |lease| {
///     let calls = Rule::new("calls").every_request().key(key::header("x-account"));
///     RateLimiter::builder().store(store(lease)).rule(calls.policy(Policy::per_minute(6000))).build()
/// };
/// assert!(limiter(LeaseConfig::new(50, Duration::from_secs(1)).for_rules(["calls"])).is_ok());
///
/// let too_long = limiter(LeaseConfig::new(50, Duration::from_secs(90))).unwrap_err();
/// assert_eq!(too_long.field(), "lease: duration");
/// ```
///
/// **Still never more than N.** A leased unit counts for as long as it may be spent and a window after that: on the
/// server every window of these rules is longer by the duration of a lease. The price is that at most N units are
/// admitted in a window *and* the duration of a lease: with one second and a quota per minute 1.6 per cent fewer. Leased
/// units that one process has not spent are unavailable to the others until they are returned, when the lease expires or
/// by [`RedisStore::return_leases`](super::RedisStore::return_leases); if the process is killed, until they leave the
/// window.
///
/// All processes that share histories need the same leases, just as they need the same rules. A reset in one process does
/// not revoke the leases of the others: they may spend their units, uncounted, until the lease expires.
#[derive(Clone, Debug)]
#[must_use]
pub struct LeaseConfig {
    max_units: u8,
    duration: Duration,
    /// `None` for all.
    rules: Option<Vec<String>>,
}

impl LeaseConfig {
    /// Creates leases of at most `max_units` each, from 2 to 255, which may be spent for `duration`.
    ///
    /// They are for all rules but those that [count denials](Policy::count_denied) or have [tiers](crate::Rule::tier). The
    /// duration is no longer than the shortest window of any of them. A mistake is found when the limiter is built, or when
    /// its rules are reloaded.
    pub const fn new(max_units: u8, duration: Duration) -> Self {
        Self { max_units, duration, rules: None }
    }

    /// Restricts leases to the rules of these names. A request that is also charged under another rule is decided by the
    /// server.
    pub fn for_rules(self, rules: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { rules: Some(rules.into_iter().map(Into::into).collect()), ..self }
    }

    pub(super) const fn max_units(&self) -> u8 {
        self.max_units
    }

    pub(super) const fn duration(&self) -> Duration {
        self.duration
    }

    /// Returns whether keys of a scope may be leased under a policy.
    pub(super) fn covers(&self, scope: &Scope, judge: &Judge) -> bool {
        let is_named = |rules: &Vec<String>| rules.iter().any(|rule| belongs_to(scope, rule));
        refusal_of(judge).is_none() && self.rules.as_ref().is_none_or(is_named)
    }

    /// Returns a leased policy as the server has to see it: with longer windows.
    pub(super) fn lengthened(&self, policy: &Policy) -> Policy {
        policy.with_windows(|window| window.saturating_add(self.duration))
    }

    pub(super) fn validate(&self, scopes: &Scopes) -> Result<(), ConfigError> {
        if self.max_units < 2 {
            return Err(ConfigError::new("lease: units", self.max_units, "a lease has at least two units"));
        }
        if self.duration.is_zero() {
            return Err(ConfigError::new("lease: duration", "0s", "a lease has to last for some time"));
        }
        for rule in self.rules.iter().flatten() {
            if !scopes.iter().any(|scope| belongs_to(scope, rule)) {
                return Err(invalid_rule(rule, "no rule has this name"));
            }
        }
        self.validate_scopes(scopes)
    }

    /// Checks the scopes of one version of the rules. Named rules may be gone.
    pub(super) fn validate_scopes(&self, scopes: &Scopes) -> Result<(), ConfigError> {
        for rule in self.rules.iter().flatten() {
            let judges = scopes.judges().filter(|(scope, _)| belongs_to(scope, rule));
            if let Some(reason) = judges.filter_map(|(_, judge)| refusal_of(judge)).next() {
                return Err(invalid_rule(rule, reason));
            }
        }
        let mut covered = scopes.judges().filter(|(scope, judge)| self.covers(scope, judge));
        covered.try_for_each(|(scope, judge)| self.validate_windows(scope, &judge.policy))
    }

    fn validate_windows(&self, scope: &Scope, policy: &Policy) -> Result<(), ConfigError> {
        let Some(shortest) = policy.quotas().map(Quota::window).min().filter(|window| *window < self.duration) else {
            return Ok(());
        };
        let (duration, shortest) = (humantime::format_duration(self.duration), humantime::format_duration(shortest));
        let reason = format!("longer than the shortest window, {shortest}: most of its units would never be spent");
        Err(ConfigError::new("lease: duration", duration, reason).in_rule(scope.name()))
    }
}

/// Returns the reason why no key can be leased under a policy.
const fn refusal_of(judge: &Judge) -> Option<&'static str> {
    if judge.policy.counts_denied() {
        return Some("it counts denials, so the server has to decide about each request");
    }
    if judge.plan.has_costs() {
        return Some("its requests have costs, or settle them, so the server has to decide about each of them");
    }
    if judge.is_tier {
        return Some(
            "it has tiers, and leased units would be of one of them: the server has to decide about each request",
        );
    }
    None
}

fn invalid_rule(rule: &str, reason: &str) -> ConfigError {
    ConfigError::new("lease: rule", format_args!("\"{rule}\""), reason)
}

/// Returns whether a scope belongs to this rule: that of all its routes, or of one.
fn belongs_to(scope: &Scope, rule: &str) -> bool {
    let (name, rule) = (scope.name().to_ascii_lowercase(), rule.to_ascii_lowercase());
    name == rule || name.strip_prefix(&rule).is_some_and(|route| route.starts_with(' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Registration;

    const SECOND: Duration = Duration::from_secs(1);

    fn scopes() -> Scopes {
        let scopes = Scopes::default();
        for (name, policies) in [
            ("hot", vec![Policy::per_minute(600).and_per_hour(9000)]),
            ("routed GET /a", vec![Policy::per_minute(60)]),
            ("strict", vec![Policy::per_minute(60).count_denied()]),
            ("tiered", vec![Policy::per_minute(60), Policy::per_minute(600)]),
        ] {
            scopes.register(&Registration::counting_requests(name, &policies)).unwrap();
        }
        scopes
    }

    fn covered(lease: &LeaseConfig) -> Vec<bool> {
        scopes().judges().map(|(scope, judge)| lease.covers(scope, judge)).collect()
    }

    fn mistake(lease: &LeaseConfig) -> (String, String) {
        let error = lease.validate(&scopes()).unwrap_err();
        (error.field().to_owned(), error.value().to_owned())
    }

    #[test]
    fn all_rules_are_leased_but_those_that_count_denials_or_have_tiers_or_are_not_named() {
        assert_eq!(covered(&LeaseConfig::new(9, SECOND)), [true, true, false, false, false]);
        assert_eq!(covered(&LeaseConfig::new(9, SECOND).for_rules(["Routed"])), [false, true, false, false, false]);
        assert!(LeaseConfig::new(9, SECOND).validate(&scopes()).is_ok());
    }

    #[test]
    fn on_the_server_every_window_is_longer_by_the_duration_of_a_lease() {
        let lengthened = LeaseConfig::new(9, SECOND).lengthened(&Policy::per_minute(600).and_per_hour(9000));
        let windows: Vec<_> = lengthened.quotas().map(|quota| quota.window().as_secs()).collect();
        assert_eq!(windows, [61, 3601]);
    }

    #[test]
    fn mistakes_name_the_field_and_the_value() {
        let named = |field: &str, value: &str| (format!("lease: {field}"), value.to_owned());
        assert_eq!(mistake(&LeaseConfig::new(1, SECOND)), named("units", "1"));
        assert_eq!(mistake(&LeaseConfig::new(0, SECOND)), named("units", "0"));
        assert_eq!(mistake(&LeaseConfig::new(9, Duration::ZERO)), named("duration", "0s"));
        assert_eq!(mistake(&LeaseConfig::new(9, 61 * SECOND)), named("duration", "1m 1s"));
        assert_eq!(mistake(&LeaseConfig::new(9, SECOND).for_rules(["other"])), named("rule", "\"other\""));
        assert_eq!(mistake(&LeaseConfig::new(9, SECOND).for_rules(["strict"])), named("rule", "\"strict\""));
        assert_eq!(mistake(&LeaseConfig::new(9, SECOND).for_rules(["tiered"])), named("rule", "\"tiered\""));
    }

    #[test]
    fn a_rule_that_is_gone_after_a_reload_is_no_mistake_but_one_that_has_got_tiers_is() {
        let accepted = |rule: &str| LeaseConfig::new(9, SECOND).for_rules([rule]).validate_scopes(&scopes()).is_ok();
        assert!(accepted("gone") && accepted("hot") && !accepted("tiered"));
    }
}
