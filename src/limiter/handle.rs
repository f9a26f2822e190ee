//! The handle that everything shares.

use std::{fmt, slice, sync::Arc};

use crate::{
    error::{CheckError, Unavailable, UnknownRule},
    key::{Charge, Key, KeyBuilder, KeyHasher, KeyParts},
    limiter::{
        Assembly, Charged, Decision, Governed, GovernedBy, Governing, Mark, MaybeDecided, RateLimiterBuilder, Refused,
        Routing, RuleHandle, RuleNumbers, Stripes, rule_handle::Place,
    },
    request::{Http, Plain, RequestKind},
    store::{AnyStore, MemoryStore, Store, Told, Verdict},
};

/// Rules and their histories. Clones share one state.
///
/// Most users only make [layers](crate::RateLimitLayer) of it. The others ask the limiter directly, without any HTTP: for the items of
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

/// A limiter whose store is chosen [at run time](AnyStore).
pub type AnyRateLimiter<K = Http> = RateLimiter<K, AnyStore>;

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

/// What is asked without a request, and answered at once because the histories are in this process.
impl<K: RequestKind> RateLimiter<K> {
    /// Decides about one request of `key` under a rule, and charges it if it is admitted.
    ///
    /// # Errors
    ///
    /// If no rule has this name (names are compared ignoring case).
    pub fn check(&self, rule: &str, key: impl KeyParts) -> Result<Decision, UnknownRule> {
        Ok(self.check_at(&self.place_of(rule)?, key))
    }

    /// Whether one request of `key` is admitted under a rule, and charged: [`check`](Self::check) for those who ask no more
    /// than that. It takes half the instructions, and fewer if the [rule](Self::rule) is looked up once.
    ///
    /// # Errors
    ///
    /// If no rule has this name.
    pub fn admit(&self, rule: &str, key: impl KeyParts) -> Result<bool, UnknownRule> {
        Ok(self.admit_at(&self.place_of(rule)?, key))
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
        let governed = self.governed(charges)?;
        let mut decision = self.pending(&governed.rules);
        self.state.store.decide(&governed.charges, decision.verdict_mut());
        Ok(decision)
    }

    /// Whether a request is admitted under several rules, and charged: [`check_all`](Self::check_all) for those who ask no
    /// more than that.
    ///
    /// # Errors
    ///
    /// If no rule has one of the names.
    pub fn admit_all<'r, P: KeyParts>(
        &self,
        charges: impl IntoIterator<Item = (&'r str, P)>,
    ) -> Result<bool, UnknownRule> {
        let mut verdict = Verdict::asked(Told::Never);
        self.state.store.decide(&self.governed(charges)?.charges, &mut verdict);
        Ok(verdict.is_admitted())
    }

    /// What [`check`](Self::check) would answer now; charges nothing.
    ///
    /// # Errors
    ///
    /// If no rule has this name.
    pub fn peek(&self, rule: &str, key: impl KeyParts) -> Result<Decision, UnknownRule> {
        Ok(self.peek_at(&self.place_of(rule)?, key))
    }

    /// Forgets what a rule remembers of `key`, on all its routes; says whether that was anything.
    ///
    /// What was charged to the history that keys share while the table is full is not forgotten.
    ///
    /// # Errors
    ///
    /// If no rule has this name.
    pub fn reset(&self, rule: &str, key: impl KeyParts) -> Result<bool, UnknownRule> {
        Ok(self.reset_at(&self.place_of(rule)?, key))
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

    pub(super) fn admit_at(&self, place: &Place, parts: impl KeyParts) -> bool {
        let mut verdict = Verdict::asked(Told::Never);
        let key = &mut self.key_at(place);
        parts.write(key);
        self.state.store.decide(slice::from_ref(key.charge()), &mut verdict);
        verdict.is_admitted()
    }

    pub(super) fn check_at(&self, place: &Place, parts: impl KeyParts) -> Decision {
        let mut decision = self.pending(&[place.rule]);
        let key = &mut self.key_at(place);
        parts.write(key);
        self.state.store.decide(slice::from_ref(key.charge()), decision.verdict_mut());
        decision
    }

    pub(super) fn peek_at(&self, place: &Place, parts: impl KeyParts) -> Decision {
        let mut decision = self.pending(&[place.rule]);
        let key = &mut self.key_at(place);
        parts.write(key);
        self.state.store.peek(slice::from_ref(key.charge()), decision.verdict_mut());
        decision
    }

    pub(super) fn reset_at(&self, place: &Place, parts: impl KeyParts) -> bool {
        self.on_all_routes(place, parts).iter().fold(false, |found, charge| self.state.store.reset(charge) | found)
    }
}

/// What is asked without a request, of histories wherever they are.
impl<K: RequestKind, S: Store> RateLimiter<K, S> {
    /// The rule of this name, to ask it often: it is looked up once.
    ///
    /// # Errors
    ///
    /// If no rule has this name (names are compared ignoring case).
    pub fn rule(&self, name: &str) -> Result<RuleHandle<K, S>, UnknownRule> {
        Ok(RuleHandle::new(self.clone(), self.place_of(name)?))
    }

