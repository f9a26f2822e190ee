//! From the quotas of a table to a policy.

use toml::Spanned;

use crate::{
    config::{file::RuleTable, source_map::SourceMap},
    error::ConfigError,
    policy::{Policy, Quota},
};

pub(super) fn policy(table: &RuleTable, lines: SourceMap<'_>) -> Result<Policy, ConfigError> {
    let missing =
        || ConfigError::new("quotas", "", "the rule has no quotas: write quotas = [\"60/minute\", \"1800/hour\"]");
    let quotas = table.quotas.as_ref().ok_or_else(missing)?;
    let add = |policy, text: &Spanned<String>| lines.locate(text, and(policy, text.get_ref()));
    let policy = quotas.get_ref().iter().try_fold(Policy::from_iter([]), add)?;
    let policy = lines.locate(quotas, checked(policy))?;
    let policy = if table.count_denied { policy.count_denied() } else { policy };
    match &table.resolution {
        Some(resolution) => lines.locate(resolution, checked(policy.resolution(*resolution.get_ref()))),
        None => Ok(policy),
    }
}

/// The policy with one more quota, checked at once because the line of that quota is at hand.
fn and(policy: Policy, text: &str) -> Result<Policy, ConfigError> {
    checked(policy.and(text.parse::<Quota>()?))
}

fn checked(policy: Policy) -> Result<Policy, ConfigError> {
    policy.validate().map(|()| policy)
}
