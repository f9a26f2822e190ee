//! The builder of a limiter, which finds every mistake in its rules.

use std::{ops::Range, sync::Arc};

use crate::{
    clock::{Clock, SystemClock},
    error::ConfigError,
    limiter::{MessageTemplate, RateLimiter, RuleMatcher, Rulebook},
    request::{Http, Plain, RequestKind},
    rule::{Rule, RuleId, exempt::Exemption},
    store::{MemoryStore, Scope, Scopes, Setup, Store},
};

const DEFAULT_MAX_KEYS: usize = 1_000_000;

/// The builder of a [`RateLimiter`]: its rules and settings.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, key};
///
/// let limiter = RateLimiter::builder()
///     .rule(
///         Rule::new("calls")
///             .every_request()
///             .key(key::header("x-account"))
///             .policy(Policy::per_minute(60)),
///     )
///     .max_keys(100_000)
///     .message("At most {limit} calls per {quota}. Call again in {retry_after} s.")
///     .build()?;
///
/// let calls = limiter.rule("calls")?;
/// assert_eq!((0..61).filter(|_| calls.admit("acme")).count(), 60);
/// let text = calls.check("acme").message();
/// assert_eq!(text.as_deref(), Some("At most 60 calls per minute. Call again in 60 s."));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct RateLimiterBuilder<K: RequestKind = Http, S = MemoryStore> {
    pub(crate) rules: Vec<Rule<K>>,
    pub(crate) max_keys: usize,
    pub(crate) message: Option<String>,
    exemptions: Vec<Exemption<K>>,
    clock: Arc<dyn Clock>,
    store: S,
}

/// Rules that are checked, alone and against each other, and compiled.
#[derive(Debug)]
pub(crate) struct CompiledRules<K: RequestKind> {
    pub(super) rulebook: Rulebook,
    pub(super) matcher: RuleMatcher<K>,
    pub(super) scopes: Scopes,
}

impl RateLimiter {
    /// Creates a builder with no rules, the system's clock, and room for 1,000,000 keys in the memory of this process.
    pub fn builder() -> RateLimiterBuilder {
        RateLimiterBuilder::default()
    }

    /// Creates a [`builder`](Self::builder) for requests of any type `R`, not only HTTP: see [`plain`](crate::plain).
    pub fn builder_for<R: 'static>() -> RateLimiterBuilder<Plain<R>> {
        RateLimiterBuilder::default()
    }
}

impl<K: RequestKind> Default for RateLimiterBuilder<K> {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            max_keys: DEFAULT_MAX_KEYS,
            message: None,
            exemptions: Vec::new(),
            clock: Arc::new(SystemClock::new()),
            store: MemoryStore::default(),
        }
    }
}

impl<K: RequestKind, S: Store> RateLimiterBuilder<K, S> {
    /// Adds a rule.
    pub fn rule(mut self, rule: Rule<K>) -> Self {
        self.rules.push(rule);
        self
    }

    /// Exempts requests from all rules, in every layer of the limiter: health checks, networks, CORS preflights, or whatever a
    /// closure returns `true` for. See [`exempt`](crate::exempt). May be called several times: any one is enough.
    ///
    /// ```
    /// use http::Request;
    /// use tower_quota::{Policy, RateLimiter, Rule, exempt, http::RequestView, key};
    ///
    /// let rule = Rule::new("calls").every_request().key(key::header("x-account"));
    /// let limiter = RateLimiter::builder()
    ///     .exempt(exempt::routes(["GET /healthz", "GET /metrics"]))
    ///     .exempt(exempt::grpc_health())
    ///     .rule(rule.policy(Policy::per_minute(60)))
    ///     .build()?;
    ///
    /// let check = Request::get("/healthz").body(())?;
    /// assert!(limiter.matching(&RequestView::new(&check)).is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Questions that name a rule and a key ([`RateLimiter::rule`]) have no request, so nothing is exempt there.
    pub fn exempt(mut self, exemption: impl Into<Exemption<K>>) -> Self {
        self.exemptions.push(exemption.into());
        self
    }

