//! The reader of tiers and overrides.

use hashbrown::HashMap;
use toml::Spanned;

use crate::{
    config::{
        file::{HeaderValues, KeyTexts, RuleTable},
        overrides::{self, Override},
        source::{CompositeKey, Sources},
        source_map::SourceMap,
    },
    error::{ConfigError, nearest},
    key::{KeyForms, KeyPattern, ParsedPattern},
    policy::{Policy, Quota},
    rule::Rule,
};

const UNLIMITED: &str = "unlimited";
const NO_TIERS: &str = "the rule has no tiers: write pro = [\"600/minute\"] below [rule.tiers], or leave this out";
const ONE_TIER: &str = "an override has one tier: write acme = \"pro\" below [rule.overrides]";

/// Adds the tiers and overrides of a table to its rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct TierReader<'a> {
    table: &'a RuleTable,
    lines: SourceMap<'a>,
    sources: &'a Sources,
}

impl<'a> TierReader<'a> {
    pub(super) const fn new(table: &'a RuleTable, lines: SourceMap<'a>, sources: &'a Sources) -> Self {
        Self { table, lines, sources }
    }

    pub(super) fn read(self, rule: Rule) -> Result<Rule, ConfigError> {
        let rule = self.table.tiers.iter().try_fold(rule, |rule, (name, value)| self.tier(rule, name, value))?;
        let rule = self.tier_source(rule)?;
        let (mut seen, forms) = (HashMap::new(), rule.key_forms());
        let rule = self.overrides(rule, &forms, &mut seen)?;
        self.overrides_file(rule, &forms, &seen)
    }

    fn tier(self, rule: Rule, name: &str, value: &Spanned<HeaderValues>) -> Result<Rule, ConfigError> {
        let policy = match value.get_ref() {
            HeaderValues::One(word) if word == UNLIMITED => return Ok(rule.unlimited_tier(name)),
            HeaderValues::One(word) => {
                let reason = format!("a tier has quotas: write {name} = [\"600/minute\"], or {name} = \"unlimited\"");
                Err(ConfigError::new(field_of(name), format_args!("\"{word}\""), reason))
            }
            HeaderValues::Several(quotas) => policy(quotas).map_err(|error| in_tier(error, name)),
        };
        Ok(rule.tier(name, self.lines.locate(value, policy)?))
    }

    fn tier_source(self, rule: Rule) -> Result<Rule, ConfigError> {
        let Some(text) = &self.table.tier_from else { return Ok(rule) };
        self.require_tiers("tier_from", text)?;
        let key = Spanned::new(text.span(), KeyTexts::One(text.get_ref().clone()));
        let source =
            CompositeKey::parse(&key, self.sources, self.lines).map_err(|error| in_field("tier_from", error))?;
        Ok(rule.tier_from(source))
    }

    fn overrides(
        self,
        rule: Rule,
        forms: &KeyForms,
        seen: &mut HashMap<ParsedPattern, usize>,
    ) -> Result<Rule, ConfigError> {
        self.table.overrides.iter().try_fold(rule, |rule, (key, value)| {
            let tier = self.lines.locate(value, self.override_tier(key, value.get_ref()))?;
            let pattern = self.lines.locate(value, override_key(key, forms))?;
            seen.insert(pattern, self.lines.line_of(value));
            Ok(rule.tier_for(key.as_str(), tier))
        })
    }

    fn override_tier<'t>(self, key: &str, value: &'t HeaderValues) -> Result<&'t str, ConfigError> {
        let HeaderValues::One(tier) = value else {
            return Err(ConfigError::new("overrides", format_args!("\"{key}\""), ONE_TIER));
        };
        self.check_tier(tier).map_err(|reason| ConfigError::new("overrides", format_args!("\"{tier}\""), reason))?;
        Ok(tier)
    }

    fn overrides_file(
        self,
        rule: Rule,
        forms: &KeyForms,
        seen: &HashMap<ParsedPattern, usize>,
    ) -> Result<Rule, ConfigError> {
        let Some(path) = &self.table.overrides_file else { return Ok(rule) };
        self.require_tiers("overrides_file", path)?;
        let refuse = |reason: String| {
            let mistake = ConfigError::new("overrides_file", format_args!("\"{}\"", path.get_ref()), reason);
            mistake.at_line(self.lines.line_of(path))
        };
        let bytes = self.sources.read_file(path.get_ref());
        let bytes = bytes.map_err(|error| refuse(format!("the file cannot be read ({error}): write its path")))?;
        let found = overrides::parse(&bytes).map_err(|errors| refuse(errors.to_string()))?;
        found.into_iter().try_fold(rule, |rule, line| {
            self.check_line(&line, forms, seen).map_err(|error| refuse(error.at_line(line.line).to_string()))?;
            Ok(rule.tier_for(line.key, line.tier))
        })
    }

    /// Finds a tier or a key that the rule does not have, and a key that the table has too.
    fn check_line(
        self,
        line: &Override,
        forms: &KeyForms,
        seen: &HashMap<ParsedPattern, usize>,
    ) -> Result<(), ConfigError> {
        let refuse = |reason| ConfigError::new("tier", format_args!("\"{}\"", line.tier), reason);
        self.check_tier(&line.tier).map_err(refuse)?;
        let key = line.key.parse()?;
        let in_table = |other| format!("[rule.overrides] has this key on its line {other}: leave one of them out");
        match forms.refusal(&key).or_else(|| seen.get(&key).map(in_table)) {
            Some(reason) => Err(ConfigError::new("key", &line.key as &KeyPattern, reason)),
            None => Ok(()),
        }
    }

    /// Returns what to write, if the rule has no tier of this name.
    fn check_tier(self, tier: &str) -> Result<(), String> {
        let mut names = self.table.tiers.keys().map(String::as_str);
        match names.clone().next() {
            _ if self.table.tiers.contains_key(tier) => Ok(()),
            None => Err(NO_TIERS.to_owned()),
            Some(first) => {
                let meant = nearest(tier, names.by_ref()).unwrap_or(first);
                Err(format!("the rule has no tier of this name: write \"{meant}\", or add it below [rule.tiers]"))
            }
        }
    }

    fn require_tiers(self, field: &str, text: &Spanned<String>) -> Result<(), ConfigError> {
        if !self.table.tiers.is_empty() {
            return Ok(());
        }
        let mistake = ConfigError::new(field, format_args!("\"{}\"", text.get_ref()), NO_TIERS);
        self.lines.locate(text, Err(mistake))
    }
}

/// Reads a key of the table, which has one part.
fn override_key(key: &str, forms: &KeyForms) -> Result<ParsedPattern, ConfigError> {
    let pattern = ParsedPattern::parse([key]).map_err(|error| in_field("overrides", error))?;
    match forms.refusal(&pattern) {
        Some(reason) => {
            let hint = if forms.has_single_parts() { "" } else { ", in a CSV that overrides_file names" };
            Err(ConfigError::new("overrides", format_args!("\"{key}\""), format!("{reason}{hint}")))
        }
        None => Ok(pattern),
    }
}

fn policy(quotas: &[String]) -> Result<Policy, ConfigError> {
    let quotas: Vec<Quota> = quotas.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let policy = Policy::from_iter(quotas);
    policy.validate().map(|()| policy)
}

fn field_of(tier: &str) -> String {
    format!("tiers.{tier}")
}

fn in_tier(error: ConfigError, tier: &str) -> ConfigError {
    let value = error.value().to_owned();
    error.in_field(&field_of(tier), &value)
}

fn in_field(field: &str, error: ConfigError) -> ConfigError {
    let value = error.value().to_owned();
    error.in_field(field, &value)
}
