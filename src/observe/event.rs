//! Events: what a limiter tells an observer.

use std::time::Duration;

use crate::{
    error::ConfigError,
    observe::{Check, KeyView, RequestOutcome, RuleOutcome, SettledOutcome},
    policy::{Enforcement, Quota},
};

/// An event of a limiter, for [`on_decision`](crate::RateLimiterBuilder::on_decision).
///
/// ```
/// use std::sync::{
///     Arc,
///     atomic::{AtomicU32, Ordering},
/// };
///
/// use tower_quota::{
///     Policy, RateLimiter, Rule,
///     observe::{Event, RuleOutcome},
/// };
///
/// let denials = Arc::new(AtomicU32::new(0));
/// let counter = Arc::clone(&denials);
/// let limiter = RateLimiter::builder()
///     .rule(Rule::new("jobs").no_requests().policy(Policy::per_minute(2)))
///     .on_decision(move |event| {
///         let Event::Decided(decided) = event else { return };
///         let denied = decided.rules().iter().filter(|rule| rule.outcome() == RuleOutcome::Denied);
///         counter.fetch_add(denied.count() as u32, Ordering::Relaxed);
///     })
///     .build()?;
///
/// let jobs = limiter.rule("jobs")?;
/// assert_eq!([jobs.admit("acme"), jobs.admit("acme"), jobs.admit("acme")], [true, true, false]);
/// assert_eq!(denials.load(Ordering::Relaxed), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request, a message, a call or a check was decided.
    Decided(&'a Decided<'a>),
    /// A reservation was settled, or ended unsettled.
    Settled(&'a Settled<'a>),
    /// The rules were replaced, or were to be.
    Reloaded(&'a Reloaded<'a>),
    /// A server of the store stopped deciding, or began again.
    Outage(&'a Outage),
    /// A probable mistake in the deployment was found.
    Warned(&'a Warned),
}

/// A decision about a request, message, call or check.
#[derive(Clone, Debug)]
pub struct Decided<'a> {
    pub(crate) outcome: RequestOutcome,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) rules: &'a [RuleDecided<'a>],
}

/// The answer of one rule to a request.
#[derive(Clone, Debug)]
pub struct RuleDecided<'a> {
    pub(crate) rule: &'a str,
    pub(crate) level: &'a str,
    pub(crate) tier: Option<&'a str>,
    pub(crate) enforcement: Enforcement,
    pub(crate) outcome: RuleOutcome,
    pub(crate) unit: &'a str,
    pub(crate) cost: u64,
    pub(crate) key: KeyView,
    pub(crate) quotas: Vec<QuotaUse<'a>>,
}

/// A quota, and how much of it is used.
#[derive(Clone, Copy, Debug)]
pub struct QuotaUse<'a> {
    pub(crate) quota: &'a Quota,
    pub(crate) used: u64,
    pub(crate) reset_after: Duration,
}

/// A reservation of one rule that was settled, or ended unsettled.
#[derive(Clone, Debug)]
pub struct Settled<'a> {
    pub(crate) rule: &'a str,
    pub(crate) tier: Option<&'a str>,
    pub(crate) unit: &'a str,
    pub(crate) key: KeyView,
    pub(crate) outcome: SettledOutcome,
    pub(crate) reserved: u64,
    pub(crate) units: u64,
    pub(crate) moved: u64,
}

/// A reload: what it has changed, or why it has changed nothing.
#[derive(Clone, Debug)]
pub struct Reloaded<'a> {
    pub(crate) result: Result<&'a [String], &'a ConfigError>,
}

/// A change of what decides: the servers of the store, or what was chosen for outages.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    pub(crate) is_over: bool,
}

/// A warning that was given: each is given once for a rule, or once for a limiter if it is about no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warned {
    pub(crate) check: Check,
    pub(crate) rule: Option<String>,
    pub(crate) text: String,
}

impl<'a> Decided<'a> {
    /// Returns the outcome of all rules together.
    #[must_use]
    pub const fn outcome(&self) -> RequestOutcome {
        self.outcome
    }

