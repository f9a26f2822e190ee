//! Findings: what a file may say, and hardly means.

mod finding;
mod keys;
mod quotas;
mod routes;
mod tiers;

pub(crate) use finding::Finding;
pub(crate) use tiers::is_smaller;

use crate::rules::RulesFile;

/// Every finding has the code of one of these.
pub(crate) const CODES: [&str; 6] =
    ["idle-quota", "large-history", "hidden-route", "smaller-tier", "same-tier", "shared-missing-key"];

/// Returns what is found in a file, in the order of its lines.
///
/// A rule with costs will be looked at here, too: each kind of finding has a file of its own.
pub(crate) fn findings(file: &RulesFile) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in &file.rules {
        quotas::find(rule, &mut found);
        tiers::find(rule, &mut found);
        keys::find(rule, &mut found);
    }
    routes::find(file, &mut found);
    found.sort_by_key(|finding| finding.line);
    found
}
