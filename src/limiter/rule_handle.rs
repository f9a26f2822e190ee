//! One rule of a limiter, to check keys without a request.

use std::{borrow::Cow, fmt, slice, sync::Arc};

use smallvec::smallvec;

use crate::{
    error::{CheckError, NoCosts, Unavailable, UnknownRule, UnknownTier},
    key::{Charge, ChargeTarget, Key, KeyBuilder, KeyParts},
    limiter::{
        CompiledRule, CompiledTier, Decision, MaybeDecided, RateLimiter, RuleTier, RulebookRef, Rules, Version,
        handle::unknown_rule, observation::is_logging, thread_shard::thread_shard,
    },
    observe::{RuleOutcome, Stopwatch},
    policy::Enforcement,
    request::{Http, RequestKind},
    rule::RuleId,
    store::{Detail, MaybeReady, MemoryStore, Store, Verdict},
};

/// A rule of a limiter, to check keys without a request. It is looked up [by its name](RateLimiter::rule) once, and shares the
/// limiter's state.
///
/// A key is made of [`KeyParts`]: text, bytes, a number, an address, several of them, or the [`Key`] of a request.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule};
///
/// let jobs = Rule::new("jobs").no_requests().policy(Policy::per_minute(2));
/// let limiter = RateLimiter::builder().rule(jobs).build()?;
///
/// let jobs = limiter.rule("jobs")?;
/// assert!(jobs.admit("acme"));
/// assert_eq!(jobs.check("acme").quotas().next().map(|quota| quota.remaining()), Some(0));
/// assert!(!jobs.admit("acme"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RuleHandle<K: RequestKind = Http, S = MemoryStore> {
    limiter: RateLimiter<K, S>,
    location: Location<K>,
}

/// The rule in one version of the rules.
struct Location<K: RequestKind> {
    rules: Arc<Rules<K>>,
    rule: RuleId,
    /// The tier that was chosen, if one was.
    tier: Option<u16>,
    /// The target of charges without a tier.
    target: ChargeTarget,
    version: Version,
    /// It has tiers or costs, or a hook is told of its decisions.
    is_uncommon: bool,
    /// It has none of that, and nobody observes its decisions.
    is_simple: bool,
}

impl<K: RequestKind, S: Store> RateLimiter<K, S> {
    /// Returns the rule of this name, to check keys. Callers that check often keep the handle, which follows the name when the
    /// rules are reloaded.
    ///
    /// # Errors
    ///
    /// If no rule has this name, ignoring case. The error lists the rules, most similar names first.
    pub fn rule(&self, name: &str) -> Result<RuleHandle<K, S>, UnknownRule> {
        let rules = self.rules_to_keep();
        let rule = rules.rulebook.id(name).ok_or_else(|| unknown_rule(&rules, name))?;
        Ok(RuleHandle { limiter: self.clone(), location: Location::new(rules, rule, None) })
    }
}

/// Questions that are answered at once because the histories are in this process.
impl<K: RequestKind> RuleHandle<K> {
    /// Returns `true` if one request of `key` is admitted, and so charged: [`check`](Self::check) for callers that need no more
    /// than that. It takes a third of the instructions, and fewer cache lines.
    ///
    /// What a rule [reserves](crate::Rule::reserve) stays charged: [`check`](Self::check) has the reservation to settle.
    #[must_use = "it may not be admitted"]
    pub fn admit(&self, key: impl KeyParts) -> bool {
        if self.is_simple() {
            let store = &self.limiter.state.store;
            let (now, builder) = (store.now(), &mut self.builder());
            key.write(builder);
            if let Some(is_admitted) = store.admits(builder.charge(), now) {
                return is_admitted;
            }
        }
        self.admit_watched(&key)
    }

