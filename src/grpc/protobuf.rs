//! The protobuf wire format: just enough to write a status and to read one.

const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;

/// An encoded message, written field by field. Defaults (0 and "") are left out, as in proto3.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

/// Reads the fields of an encoded message.
#[cfg(feature = "client")]
struct Reader<'a> {
    rest: &'a [u8],
}

/// The number of a field, and its value.
#[cfg(feature = "client")]
pub(super) type WireField<'a> = (u64, WireValue<'a>);

/// The value of a field, as far as it is needed here.
#[cfg(feature = "client")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireValue<'a> {
    /// An integer, a boolean or an enum.
    Integer(u64),
    /// A string, bytes, or a message.
    Bytes(&'a [u8]),
    /// A value of a fixed width, which is skipped.
    Fixed,
}

impl Message {
    /// Adds a field of type `int32`, `int64` or an enum, which is not negative.
    pub(super) fn integer(mut self, field: u8, value: u64) -> Self {
        if value != 0 {
            self.tag(field, VARINT);
            self.varint(value);
        }
        self
    }

    /// Adds a field of type `string`.
    pub(super) fn text(self, field: u8, text: &str) -> Self {
        if text.is_empty() { self } else { self.delimited(field, text.as_bytes()) }
    }

    /// Adds a field that is a message, even if it is empty.
    pub(super) fn message(self, field: u8, message: &Self) -> Self {
        self.delimited(field, &message.bytes)
    }

    /// Adds a field of type `bytes` that contains a message, as in `google.protobuf.Any`.
    pub(super) fn packed(self, field: u8, message: &Self) -> Self {
        if message.bytes.is_empty() { self } else { self.message(field, message) }
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn delimited(mut self, field: u8, bytes: &[u8]) -> Self {
        self.tag(field, LENGTH_DELIMITED);
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn tag(&mut self, field: u8, wire_type: u64) {
        self.varint(u64::from(field) << 3 | wire_type);
    }

    /// Writes seven bits to a byte, the lowest first. The eighth bit marks all bytes except the last.
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

/// Returns the fields of an encoded message, or `None` if anything in it is malformed.
#[cfg(feature = "client")]
pub(super) fn parse_fields(message: &[u8]) -> Option<Vec<WireField<'_>>> {
    let mut reader = Reader { rest: message };
    let mut fields = Vec::new();
    while !reader.rest.is_empty() {
        fields.push(reader.field()?);
    }
    Some(fields)
}

#[cfg(feature = "client")]
impl<'a> Reader<'a> {
    const FIXED_64: u64 = 1;
    const FIXED_32: u64 = 5;
    /// The largest number of a field. The smallest is 1.
    const MAX_NUMBER: u64 = (1 << 29) - 1;

    fn field(&mut self) -> Option<WireField<'a>> {
        let tag = self.varint()?;
        let number = Some(tag >> 3).filter(|number| (1..=Self::MAX_NUMBER).contains(number))?;
        let value = match tag & 7 {
            VARINT => WireValue::Integer(self.varint()?),
            Self::FIXED_64 => self.take(8).map(|_| WireValue::Fixed)?,
            LENGTH_DELIMITED => {
                let length = usize::try_from(self.varint()?).ok()?;
                WireValue::Bytes(self.take(length)?)
            }
            Self::FIXED_32 => self.take(4).map(|_| WireValue::Fixed)?,
            // Groups, which proto3 does not have.
            _ => return None,
        };
        Some((number, value))
    }

    /// Reads what [`Message::varint`] writes, of 64 bits at most.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = *self.take(1)?.first()?;
            let bits = u64::from(byte & 0x7f);
            value |= Some(bits << shift).filter(|shifted| shifted >> shift == bits)?;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::encoding::{encode_varint, encoded_len_varint};

    use super::*;

    fn varint(value: u64) -> Vec<u8> {
        let mut message = Message::default();
        message.varint(value);
        message.into_bytes()
    }

    #[test]
    fn the_examples_of_the_encoding_guide_are_written_as_there() {
        assert_eq!(Message::default().integer(1, 150).into_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(Message::default().text(2, "testing").into_bytes(), b"\x12\x07testing");
        let inner = Message::default().integer(1, 150);
        assert_eq!(Message::default().message(3, &inner).into_bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
    }

    #[test]
    fn defaults_are_left_out_and_empty_messages_are_not() {
        assert!(Message::default().integer(1, 0).text(2, "").packed(3, &Message::default()).is_empty());
        assert_eq!(Message::default().message(3, &Message::default()).into_bytes(), [0x1a, 0]);
    }

    proptest! {
        #[test]
        fn varints_are_those_of_prost(value: u64, shift in 0u32..64) {
            let value = value >> shift;
            let mut expected = Vec::new();
            encode_varint(value, &mut expected);
            prop_assert_eq!(expected.len(), encoded_len_varint(value));
            prop_assert_eq!(varint(value), expected);
        }
    }

    #[cfg(feature = "client")]
    mod reading {
        use super::*;

        #[test]
        fn the_examples_of_the_encoding_guide_are_read() {
            assert_eq!(parse_fields(&[0x08, 0x96, 0x01]), Some(vec![(1, WireValue::Integer(150))]));
            assert_eq!(parse_fields(b"\x12\x07testing"), Some(vec![(2, WireValue::Bytes(b"testing"))]));
            assert_eq!(parse_fields(&[]), Some(vec![]));
        }

        #[test]
        fn fields_of_fixed_width_are_stepped_over() {
            let message = [0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x15, 1, 2, 3, 4, 0x18, 1];
            assert_eq!(
                parse_fields(&message),
                Some(vec![(1, WireValue::Fixed), (2, WireValue::Fixed), (3, WireValue::Integer(1))])
            );
        }

        #[test]
        fn a_message_that_is_cut_short_or_has_groups_is_none() {
            for message in [&[0x08][..], &[0x08, 0x80], &[0x12, 5, 1], &[0x0b, 0x0c], &[0x15, 1, 2, 3], &[0xff; 20]] {
                assert_eq!(parse_fields(message), None, "{message:x?}");
            }
            let longest = [&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01][..], b"a"].concat();
            assert_eq!(parse_fields(&longest), None);
        }

        #[test]
        fn numbers_that_no_field_has_and_integers_of_more_than_64_bits_are_none() {
            let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
            let of_integer = |tag: &[u8], value: &[u8]| parse_fields(&[tag, value].concat()).is_some();
            assert!(of_integer(&[0x08], &largest) && of_integer(&[0xf8, 0xff, 0xff, 0xff, 0x0f], &[1]));
            assert!(!of_integer(&[0x00], &[1]), "field 0");
            assert!(!of_integer(&[0x80, 0x80, 0x80, 0x80, 0x10], &[1]), "field 2^29");
            assert!(!of_integer(&[0x08], &[&largest[..9], &[0x02]].concat()), "2^64");
        }

        proptest! {
            #[test]
            fn what_is_written_is_read_back(number in 1u8..16, integer in 1u64.., text in ".{1,30}") {
                let message = Message::default().integer(number, integer).text(2, &text).into_bytes();
                let expected = vec![(number.into(), WireValue::Integer(integer)), (2, WireValue::Bytes(text.as_bytes()))];
                prop_assert_eq!(parse_fields(&message), Some(expected));
            }

            #[test]
            fn no_bytes_are_too_strange(message in prop::collection::vec(any::<u8>(), 0..100)) {
                let read = parse_fields(&message).unwrap_or_default();
                prop_assert!(read.len() <= message.len());
            }
        }
    }
}
