//! The reader that makes rules of their tables.

use toml::Spanned;

use crate::{
    config::{
        cost::CostReader,
        exempt::ExemptReader,
        file::{GroupTable, KeyTexts, OnMissingValue, RuleTable},
        response::error_status,
        source::{CompositeKey, Sources, may_have_multiple_values},
        source_map::SourceMap,
        tiers::TierReader,
        value::{duration, word},
    },
    error::ConfigError,
    key::{KeyExtractor, MultipleValues, RouteParams},
    policy::{Enforcement, Policy, Quota},
    rule::{OnMissing, Route, Rule},
};

const NO_KEY: &str = "the rule has no key to count requests by: write key = \"header:x-account\"";
const KEY_BESIDE_GROUPS: &str =
    "the rule has no key for the routes outside of groups: write key = \"path:id\" above [[rule.group]]";
const NO_SOURCE: &str = "no source of the key is a header, a query parameter, a cookie or metadata: leave it out";
const NO_ROUTES: &str =
    "the rule governs no request: write routes = [\"POST /bots/{id}\"], or applies_to = \"every_request\"";
/// The method of a rule that makes it one for no requests, as errors name it.
const NO_REQUESTS: &str = "no_requests";

/// Makes rules of the tables of one file.
#[derive(Clone, Copy, Debug)]
pub(super) struct RuleReader<'a> {
    lines: SourceMap<'a>,
    sources: &'a Sources,
    exempt: ExemptReader<'a>,
}

impl<'a> RuleReader<'a> {
    pub(super) const fn new(lines: SourceMap<'a>, sources: &'a Sources, exempt: ExemptReader<'a>) -> Self {
        Self { lines, sources, exempt }
    }

    pub(super) fn read(self, table: &Spanned<RuleTable>) -> Result<Rule, ConfigError> {
        let Some(name) = &table.get_ref().name else {
            return self.lines.locate(
                table,
                Err(ConfigError::new("name", "", "the rule has no name: write name = \"bots\" below [[rule]]")),
            );
        };
        let rule = self.rule(table.get_ref(), name.get_ref());
        self.lines.locate(name, rule.map_err(|error| error.in_rule(name.get_ref())))
    }

    fn rule(self, table: &RuleTable, name: &str) -> Result<Rule, ConfigError> {
        let on_missing = |value| self.lines.locate(value, on_missing(value.get_ref()));
        let on_missing = table.on_missing.as_ref().map_or(Ok(OnMissing::default()), on_missing)?;
        let enforcement = |text: &Spanned<String>| self.lines.locate(text, enforcement(text.get_ref()));
        let enforcement = table.enforcement.as_ref().map_or(Ok(Enforcement::On), enforcement)?;
        let rule = Rule::new(name).policy(policy(table, self.lines)?).on_missing(on_missing).enforcement(enforcement);
        let rule = if table.per_route.as_ref().is_some_and(|is| *is.get_ref()) { rule.per_route() } else { rule };
        let rule = self.own_requests(table, rule)?;
        let rule = table.groups.iter().try_fold(rule, |rule, group| self.group(group, rule))?;
        let rule = with_conditions(table, rule);
        let rule = self.exempt.read(&table.exempt)?.into_iter().fold(rule, Rule::exempt);
        let rule = TierReader::new(table, self.lines, self.sources).read(rule)?;
        let rule = CostReader::new(table, self.lines, self.sources).read(rule)?;
        rule.validate().map_err(|error| self.locate(table, error))?;
        Ok(rule)
    }

    /// Adds the level, the key, and the requests outside of groups.
    fn own_requests(self, table: &RuleTable, rule: Rule) -> Result<Rule, ConfigError> {
        let rule = self.apply_to(table, rule)?;
        if rule.has_routes() && !table.has_routes() {
            return Err(self.locate(table, ConfigError::new("routes", "[]", NO_ROUTES)));
        }
        let rule = match &table.level {
            Some(level) => rule.level(level.get_ref()),
            None => rule,
        };
        let Some(key) = self.own_key(table, &rule)? else { return self.without_key(table, rule) };
        let extractor = self.key("multiple_values", key, table.multiple_values.as_ref())?;
        if !rule.has_routes() {
            self.lines.locate(key, extractor.validate_on(None))?;
        }
        self.check_routes(&extractor, table.routes().iter().chain(table.costing_routes()))?;
        Ok(rule.key(extractor).routes(table.routes().iter().map(Spanned::get_ref)))
    }