    /// Sets the maximum number of histories that are kept, one per rule and key. Defaults to 1,000,000.
    ///
    /// A rarely seen key takes about 100 bytes, and one that uses up 60 per minute and 1800 per hour takes 7.3 kB; the
    /// [crate docs](crate#memory) have the figures of larger limits.
    ///
    /// Histories that are equal to a fresh one are dropped. When all of them are live, new keys share one history per rule: no
    /// exhausted key is forgotten, so crowding the table is no way around a limit.
    pub const fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// Sets the clock that the time is read from. Defaults to [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the store that keeps the histories. Defaults to a [`MemoryStore`], in this process. An
    /// [`AnyStore`](crate::store::AnyStore) is chosen at run time.
    pub fn store<T: Store>(self, store: T) -> RateLimiterBuilder<K, T> {
        RateLimiterBuilder {
            rules: self.rules,
            max_keys: self.max_keys,
            message: self.message,
            exemptions: self.exemptions,
            clock: self.clock,
            store,
        }
    }

    /// Sets the sentence that a denied caller reads.
    ///
    /// `{rule}`, `{level}`, `{quota}`, `{limit}`, `{window}` and `{retry_after}` (in whole seconds) are filled in for the
    /// exhausted quota with the longest wait. `{{` and `}}` are braces of the text.
    pub fn message(mut self, template: impl Into<String>) -> Self {
        self.message = Some(template.into());
        self
    }

    /// Checks everything and builds the limiter.
    ///
    /// # Errors
    ///
    /// If there is a mistake in a rule or a setting, two rules conflict, or the store cannot be opened.
    pub fn build(self) -> Result<RateLimiter<K, S>, ConfigError> {
        if self.rules.is_empty() {
            return Err(ConfigError::new(
                "rules",
                "[]",
                "a limiter has at least one rule: add one with .rule(Rule::new(\"calls\"))",
            ));
        }
        if self.rules.len() > RuleId::MAX_RULES {
            return Err(too_many_rules(self.rules.len()));
        }
        if self.max_keys == 0 {
            return Err(ConfigError::new(
                "max_keys",
                0,
                "a limiter keeps at least one history: write a number such as 1000000",
            ));
        }
        // A clock may need time to start, which the first request should not pay for.
        let _ = self.clock.now();
        let template = self.message.as_deref().map(MessageTemplate::parse).transpose()?;
        let mut compiled = CompiledRules::from_rules(&self.rules, template)?;
        compiled.matcher.exempt(&self.exemptions)?;
        compiled.rulebook.warn_of_idle_quotas();
        let mut store = self.store;
        store.open(Setup { scopes: compiled.scopes, max_keys: self.max_keys, clock: self.clock })?;
        Ok(RateLimiter::new(compiled.rulebook, compiled.matcher, store))
    }
}

impl<K: RequestKind> CompiledRules<K> {
    /// Finds every mistake in the rules, alone and together.
    pub(crate) fn from_rules(rules: &[Rule<K>], template: Option<MessageTemplate>) -> Result<Self, ConfigError> {
        rules.iter().try_for_each(Rule::validate)?;
        let numbers = number_scopes(rules);
        let rulebook = Rulebook::from_rules(rules, &numbers, template)?;
        let matcher = RuleMatcher::from_rules(rules, &numbers)?;
        Ok(Self { rulebook, matcher, scopes: Scopes::new(rules.iter().flat_map(scopes_of)) })
    }
}

/// Numbers the scopes of all rules: one of each rule, or one of each of its routes.
fn number_scopes<K: RequestKind>(rules: &[Rule<K>]) -> Vec<Range<u32>> {
    let mut next = 0;
    let scopes = rules.iter().map(|rule| {
        let first = next;
        next += rule.scope_count();
        first..next
    });
    scopes.collect()
}

/// Names each scope after its rule and, if there is one per route, after the route.
fn scopes_of<K: RequestKind>(rule: &Rule<K>) -> Vec<Scope> {
    let Some(policy) = rule.policy_or_none() else { return Vec::new() };
    if !rule.is_per_route() {
        return vec![Scope::new(rule.name().to_owned(), policy)];
    }
    let routes = rule.groups().iter().flat_map(|group| &group.routes);
    routes.map(|route| Scope::new(format!("{} {route}", rule.name()), policy)).collect()
}

pub(crate) fn too_many_rules(rules: usize) -> ConfigError {
    let most = RuleId::MAX_RULES;
    let reason = format!("a limiter has at most {most} rules: routes with one policy can be one rule per_route");
    ConfigError::new("rules", rules, reason)
}
