//! Memory for the values of header fields.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

/// Bytes that a thread takes at a time.
const WELL: usize = 2048;

/// Bytes of a value that are put together before they go there: most values have fewer.
const SHORT: usize = 128;

thread_local! {
    static INK: RefCell<BytesMut> = RefCell::default();
}

/// What `write` appends to an empty buffer.
///
/// The values that a thread writes share memory, some dozens of them, and it is used again when the last of them is gone.
/// So a value costs no allocation of its own; one that is kept for long keeps 2 KiB.
pub(super) fn written(write: impl FnOnce(&mut Line<'_>)) -> Bytes {
    INK.with_borrow_mut(|ink| {
        if ink.capacity() < WELL / 16 {
            ink.reserve(WELL);
        }
        let mut line = Line { ink, short: [0; SHORT], len: 0 };
        write(&mut line);
        line.let_go();
        ink.split().freeze()
    })
}

/// A value that is being written.
pub(super) struct Line<'a> {
    ink: &'a mut BytesMut,
    short: [u8; SHORT],
    len: usize,
}

impl Line<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0 && self.ink.is_empty()
    }

    #[inline]
    pub(super) fn write(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        let end = self.len + text.len();
        if let Some(free) = self.short.get_mut(self.len..end) {
            free.copy_from_slice(text);
            self.len = end;
        } else {
            self.let_go();
            self.ink.extend_from_slice(text);
        }
    }

    fn let_go(&mut self) {
        self.ink.extend_from_slice(self.short.get(..self.len).unwrap_or_default());
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_apart() {
        let values: Vec<Bytes> = (0..1000).map(|at: u32| written(|line| line.write(at.to_string()))).collect();
        for (at, value) in values.iter().enumerate() {
            assert_eq!(*value, at.to_string());
        }
        assert!(written(|_| ()).is_empty());
    }

    #[test]
    fn a_value_may_be_long() {
        let parts: Vec<String> = (0..1000).map(|at| "x".repeat(at % 300)).collect();
        let value = written(|line| parts.iter().for_each(|part| line.write(part)));
        assert_eq!(value, parts.concat());
    }
}
