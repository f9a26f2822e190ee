//! The handle that everything shares.

use std::{fmt, sync::Arc};

use crate::{
    decision::Decision,
    error::UnknownRule,
    http::Http,
    key::{Key, KeyBuilder, KeyHasher, KeyParts},
    kind::RequestKind,
    layer::RateLimitLayer,
    limiter::{
        Assembly, CheckError, Governed, GovernedBy, Governing, RateLimiterBuilder, Refused, Routing, RuleNumbers,
        Ruling, Stripes,
    },
    plain::Plain,
    store::{Charge, MemoryStore, Store},
};

/// Rules and their histories. Clones share one state.
///
/// Most users only call [`layer`](Self::layer). The others ask the limiter directly, without any HTTP: for the items of
/// a batch, for a job queue, for a page that shows what is left.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, key};
///
/// let limiter = RateLimiter::builder()
///     .rule(
///         Rule::new("tables")
///             .routes(["GET|PUT /tables/{table}"])
///             .level("account+table", (key::header("x-account"), key::path("table")))
///             .policy(Policy::per_minute(2)),
///     )
///     .build()?;
///
/// assert!(limiter.check("tables", ("acme", "orders"))?.is_admitted());
/// assert_eq!(limiter.peek("tables", ("acme", "orders"))?.quotas().next().map(|quota| quota.remaining()), Some(1));
/// assert_eq!(limiter.len(), 1);
/// assert!(limiter.reset("tables", ("acme", "orders"))?);
/// assert!(limiter.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RateLimiter<K: RequestKind = Http, S = MemoryStore> {
    state: Arc<State<K, S>>,
}

/// What all clones share.
struct State<K: RequestKind, S> {
    rulebook: Stripes,
    routing: Routing<K>,
    store: S,
    hasher: KeyHasher,
}

impl RateLimiter {
    /// Starts with no rules, the system's clock, and room for 1,000,000 keys.
    pub fn builder() -> RateLimiterBuilder {
        RateLimiterBuilder::default()
    }

    /// As [`builder`](Self::builder), for the requests `R` of a service that is not about HTTP: see [`plain`](crate::plain).
    pub fn builder_for<R: 'static>() -> RateLimiterBuilder<Plain<R>> {
        RateLimiterBuilder::default()
    }
}

impl<S: Store> RateLimiter<Http, S> {
    /// A layer that enforces the rules. It may be made many times: all share one state.
    pub fn layer(&self) -> RateLimitLayer<S> {
        RateLimitLayer::from(self.clone())
    }
}

/// What is asked without a request, and answered at once because the histories are in this process.
impl<K: RequestKind> RateLimiter<K> {
    /// Decides about one request of `key` under a rule, and charges it if it is admitted.
    ///
    /// # Errors
    ///
    /// If no rule has this name (names are compared ignoring case).
    pub fn check(&self, rule: &str, key: impl KeyParts) -> Result<Decision, UnknownRule> {
        let (charge, number) = self.charge(rule, key)?;
        Ok(self.decide(&[charge], RuleNumbers::from_slice(&[number])))
    }

    /// Decides about a request under several rules: all of them admit it and are charged, or none is.
    ///
    /// It is one request: the same rule and key given twice are charged once.
    ///
    /// # Errors
    ///
    /// If no rule has one of the names.
    pub fn check_all<'r, P: KeyParts>(
        &self,
        charges: impl IntoIterator<Item = (&'r str, P)>,
    ) -> Result<Decision, UnknownRule> {
        let governed = self.charges(charges)?;
        Ok(self.decide(&governed.charges, governed.rules))
    }

    /// What [`check`](Self::check) would answer now; charges nothing.
    ///
    /// # Errors
    ///
    /// If no rule has this name.
    pub fn peek(&self, rule: &str, key: impl KeyParts) -> Result<Decision, UnknownRule> {
        let (charge, number) = self.charge(rule, key)?;
        let mut decision = Decision::pending(self.rulebook().mine(), RuleNumbers::from_slice(&[number]));
        self.state.store.peek(&[charge], decision.verdict_mut());
        Ok(decision)
    }

