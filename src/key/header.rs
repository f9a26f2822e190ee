//! A header field.

use std::borrow::Cow;

use http::HeaderName;

use crate::{
    error::ConfigError,
    http::RequestView,
    key::{KeyBuilder, KeyExtractor, Missing},
};

/// Reads a header field; made by [`header`].
#[derive(Clone, Debug)]
pub struct Header {
    name: Result<HeaderName, Cow<'static, str>>,
    several: Several,
}

/// Which value counts if a header field or a query parameter stands in a request several times.
///
/// It should be the one that the service behind reads, or a client can choose its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Several {
    /// The first, which is what `HeaderMap::get` gives to handlers.
    #[default]
    First,
    /// All of them, as parts of one key.
    Joined,
    /// None: the key is missing.
    Missing,
}

/// The value of header field `name`, byte for byte.
///
/// A client can send what it likes: use this for what an authentication layer has verified, or a proxy has set.
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key::{self, Several}};
///
/// let tenant = key::header("x-tenant").several(Several::Missing);
/// let rule = Rule::new("calls").every_request().level("tenant", tenant).policy(Policy::per_minute(60));
/// let limiter = RateLimiter::builder().rule(rule).build()?;
///
/// let request = Request::get("/").header("x-tenant", "acme").body(())?;
/// assert_eq!(limiter.governing(&RequestView::of(&request))[0].key(), Some(limiter.key("acme")));
/// let two = Request::get("/").header("x-tenant", "acme").header("x-tenant", "globex").body(())?;
/// assert_eq!(limiter.governing(&RequestView::of(&two))[0].key(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn header(name: impl Into<Cow<'static, str>>) -> Header {
    let name = name.into();
    Header { name: HeaderName::from_bytes(name.as_bytes()).map_err(|_| name), several: Several::default() }
}

impl Header {
    /// What to do if the field stands in a request several times; [`Several::First`] by default.
    #[must_use]
    pub const fn several(mut self, several: Several) -> Self {
        self.several = several;
        self
    }
}

impl Several {
    /// Adds those of the values that count to the key.
    pub(super) fn add(
        self,
        mut values: impl Iterator<Item = impl AsRef<[u8]>>,
        key: &mut KeyBuilder<'_>,
    ) -> Result<(), Missing> {
        key.part(values.next().ok_or(Missing)?);
        match self {
            Self::First => Ok(()),
            Self::Joined => {
                values.for_each(|value| key.part(value));
                Ok(())
            }
            Self::Missing => values.next().map_or(Ok(()), |_| Err(Missing)),
        }
    }
}

impl KeyExtractor for Header {
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), Missing> {
        let Ok(name) = &self.name else { return Err(Missing) };
        self.several.add(request.headers().get_all(name).iter(), key)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        match &self.name {
            Ok(_) => Ok(()),
            Err(name) => {
                Err(ConfigError::new("key", format_args!("\"header:{name}\""), "not the name of a header field"))
            }
        }
    }
}
