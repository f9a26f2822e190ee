//! The errors that users meet.
//!
//! * [`ConfigError`]: a mistake that is found while the limiter is built.
//! * [`UnknownRule`]: a question about a rule that does not exist.
//! * [`Unavailable`]: a store that cannot decide.
//! * [`CheckError`]: a question that got no answer, for either reason.
//! * [`nearest`] and [`visible`] help them say what was meant, and show what is there.

mod check;
mod config;
mod nearest;
mod unavailable;
mod visible;

pub use check::CheckError;
pub use config::{ConfigError, UnknownRule};
pub use unavailable::Unavailable;

pub(crate) use nearest::nearest;
