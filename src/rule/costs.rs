//! The costs of a rule's requests, and when they are known.

use std::{fmt, sync::Arc};

use crate::{
    cost::{Cost, MessageCost},
    error::ConfigError,
    outcome::Outcome,
    policy::{Policy, Quota, check_name},
    request::RequestKind,
    wire::REQUESTS,
};

/// The treatment of a reservation that nobody has settled by the end of the response, or when its body was dropped.
///
/// ```
/// use tower_quota::{Policy, Rule, Unsettled, cost, key};
///
/// let tokens = Rule::new("tokens")
///     .every_request()
///     .key(key::header("x-user"))
///     .policy(Policy::per_minute(20_000))
///     .reserve("tokens", cost::header("x-estimated-tokens").or(2000))
///     .unsettled(Unsettled::Observed);
/// # let _ = tokens;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsettled {
    /// The estimate counts, so that nobody gains by hanging up.
    #[default]
    Keep,
    /// The units that were [observed](crate::Reservation::observe) count; the estimate, if none were.
    Observed,
    /// Nothing counts.
    Release,
}

/// A closure that says which outcomes count.
pub(crate) type Counts = Arc<dyn for<'a> Fn(&Outcome<'a>) -> bool + Send + Sync>;

/// The costs of a rule's requests. A rule that says nothing of them counts requests.
#[derive(Clone)]
pub(crate) struct Costs<K: RequestKind> {
    pub(super) unit: Option<String>,
    pub(super) source: Option<Arc<dyn Cost<K>>>,
    pub(super) is_estimate: bool,
    pub(super) unsettled: Option<Unsettled>,
    pub(super) counts: Option<Counts>,
    /// What each message of a call costs, beside the call.
    pub(super) message: Option<Arc<dyn MessageCost>>,
}

/// What happens to a cost when the outcome of its request is known.
#[derive(Clone)]
pub(crate) enum Settling {
    /// The handler says what it was.
    Reserved(Unsettled),
    /// It is given back unless the outcome counts.
    ByOutcome(Counts),
}

impl<K: RequestKind> Costs<K> {
    /// Returns `true` if requests may cost other than one unit, or may be given back.
    pub(crate) fn are_any(&self) -> bool {
        self.source.is_some() || self.counts.is_some()
    }

    /// Returns the name of the units.
    pub(crate) fn unit(&self) -> &str {
        self.unit.as_deref().unwrap_or(REQUESTS)
    }

    /// Returns the source of the cost; `None` if it is one unit.
    pub(crate) const fn source(&self) -> Option<&Arc<dyn Cost<K>>> {
        self.source.as_ref()
    }

    /// Returns the source of what each message of a call costs; `None` if that is what the call costs.
    pub(crate) const fn message(&self) -> Option<&Arc<dyn MessageCost>> {
        self.message.as_ref()
    }

    /// Returns what happens to the cost later, if anything does.
    pub(crate) fn settling(&self) -> Option<Settling> {
        match &self.counts {
            Some(counts) => Some(Settling::ByOutcome(Arc::clone(counts))),
            None if self.is_estimate => Some(Settling::Reserved(self.unsettled.unwrap_or_default())),
            None => None,
        }
    }

    /// Finds the first mistake beside the rule's own policy, those of its tiers, and the costs of groups of routes.
    pub(super) fn check(&self, policy: &Policy, tiers: &[Policy], of_groups: &[u64]) -> Result<(), ConfigError> {
        if let Some(unit) = &self.unit {
            check_name("unit", unit)?;
        }
        let refuse = |field: &str, value: &dyn fmt::Display, reason: &str| Err(ConfigError::new(field, value, reason));
        if self.unsettled.is_some() && !self.is_estimate {
            return refuse(
                "unsettled",
                &"",
                "the rule reserves nothing: write .reserve(..) as well, or leave this out",
            );
        }
        if self.counts.is_some() && self.is_estimate {
            let reason =
                "a cost that is settled counts as settled, whatever the outcome: leave out the one or the other";
            return refuse("count_only", &"", reason);
        }
        if self.settling().is_some() && policy.counts_denied() {
            let reason = "denials count under this policy, and have nothing to settle: leave out count_denied";
            return refuse("count_denied", &true, reason);
        }
        if self.source.is_none() && !of_groups.is_empty() {
            let reason = "the rule counts requests: name its units with .cost(\"points\", 1)";
            return refuse("routes_costing", &"", reason);
        }
        if self.message.is_some() && (self.source.is_none() || self.settling().is_some()) {
            let reason = "messages are charged as they come, beside what the call costs: write .cost(\"bytes\", 0) as well, and \
                          neither .reserve(..) nor .count_only(..)";
            return refuse("message_cost", &"", reason);
        }
        let Some(source) = &self.source else { return Ok(()) };
        source.validate()?;
        let fixed_of_message = self.message.as_ref().and_then(|message| message.fixed());
        let mut fixed = source.fixed().into_iter().chain(of_groups.iter().copied()).chain(fixed_of_message);
        fixed.try_for_each(|cost| self.check_fixed(cost, policy, tiers))?;
        let is_variable = source.fixed().is_none() || self.message.is_some() && fixed_of_message.is_none();
        match policy.quotas().find(|quota| quota.limit() == 1 && is_variable) {
            Some(quota) => {
                let reason = "a quota of 1 admits no cost of 2: let a rule of its own space the requests";
                Err(ConfigError::new("quotas", quota, reason))
            }
            None => Ok(()),
        }
    }

    /// Refuses a cost that no tier of the rule would ever admit.
    fn check_fixed(&self, cost: u64, policy: &Policy, tiers: &[Policy]) -> Result<(), ConfigError> {
        let lacking = |policy: &Policy| policy.quotas().filter(|quota| quota.limit() < cost).map(Quota::limit).min();
        if tiers.iter().any(|tier| lacking(tier).is_none()) {
            return Ok(());
        }
        let Some(quota) = policy.quotas().filter(|quota| quota.limit() < cost).min_by_key(|quota| quota.limit()) else {
            return Ok(());
        };
        let reason = format!(
            "the rule would admit no request: at most {} {} are admitted {}",
            quota.limit(),
            self.unit(),
            quota.per()
        );
        Err(ConfigError::new("cost", cost, reason))
    }
}

impl<K: RequestKind> Default for Costs<K> {
    fn default() -> Self {
        Self { unit: None, source: None, is_estimate: false, unsettled: None, counts: None, message: None }
    }
}

impl<K: RequestKind> fmt::Debug for Costs<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Costs")
            .field("unit", &self.unit())
            .field("fixed", &self.source.as_ref().and_then(|source| source.fixed()))
            .field("is_estimate", &self.is_estimate)
            .field("counts_outcomes", &self.counts.is_some())
            .field("counts_messages", &self.message.is_some())
            .finish()
    }
}
