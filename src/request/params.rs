//! The values that a path gives to a template.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What stands for each of the values that nobody tells. All of these are one key: to have none would let them by where
/// [`OnMissing::Skip`](crate::OnMissing::Skip) is set.
pub(super) const NOT_UTF8: &[u8] = b"\xFF";

/// The parameters of a matched template: their names as the rule wrote them, and the values of this path.
#[derive(Clone, Debug)]
pub(crate) struct Params<'a> {
    names: &'a [Cow<'static, str>],
    values: Values<'a>,
}

#[derive(Clone, Debug)]
enum Values<'a> {
    /// As they stand in the path.
    Encoded(matchit::Params<'a, 'a>),
    /// As a router inside has decoded them, in the order of the template.
    Decoded(&'a [String]),
    /// A router inside does not tell them, as one is not UTF-8.
    NotUtf8,
}

impl<'a> Params<'a> {
    /// What stands in a path.
    pub(crate) const fn encoded(names: &'a [Cow<'static, str>], values: matchit::Params<'a, 'a>) -> Self {
        Self { names, values: Values::Encoded(values) }
    }

    /// What a router has made of a path.
    pub(crate) const fn decoded(names: &'a [Cow<'static, str>], values: &'a [String]) -> Self {
        Self { names, values: Values::Decoded(values) }
    }

    /// What a router tells nothing of, as not all of it is UTF-8.
    pub(crate) const fn not_utf8(names: &'a [Cow<'static, str>]) -> Self {
        Self { names, values: Values::NotUtf8 }
    }

    /// The value of parameter `name`, percent-decoded.
    pub(crate) fn get(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let at = self.names.iter().position(|known| known == name)?;
        match &self.values {
            Values::Encoded(values) => values.iter().nth(at).map(|(_, value)| percent_decode_str(value).into()),
            Values::NotUtf8 => Some(Cow::Borrowed(NOT_UTF8)),
            Values::Decoded(values) => values.get(at).map(|value| Cow::Borrowed(value.as_bytes())),
        }
    }
}
