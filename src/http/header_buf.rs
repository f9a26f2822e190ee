//! A per-thread buffer for building header values.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

/// Size of the chunks that each thread allocates, in bytes.
const CHUNK: usize = 2048;

/// Size of the buffer on the stack, in bytes; most values fit.
const INLINE: usize = 128;

thread_local! {
    static BUFFER: RefCell<BytesMut> = RefCell::default();
}

/// A header value that is being written.
pub(super) struct ValueWriter<'a> {
    chunk: &'a mut BytesMut,
    inline: [u8; INLINE],
    len: usize,
}

/// Returns the bytes that `write` appends to an empty value.
///
/// The values that a thread writes share a chunk, some dozens of them, which is reused when the last of them is dropped. So
/// a value costs no allocation of its own; one that is kept for long keeps 2 KiB.
pub(super) fn build_value(write: impl FnOnce(&mut ValueWriter<'_>)) -> Bytes {
    BUFFER.with_borrow_mut(|chunk| {
        if chunk.capacity() < CHUNK / 16 {
            chunk.reserve(CHUNK);
        }
        let mut value = ValueWriter { chunk, inline: [0; INLINE], len: 0 };
        write(&mut value);
        value.flush();
        chunk.split().freeze()
    })
}

impl ValueWriter<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0 && self.chunk.is_empty()
    }

    #[inline]
    pub(super) fn write(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        let end = self.len + text.len();
        if let Some(free) = self.inline.get_mut(self.len..end) {
            free.copy_from_slice(text);
            self.len = end;
        } else {
            self.flush();
            self.chunk.extend_from_slice(text);
        }
    }

    fn flush(&mut self) {
        self.chunk.extend_from_slice(self.inline.get(..self.len).unwrap_or_default());
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_apart() {
        let values: Vec<Bytes> = (0..1000).map(|at: u32| build_value(|value| value.write(at.to_string()))).collect();
        for (at, value) in values.iter().enumerate() {
            assert_eq!(*value, at.to_string());
        }
        assert!(build_value(|_| ()).is_empty());
    }

    #[test]
    fn a_value_may_be_long() {
        let parts: Vec<String> = (0..1000).map(|at| "x".repeat(at % 300)).collect();
        let value = build_value(|value| parts.iter().for_each(|part| value.write(part)));
        assert_eq!(value, parts.concat());
    }
}
