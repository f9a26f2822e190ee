//! Finds the rules that govern a request, and the keys that it is counted by.

use std::{cell::RefCell, fmt, sync::Arc};

use http::StatusCode;

use crate::{
    error::ConfigError,
    key::{Charge, ChargeTarget, Key, KeyBuilder, KeyExtractor, KeyHasher, MissingKey, RawParts},
    limiter::{AppliedMarks, Charges, RuleTier, Watch, rules::RuleTargets},
    policy::Enforcement,
    request::{Condition, Params, RequestKind, RequestView},
    rule::{AppliesTo, OnMissing, PathReadings, Route, RouteTable, RouteTarget, Rule, RuleId},
};

/// The method of [`Rule`] that makes it one for unmatched requests, as errors name it.
pub(crate) const UNMATCHED: &str = "unmatched_requests";

/// The half of the compiled rules that depends on the kind of request. Immutable, but for the watch of the first requests.
pub(crate) struct RuleMatcher<K: RequestKind> {
    table: RouteTable,
    /// The rules without routes, and the condition of those that have one.
    unrouted: Box<[(RuleId, Option<Condition<K>>)]>,
    /// The rule for requests that match no route.
    unmatched: Option<RuleId>,
    /// By the numbers of the rules.
    keys: Box<[RuleKey<K>]>,
    watch: Watch,
}

/// The extractors of one rule, and its reaction to requests without the key.
struct RuleKey<K> {
    /// One per group of routes. The first is the one that [`Rule::key`] sets.
    extractors: Box<[Arc<dyn KeyExtractor<K>>]>,
    on_missing: OnMissing,
    /// The target of charges by the rule's own policy, on all routes or on the first.
    target: ChargeTarget,
    keeps_parts: bool,
}

/// A rule that governs a request, and the key that it counts.
pub(super) struct Visit<'a, 'r, K: RequestKind> {
    pub(super) rule: RuleId,
    pub(super) enforcement: Enforcement,
    /// The index of the route, if it has histories of its own.
    pub(super) route: usize,
    pub(super) key: &'a KeyBuilder<'a>,
    /// The parts of the key, if the rule has overrides for patterns of keys.
    pub(super) raw: &'a RefCell<RawParts>,
    /// Whether the request carries the key. If not, it is the shared one of all such requests.
    pub(super) is_found: bool,
    pub(super) request: K::View<'r>,
}

impl<K: RequestKind> RuleMatcher<K> {
    /// Compiles the rules, whose charges have these `targets`.
    pub(super) fn from_rules(rules: &[Rule<K>], targets: &[RuleTargets]) -> Result<Self, ConfigError> {
        let mut routes = Vec::new();
        let mut keys = Vec::with_capacity(rules.len());
        for ((id, rule), targets) in numbered(rules).zip(targets) {
            keys.push(RuleKey::from_rule(rule, targets[0][0]));
            routes.extend(route_targets(rule, id, targets).map_err(|error| error.in_rule(rule.name()))?);
        }
        let name_of = |id: RuleId| rules.get(id.index()).map_or_else(String::new, |rule| rule.name().to_owned());
        Ok(Self {
            table: RouteTable::build(&routes, name_of)?,
            unrouted: unrouted(rules).collect(),
            unmatched: unmatched_rule(rules)?,
            keys: keys.into(),
            watch: Watch::new(rules),
        })
    }

    /// Adds the charges of a request under the `wanted` rules to `charges`, except those that are `applied` already.
    ///
    /// `wanted` returns how a rule is enforced; `None` if it is not to be looked at. A rule that found the key of the request further out does not need it a second time.
    ///
    /// # Errors
    ///
    /// If the request lacks the key of a rule that rejects it then.
    pub(super) fn charge(
        &self,
        request: K::View<'_>,
        wanted: impl Fn(RuleId) -> Option<Enforcement>,
        applied: &AppliedMarks<'_>,
        hasher: &KeyHasher,
        judge: impl Fn(&Visit<'_, '_, K>) -> (RuleTier, Charge),
        charges: &mut Charges,
    ) -> Result<(), (RuleId, StatusCode)> {
        let mut rejected = None;
        self.for_each_rule(request, wanted, hasher, |visit| {
            let (rule, enforcement, is_found) = (visit.rule, visit.enforcement, visit.is_found);
            let Some(rule_key) = self.keys.get(rule.index()) else { return };
            self.watch.note_key(rule, visit.key, is_found);
            let mut add = || {
                let (rule, charge) = judge(&visit);
                charges.add(rule, charge);
            };
            match rule_key.on_missing {
                _ if applied.contains(visit.key.charge(), is_found) => {}
                _ if is_found => add(),
                OnMissing::Share => add(),
                OnMissing::Skip => {}
                OnMissing::Reject(_) if !enforcement.is_enforced() => {}
                OnMissing::Reject(status) => {
                    rejected.get_or_insert((rule, status));
                }
            }
        });
        self.watch.note_request();
        rejected.map_or(Ok(()), Err)
    }

