//! The limiter: the handle that all layers share.

use std::{
    cell::RefCell,
    fmt, mem,
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
    error::{CheckError, ConfigError, UnknownRule},
    key::{Charge, ChargeTarget, Key, KeyBuilder, KeyHasher, KeyParts},
    limiter::{
        AppliedMarks, ChargeMark, ChargeMarks, Charges, Decision, HeldCharges, KeyRejected, MatchedRule, MaybeDecided,
        PendingDecision, Reservation, RuleTier, Rules, Settler, ShardedRulebook, Version,
        held_units::HeldUnits,
        rule_matcher::Visit,
        tiers::{Asking, PushedTiers},
    },
    observe::{RequestOutcome, Stopwatch, Warned},
    policy::Enforcement,
    request::{Http, RequestKind},
    rule::{Rule, RuleId},
    store::{AnyStore, Detail, MaybeReady, MemoryStore, Scopes, Store, Verdict},
    warn::warn,
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
    pub(super) pushed: Mutex<HashMap<String, Arc<PushedTiers>>>,
    /// The enforcement that was set at run time, by the names of the rules in lower case.
    pub(super) enforced: Mutex<HashMap<String, Enforcement>>,
    /// How often that was changed, for charges that are held.
    pub(super) switched: AtomicU64,
    /// The rules that a reload has removed, by their names in lower case. Their handles go on.
    gone: Mutex<HashMap<String, GoneRule<K>>>,
    /// Held while the rules are replaced.
    pub(super) reloading: Mutex<()>,
    pub(super) held: HeldUnits,
}

