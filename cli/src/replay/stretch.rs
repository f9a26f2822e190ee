//! Runs of refusals.

/// A time in which all requests of a key were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) from: i64,
    pub(crate) until: i64,
    pub(crate) refused: u64,
}

impl Stretch {
    pub(crate) const fn millis(self) -> i64 {
        self.until - self.from
    }

    /// Compares the time that they took, and then the requests.
    pub(crate) const fn is_longer_than(self, other: Self) -> bool {
        self.millis() > other.millis() || (self.millis() == other.millis() && self.refused > other.refused)
    }
}
