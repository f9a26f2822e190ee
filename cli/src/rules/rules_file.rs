//! A file of rules that the limiter has accepted.

use std::{collections::BTreeSet, fs, path::Path};

use toml::{Table, Value};
use tower_quota::{
    AnyRateLimiter, Changes, ConfigError, RateLimiter,
    clock::{Clock, ManualClock},
};

use crate::{
    failure::Failure,
    rules::{Costs, ProgramSources, RuleTable, program_sources::texts},
};

const DEFAULT_MAX_KEYS: usize = 1_000_000;

/// A file of rules without a mistake.
#[derive(Clone, Debug)]
pub(crate) struct RulesFile {
    /// Its path, for messages.
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) table: Table,
    pub(crate) rules: Vec<RuleTable>,
    sources: ProgramSources,
    costs: Costs,
}

impl RulesFile {
    /// Reads a file as the limiter does, the store included. Nothing is connected.
    pub(crate) fn read(path: &Path, sources: ProgramSources) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| Failure::io(path, &error))?;
        Self::parse(&name, &text, sources).map_err(|error| Failure::config(&name, &error))
    }

    pub(crate) fn parse(name: &str, text: &str, sources: ProgramSources) -> Result<Self, ConfigError> {
        // What is no TOML has no claims, and the limiter's reader has the better words for it.
        let table: Table = text.parse().unwrap_or_default();
        let builder = RateLimiter::builder().store_from_file().toml(text, &sources.sources(&table))?;
        let _: AnyRateLimiter = builder.build()?;
        let rules = RuleTable::all(text, &table);
        let mut file =
            Self { name: name.to_owned(), text: text.to_owned(), table, rules, sources, costs: Costs::default() };
        let limiter = file.limiter(ManualClock::new())?;
        file.rules.iter_mut().for_each(|rule| rule.read_policies(&limiter));
        Ok(file)
    }

    /// Builds a limiter of all rules, in memory.
    pub(crate) fn limiter(&self, clock: impl Clock) -> Result<RateLimiter, ConfigError> {
        self.build(&self.table, clock)
    }

    /// Builds a limiter of all rules for the requests of a log. Nothing settles reservations there, so they are kept, whatever
    /// the file says of those that nobody settles.
    pub(crate) fn limiter_of_log(&self, clock: impl Clock) -> Result<RateLimiter, ConfigError> {
        let mut table = self.table.clone();
        let rules = table.get_mut("rule").and_then(Value::as_array_mut).into_iter().flatten();
        for rule in rules.filter_map(Value::as_table_mut).filter(|rule| rule.contains_key("reserve")) {
            rule.insert("unsettled".to_owned(), Value::from("keep"));
        }
        self.build(&table, clock)
    }

    /// Builds a limiter of other rules than those of the file.
    pub(crate) fn variant(&self, table: &Table) -> Result<RateLimiter, ConfigError> {
        self.build(table, ManualClock::new())
    }

    fn build(&self, table: &Table, clock: impl Clock) -> Result<RateLimiter, ConfigError> {
        let mut in_memory = table.clone();
        in_memory.remove("store");
        self.costs.add_to(&mut in_memory);
        RateLimiter::builder().clock(clock).toml(&in_memory.to_string(), &self.sources.sources(table))?.build()
    }

    /// Returns the file with these rules alone.
    pub(crate) fn with_rules(&self, rules: impl IntoIterator<Item = Table>) -> Table {
        let mut table = self.table.clone();
        table.insert("rule".to_owned(), Value::Array(rules.into_iter().map(Value::Table).collect()));
        table
    }

    /// Returns what a reload of another file in place of this one changes.
    pub(crate) fn changes_to(&self, new: &Self) -> Result<Changes, ConfigError> {
        let limiter = self.limiter(ManualClock::new())?;
        limiter.reload(|builder| builder.toml(&new.text, &new.sources.sources(&new.table)))
    }

    /// Returns the file with these costs in place of its own.
    pub(crate) fn with_costs(self, costs: Costs) -> Result<Self, Failure> {
        let units: BTreeSet<&str> = self.rules.iter().filter_map(RuleTable::unit).collect();
        if let Some(cost) = costs.iter().find(|cost| !units.contains(&*cost.unit)) {
            let (unit, source) = (&cost.unit, &cost.source);
            let known: Vec<&str> = units.into_iter().collect();
            let known = match &*known {
                [] => "all rules count requests".to_owned(),
                units => format!("units are {}", units.join(", ")),
            };
            return Err(Failure::usage(format!("--cost {unit}={source}: no rule has this unit; {known}")));
        }
        Ok(Self { costs, ..self })
    }

    pub(crate) const fn costs(&self) -> &Costs {
        &self.costs
    }

    pub(crate) const fn sources(&self) -> &ProgramSources {
        &self.sources
    }

    pub(crate) fn rule(&self, name: &str) -> Option<&RuleTable> {
        self.rules.iter().find(|rule| rule.name.eq_ignore_ascii_case(name))
    }

    /// Returns the number of histories that are kept.
    pub(crate) fn max_keys(&self) -> usize {
        let max_keys = self.table.get("max_keys").and_then(Value::as_integer);
        max_keys.and_then(|max_keys| usize::try_from(max_keys).ok()).unwrap_or(DEFAULT_MAX_KEYS)
    }

    /// Returns the names of the header fields that a rule may read, besides `host`, in lower case.
    pub(crate) fn headers(&self) -> BTreeSet<String> {
        let keys = self.rules.iter().flat_map(RuleTable::keys).flatten();
        let tiers = self.rules.iter().flat_map(|rule| rule.texts("tier_from"));
        let sources: Vec<&str> = keys.chain(tiers).flat_map(|text| text.split('|').map(str::trim)).collect();
        let conditions = self.rules.iter().filter_map(|rule| rule.fields.get("when_header")?.as_table());
        let conditions = conditions.flat_map(|table| table.keys().map(String::as_str));
        let exempt = self.rules.iter().flat_map(|rule| rule.texts("exempt"));
        let exempt = exempt.chain(self.table.get("exempt").map(texts).unwrap_or_default());
        let of_exemptions = exempt.flat_map(|exemption| match exemption {
            "preflights" => &["origin", "access-control-request-method"][..],
            "grpc-health" => &["content-type"],
            _ => &[],
        });
        let proxies = self
            .table
            .get("client_ip")
            .and_then(Value::as_table)
            .map(|client_ip| client_ip.get("header").and_then(Value::as_str).unwrap_or("x-forwarded-for"));
        let of_sources = sources.iter().filter_map(|source| match source.split_once(':')? {
            ("header" | "metadata", name) => Some(name),
            ("cookie", _) => Some("cookie"),
            _ => None,
        });
        let all = of_sources
            .chain(conditions)
            .chain(of_exemptions.copied())
            .chain(proxies)
            .chain(self.sources.header_names())
            .chain(self.rules.iter().filter_map(RuleTable::cost_text).flat_map(cost_headers))
            .chain(self.costs.iter().map(|cost| cost.header.as_str()));
        all.map(str::to_ascii_lowercase).collect()
    }
}

