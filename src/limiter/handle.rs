//! The handle that everything shares.

use std::{fmt, sync::Arc};

use crate::{
    clock::Clock,
    decision::Decision,
    error::UnknownRule,
    history::Plan,
    http::RequestView,
    key::{Key, KeyBuilder, KeyHasher, KeyParts},
    layer::RateLimitLayer,
    limiter::{Governed, GovernedBy, Governing, RateLimiterBuilder, Refused, RuleNumbers, Rulebook, Stripes},
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
pub struct RateLimiter {
    state: Arc<State>,
}

/// What all clones share.
struct State {
    rulebook: Stripes,
    store: MemoryStore,
    hasher: KeyHasher,
    clock: Arc<dyn Clock>,
}

impl RateLimiter {
    /// Starts with no rules, the system's clock, and room for 1,000,000 keys.
    pub fn builder() -> RateLimiterBuilder {
        RateLimiterBuilder::default()
    }

    pub(super) fn new(rulebook: Rulebook, plans: Vec<Arc<Plan>>, max_keys: usize, clock: Arc<dyn Clock>) -> Self {
        let store = MemoryStore::new(Scopes::new(plans), max_keys);
        let state = State { rulebook: Stripes::of(rulebook), store, hasher: KeyHasher::default(), clock };
        Self { state: Arc::new(state) }
    }

    /// A layer that enforces the rules. It may be made many times: all share one state.
    pub fn layer(&self) -> RateLimitLayer {
        RateLimitLayer::from(self.clone())
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
        let number = self.rulebook().number_of(rule).ok_or_else(|| UnknownRule::new(rule))?;
        let key = self.key(key);
        let scopes = self.rulebook().rule(number).map_or(0..0, GovernedBy::scopes);
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
    pub fn governing(&self, request: &RequestView<'_>) -> Vec<Governing<'_>> {
        self.rulebook().governing(request, &self.state.hasher)
    }

    /// The decision about a request; none if no rule governs it but those that are `applied` already.
    pub(crate) fn decide_request(
        &self,
        request: &RequestView<'_>,
        applied: &[u16],
    ) -> Result<Option<Decision>, Refused> {
        let governed = self.rulebook().govern(request, applied, &self.state.hasher)?;
        Ok((!governed.charges.is_empty()).then(|| self.decide(&governed.charges, governed.rules)))
    }

    pub(crate) fn rulebook(&self) -> &Stripes {
        &self.state.rulebook
    }

    fn decide(&self, charges: &[Charge], rules: RuleNumbers) -> Decision {
        Decision::by(self.rulebook().mine(), rules, |verdict| {
            self.state.store.decide(charges, &*self.state.clock, verdict);
        })
    }

    /// The charge of `key` under a rule, and the rule's number.
    fn charge(&self, rule: &str, key: impl KeyParts) -> Result<(Charge, u16), UnknownRule> {
        let number = self.rulebook().number_of(rule).ok_or_else(|| UnknownRule::new(rule))?;
        let scope = self.rulebook().rule(number).map_or(0, |rule| rule.scopes().start);
        Ok((Charge { scope, key: self.key(key) }, number as u16))
    }
}

impl fmt::Debug for RateLimiter {
    /// Its rules and how many keys it holds: neither the keys nor the secrets of their hashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("rules", &self.rulebook().names())
            .field("keys", &self.len())
            .finish_non_exhaustive()
    }
}
