//! The head of a message of a gRPC call.

/// The five bytes in front of each message of a gRPC call: whether it is compressed, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageHead {
    is_compressed: bool,
    length: u32,
}

impl MessageHead {
    pub(crate) const fn new(is_compressed: bool, length: u32) -> Self {
        Self { is_compressed, length }
    }

    /// Returns the length of the message in bytes, as it is on the wire.
    #[must_use]
    pub const fn length(self) -> u32 {
        self.length
    }

    /// Returns `true` if the message is compressed.
    #[must_use]
    pub const fn is_compressed(self) -> bool {
        self.is_compressed
    }
}
