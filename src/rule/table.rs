//! Finds the rules that govern a method and a path.

use std::{borrow::Cow, sync::Arc};

use hashbrown::HashMap;
use http::Method;

use crate::{
    error::ConfigError,
    key::ChargeTarget,
    request::Params,
    rule::{PathReadings, Route, UnnamedTemplate, canonical_shape, without_param_names},
};

/// A table of all routes: one matcher per method, so that the most specific route for this method decides, as in axum.
#[derive(Debug)]
pub(crate) struct RouteTable {
    methods: HashMap<Method, Matcher>,
    /// For methods that no route names.
    any: Matcher,
    is_empty: bool,
}

/// The routes of one method.
#[derive(Debug, Default)]
struct Matcher {
    /// By the canonical form of their templates.
    canonical: matchit::Router<Vec<RouteTarget>>,
    /// By their templates as written; `None` if all of these are canonical.
    written: Option<matchit::Router<Vec<RouteTarget>>>,
    /// By their templates as written, with a trailing slash: where a service is nested at `/{t}/n` axum serves
    /// `/{t}/n/` too.
    slashed: matchit::Router<Vec<RouteTarget>>,
    /// By their templates without the names of parameters, as written and in canonical form.
    templates: HashMap<UnnamedTemplate, Vec<RouteTarget>>,
}

/// The number of a rule: its index among the rules of its limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RuleId(u16);

/// The rule of a route, and how it counts there.
#[derive(Clone, Debug)]
pub(crate) struct RouteTarget {
    pub(crate) rule: RuleId,
    /// The number of the rule's extractor that reads the key here.
    pub(crate) group: usize,
    /// The index of the route among those of the rule, if it has histories of its own, else zero.
    pub(crate) route: usize,
    /// The target of charges by the rule's own policy: of the rule, or of this route.
    pub(crate) target: ChargeTarget,
    /// The template as the rule wrote it, and the names of its parameters.
    pub(crate) template: Arc<str>,
    pub(crate) params: Box<[Cow<'static, str>]>,
}

impl RuleId {
    /// The maximum number of rules in a limiter.
    pub(crate) const MAX_RULES: usize = 1 << 16;

    /// Creates the number of the rule at this index, which is less than [`MAX_RULES`](Self::MAX_RULES).
    #[inline]
    pub(crate) const fn from_index(index: usize) -> Self {
        debug_assert!(index < Self::MAX_RULES, "the number of rules is checked before they are numbered");
        Self(index as u16)
    }

    /// Returns the index of the rule.
    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

impl RouteTable {
    /// Builds a table of routes and their targets. `name_of` names a rule in an error.
    pub(crate) fn build(
        routes: &[(Route, RouteTarget)],
        name_of: impl Fn(RuleId) -> String,
    ) -> Result<Self, ConfigError> {
        let mut methods = HashMap::new();
        for method in routes.iter().flat_map(|(route, _)| route.methods()) {
            if !methods.contains_key(method) {
                methods.insert(method.clone(), Matcher::build(routes, Some(method), &name_of)?);
            }
        }
        Ok(Self { methods, any: Matcher::build(routes, None, &name_of)?, is_empty: routes.is_empty() })
    }

