//! The decision about a request: the verdict of a store, with the names of the rulebook.

use std::{
    fmt, iter,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use http::Extensions;
use pin_project_lite::pin_project;
use smallvec::SmallVec;

use crate::{
    clock::Timestamp,
    error::Unavailable,
    key::{Charge, Key, RawParts},
    limiter::{
        ChargeMark, ChargeMarks, CompiledRule, CompiledTier, Observation, QuotaStatus, Reservation, RuleTier,
        RuleTiers, RulebookRef, Settler, ShardedRulebook, charges::KeyNames, message::MessageContext,
        reservation::Ledger, seen::Seen, verdict_under,
    },
    observe::Stopwatch,
    policy::{Enforcement, PolicyName, Quota},
    response::ResponseSettings,
    store::{Detail, MaybeReady, Verdict},
};

/// A decision: whether a request was admitted, and the status of every quota that governs it.
///
/// Handlers find it among the request's extensions, and outer layers among those of a refusal, or of
/// [any response](crate::RateLimitLayer::decision). A copy in another request says the same, but
/// [is no proof of a charge](crate::RateLimitLayer#batches).
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, key};
///
/// let limiter = RateLimiter::builder()
///     .rule(Rule::new("jobs").every_request().key(key::constant("all")).policy(Policy::per_minute(2).and_per_hour(100)))
///     .build()?;
///
/// let decision = limiter.rule("jobs")?.check("ann");
/// assert!(decision.is_admitted());
/// let remaining: Vec<_> = decision.quotas().map(|quota| (quota.name(), quota.remaining())).collect();
/// assert_eq!(remaining, [("minute".into(), 1), ("hour".into(), 99)]);
///
/// limiter.rule("jobs")?.check("ann");
/// let denied = limiter.rule("jobs")?.check("ann");
/// assert!(!denied.is_admitted());
/// assert!(denied.retry_after().is_some_and(|wait| wait.as_secs() <= 60));
/// assert_eq!(denied.exhausted().map(|quota| quota.name()).collect::<Vec<_>>(), ["minute"]);
/// assert!(denied.message().is_some_and(|text| text.starts_with("You've exceeded the per-minute rate limit.")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the request may be denied"]
pub struct Decision {
    rulebook: Arc<RulebookRef>,
    rules: RuleTiers,
    verdict: Verdict,
    /// The marks of the charges, if a layer has recorded this in the request or is about to. Users may put decisions into
    /// requests, too: those have none.
    marks: ChargeMarks,
    /// Nearly always rules count requests, so this is one word.
    costing: Option<Box<Costing>>,
}

/// What decisions keep under rules with costs, for a hook, and for names that are to be remembered.
#[derive(Clone, Debug)]
struct Costing {
    charges: SmallVec<[Charge; 2]>,
    settler: Arc<dyn Settler>,
    reservation: Option<Reservation>,
    /// The names of the keys, if they are to be remembered.
    names: KeyNames,
    /// The units in flight that each quota counts, if the request is denied and some rule settles costs.
    held: SmallVec<[u64; 4]>,
}

/// The decisions of the limiters further out than the one of the [`Decision`] in the extensions, outermost first.
#[derive(Clone, Debug, Default)]
struct OuterDecisions(Vec<Decision>);

/// A decision: made already, or awaited because the store is asynchronous.
pub(crate) type MaybeDecided<F> = MaybeReady<PendingDecision<F>, Decision>;

/// A call that waits for a pending decision.
pub(crate) struct DeferredCall<S, R, C> {
    /// The service that was polled ready for this call.
    pub(crate) service: S,
    pub(crate) request: R,
    /// The rest of what is needed to continue when the decision is made.
    pub(crate) context: C,
}

pin_project! {
    /// A decision whose verdict is the future `F` of a store.
    #[derive(Debug)]
    pub(crate) struct PendingDecision<F> {
        #[pin]
        verdict: F,
        decision: Option<Decision>,
        // When it was asked for, if somebody observes decisions.
        observed_since: Option<Stopwatch>,
    }
}

