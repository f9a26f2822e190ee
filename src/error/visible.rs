//! Texts from outside, as a line of a log may show them.

use std::fmt;

/// As much of one text is shown, in characters.
const LONGEST: usize = 200;
/// As much of a text that is made of others.
const LONGEST_TOGETHER: usize = 2000;

/// A text in which nothing hides: control characters, line ends and marks that turn the direction of writing are shown by
/// their numbers, and of a long text only its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visible<'a> {
    text: &'a str,
    longest: usize,
}

impl<'a> Visible<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, longest: LONGEST }
    }

    /// A text that quotes several others.
    pub(crate) const fn sentence(text: &'a str) -> Self {
        Self { text, longest: LONGEST_TOGETHER }
    }
}

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.text.char_indices().nth(self.longest).map(|(end, _)| end);
        let shown = end.and_then(|end| self.text.get(..end)).unwrap_or(self.text);
        // The standard library knows what is printable. What it escapes besides hides nothing.
        for piece in shown.split_inclusive(['"', '\'', '\\']) {
            let plain = piece.trim_end_matches(['"', '\'', '\\']);
            write!(f, "{}{}", plain.escape_debug(), piece.get(plain.len()..).unwrap_or_default())?;
        }
        f.write_str(if end.is_some() { "..." } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_shown_by_its_number() {
        let shown = |text| Visible::new(text).to_string();
        assert_eq!(shown("a\nb\r\tc\u{1b}[31m\0"), r"a\nb\r\tc\u{1b}[31m\0");
        assert_eq!(shown("a\u{202e}b\u{2028}c\u{200b}d\u{85}\u{a0}"), r"a\u{202e}b\u{2028}c\u{200b}d\u{85}\u{a0}");
    }

    #[test]
    fn what_can_be_seen_stays_as_it_is() {
        for text in ["", "GET /a/{id}", r#"say "it's" \ so"#, r"'\'", "Zürich", "समाचार", "東京", "e\u{301}t"]
        {
            assert_eq!(Visible::new(text).to_string(), text);
        }
    }

    #[test]
    fn of_a_long_text_the_beginning_is_shown() {
        assert_eq!(Visible::new(&"ä".repeat(LONGEST)).to_string(), "ä".repeat(LONGEST));
        assert_eq!(Visible::new(&"ä".repeat(LONGEST + 1)).to_string(), "ä".repeat(LONGEST) + "...");
    }
}
