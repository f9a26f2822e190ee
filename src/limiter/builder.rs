//! The builder of a limiter, which finds every mistake in its rules.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use http::StatusCode;

use crate::{
    clock::{Clock, SystemClock},
    error::ConfigError,
    limiter::{AnswerSettings, MessageTemplate, RateLimiter, Rules, Version},
    observe::{Check, Event, Observer, ObserverSettings, ShowKeys, Stopwatch},
    request::{Http, Plain, RequestKind},
    response::{RefusalFormat, ResponseSettings},
    rule::{Rule, RuleId, exempt::Exemption},
    store::{MemoryStore, Scopes, Setup, Store},
    warn::{ManyLimiters, Warning},
};

const DEFAULT_MAX_KEYS: usize = 1_000_000;

static NEXT_LIMITER: AtomicU64 = AtomicU64::new(0);
static LIMITERS: ManyLimiters = ManyLimiters::new();

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
    pub(crate) response: ResponseSettings,
    pub(super) exemptions: Vec<Exemption<K>>,
    /// Its rules are for a limiter that has its store already.
    pub(crate) is_reload: bool,
    observer: ObserverSettings,
    clock: Arc<dyn Clock>,
    store: S,
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
            response: ResponseSettings::default(),
            exemptions: Vec::new(),
            is_reload: false,
            observer: ObserverSettings::default(),
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
    /// A rarely seen key takes about 100 bytes, and one that uses up 60 per minute and 1800 per hour takes 7.4 kB; the
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
            response: self.response,
            exemptions: self.exemptions,
            is_reload: self.is_reload,
            observer: self.observer,
            clock: self.clock,
            store,
        }
    }

    /// Sets the sentence that a denied caller reads.
    ///
    /// `{rule}`, `{level}`, `{quota}`, `{limit}`, `{window}`, `{unit}`, `{cost}` and `{retry_after}` (in whole seconds) are
    /// filled in for the exhausted quota with the longest wait. `{{` and `}}` are braces of the text.
    pub fn message(mut self, template: impl Into<String>) -> Self {
        self.message = Some(template.into());
        self
    }

    /// Sets a closure that is called with every [event](crate::observe): decisions of layers, handles, messages and paced calls,
    /// settlements, reloads, outages and warnings. None by default, and a second one replaces the first.
    ///
    /// It runs within the request that it is about, while nothing is locked, so it has to be quick. If it panics, that
    /// request fails, and no other. A panic about a reservation that ends with its response, or is dropped, fails nothing.
    ///
    /// ```
    /// use tower_quota::{Policy, RateLimiter, Rule, observe::{Event, RequestOutcome}};
    ///
    /// let limiter = RateLimiter::builder()
    ///     .rule(Rule::new("jobs").no_requests().policy(Policy::per_minute(60)))
    ///     .on_decision(|event| match event {
    ///         Event::Decided(decided) if decided.outcome() != RequestOutcome::Admitted => println!("{decided:?}"),
    ///         Event::Warned(warned) => println!("{}: {}", warned.code(), warned.text()),
    ///         _ => {}
    ///     })
    ///     .build()?;
    /// # let _ = limiter;
    /// # Ok::<(), tower_quota::ConfigError>(())
    /// ```
    pub fn on_decision(mut self, hook: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.observer.hook = Some(Box::new(hook));
        self
    }

    /// Sets how [events](Self::on_decision) show keys. Defaults to [`ShowKeys::Hidden`], because keys identify users.
    pub const fn show_keys(mut self, show: ShowKeys) -> Self {
        self.observer.show_keys = show;
        self
    }

    /// Remembers the names of up to so many keys that layers and paced calls were denied for: those that were denied last. None by
    /// default, because names identify users. [`RateLimiter::name_of`] returns them.
    ///
    /// A key of several parts, or of one over 27 bytes, is a hash, so its name is lost otherwise. While this is on, every
    /// request keeps the parts of its keys until it is decided.
    ///
    /// ```
    /// use http::Request;
    /// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
    ///
    /// let rule = Rule::new("tables").routes(["GET /tables/{table}"]).key((key::header("x-account"), key::path("table")));
    /// let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_minute(1))).remember_names(1000).build()?;
    ///
    /// let request = Request::get("/tables/orders").header("x-account", "acme").body(())?;
    /// assert!(limiter.check_request(&RequestView::new(&request))?.is_admitted());
    /// assert!(!limiter.check_request(&RequestView::new(&request))?.is_admitted());
    /// let heaviest = limiter.heaviest("tables", 1)?;
    /// assert_eq!(limiter.name_of(heaviest[0].key()).as_deref(), Some("acme/orders"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn remember_names(mut self, most: usize) -> Self {
        self.observer.names = most;
        self
    }

    /// Sets whether the limiter counts through the facade of the crate `metrics`. Defaults to `true`.
    #[cfg(feature = "metrics")]
    pub const fn metrics(mut self, counts: bool) -> Self {
        self.observer.is_uncounted = !counts;
        self
    }

    /// Turns off a [check](crate::observe#warnings) for mistakes in the deployment.
    ///
    /// ```
    /// use tower_quota::{Policy, RateLimiter, Rule, observe::Check};
    ///
    /// let policy = Policy::per_minute(60).and_per_hour(10);
    /// let builder = || RateLimiter::builder().rule(Rule::new("jobs").no_requests().policy(policy.clone()));
    /// assert_eq!(builder().build()?.warnings()[0].check(), Check::QuotaIdle);
    /// assert!(builder().without(Check::QuotaIdle).build()?.warnings().is_empty());
    /// # Ok::<(), tower_quota::ConfigError>(())
    /// ```
    pub const fn without(mut self, check: Check) -> Self {
        self.observer.without |= check.bit();
        self
    }

    /// Returns the store, for a file to choose another.
    #[cfg(feature = "config")]
    pub(crate) const fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// Checks everything and builds the limiter.
    ///
    /// # Errors
    ///
    /// If there is a mistake in a rule or a setting, two rules conflict, or the store cannot be opened.
    pub fn build(self) -> Result<RateLimiter<K, S>, ConfigError> {
        let answers = self.validate()?;
        // A clock may need time to start, which the first request should not pay for.
        let _ = self.clock.now();
        let scopes = Scopes::with_capacity(self.rules.iter().map(Rule::plan_count).sum());
        let id = NEXT_LIMITER.fetch_add(1, Ordering::Relaxed);
        let version = Version { limiter: id, number: 1 };
        let observer = Arc::new(Observer::new(self.observer));
        let rules = Rules::compile((&self.rules, &self.exemptions), answers, &scopes, (version, &observer))?;
        rules.rulebook.warn_of_idle_quotas();
        let mut store = self.store;
        rules.rulebook.check_support(store.cost_support())?;
        let setup = Setup {
            scopes: scopes.clone(),
            max_keys: self.max_keys,
            clock: self.clock,
            observer: Arc::clone(&observer),
        };
        store.open(setup)?;
        let limiter = RateLimiter::new(rules, &self.rules, scopes, store)?;
        if !cfg!(test)
            && let Some(count) = LIMITERS.note(Stopwatch::start().started_at())
        {
            observer.warn(&Warning::ManyLimiters(count), None);
        }
        Ok(limiter)
    }

    /// Finds every mistake in the settings. Returns how refused callers are answered.
    pub(super) fn validate(&self) -> Result<AnswerSettings, ConfigError> {
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
        self.response.validate()?;
        let template = self.message.as_deref().map(MessageTemplate::parse).transpose()?;
        Ok(AnswerSettings { template, response: self.response.clone() })
    }
}

