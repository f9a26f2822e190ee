//! The kinds of requests that a limiter can decide about.

use std::{fmt, marker::PhantomData, sync::Arc};

use crate::request::RequestView;

/// A kind of requests: [`Http`](crate::http::Http), or [`Plain`](crate::plain::Plain) for any type of your own.
///
/// It is a type parameter of rules, limiters and extractors, and defaults to HTTP, so most code never names it. The
/// trait is sealed.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, RequestKind, Rule};
///
/// /// Works with limiters of HTTP requests and with those of any other kind.
/// fn has_room<K: RequestKind>(limiter: &RateLimiter<K>, account: &str) -> bool {
///     limiter.rule("calls").is_ok_and(|rule| rule.check(account).is_admitted())
/// }
///
/// let rule = Rule::new("calls").no_requests().policy(Policy::per_minute(1));
/// let limiter = RateLimiter::builder().rule(rule).build()?;
/// assert!(has_room(&limiter, "acme"));
/// assert!(!has_room(&limiter, "acme"));
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
pub trait RequestKind: sealed::Sealed + Copy + fmt::Debug + Send + Sync + 'static {
    /// The view of a request that extractors get.
    type View<'a>: Copy;

    #[doc(hidden)]
    /// Returns the request as one that has a path and so can match routes.
    fn as_http<'a>(request: Self::View<'a>) -> Option<&'a RequestView<'a>>;

    #[doc(hidden)]
    /// Converts back, as the reverse of [`as_http`](Self::as_http).
    fn from_http<'a>(request: &'a RequestView<'a>) -> Option<Self::View<'a>>;
}

/// Requests of the `http` crate, which axum, hyper and tonic serve.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, http::Http};
///
/// // The default kind: `RateLimiter` and `RateLimiter<Http>` are the same type.
/// let rule = Rule::new("calls").no_requests().policy(Policy::per_minute(1));
/// let limiter: RateLimiter<Http> = RateLimiter::builder().rule(rule).build()?;
/// let same: RateLimiter = limiter;
/// assert!(same.rule("calls")?.admit("acme"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Http;

/// Requests of type `R`, which need not have anything to do with HTTP. Extractors get the request itself.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, key, plain::Plain};
///
/// struct Job {
///     tenant: String,
/// }
///
/// let rule = Rule::new("jobs").every_request().key(key::field(|job: &Job| &job.tenant));
/// let limiter: RateLimiter<Plain<Job>> = RateLimiter::builder_for::<Job>()
///     .rule(rule.policy(Policy::per_minute(60)))
///     .build()?;
///
/// let job = Job { tenant: "acme".into() };
/// assert_eq!(limiter.matching(&job)[0].key(), Some(limiter.key("acme")));
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
pub struct Plain<R>(PhantomData<fn(&R)>);

/// A condition on the requests that a rule governs.
pub(crate) type Condition<K> = Arc<dyn for<'a> Fn(<K as RequestKind>::View<'a>) -> bool + Send + Sync>;

impl RequestKind for Http {
    type View<'a> = &'a RequestView<'a>;

    fn as_http<'a>(request: Self::View<'a>) -> Option<&'a RequestView<'a>> {
        Some(request)
    }

    fn from_http<'a>(request: &'a RequestView<'a>) -> Option<&'a RequestView<'a>> {
        Some(request)
    }
}

impl sealed::Sealed for Http {}

/// They have no routes: rules select requests by [conditions](crate::Rule::when).
impl<R: 'static> RequestKind for Plain<R> {
    type View<'a> = &'a R;

    fn as_http<'a>(_: Self::View<'a>) -> Option<&'a RequestView<'a>> {
        None
    }

    fn from_http<'a>(_: &'a RequestView<'a>) -> Option<&'a R> {
        None
    }
}

impl<R> sealed::Sealed for Plain<R> {}

impl<R> Copy for Plain<R> {}

impl<R> Clone for Plain<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> fmt::Debug for Plain<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plain")
    }
}

mod sealed {
    pub trait Sealed {}
}
