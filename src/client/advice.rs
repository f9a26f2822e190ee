//! What a server has said about when to call it again.

use std::time::Duration;

use smallvec::SmallVec;

/// What one answer says about when to call again, whatever the protocol and the dialect it was said in.
///
/// It is advice: it can hold calls back, and never lets one pass that the caller's own policy has no room for.
///
/// Two pieces of advice are equal if they say the same, whatever it was made of.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Advice {
    is_refusal: bool,
    is_failure: bool,
    forbids_retry: bool,
    wait: Option<Duration>,
    /// The wait is what limits come to that were counted when the call was decided about, not when it was answered.
    is_as_of_call: bool,
    allowances: SmallVec<[Allowance; 2]>,
}

/// At most so many calls within the time that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    remaining: u64,
    within: Duration,
}

impl Advice {
    /// An answer that says nothing about it.
    pub fn none() -> Self {
        Self::default()
    }

    /// The call was refused because of a limit, and not executed.
    pub fn refused(self) -> Self {
        Self { is_refusal: true, ..self }
    }

    /// The call failed for another reason than a limit: that says nothing of how many calls there is room for.
    pub fn failed(self) -> Self {
        Self { is_failure: true, ..self }
    }

    /// This call is not to be made again, however long the caller waits.
    pub fn never_retry(self) -> Self {
        Self { forbids_retry: true, ..self }
    }

    /// No call is to be made for this long.
    pub fn wait(self, wait: Duration) -> Self {
        Self { wait: Some(self.wait.map_or(wait, |other| other.max(wait))), ..self }
    }

    /// Nothing was left for this long when the call was decided about.
    pub(super) fn exhausted(self, within: Duration) -> Self {
        Self { is_as_of_call: self.wait.is_none(), ..self }.wait(within)
    }

    /// Whether the wait is to be counted from when the call was sent, and not from its answer.
    pub(super) const fn is_as_of_call(&self) -> bool {
        self.is_as_of_call
    }

    /// The wait, cut to this length if it is longer.
    pub(super) fn wait_at_most(self, longest: Duration) -> Self {
        Self { wait: self.wait.map(|wait| wait.min(longest)), ..self }
    }

    /// At most `remaining` calls are to be made within the time that follows.
    pub fn allow(mut self, remaining: u64, within: Duration) -> Self {
        self.allowances.push(Allowance { remaining, within });
        self
    }

    /// Whether the call was refused because of a limit, and not executed.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        self.is_refusal
    }

    /// Whether the call failed for another reason than a limit.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        self.is_failure
    }

    /// Whether the server has said that this call is not to be made again.
    #[must_use]
    pub const fn forbids_retry(&self) -> bool {
        self.forbids_retry
    }

    /// How long no call is to be made, if the server has said so.
    #[must_use]
    pub const fn wait_time(&self) -> Option<Duration> {
        self.wait
    }

    /// Whether the call was served, so that there was room for it.
    pub(super) const fn is_served(&self) -> bool {
        !self.is_refusal && !self.is_failure
    }

    /// What the server has said about how many calls it will take.
    #[must_use]
    pub fn allowances(&self) -> &[Allowance] {
        &self.allowances
    }
}

impl Allowance {
    /// Calls that are left.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The time in which there are no more than these.
    #[must_use]
    pub const fn within(&self) -> Duration {
        self.within
    }
}

impl PartialEq for Advice {
    fn eq(&self, other: &Self) -> bool {
        let flags = |advice: &Self| [advice.is_refusal, advice.is_failure, advice.forbids_retry];
        flags(self) == flags(other) && self.wait == other.wait && self.allowances == other.allowances
    }
}

impl Eq for Advice {}
