//! Rules: the rows of a rate-limit matrix.

use std::{borrow::Cow, fmt, sync::Arc};

use hashbrown::HashMap;
use http::StatusCode;

use crate::{
    error::ConfigError,
    key::{KeyExtractor, KeyForms, KeyPattern, ParsedPattern, RouteParams, sanitize_name},
    policy::{Enforcement, Policy, check_name},
    request::{Http, Plain, RequestKind},
    rule::{
        Route, Tier, check_overrides, check_tier_source, check_tiers,
        conditions::{Conditions, Filter},
        costs::Costs,
        exempt::Exemption,
    },
};

/// A rule: a name, the requests it governs, the key it counts by, and the policy for each key.
///
/// All routes of a rule share one history per key, unless it is [`per_route`](Self::per_route). If several rules govern
/// a request, it passes only if all of them have room, and is charged to all of them or to none.
///
/// Templates have axum 0.8's syntax and meaning: `{param}`, `{*rest}`, and static segments before parameters. If
/// several templates match a path the most specific one decides, and all rules with that template govern the request. Rules
/// by prefix, host, method or header field govern beside them: [how rules combine](crate#how-rules-combine).
///
/// ```
/// use http::Request;
/// use tower_quota::{OnMissing, Policy, RateLimiter, Rule, http::RequestView, key};
///
/// let rule = Rule::new("automation.bot-definition")
///     .routes([
///         "POST /api/public/bot/{botId}/export",
///         "POST /api/public/bot/{botId}/publish",
///     ])
///     .key(key::path("botId"))
///     .group(key::query("botId"), ["POST /api/public/bot/import"])
///     .level("bot")
///     .policy(Policy::per_minute(60).and_per_hour(1800))
///     .on_missing(OnMissing::Share);
/// let limiter = RateLimiter::builder().rule(rule).build()?;
///
/// for uri in ["/api/public/bot/st-1/export", "/api/public/bot/import?botId=st-1"] {
///     let request = Request::post(uri).body(())?;
///     let matching = limiter.matching(&RequestView::new(&request));
///     assert_eq!(matching[0].level(), "bot");
///     assert_eq!(matching[0].key(), Some(limiter.key("st-1")));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "a rule does nothing until it is given to a limiter"]
pub struct Rule<K: RequestKind = Http> {
    name: String,
    applies_to: AppliesTo,
    pub(super) conditions: Conditions<K>,
    pub(super) exemptions: Vec<Exemption<K>>,
    level: Option<String>,
    /// The first one is always there.
    pub(super) groups: Vec<Group<K>>,
    policy: Option<Policy>,
    on_missing: OnMissing,
    per_route: bool,
    tiers: Vec<Tier>,
    tier_source: Option<Arc<dyn KeyExtractor<K>>>,
    overrides: Vec<(KeyPattern, String)>,
    enforcement: Enforcement,
    pub(super) costs: Costs<K>,
}

/// The treatment of requests that do not carry the key of a rule.
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_quota::{OnMissing, Policy, RateLimiter, Rule, key};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // The answer to a second request without the key.
/// let second = async |on_missing| {
///     let rule = Rule::new("calls").every_request().key(key::header("x-account-id"));
///     let rule = rule.policy(Policy::per_minute(1)).on_missing(on_missing);
///     let limiter = RateLimiter::builder().rule(rule).build()?;
///     let service = limiter.layer().layer(service_fn(|_: Request<()>| async {
///         Ok::<_, std::convert::Infallible>(Response::new(String::from("hello")))
///     }));
///     service.clone().oneshot(Request::new(())).await?;
///     let response = service.oneshot(Request::new(())).await?;
///     Ok::<_, Box<dyn std::error::Error>>(response.status().as_u16())
/// };
///
/// assert_eq!(second(OnMissing::Share).await?, 429);
/// assert_eq!(second(OnMissing::Skip).await?, 200);
/// assert_eq!(second(OnMissing::Reject(StatusCode::UNAUTHORIZED)).await?, 401);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnMissing {
    /// All such requests share one history, under the same policy. Its key has no parts:
    /// [`Key::SHARED`](crate::key::Key::SHARED).
    #[default]
    Share,
    /// The request is answered with this status and goes no further. Nothing is charged.
    ///
    /// A gRPC caller gets the code that `google.rpc.Code` gives for it: 16 (`UNAUTHENTICATED`) for 401, 3 for 400, 7
    /// for 403, 5 for 404, 10 for 409, 8 for 429, 1 for 499, 13 for 500, 12 for 501, 14 for 503, 4 for 504; 9
    /// (`FAILED_PRECONDITION`) for any other 4xx and 2 (`UNKNOWN`) for any other 5xx.
    Reject(StatusCode),
    /// The rule does not govern the request.
    Skip,
}

