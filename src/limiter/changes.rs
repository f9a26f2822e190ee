//! Rules that are replaced while requests go on, and what was changed by that.

use std::{fmt, sync::Arc};

use crate::{
    error::ConfigError,
    limiter::{AnswerSettings, CompiledRule, CompiledTier, RateLimiter, RateLimiterBuilder, Rulebook, Rules, Version},
    policy::Policy,
    request::RequestKind,
    store::{Scopes, Store},
};

/// What a [reload](RateLimiter::reload) has changed, in words for the operator.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule};
///
/// let bots = |limit| Rule::new("bots").no_requests().policy(Policy::per_minute(limit));
/// let limiter = RateLimiter::builder().rule(bots(60)).build()?;
///
/// let changes = limiter.reload(|builder| Ok(builder.rule(bots(100))))?;
/// assert_eq!(changes.to_string(), r#"rule "bots": 60/minute -> 100/minute"#);
/// assert!(limiter.reload(|builder| Ok(builder.rule(bots(100))))?.is_empty());
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(Vec<String>);

impl<K: RequestKind, S: Store> RateLimiter<K, S> {
    /// Replaces the rules while requests go on, and keeps the histories.
    ///
    /// `rules` is given an empty builder and adds all rules, also those that stay as they are. Rules are recognised by
    /// their name, ignoring case, and their level: their histories stay, and are judged by the new limits from then on. So
    /// whoever has used 60 of 60 has 40 left of 100, and none of 30 until the window has passed. Rules with another level
    /// count other keys, and begin afresh. A longer window knows what the old one still remembers.
    ///
    /// A request that is being decided sees the old rules or the new ones, from beginning to end. [`RuleHandle`]s and layers
    /// follow. The store, its settings, `max_keys` and the clock stay as they were built.
    ///
    /// [`RuleHandle`]: crate::RuleHandle
    ///
    /// # Errors
    ///
    /// If there is a mistake anywhere in the new rules. Nothing is changed then.
    ///
    /// ```
    /// use tower_quota::{Policy, RateLimiter, Rule};
    ///
    /// let jobs = |limit| Rule::new("jobs").no_requests().policy(Policy::per_minute(limit));
    /// let limiter = RateLimiter::builder().rule(jobs(60)).build()?;
    /// let handle = limiter.rule("jobs")?;
    /// assert_eq!((0..100).filter(|_| handle.admit("acme")).count(), 60);
    ///
    /// limiter.reload(|builder| Ok(builder.rule(jobs(100))))?;
    /// assert_eq!((0..100).filter(|_| handle.admit("acme")).count(), 40);
    ///
    /// assert!(limiter.reload(|builder| Ok(builder.rule(jobs(0)))).is_err());
    /// assert_eq!(handle.check("globex").quotas().next().map(|quota| quota.limit()), Some(100));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reload<F>(&self, rules: F) -> Result<Changes, ConfigError>
    where
        F: FnOnce(RateLimiterBuilder<K>) -> Result<RateLimiterBuilder<K>, ConfigError>,
    {
        let changes = self.replace(rules);
        let observer = Arc::clone(&self.rules().rulebook.observation().observer);
        observer.reloaded(changes.as_ref().map(|changes| &*changes.0));
        changes
    }

    fn replace<F>(&self, rules: F) -> Result<Changes, ConfigError>
    where
        F: FnOnce(RateLimiterBuilder<K>) -> Result<RateLimiterBuilder<K>, ConfigError>,
    {
        let mut empty = RateLimiterBuilder::default();
        empty.is_reload = true;
        let builder = rules(empty)?;
        let answers = builder.validate()?;
        let reloading = self.state.reloading.lock();
        let new = self.compile_anew(&builder, answers)?;
        let changes = Changes::between(&self.rules().rulebook, &new.rulebook);
        self.apply_switches(&new);
        self.replace_rules(new);
        let rules = self.rules_to_keep();
        drop(reloading);
        // A hook may reload by itself.
        rules.rulebook.warn_of_idle_quotas();
        Ok(changes)
    }

