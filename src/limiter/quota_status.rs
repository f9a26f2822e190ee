//! How one quota stands in a decision.

use std::{borrow::Cow, cmp::Reverse, fmt, time::Duration};

use bytes::Bytes;

use crate::{
    limiter::CompiledRule,
    policy::{PolicyName, Quota},
    store::{QuotaState, Verdict},
};

/// By how much a wait may exceed its window for the rounding of what is recorded.
const SURPLUS: Duration = Duration::from_millis(1);

/// How one quota stands.
#[derive(Clone, Copy)]
pub struct QuotaStatus<'a> {
    rule: &'a CompiledRule,
    quota: &'a Quota,
    policy_name: &'a PolicyName,
    state: QuotaState,
    verdict: &'a Verdict,
}

impl<'a> QuotaStatus<'a> {
    #[inline]
    pub(crate) const fn new(
        rule: &'a CompiledRule,
        quota: &'a Quota,
        policy_name: &'a PolicyName,
        state: QuotaState,
        verdict: &'a Verdict,
    ) -> Self {
        Self { rule, quota, policy_name, state, verdict }
    }

    /// The rule that holds the quota.
    #[must_use]
    pub fn rule(&self) -> &'a str {
        self.rule.name()
    }

    /// The rule's enforcement level.
    #[must_use]
    pub fn level(&self) -> &'a str {
        self.rule.level()
    }

    /// The quota's name: `minute`, `hour`, or one given.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        self.quota.name()
    }

    /// The quota itself.
    #[must_use]
    pub const fn quota(&self) -> &'a Quota {
        self.quota
    }

    /// Units per window.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.quota.limit()
    }

    /// The length of the rolling window.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.quota.window()
    }

    /// Units left, after this request was counted if it was.
    #[must_use]
    pub const fn remaining(&self) -> u32 {
        self.quota.limit().saturating_sub(self.state.used)
    }

    /// Whether the request was denied and this quota has no room.
    #[must_use]
    pub const fn is_exhausted(&self) -> bool {
        !self.verdict.admitted && self.remaining() == 0
    }

    /// Time until the quota has room again if it is exhausted, else until the oldest unit it counts leaves; zero if it
    /// counts none.
    #[must_use]
    pub const fn reset_after(&self) -> Duration {
        self.verdict.now.until(self.state.changes_at)
    }

    /// The wait as callers are told it. Recording rounds up, by a millisecond at most, so who used up a quota at once would be
    /// told more than its window.
    pub(crate) fn stated_wait(&self) -> Duration {
        let (wait, window) = (self.reset_after(), self.window());
        if wait.saturating_sub(window) <= SURPLUS { wait.min(window) } else { wait }
    }

    /// The less is left, and the longer that lasts, the tighter.
    pub(crate) const fn tightness(&self) -> (Reverse<u32>, Duration) {
        (Reverse(self.remaining()), self.reset_after())
    }

    /// The name in header fields and bodies, unique among all quotas of the limiter.
    ///
    /// It is the quota's name, and in a limiter of several rules the rule's before it: `minute`, or `bots/minute`.
    #[must_use]
    pub fn policy_name(&self) -> &'a str {
        self.policy_name.as_str()
    }

    /// The name as an item of a `RateLimit` field begins with it.
    pub(crate) const fn head(&self) -> &'a str {
        self.policy_name.head()
    }

    /// The body that was made beforehand for denials by this quota alone.
    pub(crate) fn prepared_body(&self) -> Option<Bytes> {
        self.rule.body_of(self.policy_name())
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
