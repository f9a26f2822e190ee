//! The tables of a file and their fields.

use toml::de::{DeArray, DeValue};

use crate::error::nearest;

/// The text in place of a secret.
pub(super) const HIDDEN: &str = "\"…\"";

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
    /// A number from 0 to 1.
    Fraction,
    /// A string such as `50ms`.
    Duration,
    Text,
    Texts,
    TextOrTexts,
    WordOrStatus,
    /// A table of names of the user's choice, each with a text or several.
    TextsByName,
    /// A whole number that is not negative, or a string.
    NumberOrText,
    Table(&'static Schema),
    Tables(&'static Schema),
}

impl FieldKind {
    /// Returns what a field of this kind has as its value.
    pub(super) const fn in_words(self) -> &'static str {
        match self {
            Self::Flag => "true or false",
            Self::Number(_) => "a whole number",
            Self::Fraction => "a number such as 0.25",
            Self::Duration => "a duration",
            Self::Text => "a string",
            Self::Texts => "an array of strings",
            Self::TextOrTexts => "a string or an array of strings",
            Self::WordOrStatus => "a word or a status",
            Self::TextsByName => "a table of names and strings",
            Self::NumberOrText => "a whole number or a string",
            Self::Table(_) | Self::Tables(_) => "a table",
        }
    }
}

pub(super) static FILE: Schema = Schema {
    header: "",
    prefix: "",
    fields: &[
        field("max_keys", FieldKind::Number(usize::MAX as u64), "1000000", &["keys", "capacity"]),
        field("decision", FieldKind::Text, "\"request\"", &["decision_in", "expose_decision"]),
        field("limit_preflights", FieldKind::Flag, "false", &["preflights", "cors"]),
        field(
            "exempt",
            FieldKind::Texts,
            "[\"GET /healthz\", \"preflights\"]",
            &["exemptions", "skip", "except", "whitelist", "allowlist"],
        ),
        field("store", FieldKind::Table(&STORE), "", &["redis", "memory", "storage"]),
        field("headers", FieldKind::Table(&HEADERS), "", &["header", "fields"]),
        field("refusal", FieldKind::Table(&REFUSAL), "", &["refusals", "denial", "on_refusal"]),
        field("client_ip", FieldKind::Table(&CLIENT_IP), "", &["client", "ip"]),
        field("rule", FieldKind::Tables(&RULE), "", &[]),
    ],
};

static STORE: Schema = Schema {
    header: "[store]",
    prefix: "store.",
    fields: &[
        field("kind", FieldKind::Text, "\"memory\"", &["type", "memory"]),
        field("url", FieldKind::Text, "\"$REDIS_URL\"", &["redis", "url_from_env", "address", "server"]),
        field("urls", FieldKind::Texts, "[\"redis://10.0.0.1:6379\"]", &["nodes", "sentinels", "seeds"]),
        field("service", FieldKind::Text, "\"mymaster\"", &["master", "service_name"]),
        field("if_unset", FieldKind::Text, "\"memory\"", &["unset", "fallback"]),
        field("on_outage", FieldKind::Text, "\"open\"", &["outage", "fail"]),
        field("share", FieldKind::Fraction, "0.25", &[]),
        field("prefix", FieldKind::Text, "\"quota\"", &["key_prefix", "namespace"]),
        field("deadline", FieldKind::Duration, "\"50ms\"", &["timeout"]),
        field("denial_cache_ttl", FieldKind::Duration, "\"1s\"", &["denial_cache", "cache_ttl"]),
        field("max_batch", FieldKind::Number(u8::MAX as u64), "32", &["batch", "batch_size"]),
        field("key_secret", FieldKind::Text, "\"$QUOTA_KEY_SECRET\"", &["secret"]),
        field("root_certificate", FieldKind::Text, "\"ca.pem\"", &["ca", "root_cert"]),
        field("client_certificate", FieldKind::Text, "\"client.pem\"", &["certificate", "client_cert"]),
        field("client_key", FieldKind::Text, "\"client.key\"", &[]),
        field("lease", FieldKind::Table(&LEASE), "", &["leases"]),
    ],
};

