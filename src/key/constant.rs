//! Counts all requests by one key.

use std::borrow::Cow;

use crate::{
    key::{KeyBuilder, KeyExtractor, KeyForms, MissingKey},
    policy::check_name,
    request::RequestKind,
};

/// Gives every request the same key; made by [`constant`].
///
/// ```
/// use tower_quota::{http::Http, key::{self, KeyExtractor}};
///
/// let everybody: key::Constant = key::constant("everybody");
/// assert_eq!(KeyExtractor::<Http>::name(&everybody), "everybody");
/// ```
#[derive(Clone, Debug)]
pub struct Constant {
    text: Cow<'static, str>,
}

/// Counts by the same key for every request: all callers share one history.
///
/// Use it for a resource that all share, such as a database behind the service; or as the last alternative, for callers
/// that do not identify themselves.
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
///
/// let account = key::first_of((key::header("x-account-id"), key::constant("nobody")));
/// let rule = |name: &str| Rule::new(name).every_request().policy(Policy::per_minute(60));
/// let limiter = RateLimiter::builder()
///     .rule(rule("reports").key(key::constant("everybody")))
///     .rule(rule("calls").key(account))
///     .build()?;
///
/// let request = Request::new(());
/// let governing = limiter.matching(&RequestView::new(&request));
/// let keys: Vec<_> = governing.iter().map(|governing| governing.key()).collect();
/// assert_eq!(keys, [Some(limiter.key("everybody")), Some(limiter.key("nobody"))]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A text alone is no extractor, because it is far more often a name than one key for all callers:
///
/// ```compile_fail,E0277
/// # use tower_quota::{Policy, RateLimitLayer};
/// RateLimitLayer::new("x-account-id", Policy::per_minute(60));
/// ```
#[must_use]
pub fn constant(text: impl Into<Cow<'static, str>>) -> Constant {
    Constant { text: text.into() }
}

impl<K: RequestKind> KeyExtractor<K> for Constant {
    fn extract(&self, _: K::View<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        key.part(&*self.text);
        Ok(())
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(if check_name("level", &self.text).is_ok() { &self.text } else { "constant" })
    }

    fn forms(&self) -> KeyForms {
        KeyForms::constant(&self.text)
    }
}
