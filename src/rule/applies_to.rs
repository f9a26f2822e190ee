//! Which requests a rule governs.

use std::fmt;

use crate::request::{Condition, RequestKind};

/// Which requests a rule governs.
#[derive(Clone)]
pub(crate) enum AppliesTo<K: RequestKind> {
    Routes,
    EveryRequest,
    Unmatched,
    /// None: it is only asked by name.
    NoRequests,
    /// Matching for which it holds.
    Matching(Condition<K>),
}

impl<K: RequestKind> fmt::Debug for AppliesTo<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Routes => "Routes",
            Self::EveryRequest => "EveryRequest",
            Self::Unmatched => "Unmatched",
            Self::NoRequests => "NoRequests",
            Self::Matching(_) => "Matching",
        })
    }
}