    /// Returns true if there are no routes.
    pub(crate) const fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Calls `visit` with every rule that governs this method and one of the readings of its path, and whether that
    /// reading is the path verbatim.
    ///
    /// Returns true if routes matched in every reading that counts by itself.
    pub(crate) fn visit(
        &self,
        method: &Method,
        path: &PathReadings<'_>,
        mut visit: impl FnMut(&RouteTarget, Params<'_>, bool),
    ) -> bool {
        let matcher = self.matcher(method);
        let mut visit = |matcher: &matchit::Router<Vec<RouteTarget>>, path: &str, is_verbatim: bool| {
            let Ok(found) = matcher.at(path) else { return false };
            for target in found.value {
                visit(target, Params::encoded(&target.params, found.params.clone()), is_verbatim);
            }
            true
        };
        // The router behind may match a path verbatim, so not matching it here does not count.
        if matcher.written.is_some() || !path.has_one_reading() {
            let written = matcher.written.as_ref().unwrap_or(&matcher.canonical);
            for (at, reading) in path.verbatim().enumerate() {
                visit(written, reading, at == 0);
            }
            for reading in path.verbatim().filter(|reading| reading.ends_with('/')) {
                visit(&matcher.slashed, reading, false);
            }
        }
        let mut is_matched = true;
        for (reading, counts) in path.iter() {
            is_matched &= visit(&matcher.canonical, reading, path.has_one_reading()) || !counts;
            // A router behind that resolves dot segments matches the rest against its templates as written.
            if let Some(written) = matcher.written.as_ref().filter(|_| !path.has_one_reading()) {
                visit(written, reading, false);
            }
        }
        is_matched
    }

    /// Returns the targets of the routes with this template, whatever its parameters are called. A router that nests
    /// another may have put a slash too many between the two templates.
    pub(crate) fn with_template(&self, method: &Method, template: &str) -> &[RouteTarget] {
        let templates = &self.matcher(method).templates;
        let canonical = || templates.get(&without_param_names(&canonical_shape(template)?));
        templates.get(&without_param_names(template)).or_else(canonical).map_or(&[], Vec::as_slice)
    }

    /// Returns the routes of a method. HEAD counts as GET.
    fn matcher(&self, method: &Method) -> &Matcher {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.methods.get(method).unwrap_or(&self.any)
    }
}

impl Matcher {
    fn build(
        routes: &[(Route, RouteTarget)],
        method: Option<&Method>,
        name_of: impl Fn(RuleId) -> String,
    ) -> Result<Self, ConfigError> {
        let includes =
            |route: &Route| route.methods().is_empty() || method.is_some_and(|method| route.methods().contains(method));
        let routes: Vec<_> = routes.iter().filter(|(route, _)| includes(route)).collect();
        let canonical = matcher(&routes, |route| route.shape().into(), &name_of)?;
        let is_canonical = routes.iter().all(|(route, _)| route.shape() == route.written());
        let written =
            if is_canonical { None } else { Some(matcher(&routes, |route| route.written().into(), &name_of)?) };
        let open: Vec<_> = routes.iter().filter(|(route, _)| route.takes_trailing_slash()).copied().collect();
        let slashed = matcher(&open, |route| format!("{}/", route.written()).into(), &name_of)?;
        let mut templates: HashMap<_, Vec<_>> = HashMap::new();
        for (route, target) in &routes {
            templates.entry(without_param_names(route.written())).or_default().push(target.clone());
            if route.shape() != route.written() {
                templates.entry(without_param_names(route.shape())).or_default().push(target.clone());
            }
        }
        Ok(Self { canonical, written, slashed, templates })
    }
}

/// Builds a matcher of the routes in the form that `shape_of` returns.
fn matcher(
    routes: &[&(Route, RouteTarget)],
    shape_of: impl Fn(&Route) -> Cow<'_, str>,
    name_of: impl Fn(RuleId) -> String,
) -> Result<matchit::Router<Vec<RouteTarget>>, ConfigError> {
    let mut shapes: Vec<(&Route, Vec<RouteTarget>)> = Vec::new();
    let mut known: HashMap<Cow<'_, str>, usize> = HashMap::new();
    for (route, target) in routes {
        let at = *known.entry(shape_of(route)).or_insert_with(|| {
            shapes.push((route, Vec::new()));
            shapes.len() - 1
        });
        shapes[at].1.push(target.clone());
    }
    let mut matcher = matchit::Router::new();
    for (route, targets) in &shapes {
        matcher.insert(&*shape_of(route), targets.clone()).map_err(|error| {
            let rule = targets.first().map_or_else(String::new, |target| name_of(target.rule));
            let other = |with: &str| shapes.iter().map(|(other, _)| *other).find(|other| shape_of(other) == with);
            conflict(route, &error, other).in_rule(&rule)
        })?;
    }
    Ok(matcher)
}

/// Returns the error about two routes in conflict, naming the other as its rule wrote it.
fn conflict<'r>(
    route: &Route,
    error: &matchit::InsertError,
    other: impl FnOnce(&str) -> Option<&'r Route>,
) -> ConfigError {
    let reason = match error {
        matchit::InsertError::Conflict { with } => {
            format!("conflicts with the route \"{}\"", other(with).map_or(&**with, Route::text))
        }
        other => other.to_string(),
    };
    ConfigError::new("route", format_args!("\"{}\"", route.text()), reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &[&str]) -> Result<RouteTable, ConfigError> {
        let routes: Vec<_> = routes
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let route = Route::parse(text).unwrap();
                let (template, params) = (route.template().into(), route.params().into());
                let target = RouteTarget {
                    rule: RuleId::from_index(index),
                    group: 0,
                    route: 0,
                    target: ChargeTarget::default(),
                    template,
                    params,
                };
                (route, target)
            })
            .collect();
        RouteTable::build(&routes, |rule| format!("rule{}", rule.index()))
    }