/// The requests that a rule governs, if its conditions hold.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AppliesTo {
    Routes,
    EveryRequest,
    Unmatched,
    /// No requests: callers ask for the rule by its name.
    NoRequests,
}

/// Routes whose key is read by one extractor. The first group has the rule's own extractor, and so has one with a cost of its
/// own.
#[derive(Clone)]
pub(crate) struct Group<K> {
    pub(crate) extractor: Option<Arc<dyn KeyExtractor<K>>>,
    pub(crate) routes: Vec<String>,
    /// The units that each request costs, in place of what the rule says.
    pub(crate) cost: Option<u64>,
}

impl<K: RequestKind> Rule<K> {
    /// Creates a rule called `name`, in visible ASCII.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            applies_to: AppliesTo::Routes,
            conditions: Conditions::default(),
            exemptions: Vec::new(),
            level: None,
            groups: vec![Group { extractor: None, routes: Vec::new(), cost: None }],
            policy: None,
            on_missing: OnMissing::default(),
            per_route: false,
            tiers: Vec::new(),
            tier_source: None,
            overrides: Vec::new(),
            enforcement: Enforcement::On,
            costs: Costs::default(),
        }
    }

    /// Governs every request, even if other rules do.
    pub const fn every_request(mut self) -> Self {
        self.applies_to = AppliesTo::EveryRequest;
        self
    }

    /// Governs no request: the rule is only asked by its name ([`RateLimiter::rule`](crate::RateLimiter::rule)), for
    /// example for the jobs of a queue or the items of a batch. It needs no [`key`](Self::key).
    ///
    /// ```
    /// use tower_quota::{Policy, RateLimiter, Rule};
    ///
    /// let mails = Rule::new("mails").no_requests().policy(Policy::per_day(1));
    /// let limiter = RateLimiter::builder().rule(mails).build()?;
    ///
    /// assert!(limiter.rule("mails")?.admit("ann@example.com"));
    /// assert!(!limiter.rule("mails")?.admit("ann@example.com"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn no_requests(mut self) -> Self {
        self.applies_to = AppliesTo::NoRequests;
        self
    }

    /// Sets the extractor that reads the key to count by.
    pub fn key(mut self, extractor: impl KeyExtractor<K>) -> Self {
        self.groups[0].extractor = Some(Arc::new(extractor));
        self
    }

    /// Names the enforcement level, which says in messages to callers and in warnings what the key stands for. Defaults
    /// to the [name of the extractor](KeyExtractor::name), such as `botId` for `key::path("botId")`.
    ///
    /// A rule with another level begins afresh, in every store and when it is [reloaded](crate::RateLimiter::reload): its keys
    /// mean something else.
    pub fn level(mut self, name: impl Into<String>) -> Self {
        self.level = Some(name.into());
        self
    }

    /// Sets the policy that each key is held to.
    pub fn policy(mut self, policy: impl Into<Policy>) -> Self {
        self.policy = Some(policy.into());
        self
    }

    /// Adds a tier: a named policy for some of the keys, over the same histories. A key that changes its tier keeps its history,
    /// which is compared with other limits from then on: nothing is refilled, and nothing is emptied.
    ///
    /// The rule's own [`policy`](Self::policy) is for all keys that no tier is for. Which keys a tier is for, say
    /// [`tier_from`](Self::tier_from), [`tier_for`](Self::tier_for) and [`RateLimiter::set_tier`](crate::RateLimiter::set_tier).
    ///
    /// ```
    /// use tower_quota::{Policy, RateLimiter, Rule};
    ///
    /// let api = Rule::new("api")
    ///     .no_requests()
    ///     .policy(Policy::per_minute(60))
    ///     .tier("pro", Policy::per_minute(600))
    ///     .tier_for("initech", "pro");
    /// let limiter = RateLimiter::builder().rule(api).build()?;
    ///
    /// let api = limiter.rule("api")?;
    /// assert_eq!((0..1000).filter(|_| api.admit("acme")).count(), 60);
    /// assert_eq!((0..1000).filter(|_| api.admit("initech")).count(), 600);
    ///
    /// // 60 used, so 540 are left.
    /// limiter.set_tier("api", "acme", Some("pro"))?;
    /// assert_eq!((0..1000).filter(|_| api.admit("acme")).count(), 540);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tier(mut self, name: impl Into<String>, policy: impl Into<Policy>) -> Self {
        self.tiers.push(Tier::new(name.into(), Some(policy.into())));
        self
    }

    /// Reads the name of the tier from the request: from a claim, a header field that an upstream of yours sets, whatever an
    /// extractor reads. A name that the rule does not have means the rule's own policy, as does a request without one; the
    /// operator is warned once.
    ///
    /// ```
    /// use http::Request;
    /// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
    ///
    /// #[derive(Clone)]
    /// struct Claims {
    ///     account: &'static str,
    ///     plan: &'static str,
    /// }
    ///
    /// let api = Rule::new("api")
    ///     .every_request()
    ///     .key(key::claim(|claims: &Claims| &claims.account))
    ///     .policy(Policy::per_minute(60))
    ///     .tier("pro", Policy::per_minute(600))
    ///     .tier_from(key::claim(|claims: &Claims| &claims.plan));
    /// let limiter = RateLimiter::builder().rule(api).build()?;
    ///
    /// let request = Request::get("/").extension(Claims { account: "acme", plan: "pro" }).body(())?;
    /// let matched = limiter.matching(&RequestView::new(&request));
    /// assert_eq!(matched[0].tier(), Some("pro"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tier_from(mut self, source: impl KeyExtractor<K>) -> Self {
        self.tier_source = Some(Arc::new(source));
        self
    }

    /// Sets the tier of a key, or of all keys that begin so (`"acme-*"`): an override. It wins over
    /// [`tier_from`](Self::tier_from), one key over patterns, and a longer pattern over a shorter one.
    ///
    /// It is for keys in the words of the request. An address has none: [`RateLimiter::set_tier`](crate::RateLimiter::set_tier)
    /// takes it as such. Two overrides for one key are a mistake, and so is one for a key that the rule
    /// [cannot have](KeyForms). A pattern does not match a [`Key`](crate::key::Key) that was made before, which has lost its
    /// words: ask [`RuleHandle::in_tier`](crate::RuleHandle::in_tier) then, with the [tier](crate::MatchedRule::tier) of the
    /// request.
    pub fn tier_for(mut self, key: impl Into<KeyPattern>, tier: impl Into<String>) -> Self {
        self.overrides.push((key.into(), tier.into()));
        self
    }

    /// Adds a tier without limits. Its requests are recorded all the same, for the day on which a key leaves the tier.
    pub fn unlimited_tier(mut self, name: impl Into<String>) -> Self {
        self.tiers.push(Tier::new(name.into(), None));
        self
    }

    /// Sets what follows when the rule has no room: it denies, marks the decision, or only tells the operator. Defaults to
    /// [`Enforcement::On`]; [`RateLimiter::enforce`](crate::RateLimiter::enforce) changes it while requests go on.
    pub const fn enforcement(mut self, enforcement: Enforcement) -> Self {
        self.enforcement = enforcement;
        self
    }

    /// Sets the treatment of requests without the key. Defaults to [`OnMissing::Share`].
    pub const fn on_missing(mut self, outcome: OnMissing) -> Self {
        self.on_missing = outcome;
        self
    }
}