    /// Reads the key that a rule counts a request by: with the extractor of the route, if the request matches one.
    pub(super) fn key_of(&self, rule: RuleId, request: K::View<'_>, hasher: &KeyHasher) -> Option<Key> {
        let (mut is_governed, mut found) = (false, None);
        self.for_each_rule(
            request,
            |id| (id == rule).then_some(Enforcement::On),
            hasher,
            |visit| {
                is_governed = true;
                found = found.or_else(|| visit.is_found.then(|| visit.key.key()));
            },
        );
        if is_governed {
            return found;
        }
        let mut key = KeyBuilder::for_target(ChargeTarget::default(), hasher);
        self.read_key(rule, 0, request, &mut key).then(|| key.key())
    }

    /// Calls `visit` with every `wanted` rule that governs the request.
    pub(super) fn for_each_rule(
        &self,
        request: K::View<'_>,
        wanted: impl Fn(RuleId) -> Option<Enforcement>,
        hasher: &KeyHasher,
        mut visit: impl FnMut(Visit<'_, '_, K>),
    ) {
        let is_matched = self.visit_routes(request, |target, request| {
            if let Some(enforcement) = wanted(target.rule) {
                let raw = RefCell::default();
                let mut key = KeyBuilder::for_target(target.target, hasher).keeping_parts(self.kept(target.rule, &raw));
                let is_found = self.read_key(target.rule, target.group, request, &mut key);
                let (rule, route) = (target.rule, target.route);
                visit(Visit { rule, enforcement, route, key: &key, raw: &raw, is_found, request });
            }
        });
        let holds = |condition: &Option<Condition<K>>| condition.as_ref().is_none_or(|holds| holds(request));
        let unrouted = self.unrouted.iter().filter(|(_, condition)| holds(condition)).map(|(rule, _)| *rule);
        let unmatched = self.unmatched.filter(|_| !is_matched);
        for (rule, enforcement) in unrouted.chain(unmatched).filter_map(|rule| Some((rule, wanted(rule)?))) {
            let target = self.keys.get(rule.index()).map(|key| key.target).unwrap_or_default();
            let raw = RefCell::default();
            let mut key = KeyBuilder::for_target(target, hasher).keeping_parts(self.kept(rule, &raw));
            let is_found = self.read_key(rule, 0, request, &mut key);
            visit(Visit { rule, enforcement, route: 0, key: &key, raw: &raw, is_found, request });
        }
    }

    /// Calls `visit` with every route that the request matches, and the request with the parameters of that route. Returns
    /// `true` if every reading of the path matched a route.
    fn visit_routes(&self, request: K::View<'_>, mut visit: impl FnMut(&RouteTarget, K::View<'_>)) -> bool {
        let Some(request) = K::as_http(request).filter(|_| !self.table.is_empty()) else { return false };
        let mut visit = |target: &RouteTarget, params: Params<'_>| {
            let from_there = request.with_params(params);
            if let Some(request) = K::from_http(&from_there) {
                visit(target, request);
            }
        };
        let template = request.axum_template();
        let (mut is_matched, mut is_template_known) = (false, template.is_none());
        let is_untouched = request.is_untouched();
        for (path, counts) in request.paths() {
            let path = PathReadings::from_path(&path);
            for method in request.methods() {
                let is_found = self.table.visit(&method, &path, |target, params, is_as_it_came| {
                    is_template_known |= is_as_it_came && is_untouched && template == Some(&*target.template);
                    visit(target, params);
                });
                is_matched |= counts && is_found;
            }
        }
        // axum's own match counts too: the rules with that template govern the request, however its path looks.
        match template.filter(|_| !is_template_known) {
            Some(template) => self.visit_template(request, template, visit) || is_matched,
            None => is_matched,
        }
    }

    /// Calls `visit` with the routes of this template, and the values that axum has found for its parameters.
    fn visit_template(
        &self,
        request: &RequestView<'_>,
        template: &str,
        mut visit: impl FnMut(&RouteTarget, Params<'_>),
    ) -> bool {
        let mut targets = request.methods().flat_map(|method| self.table.with_template(&method, template)).peekable();
        if targets.peek().is_none() {
            return false;
        }
        let values: Option<Vec<String>> =
            request.axum_params().map(|params| params.into_iter().map(|(_, value)| value).collect());
        for target in targets {
            let params = match &values {
                Some(values) => {
                    let own = values.len().saturating_sub(target.params.len());
                    Params::decoded(&target.params, values.get(own..).unwrap_or_default())
                }
                None => Params::not_utf8(&target.params),
            };
            visit(target, params);
        }
        true
    }

    /// Returns where the parts of a rule's keys are kept, if they are needed.
    fn kept<'r>(&self, rule: RuleId, raw: &'r RefCell<RawParts>) -> Option<&'r RefCell<RawParts>> {
        self.keys.get(rule.index()).is_some_and(|key| key.keeps_parts).then_some(raw)
    }

    /// Reads the key of a rule with the extractor of one of its groups of routes. Returns `false`, and leaves the shared key,
    /// if the request does not carry it.
    fn read_key(&self, rule: RuleId, group: usize, request: K::View<'_>, key: &mut KeyBuilder<'_>) -> bool {
        let extractor = self.keys.get(rule.index()).and_then(|key| key.extractors.get(group));
        let is_found = extractor.is_some_and(|extractor| extractor.extract(request, key).is_ok());
        if !is_found {
            key.return_to(Key::SHARED);
        }
        is_found
    }
}

