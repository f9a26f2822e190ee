//! Extracts a key from a field of a request that is not HTTP.

use std::{borrow::Cow, fmt, marker::PhantomData};

use crate::{
    key::{KeyBuilder, KeyExtractor, KeyForms, KeyParts, MissingKey},
    request::Plain,
};

/// Reads a field of a request that is not HTTP; made by [`field`].
///
/// ```
/// use tower_quota::key::{self, KeyExtractor};
///
/// struct Job {
///     tenant: String,
/// }
///
/// let tenant = key::field(|job: &Job| &job.tenant);
/// assert_eq!(tenant.name(), "field");
/// ```
pub struct Field<R, F> {
    read: F,
    marker: PhantomData<fn(&R)>,
}

/// Counts by the key that `read` finds in a request `R` of a service that is not about HTTP, without a copy.
///
/// See the [module `plain`](crate::plain). A closure reads a field that may be absent:
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, key};
///
/// struct Job {
///     tenant: String,
///     printer: Option<u32>,
/// }
///
/// let printer = |job: &Job| job.printer;
/// let limiter = RateLimiter::builder_for::<Job>()
///     .rule(
///         Rule::new("pages")
///             .every_request()
///             .key((key::field(|job: &Job| &job.tenant), printer))
///             .level("tenant+printer")
///             .policy(Policy::per_minute(60)),
///     )
///     .build()?;
///
/// let governing = limiter.matching(&Job { tenant: "acme".into(), printer: None });
/// assert_eq!((governing[0].rule(), governing[0].key()), ("pages", None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const fn field<R, T, F>(read: F) -> Field<R, F>
where
    R: 'static,
    T: KeyParts + ?Sized,
    F: Fn(&R) -> &T + Send + Sync + 'static,
{
    Field { read, marker: PhantomData }
}

impl<R, T, F> KeyExtractor<Plain<R>> for Field<R, F>
where
    R: 'static,
    T: KeyParts + ?Sized + 'static,
    F: Fn(&R) -> &T + Send + Sync + 'static,
{
    fn extract(&self, request: &R, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        (self.read)(request).write(key);
        Ok(())
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("field")
    }

    fn forms(&self) -> KeyForms {
        KeyForms::from_type::<T>()
    }
}

impl<R, F: Clone> Clone for Field<R, F> {
    fn clone(&self) -> Self {
        Self { read: self.read.clone(), marker: PhantomData }
    }
}

impl<R, F> fmt::Debug for Field<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field of {}", std::any::type_name::<R>())
    }
}
