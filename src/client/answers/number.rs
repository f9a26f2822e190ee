//! Unsigned numbers as header fields have them.

use http::{HeaderMap, HeaderName};

/// A decimal number of which only the sign of its fraction is kept. Numbers that are too large saturate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number {
    whole: u64,
    has_fraction: bool,
}

impl Number {
    pub(super) const ZERO: Self = Self { whole: 0, has_fraction: false };

    /// Parses `1*DIGIT [ "." 1*DIGIT ]`. The standard library's `parse` takes more, such as a sign.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = text.splitn(2, |byte| *byte == b'.');
        let whole = parse_digits(parts.next()?)?;
        let has_fraction = match parts.next() {
            Some(fraction) => parse_digits(fraction)? > 0,
            None => false,
        };
        Some(Self { whole, has_fraction })
    }

    /// Rounds as a time is to be rounded: never too short.
    pub(super) const fn rounded_up(self) -> u64 {
        self.whole.saturating_add(self.has_fraction as u64)
    }

    /// Rounds as a remainder is to be rounded: never too much.
    pub(super) const fn rounded_down(self) -> u64 {
        self.whole
    }
}

/// Parses `1*DIGIT`. Numbers that are too large saturate.
pub(super) fn parse_digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = text.iter().map(|digit| u64::from(digit - b'0'));
    Some(digits.fold(0, |number: u64, digit| number.saturating_mul(10).saturating_add(digit)))
}

/// Returns the well-formed numbers in all lines of a field: a proxy may have joined those of several servers.
pub(super) fn numbers(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = Number> {
    let lines = headers.get_all(name).iter();
    let items = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    items.filter_map(|item| Number::parse(item.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn up_and_down(text: &str) -> Option<(u64, u64)> {
        Number::parse(text.as_bytes()).map(|number| (number.rounded_up(), number.rounded_down()))
    }

    #[test]
    fn digits_are_a_number_of_any_length() {
        assert_eq!(parse_digits(b"0"), Some(0));
        assert_eq!(parse_digits(b"007"), Some(7));
        assert_eq!(parse_digits(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_digits(b"18446744073709551616"), Some(u64::MAX));
        assert_eq!(parse_digits(&[b'9'; 400]), Some(u64::MAX));
        assert_eq!(parse_digits(&[b'0'; 400]), Some(0));
    }

    #[test]
    fn a_fraction_is_rounded_in_the_direction_that_is_safe() {
        assert_eq!(up_and_down("2.0"), Some((2, 2)));
        assert_eq!(up_and_down("10.5"), Some((11, 10)));
        assert_eq!(up_and_down("0.000000000000000000000001"), Some((1, 0)));
        assert_eq!(up_and_down("18446744073709551615.9"), Some((u64::MAX, u64::MAX)));
    }

    #[test]
    fn anything_else_is_none() {
        for text in ["", "-1", "+5", "1 2", "0x10", "1e3", "five", "٣", "1,2", " 5", "5.", ".5", "1.2.3", "1.-5", "."]
        {
            assert_eq!(up_and_down(text), None, "{text:?}");
        }
    }

    #[test]
    fn all_lines_of_a_field_and_all_items_of_a_line_count() {
        let name = HeaderName::from_static("age");
        let mut headers = HeaderMap::new();
        let read = |headers: &HeaderMap| numbers(headers, &name).map(Number::rounded_up).collect::<Vec<_>>();
        assert!(read(&headers).is_empty());
        headers.append(&name, HeaderValue::from_static(" 5 "));
        headers.append(&name, HeaderValue::from_static("x, 30 ,30,, -1, 7.5"));
        assert_eq!(read(&headers), [5, 30, 30, 8]);
    }
}