impl Rule {
    /// Governs these routes: `"POST /bots/{botId}/export"`, `"GET|PUT /tables/{table}"`, or `"/status"` for any method.
    ///
    /// HEAD counts as GET.
    pub fn routes(mut self, routes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.groups[0].routes.extend(routes.into_iter().map(Into::into));
        self
    }

    /// Governs these routes as well, with an extractor of their own for the key.
    pub fn group(mut self, key: impl KeyExtractor, routes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let routes = routes.into_iter().map(Into::into).collect();
        self.groups.push(Group { extractor: Some(Arc::new(key)), routes, cost: None });
        self
    }

    /// Governs the requests that match no route of any rule. Without such a rule they pass.
    pub const fn unmatched_requests(mut self) -> Self {
        self.applies_to = AppliesTo::Unmatched;
        self
    }

    /// Keeps one history per route and key, rather than one per key for all routes.
    ///
    /// [`RuleHandle::check`](crate::RuleHandle::check), which knows no route, then asks the history of the first.
    pub const fn per_route(mut self) -> Self {
        self.per_route = true;
        self
    }
}

impl<R: 'static> Rule<Plain<R>> {
    /// Rejects requests that do not carry the key, with [`plain::Refusal::KeyMissing`](crate::plain::Refusal), and
    /// charges nothing.
    pub const fn key_required(self) -> Self {
        self.on_missing(OnMissing::Reject(StatusCode::BAD_REQUEST))
    }
}

