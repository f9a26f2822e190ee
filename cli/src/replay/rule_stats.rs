//! What is counted of one rule, or of one tier of it.

use tower_quota::Quota;

use crate::{
    log::CostPlace,
    replay::{KeyStats, Series, Stretch, Trial},
    rules::{RuleTable, TierPolicy},
};

/// A rule, or a tier of it, and what it did.
#[derive(Clone, Debug)]
pub(crate) struct RuleStats {
    pub(crate) rule: String,
    pub(crate) tier: Option<String>,
    pub(crate) enforcement: String,
    pub(crate) quotas: Vec<Quota>,
    pub(crate) trials: Vec<Trial>,
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    /// The unit of its costs; `None` if it counts requests.
    pub(crate) unit: Option<String>,
    /// The units that the requests cost, and of those the ones that were refused.
    pub(crate) units: u64,
    pub(crate) units_refused: u64,
    /// Where the log says the cost, and the requests for which it says none.
    pub(crate) cost: Option<CostPlace>,
    pub(crate) unstated: u64,
    pub(crate) keys: u64,
    pub(crate) keys_refused: u64,
    /// The requests that do not carry the key, and what happens to them.
    pub(crate) without_key: u64,
    pub(crate) on_missing: String,
    pub(crate) first: Option<Refusal>,
    pub(crate) longest: Option<(String, Stretch)>,
    pub(crate) series: Series,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) time: i64,
    pub(crate) key: String,
}

impl RuleStats {
    pub(crate) fn new(rule: &RuleTable, policy: &TierPolicy, cost: Option<CostPlace>) -> Self {
        let trial = |quota: &Quota| {
            let window = i64::try_from(quota.window().as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
            Trial::new(quota.limit(), window.max(1), rule.counts_denied(), rule.unit().is_some())
        };
        let on_missing = rule.fields.get("on_missing").map_or_else(
            || "share".to_owned(),
            |value| match value.as_str() {
                Some(word) => word.to_owned(),
                None => value.to_string(),
            },
        );
        Self {
            rule: rule.name.clone(),
            tier: policy.tier.clone(),
            enforcement: rule.enforcement().to_owned(),
            trials: policy.quotas.iter().map(trial).collect(),
            quotas: policy.quotas.clone(),
            requests: 0,
            refused: 0,
            unit: rule.unit().map(str::to_owned),
            units: 0,
            units_refused: 0,
            cost,
            unstated: 0,
            keys: 0,
            keys_refused: 0,
            without_key: 0,
            on_missing,
            first: None,
            longest: None,
            series: Series::default(),
        }
    }

    /// Counts a request, which costs so many units, as the log says or not.
    #[inline]
    pub(super) fn note(&mut self, units: u64, is_stated: bool, is_refused: bool) {
        self.requests += 1;
        self.refused += u64::from(is_refused);
        self.units = self.units.saturating_add(units);
        self.units_refused = self.units_refused.saturating_add(if is_refused { units } else { 0 });
        self.unstated += u64::from(!is_stated);
    }

    /// Counts a refusal of a key, which has counted it already.
    pub(super) fn note_refusal(&mut self, key: &KeyStats, now: i64) {
        self.keys_refused += u64::from(key.refused() == 1);
        if self.first.is_none() {
            self.first = Some(Refusal { time: now, key: key.name.to_string() });
        }
        let is_longest =
            |stretch: &Stretch| self.longest.as_ref().is_none_or(|(_, longest)| stretch.is_longer_than(*longest));
        if let Some(stretch) = key.longest().filter(is_longest) {
            self.longest = Some((key.name.to_string(), stretch));
        }
    }

    /// Returns the name of the rule, and of the tier if it is one.
    pub(crate) fn title(&self) -> String {
        self.tier.as_ref().map_or_else(|| self.rule.clone(), |tier| format!("{}, tier {tier}", self.rule))
    }

    #[cfg(test)]
    pub(super) fn for_tests(limit: u64, window: i64) -> Self {
        let text = "[[rule]]\nname = 'a'\nkey = 'peer_ip'\nquotas = ['1/s']\napplies_to = 'every_request'";
        let file = crate::rules::RulesFile::parse("f", text, crate::rules::ProgramSources::default()).unwrap();
        let rule = &file.rules[0];
        Self { trials: vec![Trial::new(limit, window, false, false)], ..Self::new(rule, &rule.policies[0], None) }
    }
}
