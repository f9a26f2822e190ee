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

    /// Appends the first `len` bytes of a text, which is copied whole: a copy of a fixed length is a few instructions, and every
    /// other one a call.
    #[inline]
    pub(super) fn write_beginning<const N: usize>(&mut self, text: &[u8; N], len: usize) {
        match self.inline.get_mut(self.len..).and_then(<[u8]>::first_chunk_mut) {
            Some(free) => {
                *free = *text;
                self.len += len.min(N);
            }
            None => self.write(text.get(..len).unwrap_or(text)),
        }
    }

    /// Appends a number in decimal digits.
    #[inline]
    pub(super) fn write_number(&mut self, number: u64) {
        if number >= 10_000 {
            return self.write(itoa::Buffer::new().format(number));
        }
        // In one word all digits are divided and shifted at once: the two halves of the number, and then those of each half.
        let number = number as u32;
        let halves = (number / 100) | ((number % 100) << 16);
        let tens = ((halves * 103) >> 10) & 0x000f_000f;
        let digits = tens | ((halves - 10 * tens) << 8);
        // The first digit is the lowest byte, so zeros in front are trailing ones here; the last digit is written in any case.
        let zeros = (digits | (1 << 24)).trailing_zeros() / 8;
        let shifted = (digits | 0x3030_3030) >> (8 * zeros);
        self.write_beginning(&shifted.to_le_bytes(), 4 - zeros as usize);
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
    fn a_number_is_written_in_its_digits_wherever_it_stands() {
        let numbers = (0..=10_100).chain([99_999, 1_000_000, u64::MAX]);
        for number in numbers {
            assert_eq!(build_value(|value| value.write_number(number)), number.to_string());
        }
        for length in 0..3 * INLINE {
            let front = "x".repeat(length);
            let value = build_value(|value| {
                value.write(&front);
                value.write_number(37);
                value.write_beginning(b";t= ", 3);
                value.write_number(12_345);
            });
            assert_eq!(value, format!("{front}37;t=12345"));
        }
    }

    #[test]
    fn a_value_may_be_long() {
        let parts: Vec<String> = (0..1000).map(|at| "x".repeat(at % 300)).collect();
        let value = build_value(|value| parts.iter().for_each(|part| value.write(part)));
        assert_eq!(value, parts.concat());
    }
}
