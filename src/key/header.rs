//! Extracts a key from a header field.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, header::HOST};

use crate::{
    error::ConfigError,
    key::{KeyBuilder, KeyExtractor, KeyForms, MissingKey, MultipleValues, name},
    request::RequestView,
};

/// The kind of name, in errors.
pub(super) const NOUN: &str = "a header field";

/// Reads a header field; made by [`header`].
///
/// ```
/// use tower_quota::key::{self, KeyExtractor, MultipleValues};
///
/// let tenant: key::Header = key::header("X-Tenant");
/// let tenant = tenant.multiple_values(MultipleValues::Joined);
/// assert_eq!(tenant.name(), "x-tenant");
/// assert!(key::header("x tenant").validate().is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Header {
    name: Result<HeaderName, Cow<'static, str>>,
    multiple_values: MultipleValues,
}

/// Counts by the value of header field `name`, byte for byte.
///
/// `host` is also found where HTTP/2 and HTTP/3 have it, in the target. Of several lines the first one counts, which
/// `HeaderMap::get` gives to handlers.
///
/// A client can send any value: use this for fields that an authentication layer has verified, or a proxy has set.
///
/// ```
/// use http::Request;
/// use tower_quota::key::{self, MultipleValues};
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView};
///
/// let tenant = key::header("x-tenant").multiple_values(MultipleValues::MissingKey);
/// let rule = Rule::new("calls").every_request().key(tenant);
/// let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_minute(60))).build()?;
///
/// let request = Request::get("/").header("x-tenant", "acme").body(())?;
/// let key = limiter.matching(&RequestView::new(&request))[0].key();
/// assert_eq!(key, Some(limiter.key("acme")));
/// let two = Request::get("/").header("x-tenant", "acme").header("x-tenant", "globex");
/// let two = two.body(())?;
/// assert_eq!(limiter.matching(&RequestView::new(&two))[0].key(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn header(name: impl Into<Cow<'static, str>>) -> Header {
    let name = name.into();
    Header { name: HeaderName::from_bytes(name.as_bytes()).map_err(|_| name), multiple_values: MultipleValues::First }
}

impl Header {
    /// Sets the choice among several fields of this name. Defaults to [`MultipleValues::First`].
    #[must_use]
    pub const fn multiple_values(mut self, multiple_values: MultipleValues) -> Self {
        self.multiple_values = multiple_values;
        self
    }
}

impl KeyExtractor for Header {
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        let Ok(name) = &self.name else { return Err(MissingKey) };
        let values = request.headers().get_all(name).iter().map(HeaderValue::as_bytes);
        match target_host(name, request) {
            Some(host) => self.multiple_values.add([host].into_iter(), Some, key),
            None => self.multiple_values.add(values, Some, key),
        }
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.name.as_ref().map_or_else(|name| &**name, HeaderName::as_str))
    }

    fn forms(&self) -> KeyForms {
        self.multiple_values.forms()
    }

    fn validate(&self) -> Result<(), ConfigError> {
        match &self.name {
            Ok(_) => Ok(()),
            Err(name) => Err(name::invalid_name("header", name, NOUN, name::is_token_char)),
        }
    }
}

/// Returns the host of a request that has it in its target, as on HTTP/2 and HTTP/3, and no field `Host`.
fn target_host<'r>(name: &HeaderName, request: &RequestView<'r>) -> Option<&'r [u8]> {
    if *name != HOST || request.headers().contains_key(HOST) {
        return None;
    }
    let authority = request.uri().authority()?.as_str();
    Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host).as_bytes())
}