    /// As [`check`](RateLimiter::check), for any store. Dropping the future may leave the request charged.
    ///
    /// # Errors
    ///
    /// If no rule has this name, or the store cannot decide.
    pub async fn check_async(&self, rule: &str, key: impl KeyParts) -> Result<Decision, CheckError> {
        Ok(self.check_async_at(&self.place_of(rule)?, key).await?)
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
        Ok(self.rule_on(&self.governed(charges)?, Told::Always).wait().await?)
    }

    /// As [`peek`](RateLimiter::peek), for any store.
    ///
    /// # Errors
    ///
    /// If no rule has this name, or the store cannot say.
    pub async fn peek_async(&self, rule: &str, key: impl KeyParts) -> Result<Decision, CheckError> {
        Ok(self.peek_async_at(&self.place_of(rule)?, key).await?)
    }

    /// As [`reset`](RateLimiter::reset), for any store.
    ///
    /// # Errors
    ///
    /// If no rule has this name, or the store cannot do it.
    pub async fn reset_async(&self, rule: &str, key: impl KeyParts) -> Result<bool, CheckError> {
        Ok(self.reset_async_at(&self.place_of(rule)?, key).await?)
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
        let key = &mut KeyBuilder::in_scope(0, &self.state.hasher);
        parts.write(key);
        key.key()
    }

