//! Finds the rules that govern a request, and the keys that it is counted by.

use std::{
    cell::{Cell, RefCell},
    fmt,
    sync::Arc,
};

use http::StatusCode;

use crate::{
    cost::Cost,
    error::ConfigError,
    key::{ChargeTarget, Key, KeyBuilder, KeyExtractor, KeyHasher, MissingKey, RawParts},
    limiter::{AppliedMarks, Charges, RuleTargets, RuleTier, Watch},
    observe::Observer,
    policy::Enforcement,
    request::{Condition, Params, RequestKind, RequestView},
    rule::{
        AppliesTo, Filter, OnMissing, PathReadings, Route, RouteTable, RouteTarget, Rule, RuleId, exempt::Exemption,
    },
};

/// The method of [`Rule`] that makes it one for unmatched requests, as errors name it.
pub(crate) const UNMATCHED: &str = "unmatched_requests";

/// The half of the compiled rules that depends on the kind of request. Immutable, but for the watch of the first requests.
pub(crate) struct RuleMatcher<K: RequestKind> {
    /// The conditions under which no rule governs a request.
    exemptions: Box<[Condition<K>]>,
    /// The routes of the rules without conditions.
    table: RouteTable,
    /// The rules with routes and conditions.
    conditional: Box<[ConditionalRoutes<K>]>,
    /// The rules without routes.
    unrouted: Box<[FilteredRule<K>]>,
    /// The rule for requests that match no route.
    unmatched: Option<FilteredRule<K>>,
    /// By the numbers of the rules.
    keys: Box<[RuleKey<K>]>,
    remembers_names: bool,
    watch: Watch,
}

/// The routes of one rule with conditions.
///
/// They are in a table of their own, so that they neither hide the less specific routes of other rules, which still govern the
/// request if the conditions do not hold, nor are hidden.
struct ConditionalRoutes<K: RequestKind> {
    filter: Filter<K>,
    table: RouteTable,
}

/// A rule without routes, and its conditions if it has some.
struct FilteredRule<K: RequestKind> {
    rule: RuleId,
    filter: Option<Filter<K>>,
}

/// The extractors of one rule, and its reaction to requests without the key.
struct RuleKey<K: RequestKind> {
    /// One per group of routes. The first is the one that [`Rule::key`] sets.
    extractors: Box<[Arc<dyn KeyExtractor<K>>]>,
    /// The conditions under which the rule leaves a request alone.
    exemptions: Box<[Condition<K>]>,
    on_missing: OnMissing,
    /// The target of charges by the rule's own policy, on all routes or on the first.
    target: ChargeTarget,
    keeps_parts: bool,
    /// `None` if the rule counts requests.
    costs: Option<Box<RuleCosts<K>>>,
}

/// The sources of the costs of one rule.
struct RuleCosts<K: RequestKind> {
    source: Option<Arc<dyn Cost<K>>>,
    /// By the groups of routes, in place of the source.
    of_groups: Box<[Option<u64>]>,
    /// A reservation is of one unit at least: else an exhausted key could start requests for ever.
    least: u64,
}

/// A rule that governs a request, and the key that it counts.
pub(super) struct Visit<'a, 'r, K: RequestKind> {
    pub(super) rule: RuleId,
    pub(super) enforcement: Enforcement,
    /// The index of the route, if it has histories of its own.
    pub(super) route: usize,
    /// The key, and its charge for the units that the request costs.
    pub(super) key: &'a mut KeyBuilder<'a>,
    /// The parts of the key, if the rule has overrides for patterns of keys.
    pub(super) raw: Option<&'a RefCell<RawParts>>,
    /// Whether the request carries the key. If not, it is the shared one of all such requests.
    pub(super) is_found: bool,
    pub(super) request: K::View<'r>,
}

impl<K: RequestKind> RuleMatcher<K> {
    /// Compiles the rules, whose charges have these `targets`.
    pub(super) fn from_rules(
        rules: &[Rule<K>],
        targets: &[RuleTargets],
        observer: &Arc<Observer>,
    ) -> Result<Self, ConfigError> {
        let remembers_names = observer.remembers_names();
        let mut routes = Vec::new();
        let mut conditional = Vec::new();
        let mut keys = Vec::with_capacity(rules.len());
        let name_of = |id: RuleId| rules.get(id.index()).map_or_else(String::new, |rule| rule.name().to_owned());
        for ((id, rule), targets) in numbered(rules).zip(targets) {
            let in_rule = |error: ConfigError| error.in_rule(rule.name());
            let mut key = RuleKey::from_rule(rule, targets[0][0]).map_err(in_rule)?;
            key.keeps_parts |= remembers_names;
            keys.push(key);
            let own = route_targets(rule, id, targets).map_err(in_rule)?;
            match rule.filter().map_err(in_rule)? {
                Some(filter) if !own.is_empty() => {
                    conditional.push(ConditionalRoutes { filter, table: RouteTable::build(&own, name_of)? });
                }
                _ => routes.extend(own),
            }
        }
        Ok(Self {
            exemptions: Box::default(),
            table: RouteTable::build(&routes, name_of)?,
            conditional: conditional.into(),
            unrouted: unrouted(rules)?,
            unmatched: unmatched_rule(rules)?,
            keys: keys.into(),
            remembers_names,
            watch: Watch::new(rules, observer),
        })
    }

