//! Memory for the values of header fields.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

/// Bytes that a thread takes at a time.
const WELL: usize = 2048;

thread_local! {
    static INK: RefCell<BytesMut> = RefCell::default();
}

/// What `write` appends to an empty buffer.
///
/// The values that a thread writes share memory, some dozens of them, and it is used again when the last of them is gone.
/// So a value costs no allocation of its own; one that is kept for long keeps 2 KiB.
pub(super) fn written(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    INK.with_borrow_mut(|ink| {
        if ink.capacity() < WELL / 16 {
            ink.reserve(WELL);
        }
        write(ink);
        ink.split().freeze()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_apart() {
        let values: Vec<Bytes> = (0..1000).map(|at: u32| written(|ink| ink.extend(at.to_string().bytes()))).collect();
        for (at, value) in values.iter().enumerate() {
            assert_eq!(*value, at.to_string());
        }
        assert!(written(|_| ()).is_empty());
        assert_eq!(written(|ink| ink.resize(2 * WELL, 7)).len(), 2 * WELL);
    }
}
