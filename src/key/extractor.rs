//! Extractors: they read a key from a request.

use std::{borrow::Cow, sync::Arc};

use crate::{
    error::ConfigError,
    key::{KeyBuilder, KeyForms, KeyParts},
    policy::check_name,
    request::{Http, Plain, RequestKind, RequestView},
};

/// The error of an extractor: the request does not carry the key.
///
/// ```
/// use tower_quota::key::MissingKey;
///
/// fn region(host: &str) -> Result<&str, MissingKey> {
///     host.split_once('.').map(|(region, _)| region).ok_or(MissingKey)
/// }
///
/// assert_eq!(region("eu.example.org"), Ok("eu"));
/// let error = region("localhost").unwrap_err();
/// assert_eq!(error.to_string(), "the request does not carry the key");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request does not carry the key")]
pub struct MissingKey;

/// An extractor: reads a key from a request.
///
/// Closures from `&RequestView` to an `Option` of a [key](KeyParts) are extractors, and so are tuples of extractors:
/// their parts become the parts of one key, and if one of them is missing then the key is.
///
/// An extractor of your own writes one or more parts, or returns an error if it does not find them:
///
/// ```
/// use tower_quota::{http::RequestView, key::{KeyBuilder, KeyExtractor, MissingKey}};
///
/// struct Tenant;
///
/// impl KeyExtractor for Tenant {
///     fn extract(
///         &self,
///         request: &RequestView<'_>,
///         key: &mut KeyBuilder<'_>,
///     ) -> Result<(), MissingKey> {
///         let host = request.uri().host().ok_or(MissingKey)?;
///         key.part(host.split('.').next().ok_or(MissingKey)?);
///         Ok(())
///     }
/// }
/// # use http::Request;
/// # use tower_quota::{Policy, RateLimiter, Rule};
///
/// let rule = Rule::new("calls").every_request().key(Tenant);
/// let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_minute(60))).build()?;
/// let request = Request::get("http://acme.example.org/").body(())?;
/// let key = limiter.matching(&RequestView::new(&request))[0].key();
/// assert_eq!(key, Some(limiter.key("acme")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a key extractor",
    label = "reads no key from a request",
    note = "a text alone is none: write `key::header(\"x-account-id\")` to count by a header field, \
            or `key::constant(\"everybody\")` for one history that all callers share",
    note = "extractors are the functions of `tower_quota::key`, tuples of them, and closures `Fn(&RequestView<'_>) -> Option<T>` whose `T` is a key (`KeyParts`): text, bytes, a number"
)]
pub trait KeyExtractor<K: RequestKind = Http>: Send + Sync + 'static {
    /// Writes the parts of the key. If it returns an error, the parts it wrote are discarded.
    ///
    /// # Errors
    ///
    /// Returns [`MissingKey`] if the request does not carry the key.
    fn extract(&self, request: K::View<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey>;

    /// Returns the name of the key, which is the enforcement level of a rule without [another](crate::Rule::level).
    ///
    /// A path parameter, a header field, a query parameter, a cookie and metadata have the names that they have in the
    /// request; `client_ip`, `peer_ip`, `host`, `claim` and `field` those of their functions; a constant has its text.
    /// A tuple joins the names of its parts with `+`, [`first_of`](crate::key::first_of) has the name of its first
    /// alternative, and [`named`](crate::key::named) the one that it was given. All others are called `key`. In the
    /// level, characters that are not allowed in names (all but visible ASCII, and `"` and `\\`) become `-`.
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("key")
    }

    /// Returns what is known of its keys without a request, so that an [override](crate::Rule::tier_for) for a key that there
    /// cannot be is refused. Defaults to [any key](KeyForms::any).
    fn forms(&self) -> KeyForms {
        KeyForms::any()
    }

    /// Checks the extractor itself, once, when the limiter is built.
    ///
    /// # Errors
    ///
    /// Returns an error if the extractor was given a value that it cannot use.
    fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Checks, once, that the extractor can find a key on a route whose template has these parameters; `None` stands
    /// for requests that are not bound to a route.
    ///
    /// # Errors
    ///
    /// Returns an error if it never finds a key there.
    fn validate_on(&self, params: Option<RouteParams<'_>>) -> Result<(), ConfigError> {
        let _ = params;
        Ok(())
    }
}

