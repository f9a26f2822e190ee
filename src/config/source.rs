//! The sources of keys, and the extractors that their texts describe.

use std::{borrow::Cow, collections::BTreeMap, env::VarError, fmt, io, path::PathBuf, sync::Arc};

use http::HeaderName;
use toml::Spanned;

use crate::{
    config::{
        environment::Environment,
        file::{ClientIpTable, KeyTexts},
        files::Files,
        source_map::SourceMap,
    },
    error::ConfigError,
    key::{
        self, ClientIp, ForwardedHeader, KeyBuilder, KeyExtractor, KeyForms, MissingKey, MultipleValues, RouteParams,
    },
    request::RequestView,
};

const CLIENT_IP: &str = "client_ip";
const PEER_IP: &str = "peer_ip";
const HOST: &str = "host";
/// The kinds of sources that may have several values in one request.
const MULTIPLE: [&str; 4] = ["header:", "metadata:", "query:", "cookie:"];
const PARAMETRIC: [&str; 6] = ["path", "header", "query", "cookie", "metadata", "constant"];
const BUILT_IN: &str =
    "path:NAME, header:NAME, query:NAME, cookie:NAME, metadata:NAME, constant:TEXT, peer_ip, client_ip, host";
const NO_HEADER: &str = "not the name of a header field: write one such as \"x-forwarded-for\"";

/// The sources of keys and costs that a program names for its files, besides the built-in ones, and the environment that files refer to.
///
/// ```
/// use tower_quota::{RateLimiter, config::Sources, key};
///
/// # #[derive(Clone)] struct Claims { account: String }
/// let account = key::claim(|claims: &Claims| &claims.account);
/// let sources = Sources::new().source("claim:account", account);
/// let text = r#"
///     [[rule]]
///     name = "tables"
///     key = "claim:account"
///     quotas = ["2/minute"]
///     applies_to = "every_request"
/// "#;
/// let limiter = RateLimiter::builder().toml(text, &sources)?.build()?;
/// assert!(limiter.rule("tables")?.check("acme").is_admitted());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
#[must_use = "sources do nothing until a file is read with them"]
pub struct Sources {
    named: BTreeMap<String, Arc<dyn KeyExtractor>>,
    costs: BTreeMap<String, CostSource>,
    environment: Environment,
    files: Files,
    /// The treatment of several values in the sources of one key, or their own.
    multiple_values: Option<MultipleValues>,
}

/// A closure that reads the cost of a request, if it has one.
pub(super) type CostSource = Arc<dyn for<'a> Fn(&RequestView<'a>) -> Option<u64> + Send + Sync>;

/// The parts of one key, like a tuple of extractors in code: the key is missing if one of them is.
pub(super) struct CompositeKey {
    parts: Vec<Arc<dyn KeyExtractor>>,
}

impl Sources {
    /// Creates a list of the built-in sources only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a source of this name.
    ///
    /// A name must not be empty, contain `|`, or begin or end with a space: `claim:appId` is one. Names are checked when a file is
    /// read. A source hides a built-in one of the same name.
    pub fn source(mut self, name: impl Into<String>, extractor: impl KeyExtractor) -> Self {
        self.insert(name.into(), extractor);
        self
    }

