//! The verdict on a request, as a value.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};

use crate::{
    limiter::{
        ChargeMark, ChargeMarks, CompiledRule, QuotaStatus, RuleNumbers, RulebookRef, ShardedRulebook,
        message::MessageContext, seen::Seen,
    },
    store::{Detail, Verdict},
};

/// Whether a request was admitted, and how every quota that governs it stands.
///
/// Handlers find it among the request's extensions, outer layers among those of a refusal, and of other responses if
/// [they are to](crate::RateLimitLayer::decision). A copy that is put into another request says the same and is
/// [no pass](crate::RateLimitLayer#batches).
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
    rules: RuleNumbers,
    verdict: Verdict,
    /// What the request has been charged, if a layer is to enter this into it or has done so: others may put decisions into
    /// requests, too.
    charged: ChargeMarks,
}

impl Decision {
    /// A decision about a request that these rules govern, whose verdict is to be written.
    #[inline]
    pub(crate) fn pending(rulebook: &Arc<RulebookRef>, rules: RuleNumbers, told: Detail) -> Self {
        Self {
            rulebook: Arc::clone(rulebook),
            rules,
            verdict: Verdict::with_detail(told),
            charged: ChargeMarks::default(),
        }
    }

    #[inline]
    pub(crate) const fn verdict_mut(&mut self) -> &mut Verdict {
        &mut self.verdict
    }

    /// Whether the request was admitted.
    #[must_use]
    pub const fn is_admitted(&self) -> bool {
        self.verdict.admitted
    }

    /// How long until the request would be admitted if nobody else came; none if it was.
    ///
    /// This is the longest wait of all exhausted quotas of all rules, exact to a [tick](crate::Policy::resolution): who sleeps for it
    /// finds room. On the wire it is rounded up to seconds, and is not longer than the window: the tick by which this may be,
    /// since recording rounds up, is left out there. The way of the next request takes longer than that.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        (!self.is_admitted()).then(|| self.exhausted().map(|quota| quota.reset_after()).max().unwrap_or_default())
    }

    /// The wait as callers are told it: see [`QuotaStatus::stated_wait`].
    pub(crate) fn stated_wait(&self) -> Duration {
        self.exhausted().map(|quota| quota.stated_wait()).max().unwrap_or_default()
    }

    /// The quotas of all rules that govern the request.
    pub fn quotas(&self) -> impl Iterator<Item = QuotaStatus<'_>> {
        let rules = self.rules.iter().filter_map(|rule| self.rulebook.rule(usize::from(*rule)));
        let quotas = rules.flat_map(|rule| rule.quotas().map(move |(quota, header_name)| (rule, quota, header_name)));
        let stated = quotas.zip(&self.verdict.states);
        let verdict = &self.verdict;
        stated.map(move |((rule, quota, name), state)| QuotaStatus::new(rule, quota, name, *state, verdict))
    }

    /// Of each charge of a denied request the time until it has room; zero if it has.
    #[cfg(feature = "client")]
    pub(crate) fn waits(&self) -> impl Iterator<Item = Duration> {
        let (now, mut states) = (self.verdict.now, self.verdict.states.iter());
        let rules = self.rules.iter().filter_map(|rule| self.rulebook.rule(usize::from(*rule)));
        rules.map(move |rule| {
            let stated = rule.policy().quotas().zip(states.by_ref());
            let exhausted = stated.filter(|(quota, state)| state.used >= quota.limit());
            exhausted.map(|(_, state)| now.until(state.changes_at)).max().unwrap_or_default()
        })
    }

    /// The quotas that have no room; none if the request was admitted.
    ///
    /// Where denials count, this is after the denial was counted: a quota that it has filled is among them.
    pub fn exhausted(&self) -> impl Iterator<Item = QuotaStatus<'_>> {
        self.quotas().filter(QuotaStatus::is_exhausted)
    }

    /// The text for the caller, that of the quota with the longest wait; none if the request was admitted.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        let worst = self.worst()?;
        let retry_after = worst.stated_wait();
        let occasion = MessageContext { rule: worst.rule(), level: worst.level(), quota: worst.quota(), retry_after };
        Some(occasion.message(self.rulebook.template()))
    }

    /// The exhausted quota with the longest wait; the first of equals.
    pub(crate) fn worst(&self) -> Option<QuotaStatus<'_>> {
        let longer = |worst: QuotaStatus<'_>, next: &QuotaStatus<'_>| next.reset_after() > worst.reset_after();
        self.exhausted().fold(None, |worst, next| match worst {
            Some(worst) if !longer(worst, &next) => Some(worst),
            _ => Some(next),
        })
    }

    /// The body that was made beforehand for denials by one quota alone.
    pub(crate) fn prepared_body(&self) -> Option<Bytes> {
        let mut exhausted = self.exhausted();
        let (only, None) = (exhausted.next()?, exhausted.next()) else { return None };
        only.prepared_body()
    }

    /// The rules that govern the request, each once.
    pub(crate) fn governed_by(&self) -> impl Iterator<Item = &CompiledRule> {
        let mut seen = Seen::default();
        let rules = self.rules.iter().filter(move |rule| seen.is_first(**rule));
        rules.filter_map(|rule| self.rulebook.rule(usize::from(*rule)))
    }

    /// The quotas, each name once: of a rule that counts the request under several keys, the tightest.
    pub(crate) fn tightest(&self) -> impl Iterator<Item = QuotaStatus<'_>> {
        let tightest = self.repeats_a_rule().then(|| self.places_of_the_tightest());
        let is_tightest = move |at: &usize| tightest.as_ref().is_none_or(|tightest| tightest.contains(at));
        self.quotas().enumerate().filter(move |(at, _)| is_tightest(at)).map(|(_, quota)| quota)
    }

    fn repeats_a_rule(&self) -> bool {
        let mut seen = Seen::default();
        self.rules.len() > 1 && !self.rules.iter().all(|rule| seen.is_first(*rule))
    }

    /// Of each name the place among the quotas where the tightest of that name is; the first of equals.
    #[cold]
    fn places_of_the_tightest(&self) -> HashSet<usize> {
        let mut by_name: HashMap<&str, (usize, QuotaStatus<'_>)> = HashMap::new();
        for (at, quota) in self.quotas().enumerate() {
            let tightest = by_name.entry(quota.policy_name()).or_insert((at, quota));
            if quota.tightness() > tightest.1.tightness() {
                *tightest = (at, quota);
            }
        }
        by_name.into_values().map(|(at, _)| at).collect()
    }

    /// Notes what the request is charged if it is admitted.
    #[inline]
    pub(crate) fn note(&mut self, charged: ChargeMarks) {
        self.charged = charged;
    }

    /// This decision as it is entered into the request: with the note of what that was charged, which is kept nowhere else.
    pub(crate) fn take_entered(&mut self) -> Self {
        Self { charged: std::mem::take(&mut self.charged), ..self.clone() }
    }

    /// What this limiter has charged the request already, if a layer entered this decision into it.
    pub(crate) fn charged_by(&self, rulebook: &ShardedRulebook) -> impl Iterator<Item = &ChargeMark> {
        let is_ours = !self.charged.is_empty() && self.rulebook.is_of(rulebook);
        self.charged.iter().filter(move |_| is_ours)
    }
}

