//! The settings of responses that need no code, which a limiter has ready for its layers.
//!
//! * [`Headers`]: the header fields that describe quotas.
//! * [`ResponseSettings`]: these and all others.

mod headers;
mod settings;

pub use headers::{Headers, LegacyReset};
pub use settings::{CallerProtocol, DecisionIn, OnConflict, RefusalFormat};

pub(crate) use settings::ResponseSettings;
