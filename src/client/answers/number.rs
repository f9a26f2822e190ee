//! Numbers without a sign.

use http::{HeaderMap, HeaderName};

/// Digits, and whether a fraction follows that is more than nothing. What is too large for the type is the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number {
    whole: u64,
    has_rest: bool,
}

impl Number {
    pub(super) const ZERO: Self = Self { whole: 0, has_rest: false };

    /// `1*DIGIT [ "." 1*DIGIT ]`: what `parse` takes is more, a sign for one.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = text.splitn(2, |byte| *byte == b'.');
        let whole = digits(parts.next()?)?;
        let has_rest = match parts.next() {
            Some(fraction) => digits(fraction)? > 0,
            None => false,
        };
        Some(Self { whole, has_rest })
    }

    /// As a time is to be rounded: never too short.
    pub(super) const fn rounded_up(self) -> u64 {
        self.whole.saturating_add(self.has_rest as u64)
    }

    /// As what is left is to be rounded: never too much.
    pub(super) const fn rounded_down(self) -> u64 {
        self.whole
    }
}

/// `1*DIGIT`
pub(super) fn digits(text: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let add = |number: u64, byte| Some(number.saturating_mul(10).saturating_add(digit(byte)?));
    if text.is_empty() { None } else { text.iter().try_fold(0, add) }
}

/// The well-formed numbers of a field, in all its lines: a proxy may have joined what several servers said.
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
        assert_eq!(digits(b"0"), Some(0));
        assert_eq!(digits(b"007"), Some(7));
        assert_eq!(digits(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(digits(b"18446744073709551616"), Some(u64::MAX));
        assert_eq!(digits(&[b'9'; 400]), Some(u64::MAX));
        assert_eq!(digits(&[b'0'; 400]), Some(0));
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