impl Clone for Decision {
    /// The copy says the same, and is no pass: layers further in take none but the original for a sign that the request has
    /// been charged.
    fn clone(&self) -> Self {
        Self {
            rulebook: Arc::clone(&self.rulebook),
            rules: RuleNumbers::from_slice(&self.rules),
            verdict: self.verdict.clone(),
            charged: self.charged.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Policy, Quota, RateLimiter, RateLimiterBuilder, Rule, clock::ManualClock};

    const MANY: usize = 50;

    /// Of each of many rules the request is counted under two keys, one of which has been charged before.
    #[test]
    fn of_many_rules_each_is_told_of_once_and_by_its_tightest_key() {
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
        let governed: Vec<&str> = decision.governed_by().map(CompiledRule::name).collect();
        assert_eq!(governed, names);
        let mut tightest: Vec<(&str, u32)> =
            decision.tightest().map(|quota| (quota.rule(), quota.remaining())).collect();
        tightest.sort_unstable_by_key(|(rule, _)| rule[4..].parse::<usize>().unwrap());
        let expected = names.iter().enumerate().map(|(at, name)| (&**name, if at < MANY / 2 { 7 } else { 8 }));
        assert_eq!(tightest, expected.collect::<Vec<_>>());
    }

    #[test]
    fn of_equally_tight_keys_the_first_is_told_of() {
        let rule = Rule::new("calls").every_request().key(crate::key::constant("k")).policy(Policy::per_minute(9));
        let limiter = RateLimiter::builder().rule(rule).build().unwrap();
        let decision = limiter.check_all([("calls", "a"), ("calls", "b")]).unwrap();
        let (told, first) = (decision.tightest().next().unwrap(), decision.quotas().next().unwrap());
        assert_eq!(told.reset_after(), first.reset_after());
        assert_eq!(decision.places_of_the_tightest().into_iter().collect::<Vec<_>>(), [0]);
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
    fn of_a_rule_that_counts_twice_the_tightest_is_told_and_the_rule_is_named_once() {
        let limiter = limiter(Policy::per_minute(5));
        let _ = limiter.rule("calls").unwrap().check("ann");
        for keys in [["ann", "bob"], ["bob", "ann"], ["carl", "dora"]] {
            let charges = [("calls", keys[0]), ("other", "all"), ("calls", keys[1])];
            let decision = limiter.check_all(charges).unwrap();
            let least = decision.quotas().map(|quota| quota.remaining()).filter(|left| *left < 90).min().unwrap();
            let told: Vec<_> = decision.tightest().map(|quota| (quota.rule().to_owned(), quota.remaining())).collect();
            assert_eq!(told.len(), 2, "{keys:?}");
            assert!(told.contains(&("calls".to_owned(), least)), "{told:?} of {keys:?}");
            let rules: Vec<_> = decision.governed_by().map(|rule| rule.name().to_owned()).collect();
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
