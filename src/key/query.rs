//! A query parameter.

use std::borrow::Cow;

use crate::{
    http::RequestView,
    key::{KeyBuilder, KeyExtractor, Missing, Several},
};

/// Reads a query parameter; made by [`query`].
#[derive(Clone, Debug)]
pub struct Query {
    name: Cow<'static, str>,
    several: Several,
}

/// The query parameter called `name`, decoded as a form: `+` is a space, and so is `%20`.
#[must_use]
pub fn query(name: impl Into<Cow<'static, str>>) -> Query {
    Query { name: name.into(), several: Several::default() }
}

impl Query {
    /// What to do if the parameter stands in a request several times; [`Several::First`] by default.
    #[must_use]
    pub const fn several(mut self, several: Several) -> Self {
        self.several = several;
        self
    }
}

impl KeyExtractor for Query {
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), Missing> {
        let query = request.uri().query().ok_or(Missing)?;
        let pairs = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| *name == self.name);
        self.several.add(pairs.map(|(_, value)| value.into_owned()), key)
    }
}
