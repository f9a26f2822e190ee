//! Writing protobuf.

const VARINT: u8 = 0;
const LENGTH_DELIMITED: u8 = 2;

/// A message on the wire, written field by field. Defaults (0 and "") are left out, as proto3 has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A field of type `int32`, `int64` or an enum, not below zero.
    pub(super) fn integer(mut self, field: u8, value: u64) -> Self {
        if value != 0 {
            self.tag(field, VARINT);
            self.varint(value);
        }
        self
    }

    /// A field of type `string`.
    pub(super) fn text(self, field: u8, text: &str) -> Self {
        if text.is_empty() { self } else { self.delimited(field, text.as_bytes()) }
    }

    /// A field that is a message; one without content is there all the same.
    pub(super) fn message(self, field: u8, message: &Self) -> Self {
        self.delimited(field, &message.bytes)
    }

    /// A field of type `bytes` that holds a message, as in `google.protobuf.Any`.
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

    fn tag(&mut self, field: u8, wire_type: u8) {
        self.varint(u64::from(field) << 3 | u64::from(wire_type));
    }

    /// Seven bits to a byte, the lowest first; the eighth says that there are more.
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
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
}
