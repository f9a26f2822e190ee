//! The names and texts of all rules, which decisions refer to.

use std::{ops::Deref, sync::Arc};

use hashbrown::HashMap;

use crate::{
    error::ConfigError,
    limiter::{
        AnswerSettings, CompiledRule, CompiledTier, MessageTemplate, Observation, RuleTargets,
        observation::is_logging,
        thread_shard::{SHARDS, thread_shard},
    },
    observe::Observer,
    request::RequestKind,
    response::ResponseSettings,
    rule::{Rule, RuleId},
    store::{CostSupport, Detail},
    warn::Warning,
};

/// Up to this many names a linear search is faster than hashing.
const FEW: usize = 4;

/// All rules by number and by name, and the texts that are made of them. Immutable.
#[derive(Debug)]
pub(crate) struct Rulebook {
    rules: Box<[CompiledRule]>,
    by_name: HashMap<String, RuleId>,
    /// By their names in lower case.
    by_folded_name: HashMap<String, RuleId>,
    names: Arc<[Box<str>]>,
    answers: AnswerSettings,
    /// The number of the limiter that it is of.
    limiter: u64,
    has_costs: bool,
    keeps_charges: bool,
    has_settlements: bool,
    observation: Observation,
}

/// A rulebook for many threads.
///
/// Every decision holds a reference to the rulebook. With a single reference count all threads would write to the same cache
/// line at every request, so there are several counts, and each thread keeps to one of them.
#[derive(Debug)]
pub(crate) struct ShardedRulebook([Arc<RulebookRef>; SHARDS]);

/// A reference to a rulebook. The count of its `Arc` has a cache line of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct RulebookRef {
    rulebook: Arc<Rulebook>,
    /// What every decision looks at, beside the reference that it follows in any case.
    is_observed: bool,
    has_hook: bool,
    thread: usize,
}

impl Rulebook {
    /// Compiles the rules and checks their names against each other. Each rule has its histories in its range of `scopes`.
    pub(super) fn from_rules<K: RequestKind>(
        rules: &[Rule<K>],
        targets: Vec<RuleTargets>,
        answers: AnswerSettings,
        (limiter, observer): (u64, &Arc<Observer>),
    ) -> Result<Self, ConfigError> {
        let compiled = rules.iter().zip(targets).map(|(rule, targets)| {
            let compiled = CompiledRule::from_rule(rule, targets, rules.len() > 1, &answers);
            compiled.map_err(|error| error.in_rule(rule.name()))
        });
        let names = || rules.iter().enumerate().map(|(index, rule)| (RuleId::from_index(index), rule.name()));
        let compiled: Box<[CompiledRule]> = compiled.collect::<Result<_, _>>()?;
        let has_costs = compiled.iter().any(CompiledRule::has_costs);
        let rulebook = Self {
            has_costs,
            keeps_charges: has_costs || observer.has_hook() || observer.remembers_names(),
            has_settlements: compiled.iter().any(|rule| rule.settling().is_some()),
            observation: Observation::new(observer, &compiled),
            rules: compiled,
            by_name: names().map(|(id, name)| (name.to_owned(), id)).collect(),
            by_folded_name: names().map(|(id, name)| (name.to_ascii_lowercase(), id)).collect(),
            names: names().map(|(_, name)| name.into()).collect(),
            answers,
            limiter,
        };
        rulebook.check_policy_names()?;
        Ok(rulebook)
    }

    /// Returns the rule of this number, which is one of this rulebook.
    #[inline]
    pub(crate) fn rule(&self, id: RuleId) -> &CompiledRule {
        &self.rules[id.index()]
    }

    /// Returns `true` if requests may cost other than one unit under some rule.
    #[inline]
    pub(crate) const fn has_costs(&self) -> bool {
        self.has_costs
    }

    /// Returns `true` if decisions keep their charges: requests may cost other than one unit, a hook is told of the
    /// keys, or their names are remembered.
    #[inline]
    pub(crate) const fn keeps_charges(&self) -> bool {
        self.keeps_charges
    }