    /// The rules that govern a request, and whom each of them counts. Nothing is decided or charged.
    #[must_use]
    pub fn governing(&self, request: K::View<'_>) -> Vec<Governing<'_>> {
        let mut found: Vec<Governing<'_>> = Vec::new();
        self.state.routing.for_each_rule(
            request,
            |_| true,
            &self.state.hasher,
            |number, key, is_found| {
                let key = is_found.then(|| key.key());
                let governing = self.rulebook().rule(number).map(|rule| Governing::new(rule, key));
                // Several readings of a path may come to the same.
                found.extend(governing.filter(|governing| !found.iter().any(|known| governing.is_same(known))));
            },
        );
        found
    }

    /// The decision about a request; none if there is nothing to charge but what is `applied` already. If it is to be
    /// `noted` then a decision that admits holds what was charged.
    #[inline]
    pub(crate) fn decide_request(
        &self,
        request: K::View<'_>,
        applied: &[Mark],
        told: Told,
        noted: bool,
    ) -> Result<Option<MaybeDecided<S::Future>>, Refused> {
        let mut governed = Governed::default();
        self.state.routing.govern(request, |_| true, applied, &self.state.hasher, &mut governed)?;
        if governed.charges.is_empty() {
            return Ok(None);
        }
        let ruling = self.rule_on(&governed, told);
        Ok(Some(if noted { ruling.noting(|| self.charged(&governed)) } else { ruling }))
    }

    #[inline]
    pub(crate) fn rule_on(&self, governed: &Governed, told: Told) -> MaybeDecided<S::Future> {
        let rules = RuleNumbers::from_slice(&governed.rules);
        let decision = Decision::pending(self.rulebook().mine(), rules, told);
        MaybeDecided::ask(decision, |verdict| self.state.store.decide(&governed.charges, verdict))
    }

    /// A note of what a request is charged.
    pub(crate) fn charged(&self, governed: &Governed) -> Charged {
        self.state.routing.charged(&governed.charges)
    }

    /// What those rules that are `wanted` charge a request, but for what is `applied` already.
    pub(crate) fn govern(
        &self,
        request: K::View<'_>,
        wanted: impl Fn(u16) -> bool,
        applied: &[Mark],
    ) -> Result<Governed, Refused> {
        let mut governed = Governed::default();
        self.state.routing.govern(request, wanted, applied, &self.state.hasher, &mut governed)?;
        Ok(governed)
    }

    /// The number of the rule of this name.
    #[inline]
    pub(crate) fn number_of(&self, rule: &str) -> Result<u16, UnknownRule> {
        self.rulebook().number_of(rule).map(|number| number as u16).ok_or_else(|| self.unknown(rule))
    }

    #[cold]
    fn unknown(&self, rule: &str) -> UnknownRule {
        UnknownRule::new(rule, self.rulebook().names())
    }

    /// The enforcement level of the rule that turned a request away.
    pub(crate) fn level_of(&self, refused: Refused) -> &str {
        self.names_of(refused).1
    }

    /// The rule that turned a request away, and its enforcement level.
    pub(crate) fn names_of(&self, refused: Refused) -> (&str, &str) {
        self.rulebook().rule(refused.rule).map_or(("", "key"), |rule| (rule.name(), rule.level()))
    }

    /// The charges of a request under several rules.
    pub(super) fn governed<'r, P: KeyParts>(
        &self,
        charges: impl IntoIterator<Item = (&'r str, P)>,
    ) -> Result<Governed, UnknownRule> {
        let mut governed = Governed::default();
        for (rule, parts) in charges {
            let place = self.place_of(rule)?;
            let key = &mut self.key_at(&place);
            parts.write(key);
            governed.add(place.rule.into(), *key.charge());
        }
        Ok(governed)
    }

    pub(super) async fn check_async_at(&self, place: &Place, parts: impl KeyParts) -> Result<Decision, Unavailable> {
        let key = &mut self.key_at(place);
        parts.write(key);
        let ask = |verdict: &mut _| self.state.store.decide(slice::from_ref(key.charge()), verdict);
        MaybeDecided::ask(self.pending(&[place.rule]), ask).wait().await
    }

    pub(super) async fn peek_async_at(&self, place: &Place, parts: impl KeyParts) -> Result<Decision, Unavailable> {
        let key = &mut self.key_at(place);
        parts.write(key);
        let ask = |verdict: &mut _| self.state.store.peek(slice::from_ref(key.charge()), verdict);
        MaybeDecided::ask(self.pending(&[place.rule]), ask).wait().await
    }

    pub(super) async fn reset_async_at(&self, place: &Place, parts: impl KeyParts) -> Result<bool, Unavailable> {
        let charges = self.on_all_routes(place, parts);
        let ask = |verdict: &mut _| self.state.store.reset(&charges, verdict);
        Ok(MaybeDecided::ask(self.pending(&[]), ask).wait().await?.is_admitted())
    }

    /// Where the rule of this name is found.
    #[inline]
    fn place_of(&self, rule: &str) -> Result<Place, UnknownRule> {
        let number = self.number_of(rule)?;
        let scopes = self.rulebook().rule(number.into()).map_or(0..0, GovernedBy::scopes);
        Ok(Place { rule: number, scopes })
    }

    /// A decision under these rules that is to say everything.
    fn pending(&self, rules: &[u16]) -> Decision {
        Decision::pending(self.rulebook().mine(), RuleNumbers::from_slice(rules), Told::Always)
    }

    /// The builder of a key in the first scope of a rule.
    #[inline]
    fn key_at(&self, place: &Place) -> KeyBuilder<'_> {
        KeyBuilder::in_scope(place.scopes.start, &self.state.hasher)
    }

    fn on_all_routes(&self, place: &Place, parts: impl KeyParts) -> Vec<Charge> {
        let key = &mut self.key_at(place);
        parts.write(key);
        place.scopes.clone().map(|scope| key.charge_in(scope)).collect()
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
