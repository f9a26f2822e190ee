//! The tables of a file and their fields.

use crate::error::nearest;

/// A table of the file.
#[derive(Debug)]
pub(super) struct Schema {
    /// The line that begins the table; empty for the top of the file.
    pub(super) header: &'static str,
    /// The prefix of its fields' names in an error.
    pub(super) prefix: &'static str,
    pub(super) fields: &'static [FieldSchema],
}

/// A field of a table.
#[derive(Debug)]
pub(super) struct FieldSchema {
    pub(super) name: &'static str,
    pub(super) kind: FieldKind,
    /// An example of a value.
    pub(super) example: &'static str,
    /// Names that it may be called by mistake.
    pub(super) aliases: &'static [&'static str],
}

/// The type of a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum FieldKind {
    Flag,
    /// A whole number from 0 to this one.
    Number(u64),
    Text,
    Texts,
    TextOrTexts,
    WordOrStatus,
    Table(&'static Schema),
    Tables(&'static Schema),
}

pub(super) static FILE: Schema = Schema {
    header: "",
    prefix: "",
    fields: &[
        field("max_keys", FieldKind::Number(usize::MAX as u64), "1000000", &["keys", "capacity"]),
        field("message", FieldKind::Text, "\"Wait {retry_after} seconds.\"", &["error", "text"]),
        field("client_ip", FieldKind::Table(&CLIENT_IP), "", &["client", "ip"]),
        field("rule", FieldKind::Tables(&RULE), "", &[]),
    ],
};

static CLIENT_IP: Schema = Schema {
    header: "[client_ip]",
    prefix: "client_ip.",
    fields: &[
        field("trust", FieldKind::Texts, "[\"10.0.0.0/8\"]", &["trusted", "proxies", "networks"]),
        field("header", FieldKind::Text, "\"x-forwarded-for\"", &[]),
        field("ipv6_prefix", FieldKind::Number(u8::MAX as u64), "64", &["prefix"]),
    ],
};

static RULE: Schema = Schema {
    header: "[[rule]]",
    prefix: "",
    fields: &[
        field("name", FieldKind::Text, "\"bots\"", &["id"]),
        field("level", FieldKind::Text, "\"bot\"", &[]),
        field("key", FieldKind::TextOrTexts, "\"header:x-account\"", &["source", "by", "extractor"]),
        field("quotas", FieldKind::Texts, "[\"60/minute\", \"1800/hour\"]", &["policy", "limit", "rate", "per_minute"]),
        field("routes", FieldKind::Texts, "[\"POST /bots/{id}\"]", &["path", "endpoint"]),
        field(
            "applies_to",
            FieldKind::Text,
            "\"every_request\"",
            &["scope", "every_request", "unmatched_requests", "no_requests"],
        ),
        field("per_route", FieldKind::Flag, "true", &[]),
        field("count_denied", FieldKind::Flag, "true", &["counts_denied"]),
        field("resolution", FieldKind::Number(u32::MAX as u64), "4096", &[]),
        field("enforcement", FieldKind::Text, "\"shadow\"", &["enforce", "mode", "enforced"]),
        field("on_missing", FieldKind::WordOrStatus, "\"skip\"", &["missing"]),
        field("group", FieldKind::Tables(&GROUP), "", &["groups"]),
    ],
};

static GROUP: Schema = Schema {
    header: "[[rule.group]]",
    prefix: "group.",
    fields: &[
        field("key", FieldKind::TextOrTexts, "\"query:botId\"", &["source", "by", "extractor"]),
        field("routes", FieldKind::Texts, "[\"POST /bots/import\"]", &["path", "endpoint"]),
    ],
};

static ALL: [&Schema; 4] = [&FILE, &RULE, &GROUP, &CLIENT_IP];

const fn field(
    name: &'static str,
    kind: FieldKind,
    example: &'static str,
    aliases: &'static [&'static str],
) -> FieldSchema {
    FieldSchema { name, kind, example, aliases }
}

impl Schema {
    pub(super) fn field(&self, name: &str) -> Option<&'static FieldSchema> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Returns the first table that has a field of this name.
    pub(super) fn with_field(name: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|schema| schema.field(name).is_some())
    }

    /// Describes the position of its fields.
    pub(super) fn position(&self) -> String {
        match self.header {
            "" => "at the top of the file, above all tables".to_owned(),
            header => format!("below {header}"),
        }
    }

    /// Returns the field that may have been intended by an unknown name.
    pub(super) fn suggest(&self, name: &str) -> Option<&'static FieldSchema> {
        let names = || {
            self.fields
                .iter()
                .flat_map(|field| field.aliases.iter().chain([&field.name]).map(move |name| (*name, field)))
        };
        let nearest = nearest(name, names().map(|(name, _)| name))?;
        names().find(|(name, _)| *name == nearest).map(|(_, field)| field)
    }
}

impl FieldSchema {
    /// Returns the field with an example of its value.
    pub(super) fn assignment(&self) -> String {
        match self.kind {
            FieldKind::Table(schema) | FieldKind::Tables(schema) => schema.header.to_owned(),
            _ => format!("{} = {}", self.name, self.example),
        }
    }
}