    /// Admits in any case that is not the usual one.
    #[inline(never)]
    fn admit_watched(&self, key: &impl KeyParts) -> bool {
        if self.is_plain() && !is_logging() {
            let store = &self.limiter.state.store;
            let (now, builder) = (store.now(), &mut self.builder());
            key.write(builder);
            let mut verdict = Verdict { now, ..Verdict::with_detail(Detail::OnDenial) };
            verdict.admitted = store.admits_on_credit(builder.charge(), now);
            if !verdict.admitted {
                store.decide_at_once(slice::from_ref(builder.charge()), &mut verdict);
            }
            if !verdict.is_stale {
                let observation = self.location.rules.rulebook.observation();
                observation.observer.look(Some(now), || Store::figures(store));
                let own = self.location.own_policy();
                match verdict.is_admitted() {
                    true => observation.count_only_answer(thread_shard(), own, RuleOutcome::Admitted),
                    false => observation.count_denial(thread_shard(), own, self.location.compiled(), &verdict),
                }
                return verdict.is_admitted();
            }
        }
        self.decide_now(key, None, Detail::None).into_answer()
    }

    /// Returns `true` if one request of `key` that costs so many units is admitted, and so charged, as
    /// [`check_cost`](Self::check_cost) decides.
    ///
    /// # Errors
    ///
    /// If the rule counts requests.
    pub fn admit_cost(&self, key: impl KeyParts, units: u64) -> Result<bool, NoCosts> {
        self.check_has_costs()?;
        Ok(self.decide_now(&key, Some(units), Detail::None).into_answer())
    }

    /// Decides about one request of `key`, and charges it if it is admitted.
    pub fn check(&self, key: impl KeyParts) -> Decision {
        if self.is_plain() {
            let store = &self.limiter.state.store;
            let mut decision = self.location.pending(self.location.own_policy(), Detail::Full);
            decision.verdict_mut().now = store.now();
            let builder = &mut self.builder();
            key.write(builder);
            store.decide_at_once(slice::from_ref(builder.charge()), decision.verdict_mut());
            if !decision.is_stale() {
                self.limiter.observe(&decision);
                return decision;
            }
        }
        self.decide_now(&key, None, Detail::Full)
    }

    /// Decides about one request of `key` that costs so many units, and charges it if it is admitted.
    ///
    /// [`check`](Self::check) knows no request that a rule could read the cost from: it charges the number that was given to
    /// [`Rule::cost`](crate::Rule::cost), or one unit if that is not a number.
    ///
    /// ```
    /// use tower_quota::{Policy, RateLimiter, Rule};
    ///
    /// let tokens = Rule::new("tokens").no_requests().policy(Policy::per_minute(20_000)).cost("tokens", 1);
    /// let limiter = RateLimiter::builder().rule(tokens).build()?;
    ///
    /// let tokens = limiter.rule("tokens")?;
    /// assert!(tokens.check_cost("ann", 15_000)?.is_admitted());
    /// let denied = tokens.check_cost("ann", 6000)?;
    /// assert!(!denied.is_admitted() && denied.retry_after().is_some());
    /// assert!(tokens.check_cost("ann", 5000)?.is_admitted());
    ///
    /// let denied = tokens.check_cost("ann", 20_001)?;
    /// assert!(denied.is_never_possible() && denied.retry_after().is_none());
    /// let text = "This request costs 20001 tokens; at most 20000 are admitted per minute.";
    /// assert_eq!(denied.message().as_deref(), Some(text));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the rule counts requests.
    pub fn check_cost(&self, key: impl KeyParts, units: u64) -> Result<Decision, NoCosts> {
        self.check_has_costs()?;
        Ok(self.decide_now(&key, Some(units), Detail::Full))
    }

    /// Returns what [`check_cost`](Self::check_cost) would return now, and charges nothing.
    ///
    /// # Errors
    ///
    /// If the rule counts requests.
    pub fn peek_cost(&self, key: impl KeyParts, units: u64) -> Result<Decision, NoCosts> {
        self.check_has_costs()?;
        Ok(self.ask(&key, Some(units), Detail::Full, MemoryStore::peek))
    }

