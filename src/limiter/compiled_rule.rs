//! A rule, checked and made ready.

use std::{fmt, ops::Range, time::Duration};

use bytes::Bytes;
use http::HeaderValue;

use crate::{
    error::ConfigError,
    limiter::{MessageTemplate, message::MessageContext},
    policy::{Policy, PolicyName, Quota},
    request::RequestKind,
    rule::{Rule, no_policy},
    wire::{policy_field, quota_exceeded},
};

/// A rule, checked.
pub(crate) struct CompiledRule {
    name: String,
    level: String,
    policy: Policy,
    /// The scopes of its histories: one, or one per route.
    scopes: Range<u32>,
    policy_names: Box<[PolicyName]>,
    policy_field: HeaderValue,
    /// For each quota the body of a denial by it alone, unless that differs from time to time.
    bodies: Box<[Bytes]>,
}

impl CompiledRule {
    pub(super) fn new<K: RequestKind>(
        rule: &Rule<K>,
        scopes: Range<u32>,
        among_several: bool,
        template: Option<&MessageTemplate>,
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
            bodies: prepare_bodies(rule, &policy, &policy_names, template),
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

    /// The names of the quotas in header fields and bodies, in the order of the policy.
    pub(crate) fn policy_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.policy_names.iter().map(PolicyName::as_str)
    }

    /// The body of a denial by this quota alone, if it was made beforehand.
    pub(crate) fn body_of(&self, policy_name: &str) -> Option<Bytes> {
        let at = self.policy_names.iter().position(|name| name.as_str() == policy_name)?;
        self.bodies.get(at).cloned()
    }

    /// The `RateLimit-Policy` field for this rule alone.
    pub(crate) const fn policy_field(&self) -> &HeaderValue {
        &self.policy_field
    }

    /// The quotas and their names in header fields and bodies.
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

fn prepare_bodies<K: RequestKind>(
    rule: &Rule<K>,
    policy: &Policy,
    names: &[PolicyName],
    template: Option<&MessageTemplate>,
) -> Box<[Bytes]> {
    if template.is_some_and(|template| !template.is_fixed()) {
        return Box::default();
    }
    let level = rule.level_name();
    let bodies = policy.quotas().zip(names).map(|(quota, name)| {
        let occasion = MessageContext { rule: rule.name(), level: &level, quota, retry_after: Duration::ZERO };
        quota_exceeded(&occasion.message(template), &[name.as_str()])
    });
    bodies.collect()
}