/// A rule that a reload has removed.
struct GoneRule<K: RequestKind> {
    /// The rules that it was among last.
    rules: Arc<Rules<K>>,
    has_warned: bool,
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
        let rules = self.rules();
        let mut named = Charges::default();
        self.add_named(&mut named, &rules, charges)?;
        Ok(self.decide_at_once(&mut named, &rules, Detail::Full))
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
        let rules = self.rules();
        let mut named = Charges::default();
        self.add_named(&mut named, &rules, charges)?;
        if rules.rulebook.local().needs_answers_alone() {
            let mut verdict = Verdict::with_detail(Detail::None);
            self.state.store.decide(&named.charges, &mut verdict);
            if !verdict.is_stale {
                return Ok(verdict.is_admitted());
            }
        }
        Ok(self.decide_at_once(&mut named, &rules, Detail::None).into_answer())
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
        let rules = self.rules();
        let mut charges = Charges::default();
        self.add_charges(&mut charges, &rules, request, |_| true, SmallVec::new())?;
        Ok(self.decide_at_once(&mut charges, &rules, Detail::Full))
    }

    /// Decides about a request as [`check_request`](Self::check_request) does, and returns the rules that govern it as
    /// [`matching`](Self::matching) does. The request is matched once, so this takes less time than both.
    ///
    /// ```
    /// use http::Request;
    /// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
    ///
    /// let rule = Rule::new("calls").every_request().key(key::header("x-account")).policy(Policy::per_minute(1));
    /// let limiter = RateLimiter::builder().rule(rule).build()?;
    ///
    /// let request = Request::get("/calls").header("x-account", "acme").body(())?;
    /// let (matched, decided) = limiter.check_matching(&RequestView::new(&request));
    /// assert_eq!((matched[0].rule(), matched[0].key()), ("calls", Some(limiter.key("acme"))));
    /// assert!(decided?.is_admitted());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The decision is an error if the request does not carry the key of a rule that [rejects](crate::OnMissing::Reject) it
    /// then. Nothing is charged in that case.
    pub fn check_matching(&self, request: K::View<'_>) -> (Vec<MatchedRule>, Result<Decision, KeyRejected>) {
        let (rules, mut found, mut charges) = (self.rules(), Vec::new(), Charges::default());
        let wanted = |rule| Some(rules.switches.enforcement(rule));
        let note = |visit: &mut Visit<'_, '_, K>| {
            self.list(&mut found, &rules, visit);
            visit.enforcement != Enforcement::Off
        };
        let added = self.add_charges_noting(&mut charges, &rules, request, wanted, SmallVec::new(), note);
        (found, added.map(|()| self.decide_at_once(&mut charges, &rules, Detail::Full)))
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
        compiled.rulebook.observation().note_loaded();
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
            gone: Mutex::default(),
            reloading: Mutex::default(),
            held: HeldUnits::default(),
        };
        Ok(Self { state: Arc::new(state) })
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
        let (mut found, rules) = (Vec::new(), self.rules());
        let visit = |mut visit: Visit<'_, '_, K>| self.list(&mut found, &rules, &mut visit);
        let wanted = |rule| Some(rules.switches.enforcement(rule));
        rules.matcher.for_each_rule(request, wanted, &self.state.hasher, visit);
        found
    }

    /// Judges the key of a visit, and adds the rule to those that were found. Several readings of a path may lead to the same rule and
    /// key: then the larger cost counts, as in the charge.
    fn list(&self, found: &mut Vec<MatchedRule>, rules: &Rules<K>, visit: &mut Visit<'_, '_, K>) {
        let key = visit.is_found.then(|| visit.key.key());
        let rule = self.judge(rules, visit);
        let matched = MatchedRule::new(Arc::clone(rules.rulebook.local()), rule, visit.key.charge(), key);
        match found.iter_mut().find(|known| matched.is_same(known)) {
            Some(known) => known.include(&matched),
            None => found.push(matched),
        }
    }

    /// Decides about a request, unless there is nothing to charge but what has these `marks` already. A decision that is to be
    /// `recorded` in the request gets the marks of its charges.
    ///
    /// A decision that is made at once is `made` in its place: it is large, and would be moved from caller to caller.
    #[inline]
    pub(crate) fn decide_request(
        &self,
        request: K::View<'_>,
        marks: impl Fn(&ShardedRulebook) -> SmallVec<[ChargeMark; 4]>,
        detail: Detail,
        recorded: bool,
        made: &mut Option<Decision>,
    ) -> Result<MaybeReady<PendingDecision<S::Future>>, KeyRejected> {
        loop {
            let rules = self.rules();
            let marks = marks(&rules.rulebook);
            let is_first = marks.is_empty();
            let mut charges = Charges::default();
            self.add_charges(&mut charges, &rules, request, |_| true, marks)?;
            if charges.charges.is_empty() {
                if is_first {
                    rules.rulebook.observation().report_undecided(charges.outcome_without_rules());
                }
                *made = None;
                return Ok(MaybeReady::Ready(()));
            }
            let tiers = mem::take(&mut charges.rules);
            let decision = made.insert(Decision::pending(Arc::clone(rules.rulebook.local()), tiers, detail));
            decision.keep_charges(&charges.charges, || self.settler());
            decision.keep_names(charges.names());
            let asked = self.ask_about(decision, &charges.charges);
            if decision.is_stale() {
                continue;
            }
            if recorded && (decision.is_admitted() || matches!(asked, MaybeReady::Pending(_))) {
                decision.mark(self.marks(&charges));
            }
            return Ok(match asked {
                MaybeReady::Ready(()) => MaybeReady::Ready(()),
                MaybeReady::Pending((verdict, since)) => {
                    MaybeReady::Pending(PendingDecision::new(verdict, made.take(), since))
                }
            });
        }
    }

    /// Returns the reservation of a request that is charged nothing; `None` if no rule of the limiter reserves.
    pub(crate) fn empty_reservation(&self) -> Option<Reservation> {
        self.rules().rulebook.has_settlements().then(Reservation::default)
    }

    /// Decides about charges, by the rules as they are now.
    pub(crate) fn decide(&self, held: &HeldCharges, detail: Detail) -> MaybeDecided<S::Future> {
        let ask = |held: &HeldCharges| {
            let mut decision = Decision::pending(Arc::clone(&held.rulebook), held.charges.rules.clone(), detail);
            decision.keep_charges(&held.charges.charges, || self.settler());
            decision.keep_names(held.charges.names());
            self.ask(decision, &held.charges.charges)
        };
        if self.is_current(held.version) && self.switched() == held.switched {
            let decided = ask(held);
            if !decided.is_stale() {
                return decided;
            }
        }
        loop {
            let decided = ask(&self.renewed(held));
            if !decided.is_stale() {
                return decided;
            }
        }
    }

    /// Asks the store for the verdict of a decision, which is reported now or when it is there, unless it is stale.
    #[inline]
    pub(super) fn ask(&self, mut decision: Decision, charges: &[Charge]) -> MaybeDecided<S::Future> {
        match self.ask_about(&mut decision, charges) {
            MaybeReady::Ready(()) => MaybeDecided::Ready(decision),
            MaybeReady::Pending((verdict, since)) => {
                MaybeDecided::Pending(PendingDecision::new(verdict, Some(decision), since))
            }
        }
    }

    /// Does the same for a decision that stays in its place. Its verdict may be pending, and then it is reported from that time
    /// on, if somebody wants to know.
    #[inline]
    fn ask_about(&self, decision: &mut Decision, charges: &[Charge]) -> MaybeReady<(S::Future, Option<Stopwatch>)> {
        match self.state.store.decide(charges, decision.verdict_mut()) {
            MaybeReady::Ready(()) => {
                decision.complete();
                self.observe(decision);
                MaybeReady::Ready(())
            }
            MaybeReady::Pending(verdict) => MaybeReady::Pending((verdict, self.observe_from_now_on(decision))),
        }
    }

    /// Reports a decision that is made, if somebody wants to know, and checks its costs.
    #[inline]
    pub(super) fn observe(&self, decision: &Decision) {
        if decision.is_needed() {
            self.report(decision);
        }
    }

    /// Returns the time, if a decision that is awaited is to be reported.
    fn observe_from_now_on(&self, decision: &Decision) -> Option<Stopwatch> {
        let is_needed = decision.is_needed();
        is_needed.then(|| {
            decision.observation().observer.look(None, || self.state.store.figures());
            Stopwatch::start()
        })
    }

    /// Reports a decision, and looks at the figures of the store now and then.
    #[inline(never)]
    fn report(&self, decision: &Decision) {
        if decision.is_stale() {
            return;
        }
        let observation = decision.observation();
        if observation.is_observed() {
            observation.observer.look(Some(decision.decided_at()), || self.state.store.figures());
        }
        match decision.is_counted_alone() {
            true => observation.count_admitted(decision.thread(), decision.rule_tiers()),
            false => decision.report(),
        }
    }

    /// Hands all counts on to the recorder of metrics, and the figures of the store as they are now. To be called where metrics are
    /// read: decisions count in memory of their thread, and hand on every 64 of a kind, or at the first one after 100 ms. Without
    /// this, what a limiter has counted last is not to be seen until it decides again, or is dropped.
    #[cfg(feature = "metrics")]
    pub fn flush_metrics(&self) {
        let figures = self.state.store.figures();
        self.rules().rulebook.observation().observer.look_now(&figures);
    }

    /// Returns the [warnings](crate::observe#warnings) that were given so far, each once.
    ///
    /// ```
    /// use tower_quota::{Policy, RateLimiter, Rule};
    ///
    /// let policy = Policy::per_minute(60).and_per_hour(10);
    /// let limiter = RateLimiter::builder().rule(Rule::new("jobs").no_requests().policy(policy)).build()?;
    /// let warning = &limiter.warnings()[0];
    /// assert_eq!((warning.code(), warning.rule()), ("quota-idle", Some("jobs")));
    /// # Ok::<(), tower_quota::ConfigError>(())
    /// ```
    #[must_use]
    pub fn warnings(&self) -> Vec<Warned> {
        self.rules().rulebook.observation().observer.warnings()
    }

    /// Returns the name of a key: its part if it has one of up to 27 bytes, or else its parts with slashes in between, if it was
    /// denied and its name is [remembered](crate::RateLimiterBuilder::remember_names). Bytes that are no printable ASCII are
    /// escaped. Show it with care: keys identify users.
    #[must_use]
    pub fn name_of(&self, key: Key) -> Option<String> {
        self.rules().rulebook.observation().observer.name_of(key)
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
        let mut charges = Charges::default();
        self.add_charges(&mut charges, &rules, request, wanted, marks(&rules.rulebook))?;
        Ok(HeldCharges { charges, rulebook: Arc::clone(rules.rulebook.local()), version: rules.version, switched })
    }

    /// Adds these charges in their place: moving them costs more than making them.
    #[inline]
    fn add_charges(
        &self,
        charges: &mut Charges,
        rules: &Rules<K>,
        request: K::View<'_>,
        wanted: impl Fn(RuleId) -> bool,
        marks: SmallVec<[ChargeMark; 4]>,
    ) -> Result<(), KeyRejected> {
        let wanted = |rule| if wanted(rule) { rules.switches.unless_off(rule) } else { None };
        self.add_charges_noting(charges, rules, request, wanted, marks, |_| true)
    }

    /// Adds the charges under the `wanted` rules, as far as `note`, which is called with each of these, returns `true`.
    #[inline]
    fn add_charges_noting(
        &self,
        charges: &mut Charges,
        rules: &Rules<K>,
        request: K::View<'_>,
        wanted: impl Fn(RuleId) -> Option<Enforcement>,
        marks: SmallVec<[ChargeMark; 4]>,
        note: impl FnMut(&mut Visit<'_, '_, K>) -> bool,
    ) -> Result<(), KeyRejected> {
        let applied = AppliedMarks { marks, secret: &self.state.secret };
        let matched = rules.matcher.charge(
            request,
            wanted,
            &applied,
            &self.state.hasher,
            (note, |visit: &mut Visit<'_, '_, K>| self.judge(rules, visit)),
            charges,
        );
        let rulebook = || Arc::clone(rules.rulebook.local());
        if let Err((rule, status)) = matched {
            rules.rulebook.observation().report_undecided(RequestOutcome::MissingKey);
            return Err(KeyRejected { rulebook: rulebook(), rule, status });
        }
        Ok(())
    }

    /// Returns the charges to the keys of several rules.
    pub(super) fn charges<'r, P: KeyParts>(
        &self,
        keys: impl IntoIterator<Item = (&'r str, P)>,
    ) -> Result<HeldCharges, UnknownRule> {
        let (switched, rules, mut charges) = (self.switched(), self.rules(), Charges::default());
        self.add_named(&mut charges, &rules, keys)?;
        Ok(HeldCharges { charges, rulebook: Arc::clone(rules.rulebook.local()), version: rules.version, switched })
    }

    /// Adds the charges to the keys of several rules, in the place where they will be read: they are large.
    fn add_named<'r, P: KeyParts>(
        &self,
        charges: &mut Charges,
        rules: &Rules<K>,
        keys: impl IntoIterator<Item = (&'r str, P)>,
    ) -> Result<(), UnknownRule> {
        for (name, parts) in keys {
            let rule = rules.rulebook.id(name).ok_or_else(|| unknown_rule(rules, name))?;
            if let Some(enforcement) = rules.switches.unless_off(rule) {
                let units = rules.rulebook.rule(rule).usual_cost();
                let add = |rule, charge: &Charge| charges.add(rule, charge);
                self.with_charge_of(rules, (rule, enforcement), &parts, units, add);
            }
        }
        Ok(())
    }

    /// Calls `ask` with the charge of a key by a rule, in the tier that it has without a request.
    #[inline]
    pub(super) fn with_charge_of<R>(
        &self,
        rules: &Rules<K>,
        (rule, enforcement): (RuleId, Enforcement),
        parts: &impl KeyParts,
        units: u64,
        ask: impl FnOnce(RuleTier, &Charge) -> R,
    ) -> R {
        let (hasher, raw) = (&self.state.hasher, rules.has_patterns(rule).then(RefCell::default));
        let key = &mut KeyBuilder::for_charge(rules.rulebook.rule(rule).target(0, 0), enforcement, units, hasher);
        key.keep_parts(raw.as_ref());
        parts.write(key);
        let rule =
            rules.judge((rule, enforcement), 0, key, |key| Asking { key, raw: raw.as_ref(), request: None, hasher });
        ask(rule, key.charge())
    }

    #[inline]
    fn judge(&self, rules: &Rules<K>, visit: &mut Visit<'_, '_, K>) -> RuleTier {
        let (hasher, raw, request) = (&self.state.hasher, visit.raw, Some(visit.request));
        let asking = |key| Asking { key, raw, request, hasher };
        rules.judge((visit.rule, visit.enforcement), visit.route, visit.key, asking)
    }

    /// Returns what settles the reservations of this limiter.
    pub(super) fn settler(&self) -> Arc<dyn Settler> {
        Arc::<State<K, S>>::clone(&self.state)
    }

    /// Returns the charges to the same histories as the rules have them now, and as these are enforced now.
    #[cold]
    pub(super) fn renewed(&self, held: &HeldCharges) -> HeldCharges {
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
                charges.add(RuleTier { rule, tier, enforcement }, &charge);
            }
        }
        HeldCharges { charges, rulebook: Arc::clone(rules.rulebook.local()), version: rules.version, switched }
    }
}

