//! Extracts a key from a path parameter.

use std::borrow::Cow;

use crate::{
    error::ConfigError,
    key::{KeyBuilder, KeyExtractor, KeyForms, MissingKey, RouteParams, name},
    request::RequestView,
};

/// Reads a path parameter; made by [`path`].
///
/// ```
/// use tower_quota::key::{self, KeyExtractor};
///
/// let bot: key::Path = key::path("botId");
/// assert_eq!(bot.name(), "botId");
/// assert!(key::path("{botId}").validate().is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Path {
    name: Cow<'static, str>,
}

/// Counts by the parameter `name` of the template that the request matched, percent-decoded.
///
/// The template is that of the rule's route. A rule for every request has none; with feature `axum` it uses the
/// template of the axum route.
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
///
/// let rule = Rule::new("bots").routes(["POST /bots/{botId}"]).key(key::path("botId"));
/// let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_minute(60))).build()?;
///
/// let request = Request::post("/bots/st%2D1").body(())?;
/// let matching = limiter.matching(&RequestView::new(&request));
/// assert_eq!(matching[0].key(), Some(limiter.key("st-1")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn path(name: impl Into<Cow<'static, str>>) -> Path {
    Path { name: name.into() }
}

impl KeyExtractor for Path {
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        key.part(request.param(&self.name).ok_or(MissingKey)?);
        Ok(())
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn forms(&self) -> KeyForms {
        KeyForms::texts(1)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        name::check("path", &self.name, "a parameter", name::is_template_char)
    }

    fn validate_on(&self, params: Option<RouteParams<'_>>) -> Result<(), ConfigError> {
        let has_it = match params {
            Some(params) => params.contains(&self.name),
            None => cfg!(feature = "axum"),
        };
        if has_it {
            return Ok(());
        }
        let value = format!("\"path:{}\"", self.name);
        Err(ConfigError::new("key", value, "the template has no parameter of this name"))
    }
}
