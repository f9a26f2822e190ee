//! Tiers that give less than the rule does, or the same.

use std::time::Duration;

use crate::{
    lint::Finding,
    rules::{RuleTable, TierPolicy},
};

/// Finds tiers that are smaller than the rule's own policy, and tiers and overrides that change nothing.
pub(super) fn find(rule: &RuleTable, found: &mut Vec<Finding>) {
    let Some(own) = rule.policy(None) else { return };
    for tier in rule.policies.iter().filter(|policy| policy.tier.is_some()) {
        let name = tier.tier.as_deref().unwrap_or_default();
        if tier == own {
            let keys: Vec<_> = rule.overrides().into_iter().filter(|(_, tier)| *tier == name).collect();
            let overrides = match &*keys {
                [] => String::new(),
                [(key, _), ..] => format!(", and so do its {} overrides (such as \"{key}\")", keys.len()),
            };
            let text = format!("tier \"{name}\" says what the rule says ({}){overrides}: leave it out", own.limits());
            found.push(Finding::new(rule, "tiers", "same-tier", text));
        } else if is_smaller(tier, own) {
            let (limits, others) = (tier.limits(), own.limits());
            let text = format!("tier \"{name}\" gives less ({limits}) than keys without a tier have ({others})");
            found.push(Finding::new(rule, "tiers", "smaller-tier", text));
        }
    }
}

/// Returns `true` if a policy has a smaller limit than another in some window, and in none a larger one.
pub(crate) fn is_smaller(policy: &TierPolicy, than: &TierPolicy) -> bool {
    let windows = || policy.quotas.iter().chain(&than.quotas).map(tower_quota::Quota::window);
    let limit = |policy: &TierPolicy, window: Duration| {
        let limits = policy.quotas.iter().filter(|quota| quota.window() == window).map(tower_quota::Quota::limit);
        limits.min().unwrap_or(u64::MAX)
    };
    windows().any(|window| limit(policy, window) < limit(than, window))
        && windows().all(|window| limit(policy, window) <= limit(than, window))
}

#[cfg(test)]
mod tests {
    use crate::lint::finding::found;

    fn of(tiers: &str) -> Vec<(&'static str, usize)> {
        let rule =
            "[[rule]]\nname = 'a'\nkey = 'host'\napplies_to = 'every_request'\nquotas = ['60/minute', '1800/hour']";
        found(&format!("{rule}\n[rule.tiers]\n{tiers}"))
    }

    #[test]
    fn a_tier_that_gives_less_than_the_rule_is_found() {
        assert_eq!(of("free = ['31/minute', '1800/hour']"), [("smaller-tier", 6)]);
        assert_eq!(of("free = ['60/minute', '1800/hour', '2000/day']"), [("smaller-tier", 6)]);
        assert_eq!(of("pro = ['30/minute', '3600/day']"), [], "an hour of it has no limit");
        assert_eq!(of("pro = ['90/minute', '3600/hour']\nstaff = 'unlimited'"), []);
    }

    #[test]
    fn a_tier_that_says_what_the_rule_says_is_found() {
        assert_eq!(of("pro = ['1800/hour', '60/minute']\n[rule.overrides]\nacme = 'pro'"), [("same-tier", 6)]);
    }
}
