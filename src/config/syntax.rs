//! Mistakes that the TOML parser finds, in terms of the fields of the file.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue, Error},
};

use crate::{
    config::{file::File, lines::Lines},
    error::ConfigError,
};

/// The field that a mistake is in, and where its value stands.
#[derive(Debug)]
struct Place {
    rule: Option<String>,
    field: Vec<String>,
    value: Range<usize>,
}

/// Reads the tables of a file.
pub(super) fn parse(text: &str) -> Result<File, ConfigError> {
    toml::from_str(text).map_err(|error| explain(Lines::new(text), &error, DeTable::parse(text).ok()))
}

/// `table` is the document, unless its syntax is what is wrong.
fn explain(lines: Lines<'_>, error: &Error, table: Option<Spanned<DeTable<'_>>>) -> ConfigError {
    let wrong = error.span().unwrap_or_default();
    let reason = in_words_of_toml(error.message());
    let mistake = match table.and_then(|table| Place::find(table.get_ref(), &wrong)) {
        Some(place) => place.mistake(lines, reason),
        None => ConfigError::new("toml", lines.quote_line(wrong.start), reason),
    };
    mistake.at_line(lines.at(wrong.start))
}

/// One line, with maps and sequences called tables and arrays.
fn in_words_of_toml(message: &str) -> String {
    let words: Vec<&str> = message.split_whitespace().collect();
    words
        .join(" ")
        .replace("type: map", "type: table")
        .replace("type: sequence", "type: array")
        .replace("a sequence", "an array")
}

impl Place {
    /// The place of a key or value that stands exactly at `wrong`.
    fn find(file: &DeTable<'_>, wrong: &Range<usize>) -> Option<Self> {
        let rules = file.get("rule").and_then(|rules| rules.get_ref().as_array());
        let in_rule = |rule: &Spanned<DeValue<'_>>| {
            let name = rule.get_ref().get("name").and_then(|name| name.get_ref().as_str());
            Some(Self { rule: name.map(ToOwned::to_owned), ..Self::inside(rule, wrong)? })
        };
        rules.and_then(|rules| rules.iter().find_map(in_rule)).or_else(|| Self::inside_table(file, wrong))
    }

    /// Looks into every table whatever its span, which is that of its header.
    fn inside(value: &Spanned<DeValue<'_>>, wrong: &Range<usize>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(table) => Self::inside_table(table, wrong),
            DeValue::Array(items) => {
                items.iter().find_map(|item| Self::at(item, wrong).or_else(|| Self::inside(item, wrong)))
            }
            _ => None,
        }
    }

    fn inside_table(table: &DeTable<'_>, wrong: &Range<usize>) -> Option<Self> {
        table.iter().find_map(|(key, value)| {
            let named = (key.span() == *wrong).then(|| Self::of(value));
            let mut place = named.or_else(|| Self::at(value, wrong)).or_else(|| Self::inside(value, wrong))?;
            place.field.insert(0, key.get_ref().to_string());
            Some(place)
        })
    }

    fn at(value: &Spanned<DeValue<'_>>, wrong: &Range<usize>) -> Option<Self> {
        (value.span() == *wrong).then(|| Self::of(value))
    }

    fn of(value: &Spanned<DeValue<'_>>) -> Self {
        Self { rule: None, field: Vec::new(), value: value.span() }
    }

    fn mistake(self, lines: Lines<'_>, reason: String) -> ConfigError {
        let mistake = ConfigError::new(self.field.join("."), lines.quote(self.value), reason);
        match self.rule {
            Some(rule) => mistake.in_rule(&rule),
            None => mistake,
        }
    }
}