/// Returns the header fields that a text of costs names.
fn cost_headers(text: &str) -> impl Iterator<Item = &str> {
    text.split('|').map(str::trim).filter_map(|source| match source.split_once(':') {
        Some(("header", name)) => Some(name),
        None if source == "content-length" => Some(source),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "max_keys = 7\n\n[store]\nurl = '$QUOTA_TEST_UNSET'\non_outage = 'open'\n\n[[rule]]\nname = 'a'\n\
                        key = 'claim:account'\nquotas = ['60/minute', '1800/hour']\nenforcement = 'shadow'\n\
                        applies_to = 'every_request'\n[rule.tiers]\npro = ['600/minute']\nstaff = 'unlimited'\n";

    fn file() -> RulesFile {
        RulesFile::parse("f", FILE, ProgramSources::default()).unwrap()
    }

    #[test]
    fn a_rule_is_read_with_its_lines_and_its_policies() {
        let file = file();
        let rule = file.rule("A").unwrap();
        assert_eq!((rule.line_of("quotas"), rule.line_of("tiers"), rule.line_of("routes")), (10, 13, 7));
        let limits: Vec<_> = rule.policies.iter().map(|policy| (policy.tier.as_deref(), policy.limits())).collect();
        let text = |text: &str| text.to_owned();
        let expected = [
            (None, text("60/minute, 1800/hour")),
            (Some("pro"), text("600/minute")),
            (Some("staff"), text("unlimited")),
        ];
        assert_eq!(limits, expected);
        assert_eq!((file.max_keys(), rule.enforcement()), (7, "shadow"));
    }

    #[test]
    fn a_variant_has_the_rules_that_it_is_given() {
        let file = file();
        let mut fields = file.rules[0].fields.clone();
        fields.insert("name".to_owned(), Value::from("b"));
        let limiter = file.variant(&file.with_rules([fields])).unwrap();
        assert!(limiter.rule("b").is_ok() && limiter.rule("a").is_err());
    }

    #[test]
    fn only_header_fields_that_a_rule_may_read_are_wanted() {
        let file = RulesFile::parse(
            "f",
            "[client_ip]\n[[rule]]\nname = 'a'\nkey = ['client_ip', 'header:X-Account']\nquotas = ['1/s']\n\
             applies_to = 'every_request'",
            ProgramSources::default(),
        )
        .unwrap();
        assert_eq!(file.headers().into_iter().collect::<Vec<_>>(), ["x-account", "x-forwarded-for"]);
    }
}