    /// Forgets what a rule remembers of `key`, on all its routes; says whether that was anything.
    ///
    /// What was charged to the history that keys share while the table is full is not forgotten.
    ///
    /// # Errors
    ///
    /// If no rule has this name.
    pub fn reset(&self, rule: &str, key: impl KeyParts) -> Result<bool, UnknownRule> {
        Ok(self.all_charges(rule, key)?.iter().fold(false, |found, charge| self.state.store.reset(charge) | found))
    }

    /// How many histories are kept, one per rule and key.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.store.len()
    }

    /// Whether no history is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn decide(&self, charges: &[Charge], rules: RuleNumbers) -> Decision {
        let mut decision = Decision::pending(self.rulebook().mine(), rules);
        self.state.store.decide(charges, decision.verdict_mut());
        decision
    }
}

/// What is asked without a request, of histories wherever they are.
impl<K: RequestKind, S: Store> RateLimiter<K, S> {
    /// As [`check`](RateLimiter::check), for any store. Dropping the future may leave the request charged.
    ///
    /// # Errors
    ///
    /// If no rule has this name, or the store cannot decide.
    pub async fn check_async(&self, rule: &str, key: impl KeyParts) -> Result<Decision, CheckError> {
        let (charge, number) = self.charge(rule, key)?;
        let charges = Governed { charges: [charge].into_iter().collect(), rules: RuleNumbers::from_slice(&[number]) };
        Ok(self.rule_on(charges).made().await?)
    }

    /// As [`check_all`](RateLimiter::check_all), for any store. Dropping the future may leave the request charged.
    ///
    /// # Errors
    ///
    /// If no rule has one of the names, or the store cannot decide.
    pub async fn check_all_async<'r, P: KeyParts>(
        &self,
        charges: impl IntoIterator<Item = (&'r str, P)>,
    ) -> Result<Decision, CheckError> {
        Ok(self.rule_on(self.charges(charges)?).made().await?)
    }

    /// As [`peek`](RateLimiter::peek), for any store.
    ///
    /// # Errors
    ///
    /// If no rule has this name, or the store cannot say.
    pub async fn peek_async(&self, rule: &str, key: impl KeyParts) -> Result<Decision, CheckError> {
        let (charge, number) = self.charge(rule, key)?;
        let decision = Decision::pending(self.rulebook().mine(), RuleNumbers::from_slice(&[number]));
        Ok(Ruling::of(decision, |verdict| self.state.store.peek(&[charge], verdict)).made().await?)
    }

    /// As [`reset`](RateLimiter::reset), for any store.
    ///
    /// # Errors
    ///
    /// If no rule has this name, or the store cannot do it.
    pub async fn reset_async(&self, rule: &str, key: impl KeyParts) -> Result<bool, CheckError> {
        let charges = self.all_charges(rule, key)?;
        let decision = Decision::pending(self.rulebook().mine(), RuleNumbers::new());
        Ok(Ruling::of(decision, |verdict| self.state.store.reset(&charges, verdict)).made().await?.is_admitted())
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.state.store
    }

    pub(super) fn new(assembly: Assembly<K>, store: S) -> Self {
        let Assembly { rulebook, routing, .. } = assembly;
        let hasher = store.key_secret().map_or_else(KeyHasher::default, KeyHasher::with_secret);
        Self { state: Arc::new(State { rulebook: Stripes::of(rulebook), routing, store, hasher }) }
    }

    /// The key made of these parts, to compare with what a request carries.
    #[must_use]
    pub fn key(&self, parts: impl KeyParts) -> Key {
        self.built(parts).key()
    }

