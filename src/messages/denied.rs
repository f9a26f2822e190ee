//! A stream whose next message was denied.

use std::{error::Error, fmt};

use crate::limiter::Decision;

/// The error at the end of a stream whose next message was denied. Its text is that for the caller.
///
/// With feature `tonic` its source is a `tonic::Status`, so that is what tonic's handlers get from their streams.
#[derive(Debug)]
pub struct MessageDenied {
    decision: Decision,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl MessageDenied {
    pub(super) fn new(decision: Decision) -> Self {
        let source = resource_exhausted(decision.message().unwrap_or_default());
        Self { decision, source }
    }

    /// The decision, which denied.
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }
}

impl fmt::Display for MessageDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.decision.message().unwrap_or_default())
    }
}

impl Error for MessageDenied {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// The error of tonic's that a handler finds when its stream of requests ends for want of room.
#[cfg(feature = "tonic")]
fn resource_exhausted(message: String) -> Option<Box<dyn Error + Send + Sync>> {
    Some(tonic::Status::resource_exhausted(message).into())
}

#[cfg(not(feature = "tonic"))]
fn resource_exhausted(_: String) -> Option<Box<dyn Error + Send + Sync>> {
    None
}
