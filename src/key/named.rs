//! An extractor with a name.

use std::borrow::Cow;

use crate::{
    error::ConfigError,
    key::{KeyBuilder, KeyExtractor, MissingKey, RouteParams},
    policy::check_name,
    request::RequestKind,
};

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
