//! Metrics, through the facade of the crate `metrics`. All handles are registered when rules are compiled.

use std::{
    fmt, iter,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::{
    observe::{
        Check, Figures, RequestOutcome, RuleOutcome, ServerFigures, SettledOutcome,
        tally::{Counters, Tally},
    },
    policy::{Policy, Quota},
};

/// The metrics of a limiter that have no label of a rule.
pub(crate) struct LimiterMeters {
    requests: [Counter; RequestOutcome::ALL.len()],
    keys: Gauge,
    keys_limit: Gauge,
    overflow: StoreCounter,
    known_denials: StoreCounter,
    breaker_open: Gauge,
    failures: [StoreCounter; ServerFigures::REASONS.len()],
    outage_decisions: [StoreCounter; ServerFigures::OUTCOMES.len()],
    leased: [StoreCounter; ServerFigures::KINDS.len()],
    durations: [Histogram; OPERATIONS.len()],
    reloads: [Counter; 2],
    loaded: Gauge,
}

/// A counter of what a store counts itself. Limiters share it, so it grows by what is new.
struct StoreCounter {
    counter: Counter,
    /// The count of the store that was handed on last.
    handed_on: AtomicU64,
}

/// The metrics of the rules of a limiter, in one version.
pub(crate) struct DecisionMeters {
    tally: Tally,
    /// By the numbers of the rules.
    rules: Box<[RuleMeters]>,
}

/// A rule that is to be counted: its name, the name of its units, and its tiers, the first of which is its own policy.
pub(crate) struct CountedRule<'a> {
    pub(crate) rule: &'a str,
    pub(crate) unit: &'a str,
    pub(crate) tiers: Vec<(&'a str, &'a Policy)>,
}

/// The metrics of one rule.
struct RuleMeters {
    /// The first place of each tier in the tally: that of its [`RuleOutcome`]s to requests which no other rule governs. Those to
    /// other requests follow, and those of its quotas that had no room.
    tiers: Box<[usize]>,
    /// The place in the tally of the units that were charged.
    charged: usize,
    units: [Counter; UNITS.len()],
    settlements: [Counter; SettledOutcome::ALL.len()],
    estimate_ratio: Histogram,
    retry_after: Histogram,
    #[cfg(feature = "client")]
    pace: (Gauge, Histogram),
}

/// The kinds of units that are counted, by their numbers.
const UNITS: [&str; 3] = ["charged", "returned", "owed"];
/// The operations of a store that may have to be awaited.
const OPERATIONS: [&str; 4] = ["decide", "settle", "peek", "reset"];
/// The outcomes of reloads.
const RELOADS: [&str; 2] = ["failed", "ok"];

impl LimiterMeters {
    pub(crate) fn register() -> Self {
        describe();
        Self {
            requests: RequestOutcome::ALL
                .map(|outcome| counter!("tower_quota_requests_total", "outcome" => outcome.as_str())),
            keys: gauge!("tower_quota_keys"),
            keys_limit: gauge!("tower_quota_keys_limit"),
            overflow: StoreCounter::new(counter!("tower_quota_overflow_decisions_total")),
            known_denials: StoreCounter::new(counter!("tower_quota_known_denials_total")),
            breaker_open: gauge!("tower_quota_breaker_open"),
            durations: OPERATIONS
                .map(|operation| histogram!("tower_quota_store_duration_seconds", "operation" => operation)),
            failures: ServerFigures::REASONS
                .map(|reason| StoreCounter::new(counter!("tower_quota_store_failures_total", "reason" => reason))),
            outage_decisions: ServerFigures::OUTCOMES
                .map(|outcome| StoreCounter::new(counter!("tower_quota_outage_decisions_total", "outcome" => outcome))),
            leased: ServerFigures::KINDS
                .map(|kind| StoreCounter::new(counter!("tower_quota_leased_units_total", "kind" => kind))),
            reloads: RELOADS.map(|outcome| counter!("tower_quota_reloads_total", "outcome" => outcome)),
            loaded: gauge!("tower_quota_rules_loaded_timestamp_seconds"),
        }
    }

