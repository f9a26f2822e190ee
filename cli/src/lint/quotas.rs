//! Quotas that never deny, and quotas that take much memory.

use tower_quota::Quota;

use crate::{
    lint::Finding,
    rules::{RuleTable, TierPolicy},
};

/// A history takes up to 16 kB as long as no quota is larger than this, or longer.
const MOST_UNITS: u64 = 4096;
const LONGEST_SECONDS: u64 = 12 * 86_400;

/// Finds quotas that never deny, and histories of more than 16 kB.
pub(super) fn find(rule: &RuleTable, found: &mut Vec<Finding>) {
    for policy in &rule.policies {
        let field = if policy.tier.is_some() { "tiers" } else { "quotas" };
        let reasons = policy.quotas.iter().filter_map(|quota| Some((quota, reason_of_idleness(quota, policy)?)));
        found.extend(reasons.map(|(quota, reason)| {
            let text = format!("{quota}{} never denies, because {reason}: leave it out", policy.suffix());
            Finding::new(rule, field, "idle-quota", text)
        }));
        if let Some(bytes) = large_history(rule, policy) {
            let kilobytes = bytes / 1000;
            let text = format!(
                "a key{} may take {kilobytes} kB, more than 16: limits over {MOST_UNITS} and windows over 12 days are \
                 costly; write resolution = 512 for a coarser history, or smaller limits over shorter windows",
                policy.suffix()
            );
            found.push(Finding::new(rule, field, "large-history", text));
        }
    }
}

/// Returns why a quota never denies.
fn reason_of_idleness(quota: &Quota, policy: &TierPolicy) -> Option<String> {
    policy.quotas.iter().filter(|other| *other != quota).find_map(|other| {
        let is_longer = other.window() > quota.window();
        if is_longer && quota.limit() >= other.limit() {
            return Some(format!("{other} has no room before it"));
        }
        // Windows roll, so the units of a part of the shorter window count in full.
        let times = other.window().as_nanos().max(1);
        let most = u128::from(other.limit()) * quota.window().as_nanos().div_ceil(times);
        let is_shorter = other.window() < quota.window();
        (is_shorter && u128::from(quota.limit()) >= most)
            .then(|| format!("{other} lets no more than {most} through in that time"))
    })
}

/// Returns the bytes of a full history, if they are more than 16 kB.
fn large_history(rule: &RuleTable, policy: &TierPolicy) -> Option<u64> {
    let resolution = rule.fields.get("resolution").and_then(toml::Value::as_integer).unwrap_or(4096);
    let resolution = u64::try_from(resolution).unwrap_or(MOST_UNITS);
    // With costs it is the number of requests that takes memory, and not that of units.
    if rule.unit().is_some() {
        return None;
    }
    let is_large = |quota: &&Quota| quota.limit() > resolution || quota.window().as_secs() > LONGEST_SECONDS;
    let buckets = policy.quotas.iter().filter(is_large).map(|quota| quota.limit().min(2 * resolution));
    let exact = policy.quotas.iter().filter(|quota| !is_large(quota)).map(Quota::limit).max().unwrap_or(0);
    let is_compact = !policy.quotas.iter().any(|quota| is_large(&quota));
    let bytes = exact * if is_compact { 4 } else { 8 } + 12 * buckets.sum::<u64>();
    (bytes > 4 * MOST_UNITS).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use crate::lint::finding::found;

    fn of(quotas: &str) -> Vec<(&'static str, usize)> {
        found(&format!("[[rule]]\nname = 'a'\nkey = 'peer_ip'\napplies_to = 'every_request'\nquotas = [{quotas}]"))
    }

    #[test]
    fn a_quota_that_another_makes_unreachable_is_found() {
        assert_eq!(of("'100/minute', '50/hour'"), [("idle-quota", 5)]);
        assert_eq!(of("'50/minute', '50/hour'"), [("idle-quota", 5)]);
        assert_eq!(of("'60/minute', '3600/hour'"), [("idle-quota", 5)]);
        assert_eq!(of("'60/minute', '3599/hour'"), []);
        assert_eq!(of("'60/minute', '61/hour'"), []);
    }

    #[test]
    fn windows_that_do_not_divide_each_other_are_rounded_up() {
        assert_eq!(of("'10/40s', '19/minute'"), []);
        assert_eq!(of("'10/40s', '20/minute'"), [("idle-quota", 5)]);
    }

    #[test]
    fn a_history_of_more_than_16_kb_is_found() {
        assert_eq!(of("'4096/hour'"), []);
        assert_eq!(of("'4097/hour'"), [("large-history", 5)]);
        assert_eq!(of("'60/13d'"), []);
        assert_eq!(of("'2000/13d'"), [("large-history", 5)]);
        assert_eq!(of("'100000/hour']\nresolution = 512\nhosts = ['a.b'"), []);
    }

    #[test]
    fn tiers_are_looked_at_as_well() {
        let tiers = "[rule.tiers]\npro = ['600/minute', '500/hour']";
        assert_eq!(of(&format!("'6/minute']\n{tiers}\nx = ['7/minute'")), [("idle-quota", 6)]);
    }
}
