//! `[store]` as it is written.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use crate::{
    config::{
        schema::{HIDDEN, is_secret},
        source_map::SourceMap,
        value::word,
    },
    error::ConfigError,
};

/// `[store]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct StoreTable {
    pub(super) kind: Option<Spanned<String>>,
    pub(super) url: Option<Spanned<String>>,
    pub(super) urls: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) service: Option<Spanned<String>>,
    pub(super) if_unset: Option<Spanned<String>>,
    pub(super) on_outage: Option<Spanned<String>>,
    pub(super) share: Option<Spanned<f64>>,
    pub(super) prefix: Option<Spanned<String>>,
    pub(super) deadline: Option<Spanned<String>>,
    pub(super) denial_cache_ttl: Option<Spanned<String>>,
    pub(super) max_batch: Option<Spanned<u8>>,
    pub(super) key_secret: Option<Spanned<String>>,
    pub(super) root_certificate: Option<Spanned<String>>,
    pub(super) client_certificate: Option<Spanned<String>>,
    pub(super) client_key: Option<Spanned<String>>,
    pub(super) lease: Option<Spanned<LeaseTable>>,
}

/// `[store.lease]`: units that a process takes in advance.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only Redis lends units"))]
pub(super) struct LeaseTable {
    pub(super) max_units: Option<Spanned<u8>>,
    pub(super) duration: Option<Spanned<String>>,
    pub(super) rules: Option<Spanned<Vec<Spanned<String>>>>,
}

/// The kind of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreKind {
    Memory,
    Redis,
    Sentinel,
    Cluster,
}

const KINDS: [(&str, StoreKind); 4] = [
    ("memory", StoreKind::Memory),
    ("redis", StoreKind::Redis),
    ("sentinel", StoreKind::Sentinel),
    ("cluster", StoreKind::Cluster),
];

impl StoreTable {
    /// Returns the kind that is stated, or that a URL implies.
    pub(super) fn kind(table: &Spanned<Self>, lines: SourceMap<'_>) -> Result<StoreKind, ConfigError> {
        match (&table.get_ref().kind, &table.get_ref().url) {
            (Some(kind), _) => word("store.kind", kind, &KINDS, lines),
            (None, Some(_)) => Ok(StoreKind::Redis),
            (None, None) => {
                let reason = "the table does not say where: write kind = \"memory\", or url = \"$REDIS_URL\"";
                lines.locate(table, Err(ConfigError::new("store.kind", "", reason)))
            }
        }
    }

    /// Rejects fields that a store in this process does not have.
    pub(super) fn refuse_fields_of_redis(&self, lines: SourceMap<'_>) -> Result<(), ConfigError> {
        match self.fields_of_redis().into_iter().find_map(|(field, span)| Some((field, span?))) {
            Some((field, span)) => {
                let reason = "a store in memory does not have it: leave it out, or write kind = \"redis\"";
                let value = if is_secret(field) { HIDDEN.to_owned() } else { lines.quote(span.clone()) };
                Err(ConfigError::new(format!("store.{field}"), value, reason).at_line(lines.line_at(span.start)))
            }
            None => Ok(()),
        }
    }

    /// Returns all fields but the kind, with the spans of those that are there.
    pub(super) fn fields_of_redis(&self) -> [(&'static str, Option<Range<usize>>); 15] {
        [
            ("url", span(&self.url)),
            ("urls", span(&self.urls)),
            ("service", span(&self.service)),
            ("if_unset", span(&self.if_unset)),
            ("on_outage", span(&self.on_outage)),
            ("share", span(&self.share)),
            ("prefix", span(&self.prefix)),
            ("deadline", span(&self.deadline)),
            ("denial_cache_ttl", span(&self.denial_cache_ttl)),
            ("max_batch", span(&self.max_batch)),
            ("key_secret", span(&self.key_secret)),
            ("root_certificate", span(&self.root_certificate)),
            ("client_certificate", span(&self.client_certificate)),
            ("client_key", span(&self.client_key)),
            ("lease", span(&self.lease)),
        ]
    }
}

pub(super) fn span<T>(field: &Option<Spanned<T>>) -> Option<Range<usize>> {
    field.as_ref().map(Spanned::span)
}
