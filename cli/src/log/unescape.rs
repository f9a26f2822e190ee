//! How the formats of logs write bytes that would end a field.

use std::borrow::Cow;

/// The way in which a format escapes bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Escape {
    #[default]
    Nothing,
    /// `\x22`, `\"` and `\\`, as nginx and Apache do.
    Backslash,
    /// As in JSON.
    Json,
    /// `%22`, in header fields alone: paths are escaped so anyway.
    Percent,
}

impl Escape {
    /// Returns what a field stands for.
    pub(crate) fn unescape(self, field: &[u8]) -> Cow<'_, [u8]> {
        let mark = match self {
            Self::Nothing => return Cow::Borrowed(field),
            Self::Backslash | Self::Json => b'\\',
            Self::Percent => b'%',
        };
        let Some(mut at) = memchr::memchr(mark, field) else { return Cow::Borrowed(field) };
        let mut bytes = field[..at].to_vec();
        while let Some(byte) = field.get(at) {
            let length = if *byte == mark { self.sequence(&field[at..], &mut bytes) } else { None };
            if length.is_none() {
                bytes.push(*byte);
            }
            at += length.unwrap_or(1);
        }
        Cow::Owned(bytes)
    }

    /// Adds what the sequence at the front stands for. Returns its length, or `None` if it is none.
    fn sequence(self, field: &[u8], bytes: &mut Vec<u8>) -> Option<usize> {
        let byte = match (self, field.get(1)?) {
            (Self::Percent, _) => return hex(field.get(1..3)?).map(|byte| add(bytes, byte, 3)),
            (Self::Json, b'u') => return unicode(field, bytes),
            (_, b'x') => return hex(field.get(2..4)?).map(|byte| add(bytes, byte, 4)),
            (_, b'n') => b'\n',
            (_, b't') => b'\t',
            (_, b'r') => b'\r',
            (Self::Json, b'b') => 8,
            (Self::Json, b'f') => 12,
            (_, other @ (b'"' | b'\\' | b'/')) => *other,
            _ => return None,
        };
        Some(add(bytes, byte, 2))
    }
}

fn add(bytes: &mut Vec<u8>, byte: u8, length: usize) -> usize {
    bytes.push(byte);
    length
}

fn hex(digits: &[u8]) -> Option<u8> {
    u8::try_from(hex_number(digits)?).ok()
}

fn hex_number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))
}

/// Adds the character of `\u00e4`, or of the two halves of one.
fn unicode(field: &[u8], bytes: &mut Vec<u8>) -> Option<usize> {
    let first = hex_number(field.get(2..6)?)?;
    let second = || {
        let low = field.get(6..12)?.strip_prefix(b"\\u")?;
        hex_number(low).filter(|low| (0xdc00..0xe000).contains(low))
    };
    let (code, length) = match first {
        0xd800..0xdc00 => second().map_or((first, 6), |low| (0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00), 12)),
        _ => (first, 6),
    };
    let char = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    Some(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(escape: Escape, field: &str) -> String {
        String::from_utf8(escape.unescape(field.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn each_format_has_its_escapes() {
        assert_eq!(text(Escape::Backslash, r#"a\x22b\\c\"d"#), r#"a"b\c"d"#);
        assert_eq!(text(Escape::Json, r#"\u00e4\ud83d\ude00\/\n"#), "ä😀/\n");
        assert_eq!(text(Escape::Json, r"\ud83d"), "\u{fffd}");
        assert_eq!(text(Escape::Percent, "a%3Db%2"), "a=b%2");
        assert_eq!(text(Escape::Nothing, r"a\x22%22"), r"a\x22%22");
        assert_eq!(text(Escape::Backslash, r"a\q\"), r"a\q\");
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_unescaped(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            for escape in [Escape::Nothing, Escape::Backslash, Escape::Json, Escape::Percent] {
                prop_assert!(escape.unescape(&bytes).len() <= bytes.len());
            }
        }

        #[test]
        fn what_json_writes_is_read(text in ".{0,40}") {
            let written = serde_json::to_string(&text).unwrap();
            let field = &written.as_bytes()[1..written.len() - 1];
            let read = Escape::Json.unescape(field);
            prop_assert_eq!(read.as_ref(), text.as_bytes());
        }
    }
}
