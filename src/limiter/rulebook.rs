//! The rules as a limiter looks them up.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use hashbrown::HashMap;
use http::HeaderValue;

use crate::{
    error::ConfigError,
    history::Plan,
    http::{policy_field, quota_exceeded},
    key::KeyExtractor,
    message::{Occasion, Template},
    policy::Policy,
    rule::{AppliesTo, OnMissing, Route, RouteTable, Rule, Target},
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

/// A rule, checked.
pub(crate) struct GovernedBy {
    name: String,
    level: String,
    policy: Policy,
    on_missing: OnMissing,
    /// One per group of routes; the level's own is the first.
    extractors: Box<[Arc<dyn KeyExtractor>]>,
    /// The scopes of its histories: one, or one per route.
    scopes: std::ops::Range<u32>,
    policy_names: Box<[String]>,
    policy_field: HeaderValue,
    /// For each quota the body of a denial by it alone, unless that differs from time to time.
    bodies: Box<[Bytes]>,
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
        exactly.or_else(|| self.rules.iter().position(|rule| rule.name.eq_ignore_ascii_case(name)))
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.rules.iter().map(|rule| &*rule.name).collect()
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
            for name in &rule.policy_names {
                if let Some(other) = seen.insert(name.to_ascii_lowercase(), &rule.name) {
                    let reason = format!("rule \"{other}\" has a quota of this name in header fields already");
                    return Err(ConfigError::new("quota name", format_args!("\"{name}\""), reason).in_rule(&rule.name));
                }
            }
        }
        Ok(())
    }
}

impl GovernedBy {
    fn new(
        rule: &Rule,
        scopes: std::ops::Range<u32>,
        among_several: bool,
        template: Option<&Template>,
    ) -> Result<Self, ConfigError> {
        let policy =
            rule.policy_or_none().ok_or_else(|| ConfigError::new("policy", "", "a rule has a policy"))?.clone();
        let prefix = if among_several { format!("{}/", rule.name()) } else { String::new() };
        let policy_names: Box<[String]> = policy.quotas().map(|quota| format!("{prefix}{}", quota.name())).collect();
        let unread: Arc<dyn KeyExtractor> = Arc::new("");
        let extractors =
            rule.groups().iter().map(|group| group.extractor.clone().unwrap_or_else(|| Arc::clone(&unread)));
        Ok(Self {
            name: rule.name().to_owned(),
            level: rule.level_name().to_owned(),
            on_missing: rule.missing_outcome(),
            extractors: extractors.collect(),
            scopes,
            policy_field: policy_field(policy.quotas().zip(&policy_names))?,
            bodies: prepare_bodies(rule, &policy, &policy_names, template),
            policy_names,
            policy,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn level(&self) -> &str {
        &self.level
    }

    pub(crate) const fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) const fn on_missing(&self) -> OnMissing {
        self.on_missing
    }

    pub(crate) fn extractor(&self, group: usize) -> Option<&dyn KeyExtractor> {
        self.extractors.get(group).map(|extractor| &**extractor)
    }

    pub(crate) fn scopes(&self) -> std::ops::Range<u32> {
        self.scopes.clone()
    }

    /// The names of the quotas in header fields and bodies, in the order of the policy.
    pub(crate) fn policy_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.policy_names.iter().map(String::as_str)
    }

    /// The body of a denial by this quota alone, if it was made beforehand.
    pub(crate) fn body_of(&self, policy_name: &str) -> Option<Bytes> {
        let at = self.policy_names.iter().position(|name| name == policy_name)?;
        self.bodies.get(at).cloned()
    }

    /// The `RateLimit-Policy` field for this rule alone.
    pub(crate) const fn policy_field(&self) -> &HeaderValue {
        &self.policy_field
    }
}

impl fmt::Debug for GovernedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("name", &self.name)
            .field("level", &self.level)
            .field("policy", &self.policy)
            .finish()
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

fn prepare_bodies(rule: &Rule, policy: &Policy, names: &[String], template: Option<&Template>) -> Box<[Bytes]> {
    if template.is_some_and(|template| !template.is_fixed()) {
        return Box::default();
    }
    let bodies = policy.quotas().zip(names).map(|(quota, name)| {
        let occasion = Occasion { rule: rule.name(), level: rule.level_name(), quota, retry_after: Duration::ZERO };
        quota_exceeded(&occasion.message(template), &[name])
    });
    bodies.collect()
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
