//! The reader of costs.

use std::fmt;

use toml::Spanned;

use crate::{
    config::{
        cost_texts::CostTexts,
        counted_outcome::CountedOutcome,
        file::{CostValue, CostingTable, RuleTable},
        source::Sources,
        source_map::SourceMap,
        value::word,
    },
    cost::{self, Cost},
    error::ConfigError,
    policy::Quota,
    request::RequestView,
    rule::{Rule, Unsettled},
};

const NO_UNIT: &str = "the cost has no unit: write unit = \"points\" as well";
const NO_COST: &str = "the rule counts requests: write cost = 1 as well, or leave this out";
const BOTH: &str = "a cost is charged as it is, or settled later: leave out cost or reserve";
const NO_ESTIMATE: &str = "the rule reserves nothing: write reserve = 2000 as well, or leave this out";
const NO_OUTCOMES: &str = "it counts nothing: write count_only = [\"failures\"], or leave this out";
const SETTLED_AND_COUNTED: &str =
    "a cost that is settled counts as settled, whatever the outcome: leave out count_only or reserve";
const NO_UNITS: &str = "the routes have no cost: write units = 10 below [[rule.routes_costing]]";
const NO_ROUTES: &str = "the cost has no routes: write routes = [\"POST /reports\"] below [[rule.routes_costing]]";
const NO_COST_OF_CALLS: &str = "messages are charged as they come, beside what the call costs: write unit = \"bytes\" and cost = 0, \
                                and neither reserve nor count_only";
const MESSAGE_LENGTH: &str = "message-length";
/// Units of a table that the method of the rule has no name for.
const UNITS: &str = "routes_costing.units";

/// Adds the costs of a table to its rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct CostReader<'a> {
    table: &'a RuleTable,
    lines: SourceMap<'a>,
    sources: &'a Sources,
}

/// A cost as a file writes it.
enum FileCost {
    Units(u64),
    Sources(CostTexts),
}

impl<'a> CostReader<'a> {
    pub(super) const fn new(table: &'a RuleTable, lines: SourceMap<'a>, sources: &'a Sources) -> Self {
        Self { table, lines, sources }
    }

    pub(super) fn read(self, rule: Rule) -> Result<Rule, ConfigError> {
        let rule = self.cost(rule)?;
        let rule = self.unsettled(rule)?;
        let rule = self.count_only(rule)?;
        let rule = self.message_cost(rule)?;
        self.table.routes_costing.iter().try_fold(rule, |rule, table| self.routes_costing(rule, table))
    }

    fn cost(self, rule: Rule) -> Result<Rule, ConfigError> {
        match (&self.table.cost, &self.table.reserve) {
            (Some(_), Some(estimate)) => self.refuse("reserve", estimate, BOTH),
            (Some(cost), None) => Ok(rule.cost(self.unit("cost", cost)?, self.source("cost", cost)?)),
            (None, Some(estimate)) => {
                Ok(rule.reserve(self.unit("reserve", estimate)?, self.source("reserve", estimate)?))
            }
            (None, None) => match &self.table.unit {
                Some(unit) => self.refuse("unit", unit, NO_COST),
                None => Ok(rule),
            },
        }
    }

