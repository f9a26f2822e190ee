//! A parameter of the matched route.

use std::borrow::Cow;

use crate::{
    error::ConfigError,
    key::{KeyBuilder, KeyExtractor, MissingKey, RouteParams, name},
    request::RequestView,
};

/// Reads a path parameter; made by [`path`].
#[derive(Clone, Debug)]
pub struct Path {
    name: Cow<'static, str>,
}

/// The parameter `name` of the template that the request matched, percent-decoded.
///
/// The template is that of the rule's route. A rule for every request has none; with feature `axum` the template of the
/// axum route is used then.
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
