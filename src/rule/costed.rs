//! The methods that set the costs of a rule's requests.

use std::sync::Arc;

use crate::{
    cost::{Cost, MessageCost},
    outcome::Outcome,
    request::{Http, RequestKind},
    rule::{Group, Rule, Unsettled},
};

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

    /// Charges each message of a gRPC call what it costs, beside what [`cost`](Self::cost) says of the call itself, which covers no
    /// message then. It is for rules that a layer charges
    /// [for messages](crate::RateLimitLayer::per_message); without that layer it does nothing.
    ///
    /// A message passes on once the five bytes in front of it have come, and its cost is admitted. Its payload is neither
    /// decoded nor kept for that. One that costs more than a limit ends its call, and waiting does not help.
    ///
    /// ```
    /// use tower_quota::{Policy, RateLimiter, Rule, cost, key};
    ///
    /// let uploads = Rule::new("uploads")
    ///     .routes(["/files.Files/Upload"])
    ///     .key(key::metadata("x-account"))
    ///     .policy(Policy::per_minute(50_000_000))
    ///     .cost("bytes", 0)
    ///     .message_cost(cost::message_length());
    /// let layer = RateLimiter::builder().rule(uploads).build()?.layer().per_message(["uploads"])?;
    /// # let _ = layer;
    /// # Ok::<(), tower_quota::ConfigError>(())
    /// ```
    pub fn message_cost(mut self, cost: impl MessageCost) -> Self {
        self.costs.message = Some(Arc::new(cost));
        self
    }
}
