//! Findings: what a file may say, and hardly means.

mod finding;
mod keys;
mod quotas;
mod routes;
mod tiers;

pub(crate) use finding::Finding;
pub(crate) use tiers::is_smaller;

use crate::rules::RulesFile;

/// The page that has a heading for each code.
pub(crate) const PAGE: &str = "docs/command-line.md";
/// Every finding has the code of one of these.
pub(crate) const CODES: [&str; 6] =
    ["idle-quota", "large-history", "hidden-route", "smaller-tier", "same-tier", "shared-missing-key"];

/// Returns what is found in a file, in the order of its lines.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_heading_on_its_page() {
        let page = include_str!("../../../docs/command-line.md");
        let headings: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
        assert_eq!(headings, CODES);
        assert!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/command-line.md").ends_with(PAGE));
    }
}
