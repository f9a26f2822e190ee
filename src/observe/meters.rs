//! Metrics, through the facade of the crate `metrics`. All handles are registered when rules are compiled.

use std::time::{Duration, SystemTime};

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::{
    observe::{Check, Figures, RequestOutcome, RuleOutcome, ServerFigures, SettledOutcome},
    policy::{Policy, Quota},
};

/// The metrics of a limiter that have no label of a rule.
pub(crate) struct LimiterMeters {
    requests: [Counter; RequestOutcome::ALL.len()],
    keys: Gauge,
    keys_limit: Gauge,
    overflow: Counter,
    known_denials: Counter,
    breaker_open: Gauge,
    failures: [Counter; ServerFigures::REASONS.len()],
    outage_decisions: [Counter; ServerFigures::OUTCOMES.len()],
    leased: [Counter; ServerFigures::KINDS.len()],
    durations: [Histogram; OPERATIONS.len()],
    reloads: [Counter; 2],
    loaded: Gauge,
}

/// The metrics of one rule.
pub(crate) struct RuleMeters {
    tiers: Box<[TierMeters]>,
    units: [Counter; UNITS.len()],
    settlements: [Counter; SettledOutcome::ALL.len()],
    estimate_ratio: Histogram,
    retry_after: Histogram,
    #[cfg(feature = "client")]
    pace: (Gauge, Histogram),
}

/// The metrics of one tier of a rule.
struct TierMeters {
    decisions: [Counter; RuleOutcome::ALL.len()],
    exhausted: Box<[Counter]>,
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
            overflow: counter!("tower_quota_overflow_decisions_total"),
            known_denials: counter!("tower_quota_known_denials_total"),
            breaker_open: gauge!("tower_quota_breaker_open"),
            durations: OPERATIONS
                .map(|operation| histogram!("tower_quota_store_duration_seconds", "operation" => operation)),
            failures: ServerFigures::REASONS
                .map(|reason| counter!("tower_quota_store_failures_total", "reason" => reason)),
            outage_decisions: ServerFigures::OUTCOMES
                .map(|outcome| counter!("tower_quota_outage_decisions_total", "outcome" => outcome)),
            leased: ServerFigures::KINDS.map(|kind| counter!("tower_quota_leased_units_total", "kind" => kind)),
            reloads: RELOADS.map(|outcome| counter!("tower_quota_reloads_total", "outcome" => outcome)),
            loaded: gauge!("tower_quota_rules_loaded_timestamp_seconds"),
        }
    }

    #[inline]
    pub(super) fn request(&self, outcome: RequestOutcome) {
        if let Some(counter) = self.requests.get(outcome as usize) {
            counter.increment(1);
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
            self.overflow.absolute(figures.overflow_decisions);
        }
        if let Some(known) = figures.known_denials {
            self.known_denials.absolute(known);
        }
        if let Some(servers) = figures.servers {
            set_all(&self.failures, &servers.failures);
            set_all(&self.outage_decisions, &servers.outage_decisions);
            set_all(&self.leased, &servers.leased);
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

impl RuleMeters {
    /// Registers the metrics of a rule: its name, the name of its units, and its tiers. The first is its own policy.
    pub(crate) fn register<'a>(
        rule: &str,
        unit: &str,
        tiers: impl Iterator<Item = (Option<&'a str>, &'a Policy)>,
    ) -> Self {
        let name = || rule.to_owned();
        let tiers = tiers.map(|(tier, policy)| TierMeters::register(rule, tier.unwrap_or_default(), policy));
        Self {
            tiers: tiers.collect(),
            units: UNITS.map(
                |kind| counter!("tower_quota_units_total", "rule" => name(), "unit" => unit.to_owned(), "kind" => kind),
            ),
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

    /// Counts the answer of the rule to a request.
    #[inline]
    pub(crate) fn decided(&self, tier: u16, outcome: RuleOutcome) {
        let tier = self.tiers.get(usize::from(tier));
        if let Some(counter) = tier.and_then(|tier| tier.decisions.get(outcome as usize)) {
            counter.increment(1);
        }
    }

    /// Counts that a quota of a tier had no room.
    pub(crate) fn exhausted(&self, tier: u16, quota: usize) {
        let tier = self.tiers.get(usize::from(tier));
        if let Some(counter) = tier.and_then(|tier| tier.exhausted.get(quota)) {
            counter.increment(1);
        }
    }

    /// Notes the wait that a caller was told by the rule.
    pub(crate) fn note_wait(&self, wait: Duration) {
        self.retry_after.record(wait);
    }

    /// Notes that a paced call waits.
    #[cfg(feature = "client")]
    pub(crate) fn begin_wait(&self) {
        self.pace.0.increment(1.0);
    }

    /// Notes that a paced call has waited for so long.
    #[cfg(feature = "client")]
    pub(crate) fn end_wait(&self, waited: Duration) {
        self.pace.0.decrement(1.0);
        self.pace.1.record(waited);
    }

    /// Counts units that a request has been charged.
    pub(crate) fn charged(&self, units: u64) {
        let [charged, ..] = &self.units;
        charged.increment(units);
    }

    /// Counts a reservation that was settled, and the units that were given back or are owed.
    pub(crate) fn settled(&self, outcome: SettledOutcome, (reserved, units, moved): (u64, u64, u64)) {
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

impl TierMeters {
    fn register(rule: &str, tier: &str, policy: &Policy) -> Self {
        let names = || (rule.to_owned(), tier.to_owned());
        for quota in policy.quotas() {
            let quota_name = Quota::name(quota).into_owned();
            let (rule, tier) = names();
            let labels = [("rule", rule), ("quota", quota_name), ("tier", tier)];
            gauge!("tower_quota_limit_units", &labels).set(quota.limit() as f64);
            gauge!("tower_quota_window_seconds", &labels).set(quota.window().as_secs_f64());
        }
        let exhausted = policy.quotas().map(|quota| {
            counter!("tower_quota_exhausted_total", "rule" => rule.to_owned(), "quota" => quota.name().into_owned())
        });
        Self {
            decisions: RuleOutcome::ALL.map(|outcome| {
                let (rule, tier) = names();
                counter!("tower_quota_decisions_total", "rule" => rule, "tier" => tier, "outcome" => outcome.as_str())
            }),
            exhausted: exhausted.collect(),
        }
    }
}

fn set_all(counters: &[Counter], counts: &[u64]) {
    counters.iter().zip(counts).for_each(|(counter, count)| counter.absolute(*count));
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
    describe_histogram!("tower_quota_retry_after_seconds", "The waits that denied callers were told.");
    describe_histogram!("tower_quota_estimate_ratio", "True costs, as multiples of the estimates.");
    describe_histogram!("tower_quota_store_duration_seconds", "Waits for the server of the store.");
}
