//! A rule under test: its own policy, and those of its tiers.

use std::time::Duration;

use crate::{
    policy::{Policy, Quota},
    rule::Rule,
};

const MILLI: Duration = Duration::from_millis(1);

/// The policies of a rule, which judge the same histories: its own first, then one for each tier. One without quotas is that of a
/// tier without limits.
#[derive(Clone, Debug)]
pub(super) struct TestedRule(Vec<Policy>);

impl TestedRule {
    /// Creates a rule with tiers, which have all but the quotas from the rule's `own` policy.
    pub(super) fn new(own: Policy, tiers: impl IntoIterator<Item = Option<Policy>>) -> Self {
        let tiers: Vec<Policy> = tiers.into_iter().map(|tier| own.with_quotas_of(tier.as_ref())).collect();
        Self(std::iter::once(own).chain(tiers).collect())
    }

    /// Returns the policy of a tier, by its number; the rule's own policy for 0, and for a tier that the rule does not have.
    pub(super) fn policy(&self, tier: usize) -> &Policy {
        &self.0[if tier < self.0.len() { tier } else { 0 }]
    }

    /// Returns the number of policies.
    pub(super) const fn policies(&self) -> usize {
        self.0.len()
    }

    /// Returns the name of a tier; `None` for the rule's own policy.
    pub(super) fn tier_name(tier: usize) -> Option<String> {
        (tier > 0).then(|| format!("tier-{tier}"))
    }

    pub(super) fn counts_denied(&self) -> bool {
        self.0[0].counts_denied()
    }

    /// Returns the longest window: what is younger is remembered, whichever tier it was charged in.
    pub(super) fn longest_window(&self) -> Duration {
        self.quotas().map(Quota::window).max().unwrap_or_default()
    }

    /// Returns a number of units that each history remembers, if as many were charged within the longest window.
    ///
    /// That is up to the limits. Without tiers and counted denials no history has more.
    pub(super) fn most_remembered(&self) -> usize {
        let limits = || self.quotas().map(Quota::limit);
        let most = match self.counts_denied() {
            true => limits().min(),
            false if self.policies() > 1 => limits().max(),
            false => None,
        };
        most.map_or(usize::MAX, |most| most as usize)
    }

    /// Returns by how much a unit may come back late to a quota.
    pub(super) fn lateness(&self, quota: &Quota) -> Duration {
        let is_large = if self.policies() > 1 { self.has_large() } else { quota.limit() > self.resolution() };
        self.width(is_large, quota.window())
    }

    /// Returns by how much the timestamps of a history may be rounded up when it is converted from the form of another rule, or to
    /// that.
    pub(super) fn coarseness(&self) -> Duration {
        self.width(self.has_large(), self.longest_window())
    }

    fn width(&self, is_large: bool, window: Duration) -> Duration {
        let width = if is_large { window / self.0[0].entries_per_window() } else { Duration::ZERO };
        width.max(MILLI)
    }

    fn has_large(&self) -> bool {
        self.quotas().any(|quota| quota.limit() > self.resolution())
    }

    fn resolution(&self) -> u64 {
        u64::from(self.0[0].entries_per_window())
    }

    fn quotas(&self) -> impl Iterator<Item = &Quota> {
        self.0.iter().flat_map(Policy::quotas)
    }

    /// Returns the rule under this name.
    pub(super) fn named(&self, name: &str) -> Rule {
        let rule = Rule::new(name).no_requests().policy(self.0[0].clone());
        let tiers = (1..).filter_map(Self::tier_name).zip(&self.0[1..]);
        tiers.fold(rule, |rule, (name, policy)| match policy.quotas().len() {
            0 => rule.unlimited_tier(name),
            _ => rule.tier(name, policy.clone()),
        })
    }
}

impl From<Policy> for TestedRule {
    fn from(own: Policy) -> Self {
        Self(vec![own])
    }
}
