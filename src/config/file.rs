//! The tables of a file, as they are written.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use toml::{
    Spanned,
    de::{DeTable, Deserializer as TomlDeserializer, Error as TomlError},
};

use crate::{
    config::{
        check::Check,
        response::{HeadersTable, RefusalTable},
        schema::{HIDDEN, is_secret},
        source_map::SourceMap,
        store_table::StoreTable,
    },
    error::ConfigError,
};

/// Messages of the parser, and advice on them. Its other messages name what it expected.
const ADVICE: [(&str, &str); 6] = [
    ("duplicate key", "it is defined above already: leave one of them out"),
    ("string values must be quoted", "write the string in quotes"),
    ("key with no value", "write a field as in name = \"bots\""),
    ("missing comma", "write a comma after each string but the last"),
    ("recursion", "the tables of this file are at most two deep"),
    ("integers with a radix", "write the number in decimal digits"),
];

/// A file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct File {
    pub(super) max_keys: Option<Spanned<usize>>,
    pub(super) decision: Option<Spanned<String>>,
    pub(super) limit_preflights: Option<bool>,
    #[serde(default)]
    pub(super) exempt: Vec<Spanned<String>>,
    pub(super) store: Option<Spanned<StoreTable>>,
    pub(super) headers: Option<HeadersTable>,
    pub(super) refusal: Option<RefusalTable>,
    pub(super) client_ip: Option<Spanned<ClientIpTable>>,
    #[serde(default, rename = "rule")]
    pub(super) rules: Vec<Spanned<RuleTable>>,
}

/// `[client_ip]`: the meaning of the key source `client_ip`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct ClientIpTable {
    #[serde(default)]
    pub(super) trust: Vec<Spanned<String>>,
    pub(super) header: Option<Spanned<String>>,
    pub(super) ipv6_prefix: Option<Spanned<u8>>,
}

/// `[[rule]]`.
///
/// Required fields are `Option`s, so that a missing one is reported with the rule's name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RuleTable {
    pub(super) name: Option<Spanned<String>>,
    pub(super) level: Option<Spanned<String>>,
    pub(super) key: Option<Spanned<KeyTexts>>,
    pub(super) quotas: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) multiple_values: Option<Spanned<String>>,
    pub(super) routes: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) applies_to: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) paths_under: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) hosts: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) methods: Vec<Spanned<String>>,
    /// In the order of their names.
    #[serde(default)]
    pub(super) when_header: BTreeMap<String, Spanned<HeaderValues>>,
    #[serde(default)]
    pub(super) exempt: Vec<Spanned<String>>,
    pub(super) per_route: Option<Spanned<bool>>,
    pub(super) spaced_by: Option<Spanned<String>>,
    pub(super) spread_evenly: Option<Spanned<bool>>,
    pub(super) margin: Option<Spanned<String>>,
    pub(super) count_denied: Option<Spanned<bool>>,
    pub(super) resolution: Option<Spanned<u32>>,
    pub(super) enforcement: Option<Spanned<String>>,
    pub(super) on_missing: Option<Spanned<OnMissingValue>>,
    pub(super) tier_from: Option<Spanned<String>>,
    /// In the order of their names.
    #[serde(default)]
    pub(super) tiers: BTreeMap<String, Spanned<HeaderValues>>,
    /// In the order of their keys.
    #[serde(default)]
    pub(super) overrides: BTreeMap<String, Spanned<HeaderValues>>,
    pub(super) overrides_file: Option<Spanned<String>>,
    pub(super) unit: Option<Spanned<String>>,
    pub(super) cost: Option<Spanned<CostValue>>,
    pub(super) reserve: Option<Spanned<CostValue>>,
    pub(super) unsettled: Option<Spanned<String>>,
    pub(super) message_cost: Option<Spanned<CostValue>>,
    pub(super) count_only: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default, rename = "group")]
    pub(super) groups: Vec<Spanned<GroupTable>>,
    #[serde(default)]
    pub(super) routes_costing: Vec<Spanned<CostingTable>>,
}

