//! Reading a key from a request.

use std::{borrow::Cow, sync::Arc};

use crate::{
    error::ConfigError,
    key::{KeyBuilder, KeyParts},
    policy::check_name,
    request::{Http, Plain, RequestKind, RequestView},
};

/// The request does not carry what the extractor looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request does not carry the key")]
pub struct MissingKey;

/// Reads a key from a request.
///
/// Closures from `&RequestView` to an `Option` of a [key](KeyParts) are extractors, and so are tuples of extractors: their
/// parts become the parts of one key, and if one of them is missing then the key is.
///
/// An extractor of your own writes one or more parts and says whether it found what it looks for:
///
/// ```
/// use tower_quota::{http::RequestView, key::{KeyBuilder, KeyExtractor, MissingKey}};
///
/// struct Tenant;
///
/// impl KeyExtractor for Tenant {
///     fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
///         let host = request.uri().host().ok_or(MissingKey)?;
///         key.part(host.split('.').next().ok_or(MissingKey)?);
///         Ok(())
///     }
/// }
/// # use http::Request;
/// # use tower_quota::{Policy, RateLimiter, Rule};
///
/// let rule = Rule::new("calls").every_request().key(Tenant).policy(Policy::per_minute(60));
/// let limiter = RateLimiter::builder().rule(rule).build()?;
/// let request = Request::get("http://acme.example.org/").body(())?;
/// assert_eq!(limiter.matching(&RequestView::of(&request))[0].key(), Some(limiter.key("acme")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say who is counted",
    label = "not a key extractor",
    note = "a text alone is none: write `key::header(\"x-account-id\")` to count by a header field, \
            or `key::constant(\"everybody\")` for one history that all callers share",
    note = "extractors are the functions of `tower_quota::key`, tuples of them, and closures `Fn(&RequestView<'_>) -> Option<T>` whose `T` is a key (`KeyParts`): text, bytes, a number"
)]
pub trait KeyExtractor<K: RequestKind = Http>: Send + Sync + 'static {
    /// Writes the parts of the key. If it returns an error, what was written is thrown away.
    ///
    /// # Errors
    ///
    /// If the request does not carry the key.
    fn extract(&self, request: K::View<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey>;

    /// Names what the extractor reads: the enforcement level of a rule that gives it [no other](crate::Rule::level).
    ///
    /// A path parameter, a header field, a query parameter, a cookie and metadata are called as they are in the request;
    /// `client_ip`, `peer_ip`, `host`, `claim` and `field` after their functions; a constant as its text. A tuple joins the
    /// names of its parts with `+`, [`first_of`](crate::key::first_of) has the name of its first alternative, and
    /// [`named`](crate::key::named) the one that it was given. Anything else is called `key`. In the level, what no name can
    /// have (all but visible ASCII, and `"` and `\\`) becomes `-`.
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("key")
    }

    /// Checks the extractor itself, once, when the limiter is built.
    ///
    /// # Errors
    ///
    /// If the extractor was given something it cannot use.
    fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Checks, once, that the extractor can find something on a route whose template has these parameters; without
    /// them, on requests that are not bound to a route.
    ///
    /// # Errors
    ///
    /// If it never finds anything there.
    fn validate_on(&self, params: Option<RouteParams<'_>>) -> Result<(), ConfigError> {
        let _ = params;
        Ok(())
    }
}

/// The names of the parameters of a route's template.
#[derive(Clone, Copy, Debug)]
pub struct RouteParams<'a> {
    names: &'a [Cow<'static, str>],
}

/// Which value counts if a header field, a cookie or a query parameter stands in a request several times.
///
/// It should be the one that the service behind reads, or a client can choose its key: with one value that the service
/// reads and another that counts, it has as many histories as it can think of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultipleValues {
    /// The first: what `HeaderMap::get` gives to handlers, and tonic's `MetadataMap::get`.
    First,
    /// The last: what axum's `Query` of a map gives to handlers, and the cookie jars of axum-extra.
    Last,
    /// All of them, as parts of one key.
    Joined,
    /// None: the key is missing.
    MissingKey,
}

/// Reads what another extractor reads, under a name; made by [`named`].
#[derive(Clone, Debug)]
pub struct Named<E> {
    name: Cow<'static, str>,
    extractor: E,
}

/// Names what `extractor` reads, such as a closure, which has no name of its own.
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
/// assert_eq!(limiter.matching(&RequestView::of(&request))[0].level(), "agent+report");
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

    /// Whether the template has a parameter of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// The names, in the order of the template.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.names.iter().map(|name| &**name)
    }
}

impl MultipleValues {
    /// Adds those of the values that count to the key, as `read` has them. If it can make nothing of one of them then
    /// the key is missing.
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

// So that of a text the compiler says what the trait notes, and not that it is no closure.
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
