//! Errors of asking a limiter.

use std::{fmt, sync::Arc};

use crate::error::{config::Visible, nearest::ranked};

/// The maximum number of rules that an [`UnknownRule`] lists.
const MAX_LISTED: usize = 5;

/// The error of asking a limiter: it does not have the rule, or its store could not decide.
///
/// ```
/// use tower_quota::{CheckError, Policy, RateLimiter, Rule};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_quota::ConfigError> {
/// let jobs = Rule::new("jobs").no_requests().policy(Policy::per_minute(60));
/// let limiter = RateLimiter::builder().rule(jobs).build()?;
///
/// let status = match limiter.check_all_async([("job", "acme")]).await {
///     Ok(decision) if decision.is_admitted() => 200,
///     Ok(_) => 429,
///     Err(CheckError::Unavailable(_)) => 503,
///     Err(_) => 500,
/// };
/// assert_eq!(status, 500, "the rule is called `jobs`");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The limiter has no rule of this name.
    #[error(transparent)]
    UnknownRule(#[from] UnknownRule),
    /// The rule counts requests, and was asked about another cost.
    #[error(transparent)]
    NoCosts(#[from] NoCosts),
    /// The store could not decide.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The error of asking a rule about a cost when it counts requests.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule};
///
/// let jobs = Rule::new("jobs").no_requests().policy(Policy::per_minute(60));
/// let limiter = RateLimiter::builder().rule(jobs).build()?;
///
/// let error = limiter.rule("jobs")?.check_cost("acme", 20).unwrap_err();
/// assert_eq!(error.to_string(), r#"rule "jobs" counts requests: give it a cost, such as .cost("points", 1)"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule \"{rule}\" counts requests: give it a cost, such as .cost(\"points\", 1)")]
pub struct NoCosts {
    rule: Box<str>,
}

/// The error of naming a rule that the limiter does not have.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule};
///
/// let rule = |name| Rule::new(name).no_requests().policy(Policy::per_minute(60));
/// let limiter = RateLimiter::builder().rule(rule("exports")).rule(rule("bots")).build()?;
///
/// let error = limiter.rule("bot").unwrap_err();
/// assert_eq!(error.to_string(), r#"no rule is named "bot": the rules are "bots", "exports""#);
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct UnknownRule {
    name: Box<str>,
    known: Arc<[Box<str>]>,
}

/// The error of naming a tier: the rule does not have it, or the limiter does not have the rule.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule};
///
/// let api = Rule::new("api").no_requests().policy(Policy::per_minute(60)).tier("pro", Policy::per_minute(600));
/// let limiter = RateLimiter::builder().rule(api).build()?;
///
/// let error = limiter.set_tier("api", "acme", Some("por")).unwrap_err();
/// assert_eq!(error.to_string(), r#"rule "api" has no tier "por": its tiers are "pro""#);
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownTier {
    /// The limiter has no rule of this name.
    #[error(transparent)]
    Rule(#[from] UnknownRule),
    /// The rule has no tier of this name.
    #[error("rule \"{rule}\" has no tier \"{}\": {}", Visible::new(tier), listed_tiers(tiers))]
    Tier {
        /// The name of the rule.
        rule: Box<str>,
        /// The name that was asked for.
        tier: Box<str>,
        /// The names of the rule's tiers.
        tiers: Box<[Box<str>]>,
    },
}

/// The error of a store that could not decide and does not fail open: the request must not go on.
///
/// Its text is for the operator. Callers read only that they may try again later.
///
/// ```
/// use tower_quota::store::Unavailable;
///
/// let error = Unavailable::new("no answer within 50ms");
/// assert_eq!(error.reason(), "no answer within 50ms");
/// assert_eq!(error.to_string(), "the store of the rate limiter is unavailable: no answer within 50ms");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of the rate limiter is unavailable: {reason}")]
pub struct Unavailable {
    reason: Box<str>,
}

impl NoCosts {
    pub(crate) fn new(rule: &str) -> Self {
        Self { rule: rule.into() }
    }

    /// Returns the name of the rule.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }
}

impl UnknownTier {
    pub(crate) fn tier<'a>(rule: &str, tier: &str, tiers: impl Iterator<Item = &'a str>) -> Self {
        Self::Tier { rule: rule.into(), tier: tier.into(), tiers: tiers.map(Into::into).collect() }
    }
}

fn listed_tiers(tiers: &[Box<str>]) -> String {
    let names: Vec<String> = tiers.iter().map(|name| format!("\"{}\"", Visible::new(name))).collect();
    if names.is_empty() { "it has none".to_owned() } else { format!("its tiers are {}", names.join(", ")) }
}

impl UnknownRule {
    pub(crate) fn new(name: &str, known: &Arc<[Box<str>]>) -> Self {
        Self { name: name.into(), known: Arc::clone(known) }
    }

    /// Returns the name that was asked for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lists the rules of the limiter, most similar names first.
    pub(crate) fn rules(&self) -> String {
        let listed = ranked(&self.name, self.known.iter().map(|name| &**name), MAX_LISTED);
        let names: Vec<String> = listed.iter().map(|name| format!("\"{}\"", Visible::new(name))).collect();
        match self.known.len() - listed.len() {
            0 => format!("the rules are {}", names.join(", ")),
            others => format!("the rules are {} and {others} more", names.join(", ")),
        }
    }
}

impl fmt::Display for UnknownRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no rule is named \"{}\": {}", Visible::new(&self.name), self.rules())
    }
}

impl Unavailable {
    /// Creates the error with a reason such as `no answer within 50ms`.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into().into() }
    }

    /// Returns the reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}
