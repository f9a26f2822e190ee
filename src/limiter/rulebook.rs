//! The rules as a limiter looks them up.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{
    error::ConfigError,
    history::Plan,
    limiter::GovernedBy,
    message::Template,
    rule::{AppliesTo, Route, RouteTable, Rule, Target},
};

/// All rules, their routes, and the texts made of them. It never changes.
#[derive(Debug)]
pub(crate) struct Rulebook {
    rules: Box<[GovernedBy]>,
    by_name: HashMap<String, usize>,
    table: RouteTable,
    every_request: Box<[usize]>,
    unmatched: Option<usize>,
    template: Option<Template>,
}

/// Numbers scopes, and remembers the plan of each.
#[derive(Debug, Default)]
struct ScopeList {
    plans: Vec<Arc<Plan>>,
}

impl Rulebook {
    /// Checks the rules against each other and makes them ready. Returns the plans of their scopes as well.
    pub(crate) fn build(rules: &[Rule], template: Option<Template>) -> Result<(Self, Vec<Arc<Plan>>), ConfigError> {
        rules.iter().try_for_each(Rule::validate)?;
        check_names(rules)?;
        let mut scopes = ScopeList::default();
        let mut governed = Vec::with_capacity(rules.len());
        let mut routes = Vec::new();
        for (number, rule) in rules.iter().enumerate() {
            let in_rule = |error: ConfigError| error.in_rule(rule.name());
            let first = scopes.next();
            routes.extend(targets_of(rule, number, &mut scopes).map_err(in_rule)?);
            governed.push(
                GovernedBy::new(rule, first..scopes.next(), rules.len() > 1, template.as_ref()).map_err(in_rule)?,
            );
        }
        let name_of = |rule: usize| rules.get(rule).map_or_else(String::new, |rule| rule.name().to_owned());
        let rulebook = Self {
            rules: governed.into(),
            by_name: rules.iter().enumerate().map(|(number, rule)| (rule.name().to_owned(), number)).collect(),
            table: RouteTable::build(&routes, name_of)?,
            every_request: numbers_of(rules, AppliesTo::EveryRequest).collect(),
            unmatched: one_for_unmatched(rules)?,
            template,
        };
        rulebook.check_policy_names()?;
        Ok((rulebook, scopes.plans))
    }

    pub(crate) fn rule(&self, number: usize) -> Option<&GovernedBy> {
        self.rules.get(number)
    }

    /// The rule of this name, as it is written or ignoring case.
    pub(crate) fn number_of(&self, name: &str) -> Option<usize> {
        let exactly = self.by_name.get(name).copied();
        exactly.or_else(|| self.rules.iter().position(|rule| rule.name().eq_ignore_ascii_case(name)))
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.rules.iter().map(GovernedBy::name).collect()
    }

    pub(crate) const fn table(&self) -> &RouteTable {
        &self.table
    }

    /// The rules that govern every request.
    pub(crate) fn every_request(&self) -> &[usize] {
        &self.every_request
    }

    /// The rule for requests that match no route.
    pub(crate) const fn unmatched(&self) -> Option<usize> {
        self.unmatched
    }

    pub(crate) const fn template(&self) -> Option<&Template> {
        self.template.as_ref()
    }

    /// Clients tell policies apart by their names, ignoring case.
    fn check_policy_names(&self) -> Result<(), ConfigError> {
        let mut seen = HashMap::new();
        for rule in &self.rules {
            for name in rule.policy_names() {
                if let Some(other) = seen.insert(name.to_ascii_lowercase(), rule.name()) {
                    let reason = format!("rule \"{other}\" has a quota of this name in header fields already");
                    return Err(ConfigError::new("quota name", format_args!("\"{name}\""), reason).in_rule(rule.name()));
                }
            }
        }
        Ok(())
    }
}

impl ScopeList {
    const fn next(&self) -> u32 {
        self.plans.len() as u32
    }

    fn add(&mut self, plan: &Arc<Plan>) -> u32 {
        self.plans.push(Arc::clone(plan));
        self.next() - 1
    }
}

/// The routes of a rule, and a scope for all of them or for each.
fn targets_of(rule: &Rule, number: usize, scopes: &mut ScopeList) -> Result<Vec<(Route, Target)>, ConfigError> {
    let Some(policy) = rule.policy_or_none() else { return Ok(Vec::new()) };
    let plan = Arc::new(Plan::of(policy));
    let shared = scopes.add(&plan);
    let routes = rule.parsed_routes()?.into_iter().enumerate();
    let targets = routes.map(|(at, (route, group))| {
        let scope = if rule.is_per_route() && at > 0 { scopes.add(&plan) } else { shared };
        let params = route.params().into();
        (route, Target { rule: number, group, scope, params })
    });
    Ok(targets.collect())
}

fn check_names(rules: &[Rule]) -> Result<(), ConfigError> {
    let mut seen = HashMap::new();
    for rule in rules {
        if let Some(other) = seen.insert(rule.name().to_ascii_lowercase(), rule.name()) {
            let reason = format!("rule \"{other}\" has this name already (names are compared ignoring case)");
            return Err(ConfigError::new("name", format_args!("\"{}\"", rule.name()), reason).in_rule(rule.name()));
        }
    }
    Ok(())
}

fn numbers_of(rules: &[Rule], applies_to: AppliesTo) -> impl Iterator<Item = usize> {
    rules.iter().enumerate().filter(move |(_, rule)| rule.applies_to() == applies_to).map(|(number, _)| number)
}

fn one_for_unmatched(rules: &[Rule]) -> Result<Option<usize>, ConfigError> {
    let mut numbers = numbers_of(rules, AppliesTo::Unmatched);
    let first = numbers.next();
    match numbers.next().and_then(|second| rules.get(second)) {
        Some(second) => {
            let reason = "another rule is for the unmatched requests already: that is said once";
            Err(ConfigError::new("applies_to", "\"unmatched\"", reason).in_rule(second.name()))
        }
        None => Ok(first),
    }
}