    /// Returns the rule as it is, which reads no key outside of groups.
    fn without_key(self, table: &RuleTable, rule: Rule) -> Result<Rule, ConfigError> {
        match &table.multiple_values {
            Some(text) => {
                let value = format!("\"{}\"", text.get_ref());
                self.lines.locate(text, Err(ConfigError::new("multiple_values", value, NO_SOURCE)))
            }
            None => Ok(rule),
        }
    }

    /// Applies the rule to the requests that `applies_to` names.
    fn apply_to(self, table: &RuleTable, rule: Rule) -> Result<Rule, ConfigError> {
        let has_routes = table.has_routes();
        let Some(text) = &table.applies_to else {
            return Ok(if table.has_conditions() && !has_routes { rule.every_request() } else { rule });
        };
        let refuse = |reason: &str| {
            let mistake = ConfigError::new("applies_to", format_args!("\"{}\"", text.get_ref()), reason);
            self.lines.locate(text, Err(mistake))
        };
        match &**text.get_ref() {
            "routes" => Ok(rule),
            "every_request" | "unmatched_requests" | "no_requests" if has_routes => {
                refuse("the rule has routes, and applies to these: leave out applies_to, or the routes and groups")
            }
            "every_request" => Ok(rule.every_request()),
            "unmatched_requests" => Ok(rule.unmatched_requests()),
            "no_requests" => Ok(rule.no_requests()),
            _ => {
                refuse("unknown value: write \"routes\", \"every_request\", \"unmatched_requests\" or \"no_requests\"")
            }
        }
    }

