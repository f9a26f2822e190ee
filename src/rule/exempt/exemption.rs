//! A condition under which requests are exempt.

use std::{fmt, sync::Arc};

use crate::{
    error::ConfigError,
    request::{Condition, Http, RequestKind, RequestView},
};

/// A condition under which a rule, or the whole limiter, leaves requests alone; made by the functions of [this
/// module](crate::exempt), or of a closure.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, exempt::Exemption, key, plain::Plain};
///
/// struct Job {
///     tenant: String,
///     is_urgent: bool,
/// }
///
/// let urgent: Exemption<Plain<Job>> = Exemption::from(|job: &Job| job.is_urgent);
/// let rule = Rule::new("jobs").every_request().exempt(urgent).key(key::field(|job: &Job| &job.tenant));
/// let limiter = RateLimiter::builder_for::<Job>().rule(rule.policy(Policy::per_minute(60))).build()?;
///
/// assert!(limiter.matching(&Job { tenant: "acme".into(), is_urgent: true }).is_empty());
/// assert_eq!(limiter.matching(&Job { tenant: "acme".into(), is_urgent: false }).len(), 1);
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[must_use = "an exemption does nothing until a rule or a limiter has it"]
pub struct Exemption<K: RequestKind = Http> {
    /// The condition, or the mistake in its description.
    condition: Result<Condition<K>, ConfigError>,
    description: String,
}

/// Exempts CORS preflights: OPTIONS with `Origin` and `Access-Control-Request-Method`.
///
/// [`RateLimitLayer::limit_preflights(false)`](crate::RateLimitLayer::limit_preflights) is the same for all rules of one
/// layer; this is for one rule or for a limiter, whatever its layers. Where the limiter is inside of the layer that
/// [answers preflights](crate::RateLimitLayer#cors), neither is needed.
///
/// A preflight is what its caller calls one. Where no layer answers preflights, any caller can send OPTIONS with these
/// fields to a handler that accepts OPTIONS, and is not counted.
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, exempt, http::RequestView, key};
///
/// let rule = Rule::new("calls").every_request().key(key::header("x-account"));
/// let limiter = RateLimiter::builder()
///     .exempt(exempt::preflights())
///     .rule(rule.policy(Policy::per_minute(60)))
///     .build()?;
///
/// let preflight = Request::options("/cases").header("origin", "https://example.com");
/// let preflight = preflight.header("access-control-request-method", "POST").body(())?;
/// assert!(limiter.matching(&RequestView::new(&preflight)).is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn preflights() -> Exemption {
    Exemption::new("preflights".to_owned(), |request: &RequestView<'_>| request.is_preflight())
}

impl<K: RequestKind> Exemption<K> {
    /// Creates the exemption of the requests for which `condition` is true.
    pub(super) fn new(description: String, condition: impl Fn(K::View<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self { condition: Ok(Arc::new(condition)), description }
    }

    /// Creates an exemption with a mistake, which is reported when the limiter is built.
    pub(super) const fn mistaken(description: String, mistake: ConfigError) -> Self {
        Self { condition: Err(mistake), description }
    }

    /// Returns the condition, or the mistake in it.
    pub(crate) fn condition(&self) -> Result<Condition<K>, ConfigError> {
        self.condition.clone()
    }

    /// Finds a mistake in the condition.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.condition().map(drop)
    }
}

/// Exempts the requests for which a closure returns `true`.
impl<K, F> From<F> for Exemption<K>
where
    K: RequestKind,
    F: Fn(K::View<'_>) -> bool + Send + Sync + 'static,
{
    fn from(condition: F) -> Self {
        Self::new("closure".to_owned(), condition)
    }
}

impl<K: RequestKind> Clone for Exemption<K> {
    fn clone(&self) -> Self {
        Self { condition: self.condition.clone(), description: self.description.clone() }
    }
}

impl<K: RequestKind> fmt::Debug for Exemption<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)
    }
}