    /// Returns what [`check`](Self::check) would return now, and charges nothing.
    pub fn peek(&self, key: impl KeyParts) -> Decision {
        self.ask(&key, None, Detail::Full, MemoryStore::peek)
    }

    /// Deletes the histories of `key`, on all routes of the rule. Returns `true` if there was one.
    ///
    /// Keys share a history while the table is full. Units in it stay for the others, but `key` owes none of them any more: if
    /// some may have been its own, this returns `true` as well.
    pub fn reset(&self, key: impl KeyParts) -> bool {
        self.on_all_routes(&key).iter().fold(false, |found, charge| self.limiter.state.store.reset(charge) | found)
    }

    /// Returns `true` if the rules are those of the handle, all of them are enforced, and this one has neither tiers nor costs:
    /// the usual case, which takes the fewest steps.
    #[inline]
    fn is_plain(&self) -> bool {
        let Location { rules, version, is_uncommon, .. } = &self.location;
        !is_uncommon && self.limiter.is_current(*version) && rules.switches.are_all_on()
    }

    /// Returns `true` if it [is plain](Self::is_plain), and nobody observes decisions.
    #[inline]
    fn is_simple(&self) -> bool {
        let Location { rules, version, is_simple, .. } = &self.location;
        *is_simple && self.limiter.is_current(*version) && rules.switches.are_all_on() && !is_logging()
    }

    /// Creates the builder of a charge to the rule's own policy.
    #[inline]
    fn builder(&self) -> KeyBuilder<'_> {
        KeyBuilder::for_target(self.location.target, &self.limiter.state.hasher)
    }

    fn decide_now(&self, key: &impl KeyParts, units: Option<u64>, detail: Detail) -> Decision {
        let decision = self.ask(key, units, detail, MemoryStore::decide);
        self.limiter.observe(&decision);
        decision
    }

    #[inline(never)]
    fn ask(
        &self,
        key: &impl KeyParts,
        units: Option<u64>,
        detail: Detail,
        ask: impl Fn(&MemoryStore, &[Charge], &mut Verdict),
    ) -> Decision {
        let decide = |mut decision: Decision, charges: &[Charge]| {
            if !charges.is_empty() {
                ask(&self.limiter.state.store, charges, decision.verdict_mut());
            }
            decision
        };
        let mut decision = self.ask_until_current(key, units, detail, decide, Decision::is_stale);
        decision.complete();
        decision
    }
}

/// Questions to any store.
impl<K: RequestKind, S: Store> RuleHandle<K, S> {
    /// Returns a handle that holds every key to this tier, whatever tier it is in. If a reload removes the tier, keys are held
    /// to the rule's own policy.
    ///
    /// # Errors
    ///
    /// If the rule has no tier of this name.
    pub fn in_tier(&self, name: &str) -> Result<Self, UnknownTier> {
        let location = self.location();
        let compiled = location.compiled();
        let names = || compiled.tiers().iter().filter_map(CompiledTier::name);
        let tier = compiled.tier_named(name).ok_or_else(|| UnknownTier::tier(compiled.name(), name, names()))?;
        let (limiter, rules) = (self.limiter.clone(), Arc::clone(&location.rules));
        Ok(Self { limiter, location: Location::new(rules, location.rule, Some(tier)) })
    }

