//! The source of the number of units that a message costs.

use crate::cost::MessageHead;

/// A source of the units that a message of a gRPC call costs: a number, a closure over its [head](MessageHead), or
/// [`message_length`].
///
/// ```
/// use tower_quota::{Policy, Rule, cost::MessageHead, key};
///
/// // Four kilobytes or a part of them are one unit.
/// let uploads = Rule::new("uploads")
///     .routes(["/files.Files/{*method}"])
///     .key(key::metadata("x-account"))
///     .policy(Policy::per_minute(10_000))
///     .cost("blocks", 0)
///     .message_cost(|message: MessageHead| u64::from(message.length()).div_ceil(4096));
/// # let _ = uploads;
/// ```
pub trait MessageCost: Send + Sync + 'static {
    /// Returns the units that a message costs.
    fn units(&self, message: MessageHead) -> u64;

    /// Returns the units if they are the same for all messages: a limiter refuses a rule that could never admit one. Defaults
    /// to `None`.
    fn fixed(&self) -> Option<u64> {
        None
    }
}

/// The bytes of a message, as [`message_length`] returns it.
#[derive(Clone, Copy, Debug)]
pub struct MessageLength(());

/// Makes each message cost its bytes, as they are on the wire: compressed, if it is, and without the five bytes in front of it. A
/// message without any costs nothing.
#[must_use]
pub const fn message_length() -> MessageLength {
    MessageLength(())
}

impl MessageCost for MessageLength {
    fn units(&self, message: MessageHead) -> u64 {
        message.length().into()
    }
}

impl MessageCost for u64 {
    fn units(&self, _: MessageHead) -> u64 {
        *self
    }

    fn fixed(&self) -> Option<u64> {
        Some(*self)
    }
}

impl<F> MessageCost for F
where
    F: Fn(MessageHead) -> u64 + Send + Sync + 'static,
{
    fn units(&self, message: MessageHead) -> u64 {
        self(message)
    }
}