    /// Sets the exemptions from all rules.
    pub(super) fn exempt(&mut self, exemptions: &[Exemption<K>]) -> Result<(), ConfigError> {
        self.exemptions = conditions(exemptions)?;
        Ok(())
    }

    /// Returns `true` if no rule governs the request.
    #[inline]
    fn is_exempt(&self, request: K::View<'_>) -> bool {
        !self.exemptions.is_empty() && self.exemptions.iter().any(|holds| holds(request))
    }

    /// Adds the charges of a request under the `wanted` rules to `charges`, except those that are `applied` already.
    ///
    /// `wanted` returns how a rule is enforced; `None` if it is not to be looked at. `note` is called with each of the others,
    /// and returns whether it is charged; it may have judged the key, which is judged once more then. A rule that found the key of the request further out does not need it a second time.
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
        (mut note, judge): (impl FnMut(&mut Visit<'_, '_, K>) -> bool, impl Fn(&mut Visit<'_, '_, K>) -> RuleTier),
        charges: &mut Charges,
    ) -> Result<(), (RuleId, StatusCode)> {
        if self.is_exempt(request) {
            charges.exempt();
            return Ok(());
        }
        let mut rejected = None;
        let is_exempt = self.visit_rules(request, wanted, hasher, |mut visit| {
            let (rule, enforcement, is_found) = (visit.rule, visit.enforcement, visit.is_found);
            if !note(&mut visit) {
                return;
            }
            let Some(rule_key) = self.keys.get(rule.index()) else { return };
            self.watch.note_key(rule, visit.key, is_found);
            let is_applied = applied.contains(visit.key.charge(), is_found);
            let mut add = || {
                let rule = judge(&mut visit);
                charges.add(rule, visit.key.charge());
                if self.remembers_names {
                    charges.name(visit.key.key(), visit.raw);
                }
            };
            match rule_key.on_missing {
                _ if is_applied => {}
                _ if is_found => add(),
                OnMissing::Share => add(),
                OnMissing::Skip => {}
                OnMissing::Reject(_) if !enforcement.is_enforced() => {}
                OnMissing::Reject(status) => {
                    rejected.get_or_insert((rule, status));
                }
            }
        });
        if is_exempt {
            charges.exempt();
        }
        self.watch.note_request();
        rejected.map_or(Ok(()), Err)
    }

    /// Reads the key that a rule counts a request by: with the extractor of the route, if the request matches one. Neither
    /// conditions nor exemptions play a part.
    pub(super) fn key_of(&self, rule: RuleId, request: K::View<'_>, hasher: &KeyHasher) -> Option<Key> {
        self.find(rule, request, |rule_key, group, request| rule_key.find(group, request, hasher))
    }

    /// Reads the parts of that key.
    pub(super) fn parts_of(&self, rule: RuleId, request: K::View<'_>, hasher: &KeyHasher) -> Option<Vec<Vec<u8>>> {
        self.find(rule, request, |rule_key, group, request| rule_key.parts(group, request, hasher))
    }

    /// Finds something in a request for a rule, with `find`, which is given the group of the route.
    fn find<T>(
        &self,
        rule: RuleId,
        request: K::View<'_>,
        find: impl Fn(&RuleKey<K>, usize, K::View<'_>) -> Option<T>,
    ) -> Option<T> {
        let rule_key = self.keys.get(rule.index())?;
        let (mut is_matched, mut found) = (false, None);
        for table in self.tables() {
            self.visit_routes(table, request, |target, request| {
                if target.rule == rule {
                    is_matched = true;
                    found = found.take().or_else(|| find(rule_key, target.group, request));
                }
            });
        }
        if is_matched { found } else { find(rule_key, 0, request) }
    }

    /// Returns all tables of routes.
    fn tables(&self) -> impl Iterator<Item = &RouteTable> {
        std::iter::once(&self.table).chain(self.conditional.iter().map(|routes| &routes.table))
    }

    /// Calls `visit` with every rule that governs the request.
    pub(super) fn for_each_rule(
        &self,
        request: K::View<'_>,
        wanted: impl Fn(RuleId) -> Option<Enforcement>,
        hasher: &KeyHasher,
        visit: impl FnMut(Visit<'_, '_, K>),
    ) {
        if !self.is_exempt(request) {
            self.visit_rules(request, wanted, hasher, visit);
        }
    }

    /// Calls `visit` with every `wanted` rule that governs the request. Returns `true` if it is exempt from some other one.
    fn visit_rules(
        &self,
        request: K::View<'_>,
        wanted: impl Fn(RuleId) -> Option<Enforcement>,
        hasher: &KeyHasher,
        mut visit: impl FnMut(Visit<'_, '_, K>),
    ) -> bool {
        let is_exempt = Cell::new(false);
        let mut visit_target = |target: &RouteTarget, request: K::View<'_>| {
            let Some(enforcement) = wanted(target.rule) else { return };
            let Some(rule_key) = self.keys.get(target.rule.index()) else { return };
            if rule_key.exempts(request) {
                is_exempt.set(true);
            } else {
                let raw = rule_key.kept();
                let units = rule_key.units(target.group, request);
                let key = &mut KeyBuilder::for_charge(target.target, enforcement, units, hasher);
                key.keep_parts(raw.as_deref());
                let is_found = rule_key.read(target.group, request, key);
                let (rule, route) = (target.rule, target.route);
                visit(Visit { rule, enforcement, route, key, raw: raw.as_deref(), is_found, request });
            }
        };
        let mut is_matched = !self.table.is_empty() && self.visit_routes(&self.table, request, &mut visit_target);
        for routes in self.conditional.iter().filter(|routes| routes.filter.holds(request)) {
            is_matched |= self.visit_routes(&routes.table, request, &mut visit_target);
        }
        let unrouted = self.unrouted.iter().chain(self.unmatched.iter().filter(|_| !is_matched));
        for rule in unrouted.filter(|rule| rule.governs(request)).map(|rule| rule.rule) {
            let Some(enforcement) = wanted(rule) else { continue };
            let Some(rule_key) = self.keys.get(rule.index()) else { continue };
            if rule_key.exempts(request) {
                is_exempt.set(true);
            } else {
                let raw = rule_key.kept();
                let units = rule_key.units(0, request);
                let key = &mut KeyBuilder::for_charge(rule_key.target, enforcement, units, hasher);
                key.keep_parts(raw.as_deref());
                let is_found = rule_key.read(0, request, key);
                visit(Visit { rule, enforcement, route: 0, key, raw: raw.as_deref(), is_found, request });
            }
        }
        is_exempt.get()
    }

    /// Calls `visit` with every route of a table that the request matches, and the request with the parameters of that route.
    /// Returns `true` if every reading of the path matched a route.
    fn visit_routes(
        &self,
        table: &RouteTable,
        request: K::View<'_>,
        mut visit: impl FnMut(&RouteTarget, K::View<'_>),
    ) -> bool {
        let Some(request) = K::as_http(request) else { return false };
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
                let is_found = table.visit(&method, &path, |target, params, is_as_it_came| {
                    is_template_known |= is_as_it_came && is_untouched && template == Some(&*target.template);
                    visit(target, params);
                });
                is_matched |= counts && is_found;
            }
        }
        // axum's own match counts too: the rules with that template govern the request, however its path looks.
        match template.filter(|_| !is_template_known) {
            Some(template) => visit_template(table, request, template, visit) || is_matched,
            None => is_matched,
        }
    }
}

