//! The handle that everything shares.

use std::{fmt, sync::Arc};

use crate::{
    clock::Clock,
    decision::Decision,
    error::UnknownRule,
    http::Http,
    key::{Key, KeyBuilder, KeyHasher, KeyParts},
    kind::RequestKind,
    layer::RateLimitLayer,
    limiter::{Assembly, Governed, GovernedBy, Governing, RateLimiterBuilder, Refused, Routing, RuleNumbers, Stripes},
    plain::Plain,
    store::{Charge, MemoryStore, Scopes, Verdict},
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
#[derive(Clone)]
pub struct RateLimiter<K: RequestKind = Http> {
    state: Arc<State<K>>,
}

/// What all clones share.
struct State<K: RequestKind> {
    rulebook: Stripes,
    routing: Routing<K>,
    store: MemoryStore,
    hasher: KeyHasher,
    clock: Arc<dyn Clock>,
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

    /// A layer that enforces the rules. It may be made many times: all share one state.
    pub fn layer(&self) -> RateLimitLayer {
        RateLimitLayer::from(self.clone())
    }
}

impl<K: RequestKind> RateLimiter<K> {
    pub(super) fn new(assembly: Assembly<K>, max_keys: usize, clock: Arc<dyn Clock>) -> Self {
        let Assembly { rulebook, routing, plans } = assembly;
        let store = MemoryStore::new(Scopes::new(plans), max_keys);
        let rulebook = Stripes::of(rulebook);
        Self { state: Arc::new(State { rulebook, routing, store, hasher: KeyHasher::default(), clock }) }
    }

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
        let mut governed = Governed::default();
        for (rule, key) in charges {
            let (charge, number) = self.charge(rule, key)?;
            governed.add(usize::from(number), charge);
        }
        Ok(self.decide(&governed.charges, governed.rules))
    }

    /// What [`check`](Self::check) would answer now; charges nothing.
    ///
    /// # Errors
    ///
    /// If no rule has this name.
    pub fn peek(&self, rule: &str, key: impl KeyParts) -> Result<Decision, UnknownRule> {
        let (charge, number) = self.charge(rule, key)?;
        let peek = |verdict: &mut Verdict| self.state.store.peek(&[charge], &*self.state.clock, verdict);
        Ok(Decision::by(self.rulebook().mine(), RuleNumbers::from_slice(&[number]), peek))
    }

    /// Forgets what a rule remembers of `key`, on all its routes; says whether that was anything.
    ///
    /// What was charged to the history that keys share while the table is full is not forgotten.
    ///
    /// # Errors
    ///
    /// If no rule has this name.
    pub fn reset(&self, rule: &str, key: impl KeyParts) -> Result<bool, UnknownRule> {
        let number = self.number_of(rule)?;
        let key = self.key(key);
        let scopes = self.rulebook().rule(number.into()).map_or(0..0, GovernedBy::scopes);
        Ok(scopes.fold(false, |found, scope| self.state.store.reset(&Charge { scope, key }) | found))
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

    /// The key made of these parts, to compare with what a request carries.
    #[must_use]
    pub fn key(&self, parts: impl KeyParts) -> Key {
        let mut key = KeyBuilder::new(&self.state.hasher);
        parts.write(&mut key);
        key.key()
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
                found.extend(self.rulebook().rule(number).map(|rule| Governing::new(rule, key)));
            },
        );
        found
    }

    /// The decision about a request; none if no rule governs it but those that are `applied` already.
    pub(crate) fn decide_request(&self, request: K::View<'_>, applied: &[u16]) -> Result<Option<Decision>, Refused> {
        let governed = self.govern(request, |rule| !applied.contains(&rule))?;
        Ok((!governed.charges.is_empty()).then(|| self.decide(&governed.charges, governed.rules)))
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

    pub(crate) fn rulebook(&self) -> &Stripes {
        &self.state.rulebook
    }

    pub(crate) fn decide(&self, charges: &[Charge], rules: RuleNumbers) -> Decision {
        Decision::by(self.rulebook().mine(), rules, |verdict| {
            self.state.store.decide(charges, &*self.state.clock, verdict);
        })
    }

    /// The charge of `key` under a rule, and the rule's number.
    fn charge(&self, rule: &str, key: impl KeyParts) -> Result<(Charge, u16), UnknownRule> {
        let number = self.number_of(rule)?;
        let scope = self.rulebook().rule(number.into()).map_or(0, |rule| rule.scopes().start);
        Ok((Charge { scope, key: self.key(key) }, number))
    }
}

impl<K: RequestKind> fmt::Debug for RateLimiter<K> {
    /// Its rules and how many keys it holds: neither the keys nor the secrets of their hashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("rules", &self.rulebook().names())
            .field("keys", &self.len())
            .finish_non_exhaustive()
    }
}