/// The names of the parameters in a route's template, for [`KeyExtractor::validate_on`].
///
/// ```
/// use tower_quota::key::{KeyBuilder, KeyExtractor, MissingKey, RouteParams};
/// use tower_quota::{ConfigError, Policy, RateLimiter, Rule, http::RequestView};
///
/// /// Reads the tenant from the path, on routes that have one.
/// struct Tenant;
///
/// impl KeyExtractor for Tenant {
///     fn extract(
///         &self,
///         request: &RequestView<'_>,
///         key: &mut KeyBuilder<'_>,
///     ) -> Result<(), MissingKey> {
///         key.part(request.param("tenant").ok_or(MissingKey)?);
///         Ok(())
///     }
///
///     fn validate_on(&self, params: Option<RouteParams<'_>>) -> Result<(), ConfigError> {
///         match params {
///             Some(params) if params.contains("tenant") => Ok(()),
///             _ => Err(ConfigError::new("key", "Tenant", "write {tenant} in the route")),
///         }
///     }
/// }
///
/// let rule = Rule::new("jobs").routes(["/{team}/jobs"]).key(Tenant);
/// let builder = RateLimiter::builder().rule(rule.policy(Policy::per_minute(60)));
/// let error = builder.build().unwrap_err();
/// assert_eq!(error.reason(), "write {tenant} in the route (route \"/{team}/jobs\")");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RouteParams<'a> {
    names: &'a [Cow<'static, str>],
}

/// The choice among several values: a header field, a cookie or a query parameter may occur several times in a request.
///
/// Choose the value that the service behind reads. Otherwise a client can choose its key: with one value for the
/// service and another that counts, it has as many histories as it can invent values.
///
/// ```
/// use http::Request;
/// use tower_quota::key::{self, MultipleValues};
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView};
///
/// let request = Request::get("/?id=a&id=b").body(())?;
/// let key_by = |values: MultipleValues| {
///     let id = key::query("id").multiple_values(values);
///     let rule = Rule::new("calls").every_request().key(id);
///     let rule = rule.policy(Policy::per_minute(60));
///     let limiter = RateLimiter::builder().rule(rule).build()?;
///     let expected = [limiter.key("a"), limiter.key("b"), limiter.key(("a", "b"))];
///     let key = limiter.matching(&RequestView::new(&request))[0].key();
///     let at = expected.iter().position(|other| Some(*other) == key);
///     Ok::<_, tower_quota::ConfigError>(at)
/// };
///
/// assert_eq!(key_by(MultipleValues::First)?, Some(0));
/// assert_eq!(key_by(MultipleValues::Last)?, Some(1));
/// assert_eq!(key_by(MultipleValues::Joined)?, Some(2));
/// assert_eq!(key_by(MultipleValues::MissingKey)?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultipleValues {
    /// The first, as `HeaderMap::get` and tonic's `MetadataMap::get` give to handlers.
    First,
    /// The last, as axum's `Query` of a map and the cookie jars of axum-extra give to handlers.
    Last,
    /// All of them, as parts of one key.
    Joined,
    /// No value: the key is missing.
    MissingKey,
}

/// Gives a name to another extractor; made by [`named`].
///
/// ```
/// use tower_quota::{http::{Http, RequestView}, key::{self, KeyExtractor}};
///
/// let agent = key::named("agent", |request: &RequestView<'_>| {
///     request.headers().get("user-agent").cloned()
/// });
/// assert_eq!(KeyExtractor::<Http>::name(&agent), "agent");
/// ```
#[derive(Clone, Debug)]
pub struct Named<E> {
    name: Cow<'static, str>,
    extractor: E,
}

/// Gives a name to the key that `extractor` reads. Closures, for example, have no name of their own.
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
///
/// let agent = |request: &RequestView<'_>| request.headers().get("user-agent").cloned();
/// let rule = Rule::new("reports")
///     .routes(["GET /reports/{report}"])
///     .key((key::named("agent", agent), key::path("report")))
///     .policy(Policy::per_minute(60));
/// let limiter = RateLimiter::builder().rule(rule).build()?;
///
/// let request = Request::get("/reports/sales").header("user-agent", "curl").body(())?;
/// assert_eq!(limiter.matching(&RequestView::new(&request))[0].level(), "agent+report");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn named<E>(name: impl Into<Cow<'static, str>>, extractor: E) -> Named<E> {
    Named { name: name.into(), extractor }
}

impl<'a> RouteParams<'a> {
    pub(crate) const fn new(names: &'a [Cow<'static, str>]) -> Self {
        Self { names }
    }

    /// Returns true if the template has a parameter of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// Returns the names, in the order of the template.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.names.iter().map(|name| &**name)
    }
}

impl MultipleValues {
    /// Returns the forms of keys of these values.
    pub(super) fn forms(self) -> KeyForms {
        if self == Self::Joined { KeyForms::any() } else { KeyForms::texts(1) }
    }

