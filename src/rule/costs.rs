//! The costs of a rule's requests, and when they are known.

use std::{fmt, sync::Arc};

use crate::{
    cost::Cost,
    error::ConfigError,
    outcome::Outcome,
    policy::{Policy, check_name},
    request::{Http, RequestKind},
    rule::{Group, Rule},
};

/// The unit of rules that count requests.
pub(crate) const REQUESTS: &str = "requests";

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
    unit: Option<String>,
    source: Option<Arc<dyn Cost<K>>>,
    is_estimate: bool,
    unsettled: Option<Unsettled>,
    counts: Option<Counts>,
}

/// What happens to a cost when the outcome of its request is known.
#[derive(Clone)]
pub(crate) enum Settling {
    /// The handler says what it was.
    Reserved(Unsettled),
    /// It is given back unless the outcome counts.
    ByOutcome(Counts),
}

impl<K: RequestKind> Rule<K> {
    /// Charges each request what it costs, in units of this name: a number, a closure over the request, or one of the
    /// functions in [`cost`](crate::cost). The limits of the policy are in the same units.
    ///
    /// The unit is what messages and the `RateLimit-Policy` field call it: `"tokens"`, `"bytes"`, `"points"`.
    ///
    /// ```
    /// use tower_quota::{Policy, RateLimiter, Rule};
    ///
    /// let reports = Rule::new("reports").no_requests().policy(Policy::per_hour(100)).cost("points", 40);
    /// let limiter = RateLimiter::builder().rule(reports).build()?;
    /// let reports = limiter.rule("reports")?;
    /// assert_eq!([reports.admit("acme"), reports.admit("acme"), reports.admit("acme")], [true, true, false]);
    /// assert!(reports.admit_cost("acme", 20)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cost(mut self, unit: impl Into<String>, cost: impl Cost<K>) -> Self {
        self.costs.unit = Some(unit.into());
        self.costs.source = Some(Arc::new(cost));
        self
    }

    /// Charges each request an estimate of what it costs, which is settled when the cost is known: units that were too many are
    /// given back, and units that were too few are owed.
    ///
    /// The handler settles it by the [`Reservation`](crate::Reservation) among the extensions of the request. If it does not,
    /// [`unsettled`](Self::unsettled) says what counts when the body of the response has ended. An estimate is at least 1.
    ///
    /// At every admission the units that count, estimates of requests in flight included, are at most the limit. If no
    /// estimate is too low, the limit is never exceeded. What a request costs above its estimate is owed: it counts from its
    /// settlement on, and nobody is admitted until it has drained.
    pub fn reserve(mut self, unit: impl Into<String>, estimate: impl Cost<K>) -> Self {
        self.costs.is_estimate = true;
        self.cost(unit, estimate)
    }

    /// Sets what counts if nobody settles a [reservation](Self::reserve). Defaults to [`Unsettled::Keep`].
    pub const fn unsettled(mut self, outcome: Unsettled) -> Self {
        self.costs.unsettled = Some(outcome);
        self
    }

    /// Counts only requests whose outcome `counts`: failed logins, answers with some status. See
    /// [`outcome`](crate::outcome) for the usual ones.
    ///
    /// Every request is charged first, and given back if its outcome does not count: so requests that are made at the same time
    /// cannot all pass. A request without a response counts. A denial that is due to requests in flight alone [says
    /// so](crate::QuotaStatus::is_held), and asks the caller to come back in a second.
    ///
    /// A closure that panics fails its own request alone, which then counts.
    ///
    /// ```
    /// use tower_quota::{Policy, Rule, key, outcome::Outcome};
    ///
    /// let lookups = Rule::new("lookups")
    ///     .routes(["GET /coupons/{code}"])
    ///     .key(key::header("x-account"))
    ///     .policy(Policy::per_hour(10))
    ///     .count_only(|outcome: &Outcome<'_>| outcome.status().is_some_and(|status| status == 404));
    /// # let _ = lookups;
    /// ```
    pub fn count_only(mut self, counts: impl for<'a> Fn(&Outcome<'a>) -> bool + Send + Sync + 'static) -> Self {
        self.costs.counts = Some(Arc::new(counts));
        self
    }
}

impl Rule<Http> {
    /// Governs these routes as well, each of whose requests costs this many units. All other routes cost what
    /// [`cost`](Self::cost) says, which names the unit.
    ///
    /// ```
    /// use tower_quota::{Policy, Rule, key};
    ///
    /// let api = Rule::new("api")
    ///     .routes(["GET /cases/{id}"])
    ///     .routes_costing(10, ["GET /cases", "POST /reports"])
    ///     .key(key::header("x-account"))
    ///     .policy(Policy::per_minute(100))
    ///     .cost("points", 1);
    /// # let _ = api;
    /// ```
    pub fn routes_costing(mut self, units: u64, routes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let routes = routes.into_iter().map(Into::into).collect();
        self.groups.push(Group { extractor: None, routes, cost: Some(units) });
        self
    }
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

    /// Returns what happens to the cost later, if anything does.
    pub(crate) fn settling(&self) -> Option<Settling> {
        match &self.counts {
            Some(counts) => Some(Settling::ByOutcome(Arc::clone(counts))),
            None if self.is_estimate => Some(Settling::Reserved(self.unsettled.unwrap_or_default())),
            None => None,
        }
    }

    /// Finds the first mistake beside this policy and the costs of groups of routes.
    pub(super) fn check(&self, policy: &Policy, groups: &[Group<K>]) -> Result<(), ConfigError> {
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
        if self.source.is_none() && groups.iter().any(|group| group.cost.is_some()) {
            let reason = "the rule counts requests: name its units with .cost(\"points\", 1)";
            return refuse("routes_costing", &"", reason);
        }
        let Some(source) = &self.source else { return Ok(()) };
        source.validate()?;
        let fixed = source.fixed().into_iter().chain(groups.iter().filter_map(|group| group.cost));
        fixed.into_iter().try_for_each(|cost| self.check_fixed(cost, policy))?;
        match policy.quotas().find(|quota| quota.limit() == 1 && source.fixed().is_none()) {
            Some(quota) => {
                let reason = "a quota of 1 admits no cost of 2: let a rule of its own space the requests";
                Err(ConfigError::new("quotas", quota, reason))
            }
            None => Ok(()),
        }
    }

    /// Refuses a cost that no tier of the rule would ever admit.
    fn check_fixed(&self, cost: u64, policy: &Policy) -> Result<(), ConfigError> {
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
        Self { unit: None, source: None, is_estimate: false, unsettled: None, counts: None }
    }
}

impl<K: RequestKind> fmt::Debug for Costs<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Costs")
            .field("unit", &self.unit())
            .field("fixed", &self.source.as_ref().and_then(|source| source.fixed()))
            .field("is_estimate", &self.is_estimate)
            .field("counts_outcomes", &self.counts.is_some())
            .finish()
    }
}
