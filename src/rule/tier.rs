//! A tier: a named policy of a rule.

use hashbrown::{HashMap, HashSet};

use crate::{
    error::ConfigError,
    key::{KeyForms, KeyPattern},
    policy::{Policy, check_name},
};

/// The maximum number of tiers of a rule.
const MOST_TIERS: usize = 4096;

/// A named policy for some of the keys of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Tier {
    name: String,
    /// `None` if it has no limits.
    policy: Option<Policy>,
}

impl Tier {
    pub(crate) const fn new(name: String, policy: Option<Policy>) -> Self {
        Self { name, policy }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the policy, with all but the quotas as the rule's own has it.
    pub(crate) fn policy_beside(&self, own: &Policy) -> Policy {
        own.with_quotas_of(self.policy.as_ref())
    }
}

/// Finds every mistake in the tiers of a rule with this policy.
pub(crate) fn check_tiers(tiers: &[Tier], own: &Policy) -> Result<(), ConfigError> {
    if tiers.len() > MOST_TIERS {
        return Err(ConfigError::new("tiers", tiers.len(), format!("a rule has at most {MOST_TIERS} tiers")));
    }
    let mut names = HashSet::new();
    for tier in tiers {
        check_name("tier", &tier.name)?;
        if !names.insert(tier.name()) {
            let reason = "the rule has a tier of this name already: write another";
            return Err(ConfigError::new("tier", format_args!("\"{}\"", tier.name), reason));
        }
        if let Some(policy) = &tier.policy {
            policy.validate().map_err(|error| in_tier(&error, tier))?;
            check_settings(tier, policy, own)?;
        }
    }
    Ok(())
}

/// Finds every mistake in the overrides of a rule with these tiers, and keys of these forms.
pub(crate) fn check_overrides(
    tiers: &[Tier],
    overrides: &[(KeyPattern, String)],
    forms: &KeyForms,
) -> Result<(), ConfigError> {
    let names: HashSet<&str> = tiers.iter().map(Tier::name).collect();
    let mut seen = HashMap::new();
    for (pattern, tier) in overrides {
        let parsed = pattern.parse()?;
        if !names.contains(&**tier) {
            return Err(unknown_tier(tier, tiers));
        }
        if let Some(reason) = forms.refusal(&parsed) {
            return Err(ConfigError::new("tier_for", pattern, reason));
        }
        if let Some(other) = seen.insert(parsed, tier) {
            let reason = format!("this key has an override already, to \"{other}\": leave one of them out");
            return Err(ConfigError::new("tier_for", pattern, reason));
        }
    }
    Ok(())
}

/// Refuses to read the names of tiers that there are not.
pub(crate) fn check_tier_source(tiers: &[Tier]) -> Result<(), ConfigError> {
    if tiers.is_empty() {
        let reason = "the rule has no tiers: add one with .tier(\"pro\", Policy::per_minute(600)), or leave this out";
        return Err(ConfigError::new("tier_from", "", reason));
    }
    Ok(())
}

fn unknown_tier(tier: &str, tiers: &[Tier]) -> ConfigError {
    let names: Vec<String> = tiers.iter().map(|tier| format!("\"{}\"", tier.name)).collect();
    let reason = match &*names {
        [] => "the rule has no tiers: add one with .tier(\"pro\", Policy::per_minute(600))".to_owned(),
        names => format!("the rule has no tier of this name: write one of {}", names.join(", ")),
    };
    ConfigError::new("tier", format_args!("\"{tier}\""), reason)
}

/// What is remembered is up to the rule: its tiers differ in quotas alone.
fn check_settings(tier: &Tier, policy: &Policy, own: &Policy) -> Result<(), ConfigError> {
    let is_default = |other: u32| other == Policy::per_minute(1).entries_per_window();
    if policy.entries_per_window() != own.entries_per_window() && !is_default(policy.entries_per_window()) {
        let field = format!("tier \"{}\": resolution", tier.name);
        let reason = "a tier has the resolution of the rule's own policy: leave it out here";
        return Err(ConfigError::new(field, policy.entries_per_window(), reason));
    }
    if policy.counts_denied() && !own.counts_denied() {
        let field = format!("tier \"{}\": count_denied", tier.name);
        return Err(ConfigError::new(
            field,
            true,
            "a tier counts denials if the rule's own policy does: leave it out here",
        ));
    }
    Ok(())
}

fn in_tier(error: &ConfigError, tier: &Tier) -> ConfigError {
    ConfigError::new(format!("tier \"{}\": {}", tier.name, error.field()), error.value(), error.reason())
}
