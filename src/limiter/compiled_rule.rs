//! A rule that is checked and compiled.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderValue;

use crate::{
    error::ConfigError,
    key::{ChargeTarget, Key},
    limiter::{AnswerSettings, RulebookRef, message::MessageContext},
    policy::{Enforcement, Policy, PolicyName, Quota},
    request::RequestKind,
    rule::{Rule, RuleId},
    wire::policy_field,
};

/// A rule that is checked, with the texts that are made of it.
pub(crate) struct CompiledRule {
    name: String,
    level: String,
    /// The targets of its charges: for all routes, or for each of them, one for each tier.
    targets: Box<[Box<[ChargeTarget]>]>,
    /// The rule's own policy comes first.
    tiers: Box<[CompiledTier]>,
    /// As the rule was given, whatever holds at run time.
    enforcement: Enforcement,
}

/// A policy of a rule, with the texts that are made of it.
pub(crate) struct CompiledTier {
    /// `None` for the rule's own policy.
    name: Option<Box<str>>,
    policy: Policy,
    policy_names: Box<[PolicyName]>,
    policy_field: Option<HeaderValue>,
    /// The body of a denial by each quota alone; empty if the wait is part of the message.
    bodies: Box<[Bytes]>,
}

/// A rule of a rulebook, the tier by which it judges, and its enforcement at that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RuleTier {
    pub(crate) rule: RuleId,
    /// The index among the tiers of the rule; zero for its own policy.
    pub(crate) tier: u16,
    pub(crate) enforcement: Enforcement,
}

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
    key: Option<Key>,
}

impl CompiledRule {
    pub(super) fn from_rule<K: RequestKind>(
        rule: &Rule<K>,
        targets: Box<[Box<[ChargeTarget]>]>,
        among_several: bool,
        answers: &AnswerSettings,
    ) -> Result<Self, ConfigError> {
        let prefix = if among_several { format!("{}/", rule.name()) } else { String::new() };
        let tiers = rule.policies()?.into_iter().map(|(name, policy)| {
            let policy_names: Box<[PolicyName]> =
                policy.quotas().map(|quota| PolicyName::new(&format!("{prefix}{}", quota.name()))).collect();
            Ok(CompiledTier {
                name: name.map(Into::into),
                policy_field: match &*policy_names {
                    [] => None,
                    names => Some(policy_field(policy.quotas().zip(names))?),
                },
                bodies: prepare_bodies(rule, &policy, &policy_names, answers),
                policy_names,
                policy,
            })
        });
        let tiers = tiers.collect::<Result<_, ConfigError>>()?;
        Ok(Self {
            name: rule.name().to_owned(),
            level: rule.level_name().into_owned(),
            targets,
            tiers,
            enforcement: rule.configured_enforcement(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn level(&self) -> &str {
        &self.level
    }

    /// Returns the enforcement that the rule was given.
    pub(crate) const fn configured_enforcement(&self) -> Enforcement {
        self.enforcement
    }

    /// Returns the rule's own policy.
    pub(crate) fn policy(&self) -> &Policy {
        self.tier(0).policy()
    }

    /// Returns a tier; the rule's own policy if there is no such tier.
    pub(crate) fn tier(&self, tier: u16) -> &CompiledTier {
        self.tiers.get(usize::from(tier)).unwrap_or(&self.tiers[0])
    }

    /// Returns all tiers, the rule's own policy first.
    pub(crate) fn tiers(&self) -> &[CompiledTier] {
        &self.tiers
    }

    /// Returns the index of the tier of this name.
    pub(crate) fn tier_named(&self, name: &str) -> Option<u16> {
        self.tiers.iter().position(|tier| tier.name() == Some(name)).map(|at| at as u16)
    }

    /// Returns the target of charges on route `route`, or on all routes, by a tier.
    pub(crate) fn target(&self, route: usize, tier: u16) -> ChargeTarget {
        let tiers = self.targets.get(route).unwrap_or(&self.targets[0]);
        tiers.get(usize::from(tier)).copied().unwrap_or(tiers[0])
    }

    /// Returns the targets of charges on each route that has histories of its own, by a tier.
    pub(crate) fn targets(&self, tier: u16) -> impl Iterator<Item = ChargeTarget> {
        (0..self.targets.len()).map(move |route| self.target(route, tier))
    }
}

impl CompiledTier {
    /// Returns the name, or `None` for the rule's own policy.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns the names of the quotas in header fields and bodies, in the order of the policy.
    pub(crate) fn policy_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.policy_names.iter().map(PolicyName::as_str)
    }

    /// Returns the body of a denial by this quota alone, if it could be prepared.
    pub(crate) fn prepared_body(&self, policy_name: &str) -> Option<Bytes> {
        let at = self.policy_names.iter().position(|name| name.as_str() == policy_name)?;
        self.bodies.get(at).cloned()
    }

    /// Returns the `RateLimit-Policy` field for this tier alone; `None` if it has no limits.
    pub(crate) const fn policy_field(&self) -> Option<&HeaderValue> {
        self.policy_field.as_ref()
    }

    /// Returns the quotas and their names in header fields and bodies.
    pub(crate) fn quotas(&self) -> impl Iterator<Item = (&Quota, &PolicyName)> {
        self.policy().quotas().zip(&*self.policy_names)
    }
}

impl fmt::Debug for CompiledRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("name", &self.name)
            .field("level", &self.level)
            .field("policy", self.policy())
            .finish_non_exhaustive()
    }
}

impl MatchedRule {
    pub(super) const fn new(rulebook: Arc<RulebookRef>, rule: RuleTier, key: Option<Key>) -> Self {
        Self { rulebook, rule, key }
    }

    /// Returns `true` if it is the same rule with the same key.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.rule == other.rule && self.key == other.key
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

    /// Returns the key, as [`RateLimiter::key`](crate::RateLimiter::key) makes it, or `None` if the request does not carry it.
    #[must_use]
    pub const fn key(&self) -> Option<Key> {
        self.key
    }

    /// Returns the name of the [tier](Rule::tier) of this key, or `None` if the rule's own policy is for it.
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

/// Makes the body of a denial by each quota alone, unless the wait is part of the message.
fn prepare_bodies<K: RequestKind>(
    rule: &Rule<K>,
    policy: &Policy,
    names: &[PolicyName],
    answers: &AnswerSettings,
) -> Box<[Bytes]> {
    let level = rule.level_name();
    let bodies = policy.quotas().zip(names).map(|(quota, name)| {
        let context = MessageContext { rule: rule.name(), level: &level, quota, retry_after: Duration::ZERO };
        answers.prepare_body(&context, name.as_str())
    });
    bodies.collect::<Option<_>>().unwrap_or_default()
}
