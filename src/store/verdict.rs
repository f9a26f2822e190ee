//! What is asked of a store, and what it answers.

use smallvec::SmallVec;

use crate::{clock::Moment, key::Key};

/// One history to charge: whose it is, and under which plan it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    /// The number of the plan among those the store was built with.
    pub(crate) scope: u32,
    pub(crate) key: Key,
}

/// The answer to all charges of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) admitted: bool,
    /// When it was decided.
    pub(crate) now: Moment,
    /// One entry per quota, in the order of the charges and of the quotas in their plans.
    pub(crate) states: QuotaStates,
}

/// What a verdict says of one quota.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuotaState {
    /// Units counted, this request's included if it was admitted.
    pub(crate) used: u32,
    /// The millisecond in which the quota has room again if it has none, else the one in which the oldest counted unit
    /// leaves; zero if nothing is counted.
    pub(crate) changes_at: u64,
}

pub(crate) type QuotaStates = SmallVec<[QuotaState; 4]>;
