//! Rules, checked against each other and made ready.

use std::{ops::Range, sync::Arc};

use crate::{
    error::ConfigError,
    history::Plan,
    kind::RequestKind,
    limiter::{Routing, Rulebook},
    message::Template,
    rule::Rule,
};

/// What a limiter is made of.
#[derive(Debug)]
pub(crate) struct Assembly<K: RequestKind> {
    pub(super) rulebook: Rulebook,
    pub(super) routing: Routing<K>,
    /// The plan of each scope.
    pub(super) plans: Vec<Arc<Plan>>,
}

impl<K: RequestKind> Assembly<K> {
    /// Finds every mistake in the rules, alone and together.
    pub(crate) fn of(rules: &[Rule<K>], template: Option<Template>) -> Result<Self, ConfigError> {
        rules.iter().try_for_each(Rule::validate)?;
        let scopes = scopes_of(rules);
        let rulebook = Rulebook::build(rules, &scopes, template)?;
        let routing = Routing::build(rules, &scopes)?;
        Ok(Self { rulebook, routing, plans: plans_of(rules, &scopes) })
    }
}

/// The scopes of each rule, numbered through: one, or one per route.
fn scopes_of<K: RequestKind>(rules: &[Rule<K>]) -> Vec<Range<u32>> {
    let mut next = 0;
    let scopes = rules.iter().map(|rule| {
        let first = next;
        next += rule.scope_count();
        first..next
    });
    scopes.collect()
}

fn plans_of<K: RequestKind>(rules: &[Rule<K>], scopes: &[Range<u32>]) -> Vec<Arc<Plan>> {
    let policies = rules.iter().filter_map(Rule::policy_or_none);
    let plans = policies.zip(scopes).flat_map(|(policy, scopes)| {
        let plan = Arc::new(Plan::of(policy));
        scopes.clone().map(move |_| Arc::clone(&plan))
    });
    plans.collect()
}
