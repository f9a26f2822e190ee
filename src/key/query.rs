//! A query parameter.

use std::borrow::Cow;

use crate::{
    http::RequestView,
    key::{KeyBuilder, KeyExtractor, Missing},
};

/// Reads a query parameter; made by [`query`].
#[derive(Clone, Debug)]
pub struct Query {
    name: Cow<'static, str>,
}

/// The first query parameter called `name`, decoded as a form: `+` is a space, and so is `%20`.
#[must_use]
pub fn query(name: impl Into<Cow<'static, str>>) -> Query {
    Query { name: name.into() }
}

impl KeyExtractor for Query {
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), Missing> {
        let query = request.uri().query().ok_or(Missing)?;
        let (_, value) =
            form_urlencoded::parse(query.as_bytes()).find(|(name, _)| *name == self.name).ok_or(Missing)?;
        key.part(&*value);
        Ok(())
    }
}