    /// Returns `true` if the limiter still has the rule. A handle of a rule that a reload has removed goes on with the policy
    /// that the rule had last, over the same histories, and the operator is warned once.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.limiter.rules().rulebook.id(self.name()).is_some()
    }

    /// Returns `true` if one request of `key` is admitted, as [`admit`](RuleHandle::admit) does, in any store.
    ///
    /// # Errors
    ///
    /// If the store cannot decide and does not fail open.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the request charged.
    pub async fn admit_async(&self, key: impl KeyParts) -> Result<bool, Unavailable> {
        Ok(self.decide_async(&key, None, Detail::None).wait().await?.into_answer())
    }

    /// Returns `true` if one request that costs so many units is admitted, as [`admit_cost`](RuleHandle::admit_cost) does, in any
    /// store.
    ///
    /// # Errors
    ///
    /// If the rule counts requests, or if the store cannot decide and does not fail open.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the request charged.
    pub async fn admit_cost_async(&self, key: impl KeyParts, units: u64) -> Result<bool, CheckError> {
        self.check_has_costs()?;
        Ok(self.decide_async(&key, Some(units), Detail::None).wait().await?.into_answer())
    }

    /// Decides about one request that costs so many units, as [`check_cost`](RuleHandle::check_cost) does, in any store.
    ///
    /// # Errors
    ///
    /// If the rule counts requests, or if the store cannot decide and does not fail open.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the request charged.
    pub async fn check_cost_async(&self, key: impl KeyParts, units: u64) -> Result<Decision, CheckError> {
        self.check_has_costs()?;
        Ok(self.decide_async(&key, Some(units), Detail::Full).wait().await?)
    }

    /// Returns what [`check_cost_async`](Self::check_cost_async) would return now, and charges nothing.
    ///
    /// # Errors
    ///
    /// If the rule counts requests, or if the store cannot answer.
    pub async fn peek_cost_async(&self, key: impl KeyParts, units: u64) -> Result<Decision, CheckError> {
        self.check_has_costs()?;
        Ok(self.peek_async_as(&key, Some(units)).await?)
    }

    /// Decides about one request of `key`, as [`check`](RuleHandle::check) does, in any store.
    ///
    /// # Errors
    ///
    /// If the store cannot decide and does not fail open.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the request charged.
    pub async fn check_async(&self, key: impl KeyParts) -> Result<Decision, Unavailable> {
        self.decide_async(&key, None, Detail::Full).wait().await
    }

    /// Returns what [`check_async`](Self::check_async) would return now, and charges nothing.
    ///
    /// # Errors
    ///
    /// If the store cannot answer.
    pub async fn peek_async(&self, key: impl KeyParts) -> Result<Decision, Unavailable> {
        self.peek_async_as(&key, None).await
    }

    /// Deletes the histories of `key`, as [`reset`](RuleHandle::reset) does, in any store.
    ///
    /// # Errors
    ///
    /// If the store cannot delete them.
    pub async fn reset_async(&self, key: impl KeyParts) -> Result<bool, Unavailable> {
        let (charges, mut verdict) = (self.on_all_routes(&key), Verdict::default());
        let found = match self.limiter.state.store.reset(&charges, &mut verdict) {
            MaybeReady::Ready(()) => verdict,
            MaybeReady::Pending(found) => {
                let (rules, began) = (self.limiter.rules_to_keep(), Stopwatch::start());
                let found = found.await;
                rules.rulebook.observation().observer.note_duration("reset", began);
                found?
            }
        };
        Ok(found.is_admitted())
    }

    /// Reads the key that the rule counts a request by, as a layer does: behind proxies, from cookies, on the request's route.
    ///
    /// Returns `None` if the request does not carry the key. What is charged then is up to [`OnMissing`](crate::OnMissing);
    /// [`Key::SHARED`] is the key of all such requests. The rule need not govern the request, unless its key is a parameter of
    /// its routes.
    ///
    /// ```
    /// use http::Request;
    /// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
    ///
    /// let rule = Rule::new("calls").every_request().key(key::cookie("sid")).policy(Policy::per_minute(60));
    /// let limiter = RateLimiter::builder().rule(rule).build()?;
    /// let calls = limiter.rule("calls")?;
    ///
    /// // Shows the caller what is left, and charges nothing for that.
    /// let request = Request::get("/usage").header("cookie", "sid=4711").body(())?;
    /// let caller = calls.key_of(&RequestView::new(&request)).ok_or("no session")?;
    /// assert_eq!(calls.peek(caller).quotas().next().map(|quota| quota.remaining()), Some(60));
    /// assert_eq!(caller, limiter.key(4711));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn key_of(&self, request: K::View<'_>) -> Option<Key> {
        let location = self.location();
        location.rules.matcher.key_of(location.rule, request, &self.limiter.state.hasher)
    }

    /// Reads the parts of the key that the rule counts a request by, as they were before they became a [`Key`]: for reports, and
    /// for operators. They identify users. Returns `None` if the request does not carry the key.
    ///
    /// An address is its bytes: 4, or those of the prefix of IPv6.
    ///
    /// ```
    /// use http::Request;
    /// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
    ///
    /// let rule = Rule::new("tables").routes(["GET /tables/{table}"]).key((key::header("x-account"), key::path("table")));
    /// let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_minute(60))).build()?;
    ///
    /// let request = Request::get("/tables/orders").header("x-account", "acme").body(())?;
    /// let parts = limiter.rule("tables")?.parts_of(&RequestView::new(&request));
    /// assert_eq!(parts, Some(vec![b"acme".to_vec(), b"orders".to_vec()]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn parts_of(&self, request: K::View<'_>) -> Option<Vec<Vec<u8>>> {
        let location = self.location();
        location.rules.matcher.parts_of(location.rule, request, &self.limiter.state.hasher)
    }

    async fn peek_async_as(&self, key: &impl KeyParts, units: Option<u64>) -> Result<Decision, Unavailable> {
        let peek = |decision, charges: &[Charge]| match charges {
            [] => MaybeDecided::Ready(decision),
            charges => MaybeDecided::ask(decision, |verdict| self.limiter.state.store.peek(charges, verdict)),
        };
        match self.ask_until_current(key, units, Detail::Full, peek, MaybeDecided::is_stale) {
            MaybeDecided::Ready(decision) => Ok(decision),
            MaybeDecided::Pending(pending) => {
                let (rules, began) = (self.limiter.rules_to_keep(), Stopwatch::start());
                let decision = pending.await;
                rules.rulebook.observation().observer.note_duration("peek", began);
                decision
            }
        }
    }

    /// Asks for a decision that is reported.
    fn decide_async(&self, key: &impl KeyParts, units: Option<u64>, detail: Detail) -> MaybeDecided<S::Future> {
        let decide = |decision, charges: &[Charge]| match charges {
            [] => {
                self.limiter.observe(&decision);
                MaybeDecided::Ready(decision)
            }
            charges => self.limiter.ask(decision, charges),
        };
        self.ask_until_current(key, units, detail, decide, MaybeDecided::is_stale)
    }

    /// Calls `decide` with the charge of a key, or with none if the rule is off. Asks again by newer rules while the answer
    /// `is_stale`: the rules were replaced meanwhile.
    #[inline]
    fn ask_until_current<R>(
        &self,
        key: &impl KeyParts,
        units: Option<u64>,
        detail: Detail,
        decide: impl Fn(Decision, &[Charge]) -> R,
        is_stale: impl Fn(&R) -> bool,
    ) -> R {
        let mut location = self.location();
        loop {
            let judge =
                |rule, charge: &Charge| decide(self.pending(&location, rule, charge, detail), slice::from_ref(charge));
            let answer = self.with_charge(&location, key, units, judge);
            let answer = answer.unwrap_or_else(|| decide(Decision::without_rules(location.rulebook()), &[]));
            if !is_stale(&answer) {
                return answer;
            }
            location = self.new_location();
        }
    }

    /// Returns where the rule is now.
    #[inline]
    fn location(&self) -> Cow<'_, Location<K>> {
        match self.limiter.is_current(self.location.version) {
            true => Cow::Borrowed(&self.location),
            false => self.new_location(),
        }
    }

    /// Returns where the rule is after a reload; where it was last, if it is gone.
    #[cold]
    fn new_location(&self) -> Cow<'_, Location<K>> {
        let rules = self.limiter.rules_with(self.name());
        let Some(rule) = rules.rulebook.id(self.name()) else { return Cow::Borrowed(&self.location) };
        let old = self.location.tier.and_then(|tier| self.location.compiled().tier(tier).name());
        let tier = old.map(|name| rules.rulebook.rule(rule).tier_named(name).unwrap_or(0));
        Cow::Owned(Location::new(rules, rule, tier))
    }

    /// Calls `ask` with the charge of a key, in the place where it is made: moving it costs more than making it. Returns `None`
    /// if the rule is off.
    #[inline]
    fn with_charge<R>(
        &self,
        location: &Location<K>,
        key: &impl KeyParts,
        units: Option<u64>,
        ask: impl FnOnce(RuleTier, &Charge) -> R,
    ) -> Option<R> {
        let enforcement = location.rules.switches.enforcement(location.rule);
        if location.is_uncommon || !enforcement.is_enforced() {
            let (rule, charge) = self.uncommon_charge(location, enforcement, key, units)?;
            return Some(ask(rule, &charge));
        }
        let builder = &mut KeyBuilder::for_target(location.target, &self.limiter.state.hasher);
        key.write(builder);
        Some(ask(RuleTier { enforcement, ..location.own_policy() }, builder.charge()))
    }

    #[inline(never)]
    fn uncommon_charge(
        &self,
        location: &Location<K>,
        enforcement: Enforcement,
        key: &impl KeyParts,
        units: Option<u64>,
    ) -> Option<(RuleTier, Charge)> {
        if enforcement == Enforcement::Off {
            return None;
        }
        let least = u64::from(location.compiled().settling().is_some());
        let units = units.unwrap_or_else(|| location.compiled().usual_cost()).max(least);
        let in_own_tier = |rule, charge: &Charge| match location.tier {
            Some(tier) => {
                let target = location.compiled().target(0, tier);
                (RuleTier { tier, ..rule }, Charge { target, ..*charge })
            }
            None => (rule, *charge),
        };
        let rule = (location.rule, enforcement);
        Some(self.limiter.with_charge_of(&location.rules, rule, key, units, in_own_tier))
    }

    /// Creates the decision about a charge by the rule in a tier.
    fn pending(&self, location: &Location<K>, rule: RuleTier, charge: &Charge, detail: Detail) -> Decision {
        let mut decision = location.pending(rule, detail);
        decision.keep_charges(slice::from_ref(charge), || self.limiter.settler());
        decision
    }

    fn check_has_costs(&self) -> Result<(), NoCosts> {
        let location = self.location();
        if location.compiled().has_costs() { Ok(()) } else { Err(NoCosts::new(self.name())) }
    }

    /// Returns the charge to the history of `key` on each route.
    fn on_all_routes(&self, key: &impl KeyParts) -> Vec<Charge> {
        let location = self.location();
        let builder = &mut KeyBuilder::for_target(location.target, &self.limiter.state.hasher);
        key.write(builder);
        location.compiled().targets(0).map(|target| builder.charge_for(target)).collect()
    }
}