    /// Counts a warning. Each is given once, so its counter may be looked up.
    pub(super) fn warned(&self, check: Check) {
        counter!("tower_quota_warnings_total", "code" => check.code()).increment(1);
    }

    pub(super) fn reloaded(&self, is_ok: bool) {
        if let Some(counter) = self.reloads.get(usize::from(is_ok)) {
            counter.increment(1);
        }
    }

    /// Notes that rules are in force from now on.
    pub(crate) fn note_loaded(&self) {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.loaded.set(since_1970.as_secs_f64());
    }

    pub(super) fn note_figures(&self, figures: &Figures) {
        if let Some((keys, most)) = figures.keys {
            self.keys.set(keys as f64);
            self.keys_limit.set(most as f64);
            self.overflow.hand_on(figures.overflow_decisions);
        }
        if let Some(known) = figures.known_denials {
            self.known_denials.hand_on(known);
        }
        if let Some(servers) = figures.servers {
            hand_on_all(&self.failures, &servers.failures);
            hand_on_all(&self.outage_decisions, &servers.outage_decisions);
            hand_on_all(&self.leased, &servers.leased);
        }
        if figures.has_servers {
            self.breaker_open.set(f64::from(u8::from(figures.is_out)));
        }
    }

    /// Notes how long an operation of the store took that was awaited.
    pub(super) fn note_duration(&self, operation: &str, took: Duration) {
        let at = OPERATIONS.iter().position(|known| *known == operation);
        if let Some(histogram) = at.and_then(|at| self.durations.get(at)) {
            histogram.record(took);
        }
    }
}

impl StoreCounter {
    const fn new(counter: Counter) -> Self {
        Self { counter, handed_on: AtomicU64::new(0) }
    }

    /// Adds what the store has counted since the last time.
    fn hand_on(&self, count: u64) {
        let before = self.handed_on.fetch_max(count, Ordering::Relaxed);
        if count > before {
            self.counter.increment(count - before);
        }
    }
}

impl fmt::Debug for DecisionMeters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecisionMeters").field("tally", &self.tally).finish_non_exhaustive()
    }
}

