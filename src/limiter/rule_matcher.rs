//! From a request to the rules that govern it and the keys it is counted by.

use std::{fmt, ops::Range, sync::Arc};

use hashbrown::DefaultHashBuilder;

use crate::{
    error::ConfigError,
    key::{Charge, Key, KeyBuilder, KeyExtractor, KeyHasher, MissingKey},
    limiter::{ChargeMark, ChargeMarks, Charges, KeyRejected, Watch},
    request::{Condition, Params, RequestKind, RequestView},
    rule::{AppliesTo, OnMissing, PathReadings, Route, RouteTable, RouteTarget, Rule},
};

/// The method by which a rule is for the unmatched requests.
pub(crate) const UNMATCHED: &str = "unmatched_requests";

/// What of the rules depends on the kind of request. It never changes, but for what the first requests show.
pub(crate) struct RuleMatcher<K: RequestKind> {
    table: RouteTable,
    /// The rules without routes, and the condition of those that have one.
    unbound: Box<[(usize, Option<Condition<K>>)]>,
    /// The rule for requests that match no route.
    unmatched: Option<usize>,
    readers: Box<[RuleKey<K>]>,
    watch: Watch,
    /// Of the notes of what was charged.
    secret: DefaultHashBuilder,
}

/// How the key of one rule is read.
struct RuleKey<K> {
    /// One per group of routes; the level's own is the first.
    extractors: Box<[Arc<dyn KeyExtractor<K>>]>,
    on_missing: OnMissing,
    /// The scope of the rule's history, or of its first route's.
    scope: u32,
}

impl<K: RequestKind> RuleMatcher<K> {
    /// The way to these rules, each of which has its histories in some scopes.
    pub(super) fn build(rules: &[Rule<K>], scopes: &[Range<u32>]) -> Result<Self, ConfigError> {
        let mut routes = Vec::new();
        let mut readers = Vec::with_capacity(rules.len());
        for (number, (rule, scopes)) in rules.iter().zip(scopes).enumerate() {
            readers.push(RuleKey::from_rule(rule, scopes.start));
            routes.extend(targets_of(rule, number, scopes).map_err(|error| error.in_rule(rule.name()))?);
        }
        let name_of = |rule: usize| rules.get(rule).map_or_else(String::new, |rule| rule.name().to_owned());
        Ok(Self {
            table: RouteTable::build(&routes, name_of)?,
            unbound: unbound(rules).collect(),
            unmatched: one_for_unmatched(rules)?,
            readers: readers.into(),
            watch: Watch::new(rules),
            secret: DefaultHashBuilder::default(),
        })
    }

    /// Adds the charges of a request under the rules that are `wanted`, unless a rule turns it away. What is `applied` was
    /// charged already; a rule that knew the caller then needs no key a second time.
    pub(super) fn govern(
        &self,
        request: K::View<'_>,
        wanted: impl Fn(u16) -> bool,
        applied: &[ChargeMark],
        hasher: &KeyHasher,
        governed: &mut Charges,
    ) -> Result<(), KeyRejected> {
        let mut refused = None;
        self.for_each_rule(request, wanted, hasher, |number, key, is_found| {
            let Some(reader) = self.readers.get(number) else { return };
            self.watch.note_key(number, key, is_found);
            let charge = key.charge();
            match reader.on_missing {
                _ if self.is_applied(applied, charge, is_found) => {}
                _ if is_found => governed.add(number, *charge),
                OnMissing::Share => governed.add(number, *charge),
                OnMissing::Skip => {}
                OnMissing::Reject(status) => drop(refused.get_or_insert(KeyRejected { rule: number, status })),
            }
        });
        self.watch.note_request();
        refused.map_or(Ok(()), Err)
    }

    /// A note of what a request is charged.
    pub(super) fn charged(&self, charges: &[Charge]) -> ChargeMarks {
        ChargeMarks::new(charges, &self.secret)
    }

    /// Whether the request has paid this, or the rule knew the caller further out and does not know it here.
    #[inline]
    fn is_applied(&self, applied: &[ChargeMark], charge: &Charge, is_found: bool) -> bool {
        match applied {
            [] => false,
            marks if is_found => marks.contains(&ChargeMark::new(charge, &self.secret)),
            marks => marks.iter().any(|mark| mark.is_in(charge.scope())),
        }
    }

    /// Reads the key that a rule counts a request by, where its routes have it if the request matches one.
    pub(super) fn key_of(&self, rule: u16, request: K::View<'_>, hasher: &KeyHasher) -> Option<Key> {
        let (mut is_governed, mut found) = (false, None);
        self.for_each_rule(
            request,
            |number| number == rule,
            hasher,
            |_, key, is_found| {
                is_governed = true;
                found = found.or_else(|| is_found.then(|| key.key()));
            },
        );
        if is_governed {
            return found;
        }
        let mut key = KeyBuilder::in_scope(0, hasher);
        self.read_key((rule.into(), 0), request, &mut key).then(|| key.key())
    }

