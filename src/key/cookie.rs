//! A cookie.

use std::borrow::Cow;

use http::header::COOKIE;
use percent_encoding::percent_decode_str;

use crate::{
    error::ConfigError,
    key::{KeyBuilder, KeyExtractor, MissingKey, MultipleValues, name},
    request::RequestView,
};

/// Reads a cookie; made by [`cookie`].
#[derive(Clone, Debug)]
pub struct Cookie {
    name: Cow<'static, str>,
    several: MultipleValues,
}

/// The cookie called `name`, read as the cookie jars of axum-extra do.
///
/// Of several cookies of one name the last one counts, names and values are percent-decoded, and a line that is not ASCII
/// or a cookie that is no UTF-8 counts for nothing: if the service behind took `sid=real` from a request where another
/// cookie counted here, one session would have as many histories as it could think of names for itself. With a value in
/// quotes these are left out, because handlers may do either.
///
/// Others read otherwise: Go and Express take the first cookie and decode no names. For the first say so with
/// [`several`](Cookie::several); a reading of your own is a closure.
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
///
/// let rule = Rule::new("calls").every_request().key(key::cookie("sid")).policy(Policy::per_minute(60));
/// let limiter = RateLimiter::builder().rule(rule).build()?;
///
/// for cookies in ["sid=real", "sid=junk; sid=real", "sid=r%65al", "%73id=real", "sid=junk; sid=\"real\"; other=x"] {
///     let request = Request::get("/").header("cookie", cookies).body(())?;
///     assert_eq!(limiter.matching(&RequestView::of(&request))[0].key(), Some(limiter.key("real")));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn cookie(name: impl Into<Cow<'static, str>>) -> Cookie {
    Cookie { name: name.into(), several: MultipleValues::Last }
}

impl Cookie {
    /// What to do if there are several cookies of the name; [`MultipleValues::Last`] by default.
    #[must_use]
    pub const fn several(mut self, several: MultipleValues) -> Self {
        self.several = several;
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
        self.several.add(values, Some, key)
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
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
