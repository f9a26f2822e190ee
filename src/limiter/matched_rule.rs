//! A rule that governs a request, as users see it.

use std::{fmt, sync::Arc};

use crate::{
    key::{Charge, Key},
    limiter::{CompiledRule, RuleTier, RulebookRef},
    policy::{Enforcement, Policy},
};

/// A rule that governs a request, and the key that it counts.
///
/// [`RateLimiter::matching`](crate::RateLimiter::matching) finds them.
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
///
/// let limiter = RateLimiter::builder()
///     .rule(
///         Rule::new("bots")
///             .routes(["POST /bots/{botId}/export"])
///             .key(key::path("botId"))
///             .level("bot")
///             .policy(Policy::per_minute(60)),
///     )
///     .build()?;
///
/// let request = Request::post("/bots/st-1/export").body(())?;
/// let matched = limiter.matching(&RequestView::new(&request));
/// assert_eq!((matched[0].rule(), matched[0].level()), ("bots", "bot"));
/// assert_eq!(matched[0].key(), Some(limiter.key("st-1")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MatchedRule {
    rulebook: Arc<RulebookRef>,
    rule: RuleTier,
    scope: u32,
    units: u64,
    key: Option<Key>,
}

impl MatchedRule {
    pub(super) const fn new(rulebook: Arc<RulebookRef>, rule: RuleTier, charge: &Charge, key: Option<Key>) -> Self {
        Self { rulebook, rule, scope: charge.scope(), units: charge.units, key }
    }

    /// Makes the larger cost of two the one that counts.
    pub(super) fn include(&mut self, same: &Self) {
        self.units = self.units.max(same.units);
    }

    /// Returns `true` if it is the same rule with the same key, and so the same history.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.rule == other.rule && self.scope == other.scope && self.key == other.key
    }

    /// Returns the rule's name.
    #[must_use]
    pub fn rule(&self) -> &str {
        self.compiled().name()
    }

    /// Returns the enforcement level.
    #[must_use]
    pub fn level(&self) -> &str {
        self.compiled().level()
    }

    /// Returns the number of the scope, as [`Charge::scope`](crate::store::Charge::scope) does: with the key it names the
    /// history. A rule has one scope, or [one for each route](crate::Rule::per_route).
    #[must_use]
    pub const fn scope(&self) -> u32 {
        self.scope
    }

    /// Returns the units that the request [costs](crate::Rule::cost): 1 if the rule counts requests, the estimate if it
    /// [reserves](crate::Rule::reserve).
    #[must_use]
    pub const fn units(&self) -> u64 {
        self.units
    }

    /// Returns the key, as [`RateLimiter::key`](crate::RateLimiter::key) makes it, or `None` if the request does not carry it.
    #[must_use]
    pub const fn key(&self) -> Option<Key> {
        self.key
    }

    /// Returns the name of the [tier](crate::Rule::tier) of this key, or `None` if the rule's own policy is for it.
    #[must_use]
    pub fn tier(&self) -> Option<&str> {
        self.compiled().tier(self.rule.tier).name()
    }

    /// Returns the policy that the key is held to.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        self.compiled().tier(self.rule.tier).policy()
    }

    /// Returns the enforcement of the rule at the time of the question.
    #[must_use]
    pub const fn enforcement(&self) -> Enforcement {
        self.rule.enforcement
    }

    fn compiled(&self) -> &CompiledRule {
        self.rulebook.rule(self.rule.rule)
    }
}

impl fmt::Debug for MatchedRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MatchedRule")
            .field("rule", &self.rule())
            .field("level", &self.level())
            .field("tier", &self.tier())
            .field("key", &self.key)
            .finish()
    }
}