/// Returns the marks of all charges that this limiter has made for the request already: a limiter that is mounted twice
/// charges once.
pub(crate) fn already_applied(rulebook: &ShardedRulebook, extensions: &Extensions) -> SmallVec<[ChargeMark; 4]> {
    let Some(last) = extensions.get::<Decision>() else { return SmallVec::new() };
    if last.marks.is_empty() && last.rulebook.is_of(rulebook) {
        rulebook.observation().note_copy();
    }
    let outer = extensions.get::<OuterDecisions>().map_or(&[][..], |outer| &outer.0);
    outer.iter().chain(iter::once(last)).flat_map(|decision| decision.marks_of(rulebook)).copied().collect()
}

impl Decision {
    /// Creates a decision under these rules, whose verdict is yet to be written.
    #[inline]
    pub(crate) fn pending(rulebook: Arc<RulebookRef>, rules: RuleTiers, detail: Detail) -> Self {
        let verdict = Verdict::with_detail(rulebook.detail(detail));
        Self { rulebook, rules, verdict, marks: ChargeMarks::default(), costing: None }
    }

    pub(super) fn observation(&self) -> &Observation {
        self.rulebook.observation()
    }

    /// Returns `true` if it is to be reported: somebody wants to know of every decision, or it may be logged.
    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        self.rulebook.is_watched()
    }

    /// Returns the number of the threads whose reference to the rulebook this has.
    pub(super) fn thread(&self) -> usize {
        self.rulebook.thread()
    }

    /// Returns the rules, by the indices of the charges.
    #[inline]
    pub(super) fn rule_tiers(&self) -> &[RuleTier] {
        &self.rules
    }

    pub(super) const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    #[inline]
    pub(super) fn has_without_room(&self) -> bool {
        self.verdict.has_without_room()
    }

    /// Returns `true` if this charge had no room and does not deny.
    pub(super) fn is_without_room(&self, charge: usize) -> bool {
        self.verdict.is_without_room(charge)
    }

    /// Returns a charge, if the charges were kept.
    pub(super) fn charge(&self, at: usize) -> Option<&Charge> {
        self.costing.as_ref()?.charges.get(at)
    }

    /// Returns the time of the decision by the clock of the store.
    #[inline]
    pub(super) const fn decided_at(&self) -> Timestamp {
        self.verdict.now
    }

    /// Keeps the charges, if some rule has costs or a hook is told of decisions: what was charged has to be told, and perhaps
    /// settled.
    #[inline]
    pub(crate) fn keep_charges(&mut self, charges: &[Charge], settler: impl FnOnce() -> Arc<dyn Settler>) {
        if self.rulebook.keeps_charges() {
            self.costing = Some(Costing::new(charges, settler()));
        }
    }

    /// Keeps the names of the keys, to be remembered if the request is denied.
    #[inline]
    pub(super) fn keep_names(&mut self, names: &[(Key, RawParts)]) {
        if let Some(costing) = self.costing.as_mut().filter(|_| !names.is_empty()) {
            costing.keep_names(names);
        }
    }

    /// Returns the parts of a key, if they were kept.
    pub(super) fn name(&self, key: Key) -> Option<&RawParts> {
        let mut names = self.costing.as_ref()?.names.iter();
        names.find(|(other, _)| *other == key).map(|(_, parts)| parts)
    }

    /// Makes the reservation of an admitted request, or looks for units in flight if it is denied. To be called when the verdict
    /// is there.
    #[inline]
    pub(crate) fn complete(&mut self) {
        if self.costing.is_some() {
            self.reserve();
        }
    }

    #[cold]
    fn reserve(&mut self) {
        let Some(mut costing) = self.costing.take() else { return };
        if self.verdict.admitted {
            let rulebook = Arc::clone(&self.rulebook);
            let settler = Arc::clone(&costing.settler);
            costing.reservation = self.rulebook.has_settlements().then(|| {
                Reservation::new(Ledger::new(rulebook, settler, &costing.charges, &self.rules, &self.verdict))
            });
        } else if self.rulebook.has_settlements() {
            costing.held = self.held_units(&costing);
        }
        self.costing = Some(costing);
    }

    /// Returns the units in flight that each quota counts.
    fn held_units(&self, costing: &Costing) -> SmallVec<[u64; 4]> {
        let now = self.verdict.now.nanos();
        let charges = self.rules().zip(&costing.charges);
        let held = charges.flat_map(|((_, rule, tier), charge)| {
            tier.policy().quotas().map(move |quota| {
                let window = u64::try_from(quota.window().as_nanos()).unwrap_or(u64::MAX);
                let since = now.saturating_add(1).saturating_sub(window);
                if rule.settling().is_some() { costing.settler.held_since(charge, since) } else { 0 }
            })
        });
        held.collect()
    }

    /// Returns what was reserved, to be settled when its cost is known; `None` if the request was denied, or if no rule
    /// [reserves](crate::Rule::reserve).
    #[must_use]
    pub fn reservation(&self) -> Option<&Reservation> {
        self.costing.as_ref()?.reservation.as_ref()
    }

    /// Returns `true` if the request was admitted. What it has reserved stays as it is, for want of somebody who could settle it.
    pub(crate) fn into_answer(self) -> bool {
        if let Some(reservation) = self.reservation() {
            reservation.keep();
        }
        self.is_admitted()
    }

    /// Returns `true` if the request costs more than some quota admits: it is denied however long the caller waits.
    #[must_use]
    pub fn is_never_possible(&self) -> bool {
        !self.verdict.admitted && self.has_costs() && self.exhausted().any(|quota| quota.is_never_possible())
    }

    /// Returns `true` if requests may cost other than one unit under some rule of the limiter.
    pub(crate) fn has_costs(&self) -> bool {
        // Charges are kept for a hook as well.
        self.costing.is_some() && self.rulebook.has_costs()
    }

    /// Returns the rules that it is of.
    pub(crate) fn into_rules(self) -> (Arc<RulebookRef>, RuleTiers) {
        (self.rulebook, self.rules)
    }

    /// Creates the decision about a request that no rule looks at: it is admitted.
    #[cold]
    pub(crate) fn without_rules(rulebook: Arc<RulebookRef>) -> Self {
        let verdict = Verdict::new(true);
        Self { rulebook, rules: RuleTiers::new(), verdict, marks: ChargeMarks::default(), costing: None }
    }

    /// Returns `true` if nothing was decided, because the rules were replaced meanwhile: ask again by the newer ones.
    pub(crate) const fn is_stale(&self) -> bool {
        self.verdict.is_stale
    }

    #[inline]
    pub(crate) const fn verdict_mut(&mut self) -> &mut Verdict {
        &mut self.verdict
    }

    /// Returns `true` if the request was admitted.
    #[must_use]
    pub const fn is_admitted(&self) -> bool {
        self.verdict.admitted
    }

    /// Returns the time after which the request would be admitted, unless others came first; `None` if it was admitted, or if
    /// it is [never possible](Self::is_never_possible).
    ///
    /// This is the longest wait of all exhausted quotas of all rules, exact to a [tick](crate::Policy::resolution). It may
    /// exceed the window by a part of a tick, because recording rounds up. On the wire it is rounded up to whole seconds, and
    /// is never longer than the window: the next request takes more than a tick to arrive.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let is_denied = !self.is_admitted() && !self.is_never_possible();
        is_denied.then(|| self.exhausted().map(|quota| quota.reset_after()).max().unwrap_or_default())
    }

    /// Returns the wait that callers are told: see [`QuotaStatus::stated_wait`].
    pub(crate) fn stated_wait(&self) -> Duration {
        self.exhausted().map(|quota| quota.stated_wait()).max().unwrap_or_default()
    }

    /// Returns the status of each quota, in the order of the rules and of their policies.
    ///
    /// A rule that counts the request by two keys, because its path has two readings, has its quotas here twice. Rules in
    /// [shadow](crate::Enforcement::Shadow) have none: see [`would_be_denied_by`](Self::would_be_denied_by).
    pub fn quotas(&self) -> impl Iterator<Item = QuotaStatus<'_>> {
        self.statuses().map(|(_, quota)| quota).filter(|quota| quota.enforcement() != Enforcement::Shadow)
    }

    /// Returns the status of each quota, also of rules in shadow, with the index of its charge.
    pub(super) fn statuses(&self) -> impl Iterator<Item = (usize, QuotaStatus<'_>)> {
        let quotas = self.rules().enumerate().flat_map(|(at, (used, rule, tier))| {
            tier.quotas().map(move |(quota, name)| (at, used.enforcement, rule, tier, quota, name))
        });
        let verdict = &self.verdict;
        let quotas = quotas.zip(&verdict.states).enumerate();
        quotas.map(move |(index, ((at, enforcement, rule, tier, quota, name), state))| {
            let status = QuotaStatus::new((rule, tier, enforcement), quota, name, *state, verdict);
            match &self.costing {
                Some(costing) => (at, costing.told_in(status, at, index)),
                None => (at, status),
            }
        })
    }

    /// Returns the status of one quota: of its charge, and by its index among all quotas.
    #[inline]
    pub(super) fn status<'a>(
        &'a self,
        (charge, index): (usize, usize),
        rule: (&'a CompiledRule, &'a CompiledTier, Enforcement),
        (quota, name): (&'a Quota, &'a PolicyName),
    ) -> Option<QuotaStatus<'a>> {
        let status = QuotaStatus::new(rule, quota, name, *self.verdict.states.get(index)?, &self.verdict);
        Some(match &self.costing {
            Some(costing) => costing.told_in(status, charge, index),
            None => status,
        })
    }

    /// Returns the quotas in [shadow](crate::Enforcement::Shadow) that have no room: with these rules enforced, the request
    /// would be denied. None of them is told to callers.
    ///
    /// ```
    /// use tower_quota::{Enforcement, Policy, RateLimiter, Rule};
    ///
    /// let rule = Rule::new("jobs").no_requests().policy(Policy::per_minute(1));
    /// let limiter = RateLimiter::builder().rule(rule.enforcement(Enforcement::Shadow)).build()?;
    ///
    /// let jobs = limiter.rule("jobs")?;
    /// assert_eq!(jobs.check("acme").would_be_denied_by().count(), 0);
    /// let decision = jobs.check("acme");
    /// assert!(decision.is_admitted());
    /// assert_eq!(decision.would_be_denied_by().map(|quota| quota.name()).collect::<Vec<_>>(), ["minute"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn would_be_denied_by(&self) -> impl Iterator<Item = QuotaStatus<'_>> {
        self.without_room(Enforcement::Shadow)
    }

    /// Returns `true` if a [soft](crate::Enforcement::Soft) rule had no room for the request: let it have a cheaper model, or
    /// a lower priority.
    ///
    /// ```
    /// use tower_quota::{Enforcement, Policy, RateLimiter, Rule};
    ///
    /// let rule = Rule::new("prompts").no_requests().policy(Policy::per_minute(1));
    /// let limiter = RateLimiter::builder().rule(rule.enforcement(Enforcement::Soft)).build()?;
    ///
    /// let prompts = limiter.rule("prompts")?;
    /// let model = |account| match prompts.check(account).is_over_soft_limit() {
    ///     true => "small",
    ///     false => "large",
    /// };
    /// assert_eq!([model("acme"), model("acme")], ["large", "small"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_over_soft_limit(&self) -> bool {
        self.verdict.has_without_room() && self.rules_without_room(Enforcement::Soft).next().is_some()
    }

    /// Returns the quotas that have no room of the [soft](crate::Enforcement::Soft) rules that had none for the request. A
    /// quota of such a rule that this very request has filled is among them.
    pub fn over_soft_limits(&self) -> impl Iterator<Item = QuotaStatus<'_>> {
        self.without_room(Enforcement::Soft)
    }

    fn without_room(&self, enforcement: Enforcement) -> impl Iterator<Item = QuotaStatus<'_>> {
        let statuses = self.verdict.has_without_room().then(|| self.statuses()).into_iter().flatten();
        let is_one = move |at: usize, quota: &QuotaStatus<'_>| {
            quota.enforcement() == enforcement && quota.lacks_room() && self.verdict.is_without_room(at)
        };
        statuses.filter(move |(at, quota)| is_one(*at, quota)).map(|(_, quota)| quota)
    }

    /// Returns the names of the rules in this enforcement that had no room, each once.
    pub(crate) fn rules_without_room(&self, enforcement: Enforcement) -> impl Iterator<Item = &str> {
        let mut seen = Seen::default();
        let rules = self.rules().enumerate().filter(move |(at, (used, ..))| {
            used.enforcement == enforcement && self.verdict.is_without_room(*at) && seen.is_first(used.rule)
        });
        rules.map(|(_, (_, rule, _))| rule.name())
    }

    /// Returns the wait of each charge of a denied request; zero for those that have room or are not enforced. Units in flight may
    /// come back [at any moment](QuotaStatus::is_held).
    #[cfg(feature = "client")]
    pub(crate) fn waits(&self) -> impl Iterator<Item = Duration> {
        let mut statuses = self.statuses();
        self.rules().map(move |(_, _, tier)| {
            let of_charge = statuses.by_ref().take(tier.policy().quotas().len());
            of_charge
                .map(|(_, quota)| quota)
                .filter(QuotaStatus::is_exhausted)
                .map(|quota| quota.likely_wait())
                .max()
                .unwrap_or_default()
        })
    }

    /// Returns the quotas that deny the request, because they have no room; none if it was admitted.
    ///
    /// Where [denials count](crate::Policy::count_denied), a quota that this very denial has filled is among them.
    pub fn exhausted(&self) -> impl Iterator<Item = QuotaStatus<'_>> {
        self.quotas().filter(QuotaStatus::is_exhausted)
    }

    /// Returns the sentence for the caller, about the exhausted quota with the longest wait; `None` if the request was admitted.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        let worst = self.worst()?;
        let retry_after = worst.stated_wait();
        let context = MessageContext { retry_after, ..worst.context() };
        Some(context.message(self.rulebook.template()))
    }

    /// Returns the exhausted quota with the longest wait; the first of equals.
    pub(crate) fn worst(&self) -> Option<QuotaStatus<'_>> {
        self.worst_among(|_| true)
    }

    /// Returns the exhausted quota with the longest wait among some; the first of equals.
    pub(crate) fn worst_among(&self, is_meant: impl Fn(&QuotaStatus<'_>) -> bool) -> Option<QuotaStatus<'_>> {
        let longer = |worst: QuotaStatus<'_>, next: &QuotaStatus<'_>| next.likely_wait() > worst.likely_wait();
        self.exhausted().filter(is_meant).fold(None, |worst, next| match worst {
            Some(worst) if !longer(worst, &next) => Some(worst),
            _ => Some(next),
        })
    }

    /// Returns the settings of answers to it.
    pub(crate) fn response_settings(&self) -> &ResponseSettings {
        self.rulebook.response_settings()
    }

    /// Returns the prepared body if one quota alone denies.
    pub(crate) fn prepared_body(&self) -> Option<Bytes> {
        let mut exhausted = self.exhausted();
        let (only, None) = (exhausted.next()?, exhausted.next()) else { return None };
        if only.is_never_possible() { None } else { only.prepared_body() }
    }

    /// Returns the rule of each charge.
    #[inline]
    pub(super) fn rules(&self) -> impl Iterator<Item = (RuleTier, &CompiledRule, &CompiledTier)> {
        self.rules.iter().map(|used| {
            let rule = self.rulebook.rule(used.rule);
            (*used, rule, rule.tier(used.tier))
        })
    }

    /// Returns the rules that govern the request, each once. Callers are not told of those in shadow.
    pub(crate) fn governed_by(&self) -> impl Iterator<Item = (&CompiledRule, &CompiledTier)> {
        let mut seen = Seen::default();
        let mut is_told = move |used: RuleTier| used.enforcement != Enforcement::Shadow && seen.is_first(used);
        self.rules().filter(move |(used, ..)| is_told(*used)).map(|(_, rule, tier)| (rule, tier))
    }

    /// Returns the quotas, each name once: the tightest, where a rule counts the request by several keys.
    pub(crate) fn tightest(&self) -> impl Iterator<Item = QuotaStatus<'_>> {
        let tightest = self.repeats_a_rule().then(|| self.tightest_indices());
        let is_tightest = move |index: &usize| tightest.as_ref().is_none_or(|tightest| tightest.contains(index));
        self.quotas().enumerate().filter(move |(index, _)| is_tightest(index)).map(|(_, quota)| quota)
    }

    /// Calls `visit` with each of these quotas. Straight through the quotas if there is one rule, as nearly always: on the way
    /// of every response.
    pub(crate) fn for_each_tightest<'a>(&'a self, mut visit: impl FnMut(QuotaStatus<'a>)) {
        let Some((rule, tier)) = self.only_rule().filter(|_| !self.has_costs()) else {
            return self.tightest().for_each(visit);
        };
        for ((quota, name), state) in tier.quotas().zip(&self.verdict.states) {
            visit(QuotaStatus::new((rule, tier, Enforcement::On), quota, name, *state, &self.verdict));
        }
    }

    /// Returns the rule if there is one only, and it is enforced.
    pub(crate) fn only_rule(&self) -> Option<(&CompiledRule, &CompiledTier)> {
        let [RuleTier { rule, tier, enforcement: Enforcement::On }] = &*self.rules else { return None };
        let rule = self.rulebook.rule(*rule);
        Some((rule, rule.tier(*tier)))
    }

    fn repeats_a_rule(&self) -> bool {
        let mut seen = Seen::default();
        self.rules.len() > 1 && !self.rules.iter().all(|used| seen.is_first(used.rule))
    }

    /// Returns the indices, among the quotas, of the tightest of each name; the first of equals.
    #[cold]
    fn tightest_indices(&self) -> HashSet<usize> {
        let mut by_name: HashMap<&str, (usize, QuotaStatus<'_>)> = HashMap::new();
        for (index, quota) in self.quotas().enumerate() {
            let tightest = by_name.entry(quota.policy_name()).or_insert((index, quota));
            if quota.tightness() > tightest.1.tightness() {
                *tightest = (index, quota);
            }
        }
        by_name.into_values().map(|(index, _)| index).collect()
    }

    /// Adds the marks of its charges, to be recorded in the request.
    #[inline]
    pub(super) fn mark(&mut self, marks: ChargeMarks) {
        self.marks = marks;
    }

    /// Records the decision in the request that it admits, for the handler and for the mounts of the limiter further in. The
    /// marks of its charges go with it and are kept nowhere else.
    pub(crate) fn record_in(&mut self, extensions: &mut Extensions) {
        let mut recorded = self.clone();
        std::mem::swap(&mut recorded.marks, &mut self.marks);
        if let Some(outer) = extensions.insert(recorded) {
            extensions.get_or_insert_default::<OuterDecisions>().0.push(outer);
        }
    }

    /// Returns the marks of what the limiter with this rulebook has charged, if a layer recorded this decision.
    fn marks_of(&self, rulebook: &ShardedRulebook) -> impl Iterator<Item = &ChargeMark> {
        let is_ours = !self.marks.is_empty() && self.rulebook.is_of(rulebook);
        self.marks.iter().filter(move |_| is_ours)
    }
}

impl Costing {
    #[cold]
    fn keep_names(&mut self, names: &[(Key, RawParts)]) {
        self.names = names.to_vec();
    }

    #[cold]
    fn new(charges: &[Charge], settler: Arc<dyn Settler>) -> Box<Self> {
        let charges = SmallVec::from_slice(charges);
        Box::new(Self { charges, settler, reservation: None, names: KeyNames::new(), held: SmallVec::new() })
    }

    /// Adds to the status of a quota what the request costs, and what is in flight.
    fn told_in<'a>(&self, status: QuotaStatus<'a>, charge: usize, quota: usize) -> QuotaStatus<'a> {
        let cost = self.charges.get(charge).map_or(1, Charge::units);
        status.with_cost(cost, self.held.get(quota).copied().unwrap_or(0))
    }
}

