//! The error of a configuration, and how it shows the texts that it quotes.

use std::fmt;

/// The maximum number of characters that are shown of one text.
const MAX_CHARS: usize = 200;
/// The same for a sentence that quotes several texts.
const MAX_CHARS_OF_A_SENTENCE: usize = 2000;

/// A mistake in rules, quotas, keys or a file, found while the limiter is built.
///
/// It names the rule (if the mistake is inside one), the field, the offending value, the reason, and for a file the line.
/// Its text is one line, whatever the quoted texts hold: invisible characters are escaped.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, key};
///
/// let error = RateLimiter::builder()
///     .rule(Rule::new("calls").every_request().key(key::header("x-account")).policy(Policy::per_minute(0)))
///     .build()
///     .unwrap_err();
///
/// assert_eq!(error.to_string(), r#"rule "calls": quota "minute": limit 0: a quota admits at least 1: write 1 or more"#);
/// assert_eq!((error.rule(), error.field(), error.value()), (Some("calls"), "quota \"minute\": limit", "0"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    line: Option<usize>,
    rule: Option<Box<str>>,
    field: Box<str>,
    value: Box<str>,
    reason: Box<str>,
}

/// A text in which nothing hides: control characters, line ends and characters that change the direction of writing are
/// escaped, and a long text is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visible<'a> {
    text: &'a str,
    max_chars: usize,
}

impl ConfigError {
    /// Creates an error about `field`, which holds `value`: for extractors of your own that check their settings.
    #[must_use]
    pub fn new(field: impl Into<String>, value: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self {
            line: None,
            rule: None,
            field: field.into().into(),
            value: value.to_string().into(),
            reason: reason.into().into(),
        }
    }

    /// Returns the name of the rule with the mistake, if it is inside one.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// Returns the field that holds the mistake.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Returns the value that was refused.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns the reason, and what to write instead.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns the line of the file, counted from 1, if the rules came from one.
    #[must_use]
    pub const fn line(&self) -> Option<usize> {
        self.line
    }

    pub(crate) fn in_rule(mut self, rule: &str) -> Self {
        self.rule.get_or_insert_with(|| rule.into());
        self
    }

    /// Names the field and the value as the user wrote them.
    pub(crate) fn in_field(mut self, field: &str, value: &str) -> Self {
        (self.field, self.value) = (field.into(), value.into());
        self
    }

    pub(crate) fn on_route(mut self, route: &str) -> Self {
        self.reason = format!("{} (route \"{route}\")", self.reason).into();
        self
    }

    #[cfg(feature = "config")]
    pub(crate) fn at_line(mut self, line: usize) -> Self {
        self.line.get_or_insert(line);
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(rule) = &self.rule {
            write!(f, "rule \"{}\": ", Visible::new(rule))?;
        }
        write!(f, "{}", Visible::new(&self.field))?;
        if !self.value.is_empty() {
            write!(f, " {}", Visible::new(&self.value))?;
        }
        write!(f, ": {}", Visible::sentence(&self.reason))
    }
}

impl<'a> Visible<'a> {
    /// Shows one text.
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, max_chars: MAX_CHARS }
    }

    /// Shows a sentence, which quotes several texts.
    pub(super) const fn sentence(text: &'a str) -> Self {
        Self { text, max_chars: MAX_CHARS_OF_A_SENTENCE }
    }
}

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.text.char_indices().nth(self.max_chars).map(|(end, _)| end);
        let shown = end.and_then(|end| self.text.get(..end)).unwrap_or(self.text);
        // The standard library knows what is printable. The quotes and backslashes that it escapes, too, hide nothing.
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
    fn invisible_characters_are_escaped() {
        let shown = |text| Visible::new(text).to_string();
        assert_eq!(shown("a\nb\r\tc\u{1b}[31m\0"), r"a\nb\r\tc\u{1b}[31m\0");
        assert_eq!(shown("a\u{202e}b\u{2028}c\u{200b}d\u{85}\u{a0}"), r"a\u{202e}b\u{2028}c\u{200b}d\u{85}\u{a0}");
    }

    #[test]
    fn visible_characters_stay_as_they_are() {
        for text in ["", "GET /a/{id}", r#"say "it's" \ so"#, r"'\'", "Zürich", "समाचार", "東京", "e\u{301}t"]
        {
            assert_eq!(Visible::new(text).to_string(), text);
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(Visible::new(&"ä".repeat(MAX_CHARS)).to_string(), "ä".repeat(MAX_CHARS));
        assert_eq!(Visible::new(&"ä".repeat(MAX_CHARS + 1)).to_string(), "ä".repeat(MAX_CHARS) + "...");
    }
}