static LEASE: Schema = Schema {
    header: "[store.lease]",
    prefix: "store.lease.",
    fields: &[
        field("max_units", FieldKind::Number(u8::MAX as u64), "50", &["units", "size"]),
        field("duration", FieldKind::Duration, "\"1s\"", &["ttl"]),
        field("rules", FieldKind::Texts, "[\"bots\"]", &["for_rules"]),
    ],
};

static HEADERS: Schema = Schema {
    header: "[headers]",
    prefix: "headers.",
    fields: &[
        field("rate_limit", FieldKind::Text, "\"always\"", &["ratelimit", "draft"]),
        field("legacy", FieldKind::Text, "\"delta\"", &["with_legacy", "x_ratelimit", "x_rate_limit", "reset"]),
        field("in_trailers_only", FieldKind::Flag, "true", &["in_trailers", "trailers_only", "trailers"]),
        field("on_conflict", FieldKind::Text, "\"keep\"", &["conflict"]),
    ],
};

static REFUSAL: Schema = Schema {
    header: "[refusal]",
    prefix: "refusal.",
    fields: &[
        field("message", FieldKind::Text, "\"Wait {retry_after} seconds.\"", &["error", "text"]),
        field("status", FieldKind::Number(599), "429", &["denied_status", "code"]),
        field("never_possible", FieldKind::Number(599), "413", &["too_large"]),
        field("format", FieldKind::Text, "\"problem\"", &["body", "refusal_format", "problem", "problem_document"]),
        field("caller_protocol", FieldKind::Text, "\"http\"", &["protocol"]),
        field("pushback_jitter", FieldKind::Number(u8::MAX as u64), "10", &["jitter", "pushback"]),
        field("error_domain", FieldKind::Text, "\"api.example.com\"", &["domain"]),
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
        field("multiple_values", FieldKind::Text, "\"missing_key\"", &["values", "multiple"]),
        field("quotas", FieldKind::Texts, "[\"60/minute\", \"1800/hour\"]", &["policy", "limit", "rate", "per_minute"]),
        field("routes", FieldKind::Texts, "[\"POST /bots/{id}\"]", &["path", "endpoint"]),
        field(
            "applies_to",
            FieldKind::Text,
            "\"every_request\"",
            &["scope", "every_request", "unmatched_requests", "no_requests"],
        ),
        field("paths_under", FieldKind::Texts, "[\"/api\"]", &["under", "prefix", "path_prefix", "prefixes"]),
        field("hosts", FieldKind::Texts, "[\"api.example.com\"]", &["host", "on_host", "domains"]),
        field("methods", FieldKind::Texts, "[\"POST\", \"PUT\"]", &["method", "verbs"]),
        field("when_header", FieldKind::TextsByName, "{ x-plan = \"beta\" }", &["if_header", "when"]),
        field(
            "exempt",
            FieldKind::Texts,
            "[\"GET /healthz\", \"preflights\"]",
            &["exemptions", "skip", "except", "whitelist", "allowlist"],
        ),
        field("per_route", FieldKind::Flag, "true", &[]),
        field("spaced_by", FieldKind::Duration, "\"500ms\"", &["spacing", "gap"]),
        field("spread_evenly", FieldKind::Flag, "true", &["spread"]),
        field("margin", FieldKind::Duration, "\"100ms\"", &[]),
        field("count_denied", FieldKind::Flag, "true", &["counts_denied"]),
        field("resolution", FieldKind::Number(u32::MAX as u64), "4096", &[]),
        field("enforcement", FieldKind::Text, "\"shadow\"", &["enforce", "mode", "enforced"]),
        field("on_missing", FieldKind::WordOrStatus, "\"skip\"", &["missing"]),
        field("tier_from", FieldKind::Text, "\"claim:plan\"", &["plan_from", "tier_source"]),
        field("tiers", FieldKind::TextsByName, "{ pro = [\"600/minute\"] }", &["tier", "plans"]),
        field("overrides", FieldKind::TextsByName, "{ acme = \"pro\" }", &["override", "tier_for"]),
        field("overrides_file", FieldKind::Text, "\"overrides.csv\"", &["override_file", "csv"]),
        field("unit", FieldKind::Text, "\"points\"", &["units", "cost_unit"]),
        field("cost", FieldKind::NumberOrText, "5", &["costs", "price", "weight", "cost_from"]),
        field(
            "reserve",
            FieldKind::NumberOrText,
            "\"header:x-estimated-tokens | 2000\"",
            &["estimate", "reservation", "reserves"],
        ),
        field("unsettled", FieldKind::Text, "\"observed\"", &["if_unsettled", "on_unsettled"]),
        field("message_cost", FieldKind::NumberOrText, "\"message-length\"", &["message_costs", "per_message"]),
        field("count_only", FieldKind::Texts, "[\"failures\"]", &["counts_only", "only_count", "outcomes"]),
        field("group", FieldKind::Tables(&GROUP), "", &["groups"]),
        field("routes_costing", FieldKind::Tables(&COSTING), "", &["costing", "route_costs", "costly_routes"]),
    ],
};

