//! Memory for the values of header fields.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

/// Bytes that a thread takes at a time.
const CHUNK: usize = 2048;

/// Bytes of a value that are put together before they go there: most values have fewer.
const INLINE: usize = 128;

thread_local! {
    static BUFFER: RefCell<BytesMut> = RefCell::default();
}

/// What `write` appends to an empty buffer.
///
/// The values that a thread writes share memory, some dozens of them, and it is used again when the last of them is gone.
/// So a value costs no allocation of its own; one that is kept for long keeps 2 KiB.
pub(super) fn build_value(write: impl FnOnce(&mut ValueWriter<'_>)) -> Bytes {
    BUFFER.with_borrow_mut(|ink| {
        if ink.capacity() < CHUNK / 16 {
            ink.reserve(CHUNK);
        }
        let mut line = ValueWriter { ink, short: [0; INLINE], len: 0 };
        write(&mut line);
        line.flush();
        ink.split().freeze()
    })
}

/// A value that is being written.
pub(super) struct ValueWriter<'a> {
    ink: &'a mut BytesMut,
    short: [u8; INLINE],
    len: usize,
}

impl ValueWriter<'_> {
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
            self.flush();
            self.ink.extend_from_slice(text);
        }
    }

    fn flush(&mut self) {
        self.ink.extend_from_slice(self.short.get(..self.len).unwrap_or_default());
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_apart() {
        let values: Vec<Bytes> = (0..1000).map(|at: u32| build_value(|line| line.write(at.to_string()))).collect();
        for (at, value) in values.iter().enumerate() {
            assert_eq!(*value, at.to_string());
        }
        assert!(build_value(|_| ()).is_empty());
    }

    #[test]
    fn a_value_may_be_long() {
        let parts: Vec<String> = (0..1000).map(|at| "x".repeat(at % 300)).collect();
        let value = build_value(|line| parts.iter().for_each(|part| line.write(part)));
        assert_eq!(value, parts.concat());
    }
}