    /// Compiles the rules for scopes of their own first, so that a mistake leaves nothing behind.
    fn compile_anew(&self, builder: &RateLimiterBuilder<K>, answers: AnswerSettings) -> Result<Rules<K>, ConfigError> {
        let Version { limiter, number } = self.rules().version;
        let version = Version { limiter, number: number + 1 };
        let trial_scopes = Scopes::default();
        let trial = Rules::compile(
            (&builder.rules, &builder.exemptions),
            answers.clone(),
            &trial_scopes,
            (version, &Arc::default()),
        )?;
        trial.rulebook.check_support(self.state.store.cost_support())?;
        trial.with_tiers(&builder.rules, &self.state.hasher, |rule| self.pushed(rule))?;
        self.state.store.accept(&trial_scopes)?;
        let observer = Arc::clone(&self.rules().rulebook.observation().observer);
        let rules =
            Rules::compile((&builder.rules, &builder.exemptions), answers, &self.state.scopes, (version, &observer))?;
        rules.with_tiers(&builder.rules, &self.state.hasher, |rule| self.pushed(rule))
    }
}

impl Changes {
    fn between(old: &Rulebook, new: &Rulebook) -> Self {
        let mut changes = Vec::new();
        for rule in new.rules() {
            match old.id(rule.name()) {
                Some(id) => changes.extend(changes_of(old.rule(id), rule)),
                None => changes.push(format!("rule \"{}\" is new", rule.name())),
            }
        }
        let gone = old.rules().filter(|rule| new.id(rule.name()).is_none());
        changes.extend(gone.map(|rule| format!("rule \"{}\" is gone", rule.name())));
        Self(changes)
    }

    /// Returns `true` if no rule, policy or tier is another than before. Routes, keys and texts may be.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the changes, one for each rule or tier.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "nothing" } else { "" })?;
        f.write_str(&self.0.join("; "))
    }
}

fn changes_of(old: &CompiledRule, new: &CompiledRule) -> Vec<String> {
    let name = new.name();
    if old.level() != new.level() {
        let (before, now) = (old.level(), new.level());
        return vec![format!("rule \"{name}\": level {before} -> {now}, whose histories begin afresh")];
    }
    let mut changes = Vec::new();
    let (before, now) = (old.configured_enforcement(), new.configured_enforcement());
    if before != now {
        changes.push(format!("rule \"{name}\": enforcement {before} -> {now}"));
    }
    for tier in new.tiers() {
        let described = described(name, tier.name());
        match old.tiers().iter().find(|other| other.name() == tier.name()) {
            Some(other) if other.policy() == tier.policy() => {}
            Some(other) => {
                changes.push(format!("{described}: {} -> {}", limits(other.policy()), limits(tier.policy())));
            }
            None => changes.push(format!("{described} is new: {}", limits(tier.policy()))),
        }
    }
    let is_gone = |tier: &&CompiledTier| !new.tiers().iter().any(|other| other.name() == tier.name());
    changes.extend(old.tiers().iter().filter(is_gone).map(|tier| format!("{} is gone", described(name, tier.name()))));
    changes
}

fn described(rule: &str, tier: Option<&str>) -> String {
    tier.map_or_else(|| format!("rule \"{rule}\""), |tier| format!("rule \"{rule}\", tier \"{tier}\""))
}