impl<K: RequestKind, S> RuleHandle<K, S> {
    /// Returns the rule's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.location.compiled().name()
    }
}

impl<K: RequestKind> Clone for Location<K> {
    fn clone(&self) -> Self {
        Self { rules: Arc::clone(&self.rules), ..*self }
    }
}

impl<K: RequestKind> Location<K> {
    fn new(rules: Arc<Rules<K>>, rule: RuleId, tier: Option<u16>) -> Self {
        let compiled = rules.rulebook.rule(rule);
        let observation = rules.rulebook.observation();
        let is_uncommon = compiled.tiers().len() > 1 || compiled.has_costs() || observation.has_hook();
        let is_simple = !is_uncommon && !observation.is_observed();
        let target = compiled.target(0, 0);
        Self { version: rules.version, rules, rule, tier, target, is_uncommon, is_simple }
    }

    fn compiled(&self) -> &CompiledRule {
        self.rules.rulebook.rule(self.rule)
    }

    fn rulebook(&self) -> Arc<RulebookRef> {
        Arc::clone(self.rules.rulebook.local())
    }

    const fn own_policy(&self) -> RuleTier {
        RuleTier { rule: self.rule, tier: 0, enforcement: Enforcement::On }
    }

    /// Creates a decision by the rule in a tier.
    fn pending(&self, rule: RuleTier, detail: Detail) -> Decision {
        Decision::pending(self.rulebook(), smallvec![rule], detail)
    }
}

