//! Advice: when to call a server again, as its response says.

use std::time::Duration;

use smallvec::SmallVec;

/// A response's statement about when to call again, whatever its protocol and dialect.
///
/// Advice can hold calls back, and never admits one that the caller's own policy has no room for.
///
/// ```
/// use std::time::Duration;
///
/// use tower_quota::client::Advice;
///
/// // 429, `Retry-After: 38`, and 5 calls left within the hour.
/// let advice = Advice::none()
///     .refused()
///     .wait(Duration::from_secs(38))
///     .allow(5, Duration::from_secs(3600));
/// assert!(advice.is_refusal());
/// assert_eq!(advice.wait_time(), Some(Duration::from_secs(38)));
/// assert_eq!(advice.allowances()[0].remaining(), 5);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Advice {
    is_refusal: bool,
    is_failure: bool,
    forbids_retry: bool,
    wait: Option<Duration>,
    wait_since: Since,
    allowances: SmallVec<[Allowance; 2]>,
}

/// The number of calls that are left within a time.
///
/// ```
/// use std::time::Duration;
///
/// use tower_quota::client::Advice;
///
/// let advice = Advice::none().allow(2, Duration::from_secs(41));
/// let allowance = advice.allowances()[0];
/// assert_eq!(allowance.remaining(), 2);
/// assert_eq!(allowance.within(), Duration::from_secs(41));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    remaining: u64,
    within: Duration,
    since: Since,
}

/// The moment from which a stated time counts. It is no part of what was stated, so all of them are equal.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Since {
    /// The time at which the call was sent, since the server decided about then.
    #[default]
    Sent,
    /// The time at which it was answered: for a `Retry-After`, and for everything that lasts until a date.
    Answered,
}

impl Advice {
    /// Creates advice that says nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Marks the call as refused because of a limit, and not executed.
    pub fn refused(self) -> Self {
        Self { is_refusal: true, ..self }
    }

    /// Marks the call as failed for another reason than a limit, which says nothing about remaining capacity.
    pub fn failed(self) -> Self {
        Self { is_failure: true, ..self }
    }

    /// Forbids to retry this call, however long the caller waits.
    pub fn never_retry(self) -> Self {
        Self { forbids_retry: true, ..self }
    }

    /// Forbids calls for this long after the answer. If there are several waits the longest counts.
    pub fn wait(self, wait: Duration) -> Self {
        let wait = self.wait.map_or(wait, |other| other.max(wait));
        Self { wait: Some(wait), wait_since: Since::Answered, ..self }
    }

    /// Forbids calls for this long after the call was sent.
    pub(super) fn wait_since_sent(self, wait: Duration) -> Self {
        Self { wait_since: Since::Sent, ..self.wait(wait) }
    }

    /// Allows at most `remaining` calls within this time after the call was sent.
    pub fn allow(self, remaining: u64, within: Duration) -> Self {
        self.with_allowance(Allowance::new(remaining, within, Since::Sent))
    }

    pub(super) fn with_allowance(mut self, allowance: Allowance) -> Self {
        self.allowances.push(allowance);
        self
    }

    /// Shortens a longer wait to this length.
    pub(super) fn cap_wait(self, longest: Duration) -> Self {
        Self { wait: self.wait.map(|wait| wait.min(longest)), ..self }
    }

    /// Returns `true` if the call was refused because of a limit, and not executed.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        self.is_refusal
    }

    /// Returns `true` if the call failed for another reason than a limit.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        self.is_failure
    }

    /// Returns `true` if the server forbids to retry this call.
    #[must_use]
    pub const fn forbids_retry(&self) -> bool {
        self.forbids_retry
    }

    /// Returns the time in which no call is to be made, if the server states one.
    #[must_use]
    pub const fn wait_time(&self) -> Option<Duration> {
        self.wait
    }

    /// Returns the numbers of calls that the server says it will take.
    #[must_use]
    pub fn allowances(&self) -> &[Allowance] {
        &self.allowances
    }

    /// Returns the moment from which the wait counts.
    pub(super) const fn wait_since(&self) -> Since {
        self.wait_since
    }

    /// Returns `true` if the call was served, which proves that there was room for it.
    pub(super) const fn is_served(&self) -> bool {
        !self.is_refusal && !self.is_failure
    }
}

impl Allowance {
    pub(super) const fn new(remaining: u64, within: Duration, since: Since) -> Self {
        Self { remaining, within, since }
    }

    /// Returns the number of calls that are left.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Returns the time within which no more calls than that are left.
    #[must_use]
    pub const fn within(&self) -> Duration {
        self.within
    }

    /// Returns `true` if the time counts from the answer on, as it does for whatever lasts until a date.
    pub(super) const fn is_since_answered(&self) -> bool {
        matches!(self.since, Since::Answered)
    }

    /// Returns the moment from which the time counts.
    pub(super) const fn since(&self) -> Since {
        self.since
    }
}

impl PartialEq for Since {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Since {}