/// `[[rule.group]]`: more routes of the rule above, with a key of their own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct GroupTable {
    pub(super) key: Option<Spanned<KeyTexts>>,
    pub(super) multiple_values: Option<Spanned<String>>,
    pub(super) routes: Option<Spanned<Vec<Spanned<String>>>>,
}

/// `[[rule.routes_costing]]`: more routes of the rule above, each of whose requests costs as much.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct CostingTable {
    pub(super) units: Option<Spanned<u64>>,
    pub(super) routes: Option<Spanned<Vec<Spanned<String>>>>,
}

/// The value of `cost` and of `reserve`: a number of units, or the sources of one.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a whole number or a string")]
pub(super) enum CostValue {
    Units(u64),
    Sources(String),
}

/// One text, or an array of the parts of one key.
#[derive(Debug)]
pub(super) enum KeyTexts {
    One(String),
    Parts(Vec<Spanned<String>>),
}

/// The value of `on_missing`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected \"share\", \"skip\" or a status")]
pub(super) enum OnMissingValue {
    Word(String),
    Status(i64),
}

/// One value of a header field, or the values of which it has one.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string or an array of strings")]
pub(super) enum HeaderValues {
    One(String),
    Several(Vec<String>),
}

struct KeyTextsVisitor;

impl File {
    /// Reads the tables of a file.
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        let lines = SourceMap::new(text);
        let table = DeTable::parse(text).map_err(|error| explain(text, &error))?;
        Check::new(lines).file(table.get_ref())?;
        Self::deserialize(TomlDeserializer::from(table)).map_err(|error| explain(text, &error))
    }
}

impl RuleTable {
    /// Returns the routes outside of groups.
    pub(super) fn routes(&self) -> &[Spanned<String>] {
        self.routes.as_ref().map_or(&[], |routes| routes.get_ref())
    }

    pub(super) fn counts_denied(&self) -> bool {
        self.count_denied.as_ref().is_some_and(|flag| *flag.get_ref())
    }

    /// Returns true if the rule has conditions beside its routes.
    pub(super) fn has_conditions(&self) -> bool {
        let lists = [&self.paths_under, &self.hosts, &self.methods];
        !self.when_header.is_empty() || lists.iter().any(|list| !list.is_empty())
    }

    /// Returns the routes that have a cost of their own.
    pub(super) fn costing_routes(&self) -> impl DoubleEndedIterator<Item = &Spanned<String>> {
        self.routes_costing.iter().flat_map(|table| table.get_ref().routes())
    }

    /// Returns true if the rule has routes outside of groups, whose key is its own.
    pub(super) fn has_own_routes(&self) -> bool {
        !self.routes().is_empty() || !self.routes_costing.is_empty()
    }

    /// Returns true if the rule has routes, in groups or outside of them.
    pub(super) fn has_routes(&self) -> bool {
        self.has_own_routes() || !self.groups.is_empty()
    }
}

impl HeaderValues {
    pub(super) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Several(values) => values,
        }
    }
}

impl GroupTable {
    pub(super) fn routes(&self) -> &[Spanned<String>] {
        self.routes.as_ref().map_or(&[], |routes| routes.get_ref())
    }
}

impl CostingTable {
    pub(super) fn routes(&self) -> &[Spanned<String>] {
        self.routes.as_ref().map_or(&[], |routes| routes.get_ref())
    }
}

/// Written by hand, because an untagged enum would lose the spans of the parts.
impl<'de> Deserialize<'de> for KeyTexts {
    fn deserialize<D>(deserializer: D) -> Result<Self, D::Error>
    where
        D: Deserializer<'de>,
    {
        deserializer.deserialize_any(KeyTextsVisitor)
    }
}