    /// Returns the key outside of groups, if the rule needs one.
    fn own_key<'t>(self, table: &'t RuleTable, rule: &Rule) -> Result<Option<&'t Spanned<KeyTexts>>, ConfigError> {
        let only_groups = rule.has_routes() && !table.has_own_routes();
        match (&table.key, &*table.groups) {
            (Some(key), [_, ..]) if only_groups => {
                let reason = "all routes of the rule are in groups, which have keys of their own: leave this one out";
                self.lines.locate(key, Err(ConfigError::new("key", self.lines.quote(key.span()), reason)))
            }
            (Some(key), _) => Ok(Some(key)),
            (None, [_, ..]) if only_groups => Ok(None),
            (None, []) if !rule.governs_requests() => Ok(None),
            (None, []) => Err(ConfigError::new("key", "", NO_KEY)),
            (None, _) => Err(ConfigError::new("key", "", KEY_BESIDE_GROUPS)),
        }
    }

    fn group(self, group: &Spanned<GroupTable>, rule: Rule) -> Result<Rule, ConfigError> {
        let values = group.get_ref().multiple_values.as_ref();
        let extractor = self.key("group.multiple_values", self.group_key(group)?, values)?;
        let routes = group.get_ref().routes();
        if routes.is_empty() {
            let reason = "the group has no routes: write routes = [\"POST /bots/import\"] below [[rule.group]]";
            let mistake = Err(ConfigError::new("group.routes", "[]", reason));
            return match &group.get_ref().routes {
                Some(routes) => self.lines.locate(routes, mistake),
                None => self.lines.locate(group, mistake),
            };
        }
        self.check_routes(&extractor, routes.iter())?;
        Ok(rule.group(extractor, routes.iter().map(Spanned::get_ref)))
    }

    /// Returns the extractor of a key, whose sources may have several values.
    fn key(
        self,
        field: &str,
        key: &Spanned<KeyTexts>,
        values: Option<&Spanned<String>>,
    ) -> Result<CompositeKey, ConfigError> {
        let Some(text) = values else { return CompositeKey::parse(key, self.sources, self.lines) };
        let treatments = [
            ("first", MultipleValues::First),
            ("last", MultipleValues::Last),
            ("joined", MultipleValues::Joined),
            ("missing_key", MultipleValues::MissingKey),
        ];
        let treatment = word(field, text, &treatments, self.lines)?;
        if !may_have_multiple_values(key) {
            let mistake = ConfigError::new(field, format_args!("\"{}\"", text.get_ref()), NO_SOURCE);
            return self.lines.locate(text, Err(mistake));
        }
        CompositeKey::parse(key, &self.sources.with_multiple_values(treatment), self.lines)
    }

    fn group_key(self, group: &Spanned<GroupTable>) -> Result<&Spanned<KeyTexts>, ConfigError> {
        let missing = || {
            ConfigError::new("group.key", "", "the group has no key: write key = \"query:botId\" below [[rule.group]]")
        };
        self.lines.locate(group, group.get_ref().key.as_ref().ok_or_else(missing))
    }

    /// Checks each route, and that the key can be found on it.
    fn check_routes<'t>(
        self,
        extractor: &dyn KeyExtractor,
        mut routes: impl Iterator<Item = &'t Spanned<String>>,
    ) -> Result<(), ConfigError> {
        let check = |text: &str| {
            let route = Route::parse(text)?;
            extractor.validate_on(Some(RouteParams::new(route.params()))).map_err(|error| error.on_route(text))
        };
        routes.try_for_each(|text| self.lines.locate(text, check(text.get_ref())))
    }

    fn line_of_header(self, table: &RuleTable, error: &ConfigError) -> Option<usize> {
        let is_wrong = |name: &str, value: &String| error.value() == format!("\"{name}: {value}\"");
        let mut headers = table.when_header.iter();
        let wrong =
            headers.find(|(name, values)| values.get_ref().as_slice().iter().any(|value| is_wrong(name, value)));
        wrong.map(|(_, values)| self.lines.line_of(values))
    }

    /// Adds the line of the route or field that an error in a finished rule is about.
    pub(super) fn locate(self, table: &RuleTable, error: ConfigError) -> ConfigError {
        let error = if error.field() == NO_REQUESTS { error.in_field("applies_to", "\"no_requests\"") } else { error };
        let error = CostReader::named_in(table, error);
        let in_groups = table.groups.iter().flat_map(|group| group.get_ref().routes()).chain(table.costing_routes());
        let is_wrong = |route: &&Spanned<String>| error.value() == format!("\"{}\"", route.get_ref());
        let in_list = |list: &[Spanned<String>]| list.iter().find(is_wrong).map(|text| self.lines.line_of(text));
        let line = match error.field() {
            "paths_under" => in_list(&table.paths_under),
            "hosts" => in_list(&table.hosts),
            "methods" => in_list(&table.methods),
            "when_header" => self.line_of_header(table, &error),
            // Of two equal routes, the later one is the mistake.
            "route" => table.routes().iter().chain(in_groups).rfind(is_wrong).map(|route| self.lines.line_of(route)),
            "routes" => table.routes.as_ref().map(|routes| self.lines.line_of(routes)),
            "level" => table.level.as_ref().map(|level| self.lines.line_of(level)),
            "per_route" => table.per_route.as_ref().map(|per_route| self.lines.line_of(per_route)),
            "applies_to" => table.applies_to.as_ref().map(|applies_to| self.lines.line_of(applies_to)),
            "tier" | "tiers" => {
                let is_wrong = |(name, _): &(&String, _)| error.value() == format!("\"{name}\"");
                let tier = table.tiers.iter().find(is_wrong).or_else(|| table.tiers.iter().next());
                tier.map(|(_, value)| self.lines.line_of(value))
            }
            "tier_from" => table.tier_from.as_ref().map(|text| self.lines.line_of(text)),
            "quotas" => CostReader::quota_without_room(table, &error).map(|at| self.lines.line_at(at)),
            "unit" => table.unit.as_ref().map(|unit| self.lines.line_of(unit)),
            "cost" => table.cost.as_ref().map(|cost| self.lines.line_of(cost)),
            "message_cost" => table.message_cost.as_ref().map(|cost| self.lines.line_of(cost)),
            "reserve" => table.reserve.as_ref().map(|estimate| self.lines.line_of(estimate)),
            "routes_costing.units" => CostReader::units_named(table, &error).map(|units| self.lines.line_of(units)),
            "count_denied" => table.count_denied.as_ref().map(|flag| self.lines.line_of(flag)),
            "quota name" => table.quotas.as_ref().map(|quotas| self.lines.line_of(quotas)),
            _ => None,
        };
        let line = line.or_else(|| table.name.as_ref().map(|name| self.lines.line_of(name)));
        match line {
            Some(line) => error.at_line(line),
            None => error,
        }
    }
}

