//! The handle that everything shares.

use std::{fmt, ops::Range, sync::Arc};

use crate::{
    error::{CheckError, UnknownRule},
    key::{Key, KeyBuilder, KeyHasher, KeyParts},
    limiter::{
        ChargeMark, ChargeMarks, Charges, CompiledRule, CompiledRules, Decision, KeyRejected, MatchedRule,
        MaybeDecided, RuleMatcher, RuleNumbers, ShardedRulebook,
    },
    request::{Http, RequestKind},
    store::{AnyStore, Detail, MemoryStore, Store, Verdict},
};

/// Rules and their histories. Clones share one state.
///
/// Most users only make [layers](crate::RateLimitLayer) of it. The others ask [one of its rules](Self::rule), without any HTTP: for
/// a job queue, for the items of a batch, for a page that shows what is left.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, key};
///
/// let limiter = RateLimiter::builder()
///     .rule(
///         Rule::new("tables")
///             .routes(["GET|PUT /tables/{table}"])
///             .key((key::header("x-account"), key::path("table")))
///             .policy(Policy::per_minute(2)),
///     )
///     .build()?;
///
/// let tables = limiter.rule("tables")?;
/// assert!(tables.check(("acme", "orders")).is_admitted());
/// assert_eq!(tables.peek(("acme", "orders")).quotas().next().map(|quota| quota.remaining()), Some(1));
/// assert_eq!(limiter.len(), 1);
/// assert!(tables.reset(("acme", "orders")));
/// assert!(limiter.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RateLimiter<K: RequestKind = Http, S = MemoryStore> {
    pub(super) state: Arc<State<K, S>>,
}

/// A limiter whose store is chosen [at run time](AnyStore).
pub type AnyRateLimiter<K = Http> = RateLimiter<K, AnyStore>;

/// What all clones share.
pub(super) struct State<K: RequestKind, S> {
    rulebook: ShardedRulebook,
    pub(super) routing: RuleMatcher<K>,
    pub(super) store: S,
    pub(super) hasher: KeyHasher,
}

/// What is asked without a request, and answered at once because the histories are in this process.
impl<K: RequestKind> RateLimiter<K> {
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
        let mut verdict = Verdict::with_detail(Detail::None);
        self.state.store.decide(&self.governed(charges)?.charges, &mut verdict);
        Ok(verdict.is_admitted())
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
}

/// What is asked without a request, of histories wherever they are.
impl<K: RequestKind, S: Store> RateLimiter<K, S> {
    /// As [`check_all`](RateLimiter::check_all), for any store. Dropping the future may leave the request charged.
    ///
    /// # Errors
    ///
    /// If no rule has one of the names, or the store cannot decide.
    pub async fn check_all_async<'r, P: KeyParts>(
        &self,
        charges: impl IntoIterator<Item = (&'r str, P)>,
    ) -> Result<Decision, CheckError> {
        Ok(self.rule_on(&self.governed(charges)?, Detail::Full).wait().await?)
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.state.store
    }

    pub(super) fn new(assembly: CompiledRules<K>, store: S) -> Self {
        let CompiledRules { rulebook, routing, .. } = assembly;
        let hasher = store.key_secret().map_or_else(KeyHasher::default, KeyHasher::with_secret);
        Self { state: Arc::new(State { rulebook: ShardedRulebook::new(rulebook), routing, store, hasher }) }
    }

    /// Returns the key that is made of these parts, to compare with what a request carries.
    #[must_use]
    pub fn key(&self, parts: impl KeyParts) -> Key {
        let key = &mut KeyBuilder::in_scope(0, &self.state.hasher);
        parts.write(key);
        key.key()
    }

    /// Returns the rules that govern a request, each with the key that it counts. Nothing is decided or charged.
    #[must_use]
    pub fn matching(&self, request: K::View<'_>) -> Vec<MatchedRule<'_>> {
        let mut found: Vec<MatchedRule<'_>> = Vec::new();
        self.state.routing.for_each_rule(
            request,
            |_| true,
            &self.state.hasher,
            |number, key, is_found| {
                let key = is_found.then(|| key.key());
                let matched = self.rulebook().rule(number).map(|rule| MatchedRule::new(rule, key));
                // MultipleValues readings of a path may come to the same.
                found.extend(matched.filter(|matched| !found.iter().any(|known| matched.is_same(known))));
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
        applied: &[ChargeMark],
        told: Detail,
        noted: bool,
    ) -> Result<Option<MaybeDecided<S::Future>>, KeyRejected> {
        let mut governed = Charges::default();
        self.state.routing.govern(request, |_| true, applied, &self.state.hasher, &mut governed)?;
        if governed.charges.is_empty() {
            return Ok(None);
        }
        let ruling = self.rule_on(&governed, told);
        Ok(Some(if noted { ruling.noting(|| self.charged(&governed)) } else { ruling }))
    }

    #[inline]
    pub(crate) fn rule_on(&self, governed: &Charges, told: Detail) -> MaybeDecided<S::Future> {
        let rules = RuleNumbers::from_slice(&governed.rules);
        let decision = Decision::pending(self.rulebook().local(), rules, told);
        MaybeDecided::ask(decision, |verdict| self.state.store.decide(&governed.charges, verdict))
    }

    /// A note of what a request is charged.
    pub(crate) fn charged(&self, governed: &Charges) -> ChargeMarks {
        self.state.routing.charged(&governed.charges)
    }

    /// What those rules that are `wanted` charge a request, but for what is `applied` already.
    pub(crate) fn govern(
        &self,
        request: K::View<'_>,
        wanted: impl Fn(u16) -> bool,
        applied: &[ChargeMark],
    ) -> Result<Charges, KeyRejected> {
        let mut governed = Charges::default();
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
    pub(crate) fn level_of(&self, refused: KeyRejected) -> &str {
        self.names_of(refused).1
    }

    /// The rule that turned a request away, and its enforcement level.
    pub(crate) fn names_of(&self, refused: KeyRejected) -> (&str, &str) {
        self.rulebook().rule(refused.rule).map_or(("", "key"), |rule| (rule.name(), rule.level()))
    }

    /// The charges of a request under several rules.
    pub(super) fn governed<'r, P: KeyParts>(
        &self,
        charges: impl IntoIterator<Item = (&'r str, P)>,
    ) -> Result<Charges, UnknownRule> {
        let mut governed = Charges::default();
        for (rule, parts) in charges {
            let (number, scopes) = self.place_of(rule)?;
            let key = &mut KeyBuilder::in_scope(scopes.start, &self.state.hasher);
            parts.write(key);
            governed.add(number.into(), *key.charge());
        }
        Ok(governed)
    }

    /// The number of the rule of this name, and the scopes of its histories: one, or one per route.
    #[inline]
    pub(super) fn place_of(&self, rule: &str) -> Result<(u16, Range<u32>), UnknownRule> {
        let number = self.number_of(rule)?;
        Ok((number, self.rulebook().rule(number.into()).map_or(0..0, CompiledRule::scopes)))
    }

    /// A decision under these rules that is to say everything.
    pub(super) fn pending(&self, rules: &[u16]) -> Decision {
        Decision::pending(self.rulebook().local(), RuleNumbers::from_slice(rules), Detail::Full)
    }
}

impl<K: RequestKind, S> RateLimiter<K, S> {
    pub(crate) fn rulebook(&self) -> &ShardedRulebook {
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
