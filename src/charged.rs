//! What a request has been charged already.

use smallvec::SmallVec;

use crate::store::Charge;

/// What a request has been charged, told to the mounts of the limiter further in.
///
/// It is told to this very request: a copy of it was charged nothing. So the parts of a batch, which are given the extensions
/// of the request that they came in, pay for themselves, and so does each further attempt of a request that is retried.
#[derive(Debug, Default)]
pub(crate) struct Charged(SmallVec<[Charge; 2]>);

impl Charged {
    pub(crate) fn new(charges: &[Charge]) -> Self {
        Self(SmallVec::from_slice(charges))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Charge> {
        self.0.iter()
    }
}

impl Clone for Charged {
    fn clone(&self) -> Self {
        Self::default()
    }
}
