//! A rule that is checked and compiled.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderValue;

use crate::{
    cost::MessageCost,
    error::ConfigError,
    key::ChargeTarget,
    limiter::{AnswerSettings, message::MessageContext, policy_field::PolicyField},
    policy::{Enforcement, Policy, PolicyName, Quota},
    request::RequestKind,
    rule::{Rule, RuleId, Settling},
    wire::{REQUESTS, policy_field},
};

/// A rule that is checked, with the texts that are made of it.
pub(crate) struct CompiledRule {
    name: String,
    level: String,
    /// The targets of its charges: for all routes, or for each of them, one for each tier.
    targets: RuleTargets,
    /// The rule's own policy comes first.
    tiers: Box<[CompiledTier]>,
    /// As the rule was given, whatever holds at run time.
    enforcement: Enforcement,
    /// `None` if it counts requests.
    costs: Option<CompiledCosts>,
}

/// What requests cost under a rule.
#[derive(Clone)]
struct CompiledCosts {
    unit: Box<str>,
    /// The cost of a key that is asked about without a request.
    usual: u64,
    settling: Option<Settling>,
    message: Option<Arc<dyn MessageCost>>,
}

/// A policy of a rule, with the texts that are made of it.
pub(crate) struct CompiledTier {
    /// `None` for the rule's own policy.
    name: Option<Box<str>>,
    policy: Policy,
    policy_names: Box<[PolicyName]>,
    policy_field: Option<PolicyField>,
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

/// The limiter that rules are of, and how often these have been replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) limiter: u64,
    pub(crate) number: u64,
}

/// The targets of the charges of one rule: for all routes, or for each of them, one for each tier.
pub(crate) type RuleTargets = Box<[Box<[ChargeTarget]>]>;

impl CompiledRule {
    pub(super) fn from_rule<K: RequestKind>(
        rule: &Rule<K>,
        targets: RuleTargets,
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
                    names => {
                        let field = policy_field(policy.quotas().zip(names), rule.costs().unit())?;
                        Some(PolicyField::new(&field))
                    }
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
            costs: CompiledCosts::from_rule(rule),
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

    /// Returns `true` if requests may cost other than one unit, or may be given back.
    pub(crate) const fn has_costs(&self) -> bool {
        self.costs.is_some()
    }

    /// Returns the name of the units that the rule counts.
    pub(crate) fn unit(&self) -> &str {
        self.costs.as_ref().map_or(REQUESTS, |costs| &costs.unit)
    }

    /// Returns the cost of a key that is asked about without a request.
    pub(crate) fn usual_cost(&self) -> u64 {
        self.costs.as_ref().map_or(1, |costs| costs.usual)
    }

    /// Returns what happens to a cost later, if anything does.
    pub(crate) fn settling(&self) -> Option<&Settling> {
        self.costs.as_ref()?.settling.as_ref()
    }

    /// Returns the source of what each message of a call costs; `None` if that is what the call costs.
    pub(crate) fn message_cost(&self) -> Option<&dyn MessageCost> {
        self.costs.as_ref()?.message.as_deref()
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

impl CompiledCosts {
    fn from_rule<K: RequestKind>(rule: &Rule<K>) -> Option<Self> {
        let costs = rule.costs();
        let usual = costs.source().and_then(|source| source.fixed()).unwrap_or(1);
        let (settling, message) = (costs.settling(), costs.message().cloned());
        costs.are_any().then(|| Self { unit: costs.unit().into(), usual, settling, message })
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
    pub(crate) fn policy_field(&self) -> Option<&HeaderValue> {
        self.policy_field.as_ref()?.local()
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

/// Makes the body of a denial by each quota alone, unless the wait is part of the message.
fn prepare_bodies<K: RequestKind>(
    rule: &Rule<K>,
    policy: &Policy,
    names: &[PolicyName],
    answers: &AnswerSettings,
) -> Box<[Bytes]> {
    let level = rule.level_name();
    let bodies = policy.quotas().zip(names).map(|(quota, name)| {
        let (rule_name, unit) = (rule.name(), rule.costs().unit());
        let context =
            MessageContext { rule: rule_name, level: &level, quota, unit, cost: 1, retry_after: Duration::ZERO };
        answers.prepare_body(&context, name.as_str())
    });
    bodies.collect::<Option<_>>().unwrap_or_default()
}