impl DecisionMeters {
    /// Registers the metrics of all rules. Decisions are counted in so many copies.
    pub(crate) fn register<'a>(
        limiter: &LimiterMeters,
        rules: impl Iterator<Item = CountedRule<'a>>,
        copies: usize,
    ) -> Self {
        // The places of the outcomes of requests are their numbers.
        let mut places = limiter.requests.iter().map(|counter| [Some(counter.clone()), None]).collect();
        let rules = rules.map(|rule| RuleMeters::register(&rule, limiter, &mut places)).collect();
        Self { rules, tally: Tally::new(places, copies) }
    }

    /// Counts a request.
    #[inline]
    pub(crate) fn request(&self, thread: usize, outcome: RequestOutcome) {
        self.tally.count(thread, outcome as usize);
    }

    /// Counts a request, and the answer of the only rule that governs it.
    #[inline]
    pub(crate) fn only_answer(&self, thread: usize, (rule, tier): (usize, u16), outcome: RuleOutcome) {
        if let Some(first) = self.place(rule, tier) {
            self.tally.count(thread, first + outcome as usize);
        }
    }

    /// Counts the answer of one rule to a request.
    #[inline]
    pub(crate) fn answer(&self, thread: usize, (rule, tier): (usize, u16), outcome: RuleOutcome) {
        if let Some(first) = self.place(rule, tier) {
            self.tally.count(thread, first + RuleOutcome::ALL.len() + outcome as usize);
        }
    }

    /// Counts that a quota of a tier had no room.
    pub(crate) fn exhausted(&self, thread: usize, (rule, tier): (usize, u16), quota: usize) {
        if let Some(first) = self.place(rule, tier) {
            self.tally.count(thread, first + 2 * RuleOutcome::ALL.len() + quota);
        }
    }

    /// Counts units that a request has been charged.
    pub(crate) fn charged(&self, thread: usize, rule: usize, units: u64) {
        if let Some(rule) = self.rules.get(rule) {
            self.tally.add(thread, rule.charged, units);
        }
    }

    /// Notes the wait that a caller was told by a rule.
    pub(crate) fn note_wait(&self, rule: usize, wait: Duration) {
        if let Some(rule) = self.rules.get(rule) {
            rule.retry_after.record(wait);
        }
    }

    /// Counts a reservation that was settled, and the units that were given back or are owed.
    pub(crate) fn settled(&self, rule: usize, outcome: SettledOutcome, units: (u64, u64, u64)) {
        if let Some(rule) = self.rules.get(rule) {
            rule.settled(outcome, units);
        }
    }

    /// Notes that a paced call waits for a rule.
    #[cfg(feature = "client")]
    pub(crate) fn begin_wait(&self, rule: usize) {
        if let Some(RuleMeters { pace: (waiting, _), .. }) = self.rules.get(rule) {
            waiting.increment(1.0);
        }
    }

    /// Notes that a paced call has waited for so long.
    #[cfg(feature = "client")]
    pub(crate) fn end_wait(&self, rule: usize, waited: Duration) {
        if let Some(RuleMeters { pace: (waiting, waits), .. }) = self.rules.get(rule) {
            waiting.decrement(1.0);
            waits.record(waited);
        }
    }

    /// Hands on what was counted so far.
    pub(crate) fn hand_on(&self) {
        self.tally.hand_on();
    }

    #[inline]
    fn place(&self, rule: usize, tier: u16) -> Option<usize> {
        self.rules.get(rule)?.tiers.get(usize::from(tier)).copied()
    }
}

impl RuleMeters {
    /// Registers the metrics of a rule, and adds the counters of its decisions to those in the tally.
    fn register(counted: &CountedRule<'_>, limiter: &LimiterMeters, places: &mut Vec<Counters>) -> Self {
        let name = || counted.rule.to_owned();
        let unit = || counted.unit.to_owned();
        let units =
            UNITS.map(|kind| counter!("tower_quota_units_total", "rule" => name(), "unit" => unit(), "kind" => kind));
        let tiers = counted.tiers.iter().map(|(tier, policy)| {
            register_limits(counted.rule, tier, policy);
            let first = places.len();
            places.extend(places_of_tier(counted.rule, tier, policy, limiter));
            first
        });
        let tiers = tiers.collect();
        let [charged, ..] = &units;
        places.push([Some(charged.clone()), None]);
        Self {
            tiers,
            charged: places.len() - 1,
            units,
            settlements: SettledOutcome::ALL.map(
                |outcome| counter!("tower_quota_settlements_total", "rule" => name(), "outcome" => outcome.as_str()),
            ),
            estimate_ratio: histogram!("tower_quota_estimate_ratio", "rule" => name()),
            retry_after: histogram!("tower_quota_retry_after_seconds", "rule" => name()),
            #[cfg(feature = "client")]
            pace: (
                gauge!("tower_quota_pace_waiting", "rule" => name()),
                histogram!("tower_quota_pace_wait_seconds", "rule" => name()),
            ),
        }
    }

    fn settled(&self, outcome: SettledOutcome, (reserved, units, moved): (u64, u64, u64)) {
        if let Some(counter) = self.settlements.get(outcome as usize) {
            counter.increment(1);
        }
        let [_, returned, owed] = &self.units;
        if units < reserved {
            returned.increment(moved);
        } else {
            owed.increment(moved);
        }
        let is_told = !matches!(outcome, SettledOutcome::Unsettled | SettledOutcome::Lost);
        if is_told && reserved > 0 {
            self.estimate_ratio.record(units as f64 / reserved as f64);
        }
    }
}

