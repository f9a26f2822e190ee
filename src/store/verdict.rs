//! The answer of a store.

use std::time::Duration;

use smallvec::SmallVec;

use crate::clock::Timestamp;

/// The answer to all charges of a request.
#[derive(Debug, Default)]
pub struct Verdict {
    pub(crate) admitted: bool,
    /// How much detail the caller needs. Per-quota detail is most of the cost.
    pub(crate) told: Detail,
    /// When it was decided.
    pub(crate) now: Timestamp,
    /// One entry per quota, in the order of the charges and of the quotas in their plans; none if nobody asks.
    pub(crate) states: QuotaStates,
}

/// When a verdict has to say how the quotas stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Detail {
    #[default]
    Full,
    OnDenial,
    None,
}

/// What a verdict says of one quota.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuotaState {
    /// Units counted, this request's included if it was admitted.
    pub(crate) used: u32,
    /// When the quota has room again if it has none, else when the oldest counted unit leaves, in nanoseconds since the
    /// clock's origin; zero if nothing is counted.
    pub(crate) changes_at: u64,
}

pub(crate) type QuotaStates = SmallVec<[QuotaState; 4]>;

impl Clone for Verdict {
    /// In one copy: a derived one would go from quota to quota.
    fn clone(&self) -> Self {
        Self { states: SmallVec::from_slice(&self.states), ..*self }
    }
}

impl Verdict {
    /// Creates a verdict that says nothing of any quota yet.
    #[must_use]
    pub fn new(admitted: bool) -> Self {
        Self { admitted, ..Self::default() }
    }

    /// A verdict that is to say this much.
    #[inline]
    pub(crate) fn asked(told: Detail) -> Self {
        Self { told, ..Self::default() }
    }

    /// Appends the state of the next quota, in the order of the charges and of the quotas in their policies: the units
    /// that it counts, this request's included if it was admitted; and the time until it has room if it has none, else
    /// until the oldest of these units leaves. Both are zero if it counts none.
    pub fn push_quota(&mut self, used: u32, changes_after: Duration) {
        let changes_at = if used == 0 { 0 } else { self.now.saturating_add(changes_after).nanos() };
        self.states.push(QuotaState { used, changes_at });
    }

    /// Returns `true` if the request is admitted.
    #[must_use]
    pub const fn is_admitted(&self) -> bool {
        self.admitted
    }
}