fn limits(policy: &Policy) -> String {
    if policy.quotas().len() == 0 { "no limits".to_owned() } else { policy.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        limiter::{MaybeDecided, RuleHandle},
        policy::Enforcement,
        rule::Rule,
        store::Detail,
    };

    fn rule(name: &str, policy: &str) -> Rule {
        Rule::new(name).no_requests().policy(policy.parse::<Policy>().unwrap())
    }

    fn built(rules: impl IntoIterator<Item = Rule>) -> RateLimiter {
        rules.into_iter().fold(RateLimiter::builder(), RateLimiterBuilder::rule).build().unwrap()
    }

    fn changes<const B: usize, const A: usize>(before: [Rule; B], after: [Rule; A]) -> Vec<String> {
        let changes = Changes::between(&built(before).rules().rulebook, &built(after).rules().rulebook);
        assert_eq!(changes.is_empty(), changes.iter().len() == 0);
        changes.iter().map(str::to_owned).collect()
    }

    #[test]
    fn rules_that_come_and_go_are_named_in_their_order() {
        let before = [rule("a", "1/minute"), rule("b", "1/minute")];
        let after = [rule("c", "1/minute"), rule("B", "1/minute"), rule("d", "1/minute")];
        assert_eq!(changes(before, after), [r#"rule "c" is new"#, r#"rule "d" is new"#, r#"rule "a" is gone"#]);
    }

    #[test]
    fn each_tier_is_compared_by_its_name() {
        let tier = |rule: Rule, name: &str, limit| rule.tier(name, Policy::per_minute(limit));
        let before = tier(tier(rule("api", "60/minute"), "pro", 600), "team", 900).unlimited_tier("staff");
        let after = tier(tier(tier(rule("api", "60/minute"), "gold", 9), "pro", 700), "staff", 7);
        assert_eq!(
            changes([before], [after]),
            [
                r#"rule "api", tier "gold" is new: 9/minute"#,
                r#"rule "api", tier "pro": 600/minute -> 700/minute"#,
                r#"rule "api", tier "staff": no limits -> 7/minute"#,
                r#"rule "api", tier "team" is gone"#,
            ]
        );
    }

    #[test]
    fn policy_and_enforcement_are_told_and_of_another_level_that_alone() {
        let shadow = rule("api", "9/minute, 90/hour").enforcement(Enforcement::Shadow);
        assert_eq!(
            changes([rule("api", "60/minute")], [shadow.clone()]),
            [r#"rule "api": enforcement on -> shadow"#, r#"rule "api": 60/minute -> 9/minute, 90/hour"#]
        );
        assert_eq!(
            changes([rule("api", "60/minute").level("user")], [shadow.level("team")]),
            [r#"rule "api": level user -> team, whose histories begin afresh"#]
        );
    }

    #[test]
    fn nothing_is_what_equal_rules_change() {
        let rules = || [rule("api", "60/minute").tier("pro", Policy::per_minute(600)).tier_for("acme", "pro")];
        assert_eq!(changes(rules(), rules()), [""; 0]);
        assert_eq!(Changes::default().to_string(), "nothing");
        let several = Changes(vec!["one".to_owned(), "two".to_owned()]);
        assert_eq!(several.to_string(), "one; two");
    }

    fn left(handle: &RuleHandle) -> Vec<u64> {
        handle.peek("ann").quotas().map(|quota| quota.remaining()).collect()
    }

    /// Requests would ask again and again until a reload is over, if its rules moved histories before they are in force.
    #[test]
    fn rules_that_are_compiled_only_change_nothing_for_requests() {
        let limiter = built([rule("calls", "3/minute")]);
        assert!(limiter.rule("calls").unwrap().admit("ann"));
        limiter.reload(|builder| Ok(builder.rule(rule("calls", "3/minute, 4/hour")))).unwrap();
        // The earlier rules come back, and are compiled while the history has still their form.
        let builder = RateLimiterBuilder::default().rule(rule("calls", "3/minute"));
        let answers = builder.validate().unwrap();
        let compiled = limiter.compile_anew(&builder, answers).unwrap();
        let calls = limiter.rule("calls").unwrap();
        assert_eq!((calls.admit("ann"), left(&calls)), (true, vec![1, 2]));
        limiter.replace_rules(compiled);
        assert_eq!((calls.admit("ann"), left(&calls)), (true, vec![0]));
    }

    /// A request that was matched before a reload and is decided after it, by a store that has moved the history meanwhile.
    #[test]
    fn charges_that_are_held_over_a_reload_are_those_of_the_new_rules() {
        let limiter = built([rule("calls", "9/minute"), rule("other", "9/minute")]);
        let held = limiter.charges([("calls", "ann"), ("other", "ann")]).unwrap();
        let strict = || rule("calls", "9/minute, 1/hour");
        limiter.reload(|builder| Ok(builder.rule(strict()))).unwrap();
        let calls = limiter.rule("calls").unwrap();
        assert!(calls.admit("ann"));
        let MaybeDecided::Ready(decision) = limiter.decide(&held, Detail::Full) else { unreachable!("in memory") };
        assert_eq!(decision.exhausted().map(|quota| quota.name().into_owned()).collect::<Vec<_>>(), ["hour"]);
        assert_eq!(decision.quotas().count(), 2, "the rule that is gone has no part in it");
    }
}
