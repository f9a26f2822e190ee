//! The Redis store that `[store]` describes.

use std::time::Duration;

use toml::Spanned;

use crate::{
    config::{
        environment::{Environment, not_set},
        schema::{HIDDEN, Schema},
        source_map::SourceMap,
        store_table::{LeaseTable, StoreKind, StoreTable, span},
        value::{duration, word},
    },
    error::ConfigError,
    store::{AnyStore, LeaseConfig, OnOutage, RedisStore},
};

/// The fields of the store's own errors, and those of the file.
const FIELDS: [(&str, &str); 9] = [
    ("redis service", "service"),
    ("redis root_certificate", "root_certificate"),
    ("redis client_certificate", "client_certificate"),
    ("prefix", "prefix"),
    ("deadline", "deadline"),
    ("max_batch", "max_batch"),
    ("lease: units", "lease.max_units"),
    ("lease: duration", "lease.duration"),
    ("lease: rule", "lease.rules"),
];

/// The maximum number of bytes that are read of a certificate: the path may be that of a device.
#[cfg(feature = "redis-tls")]
const MOST_BYTES: u64 = 1 << 20;

/// Makes a store of the table.
#[derive(Debug)]
pub(super) struct RedisReader<'a> {
    table: &'a Spanned<StoreTable>,
    environment: &'a Environment,
    lines: SourceMap<'a>,
}

