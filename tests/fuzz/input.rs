//! The bytes that a fuzzer gives, taken apart.

/// What is left of them. At the end there is always a zero, and an empty line.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) const fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    /// One of these; digits choose by their value, so that a corpus can be written by hand.
    pub(crate) fn choice<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[usize::from(self.byte().wrapping_sub(b'0')) % choices.len()]
    }

    pub(crate) fn line(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == b'\n').unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        line
    }

    pub(crate) fn text_line(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.line()).ok()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) const fn rest(self) -> &'a [u8] {
        self.0
    }

    /// All further lines.
    pub(crate) fn lines(mut self) -> impl Iterator<Item = &'a [u8]> {
        std::iter::from_fn(move || (!self.is_empty()).then(|| self.line()))
    }
}
