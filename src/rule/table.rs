//! From a method and a path to the rules that govern it.

use std::borrow::Cow;

use hashbrown::HashMap;
use http::Method;

use crate::{
    error::ConfigError,
    rule::{Params, Route, Spellings},
};

/// One matcher per method, so that of the routes for this method the most specific decides, as in axum.
#[derive(Debug)]
pub(crate) struct RouteTable {
    methods: HashMap<Method, matchit::Router<Vec<Target>>>,
    /// For the methods that no route names.
    any: matchit::Router<Vec<Target>>,
    is_empty: bool,
}

/// Where a route leads.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The rule's number.
    pub(crate) rule: usize,
    /// The number of the rule's extractor that reads the key here.
    pub(crate) group: usize,
    /// The history's scope: the rule's own, or one of this route.
    pub(crate) scope: u32,
    pub(crate) params: Box<[Cow<'static, str>]>,
}

impl RouteTable {
    /// A table of routes and where they lead. `name_of` names a rule in an error.
    pub(crate) fn build(routes: &[(Route, Target)], name_of: impl Fn(usize) -> String) -> Result<Self, ConfigError> {
        let mut methods = HashMap::new();
        for method in routes.iter().flat_map(|(route, _)| route.methods()) {
            if !methods.contains_key(method) {
                methods.insert(method.clone(), matcher(routes, Some(method), &name_of)?);
            }
        }
        Ok(Self { methods, any: matcher(routes, None, &name_of)?, is_empty: routes.is_empty() })
    }

    /// Whether there are no routes at all.
    pub(crate) const fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Calls `visit` with every rule that governs this method and one of the readings of its path.
    ///
    /// Says whether routes matched in every reading that counts by itself.
    pub(crate) fn visit(
        &self,
        method: &Method,
        path: &Spellings<'_>,
        mut visit: impl FnMut(&Target, Params<'_>),
    ) -> bool {
        let matcher = self.matcher(method);
        let mut is_matched = true;
        for (reading, counts) in path.iter() {
            match matcher.at(reading) {
                Ok(found) => {
                    for target in found.value {
                        visit(target, Params::new(&target.params, found.params.clone()));
                    }
                }
                Err(_) => is_matched &= !counts,
            }
        }
        is_matched
    }

    /// HEAD counts as GET, and `post` as POST: a server that takes it at all takes it for that.
    fn matcher(&self, method: &Method) -> &matchit::Router<Vec<Target>> {
        let upper = upper_case(method);
        let method = upper.as_ref().unwrap_or(method);
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.methods.get(method).unwrap_or(&self.any)
    }
}

/// The method in capital letters, if it is not written so.
fn upper_case(method: &Method) -> Option<Method> {
    let text = method.as_str();
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return None;
    }
    Method::from_bytes(text.to_ascii_uppercase().as_bytes()).ok()
}

fn matcher(
    routes: &[(Route, Target)],
    method: Option<&Method>,
    name_of: impl Fn(usize) -> String,
) -> Result<matchit::Router<Vec<Target>>, ConfigError> {
    let includes =
        |route: &Route| route.methods().is_empty() || method.is_some_and(|method| route.methods().contains(method));
    let mut shapes: Vec<(&Route, Vec<Target>)> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    for (route, target) in routes.iter().filter(|(route, _)| includes(route)) {
        let at = *known.entry(route.shape()).or_insert_with(|| {
            shapes.push((route, Vec::new()));
            shapes.len() - 1
        });
        shapes[at].1.push(target.clone());
    }
    let mut matcher = matchit::Router::new();
    for (route, targets) in &shapes {
        matcher.insert(route.shape(), targets.clone()).map_err(|error| {
            let rule = targets.first().map_or_else(String::new, |target| name_of(target.rule));
            conflict(route, &error, &shapes).in_rule(&rule)
        })?;
    }
    Ok(matcher)
}

/// Names the route that is in the way as its rule wrote it.
fn conflict(route: &Route, error: &matchit::InsertError, shapes: &[(&Route, Vec<Target>)]) -> ConfigError {
    let reason = match error {
        matchit::InsertError::Conflict { with } => {
            let other = shapes.iter().find(|(other, _)| other.shape() == with);
            format!("conflicts with the route \"{}\"", other.map_or(&**with, |(other, _)| other.text()))
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
            .map(|(rule, text)| {
                let route = Route::parse(text).unwrap();
                let params = route.params().into();
                (route, Target { rule, group: 0, scope: rule as u32, params })
            })
            .collect();
        RouteTable::build(&routes, |rule| format!("rule{rule}"))
    }

    fn found(table: &RouteTable, method: &str, path: &str) -> Vec<usize> {
        let mut rules = Vec::new();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        table.visit(&method, &Spellings::of(path), |target, _| rules.push(target.rule));
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
    fn head_counts_as_get_and_the_case_of_a_method_does_not_matter() {
        let table = table(&["GET /x", "POST /y"]).unwrap();
        assert_eq!(found(&table, "HEAD", "/x"), [0]);
        assert_eq!(found(&table, "post", "/y"), [1]);
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
        assert_eq!(found(&table, "GET", "/bots/../run"), [1, 0]);
        assert_eq!(found(&table, "GET", "/bots/a%2Frun"), [2, 1]);
    }

    #[test]
    fn a_conflict_names_both_routes_and_the_rule() {
        let error = table(&["GET /a/{x}", "PUT /a/{*y}", "GET|POST /a/{*z}"]).unwrap_err();
        assert_eq!(error.rule(), Some("rule2"));
        assert_eq!(error.value(), "\"GET|POST /a/{*z}\"");
        assert_eq!(error.reason(), "conflicts with the route \"GET /a/{x}\"");
    }
}