impl<K: RequestKind, S> fmt::Debug for State<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

impl<K: RequestKind> RateLimiter<K> {
    /// Decides about charges in this process, and takes their rules.
    fn decide_at_once(&self, charges: &mut Charges, rules: &Rules<K>, detail: Detail) -> Decision {
        let tiers = mem::take(&mut charges.rules);
        let mut decision = Decision::pending(Arc::clone(rules.rulebook.local()), tiers, detail);
        decision.keep_charges(&charges.charges, || self.settler());
        decision.keep_names(charges.names());
        self.state.store.decide(&charges.charges, decision.verdict_mut());
        if decision.is_stale() {
            let (rulebook, rules) = decision.into_rules();
            // Of no version: the charges are renewed in any case.
            let charges = Charges { rules, ..mem::take(charges) };
            let stale = HeldCharges { charges, rulebook, version: Version::default(), switched: 0 };
            decision = self.decide_by_newer_rules(stale, detail);
        }
        decision.complete();
        self.observe(&decision);
        decision
    }

    #[cold]
    #[inline(never)]
    fn decide_by_newer_rules(&self, mut held: HeldCharges, detail: Detail) -> Decision {
        loop {
            held = self.renewed(&held);
            let rules = held.charges.rules.clone();
            let mut decision = Decision::pending(Arc::clone(&held.rulebook), rules, detail);
            decision.keep_charges(&held.charges.charges, || self.settler());
            self.state.store.decide(&held.charges.charges, decision.verdict_mut());
            if !decision.is_stale() {
                return decision;
            }
        }
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

    /// Returns the rules as they are now; those that the rule of this name was among last, if it is gone.
    pub(super) fn rules_with(&self, name: &str) -> Arc<Rules<K>> {
        let rules = self.rules_to_keep();
        if rules.rulebook.id(name).is_some() {
            return rules;
        }
        let gone = self.state.gone.lock().get_mut(&name.to_ascii_lowercase()).map(GoneRule::visit);
        // If it is not gone any more then it has come back meanwhile.
        let Some((rules, is_first)) = gone else { return self.rules_to_keep() };
        if is_first {
            warn(format_args!(
                "rule \"{name}\" is gone since a reload: a RuleHandle goes on with the policy that it had last"
            ));
        }
        rules
    }

    /// Replaces the rules. Called by one thread at a time.
    pub(super) fn replace_rules(&self, rules: Rules<K>) {
        let (old, number) = (self.rules_to_keep(), rules.version.number);
        let new = Arc::new(rules);
        let is_gone = |name: &str| new.rulebook.id(name).is_none();
        for rule in old.rulebook.rules().filter(|rule| is_gone(rule.name())) {
            let gone = GoneRule { rules: Arc::clone(&old), has_warned: false };
            self.state.gone.lock().insert(rule.name().to_ascii_lowercase(), gone);
        }
        new.take_effect(&self.state.scopes);
        new.rulebook.observation().note_loaded();
        self.state.rules.store(Arc::clone(&new));
        self.state.version.store(number, Ordering::Release);
        self.state.gone.lock().retain(|name, _| is_gone(name));
    }

    /// Returns the number of the rule of this name.
    pub(crate) fn rule_id(&self, name: &str) -> Result<RuleId, UnknownRule> {
        let rules = self.rules();
        rules.rulebook.id(name).ok_or_else(|| unknown_rule(&rules, name))
    }
}

impl<K: RequestKind> GoneRule<K> {
    /// Returns the rules, and `true` at the first visit.
    fn visit(&mut self) -> (Arc<Rules<K>>, bool) {
        (Arc::clone(&self.rules), !std::mem::replace(&mut self.has_warned, true))
    }
}

pub(super) fn pushed_tiers(all: &mut HashMap<String, Arc<PushedTiers>>, rule: &str) -> Arc<PushedTiers> {
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
