//! What a store promises.

use std::fmt;

/// What a store promises, in the order of the [crate's documentation](crate#what-is-promised).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Promise {
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
    /// It answers, looks without charging, and forgets what it is told to forget.
    DoesAsTold,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NeverMoreThanN => "P1, never more than N",
            Self::NeverDeniedWithRoom => "P2, never denied with room",
            Self::AllOrNothing => "P3, all or nothing",
            Self::TrueWait => "P4, the wait is true",
            Self::FreeDenial => "P5, a denial costs nothing",
            Self::NothingForgotten => "P6, nothing live is forgotten",
            Self::DoesAsTold => "the store does as it is told",
        })
    }
}
