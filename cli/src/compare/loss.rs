//! Who has less by the new rules than by the old ones.

use std::{collections::BTreeSet, fmt};

use crate::{
    lint::is_smaller,
    rules::{RuleTable, RulesFile, TierPolicy},
};

/// Some keys or requests that have less now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    rule: String,
    who: String,
    why: String,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule \"{}\": {}: {}", self.rule, self.who, self.why)
    }
}

/// Returns who has less, in the order of the new rules.
pub(crate) fn losses(old: &RulesFile, new: &RulesFile) -> Vec<Loss> {
    let of_rule = |rule: &RuleTable| match old.rule(&rule.name) {
        Some(before) => losses_of(before, rule),
        None => of_new_rule(rule),
    };
    new.rules.iter().flat_map(of_rule).collect()
}

fn of_new_rule(rule: &RuleTable) -> Vec<Loss> {
    let limits = rule.policy(None).map(TierPolicy::limits).unwrap_or_default();
    let denies = rule.enforcement() == "on" && rule.texts("applies_to") != ["no_requests"];
    let loss = denies.then(|| loss(rule, "every key", format!("the rule is new, and admits {limits}")));
    loss.into_iter().collect()
}

fn losses_of(before: &RuleTable, now: &RuleTable) -> Vec<Loss> {
    let mut losses = Vec::new();
    let (was, is) = (before.enforcement(), now.enforcement());
    if is == "on" && was != "on" {
        losses.push(loss(now, "every key over its limit", format!("the rule denies now (it was {was:?})")));
    }
    // A rule that denies nobody takes nothing.
    if is != "on" {
        return losses;
    }
    losses.extend(before.policies.iter().filter_map(|policy| of_policy(policy, now)));
    losses.extend(of_overrides(before, now));
    if now.fields.get("on_missing").is_some_and(toml::Value::is_integer)
        && before.fields.get("on_missing") != now.fields.get("on_missing")
    {
        losses.push(loss(now, "requests without the key", "they are refused now".to_owned()));
    }
    losses
}

/// Compares a policy with what its keys have now: that of their tier, or the rule's own if the tier is gone.
fn of_policy(before: &TierPolicy, rule: &RuleTable) -> Option<Loss> {
    let tier = before.tier.as_deref();
    let now = rule.policy(tier).or_else(|| rule.policy(None))?;
    let who = tier.map_or_else(|| "keys without a tier".to_owned(), |tier| format!("keys of tier \"{tier}\""));
    has_less(before, now).then(|| loss(rule, &who, change(before, now)))
}

/// Compares what each key with an override had and has.
fn of_overrides(before: &RuleTable, now: &RuleTable) -> Vec<Loss> {
    let (old, new) = (before.overrides(), now.overrides());
    let keys: BTreeSet<&str> = old.iter().chain(&new).map(|(key, _)| *key).collect();
    let tier = |overrides: &[(&str, &str)], key: &str| {
        overrides.iter().find(|(other, _)| *other == key).map(|(_, tier)| (*tier).to_owned())
    };
    let losses = keys.into_iter().filter_map(|key| {
        let (was, is) = (tier(&old, key), tier(&new, key));
        let (had, has) = (before.policy(was.as_deref())?, now.policy(is.as_deref()).or_else(|| now.policy(None))?);
        // Where the tier stayed, its line says so.
        (was != is && has_less(had, has)).then(|| loss(now, &format!("key \"{key}\""), change(had, has)))
    });
    losses.collect()
}

/// Returns `true` if a policy has a smaller limit in some window, whatever it gives in others.
fn has_less(before: &TierPolicy, now: &TierPolicy) -> bool {
    is_smaller(now, before)
        || now.quotas.iter().any(|quota| {
            let same = before.quotas.iter().filter(|other| other.window() == quota.window());
            same.map(tower_quota::Quota::limit).min().is_none_or(|limit| quota.limit() < limit)
        })
}

fn change(before: &TierPolicy, now: &TierPolicy) -> String {
    format!("{} -> {}", before.limits(), now.limits())
}

fn loss(rule: &RuleTable, who: &str, why: String) -> Loss {
    Loss { rule: rule.name.clone(), who: who.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::ProgramSources;

    fn file(rest: &str) -> RulesFile {
        let text = format!("[[rule]]\nname = 'a'\nkey = 'header:x-account'\napplies_to = 'every_request'\n{rest}");
        RulesFile::parse("f", &text, ProgramSources::default()).unwrap()
    }

    fn between(old: &str, new: &str) -> Vec<String> {
        losses(&file(old), &file(new)).iter().map(|loss| format!("{}: {}", loss.who, loss.why)).collect()
    }

    #[test]
    fn whoever_has_a_smaller_limit_has_less() {
        let minute = "quotas = ['60/minute']";
        assert_eq!(between(minute, "quotas = ['61/minute']"), [""; 0]);
        assert_eq!(between(minute, "quotas = ['59/minute']"), ["keys without a tier: 60/minute -> 59/minute"]);
        let hour = "quotas = ['600/minute', '1800/hour']";
        assert_eq!(between(minute, hour), ["keys without a tier: 60/minute -> 600/minute, 1800/hour"]);
        assert_eq!(between(hour, minute), ["keys without a tier: 600/minute, 1800/hour -> 60/minute"]);
    }

    #[test]
    fn whoever_loses_a_tier_has_less() {
        let tier = "quotas = ['60/minute']\n[rule.tiers]\npro = 'unlimited'";
        let overrides = "[rule.overrides]\nacme = 'pro'";
        assert_eq!(between(tier, "quotas = ['60/minute']"), ["keys of tier \"pro\": unlimited -> 60/minute"]);
        let before = format!("{tier}\n{overrides}");
        assert_eq!(between(&before, tier), ["key \"acme\": unlimited -> 60/minute"]);
        assert_eq!(between(tier, &before), [""; 0]);
    }

    #[test]
    fn a_rule_that_begins_to_deny_takes_something() {
        let shadow = "quotas = ['60/minute']\nenforcement = 'shadow'";
        let on = "quotas = ['60/minute']";
        assert_eq!(between(shadow, on), ["every key over its limit: the rule denies now (it was \"shadow\")"]);
        assert_eq!(between(on, "quotas = ['6/minute']\nenforcement = 'shadow'"), [""; 0]);
        assert_eq!(between(on, &format!("{on}\non_missing = 401")), ["requests without the key: they are refused now"]);
    }
}
