//! The status of one quota in a decision.

use std::{borrow::Cow, cmp::Reverse, fmt, time::Duration};

use bytes::Bytes;

use crate::{
    limiter::{CompiledRule, CompiledTier, message::MessageContext, whole_seconds},
    policy::{Enforcement, PolicyName, Quota},
    store::{QuotaState, Verdict},
};

/// The maximum by which a wait exceeds its window, because recording rounds up to a tick.
const SURPLUS: Duration = Duration::from_millis(1);

/// The wait that callers are told of units that may come back at any moment.
const HELD_WAIT: Duration = Duration::from_secs(1);

/// The status of one quota in a [`Decision`](crate::Decision).
///
/// ```
/// use std::time::Duration;
///
/// use tower_quota::{Policy, RateLimiter, Rule, clock::ManualClock};
///
/// let clock = ManualClock::new();
/// let jobs = Rule::new("jobs").no_requests().policy(Policy::per_minute(2));
/// let limiter = RateLimiter::builder().clock(clock.clone()).rule(jobs).build()?;
///
/// let jobs = limiter.rule("jobs")?;
/// jobs.check("acme");
/// clock.advance(Duration::from_secs(20));
/// let decision = jobs.check("acme");
/// let minute = decision.quotas().next().ok_or("a policy has a quota")?;
///
/// assert_eq!((minute.rule(), &*minute.name()), ("jobs", "minute"));
/// assert_eq!((minute.limit(), minute.window()), (2, Duration::from_secs(60)));
/// assert_eq!(minute.remaining(), 0);
/// assert!(!minute.is_exhausted(), "it admitted the request");
/// assert_eq!(minute.reset_after(), Duration::from_secs(40));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct QuotaStatus<'a> {
    rule: &'a CompiledRule,
    tier: &'a CompiledTier,
    enforcement: Enforcement,
    quota: &'a Quota,
    policy_name: &'a PolicyName,
    state: QuotaState,
    verdict: &'a Verdict,
    cost: u64,
    /// The units of requests in flight among those that it counts.
    held: u64,
}

impl<'a> QuotaStatus<'a> {
    #[inline]
    pub(crate) const fn new(
        (rule, tier, enforcement): (&'a CompiledRule, &'a CompiledTier, Enforcement),
        quota: &'a Quota,
        policy_name: &'a PolicyName,
        state: QuotaState,
        verdict: &'a Verdict,
    ) -> Self {
        Self { rule, tier, enforcement, quota, policy_name, state, verdict, cost: 1, held: 0 }
    }

    /// Adds what the request costs, and the units of requests in flight.
    pub(super) const fn with_cost(self, cost: u64, held: u64) -> Self {
        Self { cost, held, ..self }
    }