impl<K: RequestKind> fmt::Debug for RuleMatcher<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleMatcher").field("rules", &self.keys.len()).finish_non_exhaustive()
    }
}

impl<K: RequestKind> RuleKey<K> {
    fn from_rule(rule: &Rule<K>, target: ChargeTarget) -> Self {
        let no_key: Arc<dyn KeyExtractor<K>> = Arc::new(NoKey);
        let extractors =
            rule.groups().iter().map(|group| group.extractor.clone().unwrap_or_else(|| Arc::clone(&no_key)));
        Self {
            extractors: extractors.collect(),
            on_missing: rule.missing_outcome(),
            target,
            keeps_parts: rule.has_patterns(),
        }
    }
}

/// The extractor of a rule that governs no requests.
#[derive(Debug)]
struct NoKey;

impl<K: RequestKind> KeyExtractor<K> for NoKey {
    fn extract(&self, _: K::View<'_>, _: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        Err(MissingKey)
    }
}

/// Returns the rules with their numbers.
fn numbered<K: RequestKind>(rules: &[Rule<K>]) -> impl Iterator<Item = (RuleId, &Rule<K>)> {
    rules.iter().enumerate().map(|(index, rule)| (RuleId::from_index(index), rule))
}

/// Returns the routes of a rule and where each leads: to one scope for all of them, or to one of its own.
fn route_targets<K: RequestKind>(
    rule: &Rule<K>,
    id: RuleId,
    targets: &RuleTargets,
) -> Result<Vec<(Route, RouteTarget)>, ConfigError> {
    let routes = rule.parsed_routes()?.into_iter().enumerate();
    let targets = routes.map(|(at, (route, group))| {
        let own = if rule.is_per_route() { at } else { 0 };
        let target = targets.get(own).unwrap_or(&targets[0])[0];
        let (template, params) = (route.template().into(), route.params().into());
        (route, RouteTarget { rule: id, group, route: own, target, template, params })
    });
    Ok(targets.collect())
}

fn unrouted<K: RequestKind>(rules: &[Rule<K>]) -> impl Iterator<Item = (RuleId, Option<Condition<K>>)> {
    numbered(rules).filter_map(|(id, rule)| match rule.applies_to() {
        AppliesTo::EveryRequest => Some((id, None)),
        AppliesTo::When(condition) => Some((id, Some(Arc::clone(condition)))),
        AppliesTo::Routes | AppliesTo::Unmatched | AppliesTo::NoRequests => None,
    })
}

/// Finds the rule for unmatched requests, of which there is at most one.
fn unmatched_rule<K: RequestKind>(rules: &[Rule<K>]) -> Result<Option<RuleId>, ConfigError> {
    let mut found = numbered(rules).filter(|(_, rule)| matches!(rule.applies_to(), AppliesTo::Unmatched));
    let Some((first, other)) = found.next() else { return Ok(None) };
    match found.next() {
        Some((_, second)) => {
            let reason =
                format!("rule \"{}\" is for the unmatched requests already: let one rule be for them", other.name());
            Err(ConfigError::new(UNMATCHED, "", reason).in_rule(second.name()))
        }
        None => Ok(Some(first)),
    }
}