impl<K: RequestKind> fmt::Debug for RuleMatcher<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleMatcher").field("rules", &self.keys.len()).finish_non_exhaustive()
    }
}

impl<K: RequestKind> FilteredRule<K> {
    fn from_rule(rule: &Rule<K>, id: RuleId) -> Result<Self, ConfigError> {
        Ok(Self { rule: id, filter: rule.filter().map_err(|error| error.in_rule(rule.name()))? })
    }

    /// Returns `true` if the conditions of the rule hold.
    #[inline]
    fn governs(&self, request: K::View<'_>) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.holds(request))
    }
}

impl<K: RequestKind> RuleKey<K> {
    fn from_rule(rule: &Rule<K>, target: ChargeTarget) -> Result<Self, ConfigError> {
        let no_key: Arc<dyn KeyExtractor<K>> = Arc::new(NoKey);
        let extractors =
            rule.groups().iter().map(|group| rule.extractor_of(group).cloned().unwrap_or_else(|| Arc::clone(&no_key)));
        Ok(Self {
            extractors: extractors.collect(),
            exemptions: conditions(rule.exemptions())?,
            on_missing: rule.missing_outcome(),
            target,
            keeps_parts: rule.has_patterns(),
            costs: rule.costs().are_any().then(|| Box::new(RuleCosts::from_rule(rule))),
        })
    }