    /// Returns the wait that the caller was told; `None` if the request was not denied, or waiting does not help.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Returns the answer of each rule that looked at the request, in shadow too. None did if the outcome is
    /// [`Exempt`](RequestOutcome::Exempt), [`Ungoverned`](RequestOutcome::Ungoverned),
    /// [`MissingKey`](RequestOutcome::MissingKey) or [`Unavailable`](RequestOutcome::Unavailable), or if the store could not decide
    /// and all rules are in shadow, so that the request is [`Admitted`](RequestOutcome::Admitted).
    #[must_use]
    pub const fn rules(&self) -> &'a [RuleDecided<'a>] {
        self.rules
    }
}

impl<'a> RuleDecided<'a> {
    /// Returns the name of the rule.
    #[must_use]
    pub const fn rule(&self) -> &'a str {
        self.rule
    }

    /// Returns the rule's enforcement level.
    #[must_use]
    pub const fn level(&self) -> &'a str {
        self.level
    }

    /// Returns the tier that the key is in, or `None` for the rule's own policy.
    #[must_use]
    pub const fn tier(&self) -> Option<&'a str> {
        self.tier
    }

    /// Returns how the rule was enforced when this was decided.
    #[must_use]
    pub const fn enforcement(&self) -> Enforcement {
        self.enforcement
    }

    /// Returns the answer.
    #[must_use]
    pub const fn outcome(&self) -> RuleOutcome {
        self.outcome
    }

    /// Returns the name of the units that the rule counts.
    #[must_use]
    pub const fn unit(&self) -> &'a str {
        self.unit
    }

    /// Returns the units that the request costs.
    #[must_use]
    pub const fn cost(&self) -> u64 {
        self.cost
    }

    /// Returns the key, in the form that [`show_keys`](crate::RateLimiterBuilder::show_keys) has chosen.
    #[must_use]
    pub const fn key(&self) -> KeyView {
        self.key
    }

    /// Returns the quotas of the tier in their order. None if the tier has no limits.
    #[must_use]
    pub fn quotas(&self) -> &[QuotaUse<'a>] {
        &self.quotas
    }
}

impl<'a> QuotaUse<'a> {
    /// Returns the quota.
    #[must_use]
    pub const fn quota(&self) -> &'a Quota {
        self.quota
    }

    /// Returns the units that it counts, those of this request included if they were charged.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Returns the time until the quota has room again or, if it has room, until its oldest unit leaves.
    #[must_use]
    pub const fn reset_after(&self) -> Duration {
        self.reset_after
    }
}

impl<'a> Settled<'a> {
    /// Returns the name of the rule.
    #[must_use]
    pub const fn rule(&self) -> &'a str {
        self.rule
    }

    /// Returns the tier that the key was in, or `None` for the rule's own policy.
    #[must_use]
    pub const fn tier(&self) -> Option<&'a str> {
        self.tier
    }

    /// Returns the name of the units.
    #[must_use]
    pub const fn unit(&self) -> &'a str {
        self.unit
    }

    /// Returns the key, in the form that [`show_keys`](crate::RateLimiterBuilder::show_keys) has chosen.
    #[must_use]
    pub const fn key(&self) -> KeyView {
        self.key
    }

    /// Returns what came of the reservation.
    #[must_use]
    pub const fn outcome(&self) -> SettledOutcome {
        self.outcome
    }

    /// Returns the units that were reserved.
    #[must_use]
    pub const fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Returns the units that the request has cost.
    #[must_use]
    pub const fn units(&self) -> u64 {
        self.units
    }

    /// Returns the units that were given back, or are owed.
    #[must_use]
    pub const fn moved(&self) -> u64 {
        self.moved
    }
}

impl<'a> Reloaded<'a> {
    /// Returns the changes, one for each rule or tier.
    ///
    /// # Errors
    ///
    /// If there was a mistake in the new rules, so that nothing was changed.
    pub const fn changes(&self) -> Result<&'a [String], &'a ConfigError> {
        self.result
    }
}

impl Outage {
    /// Returns `true` if the servers decide again.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_over
    }
}

impl Warned {
    /// Returns the check that found the mistake.
    #[must_use]
    pub const fn check(&self) -> Check {
        self.check
    }

    /// Returns the code to search logs for, and the anchor in [the documentation](crate::observe#warnings).
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.check.code()
    }

    /// Returns the rule that it is about; `None` if it is about the limiter.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// Returns what is probably wrong, and what to do about it. It never has a key in it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}