/// The line of each field that an error of the store may be about, by its name in the file.
#[derive(Debug)]
struct FieldLines(Vec<(&'static str, usize)>);

/// How the policy for an outage is written, without its share.
#[derive(Clone, Copy, Debug)]
enum OutageWord {
    Open,
    Closed,
    Local,
}

impl<'a> RedisReader<'a> {
    pub(super) const fn new(
        table: &'a Spanned<StoreTable>,
        environment: &'a Environment,
        lines: SourceMap<'a>,
    ) -> Self {
        Self { table, environment, lines }
    }

    /// Returns the store, or one in this process if the variable with its URL is not set and the table allows that.
    pub(super) fn store(&self, kind: StoreKind) -> Result<AnyStore, ConfigError> {
        let on_outage = self.on_outage()?;
        let server = self.server(kind, on_outage)?;
        let is_unset = server.is_none();
        // The mistakes in the other fields are found in any case.
        let store = server.unwrap_or_else(|| RedisStore::new("", on_outage));
        let store = self.certificates(self.lease(self.settings(store)?)?)?;
        let lines = FieldLines::new(self.table, self.lines);
        store.validate().map_err(|error| lines.explain(&error))?;
        if is_unset {
            return Ok(AnyStore::memory());
        }
        Ok(AnyStore::new(store).explained_by(move |error| lines.explain(&error)))
    }

    /// Returns a store on the servers; `None` if it is to be in this process.
    fn server(&self, kind: StoreKind, on_outage: OnOutage) -> Result<Option<RedisStore>, ConfigError> {
        let table = self.table.get_ref();
        match kind {
            StoreKind::Memory => Ok(None),
            StoreKind::Redis => {
                self.refuse("urls", "a single server has one: write url = \"redis://10.0.0.1:6379\"")?;
                self.refuse("service", "only sentinels know services: write kind = \"sentinel\", or leave it out")?;
                let url =
                    self.field(table.url.as_ref(), "url", "a single server has a URL: write url = \"$REDIS_URL\"")?;
                Ok(self.urls("url", &[url])?.pop().map(|url| RedisStore::new(url, on_outage)))
            }
            StoreKind::Sentinel => {
                let urls = self.several("write urls = [\"redis://10.0.0.1:26379\"], those of the sentinels")?;
                let missing = "the sentinels know several: write service = \"mymaster\"";
                let service = self.field(table.service.as_ref(), "service", missing)?;
                let service =
                    self.lines.locate(service, self.environment.require("store.service", service.get_ref()))?;
                Ok(urls.map(|urls| RedisStore::sentinel(urls, service, on_outage)))
            }
            StoreKind::Cluster => {
                self.refuse("service", "only sentinels know services: write kind = \"sentinel\", or leave it out")?;
                let urls = self.several("write urls = [\"redis://10.0.0.1:6379\"], some of the nodes")?;
                Ok(urls.map(|urls| RedisStore::cluster(urls, on_outage)))
            }
        }
    }

    /// Returns the URLs of several servers; `None` if one is unset, and the store is to be in this process.
    fn several(&self, missing: &str) -> Result<Option<Vec<String>>, ConfigError> {
        self.refuse("url", "there are several servers: write urls = [\"redis://10.0.0.1:6379\"]")?;
        let urls = self.field(self.table.get_ref().urls.as_ref(), "urls", missing)?;
        let texts: Vec<_> = urls.get_ref().iter().collect();
        if texts.is_empty() {
            return self.lines.locate(urls, Err(ConfigError::new("store.urls", "[]", missing)));
        }
        Ok(Some(self.urls("urls", &texts)?).filter(|urls| !urls.is_empty()))
    }

    /// Returns the URLs that these texts stand for; none at all if one is unset, and the store is to be in this process.
    fn urls(&self, name: &str, texts: &[&Spanned<String>]) -> Result<Vec<String>, ConfigError> {
        let field = format!("store.{name}");
        let falls_back = self.falls_back(texts)?;
        let mut urls = Vec::new();
        for text in texts {
            match self.lines.locate(text, self.environment.resolve(&field, text.get_ref()))? {
                Some(url) => urls.push(url),
                None if falls_back => return Ok(Vec::new()),
                None => {
                    let advice = ", or write if_unset = \"memory\" to keep histories in this process then";
                    return self.lines.locate(text, Err(not_set(&field, text.get_ref(), advice)));
                }
            }
        }
        Ok(urls)
    }

    /// Returns whether the store is to be in this process if a URL is unset.
    fn falls_back(&self, urls: &[&Spanned<String>]) -> Result<bool, ConfigError> {
        let Some(text) = &self.table.get_ref().if_unset else { return Ok(false) };
        if !urls.iter().any(|url| url.get_ref().starts_with('$')) {
            let reason = "no URL is an environment variable: leave it out, or write url = \"$REDIS_URL\"";
            let mistake = ConfigError::new("store.if_unset", format_args!("\"{}\"", text.get_ref()), reason);
            return self.lines.locate(text, Err(mistake));
        }
        word("store.if_unset", text, &[("memory", true), ("error", false)], self.lines)
    }

    fn on_outage(&self) -> Result<OnOutage, ConfigError> {
        let words = [("open", OutageWord::Open), ("closed", OutageWord::Closed), ("local", OutageWord::Local)];
        let missing = "each choice has its price: write on_outage = \"open\", \"closed\", or \"local\" with a share";
        let text = self.field(self.table.get_ref().on_outage.as_ref(), "on_outage", missing)?;
        let local = match word("store.on_outage", text, &words, self.lines)? {
            OutageWord::Local => return self.local_share(),
            OutageWord::Open => OnOutage::Open,
            OutageWord::Closed => OnOutage::Closed,
        };
        self.refuse(
            "share",
            "it is for requests that are decided locally: write on_outage = \"local\", or leave it out",
        )?;
        Ok(local)
    }

    fn local_share(&self) -> Result<OnOutage, ConfigError> {
        let missing = "a share of each limit is this process's: write share = 0.25 if there are four";
        let text = self.field(self.table.get_ref().share.as_ref(), "share", missing)?;
        let share = *text.get_ref();
        if share > 0.0 && share <= 1.0 {
            return Ok(OnOutage::Local { share });
        }
        let reason = "a share is more than 0 and at most 1: write share = 0.25";
        self.lines.locate(text, Err(ConfigError::new("store.share", share, reason)))
    }

    fn settings(&self, mut store: RedisStore) -> Result<RedisStore, ConfigError> {
        let table = self.table.get_ref();
        if let Some(prefix) = &table.prefix {
            store = store.prefix(prefix.get_ref());
        }
        if let Some(deadline) = &table.deadline {
            store = store.deadline(duration("store.deadline", deadline, self.lines)?);
        }
        if let Some(ttl) = &table.denial_cache_ttl {
            store = store.denial_cache_ttl(duration("store.denial_cache_ttl", ttl, self.lines)?);
        }
        if let Some(max_batch) = &table.max_batch {
            store = store.max_batch(*max_batch.get_ref());
        }
        if let Some(secret) = &table.key_secret {
            store = store.key_secret(self.lines.locate(secret, self.secret(secret.get_ref()))?);
        }
        Ok(store)
    }

    /// Returns a secret, which is in the environment.
    fn secret(&self, text: &str) -> Result<String, ConfigError> {
        if !text.starts_with('$') {
            let reason = "a secret is not written into the file: write key_secret = \"$QUOTA_KEY_SECRET\", and set that variable";
            return Err(ConfigError::new("store.key_secret", HIDDEN, reason));
        }
        self.environment.require("store.key_secret", text)
    }

    fn lease(&self, store: RedisStore) -> Result<RedisStore, ConfigError> {
        let Some(table) = &self.table.get_ref().lease else { return Ok(store) };
        let LeaseTable { max_units, duration: length, rules } = table.get_ref();
        let missing = |field: &str, reason: &str| {
            self.lines.locate(table, Err(ConfigError::new(format!("store.lease.{field}"), "", reason)))
        };
        let Some(max_units) = max_units else {
            return missing("max_units", "a lease has a size: write max_units = 50");
        };
        let Some(length) = length else {
            return missing("duration", "a lease ends: write duration = \"1s\"");
        };
        let length: Duration = duration("store.lease.duration", length, self.lines)?;
        let lease = LeaseConfig::new(*max_units.get_ref(), length);
        Ok(store.lease(match rules {
            Some(rules) => lease.for_rules(rules.get_ref().iter().map(Spanned::get_ref)),
            None => lease,
        }))
    }

    #[cfg(feature = "redis-tls")]
    fn certificates(&self, mut store: RedisStore) -> Result<RedisStore, ConfigError> {
        let table = self.table.get_ref();
        if let Some(path) = &table.root_certificate {
            store = store.root_certificate(self.file("root_certificate", path)?);
        }
        if table.client_certificate.is_some() || table.client_key.is_some() {
            let both = "a client shows a certificate and has its key: write client_certificate and client_key";
            let certificate = self.field(table.client_certificate.as_ref(), "client_certificate", both)?;
            let key = self.field(table.client_key.as_ref(), "client_key", both)?;
            store =
                store.client_certificate(self.file("client_certificate", certificate)?, self.file("client_key", key)?);
        }
        Ok(store)
    }

    #[cfg(not(feature = "redis-tls"))]
    fn certificates(&self, store: RedisStore) -> Result<RedisStore, ConfigError> {
        let reason =
            "this program is built without TLS: leave it out, or build it with the feature `redis-tls` of tower-quota";
        for field in ["root_certificate", "client_certificate", "client_key"] {
            self.refuse(field, reason)?;
        }
        Ok(store)
    }

    /// Returns the content of a file, whose path is here or in a variable.
    #[cfg(feature = "redis-tls")]
    fn file(&self, field: &str, path: &Spanned<String>) -> Result<Vec<u8>, ConfigError> {
        let field = format!("store.{field}");
        let path_read = self.lines.locate(path, self.environment.require(&field, path.get_ref()))?;
        let unreadable = |error: std::io::Error| {
            let reason = format!("the file cannot be read ({error}): write the path of a file in PEM");
            ConfigError::new(field, format_args!("\"{path_read}\""), reason)
        };
        self.lines.locate(path, read_start(&path_read).map_err(unreadable))
    }

    /// Returns a field that has to be there.
    fn field<T>(
        &self,
        value: Option<&'a Spanned<T>>,
        name: &str,
        missing: &str,
    ) -> Result<&'a Spanned<T>, ConfigError> {
        let mistake = || ConfigError::new(format!("store.{name}"), "", missing);
        self.lines.locate(self.table, value.ok_or_else(mistake))
    }

    /// Rejects a field that does not belong to the others.
    fn refuse(&self, name: &str, reason: &str) -> Result<(), ConfigError> {
        let fields = self.table.get_ref().fields_of_redis();
        match fields.into_iter().find_map(|(field, span)| span.filter(|_| field == name)) {
            Some(span) => {
                let line = self.lines.line_at(span.start);
                Err(ConfigError::new(format!("store.{name}"), self.lines.quote(span), reason).at_line(line))
            }
            None => Ok(()),
        }
    }
}

/// Reads a file, but no more than certificates have.
#[cfg(feature = "redis-tls")]
fn read_start(path: &str) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(MOST_BYTES).read_to_end(&mut content)?;
    Ok(content)
}

