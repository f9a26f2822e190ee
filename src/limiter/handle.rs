//! The limiter: the handle that all layers share.

use std::{
    cell::RefCell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwap, Guard};
use hashbrown::{DefaultHashBuilder, HashMap};
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::{
    error::{CheckError, ConfigError, UnknownRule, UnknownTier},
    key::{Charge, ChargeTarget, Key, KeyBuilder, KeyHasher, KeyParts},
    limiter::{
        AppliedMarks, ChargeMark, ChargeMarks, Charges, CompiledTier, Decision, HeldCharges, KeyRejected, MatchedRule,
        MaybeDecided, RuleTier, Rules, ShardedRulebook, Version,
        rule_matcher::Visit,
        tiers::{Asking, PushedTiers},
    },
    policy::Enforcement,
    request::{Http, RequestKind},
    rule::{Rule, RuleId},
    store::{AnyStore, Detail, MemoryStore, Scopes, Store, Verdict},
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
    rules: ArcSwap<Rules<K>>,
    /// The number of the rules' version, for handles that keep rules.
    version: AtomicU64,
    pub(super) scopes: Scopes,
    pub(super) store: S,
    pub(super) hasher: KeyHasher,
    /// Hashes the keys in charge marks.
    secret: DefaultHashBuilder,
    /// The tiers that were set at run time, by the names of the rules in lower case.
    pushed: Mutex<HashMap<String, Arc<PushedTiers>>>,
    /// The enforcement that was set at run time, by the names of the rules in lower case.
    enforced: Mutex<HashMap<String, Enforcement>>,
    /// How often that was changed, for charges that are held.
    switched: AtomicU64,
    /// Held while the rules are replaced.
    pub(super) reloading: Mutex<()>,
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
        Ok(self.decide_at_once(self.charges(charges)?, Detail::Full))
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
        Ok(self.decide_at_once(self.charges(charges)?, Detail::None).is_admitted())
    }

    /// Decides about a request as a layer would, under all rules that govern it, and charges it if it is admitted: for
    /// programs that have requests and no service, such as one that replays a log. Nothing in the request tells of charges
    /// that were made further out, so asking twice charges twice.
    ///
    /// ```
    /// use http::Request;
    /// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
    ///
    /// let rule = Rule::new("calls").every_request().key(key::header("x-account")).policy(Policy::per_minute(1));
    /// let limiter = RateLimiter::builder().rule(rule).build()?;
    ///
    /// let request = Request::get("/calls").header("x-account", "acme").body(())?;
    /// assert!(limiter.check_request(&RequestView::new(&request))?.is_admitted());
    /// assert!(!limiter.check_request(&RequestView::new(&request))?.is_admitted());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the request does not carry the key of a rule that [rejects](crate::OnMissing::Reject) it then. Nothing is charged.
    pub fn check_request(&self, request: K::View<'_>) -> Result<Decision, KeyRejected> {
        let charges = self.charges_of(request, |_| true, |_| SmallVec::new())?;
        Ok(self.decide_at_once(charges, Detail::Full))
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

    pub(super) fn new(compiled: Rules<K>, rules: &[Rule<K>], scopes: Scopes, store: S) -> Result<Self, ConfigError> {
        let hasher = store.key_secret().map_or_else(KeyHasher::default, KeyHasher::with_secret);
        let mut pushed = HashMap::new();
        let compiled = compiled.with_tiers(rules, &hasher, |rule| pushed_tiers(&mut pushed, rule))?;
        let state = State {
            version: AtomicU64::new(compiled.version.number),
            rules: ArcSwap::from_pointee(compiled),
            scopes,
            store,
            hasher,
            secret: DefaultHashBuilder::default(),
            pushed: Mutex::new(pushed),
            enforced: Mutex::default(),
            switched: AtomicU64::new(0),
            reloading: Mutex::default(),
        };
        Ok(Self { state: Arc::new(state) })
    }

    /// Sets the tier of a key for as long as this process runs, in place of what the rule says: for a customer whom support
    /// gives more. `None` returns the key to what the rule says.
    ///
    /// It holds from the next request on, with the same history. A reload of the rules keeps it; if the tier is gone then,
    /// it has no effect. Each process has its own; to set many, call [`replace_tiers`](Self::replace_tiers).
    ///
    /// # Errors
    ///
    /// If no rule has the name, or the rule has no such tier.
    pub fn set_tier(&self, rule: &str, key: impl KeyParts, tier: Option<&str>) -> Result<(), UnknownTier> {
        let pushed = self.pushed_to(rule, tier)?;
        pushed.set(self.key(key), tier);
        Ok(())
    }

    /// Replaces all tiers that were [set at run time](Self::set_tier) for a rule: for programs that read them from a database
    /// now and then.
    ///
    /// # Errors
    ///
    /// If no rule has the name, or the rule has no tier of one of the names. Nothing is replaced then.
    pub fn replace_tiers<P, N>(&self, rule: &str, tiers: impl IntoIterator<Item = (P, N)>) -> Result<(), UnknownTier>
    where
        P: KeyParts,
        N: AsRef<str>,
    {
        let mut all = HashMap::new();
        for (key, tier) in tiers {
            self.pushed_to(rule, Some(tier.as_ref()))?;
            all.insert(self.key(key), Arc::from(tier.as_ref()));
        }
        self.pushed_to(rule, None)?.replace(all);
        Ok(())
    }

    /// Sets how a rule is enforced for as long as this process runs, in place of what the rule says: to try a rule on real
    /// requests before it denies any, or to let go of one that denies too many.
    ///
    /// It holds from the next request on, and survives [reloads](Self::reload), until
    /// [`enforce_as_configured`](Self::enforce_as_configured). Each process has its own.
    ///
    /// ```
    /// use tower_quota::{Enforcement, Policy, RateLimiter, Rule};
    ///
    /// let jobs = Rule::new("jobs").no_requests().policy(Policy::per_minute(1));
    /// let limiter = RateLimiter::builder().rule(jobs).build()?;
    /// let jobs = limiter.rule("jobs")?;
    /// assert!(jobs.admit("acme") && !jobs.admit("acme"));
    ///
    /// limiter.enforce("jobs", Enforcement::Shadow)?;
    /// assert!(jobs.admit("acme"));
    /// limiter.enforce_as_configured("jobs")?;
    /// assert!(!jobs.admit("acme"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If no rule has the name.
    pub fn enforce(&self, rule: &str, enforcement: Enforcement) -> Result<(), UnknownRule> {
        self.switch(rule, Some(enforcement))
    }

    /// Returns a rule to the enforcement that it [was given](Rule::enforcement), after [`enforce`](Self::enforce).
    ///
    /// # Errors
    ///
    /// If no rule has the name.
    pub fn enforce_as_configured(&self, rule: &str) -> Result<(), UnknownRule> {
        self.switch(rule, None)
    }

    /// Returns how a rule is enforced now.
    ///
    /// # Errors
    ///
    /// If no rule has the name.
    pub fn enforcement(&self, rule: &str) -> Result<Enforcement, UnknownRule> {
        let rules = self.rules();
        let id = rules.rulebook.id(rule).ok_or_else(|| unknown_rule(&rules, rule))?;
        Ok(rules.switches.enforcement(id))
    }

    fn switch(&self, rule: &str, enforcement: Option<Enforcement>) -> Result<(), UnknownRule> {
        let _reloading = self.state.reloading.lock();
        let rules = self.rules();
        let id = rules.rulebook.id(rule).ok_or_else(|| unknown_rule(&rules, rule))?;
        let compiled = rules.rulebook.rule(id);
        let name = compiled.name().to_ascii_lowercase();
        match enforcement {
            Some(enforcement) => drop(self.state.enforced.lock().insert(name, enforcement)),
            None => drop(self.state.enforced.lock().remove(&name)),
        }
        rules.switches.set(id, enforcement.unwrap_or_else(|| compiled.configured_enforcement()));
        self.state.switched.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Returns the tiers that were set at run time for a rule, which has to have this one.
    fn pushed_to(&self, rule: &str, tier: Option<&str>) -> Result<Arc<PushedTiers>, UnknownTier> {
        let rules = self.rules();
        let id = rules.rulebook.id(rule).ok_or_else(|| UnknownTier::from(unknown_rule(&rules, rule)))?;
        let compiled = rules.rulebook.rule(id);
        if let Some(tier) = tier.filter(|tier| compiled.tier_named(tier).is_none()) {
            let names = compiled.tiers().iter().filter_map(CompiledTier::name);
            return Err(UnknownTier::tier(compiled.name(), tier, names));
        }
        Ok(pushed_tiers(&mut self.state.pushed.lock(), compiled.name()))
    }

    /// Returns the key that is made of these parts, to compare with [the key of a request](crate::RuleHandle::key_of).
    #[must_use]
    pub fn key(&self, parts: impl KeyParts) -> Key {
        let key = &mut KeyBuilder::for_target(ChargeTarget::default(), &self.state.hasher);
        parts.write(key);
        key.key()
    }

    /// Returns the rules that govern a request, each with the key that it counts. Nothing is decided or charged.
    #[must_use]
    pub fn matching(&self, request: K::View<'_>) -> Vec<MatchedRule> {
        let mut found: Vec<MatchedRule> = Vec::new();
        let rules = self.rules();
        let visit = |visit: Visit<'_, '_, K>| {
            let key = visit.is_found.then(|| visit.key.key());
            let (rule, charge) = self.judge(&rules, &visit);
            let matched = MatchedRule::new(Arc::clone(rules.rulebook.local()), rule, charge.scope(), key);
            // Several readings of a path may lead to the same rule and key.
            if !found.iter().any(|known| matched.is_same(known)) {
                found.push(matched);
            }
        };
        let wanted = |rule| Some(rules.switches.enforcement(rule));
        rules.matcher.for_each_rule(request, wanted, &self.state.hasher, visit);
        found
    }

    /// Decides about a request; `None` if there is nothing to charge but what has these `marks` already. A decision that is
    /// to be `recorded` in the request gets the marks of its charges.
    #[inline]
    pub(crate) fn decide_request(
        &self,
        request: K::View<'_>,
        marks: impl Fn(&ShardedRulebook) -> SmallVec<[ChargeMark; 4]>,
        detail: Detail,
        recorded: bool,
    ) -> Result<Option<MaybeDecided<S::Future>>, KeyRejected> {
        loop {
            let rules = self.rules();
            let charges = self.charges_by(&rules, request, |_| true, marks(&rules.rulebook))?;
            if charges.charges.is_empty() {
                return Ok(None);
            }
            let decision = Decision::pending(Arc::clone(rules.rulebook.local()), charges.rules.clone(), detail);
            let decided = MaybeDecided::ask(decision, |verdict| self.state.store.decide(&charges.charges, verdict));
            if !decided.is_stale() {
                return Ok(Some(if recorded { decided.with_marks(|| self.marks(&charges)) } else { decided }));
            }
        }
    }

    /// Decides about charges, by the rules as they are now.
    pub(crate) fn decide(&self, held: &HeldCharges, detail: Detail) -> MaybeDecided<S::Future> {
        let mut renewed = None;
        loop {
            let held = renewed.as_ref().unwrap_or(held);
            if self.is_current(held.version) && self.switched() == held.switched {
                let decision = Decision::pending(Arc::clone(&held.rulebook), held.charges.rules.clone(), detail);
                let ask = |verdict: &mut Verdict| self.state.store.decide(&held.charges.charges, verdict);
                let decided = MaybeDecided::ask(decision, ask);
                if !decided.is_stale() {
                    return decided;
                }
            }
            renewed = Some(self.renewed(held));
        }
    }

    /// Returns the marks of these charges.
    pub(crate) fn marks(&self, charges: &Charges) -> ChargeMarks {
        ChargeMarks::new(&charges.charges, &self.state.secret)
    }

    /// Returns the charges of a request under the `wanted` rules, except those that have these `marks` already.
    pub(crate) fn charges_of(
        &self,
        request: K::View<'_>,
        wanted: impl Fn(RuleId) -> bool,
        marks: impl Fn(&ShardedRulebook) -> SmallVec<[ChargeMark; 4]>,
    ) -> Result<HeldCharges, KeyRejected> {
        let (switched, rules) = (self.switched(), self.rules());
        let charges = self.charges_by(&rules, request, wanted, marks(&rules.rulebook))?;
        Ok(HeldCharges { charges, rulebook: Arc::clone(rules.rulebook.local()), version: rules.version, switched })
    }

    #[inline]
    fn charges_by(
        &self,
        rules: &Rules<K>,
        request: K::View<'_>,
        wanted: impl Fn(RuleId) -> bool,
        marks: SmallVec<[ChargeMark; 4]>,
    ) -> Result<Charges, KeyRejected> {
        let mut charges = Charges::default();
        let applied = AppliedMarks { marks, secret: &self.state.secret };
        let wanted = |rule| if wanted(rule) { rules.switches.unless_off(rule) } else { None };
        let matched = rules.matcher.charge(
            request,
            wanted,
            &applied,
            &self.state.hasher,
            |visit| self.judge(rules, visit),
            &mut charges,
        );
        let rulebook = || Arc::clone(rules.rulebook.local());
        matched.map_err(|(rule, status)| KeyRejected { rulebook: rulebook(), rule, status })?;
        Ok(charges)
    }

    /// Returns the charges to the keys of several rules.
    pub(super) fn charges<'r, P: KeyParts>(
        &self,
        keys: impl IntoIterator<Item = (&'r str, P)>,
    ) -> Result<HeldCharges, UnknownRule> {
        let (switched, rules, mut charges) = (self.switched(), self.rules(), Charges::default());
        for (name, parts) in keys {
            let rule = rules.rulebook.id(name).ok_or_else(|| unknown_rule(&rules, name))?;
            if let Some(enforcement) = rules.switches.unless_off(rule) {
                let (rule, charge) = self.charge_of(&rules, (rule, enforcement), &parts);
                charges.add(rule, charge);
            }
        }
        Ok(HeldCharges { charges, rulebook: Arc::clone(rules.rulebook.local()), version: rules.version, switched })
    }

    /// Returns the charge of a key by a rule, in the tier that it has without a request.
    pub(super) fn charge_of(
        &self,
        rules: &Rules<K>,
        (rule, enforcement): (RuleId, Enforcement),
        parts: &impl KeyParts,
    ) -> (RuleTier, Charge) {
        let raw = rules.has_patterns(rule).then(RefCell::default);
        let target = rules.rulebook.rule(rule).target(0, 0);
        let key = &mut KeyBuilder::for_target(target, &self.state.hasher).keeping_parts(raw.as_ref());
        parts.write(key);
        let asking = || Asking { key: key.key(), raw: raw.as_ref(), request: None, hasher: &self.state.hasher };
        rules.judge((rule, enforcement), 0, key, asking)
    }

    #[inline]
    fn judge(&self, rules: &Rules<K>, visit: &Visit<'_, '_, K>) -> (RuleTier, Charge) {
        rules.judge((visit.rule, visit.enforcement), visit.route, visit.key, || Asking {
            key: visit.key.key(),
            raw: visit.raw,
            request: Some(visit.request),
            hasher: &self.state.hasher,
        })
    }

    /// Returns the charges to the same histories as the rules have them now, and as these are enforced now.
    #[cold]
    fn renewed(&self, held: &HeldCharges) -> HeldCharges {
        let (switched, rules) = (self.switched(), self.rules());
        let mut charges = Charges::default();
        for (charge, used) in held.charges.charges.iter().zip(&held.charges.rules) {
            let tier = held.rulebook.rule(used.rule).tier(used.tier).name();
            if let Some((rule, route)) = rules.rule_of_scope(charge.scope())
                && let Some(enforcement) = rules.switches.unless_off(rule)
            {
                let compiled = rules.rulebook.rule(rule);
                let tier = tier.and_then(|tier| compiled.tier_named(tier)).unwrap_or(0);
                let charge = Charge { target: compiled.target(route, tier), enforcement, ..*charge };
                charges.add(RuleTier { rule, tier, enforcement }, charge);
            }
        }
        HeldCharges { charges, rulebook: Arc::clone(rules.rulebook.local()), version: rules.version, switched }
    }
}

impl<K: RequestKind> RateLimiter<K> {
    /// Decides about charges in this process.
    fn decide_at_once(&self, held: HeldCharges, detail: Detail) -> Decision {
        let HeldCharges { charges, rulebook, version, switched } = held;
        let mut decision = Decision::pending(rulebook, charges.rules, detail);
        self.state.store.decide(&charges.charges, decision.verdict_mut());
        if !decision.is_stale() {
            return decision;
        }
        let (rulebook, rules) = decision.into_rules();
        let stale = HeldCharges { charges: Charges { rules, ..charges }, rulebook, version, switched };
        self.decide_at_once(self.renewed(&stale), detail)
    }
}

impl<K: RequestKind, S> RateLimiter<K, S> {
    /// Returns the rules as they are now. A request keeps to one version of them.
    #[inline]
    pub(crate) fn rules(&self) -> Guard<Arc<Rules<K>>> {
        self.state.rules.load()
    }

    /// Returns the rules as they are now, to keep.
    pub(super) fn rules_to_keep(&self) -> Arc<Rules<K>> {
        self.state.rules.load_full()
    }

    /// Returns `true` if the rules have not been replaced since.
    #[inline]
    pub(crate) fn is_current(&self, version: Version) -> bool {
        self.state.version.load(Ordering::Relaxed) == version.number
    }

    /// Returns how often the enforcement of a rule was changed at run time.
    fn switched(&self) -> u64 {
        self.state.switched.load(Ordering::Acquire)
    }

    /// Sets the switches of new rules as they were set at run time. Called while the rules are replaced.
    pub(super) fn apply_switches(&self, rules: &Rules<K>) {
        for (name, enforcement) in &*self.state.enforced.lock() {
            if let Some(rule) = rules.rulebook.id(name) {
                rules.switches.set(rule, *enforcement);
            }
        }
    }

    /// Returns the tiers that were set at run time for a rule.
    pub(super) fn pushed(&self, rule: &str) -> Arc<PushedTiers> {
        pushed_tiers(&mut self.state.pushed.lock(), rule)
    }

    /// Replaces the rules.
    pub(super) fn replace_rules(&self, rules: Rules<K>) {
        let number = rules.version.number;
        self.state.rules.store(Arc::new(rules));
        self.state.version.store(number, Ordering::Release);
    }

    /// Returns the number of the rule of this name.
    pub(crate) fn rule_id(&self, name: &str) -> Result<RuleId, UnknownRule> {
        let rules = self.rules();
        rules.rulebook.id(name).ok_or_else(|| unknown_rule(&rules, name))
    }
}

fn pushed_tiers(all: &mut HashMap<String, Arc<PushedTiers>>, rule: &str) -> Arc<PushedTiers> {
    Arc::clone(all.entry(rule.to_ascii_lowercase()).or_default())
}

#[cold]
pub(super) fn unknown_rule<K: RequestKind>(rules: &Rules<K>, name: &str) -> UnknownRule {
    UnknownRule::new(name, rules.rulebook.names())
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
            .field("rules", &self.rules().rulebook.names())
            .field("store", &self.state.store)
            .finish_non_exhaustive()
    }
}
