//! Patterns of keys, for overrides.

use std::fmt;

use crate::error::ConfigError;

/// A key, or a pattern of keys, as [`Rule::tier_for`](crate::Rule::tier_for) takes it: a text, or several for a key of several
/// parts.
///
/// A `*` at the end of a part stands for any rest, so `acme-*` is each part that begins with `acme-`, and `*` alone is any
/// part. There are no other patterns. `**` is a star that belongs to the key.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule};
///
/// let tables = Rule::new("tables")
///     .no_requests()
///     .policy(Policy::per_minute(1))
///     .tier("pro", Policy::per_minute(9))
///     .tier_for(("acme-*", "orders"), "pro");
/// let limiter = RateLimiter::builder().rule(tables).build()?;
///
/// let limit = |key: (&str, &str)| limiter.rule("tables").unwrap().peek(key).quotas().next().unwrap().limit();
/// assert_eq!((limit(("acme-eu", "orders")), limit(("acme-eu", "bills"))), (9, 1));
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyPattern(Vec<String>);

/// A pattern that was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ParsedPattern {
    /// The one key with these parts.
    Exact(Box<[Box<str>]>),
    /// Each key with as many parts, all of which match.
    Prefix(Box<[PartPattern]>),
}

/// One part of the keys that an override is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PartPattern {
    /// This text.
    Exact(Box<str>),
    /// Any text that begins with this one, which may be empty.
    Prefix(Box<str>),
}

impl KeyPattern {
    /// Reads the stars in it.
    ///
    /// # Errors
    ///
    /// If a single star stands elsewhere than at the end of a part, or there is no part.
    pub(crate) fn parse(&self) -> Result<ParsedPattern, ConfigError> {
        ParsedPattern::parse(self.0.iter().map(String::as_str))
    }
}

impl fmt::Display for KeyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|part| format!("\"{}\"", part.escape_default())).collect();
        f.write_str(&parts.join(", "))
    }
}

impl From<&str> for KeyPattern {
    fn from(part: &str) -> Self {
        Self(vec![part.to_owned()])
    }
}

impl From<String> for KeyPattern {
    fn from(part: String) -> Self {
        Self(vec![part])
    }
}

impl<A, B> From<(A, B)> for KeyPattern
where
    A: Into<String>,
    B: Into<String>,
{
    fn from((first, second): (A, B)) -> Self {
        Self(vec![first.into(), second.into()])
    }
}

impl<A, B, C> From<(A, B, C)> for KeyPattern
where
    A: Into<String>,
    B: Into<String>,
    C: Into<String>,
{
    fn from((first, second, third): (A, B, C)) -> Self {
        Self(vec![first.into(), second.into(), third.into()])
    }
}

impl FromIterator<String> for KeyPattern {
    /// Creates the pattern of a key of these parts.
    fn from_iter<I: IntoIterator<Item = String>>(parts: I) -> Self {
        Self(parts.into_iter().collect())
    }
}

impl ParsedPattern {
    /// Reads the parts of a key as a file writes them.
    ///
    /// # Errors
    ///
    /// If a single star stands elsewhere than at the end of a part, or there is no part.
    pub(crate) fn parse<'a>(parts: impl IntoIterator<Item = &'a str>) -> Result<Self, ConfigError> {
        let parts: Vec<PartPattern> = parts.into_iter().map(PartPattern::parse).collect::<Result<_, _>>()?;
        if parts.is_empty() {
            return Err(ConfigError::new("key", "", "it has no part: write one"));
        }
        let exact = parts.iter().map(PartPattern::exact).collect::<Option<Box<[Box<str>]>>>();
        Ok(exact.map_or_else(|| Self::Prefix(parts.into()), Self::Exact))
    }

    /// Returns the parts.
    pub(super) fn parts(&self) -> Vec<PartPattern> {
        match self {
            Self::Exact(parts) => parts.iter().cloned().map(PartPattern::Exact).collect(),
            Self::Prefix(parts) => parts.to_vec(),
        }
    }

    /// Returns how much of a key is given, if the key with these parts matches.
    pub(crate) fn matched<'p>(&self, parts: impl ExactSizeIterator<Item = &'p [u8]>) -> Option<usize> {
        let Self::Prefix(patterns) = self else { return None };
        if patterns.len() != parts.len() {
            return None;
        }
        let mut lengths = patterns.iter().zip(parts).map(|(pattern, part)| pattern.matched(part));
        lengths.try_fold(0, |sum, length| Some(sum + length?))
    }
}