impl<'de> Visitor<'de> for KeyTextsVisitor {
    type Value = KeyTexts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key source or an array of key sources")
    }

    fn visit_str<E>(self, text: &str) -> Result<KeyTexts, E>
    where
        E: Error,
    {
        Ok(KeyTexts::One(text.to_owned()))
    }

    fn visit_seq<A>(self, parts: A) -> Result<KeyTexts, A::Error>
    where
        A: SeqAccess<'de>,
    {
        Deserialize::deserialize(SeqAccessDeserializer::new(parts)).map(KeyTexts::Parts)
    }
}

impl KeyTexts {
    /// Returns the texts of the parts, with their spans.
    pub(super) fn parts(read: &Spanned<Self>) -> Vec<Spanned<String>> {
        match read.get_ref() {
            Self::One(text) => vec![Spanned::new(read.span(), text.clone())],
            Self::Parts(parts) => parts.clone(),
        }
    }
}

/// Describes a mistake in the syntax, with the field on its line and the rule around it.
fn explain(text: &str, error: &TomlError) -> ConfigError {
    let (lines, at) = (SourceMap::new(text), error.span().unwrap_or_default().start);
    let line = lines.quote_line(at);
    let mistake = match line.split_once('=').map(|(field, value)| (field.trim(), value.trim())) {
        Some((field, _)) if is_secret(field) => ConfigError::new(field, HIDDEN, reason(error, &line)),
        Some((field, value)) if is_name(field) => ConfigError::new(field, value, reason(error, &line)),
        _ if is_single_rule(&line) => ConfigError::new("rule", &line, reason(error, &line)),
        _ => ConfigError::new("toml", &line, reason(error, &line)),
    };
    let (recovered, _) = DeTable::parse_recoverable(text);
    match rule_around(recovered.get_ref(), at) {
        Some(rule) => mistake.in_rule(rule).at_line(lines.line_at(at)),
        None => mistake.at_line(lines.line_at(at)),
    }
}

/// Returns whether the header of a rule or group has single brackets, which TOML allows only once in a file.
fn is_single_rule(line: &str) -> bool {
    matches!(line, "[rule]" | "[rule.group]" | "[rule.routes_costing]")
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

fn reason(error: &TomlError, line: &str) -> String {
    let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
    if is_single_rule(line) {
        return format!("this table may be repeated: write [{line}], in double brackets");
    }
    match ADVICE.iter().find(|(said, _)| message.contains(said)) {
        Some((_, advice)) => format!("this is not TOML ({message}): {advice}"),
        None => format!("this is not TOML ({message})"),
    }
}

/// Returns the name of the rule that contains a byte, as far as the tables could be read.
fn rule_around<'a>(file: &'a DeTable<'_>, at: usize) -> Option<&'a str> {
    let begins_before = |start: usize| start <= at;
    let rules = file.get("rule")?.get_ref().as_array()?;
    let rule = rules.iter().rfind(|rule| begins_before(rule.span().start))?;
    let others = file.iter().map(|(_, value)| value).filter(|value| value.get_ref().is_table());
    let is_in_other =
        others.map(Spanned::span).any(|other| begins_before(other.start) && other.start > rule.span().start);
    rule.get_ref().get("name")?.get_ref().as_str().filter(|_| !is_in_other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_key_have_their_spans() {
        let text = "key = [\n  \"a\",\n  'b']\nroutes = []";
        let table: GroupTable = toml::from_str(text).unwrap();
        let parts = KeyTexts::parts(&table.key.unwrap());
        let found: Vec<&str> = parts.iter().map(|part| &text[part.span()]).collect();
        assert_eq!(found, ["\"a\"", "'b'"]);
    }

    #[test]
    fn a_single_text_is_a_key_of_one_part() {
        let text = "key = \"path:botId\"";
        let table: GroupTable = toml::from_str(text).unwrap();
        let parts = KeyTexts::parts(&table.key.unwrap());
        assert_eq!((parts.len(), &text[parts[0].span()], &**parts[0].get_ref()), (1, "\"path:botId\"", "path:botId"));
    }
}
