//! The figures of a replay.

use crate::{
    log::{Merge, UnreadableLines, field_of_header},
    replay::{Candidate, KeyStats, Refusal, Replay, RuleStats, Series, Stretch, Totals},
    rules::{RuleTable, RulesFile, with_unit},
};

/// The keys that are named of each rule.
const MOST_KEYS: usize = 10;

/// The figures of a replay.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) rules_file: String,
    pub(crate) logs: Vec<String>,
    pub(crate) formats: Vec<String>,
    pub(crate) lines: UnreadableLines,
    pub(crate) totals: Totals,
    /// The header fields that rules read, and no request has.
    pub(crate) absent_headers: Vec<String>,
    /// What is to be known of the costs of rules, and of the outcomes that they count.
    pub(crate) cost_notes: Vec<String>,
    /// The logs are of formats that have no address.
    pub(crate) has_no_peer: bool,
    /// Keys were forgotten to make room, so those that came back are counted twice.
    pub(crate) has_forgotten: bool,
    pub(crate) overflowed: u64,
    pub(crate) max_keys: usize,
    pub(crate) rules: Vec<RuleReport>,
}

/// The figures of one rule, or of one tier of it.
#[derive(Clone, Debug)]
pub(crate) struct RuleReport {
    pub(crate) stats: RuleStats,
    pub(crate) quotas: Vec<QuotaReport>,
    /// The keys that were refused most, and then those that came closest to a limit.
    pub(crate) top: Vec<TopKey>,
}

/// The figures of one quota, as if it were alone.
#[derive(Clone, Debug)]
pub(crate) struct QuotaReport {
    pub(crate) quota: String,
    /// The name of its window: `minute`.
    pub(crate) window: String,
    pub(crate) window_millis: i64,
    pub(crate) limit: u64,
    /// The smallest limit that refuses nobody.
    pub(crate) peak: u64,
    pub(crate) is_rounded: bool,
    /// Limits, lowest first: candidates below the peak, the present limit, and the peak.
    pub(crate) candidates: Vec<Candidate>,
}

/// A key, and what became of its requests.
#[derive(Clone, Debug)]
pub(crate) struct TopKey {
    pub(crate) key: String,
    pub(crate) requests: u64,
    /// The units that these cost.
    pub(crate) units: u64,
    pub(crate) refused: u64,
    pub(crate) first_refused: Option<i64>,
    pub(crate) longest: Option<Stretch>,
    /// The most units in the window of each quota.
    pub(crate) peaks: Vec<u64>,
}

impl Report {
    pub(crate) fn new(replay: &Replay, merge: &Merge, file: &RulesFile, logs: &[String]) -> Self {
        let mut lines = merge.seen.clone();
        lines.unreadable += replay.totals.invalid;
        let rules = replay.rules.iter().enumerate().map(|(at, stats)| RuleReport::new(stats, replay, at));
        Self {
            rules_file: file.name.clone(),
            logs: logs.to_vec(),
            formats: merge.formats().into_iter().map(str::to_owned).collect(),
            lines,
            totals: replay.totals.clone(),
            absent_headers: absent_headers(replay, merge, file),
            cost_notes: file
                .rules
                .iter()
                .flat_map(|rule| [cost_note(rule, replay, merge, file), outcome_note(rule)])
                .flatten()
                .collect(),
            has_no_peer: !merge.may_have(crate::log::Layout::PEER),
            has_forgotten: replay.keys.has_forgotten,
            overflowed: replay.keys.overflowed,
            max_keys: file.max_keys(),
            rules: rules.collect(),
        }
    }
}

/// Returns the header fields that rules read and no request has, without those that carry costs.
fn absent_headers(replay: &Replay, merge: &Merge, file: &RulesFile) -> Vec<String> {
    let is_cost = |name: &str| file.costs().iter().any(|cost| cost.header == name);
    let absent = replay.absent_headers(&merge.layout).into_iter().filter(|name| !is_cost(name));
    absent
        .map(|name| field_of_header(name).map_or_else(|| name.to_owned(), |name| format!("the field {name}")))
        .collect()
}

