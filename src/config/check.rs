//! The check of the names and types of fields, with suggestions for mistakes.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    config::{
        schema::{FILE, FieldKind, FieldSchema, HIDDEN, Schema, is_secret},
        source_map::SourceMap,
    },
    error::ConfigError,
};

type Value<'a> = Spanned<DeValue<'a>>;

/// Compares the tables of a file with the schema.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check<'a> {
    lines: SourceMap<'a>,
}

impl<'a> Check<'a> {
    pub(super) const fn new(lines: SourceMap<'a>) -> Self {
        Self { lines }
    }

    pub(super) fn file(self, file: &DeTable<'_>) -> Result<(), ConfigError> {
        self.table(&FILE, file)
    }

    fn table(self, schema: &Schema, table: &DeTable<'_>) -> Result<(), ConfigError> {
        let mut fields: Vec<_> = table.iter().collect();
        fields.sort_by_key(|(key, _)| key.span().start);
        fields.into_iter().try_for_each(|(key, value)| match schema.field(key.get_ref()) {
            Some(field) => self.field(schema, field, value),
            None => Err(self.unknown(schema, key.get_ref(), value).at_line(self.lines.line_of(key))),
        })
    }

    fn field(self, schema: &Schema, field: &FieldSchema, value: &Value<'_>) -> Result<(), ConfigError> {
        match (field.kind, value.get_ref()) {
            (FieldKind::Table(inner), DeValue::Table(table)) => self.table(inner, table),
            (FieldKind::Tables(inner), DeValue::Array(tables)) => {
                tables.iter().try_for_each(|table| match table.get_ref() {
                    DeValue::Table(fields) => self.table(inner, fields).map_err(|error| in_rule_of(table, error)),
                    _ => Err(self.mistake(
                        schema,
                        field,
                        table.span(),
                        format!("write {} and its fields below it", inner.header),
                    )),
                })
            }
            (FieldKind::TextsByName, DeValue::Table(table)) => self.texts_by_name(schema, field, table),
            (FieldKind::TextOrTexts, DeValue::Array(texts)) if texts.is_empty() => {
                Err(self.mistake(schema, field, value.span(), format!("it is empty: write {}", field.assignment())))
            }
            (FieldKind::Texts | FieldKind::TextOrTexts, DeValue::Array(texts)) => {
                let wrong = texts.iter().find(|text| !text.get_ref().is_str());
                wrong.map_or(Ok(()), |wrong| {
                    Err(self.mistake(
                        schema,
                        field,
                        wrong.span(),
                        format!("each element is a string: write {}", field.assignment()),
                    ))
                })
            }
            (_, given) if field.accepts(given) => Ok(()),
            _ => Err(self.mistake(schema, field, value.span(), self.suggestion(field, value))),
        }
    }

