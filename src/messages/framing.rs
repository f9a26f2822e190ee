//! The framing of messages in a stream of bytes.

use crate::cost::MessageHead;

/// The position within the framing of gRPC: every message follows a prefix of five bytes, a compression flag and the
/// big-endian length.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Framing {
    /// Before the first byte of a message.
    #[default]
    Between,
    /// Within a prefix, of which `seen` bytes have been read.
    Prefix { seen: u8, is_compressed: bool, length: u32 },
    /// Within a message, of which `left` bytes are missing.
    Message { left: u32 },
}

pub(super) const PREFIX: u8 = 5;

/// Something that the next byte completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A message begins.
    Begins,
    /// Its prefix is complete.
    Announced(MessageHead),
}

impl Framing {
    /// Reads up to and including the first byte of the next message, and leaves the rest in `data`. Returns whether a message
    /// begins there.
    pub(super) fn next_message(&mut self, data: &mut &[u8]) -> bool {
        self.find(data, |event| (event == Event::Begins).then_some(())).is_some()
    }

    /// Reads up to and including the prefix of the next message, and leaves the rest in `data`. Returns what it says.
    pub(super) fn next_head(&mut self, data: &mut &[u8]) -> Option<MessageHead> {
        self.find(data, |event| match event {
            Event::Announced(head) => Some(head),
            Event::Begins => None,
        })
    }

    /// Returns the number of bytes that have been read of a prefix which is not complete yet.
    pub(super) const fn begun(self) -> usize {
        match self {
            Self::Prefix { seen, .. } => seen as usize,
            Self::Between | Self::Message { .. } => 0,
        }
    }

    /// Reads up to an event that is wanted.
    fn find<T>(&mut self, data: &mut &[u8], wanted: impl Fn(Event) -> Option<T>) -> Option<T> {
        while let [byte, rest @ ..] = *data {
            let event = match *self {
                Self::Between => {
                    (*self, *data) = (Self::Prefix { seen: 1, is_compressed: *byte != 0, length: 0 }, rest);
                    Some(Event::Begins)
                }
                Self::Prefix { seen, is_compressed, length } => {
                    *data = rest;
                    self.read_length(seen + 1, is_compressed, length << 8 | u32::from(*byte))
                }
                Self::Message { left } => {
                    let read = usize::try_from(left).map_or(data.len(), |left| left.min(data.len()));
                    *self = Self::in_message(left.saturating_sub(read as u32));
                    *data = data.get(read..).unwrap_or_default();
                    None
                }
            };
            if let Some(found) = event.and_then(&wanted) {
                return Some(found);
            }
        }
        None
    }

    const fn read_length(&mut self, seen: u8, is_compressed: bool, length: u32) -> Option<Event> {
        if seen < PREFIX {
            *self = Self::Prefix { seen, is_compressed, length };
            return None;
        }
        *self = Self::in_message(length);
        Some(Event::Announced(MessageHead::new(is_compressed, length)))
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

    /// Returns the lengths that are announced, and where, if the bytes arrive in pieces.
    fn heads<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<(usize, u32)> {
        let (mut framing, mut before, mut found) = (Framing::default(), 0, Vec::new());
        for piece in pieces {
            let mut rest = piece;
            while let Some(head) = framing.next_head(&mut rest) {
                found.push((before + piece.len() - rest.len() - usize::from(PREFIX), head.length()));
            }
            before += piece.len();
        }
        found
    }

    #[test]
    fn the_first_byte_says_whether_a_message_is_compressed() {
        let bytes = [1, 0, 0, 0, 1, 9, 0, 0, 0, 0, 0];
        let (mut framing, mut rest) = (Framing::default(), &bytes[..]);
        assert_eq!(framing.next_head(&mut rest), Some(MessageHead::new(true, 1)));
        assert_eq!(framing.next_head(&mut rest), Some(MessageHead::new(false, 0)));
        assert_eq!(framing.next_head(&mut rest), None);
    }

    #[test]
    fn a_prefix_that_is_cut_is_known_to_have_begun() {
        let mut framing = Framing::default();
        assert_eq!(framing.next_head(&mut &[0, 0, 0][..]), None);
        assert_eq!(framing.begun(), 3);
        assert_eq!(framing.next_head(&mut &[0, 2][..]), Some(MessageHead::new(false, 2)));
        assert_eq!(framing.begun(), 0);
    }

    proptest! {
        #[test]
        fn lengths_are_read_however_the_bytes_are_cut(
            lengths in prop::collection::vec(0u32..600, 0..20),
            piece in 1usize..700,
        ) {
            let (bytes, starts) = encoded(&lengths);
            let announced: Vec<_> = starts.into_iter().zip(lengths).collect();
            prop_assert_eq!(heads(bytes.chunks(piece)), announced);
        }

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
