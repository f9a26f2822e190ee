//! What a request has been charged already.

use std::hash::BuildHasher;

use smallvec::SmallVec;

use crate::key::Charge;

/// What a request has been charged, told to the mounts of the limiter further in.
///
/// It is told to this very request: a copy of it was charged nothing. So the parts of a batch, which are given the extensions
/// of the request that they came in, pay for themselves, and so does each further attempt of a request that is retried.
#[derive(Debug, Default)]
pub(crate) struct ChargeMarks(SmallVec<[ChargeMark; 2]>);

/// A charge in short, because a charge is large and decisions are moved often: its scope, and 32 bits of a hash of its key with
/// a secret of the limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChargeMark {
    scope: u32,
    key: u32,
}

impl ChargeMark {
    pub(crate) fn new(charge: &Charge, secret: &impl BuildHasher) -> Self {
        Self { scope: charge.scope(), key: secret.hash_one(charge.key()) as u32 }
    }

    /// Whether somebody was charged there.
    pub(crate) const fn is_in(self, scope: u32) -> bool {
        self.scope == scope
    }
}

impl ChargeMarks {
    pub(crate) fn new(charges: &[Charge], secret: &impl BuildHasher) -> Self {
        Self(charges.iter().map(|charge| ChargeMark::new(charge, secret)).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &ChargeMark> {
        self.0.iter()
    }
}

impl Clone for ChargeMarks {
    fn clone(&self) -> Self {
        Self::default()
    }
}
