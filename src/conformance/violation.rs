//! The guarantees of a store, and the violation of one.

use std::fmt;

/// A guarantee of a store, in the order of the [crate's documentation](crate#guarantees).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Guarantee {
    /// P1: at most N units in any interval of the window's length.
    NeverMoreThanN,
    /// P2: a request is denied only if some quota has no room.
    NeverDeniedWithRoom,
    /// P3: a request is admitted by all quotas, rules and keys or charged to none.
    AllOrNothing,
    /// P4: sleeping for the stated wait succeeds, and the wait is not longer than it has to be.
    TrueWait,
    /// P5: a denial costs nothing, unless the policy says so.
    FreeDenial,
    /// P6: nothing live is forgotten.
    NothingForgotten,
    /// The contract of [`Store`](crate::store::Store): it answers, peeks without charging, and resets.
    Contract,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NeverMoreThanN => "P1, never more than N",
            Self::NeverDeniedWithRoom => "P2, never denied with room",
            Self::AllOrNothing => "P3, all or nothing",
            Self::TrueWait => "P4, the wait is true",
            Self::FreeDenial => "P5, a denial costs nothing",
            Self::NothingForgotten => "P6, nothing live is forgotten",
            Self::Contract => "the contract of Store",
        })
    }
}

/// A guarantee that a store does not keep, and how that was seen.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{guarantee}: {details}")]
pub struct Violation {
    guarantee: Guarantee,
    details: Box<str>,
}

impl Violation {
    pub(super) fn new(guarantee: Guarantee, details: impl Into<String>) -> Self {
        Self { guarantee, details: details.into().into() }
    }

    /// Returns the guarantee that is not kept.
    #[must_use]
    pub const fn guarantee(&self) -> Guarantee {
        self.guarantee
    }

    /// Returns what was asked and answered, with the seed of a random schedule.
    #[must_use]
    pub fn details(&self) -> &str {
        &self.details
    }

    /// Names the scenario or the schedule in which it was seen.
    pub(super) fn during(self, what: impl fmt::Display) -> Self {
        Self { details: format!("{what}: {}", self.details).into(), ..self }
    }
}

/// Fails with a violation of `guarantee` unless that is `kept`.
pub(super) fn ensure(kept: bool, guarantee: Guarantee, details: impl FnOnce() -> String) -> Result<(), Violation> {
    if kept { Ok(()) } else { Err(Violation::new(guarantee, details())) }
}