impl Clone for Decision {
    /// Returns a copy that says the same but has no marks: layers further in take only the original for a sign that the request
    /// was charged.
    fn clone(&self) -> Self {
        Self {
            rulebook: Arc::clone(&self.rulebook),
            rules: RuleTiers::from_slice(&self.rules),
            verdict: self.verdict.clone(),
            marks: self.marks.clone(),
            costing: self.costing.clone(),
        }
    }
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decision")
            .field("is_admitted", &self.is_admitted())
            .field("retry_after", &self.retry_after())
            .field("quotas", &self.quotas().collect::<Vec<_>>())
            .finish()
    }
}

impl<F> MaybeDecided<F> {
    /// Returns `true` if nothing was decided, because the rules were replaced meanwhile.
    #[inline]
    pub(crate) const fn is_stale(&self) -> bool {
        matches!(self, Self::Ready(decision) if decision.is_stale())
    }

    /// Asks a store for the verdict of a decision.
    #[inline]
    pub(crate) fn ask(mut decision: Decision, ask: impl FnOnce(&mut Verdict) -> MaybeReady<F>) -> Self {
        match ask(decision.verdict_mut()) {
            MaybeReady::Ready(()) => {
                decision.complete();
                Self::Ready(decision)
            }
            MaybeReady::Pending(verdict) => Self::Pending(PendingDecision::new(verdict, Some(decision), None)),
        }
    }
}