    /// Checks that each name has a text, or an array of them.
    fn texts_by_name(self, schema: &Schema, field: &FieldSchema, table: &DeTable<'_>) -> Result<(), ConfigError> {
        let is_text = |value: &Value<'_>| match value.get_ref() {
            DeValue::Array(texts) => !texts.is_empty() && texts.iter().all(|text| text.get_ref().is_str()),
            value => value.is_str(),
        };
        let wrong = table.iter().map(|(_, value)| value).filter(|value| !is_text(value));
        wrong.min_by_key(|value| value.span().start).map_or(Ok(()), |wrong| {
            let reason = format!("each value is a string, or an array of at least one: write {}", field.assignment());
            Err(self.mistake(schema, field, wrong.span(), reason))
        })
    }

    fn mistake(self, schema: &Schema, field: &FieldSchema, wrong: Range<usize>, reason: String) -> ConfigError {
        let (name, line) = (format!("{}{}", schema.prefix, field.name), self.lines.line_at(wrong.start));
        ConfigError::new(name, self.quote(field.name, wrong), reason).at_line(line)
    }

    /// Returns the text of a field's value, unless that is a secret.
    fn quote(self, name: &str, value: Range<usize>) -> String {
        if is_secret(name) { HIDDEN.to_owned() } else { self.lines.quote(value) }
    }

    /// Suggests a replacement for a value of another type.
    fn suggestion(self, field: &FieldSchema, value: &Value<'_>) -> String {
        let (name, quote) = (field.name, self.quote(field.name, value.span()));
        match (field.kind, value.get_ref()) {
            (FieldKind::Flag, DeValue::String(text)) if matches!(&**text, "true" | "false") => {
                format!("true and false have no quotes: write {name} = {text}")
            }
            (FieldKind::Number(_), DeValue::String(text)) if text.parse::<u32>().is_ok() => {
                format!("a number has no quotes: write {name} = {text}")
            }
            (FieldKind::Number(_), DeValue::Integer(_)) => {
                format!("the number is too small or too large: write {}", field.assignment())
            }
            (FieldKind::Duration, DeValue::Integer(_) | DeValue::Float(_)) => {
                format!("a duration is a string with a unit: write {name} = \"{quote}ms\" or {name} = \"{quote}s\"")
            }
            (FieldKind::Texts, DeValue::String(text)) => {
                format!("expected an array of strings: write {name} = {}", texts_in(text))
            }
            (FieldKind::Text, DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_)) => {
                format!("a string has quotes: write {name} = \"{quote}\"")
            }
            (FieldKind::NumberOrText, DeValue::Integer(_)) => {
                format!("a cost is a whole number from 0 on: write {}", field.assignment())
            }
            (FieldKind::Table(schema), DeValue::Array(_)) => {
                format!("this table occurs once: write {}, in single brackets", schema.header)
            }
            (FieldKind::Tables(schema), DeValue::Table(_)) => {
                format!("this table may be repeated: write {}, in double brackets", schema.header)
            }
            (FieldKind::Table(schema) | FieldKind::Tables(schema), _) => {
                format!("write {} and its fields below it", schema.header)
            }
            (kind, _) => format!("expected {}: write {}", kind.in_words(), field.assignment()),
        }
    }

    fn unknown(self, schema: &Schema, name: &str, value: &Value<'_>) -> ConfigError {
        let quote = self.quote(name, value.span());
        let reason = match (schema.owner_of(name, value.get_ref()), schema.suggest(name)) {
            (Some(other), _) => format!("the field belongs to another table: write it {}", other.position()),
            (None, Some(field)) if field.is_scalar() && field.accepts(value.get_ref()) && !name.ends_with("_env") => {
                format!("unknown field: write {} = {quote}", field.name)
            }
            (None, Some(field)) => format!("unknown field: write {}", field.assignment()),
            (None, None) => {
                let known: Vec<&str> = schema.fields.iter().map(|field| field.name).collect();
                format!("unknown field: the fields are {}", known.join(", "))
            }
        };
        ConfigError::new(format!("{}{name}", schema.prefix), quote, reason)
    }
}

/// Returns a text as an array, split at its commas.
fn texts_in(text: &str) -> String {
    let texts: Vec<String> = text.split(',').map(|text| format!("\"{}\"", text.trim())).collect();
    format!("[{}]", texts.join(", "))
}

/// Adds the name of the rule that a table describes, if it is a rule's table.
fn in_rule_of(table: &Value<'_>, error: ConfigError) -> ConfigError {
    match table.get_ref().get("name").and_then(|name| name.get_ref().as_str()) {
        Some(name) => error.in_rule(name),
        None => error,
    }
}

impl FieldSchema {
    const fn is_scalar(&self) -> bool {
        !matches!(self.kind, FieldKind::Table(_) | FieldKind::Tables(_))
    }

    /// Returns whether a value is of the field's type, without looking into arrays and tables.
    fn accepts(&self, value: &DeValue<'_>) -> bool {
        match (self.kind, value) {
            (FieldKind::Number(most), DeValue::Integer(number)) => {
                u64::from_str_radix(number.as_str(), number.radix()).is_ok_and(|number| number <= most)
            }
            (FieldKind::NumberOrText, DeValue::Integer(number)) => {
                i64::from_str_radix(number.as_str(), number.radix()).is_ok_and(|number| number >= 0)
            }
            (FieldKind::Flag, DeValue::Boolean(_))
            | (
                FieldKind::Text
                | FieldKind::Duration
                | FieldKind::TextOrTexts
                | FieldKind::NumberOrText
                | FieldKind::WordOrStatus,
                DeValue::String(_),
            )
            | (FieldKind::Fraction, DeValue::Float(_) | DeValue::Integer(_))
            | (FieldKind::WordOrStatus, DeValue::Integer(_))
            | (FieldKind::Texts | FieldKind::TextOrTexts, DeValue::Array(_))
            | (FieldKind::TextsByName, DeValue::Table(_)) => true,
            _ => false,
        }
    }
}
