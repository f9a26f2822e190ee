//! The verdict on a request, as a value.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    limiter::{GovernedBy, RuleNumbers, Rulebook},
    message::Occasion,
    quota::Quota,
    store::{QuotaState, Verdict},
};

/// Whether a request was admitted, and how every quota that governs it stands.
///
/// Handlers find it among the request's extensions, outer layers among the response's.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule};
///
/// let limiter = RateLimiter::builder()
///     .rule(Rule::new("jobs").every_request().level("all", "all").policy(Policy::per_minute(2).and_per_hour(100)))
///     .build()?;
///
/// let decision = limiter.check("jobs", "ann")?;
/// assert!(decision.is_admitted());
/// let remaining: Vec<_> = decision.quotas().map(|quota| (quota.name(), quota.remaining())).collect();
/// assert_eq!(remaining, [("minute".into(), 1), ("hour".into(), 99)]);
///
/// limiter.check("jobs", "ann")?;
/// let denied = limiter.check("jobs", "ann")?;
/// assert!(!denied.is_admitted());
/// assert!(denied.retry_after().is_some_and(|wait| wait.as_secs() <= 60));
/// assert_eq!(denied.exhausted().map(|quota| quota.name()).collect::<Vec<_>>(), ["minute"]);
/// assert!(denied.message().is_some_and(|text| text.starts_with("You've exceeded the per-minute rate limit.")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Decision {
    rulebook: Arc<Rulebook>,
    rules: RuleNumbers,
    verdict: Verdict,
    /// Whether a layer entered this into the request that it is about: others may put decisions into requests, too.
    is_entered: bool,
}

/// How one quota stands.
#[derive(Clone, Copy)]
pub struct QuotaStatus<'a> {
    rule: &'a GovernedBy,
    quota: &'a Quota,
    header_name: &'a str,
    state: QuotaState,
    decision: &'a Decision,
}

impl Decision {
    /// A decision about a request that these rules govern; `decide` writes the verdict, in place.
    pub(crate) fn by(rulebook: &Arc<Rulebook>, rules: RuleNumbers, decide: impl FnOnce(&mut Verdict)) -> Self {
        let mut decision =
            Self { rulebook: Arc::clone(rulebook), rules, verdict: Verdict::default(), is_entered: false };
        decide(&mut decision.verdict);
        decision
    }

    /// Whether the request was admitted.
    #[must_use]
    pub const fn is_admitted(&self) -> bool {
        self.verdict.admitted
    }

    /// How long until the request would be admitted if nobody else came; none if it was.
    ///
    /// This is the longest wait of all exhausted quotas of all rules, exact to a millisecond: who sleeps for it finds
    /// room. On the wire it is rounded up to seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        (!self.is_admitted()).then(|| self.exhausted().map(|quota| quota.reset_after()).max().unwrap_or_default())
    }

    /// The quotas of all rules that govern the request.
    pub fn quotas(&self) -> impl Iterator<Item = QuotaStatus<'_>> {
        let rules = self.rules.iter().filter_map(|rule| self.rulebook.rule(usize::from(*rule)));
        let quotas = rules.flat_map(|rule| rule.quotas().map(move |(quota, header_name)| (rule, quota, header_name)));
        let stated = quotas.zip(&self.verdict.states);
        stated.map(|((rule, quota, header_name), state)| QuotaStatus {
            rule,
            quota,
            header_name,
            state: *state,
            decision: self,
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
        let retry_after = worst.reset_after();
        let occasion = Occasion { rule: worst.rule(), level: worst.level(), quota: worst.quota, retry_after };
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
        only.rule.body_of(only.header_name)
    }

    /// The rules that govern the request, each once.
    pub(crate) fn governed_by(&self) -> impl Iterator<Item = &GovernedBy> {
        let is_first = |at: usize, rule: &u16| !self.rules.iter().take(at).any(|earlier| earlier == rule);
        let rules = self.rules.iter().enumerate().filter(move |(at, rule)| is_first(*at, rule));
        rules.filter_map(|(_, rule)| self.rulebook.rule(usize::from(*rule)))
    }

    /// The quotas, each name once: of a rule that counts the request under several keys, the tightest.
    pub(crate) fn tightest(&self) -> impl Iterator<Item = QuotaStatus<'_>> {
        let repeats = |at: usize, rule: &u16| self.rules.iter().skip(at + 1).any(|later| later == rule);
        let is_repeated = self.rules.iter().enumerate().any(|(at, rule)| repeats(at, rule));
        let is_tightest = move |at: usize, quota: &QuotaStatus<'_>| {
            let others = self.quotas().enumerate().filter(|(other, _)| *other != at);
            let mut twins = others.filter(|(_, twin)| twin.header_name == quota.header_name);
            !twins.any(|(other, twin)| (twin.tightness(), at) > (quota.tightness(), other))
        };
        let quotas = self.quotas().enumerate().filter(move |(at, quota)| !is_repeated || is_tightest(*at, quota));
        quotas.map(|(_, quota)| quota)
    }

    /// This decision as it is entered into the request.
    pub(crate) fn entered(&self) -> Self {
        Self { is_entered: true, ..self.clone() }
    }

    /// The rules of this limiter that have been applied to the request already, if a layer entered this decision.
    pub(crate) fn applied(&self, rulebook: &Arc<Rulebook>) -> &[u16] {
        if self.is_entered && Arc::ptr_eq(&self.rulebook, rulebook) { &self.rules } else { &[] }
    }
}

impl<'a> QuotaStatus<'a> {
    /// The rule that holds the quota.
    #[must_use]
    pub fn rule(&self) -> &'a str {
        self.rule.name()
    }

    /// The rule's enforcement level.
    #[must_use]
    pub fn level(&self) -> &'a str {
        self.rule.level()
    }

    /// The quota's name: `minute`, `hour`, or one given.
    #[must_use]
    pub fn name(&self) -> std::borrow::Cow<'static, str> {
        self.quota.name()
    }

    /// The quota itself.
    #[must_use]
    pub const fn quota(&self) -> &'a Quota {
        self.quota
    }

    /// Units per window.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.quota.limit()
    }

    /// The length of the rolling window.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.quota.window()
    }

    /// Units left, after this request was counted if it was.
    #[must_use]
    pub const fn remaining(&self) -> u32 {
        self.quota.limit().saturating_sub(self.state.used)
    }

    /// Whether the request was denied and this quota has no room.
    #[must_use]
    pub const fn is_exhausted(&self) -> bool {
        !self.decision.is_admitted() && self.remaining() == 0
    }

    /// Time until the quota has room again if it is exhausted, else until the oldest unit it counts leaves; zero if it
    /// counts none.
    #[must_use]
    pub const fn reset_after(&self) -> Duration {
        self.decision.verdict.now.until(self.state.changes_at)
    }

    /// The less is left, and the longer that lasts, the tighter.
    const fn tightness(&self) -> (std::cmp::Reverse<u32>, Duration) {
        (std::cmp::Reverse(self.remaining()), self.reset_after())
    }

    /// The name in header fields and bodies, unique among all quotas of the limiter.
    ///
    /// It is the quota's name, and in a limiter of several rules the rule's before it: `minute`, or `bots/minute`.
    #[must_use]
    pub const fn policy_name(&self) -> &'a str {
        self.header_name
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

impl fmt::Debug for QuotaStatus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaStatus")
            .field("rule", &self.rule())
            .field("quota", &self.quota)
            .field("remaining", &self.remaining())
            .field("reset_after", &self.reset_after())
            .finish()
    }
}
