//! The values that a path gives to a template.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The parameters of a matched template: their names as the rule wrote them, and the values of this path.
#[derive(Clone, Debug)]
pub(crate) struct Params<'a> {
    names: &'a [Cow<'static, str>],
    values: matchit::Params<'a, 'a>,
}

impl<'a> Params<'a> {
    pub(crate) const fn new(names: &'a [Cow<'static, str>], values: matchit::Params<'a, 'a>) -> Self {
        Self { names, values }
    }

    /// The value of parameter `name`, percent-decoded.
    pub(crate) fn get(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let at = self.names.iter().position(|known| known == name)?;
        let (_, value) = self.values.iter().nth(at)?;
        Some(percent_decode_str(value).into())
    }
}
