//! The answer to whether there is room for a cost.

/// The answer to whether there is room for a cost. Later is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Room {
    /// Every window has room now.
    Now,
    /// Every window has room from this tick on, if nothing else is charged. Give-backs may make it earlier.
    At(u64),
    /// The cost is larger than a limit.
    Never,
}

impl Room {
    /// Returns the tick in which there is room, or `None` if there is now. A cost that never has room has it in the last tick.
    pub(super) const fn tick(self) -> Option<u64> {
        match self {
            Self::Now => None,
            Self::At(tick) => Some(tick),
            Self::Never => Some(u64::MAX),
        }
    }
}
