//! Finds the rules that govern a request, and the keys that it is counted by.

use std::{fmt, ops::Range, sync::Arc};

use hashbrown::DefaultHashBuilder;

use crate::{
    error::ConfigError,
    key::{Charge, Key, KeyBuilder, KeyExtractor, KeyHasher, MissingKey},
    limiter::{ChargeMark, ChargeMarks, Charges, KeyRejected, Watch},
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
    watch: Watch,
    /// Hashes the keys in charge marks.
    secret: DefaultHashBuilder,
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
    /// The scope of the rule's histories, or of its first route's.
    scope: u32,
}

impl<K: RequestKind> RuleMatcher<K> {
    /// Compiles the rules, each of which has its histories in its range of `scopes`.
    pub(super) fn from_rules(rules: &[Rule<K>], scopes: &[Range<u32>]) -> Result<Self, ConfigError> {
        let mut routes = Vec::new();
        let mut conditional = Vec::new();
        let mut keys = Vec::with_capacity(rules.len());
        let name_of = |id: RuleId| rules.get(id.index()).map_or_else(String::new, |rule| rule.name().to_owned());
        for ((id, rule), scopes) in numbered(rules).zip(scopes) {
            let in_rule = |error: ConfigError| error.in_rule(rule.name());
            keys.push(RuleKey::from_rule(rule, scopes.start).map_err(in_rule)?);
            let own = route_targets(rule, id, scopes).map_err(in_rule)?;
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
            watch: Watch::new(rules),
            secret: DefaultHashBuilder::default(),
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
    /// A rule that found the key of the request further out does not need it a second time.
    ///
    /// # Errors
    ///
    /// If the request lacks the key of a rule that rejects it then.
    pub(super) fn charge(
        &self,
        request: K::View<'_>,
        wanted: impl Fn(RuleId) -> bool,
        applied: &[ChargeMark],
        hasher: &KeyHasher,
        charges: &mut Charges,
    ) -> Result<(), KeyRejected> {
        if self.is_exempt(request) {
            return Ok(());
        }
        let mut rejected = None;
        self.visit_rules(request, wanted, hasher, |rule, key, is_found| {
            let Some(rule_key) = self.keys.get(rule.index()) else { return };
            self.watch.note_key(rule, key, is_found);
            let charge = key.charge();
            match rule_key.on_missing {
                _ if self.is_applied(applied, charge, is_found) => {}
                _ if is_found => charges.add(rule, *charge),
                OnMissing::Share => charges.add(rule, *charge),
                OnMissing::Skip => {}
                OnMissing::Reject(status) => {
                    rejected.get_or_insert(KeyRejected { rule, status });
                }
            }
        });
        self.watch.note_request();
        rejected.map_or(Ok(()), Err)
    }

    /// Returns the marks of these charges.
    pub(super) fn marks(&self, charges: &[Charge]) -> ChargeMarks {
        ChargeMarks::new(charges, &self.secret)
    }

    /// Returns `true` if the request was charged this further out, or if the rule found a key there and finds none here.
    #[inline]
    fn is_applied(&self, applied: &[ChargeMark], charge: &Charge, is_found: bool) -> bool {
        match applied {
            [] => false,
            marks if is_found => marks.contains(&ChargeMark::new(charge, &self.secret)),
            marks => marks.iter().any(|mark| mark.is_in(charge.scope())),
        }
    }

    /// Reads the key that a rule counts a request by: with the extractor of the route, if the request matches one. Neither
    /// conditions nor exemptions play a part.
    pub(super) fn key_of(&self, rule: RuleId, request: K::View<'_>, hasher: &KeyHasher) -> Option<Key> {
        let rule_key = self.keys.get(rule.index())?;
        let (mut is_matched, mut found) = (false, None);
        for table in self.tables() {
            self.visit_routes(table, request, |target, request| {
                if target.rule == rule {
                    is_matched = true;
                    found = found.or_else(|| rule_key.find(target.group, request, hasher));
                }
            });
        }
        if is_matched { found } else { rule_key.find(0, request, hasher) }
    }

    /// Returns all tables of routes.
    fn tables(&self) -> impl Iterator<Item = &RouteTable> {
        std::iter::once(&self.table).chain(self.conditional.iter().map(|routes| &routes.table))
    }

    /// Calls `visit` with every rule that governs the request, the key, and whether the request carries it. If not, the key is
    /// the shared one of all such requests.
    pub(super) fn for_each_rule(
        &self,
        request: K::View<'_>,
        hasher: &KeyHasher,
        visit: impl FnMut(RuleId, &KeyBuilder<'_>, bool),
    ) {
        if !self.is_exempt(request) {
            self.visit_rules(request, |_| true, hasher, visit);
        }
    }

    /// Calls `visit` with every `wanted` rule that governs the request, unless it is exempt from all of them.
    fn visit_rules(
        &self,
        request: K::View<'_>,
        wanted: impl Fn(RuleId) -> bool,
        hasher: &KeyHasher,
        mut visit: impl FnMut(RuleId, &KeyBuilder<'_>, bool),
    ) {
        let mut visit_target = |target: &RouteTarget, request: K::View<'_>| {
            let Some(rule_key) = self.keys.get(target.rule.index()).filter(|_| wanted(target.rule)) else { return };
            if !rule_key.exempts(request) {
                let mut key = KeyBuilder::in_scope(target.scope, hasher);
                let is_found = rule_key.read(target.group, request, &mut key);
                visit(target.rule, &key, is_found);
            }
        };
        let mut is_matched = !self.table.is_empty() && self.visit_routes(&self.table, request, &mut visit_target);
        for routes in self.conditional.iter().filter(|routes| routes.filter.holds(request)) {
            is_matched |= self.visit_routes(&routes.table, request, &mut visit_target);
        }
        let unrouted = self.unrouted.iter().chain(self.unmatched.iter().filter(|_| !is_matched));
        for rule in unrouted.filter(|rule| rule.governs(request)).map(|rule| rule.rule) {
            let Some(rule_key) = self.keys.get(rule.index()).filter(|_| wanted(rule)) else { continue };
            if !rule_key.exempts(request) {
                let mut key = KeyBuilder::in_scope(rule_key.scope, hasher);
                let is_found = rule_key.read(0, request, &mut key);
                visit(rule, &key, is_found);
            }
        }
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
    fn from_rule(rule: &Rule<K>, scope: u32) -> Result<Self, ConfigError> {
        let no_key: Arc<dyn KeyExtractor<K>> = Arc::new(NoKey);
        let extractors =
            rule.groups().iter().map(|group| group.extractor.clone().unwrap_or_else(|| Arc::clone(&no_key)));
        let exemptions = conditions(rule.exemptions())?;
        Ok(Self { extractors: extractors.collect(), exemptions, on_missing: rule.missing_outcome(), scope })
    }

    /// Returns `true` if the rule leaves the request alone.
    #[inline]
    fn exempts(&self, request: K::View<'_>) -> bool {
        !self.exemptions.is_empty() && self.exemptions.iter().any(|holds| holds(request))
    }

    /// Returns the key, as the extractor of one of the groups of routes reads it, if the request carries it.
    fn find(&self, group: usize, request: K::View<'_>, hasher: &KeyHasher) -> Option<Key> {
        let mut key = KeyBuilder::in_scope(self.scope, hasher);
        self.read(group, request, &mut key).then(|| key.key())
    }

    /// Reads the key with the extractor of one of the groups of routes. Returns `false`, and leaves the shared key, if the
    /// request does not carry it.
    fn read(&self, group: usize, request: K::View<'_>, key: &mut KeyBuilder<'_>) -> bool {
        let is_found = self.extractors.get(group).is_some_and(|extractor| extractor.extract(request, key).is_ok());
        if !is_found {
            key.return_to(Key::SHARED);
        }
        is_found
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
    scopes: &Range<u32>,
) -> Result<Vec<(Route, RouteTarget)>, ConfigError> {
    let routes = rule.parsed_routes()?.into_iter().enumerate();
    let targets = routes.map(|(at, (route, group))| {
        let scope = if rule.is_per_route() { scopes.start + at as u32 } else { scopes.start };
        let (template, params) = (route.template().into(), route.params().into());
        (route, RouteTarget { rule: id, group, scope, template, params })
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
