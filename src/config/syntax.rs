//! From the text of a file to its tables.

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, Deserializer, Error},
};

use crate::{
    config::{check::Check, file::File, source_map::SourceMap},
    error::ConfigError,
};

/// What the parser says of some mistakes, and what to do about these. Of others it says what it expected.
const ADVICE: [(&str, &str); 6] = [
    ("duplicate key", "it stands above already: leave one of them out"),
    ("string values must be quoted", "write the text in quotes"),
    ("key with no value", "write a field as in name = \"bots\""),
    ("missing comma", "write a comma behind each text but the last"),
    ("recursion", "the tables of this file are at most two deep"),
    ("integers with a radix", "write the number in decimal digits"),
];

/// Reads the tables of a file.
pub(super) fn parse(text: &str) -> Result<File, ConfigError> {
    let lines = SourceMap::new(text);
    let table = DeTable::parse(text).map_err(|error| explain(text, &error))?;
    Check::new(lines).file(table.get_ref())?;
    File::deserialize(Deserializer::from(table)).map_err(|error| explain(text, &error))
}

/// A mistake in the syntax, with the field of its line and the rule that it stands in.
fn explain(text: &str, error: &Error) -> ConfigError {
    let (lines, at) = (SourceMap::new(text), error.span().unwrap_or_default().start);
    let line = lines.quote_line(at);
    let mistake = match line.split_once('=').map(|(field, value)| (field.trim(), value.trim())) {
        Some((field, value)) if is_name(field) => ConfigError::new(field, value, reason(error, &line)),
        _ if is_single_rule(&line) => ConfigError::new("rule", &line, reason(error, &line)),
        _ => ConfigError::new("toml", &line, reason(error, &line)),
    };
    let (recovered, _) = DeTable::parse_recoverable(text);
    match rule_at(recovered.get_ref(), at) {
        Some(rule) => mistake.in_rule(rule).at_line(lines.at(at)),
        None => mistake.at_line(lines.at(at)),
    }
}

/// Whether the table of a rule or group has one pair of brackets, which TOML allows only once.
fn is_single_rule(line: &str) -> bool {
    matches!(line, "[rule]" | "[rule.group]")
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

fn reason(error: &Error, line: &str) -> String {
    let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
    if is_single_rule(line) {
        return format!("there may be several of these tables: write [{line}], in double brackets");
    }
    match ADVICE.iter().find(|(said, _)| message.contains(said)) {
        Some((_, advice)) => format!("this is not TOML ({message}): {advice}"),
        None => format!("this is not TOML ({message})"),
    }
}

/// The name of the rule that a byte is in, as far as the tables could be read.
fn rule_at<'a>(file: &'a DeTable<'_>, at: usize) -> Option<&'a str> {
    let begins_before = |start: usize| start <= at;
    let rules = file.get("rule")?.get_ref().as_array()?;
    let rule = rules.iter().rfind(|rule| begins_before(rule.span().start))?;
    let others = file.iter().map(|(_, value)| value).filter(|value| value.get_ref().is_table());
    let is_in_other =
        others.map(Spanned::span).any(|other| begins_before(other.start) && other.start > rule.span().start);
    rule.get_ref().get("name")?.get_ref().as_str().filter(|_| !is_in_other)
}