/// Returns what is to be known of the costs of a rule: where they are not those of the log.
fn cost_note(rule: &RuleTable, replay: &Replay, merge: &Merge, file: &RulesFile) -> Option<String> {
    let (name, unit) = (&rule.name, rule.unit()?);
    let own = || rule.cost_text().map_or_else(|| rule.fixed_cost().unwrap_or(1).to_string(), str::to_owned);
    let sum = |of: fn(&RuleStats) -> u64| replay.rules.iter().filter(|stats| stats.rule == *name).map(of).sum::<u64>();
    if sum(|stats| stats.requests) == 0 {
        return None;
    }
    if let Some(cost) = file.costs().of_unit(unit) {
        let unstated = if replay.has_read(&merge.layout, &cost.header) {
            sum(|stats| stats.unstated)
        } else {
            sum(|stats| stats.requests)
        };
        let otherwise = if cost.is_of_bytes() { "none".to_owned() } else { format!("what the rule says ({})", own()) };
        return (unstated > 0).then(|| {
            format!("rule \"{name}\": requests without {unit} at {}: {unstated}, which cost {otherwise}", cost.source)
        });
    }
    let has_program = rule.cost_text().is_some_and(|text| !file.sources().costs_without(text).is_empty());
    let what = match rule.fields.contains_key("reserve") {
        true => "requests are charged their estimates",
        false if has_program => "requests cost what the rule says without its program",
        false => return None,
    };
    Some(format!(
        "rule \"{name}\": {what} ({} {unit}); name what the log says, if it does, as in --cost {unit}=json:/usage/{unit}",
        own()
    ))
}

/// Returns what is to be known of a rule that does not count every request.
fn outcome_note(rule: &RuleTable) -> Option<String> {
    let counts_only = rule.fields.contains_key("count_only");
    let name = &rule.name;
    counts_only.then(|| format!("rule \"{name}\": it counts some outcomes alone (count_only), and here every request"))
}

impl RuleReport {
    fn new(stats: &RuleStats, replay: &Replay, at: usize) -> Self {
        let mut keys: Vec<&KeyStats> = replay.keys.of_rule(at).collect();
        let rank = |key: &KeyStats| (key.refused(), key.pressure(&stats.trials));
        keys.sort_by(|one, other| {
            let ((refused, pressure), (most_refused, most_pressure)) = (rank(one), rank(other));
            most_refused.cmp(&refused).then(most_pressure.total_cmp(&pressure)).then_with(|| one.name.cmp(&other.name))
        });
        let quotas = stats.quotas.iter().zip(&stats.trials).map(|(quota, trial)| {
            let mut candidates = trial.candidates();
            for limit in [trial.limit, trial.peak.max(1)] {
                if !candidates.iter().any(|candidate| candidate.limit == limit) {
                    candidates.push(Candidate::new(limit));
                }
            }
            candidates.sort_unstable_by_key(|candidate| candidate.limit);
            QuotaReport {
                quota: quota.to_string(),
                window: quota.to_string().split_once('/').map_or_else(String::new, |(_, window)| window.to_owned()),
                window_millis: trial.window,
                limit: trial.limit,
                peak: trial.peak,
                is_rounded: trial.is_rounded,
                candidates,
            }
        });
        let quotas = quotas.collect();
        Self { stats: stats.clone(), quotas, top: keys.into_iter().take(MOST_KEYS).map(TopKey::new).collect() }
    }

    /// Returns the unit that its limits are of; `None` for requests.
    pub(crate) fn unit(&self) -> Option<&str> {
        self.stats.unit.as_deref()
    }

    pub(crate) const fn series(&self) -> &Series {
        &self.stats.series
    }

    pub(crate) const fn first(&self) -> Option<&Refusal> {
        self.stats.first.as_ref()
    }

    /// Returns the limits as the file has them.
    pub(crate) fn limits(&self) -> String {
        let quotas: Vec<&str> = self.quotas.iter().map(|quota| quota.quota.as_str()).collect();
        if quotas.is_empty() { "unlimited".to_owned() } else { with_unit(&quotas.join(", "), self.unit()) }
    }
}

impl TopKey {
    fn new(key: &KeyStats) -> Self {
        Self {
            key: key.name.to_string(),
            requests: key.requests,
            units: key.units,
            refused: key.refused(),
            first_refused: key.first_refused(),
            longest: key.longest(),
            peaks: key.trials.iter().map(|trial| trial.peak).collect(),
        }
    }
}

impl QuotaReport {
    /// Returns what a candidate is, in a word.
    pub(crate) fn mark(&self, candidate: &Candidate) -> &'static str {
        match (candidate.limit == self.limit, candidate.limit == self.peak.max(1)) {
            (true, true) => "now, and the smallest that refuses nobody",
            (true, false) => "now",
            (false, true) => "the smallest that refuses nobody",
            (false, false) => "",
        }
    }
}
