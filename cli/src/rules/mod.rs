//! Files of rules, as their authors wrote them. What a rule means, the limiter is asked.

mod costs;
mod program_sources;
mod rule_table;
mod rules_file;

pub(crate) use costs::Costs;
pub(crate) use program_sources::ProgramSources;
pub(crate) use rule_table::{RuleTable, TierPolicy, with_unit};
pub(crate) use rules_file::RulesFile;