impl PartPattern {
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let (body, stars) = split_stars(text);
        // Stars inside are in pairs, or there is one too many.
        let is_paired = body.split(|letter| letter != '*').all(|stars| stars.len() % 2 == 0);
        if !is_paired {
            let reason =
                "a * stands for any rest, at the end of a part only: write ** for a star that belongs to the key";
            return Err(ConfigError::new("key", format_args!("\"{text}\""), reason));
        }
        let literal = format!("{}{}", body.replace("**", "*"), "*".repeat(stars / 2)).into();
        Ok(if stars % 2 == 0 { Self::Exact(literal) } else { Self::Prefix(literal) })
    }

    /// Returns the length of the text, if the part matches.
    pub(super) fn matched(&self, part: &[u8]) -> Option<usize> {
        match self {
            Self::Exact(text) => (text.as_bytes() == part).then_some(text.len() + 1),
            Self::Prefix(text) => part.starts_with(text.as_bytes()).then_some(text.len()),
        }
    }

    fn exact(&self) -> Option<Box<str>> {
        match self {
            Self::Exact(text) => Some(text.clone()),
            Self::Prefix(_) => None,
        }
    }
}

/// A text without the stars at its end, and how many these are.
fn split_stars(text: &str) -> (&str, usize) {
    let body = text.trim_end_matches('*');
    (body, text.len() - body.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(text: &str) -> PartPattern {
        PartPattern::Exact(text.into())
    }

    fn prefix(text: &str) -> PartPattern {
        PartPattern::Prefix(text.into())
    }

    #[test]
    fn a_star_at_the_end_stands_for_any_rest() {
        for (text, part) in [
            ("acme", exact("acme")),
            ("acme-*", prefix("acme-")),
            ("*", prefix("")),
            ("", exact("")),
            ("a**", exact("a*")),
            ("a***", prefix("a*")),
            ("**", exact("*")),
            ("***", prefix("*")),
            ("a**b*", prefix("a*b")),
            ("**a****b", exact("*a**b")),
            (r"DOMAIN\*", prefix(r"DOMAIN\")),
        ] {
            assert_eq!(PartPattern::parse(text).unwrap(), part, "{text}");
        }
    }

    #[test]
    fn a_star_elsewhere_is_a_mistake() {
        for text in ["a*b", "*a", "a***b", "*-*"] {
            let error = ParsedPattern::parse(["x", text]).unwrap_err();
            assert_eq!((error.field(), error.value()), ("key", &*format!("{text:?}")));
            assert!(error.reason().contains("write **"));
        }
    }

    #[test]
    fn a_key_is_a_pattern_if_one_of_its_parts_is() {
        let parse = |parts: &[&str]| ParsedPattern::parse(parts.iter().copied()).unwrap();
        assert_eq!(parse(&["acme", "orders"]), ParsedPattern::Exact(["acme".into(), "orders".into()].into()));
        assert_eq!(parse(&["acme", "*"]), ParsedPattern::Prefix([exact("acme"), prefix("")].into()));
        assert!(ParsedPattern::parse([]).is_err());
    }

    proptest! {
        #[test]
        fn any_text_can_be_written_as_a_key_and_as_a_prefix(text in "\\PC{0,8}|[*a]{0,8}") {
            let written = text.replace('*', "**");
            prop_assert_eq!(PartPattern::parse(&written).unwrap(), exact(&text));
            prop_assert_eq!(PartPattern::parse(&format!("{written}*")).unwrap(), prefix(&text));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}|[*a]{0,12}") {
            let _ = PartPattern::parse(&text);
        }
    }
}
