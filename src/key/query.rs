//! A query parameter.

use std::borrow::Cow;

use percent_encoding::{percent_decode, percent_decode_str};

use crate::{
    error::ConfigError,
    key::{KeyBuilder, KeyExtractor, MissingKey, MultipleValues, name},
    request::RequestView,
};

/// Reads a query parameter; made by [`query`].
#[derive(Clone, Debug)]
pub struct Query {
    name: Cow<'static, str>,
    several: MultipleValues,
}

/// The query parameter called `name`, decoded as a form: `+` is a space, and so is `%20`.
///
/// Of several parameters of one name the last one counts, which is what axum's `Query` of a map gives to handlers. A
/// `Query` of a struct refuses such requests; for a handler that looks through a list of pairs use [`MultipleValues::First`].
///
/// A value that is not UTF-8 is a key byte for byte. (axum replaces what is no text by `U+FFFD`, so such values may be
/// one to the handler, but none of them names anybody there.)
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
///
/// let rule = Rule::new("calls").every_request().key(key::query("bot id")).policy(Policy::per_minute(60));
/// let limiter = RateLimiter::builder().rule(rule).build()?;
///
/// for uri in ["/?bot+id=a+b", "/?bot%20id=%61%20b", "/?bot+id=junk&bot+id=a+b"] {
///     let request = Request::get(uri).body(())?;
///     assert_eq!(limiter.matching(&RequestView::of(&request))[0].key(), Some(limiter.key("a b")));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn query(name: impl Into<Cow<'static, str>>) -> Query {
    Query { name: name.into(), several: MultipleValues::Last }
}

impl Query {
    /// What to do if the parameter stands in a request several times; [`MultipleValues::Last`] by default.
    #[must_use]
    pub const fn several(mut self, several: MultipleValues) -> Self {
        self.several = several;
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
        self.several.add(values, |value| Some(decoded(value)), key)
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        name::check_decoded("query", &self.name, "a query parameter", name::is_query_char)
    }
}

/// What a form encodes as `text`, which need not be text itself.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if text.contains('+') {
        return percent_decode(text.replace('+', " ").as_bytes()).collect();
    }
    percent_decode_str(text).into()
}
