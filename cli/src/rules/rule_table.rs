//! One rule of a file, as it is written there.

use std::collections::BTreeMap;

use toml::{
    Spanned, Table, Value,
    de::{DeTable, DeValue},
};
use tower_quota::{Enforcement, Policy, Quota, RateLimiter};

use crate::rules::program_sources::texts;

/// A rule of a file: its fields, and the lines that these are on.
#[derive(Clone, Debug)]
pub(crate) struct RuleTable {
    pub(crate) name: String,
    pub(crate) fields: Table,
    /// The line of the table's header, and the line of each field.
    line: usize,
    lines: BTreeMap<String, usize>,
    /// The rule's own policy, and then its tiers.
    pub(crate) policies: Vec<TierPolicy>,
}

/// A policy of a rule: its own, or that of a tier.
#[derive(Clone, Debug)]
pub(crate) struct TierPolicy {
    /// `None` for the rule's own policy.
    pub(crate) tier: Option<String>,
    /// None if the tier is unlimited.
    pub(crate) quotas: Vec<Quota>,
}

impl RuleTable {
    /// Finds the rules of a file.
    pub(super) fn all(text: &str, file: &Table) -> Vec<Self> {
        let spans = DeTable::parse(text).map(Spanned::into_inner).unwrap_or_default();
        let line_at = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        let tables = file.get("rule").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table);
        let spans = spans.get("rule").and_then(|rules| rules.get_ref().as_array()).into_iter().flatten();
        let rules = tables.zip(spans).filter_map(|(fields, spanned)| {
            let DeValue::Table(inner) = spanned.get_ref() else { return None };
            let lines = inner.iter().map(|(key, _)| (key.get_ref().clone().into_owned(), line_at(key.span().start)));
            let name = fields.get("name")?.as_str()?.to_owned();
            let line = line_at(spanned.span().start);
            Some(Self { name, fields: fields.clone(), line, lines: lines.collect(), policies: Vec::new() })
        });
        rules.collect()
    }

    /// Asks a limiter that has the rule for its policies.
    pub(super) fn read_policies(&mut self, limiter: &RateLimiter) {
        let Ok(handle) = limiter.rule(&self.name) else { return };
        // A rule in shadow, or one that is off, does not show its quotas.
        let _ = limiter.enforce(&self.name, Enforcement::On);
        let quotas = |handle: &tower_quota::RuleHandle| {
            handle.peek("any").quotas().map(|quota| quota.quota().clone()).collect::<Vec<_>>()
        };
        let own = TierPolicy { tier: None, quotas: quotas(&handle) };
        let tiers = self.tier_names().into_iter().filter_map(|tier| {
            let handle = handle.in_tier(&tier).ok()?;
            Some(TierPolicy { quotas: quotas(&handle), tier: Some(tier) })
        });
        self.policies = std::iter::once(own).chain(tiers).collect();
        let _ = limiter.enforce_as_configured(&self.name);
    }

    /// Returns the names of its tiers.
    pub(crate) fn tier_names(&self) -> Vec<String> {
        let tiers = self.fields.get("tiers").and_then(Value::as_table);
        tiers.map(|tiers| tiers.keys().cloned().collect()).unwrap_or_default()
    }

    /// Returns the keys in the file that have tiers, and these.
    pub(crate) fn overrides(&self) -> Vec<(&str, &str)> {
        let overrides = self.fields.get("overrides").and_then(Value::as_table).into_iter().flatten();
        overrides.filter_map(|(key, tier)| Some((key.as_str(), *texts(tier).first()?))).collect()
    }

    /// Returns the line of a field, or that of the rule if it has none.
    pub(crate) fn line_of(&self, field: &str) -> usize {
        self.lines.get(field).copied().unwrap_or(self.line)
    }

    /// Returns the texts of a field: one, or those of a list.
    pub(crate) fn texts(&self, field: &str) -> Vec<&str> {
        self.fields.get(field).map(texts).unwrap_or_default()
    }

    /// Returns the unit of its costs; `None` if it counts requests.
    pub(crate) fn unit(&self) -> Option<&str> {
        self.fields.get("unit").and_then(Value::as_str)
    }

    /// Returns the sources of its cost; `None` if that is a number, or it counts requests.
    pub(crate) fn cost_text(&self) -> Option<&str> {
        ["cost", "reserve"].into_iter().find_map(|field| self.fields.get(field)?.as_str())
    }

    /// Returns its cost or its estimate, if that is a number.
    pub(crate) fn fixed_cost(&self) -> Option<i64> {
        ["cost", "reserve"].into_iter().find_map(|field| self.fields.get(field)?.as_integer())
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = &Table> {
        self.fields.get("group").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table)
    }

    /// Returns all routes, also those of groups.
    pub(crate) fn routes(&self) -> Vec<&str> {
        let in_groups = self.groups().filter_map(|group| group.get("routes")).flat_map(texts);
        self.texts("routes").into_iter().chain(in_groups).collect()
    }

    /// Returns the parts of its key; those of groups count as well.
    pub(crate) fn keys(&self) -> Vec<Vec<&str>> {
        let in_groups = self.groups().filter_map(|group| group.get("key")).map(texts);
        self.fields.get("key").map(texts).into_iter().chain(in_groups).collect()
    }

    /// Returns `true` if it has conditions beside its routes.
    pub(crate) fn has_conditions(&self) -> bool {
        ["paths_under", "hosts", "methods", "when_header"].iter().any(|field| self.fields.contains_key(*field))
    }

    /// Returns `true` if refused requests are charged, too.
    pub(crate) fn counts_denied(&self) -> bool {
        self.fields.get("count_denied").and_then(Value::as_bool).unwrap_or_default()
    }

    /// Returns how it is enforced, as the file says.
    pub(crate) fn enforcement(&self) -> &str {
        self.fields.get("enforcement").and_then(Value::as_str).unwrap_or("on")
    }

    /// Returns the policy of a tier, or its own.
    pub(crate) fn policy(&self, tier: Option<&str>) -> Option<&TierPolicy> {
        self.policies.iter().find(|policy| policy.tier.as_deref() == tier)
    }
}

impl TierPolicy {
    /// Returns the limits as a file has them.
    pub(crate) fn limits(&self) -> String {
        if self.quotas.is_empty() { "unlimited".to_owned() } else { Policy::from_iter(self.quotas.clone()).to_string() }
    }

    /// Returns ` tier "pro"`; nothing for the rule's own policy.
    pub(crate) fn suffix(&self) -> String {
        self.tier.as_ref().map(|tier| format!(", tier \"{tier}\"")).unwrap_or_default()
    }
}

/// Returns limits with the unit that they are of: `50000 tokens/minute`.
pub(crate) fn with_unit(limits: &str, unit: Option<&str>) -> String {
    unit.map_or_else(|| limits.to_owned(), |unit| limits.replace('/', &format!(" {unit}/")))
}

impl PartialEq for TierPolicy {
    /// Compares the limits, whatever the quotas and the tier are called.
    fn eq(&self, other: &Self) -> bool {
        let limits = |policy: &Self| {
            let mut limits: Vec<_> = policy.quotas.iter().map(|quota| (quota.window(), quota.limit())).collect();
            limits.sort_unstable();
            limits
        };
        limits(self) == limits(other)
    }
}