impl<K: RequestKind, S> Clone for RuleHandle<K, S> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), location: self.location.clone() }
    }
}

impl<K: RequestKind, S> fmt::Debug for RuleHandle<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleHandle").field("name", &self.name()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        clock::ManualClock,
        limiter::{MaybeDecided, RateLimiterBuilder},
        policy::{Policy, Quota},
        rule::Rule,
        store::Detail,
    };

    const NAMES: [&str; 4] = ["one", "two", "strict", "large"];

    /// Returns limiters of the same rules, and the clock of all of them.
    fn limiters() -> ([RateLimiter; 3], ManualClock) {
        let clock = ManualClock::new();
        let policies = [
            Policy::per_second(3),
            Policy::new(Quota::new(2, Duration::from_millis(700))).and_per_minute(40),
            Policy::per_second(2).count_denied(),
            Policy::per_minute(5_000).and_per_second(4),
        ];
        let limiter = || {
            let rules = NAMES.iter().zip(&policies);
            let rules = rules.map(|(name, policy)| Rule::new(*name).no_requests().policy(policy.clone()));
            rules.fold(RateLimiter::builder().clock(clock.clone()), RateLimiterBuilder::rule)
        };
        (std::array::from_fn(|_| limiter().build().unwrap()), clock.clone())
    }

    /// Decides about a request under one rule or several, in this detail.
    fn decide(limiter: &RateLimiter, rules: &[usize], key: &str, detail: Detail) -> (bool, Vec<(u64, Duration)>) {
        let charges = limiter.charges(rules.iter().map(|rule| (NAMES[*rule], key))).unwrap();
        let MaybeDecided::Ready(decision) = limiter.decide(&charges, detail) else { unreachable!("it is in memory") };
        (decision.is_admitted(), decision.quotas().map(|quota| (quota.remaining(), quota.reset_after())).collect())
    }

    #[test]
    fn in_a_full_table_newcomers_share_a_limit_however_they_ask() {
        for in_detail in [true, false] {
            let rule = Rule::new("calls").no_requests().policy(Policy::per_minute(2));
            let limiter: RateLimiter = RateLimiter::builder().max_keys(1).rule(rule).build().unwrap();
            let calls = limiter.rule("calls").unwrap();
            let admits = |key: &str| if in_detail { calls.check(key).is_admitted() } else { calls.admit(key) };
            assert!(admits("filler"));
            assert_eq!(["a", "b", "c", "d"].map(admits), [true, true, false, false]);
            assert_eq!([admits("filler"), admits("filler")], [true, false]);
        }
    }

    proptest! {
        #[test]
        fn the_answer_is_the_same_in_every_detail(
            steps in prop::collection::vec((0u64..400, prop::collection::vec(0usize..4, 1..4), 0usize..3), 1..200),
        ) {
            let ([always, if_denied, never], clock) = limiters();
            for (step, rules, key) in steps {
                clock.advance(Duration::from_millis(step));
                let key = ["ann", "bob", "a name of more than twenty-seven bytes"][key];
                let (admitted, states) = decide(&always, &rules, key, Detail::Full);
                let denied = decide(&if_denied, &rules, key, Detail::OnDenial);
                prop_assert_eq!(denied.0, admitted);
                if !admitted {
                    prop_assert_eq!(denied.1, states);
                }
                let answer = match rules[..] {
                    [rule] => never.rule(NAMES[rule]).unwrap().admit(key),
                    _ => never.admit_all(rules.iter().map(|rule| (NAMES[*rule], key))).unwrap(),
                };
                prop_assert_eq!(answer, admitted);
            }
        }
    }
}
