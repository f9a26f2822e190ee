//! The reasons why a rule does not govern a request.

use http::Request;
use toml::{Table, Value};
use tower_quota::http::RequestView;

use crate::rules::{RuleTable, RulesFile};

/// Asks the limiter about one rule with one condition at a time.
struct Asking<'a> {
    file: &'a RulesFile,
    rule: &'a RuleTable,
    request: &'a Request<()>,
}

/// Returns every reason why a rule does not govern a request.
pub(crate) fn reasons(file: &RulesFile, rule: &RuleTable, request: &Request<()>) -> Vec<String> {
    let asking = Asking { file, rule, request };
    if rule.texts("applies_to") == ["no_requests"] {
        return vec!["it is for no requests: the program asks it by name".to_owned()];
    }
    let mut reasons: Vec<String> = asking.exemption().into_iter().collect();
    if reasons.is_empty() {
        let lists = ["paths_under", "hosts", "methods"].into_iter().filter_map(|field| asking.list(field));
        reasons = asking.routes().into_iter().chain(lists).chain(asking.headers()).collect();
    }
    if reasons.is_empty() {
        reasons.push(asking.other_rule());
    }
    reasons
}

impl Asking<'_> {
    /// Returns `true` if these fields alone would make the rule govern the request.
    fn holds(&self, fields: &[(&str, Value)]) -> bool {
        let mut table = Table::new();
        let quotas = Value::from(vec!["1/s"]);
        let always = [("name", Value::from("x")), ("key", Value::from("constant:x")), ("quotas", quotas)];
        for (field, value) in always.iter().chain(fields) {
            table.insert((*field).to_owned(), value.clone());
        }
        let is_conditional = fields.iter().any(|(field, _)| *field != "exempt");
        if !is_conditional {
            table.insert("applies_to".to_owned(), Value::from("every_request"));
        }
        let mut file = self.file.with_rules([table]);
        file.remove("exempt");
        self.governs(&file, "x")
    }

    fn governs(&self, file: &Table, rule: &str) -> bool {
        let Ok(limiter) = self.file.variant(file) else { return false };
        limiter.matching(&RequestView::new(self.request)).iter().any(|matched| matched.rule() == rule)
    }

    fn exemption(&self) -> Option<String> {
        let of = |list: Option<&Value>| list.and_then(Value::as_array).cloned().unwrap_or_default();
        let exempts = |exemption: &Value| !self.holds(&[("exempt", Value::Array(vec![exemption.clone()]))]);
        if let Some(exemption) = of(self.file.table.get("exempt")).iter().find(|exemption| exempts(exemption)) {
            return Some(format!("the request is exempt from all rules by {exemption}"));
        }
        let own = of(self.rule.fields.get("exempt"));
        own.iter()
            .find(|exemption| exempts(exemption))
            .map(|exemption| format!("the rule exempts the request by {exemption}"))
    }

    fn routes(&self) -> Option<String> {
        let routes = self.rule.routes();
        if routes.is_empty() || self.holds(&[("routes", Value::from(routes.clone()))]) {
            return None;
        }
        let path_of = |route: &str| route.split_once(' ').map_or(route, |(_, path)| path).to_owned();
        let same = routes.iter().find(|route| self.holds(&[("routes", Value::from(vec![path_of(route)]))]));
        let (method, path) = (self.request.method(), self.request.uri().path());
        let hint = same.map(|route| format!(", though the path is of \"{route}\"")).unwrap_or_default();
        Some(format!("no route of it is that of {method} {path}{hint}"))
    }

    /// Looks at a condition that is a list, of which one has to hold.
    fn list(&self, field: &str) -> Option<String> {
        let value = self.rule.fields.get(field)?;
        if self.holds(&[(field, value.clone())]) {
            return None;
        }
        let wanted: Vec<String> = self.rule.texts(field).iter().map(|text| format!("\"{text}\"")).collect();
        let wanted = wanted.join(" or ");
        Some(match field {
            "paths_under" => format!("the path {} is not under {wanted}", self.request.uri().path()),
            "hosts" => format!("the host {} is not {wanted}", self.host()),
            _ => format!("the method {} is not {wanted}", self.request.method()),
        })
    }

    fn host(&self) -> String {
        let of_header = self.request.headers().get("host").and_then(|host| host.to_str().ok());
        self.request.uri().host().or(of_header).unwrap_or("(none)").to_owned()
    }

    fn headers(&self) -> Vec<String> {
        let conditions = self.rule.fields.get("when_header").and_then(Value::as_table).into_iter().flatten();
        let fail = conditions.filter(|(name, value)| {
            let mut one = Table::new();
            one.insert((*name).clone(), (*value).clone());
            !self.holds(&[("when_header", Value::Table(one))])
        });
        let reason = |(name, wanted): (&String, &Value)| match self.request.headers().get(name) {
            Some(value) => format!("the header field {name} is {value:?}, and has to be {wanted}"),
            None => format!("the header field {name} is missing, and has to be {wanted}"),
        };
        fail.map(reason).collect()
    }

    /// Returns the reason that is not in the rule itself: the routes of others.
    fn other_rule(&self) -> String {
        let Ok(limiter) = self.file.variant(&self.file.table) else { return String::new() };
        let matched = limiter.matching(&RequestView::new(self.request));
        let by_route = matched
            .iter()
            .filter(|matched| self.file.rule(matched.rule()).is_some_and(|rule| !rule.routes().is_empty()));
        let names: Vec<String> = by_route.map(|matched| format!("\"{}\"", matched.rule())).collect();
        let (rules, has) = if names.len() == 1 { ("rule", "has") } else { ("rules", "have") };
        let names = names.join(" and ");
        match self.rule.texts("applies_to") == ["unmatched_requests"] {
            true => format!("it is for requests that match no route, and {rules} {names} {has} one for this"),
            false => format!("{rules} {names} {has} a more specific route for it"),
        }
    }
}