    /// The rules that govern a request, and whom each of them counts. Nothing is decided or charged.
    #[must_use]
    pub fn governing(&self, request: K::View<'_>) -> Vec<Governing<'_>> {
        let mut found = Vec::new();
        self.state.routing.for_each_rule(
            request,
            |_| true,
            &self.state.hasher,
            |number, _, key| {
                found.extend(self.rulebook().rule(number).map(|rule| Governing::new(rule, key.map(|key| key.key()))));
            },
        );
        found
    }

    /// The decision about a request; none if no rule governs it but those that are `applied` already.
    #[inline]
    pub(crate) fn decide_request(
        &self,
        request: K::View<'_>,
        applied: &[u16],
    ) -> Result<Option<Ruling<S::Deciding>>, Refused> {
        let governed = self.govern(request, |rule| !applied.contains(&rule))?;
        Ok((!governed.charges.is_empty()).then(|| self.rule_on(governed)))
    }

    #[inline]
    pub(crate) fn rule_on(&self, governed: Governed) -> Ruling<S::Deciding> {
        let decision = Decision::pending(self.rulebook().mine(), governed.rules);
        Ruling::of(decision, |verdict| self.state.store.decide(&governed.charges, verdict))
    }

    /// What those rules that are `wanted` charge a request to.
    pub(crate) fn govern(&self, request: K::View<'_>, wanted: impl Fn(u16) -> bool) -> Result<Governed, Refused> {
        self.state.routing.govern(request, wanted, &self.state.hasher)
    }

    /// The number of the rule of this name.
    pub(crate) fn number_of(&self, rule: &str) -> Result<u16, UnknownRule> {
        self.rulebook().number_of(rule).map(|number| number as u16).ok_or_else(|| UnknownRule::new(rule))
    }

    /// The enforcement level of the rule that turned a request away.
    pub(crate) fn level_of(&self, refused: Refused) -> &str {
        self.rulebook().rule(refused.rule).map_or("key", GovernedBy::level)
    }

    /// The charges of a request under several rules.
    fn charges<'r, P: KeyParts>(
        &self,
        charges: impl IntoIterator<Item = (&'r str, P)>,
    ) -> Result<Governed, UnknownRule> {
        let mut governed = Governed::default();
        for (rule, key) in charges {
            let (charge, number) = self.charge(rule, key)?;
            governed.add(usize::from(number), charge);
        }
        Ok(governed)
    }

    /// The charges of `key` under a rule on all its routes.
    fn all_charges(&self, rule: &str, key: impl KeyParts) -> Result<Vec<Charge>, UnknownRule> {
        let number = self.number_of(rule)?;
        let key = self.built(key);
        let scopes = self.rulebook().rule(number.into()).map_or(0..0, GovernedBy::scopes);
        Ok(scopes.map(|scope| Charge::of(scope, &key)).collect())
    }

    fn built(&self, parts: impl KeyParts) -> KeyBuilder<'_> {
        let mut key = KeyBuilder::new(&self.state.hasher);
        parts.write(&mut key);
        key
    }

    /// The charge of `key` under a rule, and the rule's number.
    fn charge(&self, rule: &str, key: impl KeyParts) -> Result<(Charge, u16), UnknownRule> {
        let number = self.number_of(rule)?;
        let scope = self.rulebook().rule(number.into()).map_or(0, |rule| rule.scopes().start);
        Ok((Charge::of(scope, &self.built(key)), number))
    }
}

impl<K: RequestKind, S> RateLimiter<K, S> {
    pub(crate) fn rulebook(&self) -> &Stripes {
        &self.state.rulebook
    }
}

impl<K: RequestKind, S> Clone for RateLimiter<K, S> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state) }
    }
}

impl<K: RequestKind, S: fmt::Debug> fmt::Debug for RateLimiter<K, S> {
    /// Its rules and its store: neither the keys nor the secrets of their hashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("rules", &self.rulebook().names())
            .field("store", &self.state.store)
            .finish_non_exhaustive()
    }
}
