//! A key in a scope: the name of one history.

use std::fmt;

use crate::key::Key;

/// One history to charge with one unit: the history of a key in a scope.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Charge {
    pub(crate) scope: u32,
    pub(crate) key: Key,
}

impl Charge {
    /// Returns a number that is the same for all keys with the same first part, to keep their histories in one place.
    #[must_use]
    pub const fn tenant(&self) -> u32 {
        self.key.tenant()
    }

    /// Returns the number of the scope among those of the [`Setup`](crate::store::Setup).
    #[must_use]
    pub const fn scope(&self) -> u32 {
        self.scope
    }

    /// Returns the key that is charged.
    #[must_use]
    pub const fn key(&self) -> Key {
        self.key
    }
}

impl fmt::Debug for Charge {
    /// Without the tenant, which is made of the key: that is other people's identity.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge").field("scope", &self.scope).field("key", &self.key).finish_non_exhaustive()
    }
}
