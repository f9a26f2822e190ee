//! A cookie.

use std::borrow::Cow;

use http::header::COOKIE;

use crate::{
    http::RequestView,
    key::{KeyBuilder, KeyExtractor, Missing},
};

/// Reads a cookie; made by [`cookie`].
#[derive(Clone, Debug)]
pub struct Cookie {
    name: Cow<'static, str>,
}

/// The first cookie called `name` (RFC 6265, section 4.2.1), without the quotes it may stand in.
#[must_use]
pub fn cookie(name: impl Into<Cow<'static, str>>) -> Cookie {
    Cookie { name: name.into() }
}

impl KeyExtractor for Cookie {
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), Missing> {
        let lines = request.headers().get_all(COOKIE).into_iter();
        let mut pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        key.part(pairs.find_map(|pair| self.value_in(pair)).ok_or(Missing)?);
        Ok(())
    }
}

impl Cookie {
    fn value_in<'p>(&self, pair: &'p [u8]) -> Option<&'p [u8]> {
        let pair = pair.trim_ascii();
        let value = pair.strip_prefix(self.name.as_bytes())?.trim_ascii_start().strip_prefix(b"=")?.trim_ascii();
        let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        Some(unquoted.unwrap_or(value))
    }
}
