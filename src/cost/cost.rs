//! The source of the number of units that a request costs.

use crate::{
    error::ConfigError,
    request::{Http, RequestKind},
};

/// A source of the units that a request costs: a number, a closure over the request, or what
/// [`cost::header`](crate::cost::header) and [`cost::content_length`](crate::cost::content_length) read.
///
/// ```
/// use tower_quota::{Policy, Rule, http::RequestView, key};
///
/// let rule = || Rule::new("reports").every_request().key(key::header("x-account")).policy(Policy::per_hour(1000));
/// let flat = rule().cost("points", 5);
/// let by_method = rule().cost("points", |request: &RequestView<'_>| match request.method().as_str() {
///     "GET" => 1,
///     _ => 10,
/// });
/// # let _ = (flat, by_method);
/// ```
pub trait Cost<K: RequestKind = Http>: Send + Sync + 'static {
    /// Returns the units that a request costs.
    fn units(&self, request: K::View<'_>) -> u64;

    /// Returns the units if they are the same for all requests: a limiter refuses a rule that could never admit one. Defaults
    /// to `None`.
    fn fixed(&self) -> Option<u64> {
        None
    }

    /// Checks the settings of the source when a limiter is built. Accepts them by default.
    ///
    /// # Errors
    ///
    /// If they contain a mistake.
    fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}

impl<K: RequestKind> Cost<K> for u64 {
    fn units(&self, _: K::View<'_>) -> u64 {
        *self
    }

    fn fixed(&self) -> Option<u64> {
        Some(*self)
    }
}

impl<K, F> Cost<K> for F
where
    K: RequestKind,
    F: Fn(K::View<'_>) -> u64 + Send + Sync + 'static,
{
    fn units(&self, request: K::View<'_>) -> u64 {
        self(request)
    }
}
