//! A header field.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, header::HOST};

use crate::{
    error::ConfigError,
    key::{KeyBuilder, KeyExtractor, MissingKey, MultipleValues, name},
    request::RequestView,
};

/// What the names are of, in errors.
pub(super) const NOUN: &str = "a header field";

/// Reads a header field; made by [`header`].
#[derive(Clone, Debug)]
pub struct Header {
    name: Result<HeaderName, Cow<'static, str>>,
    several: MultipleValues,
}

/// The value of header field `name`, byte for byte.
///
/// `host` is also found where HTTP/2 and HTTP/3 have it, in the target. Of several lines the first one counts, which is what
/// `HeaderMap::get` gives to handlers.
///
/// A client can send what it likes: use this for what an authentication layer has verified, or a proxy has set.
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key::{self, MultipleValues}};
///
/// let tenant = key::header("x-tenant").several(MultipleValues::MissingKey);
/// let rule = Rule::new("calls").every_request().key(tenant).policy(Policy::per_minute(60));
/// let limiter = RateLimiter::builder().rule(rule).build()?;
///
/// let request = Request::get("/").header("x-tenant", "acme").body(())?;
/// assert_eq!(limiter.matching(&RequestView::of(&request))[0].key(), Some(limiter.key("acme")));
/// let two = Request::get("/").header("x-tenant", "acme").header("x-tenant", "globex").body(())?;
/// assert_eq!(limiter.matching(&RequestView::of(&two))[0].key(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn header(name: impl Into<Cow<'static, str>>) -> Header {
    let name = name.into();
    Header { name: HeaderName::from_bytes(name.as_bytes()).map_err(|_| name), several: MultipleValues::First }
}

impl Header {
    /// What to do if the field stands in a request several times; [`MultipleValues::First`] by default.
    #[must_use]
    pub const fn several(mut self, several: MultipleValues) -> Self {
        self.several = several;
        self
    }
}

impl KeyExtractor for Header {
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        let Ok(name) = &self.name else { return Err(MissingKey) };
        let values = request.headers().get_all(name).iter().map(HeaderValue::as_bytes);
        match target_host(name, request) {
            Some(host) => self.several.add([host].into_iter(), Some, key),
            None => self.several.add(values, Some, key),
        }
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.name.as_ref().map_or_else(|name| &**name, HeaderName::as_str))
    }

    fn validate(&self) -> Result<(), ConfigError> {
        match &self.name {
            Ok(_) => Ok(()),
            Err(name) => Err(name::invalid_name("header", name, NOUN, name::is_token_char)),
        }
    }
}

/// The field `Host` of a request that has it in its target: on HTTP/2 and HTTP/3 there is no other.
fn target_host<'r>(name: &HeaderName, request: &RequestView<'r>) -> Option<&'r [u8]> {
    if *name != HOST || request.headers().contains_key(HOST) {
        return None;
    }
    let authority = request.uri().authority()?.as_str();
    Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host).as_bytes())
}
