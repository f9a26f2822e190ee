//! A rule that governs a request.

use crate::{key::Key, limiter::CompiledRule, policy::Policy};

/// A rule that governs a request, and the key that it counts; found by [`RateLimiter::matching`](crate::RateLimiter::matching).
#[derive(Clone, Copy, Debug)]
pub struct MatchedRule<'a> {
    rule: &'a CompiledRule,
    key: Option<Key>,
}

impl<'a> MatchedRule<'a> {
    pub(super) const fn new(rule: &'a CompiledRule, key: Option<Key>) -> Self {
        Self { rule, key }
    }

    /// Whether it is the same rule with the same key.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self.rule, other.rule) && self.key == other.key
    }

    /// Returns the rule's name.
    #[must_use]
    pub fn rule(&self) -> &'a str {
        self.rule.name()
    }

    /// Returns the enforcement level.
    #[must_use]
    pub fn level(&self) -> &'a str {
        self.rule.level()
    }

    /// Returns the key, as [`RateLimiter::key`](crate::RateLimiter::key) makes it; none if the request does not carry it.
    #[must_use]
    pub const fn key(&self) -> Option<Key> {
        self.key
    }

    /// Returns the policy.
    #[must_use]
    pub const fn policy(&self) -> &'a Policy {
        self.rule.policy()
    }
}
