//! Rules, checked against each other and made ready.

use std::ops::Range;

use crate::{
    error::ConfigError,
    limiter::{MessageTemplate, RuleMatcher, Rulebook},
    request::RequestKind,
    rule::Rule,
    store::{Scope, Scopes},
};

/// What a limiter is made of.
#[derive(Debug)]
pub(crate) struct CompiledRules<K: RequestKind> {
    pub(super) rulebook: Rulebook,
    pub(super) routing: RuleMatcher<K>,
    pub(super) scopes: Scopes,
}

impl<K: RequestKind> CompiledRules<K> {
    /// Finds every mistake in the rules, alone and together.
    pub(crate) fn from_rules(rules: &[Rule<K>], template: Option<MessageTemplate>) -> Result<Self, ConfigError> {
        rules.iter().try_for_each(Rule::validate)?;
        let numbers = numbers_of_scopes(rules);
        let rulebook = Rulebook::build(rules, &numbers, template)?;
        let routing = RuleMatcher::build(rules, &numbers)?;
        Ok(Self { rulebook, routing, scopes: Scopes::new(rules.iter().flat_map(scopes_of_rule)) })
    }
}

/// The scopes of each rule, numbered through: one, or one per route.
fn numbers_of_scopes<K: RequestKind>(rules: &[Rule<K>]) -> Vec<Range<u32>> {
    let mut next = 0;
    let scopes = rules.iter().map(|rule| {
        let first = next;
        next += rule.scope_count();
        first..next
    });
    scopes.collect()
}

/// Each is named after its rule and, if there is one per route, after the route.
fn scopes_of_rule<K: RequestKind>(rule: &Rule<K>) -> Vec<Scope> {
    let Some(policy) = rule.policy_or_none() else { return Vec::new() };
    if !rule.is_per_route() {
        return vec![Scope::new(rule.name().to_owned(), policy)];
    }
    let routes = rule.groups().iter().flat_map(|group| &group.routes);
    routes.map(|route| Scope::new(format!("{} {route}", rule.name()), policy)).collect()
}
