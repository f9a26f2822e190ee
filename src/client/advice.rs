//! What a server has said about when to call it again.

use std::time::Duration;

use smallvec::SmallVec;

/// What one answer says about when to call again, whatever the protocol and the dialect it was said in.
///
/// It is advice: it can hold calls back, and never lets one pass that the caller's own policy has no room for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Advice {
    is_refusal: bool,
    is_failure: bool,
    forbids_retry: bool,
    wait: Option<Duration>,
    wait_begins: Beginning,
    allowances: SmallVec<[Allowance; 2]>,
}

/// At most so many calls within the time that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    remaining: u64,
    within: Duration,
    begins: Beginning,
}

/// When a time begins that an answer states. That is no part of what it says, so all of them are equal.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Beginning {
    /// When the call was sent, since about then the server decided about it.
    #[default]
    Sent,
    /// When it was answered: of a wait in so many words, and of what lasts until a date.
    Answered,
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

    /// No call is to be made for this long after the answer.
    pub fn wait(self, wait: Duration) -> Self {
        let wait = self.wait.map_or(wait, |other| other.max(wait));
        Self { wait: Some(wait), wait_begins: Beginning::Answered, ..self }
    }

    /// No call is to be made for this long after the call was sent.
    pub(super) fn wait_since_sent(self, wait: Duration) -> Self {
        Self { wait_begins: Beginning::Sent, ..self.wait(wait) }
    }

    /// When the wait begins.
    pub(super) const fn wait_begins(&self) -> Beginning {
        self.wait_begins
    }

    /// The wait, cut to this length if it is longer.
    pub(super) fn wait_at_most(self, longest: Duration) -> Self {
        Self { wait: self.wait.map(|wait| wait.min(longest)), ..self }
    }

    /// At most `remaining` calls are to be made within this time after the call was sent.
    pub fn allow(self, remaining: u64, within: Duration) -> Self {
        self.allow_from(remaining, within, Beginning::Sent)
    }

    pub(super) fn allow_from(mut self, remaining: u64, within: Duration, begins: Beginning) -> Self {
        self.allowances.push(Allowance { remaining, within, begins });
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

    pub(super) const fn begins(&self) -> Beginning {
        self.begins
    }
}

impl PartialEq for Beginning {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Beginning {}