/// Registers and sets the limits and windows of a tier.
fn register_limits(rule: &str, tier: &str, policy: &Policy) {
    for quota in policy.quotas() {
        let labels = [("rule", rule.to_owned()), ("quota", Quota::name(quota).into_owned()), ("tier", tier.to_owned())];
        gauge!("tower_quota_limit_units", &labels).set(quota.limit() as f64);
        gauge!("tower_quota_window_seconds", &labels).set(quota.window().as_secs_f64());
    }
}

/// Registers the counters of a tier's decisions, in the order of their places in the tally.
fn places_of_tier(rule: &str, tier: &str, policy: &Policy, limiter: &LimiterMeters) -> Vec<Counters> {
    let answers = RuleOutcome::ALL.map(|outcome| {
        let (rule, tier) = (rule.to_owned(), tier.to_owned());
        counter!("tower_quota_decisions_total", "rule" => rule, "tier" => tier, "outcome" => outcome.as_str())
    });
    let exhausted = policy.quotas().map(|quota| {
        counter!("tower_quota_exhausted_total", "rule" => rule.to_owned(), "quota" => quota.name().into_owned())
    });
    let only = iter::zip(&answers, RuleOutcome::ALL).map(|(answer, outcome)| {
        let request = limiter.requests.get(outcome.of_only_rule() as usize);
        [Some(answer.clone()), request.cloned()]
    });
    only.chain(answers.iter().cloned().chain(exhausted).map(|counter| [Some(counter), None])).collect()
}

fn hand_on_all(counters: &[StoreCounter], counts: &[u64]) {
    counters.iter().zip(counts).for_each(|(counter, count)| counter.hand_on(*count));
}

fn describe() {
    describe_counter!("tower_quota_requests_total", "Requests, messages, calls and checks by their outcome.");
    describe_counter!("tower_quota_decisions_total", "Answers of each rule, whatever other rules answered.");
    describe_counter!("tower_quota_exhausted_total", "Denials by the quotas that had no room.");
    describe_counter!("tower_quota_units_total", "Units of rules with costs: charged, returned and owed.");
    describe_counter!("tower_quota_settlements_total", "Reservations by what came of them.");
    describe_counter!(
        "tower_quota_overflow_decisions_total",
        "Decisions by shared histories, because the table was full."
    );
    describe_counter!("tower_quota_known_denials_total", "Denials that were repeated without asking a server.");
    describe_counter!("tower_quota_store_failures_total", "Decisions that no server has made, by the reason.");
    describe_counter!("tower_quota_outage_decisions_total", "Decisions that were made without the servers.");
    describe_counter!("tower_quota_leased_units_total", "Units that were leased in advance.");
    describe_gauge!("tower_quota_pace_waiting", "Paced calls that wait for their turn.");
    describe_histogram!("tower_quota_pace_wait_seconds", "Waits of paced calls that had to wait.");
    describe_counter!("tower_quota_reloads_total", "Reloads of the rules.");
    describe_counter!("tower_quota_warnings_total", "Warnings about probable mistakes in the deployment.");
    describe_gauge!("tower_quota_limit_units", "The limit of each quota.");
    describe_gauge!("tower_quota_window_seconds", "The window of each quota.");
    describe_gauge!("tower_quota_keys", "Histories in this process.");
    describe_gauge!("tower_quota_keys_limit", "The maximum number of histories in this process.");
    describe_gauge!("tower_quota_breaker_open", "1 while a server of the store is left alone.");
    describe_gauge!("tower_quota_rules_loaded_timestamp_seconds", "When the rules were loaded, in seconds since 1970.");
    describe_histogram!("tower_quota_retry_after_seconds", "The wait for room in each rule that denies.");
    describe_histogram!("tower_quota_estimate_ratio", "True costs, as multiples of the estimates.");
    describe_histogram!("tower_quota_store_duration_seconds", "Waits for the server of the store.");
}
