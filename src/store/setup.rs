//! What a store is told before it is asked anything.

use std::sync::Arc;

use crate::{clock::Clock, store::Scopes};

/// What a store is told before it is asked anything.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(crate) scopes: Scopes,
    pub(crate) max_keys: usize,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Setup {
    /// The sets of histories that charges will name.
    #[must_use]
    pub const fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// How many histories to keep in this process at most.
    #[must_use]
    pub const fn max_keys(&self) -> usize {
        self.max_keys
    }

    /// The clock of this process. A store that is shared has one of its own.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}
