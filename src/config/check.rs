//! Mistakes in the names and kinds of fields, with what to write in their place.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    config::{
        schema::{FILE, FieldKind, FieldSchema, Schema},
        source_map::SourceMap,
    },
    error::ConfigError,
};

type Value<'a> = Spanned<DeValue<'a>>;

/// Compares the tables of a file with what they may hold.
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
            (FieldKind::TextOrTexts, DeValue::Array(texts)) if texts.is_empty() => {
                Err(self.mistake(schema, field, value.span(), format!("it is empty: write {}", field.written())))
            }
            (FieldKind::Texts | FieldKind::TextOrTexts, DeValue::Array(texts)) => {
                let wrong = texts.iter().find(|text| !text.get_ref().is_str());
                wrong.map_or(Ok(()), |wrong| {
                    Err(self.mistake(
                        schema,
                        field,
                        wrong.span(),
                        format!("each of them is a text: write {}", field.written()),
                    ))
                })
            }
            (_, given) if field.holds(given) => Ok(()),
            _ => Err(self.mistake(schema, field, value.span(), self.instead(field, value))),
        }
    }

    fn mistake(self, schema: &Schema, field: &FieldSchema, wrong: Range<usize>, reason: String) -> ConfigError {
        let (name, line) = (format!("{}{}", schema.prefix, field.name), self.lines.at(wrong.start));
        ConfigError::new(name, self.lines.quote(wrong), reason).at_line(line)
    }

    /// What to write in the place of a value of another kind.
    fn instead(self, field: &FieldSchema, value: &Value<'_>) -> String {
        let (name, quote) = (field.name, self.lines.quote(value.span()));
        match (field.kind, value.get_ref()) {
            (FieldKind::Flag, DeValue::String(text)) if matches!(&**text, "true" | "false") => {
                format!("true and false have no quotes: write {name} = {text}")
            }
            (FieldKind::Flag, _) => format!("it is true or false: write {}", field.written()),
            (FieldKind::Number(_), DeValue::String(text)) if text.parse::<u32>().is_ok() => {
                format!("a number has no quotes: write {name} = {text}")
            }
            (FieldKind::Number(_), DeValue::Integer(_)) => {
                format!("the number is too small or too large: write {}", field.written())
            }
            (FieldKind::Number(_), _) => format!("it is a whole number: write {}", field.written()),
            (FieldKind::Texts, DeValue::String(text)) => {
                format!("it is an array of texts: write {name} = {}", texts_in(text))
            }
            (FieldKind::Texts, _) => format!("it is an array of texts: write {}", field.written()),
            (FieldKind::Text, DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_)) => {
                format!("a text has quotes: write {name} = \"{quote}\"")
            }
            (FieldKind::Text, _) => format!("it is a text: write {}", field.written()),
            (FieldKind::TextOrTexts, _) => format!("it is a text, or an array of texts: write {}", field.written()),
            (FieldKind::WordOrStatus, _) => format!("it is a word or a status: write {}", field.written()),
            (FieldKind::Table(schema), DeValue::Array(_)) => {
                format!("there is one such table: write {}, in single brackets", schema.header)
            }
            (FieldKind::Tables(schema), DeValue::Table(_)) => {
                format!("there may be several of these tables: write {}, in double brackets", schema.header)
            }
            (FieldKind::Table(schema) | FieldKind::Tables(schema), _) => {
                format!("write {} and its fields below it", schema.header)
            }
        }
    }

    fn unknown(self, schema: &Schema, name: &str, value: &Value<'_>) -> ConfigError {
        let quote = self.lines.quote(value.span());
        let reason = match (Schema::with_field(name), schema.meant_by(name)) {
            (Some(other), _) => format!("the field belongs to another table: write it {}", other.place()),
            (None, Some(field)) if field.is_scalar() && field.holds(value.get_ref()) => {
                format!("there is no field of this name: write {} = {quote}", field.name)
            }
            (None, Some(field)) => format!("there is no field of this name: write {}", field.written()),
            (None, None) => {
                let known: Vec<&str> = schema.fields.iter().map(|field| field.name).collect();
                format!("there is no field of this name: the fields are {}", known.join(", "))
            }
        };
        ConfigError::new(format!("{}{name}", schema.prefix), quote, reason)
    }
}

/// A text as an array, cut at its commas.
fn texts_in(text: &str) -> String {
    let texts: Vec<String> = text.split(',').map(|text| format!("\"{}\"", text.trim())).collect();
    format!("[{}]", texts.join(", "))
}

/// Names the rule that a table describes, if it is the table of one.
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

    /// Whether a value is of the field's kind, as far as one can tell without looking into it.
    fn holds(&self, value: &DeValue<'_>) -> bool {
        match (self.kind, value) {
            (FieldKind::Number(most), DeValue::Integer(number)) => {
                u64::from_str_radix(number.as_str(), number.radix()).is_ok_and(|number| number <= most)
            }
            (FieldKind::Flag, DeValue::Boolean(_))
            | (FieldKind::Text | FieldKind::TextOrTexts | FieldKind::WordOrStatus, DeValue::String(_))
            | (FieldKind::WordOrStatus, DeValue::Integer(_))
            | (FieldKind::Texts | FieldKind::TextOrTexts, DeValue::Array(_)) => true,
            _ => false,
        }
    }
}