    /// Calls `visit` with the number of every `wanted` rule that governs the request, the key, and whether the request carries
    /// that: else it is the one that all those share.
    pub(super) fn for_each_rule(
        &self,
        request: K::View<'_>,
        wanted: impl Fn(u16) -> bool,
        hasher: &KeyHasher,
        mut visit: impl FnMut(usize, &KeyBuilder<'_>, bool),
    ) {
        let is_wanted = |number: usize| wanted(number as u16);
        let is_matched = self.visit_routes(request, |target, request| {
            if is_wanted(target.rule) {
                let mut key = KeyBuilder::in_scope(target.scope, hasher);
                let is_found = self.read_key((target.rule, target.group), request, &mut key);
                visit(target.rule, &key, is_found);
            }
        });
        let holds = |condition: &Option<Condition<K>>| condition.as_ref().is_none_or(|holds| holds(request));
        let unbound = self.unbound.iter().filter(|(_, condition)| holds(condition)).map(|(number, _)| *number);
        let unmatched = self.unmatched.filter(|_| !is_matched);
        for number in unbound.chain(unmatched).filter(|number| is_wanted(*number)) {
            let mut key = KeyBuilder::in_scope(self.readers.get(number).map_or(0, |reader| reader.scope), hasher);
            let is_found = self.read_key((number, 0), request, &mut key);
            visit(number, &key, is_found);
        }
    }

    /// Calls `visit` with every route that leads to a rule, and the request as it is seen from there. Says whether there
    /// was one in every reading of the path.
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
        // What axum has matched is governed by the rules with that template, however the path came to match it.
        match template.filter(|_| !is_template_known) {
            Some(template) => self.visit_template(request, template, visit) || is_matched,
            None => is_matched,
        }
    }

    /// Calls `visit` with the routes of this template, and what axum has found for its parameters.
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

    /// Whether the request carries the key that a rule looks for, in one of its groups of routes.
    fn read_key(&self, (rule, group): (usize, usize), request: K::View<'_>, key: &mut KeyBuilder<'_>) -> bool {
        let extractor = self.readers.get(rule).and_then(|reader| reader.extractors.get(group));
        let is_found = extractor.is_some_and(|extractor| extractor.extract(request, key).is_ok());
        if !is_found {
            key.return_to(Key::SHARED);
        }
        is_found
    }
}

impl<K: RequestKind> fmt::Debug for RuleMatcher<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleMatcher").field("rules", &self.readers.len()).finish_non_exhaustive()
    }
}

impl<K: RequestKind> RuleKey<K> {
    fn from_rule(rule: &Rule<K>, scope: u32) -> Self {
        let unread: Arc<dyn KeyExtractor<K>> = Arc::new(Unread);
        let extractors =
            rule.groups().iter().map(|group| group.extractor.clone().unwrap_or_else(|| Arc::clone(&unread)));
        Self { extractors: extractors.collect(), on_missing: rule.missing_outcome(), scope }
    }
}

/// In the place of an extractor where a rule governs nothing that has a key.
#[derive(Debug)]
struct Unread;

impl<K: RequestKind> KeyExtractor<K> for Unread {
    fn extract(&self, _: K::View<'_>, _: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        Err(MissingKey)
    }
}

/// The routes of a rule, with the scope of all of them or of each.
fn targets_of<K: RequestKind>(
    rule: &Rule<K>,
    number: usize,
    scopes: &Range<u32>,
) -> Result<Vec<(Route, RouteTarget)>, ConfigError> {
    let routes = rule.parsed_routes()?.into_iter().enumerate();
    let targets = routes.map(|(at, (route, group))| {
        let scope = if rule.is_per_route() { scopes.start + at as u32 } else { scopes.start };
        let (template, params) = (route.template().into(), route.params().into());
        (route, RouteTarget { rule: number, group, scope, template, params })
    });
    Ok(targets.collect())
}

fn unbound<K: RequestKind>(rules: &[Rule<K>]) -> impl Iterator<Item = (usize, Option<Condition<K>>)> {
    rules.iter().enumerate().filter_map(|(number, rule)| match rule.applies_to() {
        AppliesTo::EveryRequest => Some((number, None)),
        AppliesTo::When(condition) => Some((number, Some(Arc::clone(condition)))),
        AppliesTo::Routes | AppliesTo::Unmatched | AppliesTo::NoRequests => None,
    })
}

fn one_for_unmatched<K: RequestKind>(rules: &[Rule<K>]) -> Result<Option<usize>, ConfigError> {
    let mut found = rules.iter().enumerate().filter(|(_, rule)| matches!(rule.applies_to(), AppliesTo::Unmatched));
    let first = found.next().map(|(number, _)| number);
    match found.next() {
        Some((_, second)) => {
            let other = first.and_then(|first| rules.get(first)).map_or("", Rule::name);
            let reason = format!("rule \"{other}\" is for the unmatched requests already: let one rule be for them");
            Err(ConfigError::new(UNMATCHED, "", reason).in_rule(second.name()))
        }
        None => Ok(first),
    }
}