    fn found(table: &RouteTable, method: &str, path: &str) -> Vec<usize> {
        let mut rules = Vec::new();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        table.visit(&method, &PathReadings::from_path(path), |target, _, _| rules.push(target.rule.index()));
        rules
    }

    #[test]
    fn a_static_segment_goes_before_a_parameter_and_a_parameter_before_the_rest() {
        let table = table(&["POST /bot/import", "POST /bot/{id}", "POST /{*rest}"]).unwrap();
        assert_eq!(found(&table, "POST", "/bot/import"), [0]);
        assert_eq!(found(&table, "POST", "/bot/important"), [1]);
        assert_eq!(found(&table, "POST", "/bot/7/export"), [2]);
    }

    #[test]
    fn only_routes_of_the_method_count() {
        let table = table(&["POST /bot/import", "GET /bot/{id}", "/bot/{id}/status"]).unwrap();
        assert_eq!(found(&table, "GET", "/bot/import"), [1]);
        assert!(found(&table, "DELETE", "/bot/import").is_empty());
        assert_eq!(found(&table, "DELETE", "/bot/7/status"), [2]);
        assert_eq!(found(&table, "GET", "/bot/7/status"), [2]);
    }

    #[test]
    fn head_counts_as_get() {
        let table = table(&["GET /x", "POST /y"]).unwrap();
        assert_eq!(found(&table, "HEAD", "/x"), [0]);
        assert!(found(&table, "BREW", "/y").is_empty());
    }

    #[test]
    fn several_rules_may_share_a_template_whatever_they_call_its_parameters() {
        let table = table(&["GET /a/{x}", "GET /a/{y}", "/a/{z}"]).unwrap();
        assert_eq!(found(&table, "GET", "/a/1"), [0, 1, 2]);
        assert_eq!(found(&table, "PUT", "/a/1"), [2]);
    }

    #[test]
    fn every_reading_of_a_path_is_looked_up() {
        let table = table(&["/run", "/bots/{id}/run", "/bots/{id}"]).unwrap();
        assert_eq!(found(&table, "GET", "/bots/../run"), [1, 1, 0], "as it came, and twice besides");
        assert_eq!(found(&table, "GET", "/bots/a%2Frun"), [2, 2, 1]);
    }

    #[test]
    fn a_path_is_looked_up_as_it_came_too() {
        let strict = table(&["/{tenant}/login", "/files/{*path}", "/api/{*rest}", "/api/health"]).unwrap();
        assert_eq!(found(&strict, "POST", "//login"), [0]);
        assert_eq!(found(&strict, "GET", "/files//"), [1]);
        for path in ["/api/health/", "/api//health", "/api/%68ealth"] {
            assert_eq!(found(&strict, "GET", path)[..2], [2, 3], "{path}");
        }
    }

    #[test]
    fn a_template_is_matched_as_it_is_written_too() {
        let slashes = table(&["/{x}/{y}", "/api/a//"]).unwrap();
        assert_eq!(found(&slashes, "GET", "/api/a"), [0, 1]);
        assert_eq!(found(&slashes, "GET", "/api/a//")[0], 1);
        let rest = table(&["/{*rest}", "//login"]).unwrap();
        assert_eq!(found(&rest, "GET", "/login"), [0, 1]);
        assert_eq!(found(&rest, "GET", "//")[0], 0);
    }

    #[test]
    fn a_conflict_names_both_routes_and_the_rule() {
        let error = table(&["GET /a/{x}", "PUT /a/{*y}", "GET|POST /a/{*z}"]).unwrap_err();
        assert_eq!(error.rule(), Some("rule2"));
        assert_eq!(error.value(), "\"GET|POST /a/{*z}\"");
        assert_eq!(error.reason(), "conflicts with the route \"GET /a/{x}\"");
    }
}
