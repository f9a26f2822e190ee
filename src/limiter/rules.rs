//! The rules of a limiter in one version: checked, alone and against each other, and compiled.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{
    error::ConfigError,
    key::{Key, KeyBuilder, KeyHasher},
    limiter::{
        AnswerSettings, CompiledRule, RuleMatcher, RuleTargets, RuleTier, Rulebook, ShardedRulebook, Version,
        rulebook::check_names,
        switches::Switches,
        tiers::{Asking, PushedTiers, TierTable},
    },
    observe::Observer,
    policy::Enforcement,
    request::RequestKind,
    rule::{Rule, RuleId, exempt::Exemption},
    store::{Registration, Scopes},
};

/// The rules of a limiter in one version. A request is matched and decided by one of them from beginning to end.
#[derive(Debug)]
pub(crate) struct Rules<K: RequestKind> {
    pub(crate) rulebook: ShardedRulebook,
    pub(super) matcher: RuleMatcher<K>,
    /// The rule of each scope, and the index of the route if the scope is of one.
    by_scope: HashMap<u32, (RuleId, usize)>,
    pub(super) version: Version,
    /// By the numbers of the rules; `None` for rules without tiers.
    tiers: Box<[Option<TierTable<K>>]>,
    pub(super) switches: Switches,
}

impl<K: RequestKind> Rules<K> {
    /// Compiles rules, and exemptions from all of them, for the histories in `scopes`.
    ///
    /// # Errors
    ///
    /// If there is a mistake in a rule, or if two rules conflict. Nothing is registered then: whoever reloads rules compiles
    /// them for scopes of their own first.
    pub(crate) fn compile(
        (rules, exemptions): (&[Rule<K>], &[Exemption<K>]),
        answers: AnswerSettings,
        scopes: &Scopes,
        (version, observer): (Version, &Arc<Observer>),
    ) -> Result<Self, ConfigError> {
        rules.iter().try_for_each(Rule::validate)?;
        check_names(rules)?;
        let targets = rules.iter().map(|rule| register(rule, scopes));
        let targets: Vec<RuleTargets> = targets.collect::<Result<_, _>>()?;
        let mut matcher = RuleMatcher::from_rules(rules, &targets, observer)?;
        matcher.exempt(exemptions)?;
        let by_scope = by_scope(&targets);
        let rulebook = Rulebook::from_rules(rules, targets, answers, (version.limiter, observer))?;
        let switches = Switches::new(&rulebook);
        let rulebook = ShardedRulebook::new(rulebook);
        Ok(Self { rulebook, matcher, by_scope, version, tiers: Box::default(), switches })
    }

    /// Reads which keys are in which tiers.
    ///
    /// # Errors
    ///
    /// If an override cannot be read.
    pub(super) fn with_tiers(
        mut self,
        rules: &[Rule<K>],
        hasher: &KeyHasher,
        mut pushed: impl FnMut(&str) -> Arc<PushedTiers>,
    ) -> Result<Self, ConfigError> {
        let tables = (0..).map(RuleId::from_index).zip(rules).map(|(id, rule)| {
            let observer = &self.rulebook.observation().observer;
            let table = TierTable::from_rule(rule, self.rulebook.rule(id), hasher, (pushed(rule.name()), observer));
            table.map_err(|error| error.in_rule(rule.name()))
        });
        self.tiers = tables.collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// Returns the rule with the tier that judges a key, and aims the charge of the key at that tier.
    #[inline]
    pub(super) fn judge<'a, 'r>(
        &self,
        (rule, enforcement): (RuleId, Enforcement),
        route: usize,
        key: &mut KeyBuilder<'_>,
        asking: impl FnOnce(Key) -> Asking<'a, 'r, K>,
    ) -> RuleTier {
        let tier = match self.tiers.get(rule.index()) {
            Some(Some(table)) => {
                let compiled = self.rulebook.rule(rule);
                let tier = table.tier_of(compiled, &asking(key.key()));
                key.set_target(compiled.target(route, tier));
                tier
            }
            _ => 0,
        };
        RuleTier { rule, tier, enforcement }
    }

    /// Returns `true` if the parts of the rule's keys are needed as they are.
    pub(super) fn has_patterns(&self, rule: RuleId) -> bool {
        matches!(self.tiers.get(rule.index()), Some(Some(table)) if table.has_patterns())
    }

    /// Notes in `scopes` that these rules come into force.
    pub(super) fn take_effect(&self, scopes: &Scopes) {
        let tiers = |rule: &CompiledRule| 0..rule.tiers().len() as u16;
        for rule in self.rulebook.rules() {
            let targets = tiers(rule).flat_map(|tier| rule.targets(tier));
            targets.for_each(|target| scopes.want(target, self.version.number));
        }
    }

    /// Returns the rule whose histories are in this scope, and the index of the route if the scope is of one.
    pub(super) fn rule_of_scope(&self, scope: u32) -> Option<(RuleId, usize)> {
        self.by_scope.get(&scope).copied()
    }
}

/// Registers the histories of a rule: those of its name and level, and of each route that has histories of its own.
fn register<K: RequestKind>(rule: &Rule<K>, scopes: &Scopes) -> Result<RuleTargets, ConfigError> {
    let policies: Vec<_> = rule.policies()?.into_iter().map(|(_, policy)| policy).collect();
    let targets = rule.scope_names().into_iter().map(|name| {
        // Routes that differ in capitals are others.
        let route = name.get(rule.name().len()..).unwrap_or_default();
        let identity = format!("{}{route}\n{}", rule.name().to_ascii_lowercase(), rule.level_name());
        let (has_costs, settles) = (rule.costs().are_any(), rule.costs().settling().is_some());
        let wanted = Registration { identity, name: &name, policies: &policies, has_costs, settles };
        scopes.register(&wanted).map(Into::into)
    });
    targets.collect::<Result<_, _>>().map_err(|error: ConfigError| error.in_rule(rule.name()))
}

fn by_scope(targets: &[RuleTargets]) -> HashMap<u32, (RuleId, usize)> {
    let rules = targets.iter().enumerate();
    let scopes = rules.flat_map(|(rule, routes)| {
        let routes = routes.iter().enumerate();
        let firsts = routes.filter_map(|(route, tiers)| Some((route, tiers.first()?)));
        firsts.map(move |(route, target)| (target.scope, (RuleId::from_index(rule), route)))
    });
    scopes.collect()
}
