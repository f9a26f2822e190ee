//! Where a call is counted.

use smallvec::SmallVec;

use crate::key::{Charge, Key};

/// Where a call is counted: of which scope, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) scope: u32,
    pub(super) key: Key,
}

/// All places of one call.
pub(super) type Places = SmallVec<[Place; 2]>;

impl From<&Charge> for Place {
    fn from(charge: &Charge) -> Self {
        Self { scope: charge.scope(), key: charge.key() }
    }
}