    /// Returns what is told of decisions.
    #[inline]
    pub(crate) const fn observation(&self) -> &Observation {
        &self.observation
    }

    /// Returns `true` if some rule settles costs later.
    pub(crate) const fn has_settlements(&self) -> bool {
        self.has_settlements
    }

    /// Returns all rules, by number.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &CompiledRule> {
        self.rules.iter()
    }

    /// Returns the rule of this name, as it is written or ignoring case.
    #[inline]
    pub(crate) fn id(&self, name: &str) -> Option<RuleId> {
        let exact = match &*self.rules {
            few if few.len() <= FEW => few.iter().position(|rule| rule.name() == name).map(RuleId::from_index),
            _ => self.by_name.get(name).copied(),
        };
        exact.or_else(|| self.id_ignoring_case(name))
    }

    #[cold]
    fn id_ignoring_case(&self, name: &str) -> Option<RuleId> {
        self.by_folded_name.get(&name.to_ascii_lowercase()).copied()
    }

    pub(crate) const fn names(&self) -> &Arc<[Box<str>]> {
        &self.names
    }

    /// Refuses rules whose costs the store cannot count.
    pub(super) fn check_support(&self, support: CostSupport) -> Result<(), ConfigError> {
        for rule in self.rules.iter().filter(|rule| rule.has_costs()) {
            let needed = if rule.settling().is_some() { CostSupport::Settlements } else { CostSupport::Costs };
            if support < needed {
                let field = if needed == CostSupport::Costs { "cost" } else { "reserve" };
                let reason = "the store cannot count this: use another one, or a rule that counts requests";
                return Err(ConfigError::new(field, format_args!("\"{}\"", rule.unit()), reason).in_rule(rule.name()));
            }
        }
        Ok(())
    }

    /// Warns of quotas that never deny, which is hardly what was meant.
    pub(super) fn warn_of_idle_quotas(&self) {
        for rule in &self.rules {
            for (idle, other) in rule.tiers().iter().flat_map(|tier| tier.policy().idle_quotas()) {
                let warning = Warning::QuotaIdle(idle.to_string(), other.to_string());
                self.observation.observer.warn(&warning, Some((rule.name(), "")));
            }
        }
    }

    pub(crate) const fn template(&self) -> Option<&MessageTemplate> {
        self.answers.template.as_ref()
    }

    /// Returns the settings that layers begin with.
    pub(crate) const fn response_settings(&self) -> &ResponseSettings {
        &self.answers.response
    }

    /// Checks that the names in header fields are unique, ignoring case as clients do.
    fn check_policy_names(&self) -> Result<(), ConfigError> {
        let mut seen = HashMap::new();
        for rule in &self.rules {
            let names = rule.tiers().iter().flat_map(CompiledTier::policy_names);
            for name in names {
                let other = seen.insert(name.to_ascii_lowercase(), rule.name());
                if let Some(other) = other.filter(|other| *other != rule.name()) {
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

impl ShardedRulebook {
    pub(super) fn new(rulebook: Rulebook) -> Self {
        let rulebook = Arc::new(rulebook);
        Self(std::array::from_fn(|thread| Arc::new(RulebookRef::new(Arc::clone(&rulebook), thread))))
    }

    /// Returns the reference that this thread clones.
    pub(crate) fn local(&self) -> &Arc<RulebookRef> {
        let [first, ..] = &self.0;
        self.0.get(thread_shard()).unwrap_or(first)
    }
}

impl Deref for ShardedRulebook {
    type Target = Rulebook;

    #[inline]
    fn deref(&self) -> &Rulebook {
        let [first, ..] = &self.0;
        first
    }
}

impl RulebookRef {
    fn new(rulebook: Arc<Rulebook>, thread: usize) -> Self {
        let observation = rulebook.observation();
        let (is_observed, has_hook) = (observation.is_observed(), observation.has_hook());
        Self { rulebook, is_observed, has_hook, thread }
    }

    /// Returns `true` if a decision is to be reported: somebody wants to know of every one, or it may be logged.
    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        self.is_observed || is_logging()
    }

    /// Returns `true` if callers that need no more than an answer can do without a decision: nobody else is told of it, and
    /// nothing of it is kept.
    #[inline]
    pub(super) fn needs_answers_alone(&self) -> bool {
        !self.is_watched() && !self.rulebook.keeps_charges()
    }

    /// Returns how much a decision has to report of the quotas: what its caller needs, and what observers need.
    #[inline]
    pub(super) fn detail(&self, needed: Detail) -> Detail {
        match needed {
            _ if self.has_hook => Detail::Full,
            Detail::None if self.is_watched() => Detail::OnDenial,
            needed => needed,
        }
    }

    /// Returns the number of the threads whose reference this is.
    pub(super) const fn thread(&self) -> usize {
        self.thread
    }

    /// Returns `true` if both belong to one limiter, though perhaps to different versions of its rules.
    pub(crate) fn is_of(&self, rulebook: &ShardedRulebook) -> bool {
        self.limiter == rulebook.limiter
    }
}

impl Deref for RulebookRef {
    type Target = Rulebook;

    #[inline]
    fn deref(&self) -> &Rulebook {
        &self.rulebook
    }
}

/// Checks that the names of the rules are unique, ignoring case.
pub(super) fn check_names<K: RequestKind>(rules: &[Rule<K>]) -> Result<(), ConfigError> {
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
mod tests {
    use super::*;
    use crate::{
        limiter::{Rules, Version},
        policy::Policy,
        request::Http,
        store::Scopes,
    };

    fn sharded(limiter: u64) -> ShardedRulebook {
        let rule = Rule::<Http>::new("calls").no_requests().policy(Policy::per_minute(1));
        let version = Version { limiter, number: 1 };
        Rules::compile((&[rule], &[]), AnswerSettings::default(), &Scopes::default(), (version, &Arc::default()))
            .unwrap()
            .rulebook
    }

    #[test]
    fn every_thread_refers_to_the_same_rulebook() {
        let (ours, others) = (sharded(1), sharded(2));
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                let local = scope.spawn(|| Arc::clone(ours.local())).join().unwrap();
                assert!(local.is_of(&ours));
                assert!(!local.is_of(&others));
            }
        });
    }
}

#[cfg(test)]
#[cfg(feature = "tracing")]
mod warnings {
    use crate::{
        key,
        limiter::{RateLimiter, RateLimiterBuilder},
        policy::Policy,
        rule::Rule,
        warn::capture::logged_during,
    };

    fn logged_while_building(policies: &[Policy]) -> Vec<String> {
        let rule = |number: usize| Rule::new(format!("rule{number}")).every_request().key(key::constant("all"));
        let rules = policies.iter().enumerate().map(|(number, policy)| rule(number).policy(policy.clone()));
        let builder = rules.fold(RateLimiter::builder(), RateLimiterBuilder::rule);
        logged_during(|| drop(builder.build().unwrap().rule("rule0").unwrap().check("x")))
    }

    #[test]
    fn a_quota_that_never_denies_is_warned_of_once_when_the_limiter_is_built() {
        let (sound, idle) = (Policy::per_minute(60).and_per_hour(1800), Policy::per_minute(60).and_per_hour(10));
        let lines = logged_while_building(&[sound.clone(), idle]);
        let [line] = &lines[..] else { panic!("{lines:#?}") };
        let text = r#"WARN rule "rule1": 60/minute never denies, because 10/hour has no room before it: leave one out"#;
        assert!(line.starts_with(text) && line.contains(r#"code="quota-idle""#), "{line}");
        assert!(logged_while_building(&[sound.spread_evenly()]).is_empty());
    }
}
