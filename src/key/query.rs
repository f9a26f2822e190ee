//! Extracts a key from a query parameter.

use std::borrow::Cow;

use percent_encoding::{percent_decode, percent_decode_str};

use crate::{
    error::ConfigError,
    key::{KeyBuilder, KeyExtractor, KeyForms, MissingKey, MultipleValues, name},
    request::RequestView,
};

/// Reads a query parameter; made by [`query`].
///
/// ```
/// use tower_quota::key::{self, KeyExtractor, MultipleValues};
///
/// let bot: key::Query = key::query("botId").multiple_values(MultipleValues::First);
/// assert_eq!(bot.name(), "botId");
/// assert!(key::query("?botId").validate().is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Query {
    name: Cow<'static, str>,
    multiple_values: MultipleValues,
}

/// Counts by the query parameter `name`, decoded as a form: `+` is a space, and so is `%20`.
///
/// Of several parameters with one name the last one counts, which axum's `Query` of a map gives to handlers. A `Query`
/// of a struct refuses such requests; for a handler that searches a list of pairs use [`MultipleValues::First`].
///
/// A value that is not UTF-8 is a key byte for byte. (axum replaces bytes that are no text by `U+FFFD`, so a handler
/// may see several such values as one.)
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
///
/// let rule = Rule::new("calls").every_request().key(key::query("bot id"));
/// let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_minute(60))).build()?;
///
/// for uri in ["/?bot+id=a+b", "/?bot%20id=%61%20b", "/?bot+id=junk&bot+id=a+b"] {
///     let request = Request::get(uri).body(())?;
///     let key = limiter.matching(&RequestView::new(&request))[0].key();
///     assert_eq!(key, Some(limiter.key("a b")));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn query(name: impl Into<Cow<'static, str>>) -> Query {
    Query { name: name.into(), multiple_values: MultipleValues::Last }
}

impl Query {
    /// Sets the choice among several parameters of this name. Defaults to [`MultipleValues::Last`].
    #[must_use]
    pub const fn multiple_values(mut self, multiple_values: MultipleValues) -> Self {
        self.multiple_values = multiple_values;
        self
    }

    fn value_in<'p>(&self, pair: &'p str) -> Option<&'p str> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (*decoded(name) == *self.name.as_bytes()).then_some(value)
    }
}

impl KeyExtractor for Query {
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        let query = request.uri().query().ok_or(MissingKey)?;
        let values = query.split('&').filter_map(|pair| self.value_in(pair));
        self.multiple_values.add(values, |value| Some(decoded(value)), key)
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn forms(&self) -> KeyForms {
        self.multiple_values.forms()
    }

    fn validate(&self) -> Result<(), ConfigError> {
        name::check_decoded("query", &self.name, "a query parameter", name::is_query_char)
    }
}

/// Decodes the value of a form, which need not be UTF-8.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if text.contains('+') {
        return percent_decode(text.replace('+', " ").as_bytes()).collect();
    }
    percent_decode_str(text).into()
}
