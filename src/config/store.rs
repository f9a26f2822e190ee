//! The store that `[store]` describes.

use toml::Spanned;

#[cfg(feature = "redis")]
use crate::config::redis::RedisReader;
use crate::{
    config::{
        environment::Environment,
        source_map::SourceMap,
        store_table::{StoreKind, StoreTable},
    },
    error::ConfigError,
    store::AnyStore,
};

/// Returns the store that the table describes. Nothing is connected yet.
pub(super) fn store(
    table: &Spanned<StoreTable>,
    environment: &Environment,
    lines: SourceMap<'_>,
) -> Result<AnyStore, ConfigError> {
    match StoreTable::kind(table, lines)? {
        StoreKind::Memory => {
            table.get_ref().refuse_fields_of_redis(lines)?;
            Ok(AnyStore::memory())
        }
        kind => redis(table, kind, environment, lines),
    }
}

#[cfg(feature = "redis")]
fn redis(
    table: &Spanned<StoreTable>,
    kind: StoreKind,
    environment: &Environment,
    lines: SourceMap<'_>,
) -> Result<AnyStore, ConfigError> {
    RedisReader::new(table, environment, lines).store(kind)
}

#[cfg(not(feature = "redis"))]
fn redis(
    table: &Spanned<StoreTable>,
    _: StoreKind,
    _: &Environment,
    lines: SourceMap<'_>,
) -> Result<AnyStore, ConfigError> {
    let (field, span) = match (&table.get_ref().kind, &table.get_ref().url) {
        (Some(kind), _) => ("store.kind", kind.span()),
        (None, Some(url)) => ("store.url", url.span()),
        (None, None) => ("store", table.span()),
    };
    let reason = "this program is built without Redis: write kind = \"memory\", or build it with the feature `redis` of \
                  tower-quota";
    Err(ConfigError::new(field, lines.quote(span.clone()), reason).at_line(lines.line_at(span.start)))
}