impl<F> MaybeDecided<F>
where
    F: Future<Output = Result<Verdict, Unavailable>>,
{
    /// Waits for the decision if it is not made yet.
    pub(crate) async fn wait(self) -> Result<Decision, Unavailable> {
        match self {
            Self::Ready(decision) => Ok(decision),
            Self::Pending(pending) => pending.await,
        }
    }
}

impl<F> PendingDecision<F> {
    /// Creates a decision that is reported when it is there, if somebody has begun to watch.
    pub(super) const fn new(verdict: F, decision: Option<Decision>, observed_since: Option<Stopwatch>) -> Self {
        Self { verdict, decision, observed_since }
    }
}

impl<F> Future for PendingDecision<F>
where
    F: Future<Output = Result<Verdict, Unavailable>>,
{
    type Output = Result<Decision, Unavailable>;

    #[expect(clippy::expect_used, reason = "polling a finished future is a bug of the caller")]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let verdict = ready!(this.verdict.poll(cx));
        let mut decision = this.decision.take().expect("polled after completion");
        let (observed_since, is_known) = (this.observed_since.take(), verdict.is_ok());
        let verdict = verdict_under(&decision.rules, verdict);
        if let Some(began) = observed_since {
            decision.observe_answer(began, is_known, verdict.is_ok());
        }
        *decision.verdict_mut() = verdict?;
        decision.complete();
        if observed_since.is_some() && is_known {
            decision.report();
        }
        Poll::Ready(Ok(decision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Policy, Quota, RateLimiter, RateLimiterBuilder, Rule, clock::ManualClock};

    const MANY: usize = 50;

    /// Each of the rules counts the request by two keys, one of which has been charged before.
    #[test]
    fn each_of_many_rules_is_reported_once_and_by_its_tightest_key() {
        let names: Vec<String> = (0..MANY).map(|number| format!("rule{number}")).collect();
        let rules = names
            .iter()
            .map(|name| Rule::new(name).every_request().key(crate::key::constant("k")).policy(Policy::per_minute(9)));
        let limiter = rules.fold(RateLimiter::builder(), RateLimiterBuilder::rule).build().unwrap();
        let charges = |key| names.iter().map(move |name| (&**name, key));
        let _ = limiter.check_all(charges("used").take(MANY / 2)).unwrap();

        let twice = charges("new").chain(charges("used")).chain(charges("used"));
        let decision = limiter.check_all(twice).unwrap();

        assert_eq!(decision.quotas().count(), 2 * MANY, "the same charge twice is one");
        let governed: Vec<&str> = decision.governed_by().map(|(rule, _)| rule.name()).collect();
        assert_eq!(governed, names);
        let mut tightest: Vec<(&str, u64)> =
            decision.tightest().map(|quota| (quota.rule(), quota.remaining())).collect();
        tightest.sort_unstable_by_key(|(rule, _)| rule[4..].parse::<usize>().unwrap());
        let expected = names.iter().enumerate().map(|(at, name)| (&**name, if at < MANY / 2 { 7 } else { 8 }));
        assert_eq!(tightest, expected.collect::<Vec<_>>());
    }

    #[test]
    fn the_first_of_equally_tight_keys_is_reported() {
        let rule = Rule::new("calls").every_request().key(crate::key::constant("k")).policy(Policy::per_minute(9));
        let limiter = RateLimiter::builder().rule(rule).build().unwrap();
        let decision = limiter.check_all([("calls", "a"), ("calls", "b")]).unwrap();
        let (told, first) = (decision.tightest().next().unwrap(), decision.quotas().next().unwrap());
        assert_eq!(told.reset_after(), first.reset_after());
        assert_eq!(decision.tightest_indices().into_iter().collect::<Vec<_>>(), [0]);
    }

    const MINUTE: Duration = Duration::from_secs(60);

    fn limiter(policy: Policy) -> RateLimiter {
        let rule = |name| Rule::new(name).no_requests();
        let builder = RateLimiter::builder().clock(ManualClock::new());
        let builder = builder.rule(rule("calls").policy(policy));
        builder.rule(rule("other").policy(Policy::per_minute(100))).build().unwrap()
    }

    fn named(decision: &Decision) -> Option<String> {
        decision.worst().map(|quota| quota.name().into_owned())
    }

    #[test]
    fn the_quota_with_the_longest_wait_is_the_worst_and_the_first_of_equals() {
        let quota = |name: &'static str, minutes| Quota::new(1, MINUTE * minutes).named(name);
        for (policy, worst) in [
            (Policy::new(quota("a", 1)).and(quota("b", 1)), "a"),
            (Policy::new(quota("a", 1)).and(quota("b", 2)), "b"),
            (Policy::new(quota("a", 2)).and(quota("b", 1)), "a"),
        ] {
            let limiter = limiter(policy);
            assert_eq!(named(&limiter.rule("calls").unwrap().check("ann")), None);
            assert_eq!(named(&limiter.rule("calls").unwrap().check("ann")).as_deref(), Some(worst));
        }
    }

    #[test]
    fn a_rule_that_counts_twice_reports_its_tightest_key_and_is_named_once() {
        let limiter = limiter(Policy::per_minute(5));
        let _ = limiter.rule("calls").unwrap().check("ann");
        for keys in [["ann", "bob"], ["bob", "ann"], ["carl", "dora"]] {
            let charges = [("calls", keys[0]), ("other", "all"), ("calls", keys[1])];
            let decision = limiter.check_all(charges).unwrap();
            let least = decision.quotas().map(|quota| quota.remaining()).filter(|left| *left < 90).min().unwrap();
            let told: Vec<_> = decision.tightest().map(|quota| (quota.rule().to_owned(), quota.remaining())).collect();
            assert_eq!(told.len(), 2, "{keys:?}");
            assert!(told.contains(&("calls".to_owned(), least)), "{told:?} of {keys:?}");
            let rules: Vec<_> = decision.governed_by().map(|(rule, _)| rule.name().to_owned()).collect();
            assert_eq!(rules, ["calls", "other"]);
        }
    }

    #[cfg(feature = "client")]
    #[test]
    fn each_charge_of_a_denied_request_has_a_wait_of_its_own() {
        let limiter = limiter(Policy::per_minute(1).and(Quota::new(1, 2 * MINUTE)));
        let _ = limiter.rule("calls").unwrap().check("ann");
        let charges = [("other", "ann"), ("calls", "ann"), ("calls", "bob")];
        let denied = limiter.check_all(charges).unwrap();
        assert_eq!(denied.waits().collect::<Vec<_>>(), [Duration::ZERO, 2 * MINUTE, Duration::ZERO]);
    }
}
