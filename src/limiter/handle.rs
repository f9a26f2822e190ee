//! The limiter: the handle that all layers share.

use std::{fmt, ops::Range, sync::Arc};

use crate::{
    error::{CheckError, UnknownRule},
    key::{Key, KeyBuilder, KeyHasher, KeyParts},
    limiter::{
        ChargeMark, ChargeMarks, Charges, CompiledRule, Decision, KeyRejected, MatchedRule, MaybeDecided, RuleIds,
        RuleMatcher, Rulebook, ShardedRulebook,
    },
    request::{Http, RequestKind},
    rule::RuleId,
    store::{AnyStore, Detail, MemoryStore, Store, Verdict},
};

/// A limiter: rules and their histories. Clones share one state.
///
/// Most users only create [layers](crate::RateLimitLayer) from it. [One of its rules](Self::rule) can also be asked without any
/// HTTP: for a job queue, for the items of a batch, for a page that shows what is left.
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

/// The state that all clones share.
pub(super) struct State<K: RequestKind, S> {
    rulebook: ShardedRulebook,
    pub(super) matcher: RuleMatcher<K>,
    pub(super) store: S,
    pub(super) hasher: KeyHasher,
}

/// Questions without a request, answered at once because the histories are in this process.
impl<K: RequestKind> RateLimiter<K> {
    /// Decides about one request under several rules: all of them admit it and are charged, or none is.
    ///
    /// The same rule and key given twice are charged once.
    ///
    /// ```
    /// use tower_quota::{Policy, RateLimiter, Rule};
    ///
    /// let rule = |name, most| Rule::new(name).no_requests().policy(Policy::per_minute(most));
    /// let limiter = RateLimiter::builder().rule(rule("user", 1)).rule(rule("team", 9)).build()?;
    ///
    /// assert!(limiter.check_all([("user", "ann"), ("team", "red")])?.is_admitted());
    /// let denied = limiter.check_all([("user", "ann"), ("team", "red")])?;
    /// assert_eq!(denied.exhausted().map(|quota| quota.rule()).collect::<Vec<_>>(), ["user"]);
    ///
    /// let team = limiter.rule("team")?.peek("red");
    /// assert_eq!(team.quotas().next().map(|quota| quota.remaining()), Some(8));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the limiter has no rule of one of the names. Nothing is charged then.
    pub fn check_all<'r, P: KeyParts>(
        &self,
        charges: impl IntoIterator<Item = (&'r str, P)>,
    ) -> Result<Decision, UnknownRule> {
        let charges = self.charges(charges)?;
        let mut decision = self.pending(&charges.rules);
        self.state.store.decide(&charges.charges, decision.verdict_mut());
        Ok(decision)
    }

    /// Returns `true` if one request is admitted, and so charged, under several rules: [`check_all`](Self::check_all) for
    /// callers that need no more than that. It takes half the instructions.
    ///
    /// # Errors
    ///
    /// If the limiter has no rule of one of the names. Nothing is charged then.
    pub fn admit_all<'r, P: KeyParts>(
        &self,
        charges: impl IntoIterator<Item = (&'r str, P)>,
    ) -> Result<bool, UnknownRule> {
        let mut verdict = Verdict::with_detail(Detail::None);
        self.state.store.decide(&self.charges(charges)?.charges, &mut verdict);
        Ok(verdict.is_admitted())
    }

    /// Returns the number of histories that are kept, one per rule and key.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.store.len()
    }

    /// Returns `true` if no history is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Questions without a request, of any store.
impl<K: RequestKind, S: Store> RateLimiter<K, S> {
    /// Decides about one request under several rules, as [`check_all`](RateLimiter::check_all) does, in any store.
    ///
    /// # Errors
    ///
    /// If the limiter has no rule of one of the names, or the store cannot decide and does not fail open.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the request charged.
    pub async fn check_all_async<'r, P: KeyParts>(
        &self,
        charges: impl IntoIterator<Item = (&'r str, P)>,
    ) -> Result<Decision, CheckError> {
        Ok(self.decide(&self.charges(charges)?, Detail::Full).wait().await?)
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.state.store
    }

    pub(super) fn new(rulebook: Rulebook, matcher: RuleMatcher<K>, store: S) -> Self {
        let hasher = store.key_secret().map_or_else(KeyHasher::default, KeyHasher::with_secret);
        Self { state: Arc::new(State { rulebook: ShardedRulebook::new(rulebook), matcher, store, hasher }) }
    }

