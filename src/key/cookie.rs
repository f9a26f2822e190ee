//! Extracts a key from a cookie.

use std::borrow::Cow;

use http::header::COOKIE;
use percent_encoding::percent_decode_str;

use crate::{
    error::ConfigError,
    key::{KeyBuilder, KeyExtractor, KeyForms, MissingKey, MultipleValues, name},
    request::RequestView,
};

/// Reads a cookie; made by [`cookie`].
///
/// ```
/// use tower_quota::key::{self, KeyExtractor, MultipleValues};
///
/// let session: key::Cookie = key::cookie("sid").multiple_values(MultipleValues::First);
/// assert_eq!(session.name(), "sid");
/// assert!(key::cookie("sid=").validate().is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Cookie {
    name: Cow<'static, str>,
    multiple_values: MultipleValues,
}

/// Counts by the value of the cookie `name`, which is read as the cookie jars of axum-extra do.
///
/// Of several cookies with one name the last one counts. Names and values are percent-decoded. A line that is not ASCII
/// and a cookie that is not UTF-8 are ignored. Reading differently from the service behind is risky: if it took
/// `sid=real` from a request where another cookie counted here, one session would have as many histories as it could
/// invent names. Quotes around a value are removed, because handlers may do either.
///
/// Other servers read differently: Go and Express take the first cookie and decode no names. To take the first use
/// [`multiple_values`](Cookie::multiple_values); for other differences use a closure.
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
///
/// let rule = Rule::new("calls").every_request().key(key::cookie("sid"));
/// let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_minute(60))).build()?;
///
/// for cookies in [
///     "sid=real",
///     "sid=junk; sid=real",
///     "sid=r%65al",
///     "%73id=real",
///     "sid=junk; sid=\"real\"; other=x",
/// ] {
///     let request = Request::get("/").header("cookie", cookies).body(())?;
///     let key = limiter.matching(&RequestView::new(&request))[0].key();
///     assert_eq!(key, Some(limiter.key("real")));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn cookie(name: impl Into<Cow<'static, str>>) -> Cookie {
    Cookie { name: name.into(), multiple_values: MultipleValues::Last }
}

impl Cookie {
    /// Sets the choice among several cookies of this name. Defaults to [`MultipleValues::Last`].
    #[must_use]
    pub const fn multiple_values(mut self, multiple_values: MultipleValues) -> Self {
        self.multiple_values = multiple_values;
        self
    }

    fn value_in<'p>(&self, pair: &'p str) -> Option<Cow<'p, [u8]>> {
        let (name, value) = pair.split_once('=')?;
        let is_it = decoded(name.trim())? == self.name;
        is_it.then(|| decoded(value.trim())).flatten().map(without_quotes)
    }
}

impl KeyExtractor for Cookie {
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        let lines = request.headers().get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        let values = lines.flat_map(|line| line.split(';')).filter_map(|pair| self.value_in(pair));
        self.multiple_values.add(values, Some, key)
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn forms(&self) -> KeyForms {
        self.multiple_values.forms()
    }

    fn validate(&self) -> Result<(), ConfigError> {
        name::check_decoded("cookie", &self.name, "a cookie", name::is_token_char)
    }
}

fn decoded(text: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(text).decode_utf8().ok()
}

fn without_quotes(value: Cow<'_, str>) -> Cow<'_, [u8]> {
    let inner = |value: &str| Some(value.strip_prefix('"')?.strip_suffix('"')?.len());
    match (inner(&value), value) {
        (Some(length), Cow::Borrowed(value)) => Cow::Borrowed(&value.as_bytes()[1..=length]),
        (Some(length), Cow::Owned(value)) => Cow::Owned(value.as_bytes()[1..=length].to_vec()),
        (None, Cow::Borrowed(value)) => Cow::Borrowed(value.as_bytes()),
        (None, Cow::Owned(value)) => Cow::Owned(value.into_bytes()),
    }
}
