//! Reading protobuf.

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED_32: u64 = 5;
/// The largest number of a field. The smallest is 1.
const LAST: u64 = (1 << 29) - 1;

/// The value of a field, as far as anybody here wants to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireValue<'a> {
    /// Of an integer, a boolean or an enum.
    Integer(u64),
    /// Of a string, of bytes, or of a message.
    Bytes(&'a [u8]),
    /// Of a fixed width.
    Fixed,
}

/// The number of a field, and its value.
pub(super) type WireField<'a> = (u64, WireValue<'a>);

/// The fields of a message on the wire; none if anything in it is malformed.
pub(super) fn parse_fields(message: &[u8]) -> Option<Vec<WireField<'_>>> {
    let mut rest = message;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        fields.push(field(&mut rest)?);
    }
    Some(fields)
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<WireField<'a>> {
    let tag = varint(rest)?;
    let number = Some(tag >> 3).filter(|number| (1..=LAST).contains(number))?;
    let value = match tag & 7 {
        VARINT => WireValue::Integer(varint(rest)?),
        FIXED_64 => take(rest, 8).map(|_| WireValue::Fixed)?,
        LENGTH_DELIMITED => {
            let length = usize::try_from(varint(rest)?).ok()?;
            WireValue::Bytes(take(rest, length)?)
        }
        FIXED_32 => take(rest, 4).map(|_| WireValue::Fixed)?,
        // Groups, which proto3 does not have.
        _ => return None,
    };
    Some((number, value))
}

/// Seven bits to a byte, the lowest first; the eighth says that there are more. 64 bits at most.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        let bits = u64::from(byte & 0x7f);
        value |= Some(bits << shift).filter(|shifted| shifted >> shift == bits)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::grpc::protobuf::Message;

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
