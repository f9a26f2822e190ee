//! A rule that is checked and compiled.

use std::{fmt, ops::Range, time::Duration};

use bytes::Bytes;
use http::HeaderValue;

use crate::{
    error::ConfigError,
    key::Key,
    limiter::{answer_settings::AnswerSettings, message::MessageContext},
    policy::{Policy, PolicyName, Quota},
    request::RequestKind,
    rule::{Rule, no_policy},
    wire::policy_field,
};

/// A rule that is checked, with the texts that are made of it.
pub(crate) struct CompiledRule {
    name: String,
    level: String,
    policy: Policy,
    /// The scopes of its histories: one, or one per route.
    scopes: Range<u32>,
    policy_names: Box<[PolicyName]>,
    policy_field: HeaderValue,
    /// The body of a denial by each quota alone; empty if the wait is part of the message.
    bodies: Box<[Bytes]>,
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
#[derive(Clone, Copy, Debug)]
pub struct MatchedRule<'a> {
    rule: &'a CompiledRule,
    key: Option<Key>,
}

impl CompiledRule {
    pub(super) fn from_rule<K: RequestKind>(
        rule: &Rule<K>,
        scopes: Range<u32>,
        among_several: bool,
        answers: &AnswerSettings,
    ) -> Result<Self, ConfigError> {
        let policy = rule.policy_or_none().ok_or_else(no_policy)?.clone();
        let prefix = if among_several { format!("{}/", rule.name()) } else { String::new() };
        let policy_names: Box<[PolicyName]> =
            policy.quotas().map(|quota| PolicyName::new(&format!("{prefix}{}", quota.name()))).collect();
        Ok(Self {
            name: rule.name().to_owned(),
            level: rule.level_name().into_owned(),
            scopes,
            policy_field: policy_field(policy.quotas().zip(&policy_names))?,
            bodies: prepare_bodies(rule, &policy, &policy_names, answers),
            policy_names,
            policy,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn level(&self) -> &str {
        &self.level
    }

    pub(crate) const fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn scopes(&self) -> Range<u32> {
        self.scopes.clone()
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

    /// Returns the `RateLimit-Policy` field for this rule alone.
    pub(crate) const fn policy_field(&self) -> &HeaderValue {
        &self.policy_field
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
            .field("policy", &self.policy)
            .finish()
    }
}

impl<'a> MatchedRule<'a> {
    pub(super) const fn new(rule: &'a CompiledRule, key: Option<Key>) -> Self {
        Self { rule, key }
    }

    /// Returns `true` if it is the same rule with the same key.
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

    /// Returns the key, as [`RateLimiter::key`](crate::RateLimiter::key) makes it, or `None` if the request does not carry it.
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
