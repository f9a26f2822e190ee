//! The errors that users meet.
//!
//! * [`ConfigError`]: a mistake that is found while the limiter is built.
//! * [`CheckError`]: a limiter that was asked and could not answer, because of an [`UnknownRule`] or because its store is
//!   [`Unavailable`].
//! * [`nearest`]: finds the name that a misspelled one was meant to be.

mod check;
mod config;
mod nearest;

pub use check::{CheckError, NoCosts, Unavailable, UnknownRule, UnknownTier};
pub use config::ConfigError;

pub(crate) use nearest::nearest;