    fn unit(self, field: &str, cost: &Spanned<CostValue>) -> Result<&'a str, ConfigError> {
        match &self.table.unit {
            Some(unit) => Ok(unit.get_ref()),
            None => self.refuse(field, cost, NO_UNIT),
        }
    }

    fn source(self, field: &str, cost: &Spanned<CostValue>) -> Result<FileCost, ConfigError> {
        match cost.get_ref() {
            CostValue::Units(units) => Ok(FileCost::Units(*units)),
            CostValue::Sources(text) => {
                let texts = CostTexts::parse(field, text, self.sources);
                self.lines.locate(cost, texts).map(FileCost::Sources)
            }
        }
    }

    fn unsettled(self, rule: Rule) -> Result<Rule, ConfigError> {
        let Some(text) = &self.table.unsettled else { return Ok(rule) };
        let words = [("keep", Unsettled::Keep), ("observed", Unsettled::Observed), ("release", Unsettled::Release)];
        let outcome = word("unsettled", text, &words, self.lines)?;
        match &self.table.reserve {
            Some(_) => Ok(rule.unsettled(outcome)),
            None => self.refuse("unsettled", text, NO_ESTIMATE),
        }
    }

    fn count_only(self, rule: Rule) -> Result<Rule, ConfigError> {
        let Some(texts) = &self.table.count_only else { return Ok(rule) };
        if self.table.reserve.is_some() {
            return self.refuse("count_only", texts, SETTLED_AND_COUNTED);
        }
        if texts.get_ref().is_empty() {
            return self.refuse("count_only", texts, NO_OUTCOMES);
        }
        let parse = |text: &Spanned<String>| self.lines.locate(text, CountedOutcome::parse(text.get_ref()));
        let counted: Vec<CountedOutcome> = texts.get_ref().iter().map(parse).collect::<Result<_, _>>()?;
        Ok(rule.count_only(move |outcome| counted.iter().any(|counted| counted.is_met(outcome))))
    }

    fn message_cost(self, rule: Rule) -> Result<Rule, ConfigError> {
        let Some(value) = &self.table.message_cost else { return Ok(rule) };
        if self.table.cost.is_none() || self.table.count_only.is_some() {
            return self.refuse("message_cost", value, NO_COST_OF_CALLS);
        }
        match value.get_ref() {
            CostValue::Units(units) => Ok(rule.message_cost(*units)),
            CostValue::Sources(text) if text == MESSAGE_LENGTH => Ok(rule.message_cost(cost::message_length())),
            CostValue::Sources(_) => {
                let reason = "unknown value: write \"message-length\", or a number of units without quotes";
                self.refuse("message_cost", value, reason)
            }
        }
    }

    fn routes_costing(self, rule: Rule, table: &Spanned<CostingTable>) -> Result<Rule, ConfigError> {
        let Some(units) = &table.get_ref().units else {
            return self.lines.locate(table, Err(ConfigError::new(UNITS, "", NO_UNITS)));
        };
        if self.table.cost.is_none() && self.table.reserve.is_none() {
            let reason = "the rule counts requests: write unit = \"points\" and cost = 1 below [[rule]]";
            return self.refuse(UNITS, units, reason);
        }
        match &table.get_ref().routes {
            None => self.lines.locate(table, Err(ConfigError::new("routes_costing.routes", "", NO_ROUTES))),
            Some(routes) if routes.get_ref().is_empty() => self.refuse("routes_costing.routes", routes, NO_ROUTES),
            Some(routes) => Ok(rule.routes_costing(*units.get_ref(), routes.get_ref().iter().map(Spanned::get_ref))),
        }
    }

    fn refuse<T, R>(self, field: &str, value: &Spanned<T>, reason: &str) -> Result<R, ConfigError> {
        self.lines.locate(value, Err(ConfigError::new(field, self.lines.quote(value.span()), reason)))
    }

    /// Returns an error in a finished rule with the name of the field that it is about in the table.
    pub(super) fn named_in(table: &RuleTable, error: ConfigError) -> ConfigError {
        let is_of = |cost: &Option<Spanned<CostValue>>| {
            cost.as_ref().is_some_and(
                |cost| matches!(cost.get_ref(), CostValue::Units(units) if error.value() == units.to_string()),
            )
        };
        let field = match error.field() {
            "cost" if is_of(&table.cost) => return error,
            "cost" if is_of(&table.reserve) => "reserve",
            "cost" if is_of(&table.message_cost) => "message_cost",
            "cost" if Self::units_named(table, &error).is_some() => UNITS,
            _ => return error,
        };
        let value = error.value().to_owned();
        error.in_field(field, &value)
    }

    /// Returns the cost of routes that an error is about.
    pub(super) fn units_named<'t>(table: &'t RuleTable, error: &ConfigError) -> Option<&'t Spanned<u64>> {
        let mut units = table.routes_costing.iter().filter_map(|table| table.get_ref().units.as_ref());
        units.find(|units| error.value() == units.get_ref().to_string())
    }

    /// Returns where the quota is written that an error is about: among the quotas, or as a spacing.
    pub(super) fn quota_without_room(table: &RuleTable, error: &ConfigError) -> Option<usize> {
        let quotas = table.quotas.as_ref()?;
        let is_wrong = |text: &&Spanned<String>| {
            text.get_ref().parse::<Quota>().is_ok_and(|quota| error.value() == quota.to_string())
        };
        let spaced = table.spaced_by.as_ref().map(Spanned::span).or(table.spread_evenly.as_ref().map(Spanned::span));
        let quota = quotas.get_ref().iter().find(is_wrong).map(Spanned::span);
        Some(quota.or(spaced).unwrap_or(quotas.span()).start)
    }
}

impl Cost for FileCost {
    fn units(&self, request: &RequestView<'_>) -> u64 {
        match self {
            Self::Units(units) => *units,
            Self::Sources(texts) => texts.units(request),
        }
    }

    fn fixed(&self) -> Option<u64> {
        match self {
            Self::Units(units) => Some(*units),
            Self::Sources(_) => None,
        }
    }
}

impl fmt::Debug for FileCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Units(units) => units.fmt(f),
            Self::Sources(_) => f.write_str("Sources"),
        }
    }
}