    /// Adds a source of costs of this name, for the fields `cost` and `reserve`. It returns `None` for a request whose cost it does
    /// not know, which then costs what the file says behind it. The rules for names are those of [`source`](Self::source).
    ///
    /// ```
    /// use tower_quota::{RateLimiter, config::Sources};
    ///
    /// # #[derive(Clone)] struct Estimate(u64);
    /// // A layer further out has counted the tokens of the prompt.
    /// let estimate = |request: &tower_quota::http::RequestView<'_>| {
    ///     request.extensions().get::<Estimate>().map(|estimate| estimate.0)
    /// };
    /// let text = r#"
    ///     [[rule]]
    ///     name = "tokens"
    ///     key = "header:x-user"
    ///     quotas = ["20000/minute"]
    ///     applies_to = "every_request"
    ///     unit = "tokens"
    ///     reserve = "prompt | 2000"
    /// "#;
    /// let limiter = RateLimiter::builder().toml(text, &Sources::new().cost_source("prompt", estimate))?.build()?;
    /// assert!(limiter.rule("tokens")?.check_cost("ann", 20_000)?.is_admitted());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cost_source(
        mut self,
        name: impl Into<String>,
        read: impl for<'a> Fn(&RequestView<'a>) -> Option<u64> + Send + Sync + 'static,
    ) -> Self {
        self.costs.insert(name.into(), Arc::new(read));
        self
    }

    /// Sets the function that reads the environment variables that a file names, such as `$REDIS_URL`. Defaults to
    /// [`std::env::var`]; another one is for tests, and for programs that keep their secrets elsewhere.
    ///
    /// ```
    /// use std::env::VarError;
    /// use tower_quota::{RateLimiter, config::Sources};
    ///
    /// let sources = Sources::new().environment(|_| Err(VarError::NotPresent));
    /// let text = "[store]\nurl = \"$QUOTA_REDIS\"\non_outage = \"open\"";
    /// let mistake = RateLimiter::builder().store_from_file().toml(text, &sources).unwrap_err();
    /// assert_eq!((mistake.line(), mistake.field()), (Some(2), "store.url"));
    /// ```
    pub fn environment(mut self, read: impl Fn(&str) -> Result<String, VarError> + Send + Sync + 'static) -> Self {
        self.environment = Environment::new(read);
        self
    }

    /// Sets the function that reads the files that a file names (`overrides_file`), by their path. Defaults to
    /// [`std::fs::read`]; another one is for tests, and for programs that keep them elsewhere. See also
    /// [`files_in`](Self::files_in).
    ///
    /// ```
    /// use tower_quota::{RateLimiter, config::Sources};
    ///
    /// let sources = Sources::new().files(|_| Ok(b"initech,pro".to_vec()));
    /// let text = r#"
    ///     [[rule]]
    ///     name = "jobs"
    ///     applies_to = "no_requests"
    ///     quotas = ["60/minute"]
    ///     tiers = { pro = ["600/minute"] }
    ///     overrides_file = "overrides.csv"
    /// "#;
    /// let limiter = RateLimiter::builder().toml(text, &sources)?.build()?;
    /// assert_eq!((0..1000).filter(|_| limiter.rule("jobs").unwrap().admit("initech")).count(), 600);
    /// # Ok::<(), tower_quota::ConfigError>(())
    /// ```
    pub fn files(mut self, read: impl Fn(&str) -> io::Result<Vec<u8>> + Send + Sync + 'static) -> Self {
        self.files = Files::By(Arc::new(read));
        self
    }

    /// Sets the directory of the files that a file names (`overrides_file`) by a relative path, mostly the one that the file
    /// itself is in. Defaults to the current directory of the process.
    ///
    /// ```
    /// use tower_quota::{RateLimiter, config::Sources};
    ///
    /// let folder = tempfile::tempdir()?;
    /// std::fs::write(folder.path().join("overrides.csv"), "initech,pro")?;
    /// let text = r#"
    ///     [[rule]]
    ///     name = "jobs"
    ///     applies_to = "no_requests"
    ///     quotas = ["60/minute"]
    ///     tiers = { pro = ["600/minute"] }
    ///     overrides_file = "overrides.csv"
    /// "#;
    /// let limiter = RateLimiter::builder().toml(text, &Sources::new().files_in(folder.path()))?.build()?;
    /// assert_eq!((0..1000).filter(|_| limiter.rule("jobs").unwrap().admit("initech")).count(), 600);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn files_in(mut self, directory: impl Into<PathBuf>) -> Self {
        self.files = Files::In(directory.into());
        self
    }

    pub(super) fn read_file(&self, path: &str) -> io::Result<Vec<u8>> {
        self.files.read(path)
    }

    /// Returns what reads the variables.
    pub(super) const fn variables(&self) -> &Environment {
        &self.environment
    }

    /// Returns these sources, and `client_ip` as the file describes it.
    pub(super) fn with_client_ip(&self, client_ip: Option<&ClientIp>) -> Self {
        let mut sources = self.clone();
        if let Some(client_ip) = client_ip {
            sources.insert(CLIENT_IP.to_owned(), client_ip.clone());
        }
        sources
    }

    /// Returns these sources with this treatment of several values.
    pub(super) fn with_multiple_values(&self, multiple_values: MultipleValues) -> Self {
        Self { multiple_values: Some(multiple_values), ..self.clone() }
    }

    /// Inserts `extractor` under a name, in place of an earlier one of that name.
    fn insert(&mut self, name: String, extractor: impl KeyExtractor) {
        let extractor = key::named(key::sanitize_name(&name), extractor);
        self.named.insert(name, Arc::new(extractor));
    }

    /// Finds names that the text of a key cannot contain.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let is_valid = |name: &str| !name.is_empty() && name.trim() == name && !name.contains('|');
        match self.named.keys().chain(self.costs.keys()).find(|name| !is_valid(name)) {
            Some(name) => {
                let reason = "the name of a source has no | in it and no space at its ends";
                Err(ConfigError::new("source", format_args!("{name:?}"), reason))
            }
            None => Ok(()),
        }
    }

    /// Returns the source of costs of this name.
    pub(super) fn cost_named(&self, name: &str) -> Option<&CostSource> {
        self.costs.get(name)
    }

    /// Returns the names of the sources of costs.
    pub(super) fn cost_names(&self) -> impl Iterator<Item = &str> {
        self.costs.keys().map(String::as_str)
    }

    /// Parses one part of a key: a source, or several to be tried in order.
    fn part(&self, text: &str) -> Result<Arc<dyn KeyExtractor>, ConfigError> {
        if text.trim() != text {
            return Err(refuse(text, &format!("spaces at the ends: write \"{}\"", text.trim())));
        }
        let sources: Vec<_> = text.split('|').map(|source| self.find(source.trim())).collect::<Result<_, _>>()?;
        match <[_; 1]>::try_from(sources) {
            Ok([only]) => Ok(only),
            Err(several) => Ok(Arc::new(key::first_of(several))),
        }
    }

    fn find(&self, text: &str) -> Result<Arc<dyn KeyExtractor>, ConfigError> {
        if let Some(named) = self.named.get(text) {
            return Ok(Arc::clone(named));
        }
        match text {
            PEER_IP => Ok(Arc::new(key::peer_ip())),
            HOST => Ok(Arc::new(key::host())),
            CLIENT_IP => Err(refuse(text, "needs the table [client_ip], which names the trusted proxies")),
            _ => parametric(text, self.multiple_values).unwrap_or_else(|| Err(self.unknown(text))),
        }
    }

    fn unknown(&self, text: &str) -> ConfigError {
        let mut known = vec![BUILT_IN];
        known.extend(self.named.keys().map(String::as_str));
        let suggestion = self.suggest(text).map(|source| format!(": write \"{source}\"")).unwrap_or_default();
        refuse(text, &format!("not a key source{suggestion}; known are {}", known.join(", ")))
    }

    /// Returns the source of the same spelling except for spaces, capitals and hyphens.
    fn suggest(&self, text: &str) -> Option<String> {
        let plain = |text: &str| text.replace(' ', "").replace('-', "_").to_lowercase();
        let whole = self.named.keys().map(String::as_str).chain([PEER_IP, CLIENT_IP, HOST]);
        if let Some(source) = whole.into_iter().find(|source| plain(source) == plain(text)) {
            return Some(source.to_owned());
        }
        let (kind, name) = text.split_once(':')?;
        let kind = PARAMETRIC.into_iter().find(|known| *known == plain(kind))?;
        Some(format!("{kind}:{}", name.trim()))
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.named.keys()).finish()
    }
}