impl<K: RequestKind> Rule<K> {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn level_name(&self) -> Cow<'_, str> {
        let extractor = || self.groups.iter().find_map(|group| group.extractor.as_ref());
        match &self.level {
            Some(level) => Cow::Borrowed(level),
            None => {
                Cow::Owned(extractor().map_or_else(|| "key".to_owned(), |extractor| sanitize_name(&extractor.name())))
            }
        }
    }

    /// Returns the requests that the rule governs, if its conditions hold. Conditions alone are for every request.
    pub(crate) fn applies_to(&self) -> AppliesTo {
        let has_routes = || self.groups.iter().any(|group| !group.routes.is_empty());
        match self.applies_to {
            AppliesTo::Routes if !self.conditions.is_empty() && !has_routes() => AppliesTo::EveryRequest,
            other => other,
        }
    }

    /// Returns the conditions, compiled, or `None` if there are none.
    pub(crate) fn filter(&self) -> Result<Option<Filter<K>>, ConfigError> {
        self.conditions.compile()
    }

    pub(crate) fn exemptions(&self) -> &[Exemption<K>] {
        &self.exemptions
    }

    pub(crate) fn groups(&self) -> &[Group<K>] {
        &self.groups
    }

    pub(crate) const fn costs(&self) -> &Costs<K> {
        &self.costs
    }

    /// Returns the extractor that reads the key on the routes of a group.
    pub(crate) fn extractor_of<'a>(&'a self, group: &'a Group<K>) -> Option<&'a Arc<dyn KeyExtractor<K>>> {
        match (&group.extractor, group.cost) {
            (None, Some(_)) => self.groups[0].extractor.as_ref(),
            (extractor, _) => extractor.as_ref(),
        }
    }

    /// Returns the rule's own policy and then those of its tiers, with their names. A tier without limits has a policy without
    /// quotas.
    ///
    /// # Errors
    ///
    /// If the rule has no policy of its own.
    pub(crate) fn policies(&self) -> Result<Vec<(Option<&str>, Policy)>, ConfigError> {
        let own = self.policy.clone().ok_or_else(no_policy)?;
        let tiers = self.tiers.iter().map(|tier| (Some(tier.name()), tier.policy_beside(&own)));
        Ok(std::iter::once((None, own.clone())).chain(tiers).collect())
    }

    pub(crate) const fn missing_outcome(&self) -> OnMissing {
        self.on_missing
    }

    pub(crate) const fn configured_enforcement(&self) -> Enforcement {
        self.enforcement
    }

    pub(crate) const fn is_per_route(&self) -> bool {
        self.per_route
    }

    /// Returns the number of policies that judge its histories: for each scope one of its own, and one of each tier.
    pub(crate) fn plan_count(&self) -> usize {
        self.scope_names().len() * (self.tiers.len() + 1)
    }

    /// Returns the extractor of the tier's name.
    pub(crate) const fn tier_source(&self) -> Option<&Arc<dyn KeyExtractor<K>>> {
        self.tier_source.as_ref()
    }

    /// Returns the keys with a tier of their own, and the names of these.
    pub(crate) fn overrides(&self) -> &[(KeyPattern, String)] {
        &self.overrides
    }

    /// Returns what is known of its keys without a request.
    pub(crate) fn key_forms(&self) -> KeyForms {
        let forms = self.groups.iter().filter_map(|group| group.extractor.as_ref()).map(KeyExtractor::forms);
        forms.reduce(KeyForms::or).unwrap_or_else(KeyForms::any)
    }

    /// Returns `true` if some override is for more than one key.
    pub(crate) fn has_patterns(&self) -> bool {
        let is_pattern = |pattern: &KeyPattern| matches!(pattern.parse(), Ok(ParsedPattern::Prefix(_)));
        self.overrides.iter().any(|(pattern, _)| is_pattern(pattern))
    }

    /// Returns the names of its scopes (sets of histories): one, or one per route.
    pub(crate) fn scope_names(&self) -> Vec<String> {
        if !self.per_route {
            return vec![self.name.clone()];
        }
        let routes = self.groups.iter().flat_map(|group| &group.routes);
        routes.map(|route| format!("{} {route}", self.name)).collect()
    }

    /// Returns the routes, and for each the index of the group that reads its key.
    pub(crate) fn parsed_routes(&self) -> Result<Vec<(Route, usize)>, ConfigError> {
        let texts =
            self.groups.iter().enumerate().flat_map(|(at, group)| group.routes.iter().map(move |text| (text, at)));
        texts.map(|(text, at)| Ok((Route::parse(text)?, at))).collect()
    }

    /// Finds the first mistake that can be seen in this rule alone.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.find_mistake().map_err(|error| error.in_rule(&self.name))
    }

    fn find_mistake(&self) -> Result<(), ConfigError> {
        check_name("name", &self.name)?;
        if self.groups.iter().all(|group| group.extractor.is_none()) && self.governs_requests() {
            return Err(no_key());
        }
        check_name("level", &self.level_name())?;
        let policy = self.policy.as_ref().ok_or_else(no_policy)?;
        policy.validate()?;
        check_tiers(&self.tiers, policy)?;
        check_overrides(&self.tiers, &self.overrides, &self.key_forms())?;
        let of_groups: Vec<u64> = self.groups.iter().filter_map(|group| group.cost).collect();
        let tiers: Vec<Policy> = self.tiers.iter().map(|tier| tier.policy_beside(policy)).collect();
        self.costs.check(policy, &tiers, &of_groups)?;
        if let Some(source) = &self.tier_source {
            check_tier_source(&self.tiers)?;
            source.validate()?;
        }
        if let OnMissing::Reject(status) = self.on_missing
            && !(status.is_client_error() || status.is_server_error())
        {
            return Err(ConfigError::new(
                "on_missing",
                status,
                "a rejection has a status from 400 to 599: write one such as OnMissing::Reject(StatusCode::UNAUTHORIZED)",
            ));
        }
        self.filter()?;
        self.exemptions.iter().try_for_each(Exemption::validate)?;
        let routes = self.parsed_routes()?;
        self.check_routes(&routes)?;
        self.check_extractors(&routes)
    }

    /// Returns true if it governs requests, so that it needs a key.
    pub(crate) const fn governs_requests(&self) -> bool {
        !matches!(self.applies_to, AppliesTo::NoRequests)
    }

    /// Returns true if it governs routes, rather than requests whatever their path.
    pub(crate) fn has_routes(&self) -> bool {
        matches!(self.applies_to(), AppliesTo::Routes)
    }

    fn check_routes(&self, routes: &[(Route, usize)]) -> Result<(), ConfigError> {
        match (self.applies_to(), routes) {
            (AppliesTo::Routes, []) => {
                let reason = "the rule governs no request: write .routes([\"POST /bots/{id}\"]), .every_request(), a condition \
                              such as .paths_under([\"/bots\"]), or .no_requests() if it is only asked by name";
                return Err(ConfigError::new("routes", "[]", reason));
            }
            (AppliesTo::NoRequests, []) if !self.conditions.is_empty() || !self.exemptions.is_empty() => {
                let reason =
                    "a rule for no requests has no conditions and exempts none: leave out the one or the other";
                return Err(ConfigError::new("no_requests", "", reason));
            }
            (AppliesTo::EveryRequest | AppliesTo::Unmatched | AppliesTo::NoRequests, [(route, _), ..]) => {
                let reason = "a rule for every request, for unmatched ones or for none has no routes of its own: leave out the \
                              one or the other";
                return Err(ConfigError::new("route", format_args!("\"{}\"", route.text()), reason));
            }
            _ => {}
        }
        if self.per_route && !self.has_routes() {
            return Err(ConfigError::new(
                "per_route",
                true,
                "a rule without routes has one history per key: leave it out",
            ));
        }
        if self.groups.iter().skip(1).any(|group| group.routes.is_empty()) {
            return Err(ConfigError::new(
                "routes",
                "[]",
                "a group has at least one route: write .group(key::query(\"botId\"), [\"POST /bots/import\"])",
            ));
        }
        find_duplicate(routes)
    }

    fn check_extractors(&self, routes: &[(Route, usize)]) -> Result<(), ConfigError> {
        for group in &self.groups {
            match self.extractor_of(group) {
                Some(extractor) => {
                    extractor.validate()?;
                    if !self.has_routes() {
                        extractor.validate_on(None)?;
                    }
                }
                None if !self.has_routes() && self.governs_requests() || !group.routes.is_empty() => {
                    return Err(no_key());
                }
                None => {}
            }
        }
        routes.iter().try_for_each(|(route, group)| self.check_extractor_on(route, *group))
    }

    fn check_extractor_on(&self, route: &Route, group: usize) -> Result<(), ConfigError> {
        let Some(extractor) = self.extractor_of(&self.groups[group]) else { return Ok(()) };
        extractor.validate_on(Some(RouteParams::new(route.params()))).map_err(|error| error.on_route(route.text()))
    }
}