impl<S> RateLimiterBuilder<Http, S> {
    /// Sets the status of the answer to a denied HTTP request, from 400 to 599. Defaults to 429.
    ///
    /// gRPC calls are denied with `RESOURCE_EXHAUSTED` in any case. Other refusals have the status of their
    /// [reason](crate::http::Refusal::status).
    ///
    /// ```
    /// use http::{Request, StatusCode};
    /// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView};
    ///
    /// let limiter = RateLimiter::builder()
    ///     .rule(Rule::new("calls").no_requests().policy(Policy::per_minute(1)))
    ///     .denied_status(StatusCode::SERVICE_UNAVAILABLE)
    ///     .build()?;
    ///
    /// let calls = limiter.rule("calls")?;
    /// assert!(calls.admit("acme"));
    /// let answer = calls.check("acme").refusal(&RequestView::new(&Request::new(())));
    /// assert_eq!(answer.map(|answer| answer.status().as_u16()), Some(503));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn denied_status(mut self, status: StatusCode) -> Self {
        self.response.denied_status = status;
        self
    }

    /// Sets the status of the answer to an HTTP request that costs more than some quota admits, so that waiting does not help:
    /// from 400 to 599. Defaults to 413.
    ///
    /// With 429 retrying clients would try in vain. The answer has no `Retry-After`, and says what the request costs and what
    /// is admitted. gRPC calls are denied with `RESOURCE_EXHAUSTED`, and are told not to retry.
    ///
    /// ```
    /// use http::{Request, StatusCode};
    /// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView};
    ///
    /// let limiter = RateLimiter::builder()
    ///     .rule(Rule::new("tokens").no_requests().policy(Policy::per_minute(20_000)).cost("tokens", 1))
    ///     .never_possible(StatusCode::BAD_REQUEST)
    ///     .build()?;
    ///
    /// let decision = limiter.rule("tokens")?.check_cost("acme", 20_001)?;
    /// let answer = decision.refusal(&RequestView::new(&Request::new(()))).ok_or("it is denied")?;
    /// assert_eq!(answer.status(), 400);
    /// assert!(!answer.headers().contains_key("retry-after"));
    /// let text = "This request costs 20001 tokens; at most 20000 are admitted per minute.";
    /// assert_eq!(decision.message().as_deref(), Some(text));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn never_possible(mut self, status: StatusCode) -> Self {
        self.response.never_possible = status;
        self
    }

    /// Sets the body of the answers to refused HTTP requests. Defaults to [`RefusalFormat::Problem`].
    ///
    /// It is for the standard answers. Those of [`RateLimitLayer::on_refusal`](crate::RateLimitLayer::on_refusal) are as
    /// the closure makes them.
    pub const fn refusal_format(mut self, format: RefusalFormat) -> Self {
        self.response.format = format;
        self
    }
}

pub(crate) fn too_many_rules(rules: usize) -> ConfigError {
    let most = RuleId::MAX_RULES;
    let reason = format!("a limiter has at most {most} rules: routes with one policy can be one rule per_route");
    ConfigError::new("rules", rules, reason)
}
