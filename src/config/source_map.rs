//! The lines of a file, for errors.

use std::{borrow::Cow, ops::Range};

use toml::Spanned;

use crate::error::ConfigError;

/// Maximum length of a quote from the file in an error, in characters.
const MAX_QUOTE: usize = 80;

/// The text of a file, which maps positions to lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourceMap<'a>(&'a str);

impl<'a> SourceMap<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// Returns the line of a value, counted from 1.
    pub(super) fn line_of<T>(self, value: &Spanned<T>) -> usize {
        self.line_at(value.span().start)
    }

    /// Adds the line of a value to the error about it, unless the error has a line already.
    pub(super) fn locate<T, R>(self, value: &Spanned<T>, result: Result<R, ConfigError>) -> Result<R, ConfigError> {
        result.map_err(|error| error.at_line(self.line_of(value)))
    }

    /// Returns the line of a byte, counted from 1.
    pub(super) fn line_at(self, offset: usize) -> usize {
        1 + self.0.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }

    /// Returns the text in `range`, on one line.
    pub(super) fn quote(self, range: Range<usize>) -> String {
        let words: Vec<_> = self.0.get(range).unwrap_or_default().split_whitespace().map(without_password).collect();
        let quote = words.join(" ");
        match quote.char_indices().nth(MAX_QUOTE) {
            Some((end, _)) => format!("{}...", &quote[..end]),
            None => quote,
        }
    }

    /// Returns the whole line of a byte.
    pub(super) fn quote_line(self, offset: usize) -> String {
        let start = self.0.get(..offset).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
        let length = self.0.get(start..).and_then(|rest| rest.find('\n'));
        self.quote(start..length.map_or(self.0.len(), |length| start + length))
    }
}

/// Hides the name, the password and the options of a URL.
fn without_password(word: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = word.split_once("://") else { return Cow::Borrowed(word) };
    let host = rest.rsplit_once('@').map(|(_, host)| format!("…@{host}"));
    let host = host.as_deref().unwrap_or(rest);
    let host = host.split_once('?').map(|(host, _)| format!("{host}?…")).unwrap_or_else(|| host.to_owned());
    Cow::Owned(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one_whatever_ends_them() {
        let lines = SourceMap::new("a\r\nb\n\nc");
        assert_eq!([0, 1, 3, 5, 6].map(|at| lines.line_at(at)), [1, 1, 2, 3, 4]);
        assert_eq!(lines.line_at(usize::MAX), 4);
        assert_eq!(SourceMap::new("").line_at(0), 1);
    }

    #[test]
    fn a_quoted_text_is_one_short_line() {
        assert_eq!(SourceMap::new("x = [\n  1,\n  2\n]").quote(4..16), "[ 1, 2 ]");
        assert_eq!(SourceMap::new(&"ä".repeat(81)).quote(0..162), format!("{}...", "ä".repeat(80)));
        assert_eq!(SourceMap::new("ä").quote(1..2), "");
    }

    #[test]
    fn the_line_around_a_byte_is_quoted_without_its_neighbours() {
        let lines = SourceMap::new("one\ntwo 2\r\nthree");
        assert_eq!(
            [0, 3, 4, 9, 11, 16].map(|at| lines.quote_line(at)),
            ["one", "one", "two 2", "two 2", "three", "three"]
        );
        assert_eq!(SourceMap::new("").quote_line(0), "");
        assert_eq!(SourceMap::new("ä").quote_line(1), "ä");
    }
}
