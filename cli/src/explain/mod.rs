//! Why a rule governs a request, or does not.
//!
//! No condition is tested here: the limiter is asked again, about rules that have one condition alone.

mod explained;
mod reason;

pub(crate) use explained::{Explained, Key, explain};
pub(crate) use reason::reasons;
