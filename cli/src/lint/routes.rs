//! Routes that the routes of other rules hide.

use http::Request;
use tower_quota::{RateLimiter, http::RequestView};

use crate::{
    lint::Finding,
    rules::{RuleTable, RulesFile},
};

/// A route whose requests one rule would govern by its routes, and does not.
struct Hidden<'a> {
    route: &'a str,
    by: &'a str,
}

/// Finds rules that do not govern requests to some of their routes, because another rule has a more specific one.
pub(super) fn find(file: &RulesFile, found: &mut Vec<Finding>) {
    let Ok(all) = file.variant(&file.table) else { return };
    // Rules with conditions neither hide others nor are hidden.
    let plain: Vec<_> = file.rules.iter().filter(|rule| !rule.routes().is_empty() && !rule.has_conditions()).collect();
    for rule in &plain {
        let Ok(alone) = file.variant(&file.with_rules([rule.fields.clone()])) else { continue };
        for other in plain.iter().filter(|other| other.name != rule.name) {
            let hidden = hidden(rule, other, &alone, &all);
            if let [first, ..] = &*hidden {
                let more = match hidden.len() - 1 {
                    0 => String::new(),
                    more => format!(", and {more} more routes"),
                };
                let text = format!(
                    "requests to {:?}{more} are counted by rule \"{}\" alone, whose route is more specific: give the broad \
                     rule paths_under in place of its routes if both are to count them",
                    first.route, first.by
                );
                found.push(Finding::new(rule, "routes", "hidden-route", text));
            }
        }
    }
}

/// Returns the routes of another rule that a rule would govern if it were alone.
fn hidden<'a>(rule: &RuleTable, other: &'a RuleTable, alone: &RateLimiter, all: &RateLimiter) -> Vec<Hidden<'a>> {
    let routes = other.routes().into_iter().filter(|route| {
        governs(alone, &rule.name, route) && !governs(all, &rule.name, route) && governs(all, &other.name, route)
    });
    routes.map(|route| Hidden { route, by: &other.name }).collect()
}

/// Returns `true` if a rule governs some request to this route.
fn governs(limiter: &RateLimiter, rule: &str, route: &str) -> bool {
    let Some(request) = sample(route) else { return false };
    limiter.matching(&RequestView::new(&request)).iter().any(|matched| matched.rule() == rule)
}

/// Returns a request to a route, with parameters that no other route is likely to name.
fn sample(route: &str) -> Option<Request<()>> {
    let (methods, path) = route.split_once(' ').unwrap_or(("GET", route));
    let method = methods.split('|').next().filter(|method| *method != "*").unwrap_or("GET");
    let mut target = String::new();
    let mut rest = path;
    while let Some((before, (_, after))) =
        rest.split_once('{').and_then(|(before, at)| Some((before, at.split_once('}')?)))
    {
        target.push_str(before);
        target.push_str("0sample0");
        rest = after;
    }
    target.push_str(rest);
    Request::builder().method(method).uri(target).body(()).ok()
}

#[cfg(test)]
mod tests {
    use crate::lint::finding::found;

    fn rule(name: &str, rest: &str) -> String {
        format!("[[rule]]\nname = '{name}'\nkey = 'peer_ip'\nquotas = ['1/s']\n{rest}\n")
    }

    #[test]
    fn a_route_that_another_rules_route_hides_is_found() {
        let broad = rule("broad", "routes = ['/bots/{id}', 'GET /x']");
        let narrow = rule("narrow", "routes = ['POST /bots/import', '/y']");
        assert_eq!(found(&format!("{broad}{narrow}")), [("hidden-route", 5)]);
        assert_eq!(found(&format!("{narrow}{broad}")), [("hidden-route", 10)]);
    }

    #[test]
    fn rules_with_conditions_hide_nothing() {
        let narrow = rule("narrow", "routes = ['POST /bots/import']");
        assert_eq!(found(&format!("{}{narrow}", rule("broad", "paths_under = ['/bots']"))), []);
        let broad = rule("broad", "routes = ['/bots/{id}']\nhosts = ['a.b']");
        assert_eq!(found(&format!("{broad}{narrow}")), []);
    }

    #[test]
    fn rules_of_other_routes_do_not_meet() {
        assert_eq!(
            found(&format!("{}{}", rule("a", "routes = ['GET /a/{x}']"), rule("b", "routes = ['POST /b']"))),
            []
        );
    }
}