    /// Returns the name of the rule that the quota belongs to.
    #[must_use]
    pub fn rule(&self) -> &'a str {
        self.rule.name()
    }

    /// Returns the rule's enforcement level.
    #[must_use]
    pub fn level(&self) -> &'a str {
        self.rule.level()
    }

    /// Returns the name of the [tier](crate::Rule::tier) that the key is in, or `None` if the rule's own policy is for it.
    #[must_use]
    pub fn tier(&self) -> Option<&'a str> {
        self.tier.name()
    }

    /// Returns the enforcement of the rule when this was decided.
    #[must_use]
    pub const fn enforcement(&self) -> Enforcement {
        self.enforcement
    }

    /// Returns the quota's name: `minute`, `hour`, or the one that it was given.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        self.quota.name()
    }

    /// Returns the quota itself.
    #[must_use]
    pub const fn quota(&self) -> &'a Quota {
        self.quota
    }

    /// Returns the limit: units per window.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.quota.limit()
    }

    /// Returns the length of the rolling window.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.quota.window()
    }

    /// Returns the units that are left, this request's deducted if it was charged.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.quota.limit().saturating_sub(self.state.used)
    }

    /// Returns the units that it counts.
    pub(crate) const fn used(&self) -> u64 {
        self.state.used
    }

    /// Returns the name of the units that the limit is of: `requests`, unless the rule has a [cost](crate::Rule::cost).
    #[must_use]
    pub fn unit(&self) -> &'a str {
        self.rule.unit()
    }

    /// Returns the units that the request costs.
    #[must_use]
    pub const fn cost(&self) -> u64 {
        self.cost
    }

    /// Returns `true` if the request was denied and this quota has no room for its cost. Quotas that are not
    /// [enforced](crate::Enforcement) deny nothing.
    #[must_use]
    pub const fn is_exhausted(&self) -> bool {
        !self.verdict.admitted && self.lacks_room() && self.enforcement.is_enforced()
    }

    /// Returns `true` if there is no room beside what is counted: for the request that was denied, or for another one of the
    /// same cost.
    #[must_use]
    pub const fn lacks_room(&self) -> bool {
        self.state.used.saturating_add(self.cost) > self.limit()
    }

    /// Returns `true` if the request costs more than the limit, so that waiting does not help.
    #[must_use]
    pub const fn is_never_possible(&self) -> bool {
        self.cost > self.limit()
    }

    /// Returns `true` if the request is denied only because of requests in flight, whose units may come back at any moment:
    /// reservations of this process that are not [settled](crate::Reservation::settle) yet. Callers are told to come back in a
    /// second, though the wait until these units leave the window may be longer.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        let settled = self.state.used.saturating_sub(self.held);
        self.is_exhausted() && !self.is_never_possible() && settled.saturating_add(self.cost) <= self.limit()
    }

    /// Returns the time until the quota has room again if it is exhausted, else until its oldest unit leaves the window; zero
    /// if it counts none. For a request that is [never possible](Self::is_never_possible) it is longer than any window.
    #[must_use]
    pub const fn reset_after(&self) -> Duration {
        self.verdict.now.until(self.state.changes_at)
    }

    /// Returns the wait for room, which is a second at most if units in flight are in the way.
    pub(super) fn likely_wait(&self) -> Duration {
        if self.is_held() { self.reset_after().min(HELD_WAIT) } else { self.reset_after() }
    }

    /// Returns the wait that callers are told; the window if there is never room. Recording rounds up, by a millisecond at
    /// most, so callers that used up a quota at once would be told more than its window.
    pub(crate) fn stated_wait(&self) -> Duration {
        let (wait, window) = (self.likely_wait(), self.window());
        if self.is_never_possible() {
            return window;
        }
        if wait.saturating_sub(window) <= SURPLUS { wait.min(window) } else { wait }
    }

    /// Returns what the sentence for the caller may speak of.
    pub(crate) fn context(&self) -> MessageContext<'a> {
        let (rule, level, quota, unit, cost) = (self.rule(), self.level(), self.quota, self.unit(), self.cost);
        MessageContext { rule, level, quota, unit, cost, retry_after: Duration::ZERO }
    }

    /// Returns a value to compare: a quota is tighter if less is left, or for longer.
    pub(crate) const fn tightness(&self) -> (Reverse<u64>, Duration) {
        (Reverse(self.remaining()), self.reset_after())
    }

    /// Returns the name in header fields and bodies, unique among all quotas of the limiter.
    ///
    /// It is the quota's name, `minute`, and in a limiter of several rules it has the rule's name in front: `bots/minute`.
    #[must_use]
    pub fn policy_name(&self) -> &'a str {
        self.policy_name.as_str()
    }

    /// Returns the name as a `RateLimit` field has it.
    pub(crate) const fn name_in_fields(&self) -> &'a PolicyName {
        self.policy_name
    }

    /// Returns the seconds within which no more units than the remaining ones can be used, for a `RateLimit` field.
    ///
    /// That is the wait for room if there is none, and otherwise the wait for a unit to come back, which is never longer than a
    /// window.
    pub(crate) fn effective_window(&self) -> u64 {
        let window = self.quota.window_seconds();
        match self.state.changes_at.saturating_sub(self.verdict.now.nanos()) {
            0 => window,
            _ if self.is_exhausted() => whole_seconds(self.stated_wait()),
            nanos => nanos.div_ceil(1_000_000_000).min(window),
        }
    }

    /// Returns the prepared body of denials by this quota alone.
    pub(crate) fn prepared_body(&self) -> Option<Bytes> {
        self.tier.prepared_body(self.policy_name())
    }
}

impl fmt::Debug for QuotaStatus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaStatus")
            .field("rule", &self.rule())
            .field("quota", &self.quota)
            .field("remaining", &self.remaining())
            .field("reset_after", &self.reset_after())
            .finish()
    }
}
