//! Numbers without a sign.

use http::{HeaderMap, HeaderName, HeaderValue};

/// `1*DIGIT`: what `parse` takes is more, a sign for one. What is too large for the type is the largest.
pub(super) fn digits(text: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let add = |number: u64, byte| Some(number.saturating_mul(10).saturating_add(digit(byte)?));
    if text.is_empty() { None } else { text.iter().try_fold(0, add) }
}

/// The number that a field holds; none if there are several lines.
pub(super) fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    only_line(headers, name).and_then(|line| digits(line.as_bytes().trim_ascii()))
}

fn only_line<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn anything_else_is_none() {
        for text in ["", "-1", "+5", "1.5", "1 2", "0x10", "1e3", "five", "٣", "1,2", " 5"] {
            assert_eq!(digits(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_field_of_two_lines_is_none() {
        let name = HeaderName::from_static("age");
        let mut headers = HeaderMap::new();
        assert_eq!(number(&headers, &name), None);
        headers.append(&name, HeaderValue::from_static(" 5 "));
        assert_eq!(number(&headers, &name), Some(5));
        headers.append(&name, HeaderValue::from_static("5"));
        assert_eq!(number(&headers, &name), None);
    }
}
