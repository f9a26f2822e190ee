//! One finding.

use std::fmt;

use crate::rules::RuleTable;

/// A finding about a rule of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) line: usize,
    pub(crate) rule: String,
    pub(crate) code: &'static str,
    pub(crate) text: String,
}

impl Finding {
    /// Creates a finding about a field of a rule.
    pub(crate) fn new(rule: &RuleTable, field: &str, code: &'static str, text: String) -> Self {
        Self { line: rule.line_of(field), rule: rule.name.clone(), code, text }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: rule \"{}\": {} [{}]", self.line, self.rule, self.text, self.code)
    }
}

/// Reads a file of rules that has no mistake, and returns the codes and lines of what is found.
#[cfg(test)]
pub(super) fn found(text: &str) -> Vec<(&'static str, usize)> {
    use crate::rules::{ProgramSources, RulesFile};

    let file = RulesFile::parse("f", text, ProgramSources::default()).unwrap();
    super::findings(&file).into_iter().map(|finding| (finding.code, finding.line)).collect()
}