    /// Returns the key that is made of these parts, to compare with [the key of a request](crate::RuleHandle::key_of).
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
        self.state.matcher.for_each_rule(request, &self.state.hasher, |rule, key, is_found| {
            let key = is_found.then(|| key.key());
            let matched = self.rulebook().rule(rule).map(|rule| MatchedRule::new(rule, key));
            // Several readings of a path may lead to the same rule and key.
            found.extend(matched.filter(|matched| !found.iter().any(|known| matched.is_same(known))));
        });
        found
    }

    /// Decides about a request; `None` if there is nothing to charge but what is `applied` already. A decision that is to be
    /// `recorded` in the request gets the marks of its charges.
    #[inline]
    pub(crate) fn decide_request(
        &self,
        request: K::View<'_>,
        applied: &[ChargeMark],
        detail: Detail,
        recorded: bool,
    ) -> Result<Option<MaybeDecided<S::Future>>, KeyRejected> {
        let mut charges = Charges::default();
        self.state.matcher.charge(request, |_| true, applied, &self.state.hasher, &mut charges)?;
        if charges.charges.is_empty() {
            return Ok(None);
        }
        let decided = self.decide(&charges, detail);
        Ok(Some(if recorded { decided.with_marks(|| self.marks(&charges)) } else { decided }))
    }

    /// Decides about charges.
    #[inline]
    pub(crate) fn decide(&self, charges: &Charges, detail: Detail) -> MaybeDecided<S::Future> {
        let rules = RuleIds::from_slice(&charges.rules);
        let decision = Decision::pending(self.rulebook().local(), rules, detail);
        MaybeDecided::ask(decision, |verdict| self.state.store.decide(&charges.charges, verdict))
    }

    /// Returns the marks of these charges.
    pub(crate) fn marks(&self, charges: &Charges) -> ChargeMarks {
        self.state.matcher.marks(&charges.charges)
    }

    /// Returns the charges of a request under the `wanted` rules, except those that are `applied` already.
    pub(crate) fn charges_of(
        &self,
        request: K::View<'_>,
        wanted: impl Fn(RuleId) -> bool,
        applied: &[ChargeMark],
    ) -> Result<Charges, KeyRejected> {
        let mut charges = Charges::default();
        self.state.matcher.charge(request, wanted, applied, &self.state.hasher, &mut charges)?;
        Ok(charges)
    }

    /// Returns the number of the rule of this name.
    #[inline]
    pub(crate) fn rule_id(&self, name: &str) -> Result<RuleId, UnknownRule> {
        self.rulebook().id(name).ok_or_else(|| self.unknown_rule(name))
    }

    #[cold]
    fn unknown_rule(&self, name: &str) -> UnknownRule {
        UnknownRule::new(name, self.rulebook().names())
    }

    /// Returns the enforcement level of the rule that rejected a request.
    pub(crate) fn level_of(&self, rejected: KeyRejected) -> &str {
        self.names_of(rejected).1
    }

    /// Returns the name and the enforcement level of the rule that rejected a request.
    pub(crate) fn names_of(&self, rejected: KeyRejected) -> (&str, &str) {
        self.rulebook().rule(rejected.rule).map_or(("", "key"), |rule| (rule.name(), rule.level()))
    }

    /// Returns the charges to the keys of several rules.
    pub(super) fn charges<'r, P: KeyParts>(
        &self,
        keys: impl IntoIterator<Item = (&'r str, P)>,
    ) -> Result<Charges, UnknownRule> {
        let mut charges = Charges::default();
        for (name, parts) in keys {
            let (rule, scopes) = self.rule_and_scopes(name)?;
            let key = &mut KeyBuilder::in_scope(scopes.start, &self.state.hasher);
            parts.write(key);
            charges.add(rule, *key.charge());
        }
        Ok(charges)
    }

    /// Returns the number of the rule of this name, and the scopes of its histories: one, or one per route.
    #[inline]
    pub(super) fn rule_and_scopes(&self, name: &str) -> Result<(RuleId, Range<u32>), UnknownRule> {
        let rule = self.rule_id(name)?;
        Ok((rule, self.rulebook().rule(rule).map_or(0..0, CompiledRule::scopes)))
    }

    /// Creates a decision in full detail under these rules.
    pub(super) fn pending(&self, rules: &[RuleId]) -> Decision {
        Decision::pending(self.rulebook().local(), RuleIds::from_slice(rules), Detail::Full)
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
    /// Shows the rules and the store: neither keys nor the secret of their hashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("rules", &self.rulebook().names())
            .field("store", &self.state.store)
            .finish_non_exhaustive()
    }
}