impl FieldLines {
    fn new(table: &Spanned<StoreTable>, lines: SourceMap<'_>) -> Self {
        let lease = table.get_ref().lease.as_ref().map(Spanned::get_ref);
        let of_lease = [
            ("lease.max_units", lease.and_then(|lease| span(&lease.max_units))),
            ("lease.duration", lease.and_then(|lease| span(&lease.duration))),
            ("lease.rules", lease.and_then(|lease| span(&lease.rules))),
        ];
        let fields = table.get_ref().fields_of_redis().into_iter().chain(of_lease);
        let mut found: Vec<_> = fields.filter_map(|(name, span)| Some((name, lines.line_at(span?.start)))).collect();
        found.push(("", lines.line_of(table)));
        Self(found)
    }

    /// Names the field of the file, its line, and an example of what to write.
    fn explain(&self, error: &ConfigError) -> ConfigError {
        let known = FIELDS.iter().find(|(own, _)| *own == error.field());
        let name = match known {
            Some((_, name)) => name,
            None if error.field().starts_with("redis url") && self.has("urls") => "urls",
            None => "url",
        };
        let line = self.0.iter().find(|(field, _)| *field == name || field.is_empty()).map(|(_, line)| *line);
        let example = Schema::field_of_store(name).map(|field| format!(": write {}", field.assignment()));
        let reason = match example {
            Some(example) if !error.reason().contains("write ") => format!("{}{example}", error.reason()),
            _ => error.reason().to_owned(),
        };
        let explained = ConfigError::new(format!("store.{name}"), error.value(), reason);
        let explained = match error.rule() {
            Some(rule) => explained.in_rule(rule),
            None => explained,
        };
        match line {
            Some(line) => explained.at_line(line),
            None => explained,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| *field == name)
    }
}