impl CompositeKey {
    pub(super) fn parse(
        texts: &Spanned<KeyTexts>,
        sources: &Sources,
        lines: SourceMap<'_>,
    ) -> Result<Self, ConfigError> {
        let parts = KeyTexts::parts(texts);
        let parts = parts.iter().map(|text| lines.locate(text, sources.part(text.get_ref())));
        let parts: Vec<_> = parts.collect::<Result<_, _>>()?;
        if parts.is_empty() {
            return lines.locate(texts, Err(ConfigError::new("key", "[]", "a key has at least one part")));
        }
        Ok(Self { parts })
    }
}

/// Returns whether a source of this key may have several values in one request.
pub(super) fn may_have_multiple_values(texts: &Spanned<KeyTexts>) -> bool {
    let is_multiple = |source: &str| MULTIPLE.iter().any(|kind| source.trim().starts_with(kind));
    KeyTexts::parts(texts).iter().any(|part| part.get_ref().split('|').any(is_multiple))
}

impl KeyExtractor for CompositeKey {
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        self.parts.iter().try_for_each(|part| part.extract(request, key))
    }

    fn name(&self) -> Cow<'_, str> {
        let names: Vec<_> = self.parts.iter().map(KeyExtractor::name).collect();
        Cow::Owned(names.join("+"))
    }

    fn forms(&self) -> KeyForms {
        self.parts.iter().fold(KeyForms::texts(0), |forms, part| forms.and(part.forms()))
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.parts.iter().try_for_each(KeyExtractor::validate)
    }

    fn validate_on(&self, params: Option<RouteParams<'_>>) -> Result<(), ConfigError> {
        self.parts.iter().try_for_each(|part| part.validate_on(params))
    }
}