static GROUP: Schema = Schema {
    header: "[[rule.group]]",
    prefix: "group.",
    fields: &[
        field("key", FieldKind::TextOrTexts, "\"query:botId\"", &["source", "by", "extractor"]),
        field("multiple_values", FieldKind::Text, "\"missing_key\"", &["values", "multiple"]),
        field("routes", FieldKind::Texts, "[\"POST /bots/import\"]", &["path", "endpoint"]),
    ],
};

static COSTING: Schema = Schema {
    header: "[[rule.routes_costing]]",
    prefix: "routes_costing.",
    fields: &[
        field("units", FieldKind::Number(i64::MAX as u64), "10", &["unit", "cost", "points"]),
        field("routes", FieldKind::Texts, "[\"POST /reports\"]", &["path", "endpoint"]),
    ],
};

static ALL: [&Schema; 9] = [&FILE, &RULE, &GROUP, &COSTING, &CLIENT_IP, &STORE, &LEASE, &HEADERS, &REFUSAL];

const fn field(
    name: &'static str,
    kind: FieldKind,
    example: &'static str,
    aliases: &'static [&'static str],
) -> FieldSchema {
    FieldSchema { name, kind, example, aliases }
}

/// Returns whether the value of a field is not to be shown, however the field is spelled.
pub(super) fn is_secret(name: &str) -> bool {
    name.contains("secret") || name.contains("password") || nearest(name, ["key_secret"]).is_some()
}

impl Schema {
    /// Returns the field of this name in `[store]` or in one of its tables, such as `lease.duration`.
    #[cfg(feature = "redis")]
    pub(super) fn field_of_store(path: &str) -> Option<&'static FieldSchema> {
        match path.strip_prefix("lease.") {
            Some(name) => LEASE.field(name),
            None => STORE.field(path),
        }
    }

    pub(super) fn field(&self, name: &str) -> Option<&'static FieldSchema> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Returns the first table that has a field of this name, for a value that is a table or is none. A word for a field of
    /// this table is not taken for one of another table.
    pub(super) fn owner_of(&self, name: &str, value: &DeValue<'_>) -> Option<&'static Self> {
        let is_table = |field: &FieldSchema| matches!(field.kind, FieldKind::Table(_) | FieldKind::Tables(_));
        let fits = |field: &FieldSchema| is_table(field) || !is_table_or_several(value);
        if self.fields.iter().any(|field| field.aliases.contains(&name) && fits(field)) {
            return None;
        }
        ALL.into_iter().find(|schema| schema.field(name).is_some_and(fits))
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

fn is_table_or_several(value: &DeValue<'_>) -> bool {
    let of_tables = |values: &DeArray<'_>| values.iter().any(|value| value.get_ref().is_table());
    value.is_table() || value.as_array().is_some_and(of_tables)
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
