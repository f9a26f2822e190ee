//! The framing of messages in a stream of bytes.

/// The position within the framing of gRPC: every message follows a prefix of five bytes, a compression flag and the
/// big-endian length.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Framing {
    /// Before the first byte of a message.
    #[default]
    Between,
    /// Within a prefix, of which `seen` bytes have been read.
    Prefix { seen: u8, length: u32 },
    /// Within a message, of which `left` bytes are missing.
    Message { left: u32 },
}

const PREFIX: u8 = 5;

impl Framing {
    /// Reads up to and including the first byte of the next message, and leaves the rest in `data`. Returns whether a message
    /// begins there.
    pub(super) fn next_message(&mut self, data: &mut &[u8]) -> bool {
        while let [byte, rest @ ..] = *data {
            let begins = matches!(self, Self::Between);
            (*self, *data) = match *self {
                Self::Between => (Self::Prefix { seen: 1, length: 0 }, rest),
                Self::Prefix { seen, length } => (Self::in_prefix(seen + 1, length << 8 | u32::from(*byte)), rest),
                Self::Message { left } => {
                    let read = usize::try_from(left).map_or(data.len(), |left| left.min(data.len()));
                    (Self::in_message(left.saturating_sub(read as u32)), data.get(read..).unwrap_or_default())
                }
            };
            if begins {
                return true;
            }
        }
        false
    }

    const fn in_prefix(seen: u8, length: u32) -> Self {
        if seen == PREFIX { Self::in_message(length) } else { Self::Prefix { seen, length } }
    }

    const fn in_message(left: u32) -> Self {
        if left == 0 { Self::Between } else { Self::Message { left } }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the positions where messages begin, if the bytes arrive in pieces.
    fn beginnings<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<usize> {
        let (mut framing, mut before, mut found) = (Framing::default(), 0, Vec::new());
        for piece in pieces {
            let mut rest = piece;
            while framing.next_message(&mut rest) {
                found.push(before + piece.len() - rest.len() - 1);
            }
            before += piece.len();
        }
        found
    }

    fn encoded(lengths: &[u32]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        for length in lengths {
            starts.push(bytes.len());
            bytes.push(0);
            bytes.extend(length.to_be_bytes());
            bytes.extend(std::iter::repeat_n(1, *length as usize));
        }
        (bytes, starts)
    }

    #[test]
    fn empty_messages_count_like_any_other() {
        let (bytes, starts) = encoded(&[0, 0, 3, 0]);
        assert_eq!(beginnings([&*bytes]), starts);
    }

    #[test]
    fn a_message_that_announces_4_gib_is_one() {
        let announced = [0, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(beginnings([&announced[..], &[0; 4096], &[1; 4096]]), [0]);
    }

    proptest! {
        #[test]
        fn messages_are_found_however_the_bytes_are_cut(
            lengths in prop::collection::vec(0u32..600, 0..20),
            piece in 1usize..700,
        ) {
            let (bytes, starts) = encoded(&lengths);
            prop_assert_eq!(beginnings(bytes.chunks(piece)), starts);
        }
    }
}