/// Returns the extractor that `[client_ip]` describes, validated step by step so that an error has its line.
pub(super) fn client_ip(table: &ClientIpTable, lines: SourceMap<'_>) -> Result<ClientIp, ConfigError> {
    let mut client_ip = key::client_ip();
    for network in &table.trust {
        client_ip = lines.locate(network, validated(client_ip.trust([network.get_ref()])))?;
    }
    if let Some(name) = &table.header {
        client_ip = client_ip.header(lines.locate(name, forwarded_header(name.get_ref()))?);
    }
    if let Some(bits) = &table.ipv6_prefix {
        client_ip = lines.locate(bits, validated(client_ip.ipv6_prefix(*bits.get_ref())))?;
    }
    Ok(client_ip)
}

fn validated(client_ip: ClientIp) -> Result<ClientIp, ConfigError> {
    client_ip.validate().map(|()| client_ip)
}

fn forwarded_header(name: &str) -> Result<ForwardedHeader, ConfigError> {
    let refuse = |_| ConfigError::new("client_ip.header", format_args!("\"{name}\""), NO_HEADER);
    HeaderName::from_bytes(name.as_bytes()).map(ForwardedHeader::from).map_err(refuse)
}

fn refuse(text: &str, reason: &str) -> ConfigError {
    ConfigError::new("key", format_args!("\"{text}\""), reason)
}

/// Sets the treatment of several values, if one is stated.
fn with_values<E>(extractor: E, values: Option<MultipleValues>, set: impl FnOnce(E, MultipleValues) -> E) -> E {
    match values {
        Some(values) => set(extractor, values),
        None => extractor,
    }
}

/// Returns a source with a parameter, or `None` if there is no such kind.
fn parametric(text: &str, values: Option<MultipleValues>) -> Option<Result<Arc<dyn KeyExtractor>, ConfigError>> {
    let (kind, name) = text.split_once(':')?;
    let owned = name.to_owned();
    let extractor: Arc<dyn KeyExtractor> = match kind {
        "path" => Arc::new(key::path(owned)),
        "header" => Arc::new(with_values(key::header(owned), values, key::Header::multiple_values)),
        "metadata" => Arc::new(with_values(key::metadata(owned), values, key::Metadata::multiple_values)),
        "query" => Arc::new(with_values(key::query(owned), values, key::Query::multiple_values)),
        "cookie" => Arc::new(with_values(key::cookie(owned), values, key::Cookie::multiple_values)),
        "constant" => Arc::new(key::constant(owned)),
        _ => return None,
    };
    if name.is_empty() {
        let what = if kind == "constant" { "TEXT" } else { "NAME" };
        return Some(Err(refuse(text, &format!("nothing follows the colon: write \"{kind}:{what}\""))));
    }
    if kind == "constant" && name.trim() != name {
        return Some(Err(refuse(text, &format!("spaces at the ends: write \"{kind}:{}\"", name.trim()))));
    }
    // Validated as if on a route with this parameter: the routes of the rule are checked later.
    Some(extractor.validate().map(|()| extractor))
}

#[cfg(test)]
mod tests {
    use http::{Request, request::Builder};

    use super::*;
    use crate::{
        key::{Key, KeyBuilder, KeyHasher},
        request::RequestView,
    };

