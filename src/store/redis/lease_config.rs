//! Units that a process takes at once.

use std::time::Duration;

use crate::{
    error::ConfigError,
    policy::{Policy, Quota},
    store::{Scope, Scopes},
};

/// Units that a process takes from the server at once and then spends by itself, for keys that are asked about very often.
///
/// A key that has just been asked about several times is lent as many units as were asked for within the life of a lease, at
/// most [so many](Self::of). Until they are spent, requests of the key are admitted without the server and without waiting.
///
/// **Still never more than N.** A unit that is lent counts for as long as it may be spent and a window after that: on the
/// server every window of these rules is longer by the life of a lease. So this is the price: at most N units in a window
/// *and* the life of a lease. With a second for a quota per minute that is 1.6 per cent less than N. What is lent to one
/// process and not spent is missing in the others until it is given back, at the end of the lease or by
/// [`RedisStore::return_leases`](super::RedisStore::return_leases); if the process is killed, until it expires.
///
/// All processes that share histories have the same leases, as they have the same rules. A reset in one process does not take
/// from the others what they have been lent: they may spend it, uncounted, until the lease ends.
#[derive(Clone, Debug)]
#[must_use]
pub struct LeaseConfig {
    most: u8,
    life: Duration,
    rules: Option<Vec<String>>,
}

impl LeaseConfig {
    /// At most so many units, from 2 to 255, to be spent within `life`, for all rules but those that count denials.
    pub const fn new(most: u8, life: Duration) -> Self {
        Self { most, life, rules: None }
    }

    /// Only for these rules. A request that is also charged under others is decided by the server.
    pub fn for_rules(self, rules: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { rules: Some(rules.into_iter().map(Into::into).collect()), ..self }
    }

    pub(super) const fn most(&self) -> u8 {
        self.most
    }

    pub(super) const fn life(&self) -> Duration {
        self.life
    }

    /// Whether the units of a scope are lent.
    pub(super) fn covers(&self, scope: &Scope) -> bool {
        let is_named = |rules: &Vec<String>| rules.iter().any(|rule| is_of(scope, rule));
        !scope.policy().counts_denied() && self.rules.as_ref().is_none_or(is_named)
    }

    /// The policy of a scope whose units are lent, as the server has to see it.
    pub(super) fn lengthened(&self, policy: &Policy) -> Policy {
        policy.with_windows(|window| window.saturating_add(self.life))
    }

    pub(super) fn validate(&self, scopes: &Scopes) -> Result<(), ConfigError> {
        if self.most < 2 {
            return Err(ConfigError::new("lease: units", self.most, "a lease is of at least two units"));
        }
        if self.life.is_zero() {
            return Err(ConfigError::new("lease: life", "0s", "it takes some time to spend what is lent"));
        }
        for rule in self.rules.iter().flatten() {
            self.validate_rule(rule, scopes)?;
        }
        scopes.iter().filter(|scope| self.covers(scope)).try_for_each(|scope| self.validate_scope(scope))
    }

    fn validate_rule(&self, rule: &str, scopes: &Scopes) -> Result<(), ConfigError> {
        let mistake = |reason| Err(ConfigError::new("lease: rule", format_args!("\"{rule}\""), reason));
        match scopes.iter().find(|scope| is_of(scope, rule)) {
            None => mistake("no rule has this name"),
            Some(scope) if scope.policy().counts_denied() => mistake("its denials count, so each is up to the server"),
            Some(_) => Ok(()),
        }
    }

    fn validate_scope(&self, scope: &Scope) -> Result<(), ConfigError> {
        let Some(shortest) = scope.policy().quotas().map(Quota::window).min().filter(|window| *window < self.life)
        else {
            return Ok(());
        };
        let (life, shortest) = (humantime::format_duration(self.life), humantime::format_duration(shortest));
        let reason = format!("longer than the shortest window, {shortest}: most of its units would never be spent");
        Err(ConfigError::new("lease: life", life, reason).in_rule(scope.name()))
    }
}

/// Whether a scope is of this rule: that of all its routes, or of one.
fn is_of(scope: &Scope, rule: &str) -> bool {
    let (name, rule) = (scope.name().to_ascii_lowercase(), rule.to_ascii_lowercase());
    name == rule || name.strip_prefix(&rule).is_some_and(|route| route.starts_with(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn scopes() -> Scopes {
        let scope = |name: &str, policy: &Policy| Scope::new(name.to_owned(), policy);
        Scopes::new([
            scope("hot", &Policy::per_minute(600).and_per_hour(9000)),
            scope("routed GET /a", &Policy::per_minute(60)),
            scope("strict", &Policy::per_minute(60).count_denied()),
        ])
    }

    fn covered(lease: &LeaseConfig) -> Vec<bool> {
        scopes().iter().map(|scope| lease.covers(scope)).collect()
    }

    fn mistake(lease: &LeaseConfig) -> (String, String) {
        let error = lease.validate(&scopes()).unwrap_err();
        (error.field().to_owned(), error.value().to_owned())
    }

    #[test]
    fn all_rules_are_lent_but_those_that_count_denials_or_are_not_named() {
        assert_eq!(covered(&LeaseConfig::new(9, SECOND)), [true, true, false]);
        assert_eq!(covered(&LeaseConfig::new(9, SECOND).for_rules(["Routed"])), [false, true, false]);
        assert!(LeaseConfig::new(9, SECOND).validate(&scopes()).is_ok());
    }

    #[test]
    fn on_the_server_every_window_is_longer_by_the_life_of_a_lease() {
        let lengthened = LeaseConfig::new(9, SECOND).lengthened(&Policy::per_minute(600).and_per_hour(9000));
        let windows: Vec<_> = lengthened.quotas().map(|quota| quota.window().as_secs()).collect();
        assert_eq!(windows, [61, 3601]);
    }

    #[test]
    fn mistakes_name_the_field_and_the_value() {
        let named = |field: &str, value: &str| (format!("lease: {field}"), value.to_owned());
        assert_eq!(mistake(&LeaseConfig::new(1, SECOND)), named("units", "1"));
        assert_eq!(mistake(&LeaseConfig::new(0, SECOND)), named("units", "0"));
        assert_eq!(mistake(&LeaseConfig::new(9, Duration::ZERO)), named("life", "0s"));
        assert_eq!(mistake(&LeaseConfig::new(9, 61 * SECOND)), named("life", "1m 1s"));
        assert_eq!(mistake(&LeaseConfig::new(9, SECOND).for_rules(["other"])), named("rule", "\"other\""));
        assert_eq!(mistake(&LeaseConfig::new(9, SECOND).for_rules(["strict"])), named("rule", "\"strict\""));
    }
}