    /// Returns `true` if the rule leaves the request alone.
    #[inline]
    fn exempts(&self, request: K::View<'_>) -> bool {
        !self.exemptions.is_empty() && self.exemptions.iter().any(|holds| holds(request))
    }

    /// Returns the units that a request costs on the routes of a group.
    #[inline]
    fn units(&self, group: usize, request: K::View<'_>) -> u64 {
        self.costs.as_ref().map_or(1, |costs| costs.units(group, request))
    }

    /// Returns where the parts of a key are kept, if they are needed.
    fn kept(&self) -> Option<Box<RefCell<RawParts>>> {
        self.keeps_parts.then(Box::default)
    }

    /// Returns the key, as the extractor of one of the groups of routes reads it, if the request carries it.
    fn find(&self, group: usize, request: K::View<'_>, hasher: &KeyHasher) -> Option<Key> {
        let mut key = KeyBuilder::for_target(self.target, hasher);
        self.read(group, request, &mut key).then(|| key.key())
    }

    /// Returns the parts of the key, if the request carries it.
    fn parts(&self, group: usize, request: K::View<'_>, hasher: &KeyHasher) -> Option<Vec<Vec<u8>>> {
        let raw = RefCell::default();
        let mut key = KeyBuilder::for_target(self.target, hasher);
        key.keep_parts(Some(&raw));
        let is_found = self.read(group, request, &mut key);
        is_found.then(|| raw.borrow().iter().map(|part| part.to_vec()).collect())
    }

    /// Reads the key with the extractor of one of the groups of routes. Returns `false`, and leaves the shared key, if the
    /// request does not carry it.
    fn read(&self, group: usize, request: K::View<'_>, key: &mut KeyBuilder<'_>) -> bool {
        let is_found = self.extractors.get(group).is_some_and(|extractor| extractor.extract(request, key).is_ok());
        if !is_found {
            key.clear();
        }
        is_found
    }
}

impl<K: RequestKind> RuleCosts<K> {
    fn from_rule(rule: &Rule<K>) -> Self {
        let costs = rule.costs();
        Self {
            source: costs.source().cloned(),
            of_groups: rule.groups().iter().map(|group| group.cost).collect(),
            least: u64::from(costs.settling().is_some()),
        }
    }

    fn units(&self, group: usize, request: K::View<'_>) -> u64 {
        let stated = || self.source.as_ref().map_or(1, |source| source.units(request));
        self.of_groups.get(group).copied().flatten().unwrap_or_else(stated).max(self.least)
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

/// Calls `visit` with the routes of this template, and the values that axum has found for its parameters.
fn visit_template(
    table: &RouteTable,
    request: &RequestView<'_>,
    template: &str,
    mut visit: impl FnMut(&RouteTarget, Params<'_>),
) -> bool {
    let mut targets = request.methods().flat_map(|method| table.with_template(&method, template)).peekable();
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

/// Returns the rules for every request.
fn unrouted<K: RequestKind>(rules: &[Rule<K>]) -> Result<Box<[FilteredRule<K>]>, ConfigError> {
    let unrouted = numbered(rules).filter(|(_, rule)| matches!(rule.applies_to(), AppliesTo::EveryRequest));
    unrouted.map(|(id, rule)| FilteredRule::from_rule(rule, id)).collect()
}

/// Finds the rule for unmatched requests, of which there is at most one.
fn unmatched_rule<K: RequestKind>(rules: &[Rule<K>]) -> Result<Option<FilteredRule<K>>, ConfigError> {
    let mut found = numbered(rules).filter(|(_, rule)| matches!(rule.applies_to(), AppliesTo::Unmatched));
    let Some((first, other)) = found.next() else { return Ok(None) };
    match found.next() {
        Some((_, second)) => {
            let reason =
                format!("rule \"{}\" is for the unmatched requests already: let one rule be for them", other.name());
            Err(ConfigError::new(UNMATCHED, "", reason).in_rule(second.name()))
        }
        None => FilteredRule::from_rule(other, first).map(Some),
    }
}

/// Returns the conditions of these exemptions.
fn conditions<K: RequestKind>(exemptions: &[Exemption<K>]) -> Result<Box<[Condition<K>]>, ConfigError> {
    exemptions.iter().map(Exemption::condition).collect()
}