/// Adds the conditions of a table.
fn with_conditions(table: &RuleTable, rule: Rule) -> Rule {
    let texts = |list: &[Spanned<String>]| list.iter().map(|text| text.get_ref().clone()).collect::<Vec<_>>();
    let rule = rule.paths_under(texts(&table.paths_under)).hosts(texts(&table.hosts)).methods(texts(&table.methods));
    let headers = table.when_header.iter();
    let headers = headers.flat_map(|(name, values)| values.get_ref().as_slice().iter().map(move |value| (name, value)));
    headers.fold(rule, |rule, (name, value)| rule.when_header(name, value))
}

/// Returns the policy that the quotas of a table make.
fn policy(table: &RuleTable, lines: SourceMap<'_>) -> Result<Policy, ConfigError> {
    let missing =
        || ConfigError::new("quotas", "", "the rule has no quotas: write quotas = [\"60/minute\", \"1800/hour\"]");
    let quotas = table.quotas.as_ref().ok_or_else(missing)?;
    let add = |policy, text: &Spanned<String>| lines.locate(text, with_quota(policy, text.get_ref()));
    let policy = quotas.get_ref().iter().try_fold(Policy::from_iter([]), add)?;
    let policy = lines.locate(quotas, validated(policy))?;
    let policy = spaced(policy, table, lines)?;
    let policy = if table.counts_denied() { policy.count_denied() } else { policy };
    match &table.resolution {
        Some(resolution) => lines.locate(resolution, validated(policy.resolution(*resolution.get_ref()))),
        None => Ok(policy),
    }
}

/// Spaces units, and lengthens windows by the margin.
fn spaced(policy: Policy, table: &RuleTable, lines: SourceMap<'_>) -> Result<Policy, ConfigError> {
    let mut policy = policy;
    if let Some(text) = &table.spaced_by {
        let named = |error: ConfigError| error.in_field("spaced_by", &format!("\"{}\"", text.get_ref()));
        let gap = duration("spaced_by", text, lines)?;
        policy = lines.locate(text, validated(policy.spaced_by(gap)).map_err(named))?;
    }
    if let Some(flag) = &table.spread_evenly
        && *flag.get_ref()
    {
        policy = lines.locate(flag, validated(policy.spread_evenly()))?;
    }
    if let Some(text) = &table.margin {
        let named = |error: ConfigError| error.in_field("margin", &format!("\"{}\"", text.get_ref()));
        policy = lines.locate(text, validated(policy.margin(duration("margin", text, lines)?)).map_err(named))?;
    }
    Ok(policy)
}

/// Adds a quota, and validates the policy at once so that an error has the line of that quota.
fn with_quota(policy: Policy, text: &str) -> Result<Policy, ConfigError> {
    validated(policy.and(text.parse::<Quota>()?))
}

fn validated(policy: Policy) -> Result<Policy, ConfigError> {
    policy.validate().map(|()| policy)
}

/// Returns the meaning of the field `enforcement`.
fn enforcement(text: &str) -> Result<Enforcement, ConfigError> {
    let all = [Enforcement::On, Enforcement::Soft, Enforcement::Shadow, Enforcement::Off];
    let unknown = || {
        let reason = "unknown value: write \"on\", \"soft\", \"shadow\" or \"off\"";
        ConfigError::new("enforcement", format_args!("\"{text}\""), reason)
    };
    all.into_iter().find(|enforcement| enforcement.as_str() == text).ok_or_else(unknown)
}

/// Returns the meaning of the field `on_missing`.
fn on_missing(value: &OnMissingValue) -> Result<OnMissing, ConfigError> {
    match value {
        OnMissingValue::Word(word) if word == "share" => Ok(OnMissing::Share),
        OnMissingValue::Word(word) if word == "skip" => Ok(OnMissing::Skip),
        OnMissingValue::Word(word) if word.parse::<u16>().is_ok() => {
            let reason = format!("a status has no quotes: write on_missing = {word}");
            Err(ConfigError::new("on_missing", format_args!("\"{word}\""), reason))
        }
        OnMissingValue::Word(word) => {
            let reason = "unknown value: write \"share\", \"skip\" or a status such as 401";
            Err(ConfigError::new("on_missing", format_args!("\"{word}\""), reason))
        }
        OnMissingValue::Status(status) => {
            let refuse = || {
                ConfigError::new(
                    "on_missing",
                    status,
                    "a rejection has a status from 400 to 599: write one such as 401",
                )
            };
            error_status(*status).map(OnMissing::Reject).ok_or_else(refuse)
        }
    }
}