    fn sources() -> Sources {
        let mut sources = Sources::default();
        sources.insert("claim:appId".to_owned(), |_: &RequestView<'_>| Some("from-claim"));
        sources
    }

    fn key(text: &str, request: Builder) -> Option<Key> {
        let hasher = KeyHasher::default();
        let mut key = KeyBuilder::new(&hasher);
        let request = request.body(()).unwrap();
        sources().part(text).unwrap().extract(&RequestView::new(&request), &mut key).ok()?;
        Some(key.key())
    }

    fn spelled(text: &str) -> Option<Key> {
        let hasher = KeyHasher::default();
        let mut key = KeyBuilder::new(&hasher);
        key.part(text);
        Some(key.key())
    }

    fn refusal(text: &str) -> String {
        sources().part(text).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_source_reads_what_its_text_says() {
        let request = || Request::get("/?q=in-query").header("x-id", "in-header").header("cookie", "c=in-cookie");
        assert_eq!(key("header:X-Id", request()), spelled("in-header"));
        assert_eq!(key("query:q", request()), spelled("in-query"));
        assert_eq!(key("cookie:c", request()), spelled("in-cookie"));
        assert_eq!(key("constant:all of: us", request()), spelled("all of: us"));
        assert_eq!(key("claim:appId", request()), spelled("from-claim"));
        assert_eq!(key("header:x-other", request()), None);
    }

    #[test]
    fn alternatives_are_tried_in_order_with_or_without_spaces() {
        for text in
            ["header:a | header:b | claim:appId", "header:a|header:b|claim:appId", "header:a |header:b| claim:appId"]
        {
            assert_eq!(key(text, Request::get("/").header("a", "1").header("b", "2")), spelled("1"), "{text}");
            assert_eq!(key(text, Request::get("/").header("b", "2")), spelled("2"), "{text}");
            assert_eq!(key(text, Request::get("/")), spelled("from-claim"), "{text}");
        }
    }

    #[test]
    fn an_unknown_source_is_told_what_is_known() {
        let known = "path:NAME, header:NAME, query:NAME, cookie:NAME, metadata:NAME, constant:TEXT, peer_ip, client_ip, host, \
                     claim:appId";
        for text in ["claim:id", "x", ""] {
            assert_eq!(refusal(text), format!("key \"{text}\": not a key source; known are {known}"));
        }
        let nearly = [
            ("claim:appid", "claim:appId"),
            ("claim: appId", "claim:appId"),
            ("PATH:x", "path:x"),
            ("cookie : sid", "cookie:sid"),
            ("peer-ip", "peer_ip"),
        ];
        for (text, meant) in nearly {
            let expected = format!("key \"{text}\": not a key source: write \"{meant}\"; known are {known}");
            assert_eq!(refusal(text), expected);
        }
        assert!(refusal("path:x | claim:y").starts_with("key \"claim:y\": not a key source"));
        assert!(refusal("path:x |").starts_with("key \"\": not a key source"));
    }

    #[test]
    fn a_source_that_can_find_nothing_is_refused() {
        let table = [
            ("path:", "path:", "nothing follows the colon: write \"path:NAME\""),
            ("header:", "header:", "nothing follows the colon: write \"header:NAME\""),
            ("query:a | cookie:", "cookie:", "nothing follows the colon: write \"cookie:NAME\""),
            ("metadata:", "metadata:", "nothing follows the colon: write \"metadata:NAME\""),
            ("constant:", "constant:", "nothing follows the colon: write \"constant:TEXT\""),
            ("constant: all", "constant: all", "spaces at the ends: write \"constant:all\""),
            ("metadata:x-bin ", "metadata:x-bin ", "spaces at the ends: write \"metadata:x-bin\""),
            (" peer_ip", " peer_ip", "spaces at the ends: write \"peer_ip\""),
            ("path:x | header:a b", "header:a b", "not the name of a header field: write \"header:NAME\""),
            ("header: x", "header: x", "not the name of a header field: write \"header:x\""),
            ("header::authority", "header::authority", "not the name of a header field: write \"header:authority\""),
            ("metadata: x-bin", "metadata: x-bin", "not the name of metadata: write \"metadata:x-bin\""),
            ("cookie: sid", "cookie: sid", "not the name of a cookie: write \"cookie:sid\""),
            ("cookie:sid=", "cookie:sid=", "not the name of a cookie: write \"cookie:sid\""),
            ("cookie:s%69d", "cookie:s%69d", "names are compared decoded: write \"cookie:sid\""),
            ("query: botId", "query: botId", "not the name of a query parameter: write \"query:botId\""),
            ("query:?a", "query:?a", "not the name of a query parameter: write \"query:a\""),
            ("query:a=b", "query:a=b", "not the name of a query parameter: write \"query:a\""),
            ("query:a%20b", "query:a%20b", "names are compared decoded: write \"query:a b\""),
            ("path:{botId}", "path:{botId}", "not the name of a parameter: write \"path:botId\""),
            ("path:{*rest}", "path:{*rest}", "not the name of a parameter: write \"path:rest\""),
            ("path::id", "path::id", "not the name of a parameter: write \"path:id\""),
        ];
        for (text, value, reason) in table {
            assert_eq!(refusal(text), format!("key \"{value}\": {reason}"));
        }
    }

    #[test]
    fn a_name_given_by_the_program_goes_before_a_built_in_one() {
        let mut sources = Sources::default();
        sources.insert("client_ip".to_owned(), |_: &RequestView<'_>| Some("mine"));
        assert!(sources.part("client_ip").is_ok());
        assert!(refusal("client_ip").contains("[client_ip]"));
    }

    #[test]
    fn the_debug_output_lists_the_names() {
        assert_eq!(format!("{:?}", sources()), "{\"claim:appId\"}");
    }
}
