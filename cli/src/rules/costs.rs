//! What requests cost, as a log says it.

use toml::{Table, Value};

use crate::{
    failure::Failure,
    log::{REQUEST_BYTES, RESPONSE_BYTES, field_header},
    rules::program_sources::texts,
};

const KNOWN: &str = "json:PATH, field:NAME (a field of the log), header:NAME, response-bytes and request-bytes";

/// The costs that a log says, in place of those that a file of rules says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Costs(Vec<LoggedCost>);

/// A cost that a log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoggedCost {
    /// The unit of the rules that it is for.
    pub(crate) unit: String,
    /// Where a log has it, as the user writes it.
    pub(crate) source: String,
    /// The header field that carries it.
    pub(crate) header: String,
    /// Where it is in lines of JSON.
    path: Option<String>,
}

impl Costs {
    /// Reads `UNIT=SOURCE`.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, Failure> {
        let mut costs: Vec<LoggedCost> = Vec::new();
        for text in texts {
            let cost = LoggedCost::parse(text)?;
            if costs.iter().any(|other| other.unit == cost.unit) {
                return Err(Failure::usage(format!("--cost {text}: the cost in {} is named already", cost.unit)));
            }
            costs.push(cost);
        }
        Ok(Self(costs))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &LoggedCost> {
        self.0.iter()
    }

    /// Returns the fields that a log in JSON has to have for them, as `--field` names fields.
    pub(crate) fn json_fields(&self) -> Vec<String> {
        let fields =
            self.0.iter().filter_map(|cost| Some(format!("{}={}", json_name(&cost.unit), cost.path.as_ref()?)));
        fields.collect()
    }

    /// Returns the cost in this unit.
    pub(crate) fn of_unit(&self, unit: &str) -> Option<&LoggedCost> {
        self.0.iter().find(|cost| cost.unit == unit)
    }

    /// Makes the rules of a file read these costs. Requests for which a log says none cost what the rule says.
    pub(super) fn add_to(&self, file: &mut Table) {
        let rules = file.get_mut("rule").and_then(Value::as_array_mut).into_iter().flatten();
        for rule in rules.filter_map(Value::as_table_mut) {
            if let Some(cost) = rule.get("unit").and_then(Value::as_str).and_then(|unit| self.of_unit(unit)) {
                cost.add_to_rule(rule);
            }
        }
    }
}

impl LoggedCost {
    fn parse(text: &str) -> Result<Self, Failure> {
        let parts = text.split_once('=').filter(|(unit, source)| !unit.is_empty() && !source.is_empty());
        let wrong = || Failure::usage(format!("--cost {text}: write --cost tokens=json:/usage/total_tokens"));
        let (unit, source) = parts.ok_or_else(wrong)?;
        let unknown = || Failure::usage(format!("--cost {text}: no source of costs that a log has; known are {KNOWN}"));
        let (header, path) = match source.split_once(':').filter(|(_, name)| !name.is_empty()) {
            None if matches!(source, RESPONSE_BYTES | REQUEST_BYTES) => (field_header(source), None),
            Some(("field", name)) => (field_header(name), None),
            Some(("header", name)) => (name.to_ascii_lowercase(), None),
            Some(("json", path)) => (field_header(&json_name(unit)), Some(path.to_owned())),
            _ => return Err(unknown()),
        };
        Ok(Self { unit: unit.to_owned(), source: source.to_owned(), header, path })
    }

    /// Returns `true` if it is a number of bytes: where a log has none, there were none.
    pub(crate) fn is_of_bytes(&self) -> bool {
        matches!(&*self.source, RESPONSE_BYTES | REQUEST_BYTES)
    }

    fn add_to_rule(&self, rule: &mut Table) {
        for field in ["cost", "reserve"] {
            let own = match rule.get(field) {
                Some(Value::Integer(units)) => units.to_string(),
                Some(Value::String(text)) => text.clone(),
                _ => continue,
            };
            rule.insert(field.to_owned(), Value::String(format!("header:{} | {own}", self.header)));
        }
        // The cost of a route would go first.
        if let Some(Value::Array(costing)) = rule.remove("routes_costing") {
            let costing = costing.iter().filter_map(|table| table.get("routes")).flat_map(texts);
            let routes = rule.get("routes").map(texts).unwrap_or_default().into_iter().chain(costing);
            let routes = routes.map(|route| Value::String(route.to_owned())).collect();
            rule.insert("routes".to_owned(), Value::Array(routes));
        }
    }
}

/// Returns the name of the field of a log in JSON that has the cost in a unit.
fn json_name(unit: &str) -> String {
    format!("cost-{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(texts: &[&str]) -> String {
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        let failure = Costs::parse(&texts).unwrap_err();
        assert_eq!(failure.code(), Failure::USAGE);
        failure.to_string()
    }

    #[test]
    fn a_cost_is_one_that_a_log_has() {
        for text in ["tokens", "=field:x", "tokens="] {
            assert!(refusal(&[text]).contains("write --cost tokens=json:"), "{text}");
        }
        for text in ["tokens=x", "tokens=json:", "tokens=query:x", "tokens=response_bytes"] {
            assert!(refusal(&[text]).contains("known are json:PATH"), "{text}");
        }
        assert!(refusal(&["a=field:x", "a=field:y"]).contains("the cost in a is named already"));
    }

    #[test]
    fn a_rule_costs_what_the_log_says_and_else_what_it_says_itself() {
        let texts = ["tokens=json:/usage/total", "bytes=response-bytes"].map(str::to_owned);
        let costs = Costs::parse(&texts).unwrap();
        assert_eq!(costs.json_fields(), ["cost-tokens=/usage/total"]);
        let mut file: Table = "[[rule]]\nunit = 'tokens'\nreserve = 2000\nroutes = ['/a']\n\
                               [[rule.routes_costing]]\nunits = 9\nroutes = ['/b', '/c']\n\
                               [[rule]]\nunit = 'bytes'\ncost = 'content-length | 7'\n\
                               [[rule]]\nunit = 'points'\ncost = 5\n"
            .parse()
            .unwrap();
        costs.add_to(&mut file);
        let expected: Table = "[[rule]]\nunit = 'tokens'\nreserve = 'header:x-tower-quota-field-cost-tokens | 2000'\n\
                               routes = ['/a', '/b', '/c']\n\
                               [[rule]]\nunit = 'bytes'\n\
                               cost = 'header:x-tower-quota-field-response-bytes | content-length | 7'\n\
                               [[rule]]\nunit = 'points'\ncost = 5\n"
            .parse()
            .unwrap();
        assert_eq!(file, expected);
    }
}