impl<K: RequestKind> fmt::Debug for Rule<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("name", &self.name)
            .field("applies_to", &self.applies_to())
            .field("conditions", &self.conditions)
            .field("exemptions", &self.exemptions)
            .field("level", &self.level_name())
            .field("routes", &self.groups.iter().flat_map(|group| &group.routes).collect::<Vec<_>>())
            .field("policy", &self.policy)
            .field("enforcement", &self.enforcement)
            .field("costs", &self.costs)
            .field("on_missing", &self.on_missing)
            .field("per_route", &self.per_route)
            .finish()
    }
}

/// Returns the error about a rule that governs requests and reads no key.
fn no_key() -> ConfigError {
    let reason = "the rule has no key to count by: write .key(key::header(\"x-account\")), or another extractor";
    ConfigError::new("key", "", reason)
}

/// Returns the error about a rule without a policy.
pub(crate) fn no_policy() -> ConfigError {
    ConfigError::new("policy", "", "the rule has no policy: write .policy(Policy::per_minute(60))")
}

/// Finds a route that overlaps with an earlier one. Only routes of one shape are compared: as many as there are
/// methods.
fn find_duplicate(routes: &[(Route, usize)]) -> Result<(), ConfigError> {
    let mut by_shape: HashMap<&str, Vec<&Route>> = HashMap::new();
    for (route, _) in routes {
        let earlier = by_shape.entry(route.shape()).or_default();
        if let Some(duplicate) = earlier.iter().find(|other| other.overlaps(route)) {
            let reason = format!("this rule has the route already, as \"{}\": leave one of them out", duplicate.text());
            return Err(ConfigError::new("route", format_args!("\"{}\"", route.text()), reason));
        }
        earlier.push(route);
    }
    Ok(())
}
