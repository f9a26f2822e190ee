//! The figures of a replay.

use crate::{
    log::{Merge, UnreadableLines},
    replay::{Candidate, KeyStats, Refusal, Replay, RuleStats, Series, Stretch, Totals},
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
    pub(crate) refused: u64,
    pub(crate) first_refused: Option<i64>,
    pub(crate) longest: Option<Stretch>,
    /// The most requests in the window of each quota.
    pub(crate) peaks: Vec<u64>,
}

impl Report {
    pub(crate) fn new(replay: &Replay, merge: &Merge, (rules_file, logs): (&str, &[String]), max_keys: usize) -> Self {
        let mut lines = merge.seen.clone();
        lines.unreadable += replay.totals.invalid;
        let rules = replay.rules.iter().enumerate().map(|(at, stats)| RuleReport::new(stats, replay, at));
        Self {
            rules_file: rules_file.to_owned(),
            logs: logs.to_vec(),
            formats: merge.formats().into_iter().map(str::to_owned).collect(),
            lines,
            totals: replay.totals.clone(),
            absent_headers: replay.absent_headers(&merge.layout).into_iter().map(str::to_owned).collect(),
            has_no_peer: !merge.may_have(crate::log::Layout::PEER),
            has_forgotten: replay.keys.has_forgotten,
            overflowed: replay.keys.overflowed,
            max_keys,
            rules: rules.collect(),
        }
    }
}

impl RuleReport {
    fn new(stats: &RuleStats, replay: &Replay, at: usize) -> Self {
        let mut keys: Vec<&KeyStats> = replay.keys.of_rule(at).collect();
        let rank = |key: &KeyStats| (key.refused, key.pressure(&stats.trials));
        keys.sort_by(|one, other| {
            let ((refused, pressure), (most_refused, most_pressure)) = (rank(one), rank(other));
            most_refused.cmp(&refused).then(most_pressure.total_cmp(&pressure)).then_with(|| one.name.cmp(&other.name))
        });
        let quotas = stats.quotas.iter().zip(&stats.trials).map(|(quota, trial)| {
            let mut candidates = trial.candidates();
            for limit in [trial.limit, trial.peak.max(1)] {
                if !candidates.iter().any(|candidate| candidate.limit == limit) {
                    candidates.push(Candidate { limit, refused: 0, keys: 0 });
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

    pub(crate) const fn series(&self) -> &Series {
        &self.stats.series
    }

    pub(crate) const fn first(&self) -> Option<&Refusal> {
        self.stats.first.as_ref()
    }

    /// Returns the limits as the file has them.
    pub(crate) fn limits(&self) -> String {
        let quotas: Vec<&str> = self.quotas.iter().map(|quota| quota.quota.as_str()).collect();
        if quotas.is_empty() { "unlimited".to_owned() } else { quotas.join(", ") }
    }
}

impl TopKey {
    fn new(key: &KeyStats) -> Self {
        Self {
            key: key.name.to_string(),
            requests: key.requests,
            refused: key.refused,
            first_refused: key.first_refused,
            longest: key.longest,
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
