//! The parameters of a matched template.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The value of every parameter that a router does not tell. They all make one key: with none, such requests would pass
/// where [`OnMissing::Skip`](crate::OnMissing::Skip) is set.
pub(super) const NOT_UTF8: &[u8] = b"\xFF";

/// The parameters of a matched template: their names as the rule wrote them, and the values of this path.
#[derive(Clone, Debug)]
pub(crate) struct Params<'a> {
    names: &'a [Cow<'static, str>],
    values: Values<'a>,
}

#[derive(Clone, Debug)]
enum Values<'a> {
    /// Percent-encoded, as in the path.
    Encoded(matchit::Params<'a, 'a>),
    /// Decoded by a router, in the order of the template.
    Decoded(&'a [String]),
    /// Unknown: the router does not tell them, as one is not UTF-8.
    NotUtf8,
}

impl<'a> Params<'a> {
    /// Creates the parameters with the values of a path.
    pub(crate) const fn encoded(names: &'a [Cow<'static, str>], values: matchit::Params<'a, 'a>) -> Self {
        Self { names, values: Values::Encoded(values) }
    }

    /// Creates the parameters with the values that a router decoded.
    pub(crate) const fn decoded(names: &'a [Cow<'static, str>], values: &'a [String]) -> Self {
        Self { names, values: Values::Decoded(values) }
    }

    /// Creates the parameters of a path of which the router tells nothing, as not all of it is UTF-8.
    pub(crate) const fn not_utf8(names: &'a [Cow<'static, str>]) -> Self {
        Self { names, values: Values::NotUtf8 }
    }

    /// Returns the value of parameter `name`, percent-decoded.
    pub(crate) fn get(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let at = self.names.iter().position(|known| known == name)?;
        match &self.values {
            Values::Encoded(values) => values.iter().nth(at).map(|(_, value)| percent_decode_str(value).into()),
            Values::NotUtf8 => Some(Cow::Borrowed(NOT_UTF8)),
            Values::Decoded(values) => values.get(at).map(|value| Cow::Borrowed(value.as_bytes())),
        }
    }
}
