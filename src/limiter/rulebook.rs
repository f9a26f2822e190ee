//! The rules as decisions speak of them.

use std::{ops::Range, sync::Arc};

use hashbrown::HashMap;

use crate::{
    error::ConfigError,
    limiter::{CompiledRule, MessageTemplate},
    request::RequestKind,
    rule::Rule,
    warn::warn,
};

/// Up to so many names are looked through one by one.
const FEW: usize = 4;

/// All rules by number and by name, and the texts made of them. It never changes.
#[derive(Debug)]
pub(crate) struct Rulebook {
    rules: Box<[CompiledRule]>,
    by_name: HashMap<String, usize>,
    /// By their names in small letters.
    by_folded_name: HashMap<String, usize>,
    names: Arc<[Box<str>]>,
    template: Option<MessageTemplate>,
}

impl Rulebook {
    /// Checks the names of the rules against each other. Each rule has its histories in some scopes.
    pub(super) fn build<K: RequestKind>(
        rules: &[Rule<K>],
        scopes: &[Range<u32>],
        template: Option<MessageTemplate>,
    ) -> Result<Self, ConfigError> {
        check_names(rules)?;
        let governed = rules.iter().zip(scopes).map(|(rule, scopes)| {
            let governed = CompiledRule::new(rule, scopes.clone(), rules.len() > 1, template.as_ref());
            governed.map_err(|error| error.in_rule(rule.name()))
        });
        let names = || rules.iter().map(Rule::name).enumerate();
        let rulebook = Self {
            rules: governed.collect::<Result<_, _>>()?,
            by_name: names().map(|(number, name)| (name.to_owned(), number)).collect(),
            by_folded_name: names().map(|(number, name)| (name.to_ascii_lowercase(), number)).collect(),
            names: names().map(|(_, name)| name.into()).collect(),
            template,
        };
        rulebook.check_policy_names()?;
        Ok(rulebook)
    }

    pub(crate) fn rule(&self, number: usize) -> Option<&CompiledRule> {
        self.rules.get(number)
    }

    /// All of them, by number.
    #[cfg(feature = "client")]
    pub(crate) fn rules(&self) -> impl Iterator<Item = &CompiledRule> {
        self.rules.iter()
    }

    /// The rule of this name, as it is written or ignoring case.
    #[inline]
    pub(crate) fn number_of(&self, name: &str) -> Option<usize> {
        // A few comparisons take less than a hash.
        let exactly = match &*self.rules {
            few if few.len() <= FEW => few.iter().position(|rule| rule.name() == name),
            _ => self.by_name.get(name).copied(),
        };
        exactly.or_else(|| self.number_ignoring_case(name))
    }

    #[cold]
    fn number_ignoring_case(&self, name: &str) -> Option<usize> {
        self.by_folded_name.get(&name.to_ascii_lowercase()).copied()
    }

    pub(crate) const fn names(&self) -> &Arc<[Box<str>]> {
        &self.names
    }

    /// Tells the operator of quotas that can be left out: that is hardly what was meant.
    pub(super) fn warn_of_idle_quotas(&self) {
        for rule in &self.rules {
            for (idle, other) in rule.policy().idle_quotas() {
                let (name, idle, other) = (rule.name(), idle.to_string(), other.to_string());
                warn(format_args!(
                    "rule \"{name}\": {idle} never denies, because {other} has no room before it: leave one out"
                ));
            }
        }
    }

    pub(crate) const fn template(&self) -> Option<&MessageTemplate> {
        self.template.as_ref()
    }

    /// Clients tell policies apart by their names, ignoring case.
    fn check_policy_names(&self) -> Result<(), ConfigError> {
        let mut seen = HashMap::new();
        for rule in &self.rules {
            for name in rule.policy_names() {
                if let Some(other) = seen.insert(name.to_ascii_lowercase(), rule.name()) {
                    let reason = format!(
                        "rule \"{other}\" has a quota of this name in header fields already: name one of the two rules otherwise"
                    );
                    return Err(ConfigError::new("quota name", format_args!("\"{name}\""), reason).in_rule(rule.name()));
                }
            }
        }
        Ok(())
    }
}

fn check_names<K: RequestKind>(rules: &[Rule<K>]) -> Result<(), ConfigError> {
    let mut seen = HashMap::new();
    for rule in rules {
        if let Some(other) = seen.insert(rule.name().to_ascii_lowercase(), rule.name()) {
            let reason = format!(
                "rule \"{other}\" has this name already (names are compared ignoring case): give one of them another"
            );
            return Err(ConfigError::new("name", format_args!("\"{}\"", rule.name()), reason).in_rule(rule.name()));
        }
    }
    Ok(())
}

#[cfg(test)]
#[cfg(feature = "tracing")]
mod tests {
    use crate::{
        key,
        limiter::{RateLimiter, RateLimiterBuilder},
        policy::Policy,
        rule::Rule,
        warn::capture::logged_during,
    };

    fn heard_while_building(policies: &[Policy]) -> Vec<String> {
        let rule = |number: usize| Rule::new(format!("rule{number}")).every_request().key(key::constant("all"));
        let rules = policies.iter().enumerate().map(|(number, policy)| rule(number).policy(policy.clone()));
        let builder = rules.fold(RateLimiter::builder(), RateLimiterBuilder::rule);
        logged_during(|| drop(builder.build().unwrap().rule("rule0").unwrap().check("x")))
    }

    #[test]
    fn a_quota_that_never_denies_is_told_once_when_the_limiter_is_built() {
        let (sound, idle) = (Policy::per_minute(60).and_per_hour(1800), Policy::per_minute(60).and_per_hour(10));
        assert_eq!(
            heard_while_building(&[sound.clone(), idle]),
            [r#"WARN rule "rule1": 60/minute never denies, because 10/hour has no room before it: leave one out"#]
        );
        assert!(heard_while_building(&[sound.spread_evenly()]).is_empty());
    }
}