    /// Adds the values that count to the key, as `read` converts them. If it cannot convert one of these then the key
    /// is missing.
    pub(super) fn add<V, T>(
        self,
        mut values: impl Iterator<Item = V>,
        read: impl Fn(V) -> Option<T>,
        key: &mut KeyBuilder<'_>,
    ) -> Result<(), MissingKey>
    where
        T: AsRef<[u8]>,
    {
        let mut add = |value| read(value).map(|part| key.part(part)).ok_or(MissingKey);
        let first = values.next().ok_or(MissingKey)?;
        match self {
            Self::First => add(first),
            Self::Last => add(values.last().unwrap_or(first)),
            Self::Joined => add(first).and_then(|()| values.try_for_each(add)),
            Self::MissingKey => values.next().map_or_else(|| add(first), |_| Err(MissingKey)),
        }
    }
}

// For a text the compiler then shows the notes of the trait, and not that a text is no closure.
#[diagnostic::do_not_recommend]
impl<F, T> KeyExtractor for F
where
    F: Fn(&RequestView<'_>) -> Option<T> + Send + Sync + 'static,
    T: KeyParts,
{
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        self(request).ok_or(MissingKey)?.write(key);
        Ok(())
    }
}

#[diagnostic::do_not_recommend]
impl<F, R, T> KeyExtractor<Plain<R>> for F
where
    F: Fn(&R) -> Option<T> + Send + Sync + 'static,
    R: 'static,
    T: KeyParts,
{
    fn extract(&self, request: &R, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        self(request).ok_or(MissingKey)?.write(key);
        Ok(())
    }
}

impl<K: RequestKind> KeyExtractor<K> for Box<dyn KeyExtractor<K>> {
    fn extract(&self, request: K::View<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        (**self).extract(request, key)
    }

    fn name(&self) -> Cow<'_, str> {
        (**self).name()
    }

    fn forms(&self) -> KeyForms {
        (**self).forms()
    }

    fn validate(&self) -> Result<(), ConfigError> {
        (**self).validate()
    }

    fn validate_on(&self, params: Option<RouteParams<'_>>) -> Result<(), ConfigError> {
        (**self).validate_on(params)
    }
}

impl<K: RequestKind> KeyExtractor<K> for Arc<dyn KeyExtractor<K>> {
    fn extract(&self, request: K::View<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        (**self).extract(request, key)
    }

    fn name(&self) -> Cow<'_, str> {
        (**self).name()
    }

    fn forms(&self) -> KeyForms {
        (**self).forms()
    }

    fn validate(&self) -> Result<(), ConfigError> {
        (**self).validate()
    }

    fn validate_on(&self, params: Option<RouteParams<'_>>) -> Result<(), ConfigError> {
        (**self).validate_on(params)
    }
}

impl<K: RequestKind, E: KeyExtractor<K>> KeyExtractor<K> for Named<E> {
    fn extract(&self, request: K::View<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        self.extractor.extract(request, key)
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn forms(&self) -> KeyForms {
        self.extractor.forms()
    }

    fn validate(&self) -> Result<(), ConfigError> {
        check_name("level", &self.name)?;
        self.extractor.validate()
    }

    fn validate_on(&self, params: Option<RouteParams<'_>>) -> Result<(), ConfigError> {
        self.extractor.validate_on(params)
    }
}

macro_rules! extractors_of_tuples {
    ($(($($part:ident),+))+) => {$(
        impl<K: RequestKind, $($part: KeyExtractor<K>),+> KeyExtractor<K> for ($($part,)+) {
            #[allow(non_snake_case, reason = "the parts are named after their types")]
            fn extract(&self, request: K::View<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
                let ($($part,)+) = self;
                $($part.extract(request, key)?;)+
                Ok(())
            }

            #[allow(non_snake_case, reason = "the parts are named after their types")]
            fn name(&self) -> Cow<'_, str> {
                let ($($part,)+) = self;
                Cow::Owned([$($part.name()),+].join("+"))
            }

            #[allow(non_snake_case, reason = "the parts are named after their types")]
            fn forms(&self) -> KeyForms {
                let ($($part,)+) = self;
                KeyForms::texts(0)$(.and($part.forms()))+
            }

            #[allow(non_snake_case, reason = "the parts are named after their types")]
            fn validate(&self) -> Result<(), ConfigError> {
                let ($($part,)+) = self;
                $($part.validate()?;)+
                Ok(())
            }

            #[allow(non_snake_case, reason = "the parts are named after their types")]
            fn validate_on(&self, params: Option<RouteParams<'_>>) -> Result<(), ConfigError> {
                let ($($part,)+) = self;
                $($part.validate_on(params)?;)+
                Ok(())
            }
        }
    )+};
}

extractors_of_tuples! { (A, B) (A, B, C) (A, B, C, D) }
