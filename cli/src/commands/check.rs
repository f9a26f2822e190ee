//! `tower-quota check`: is the file right, and does it say what is meant?

use std::fmt::Write;

use clap::ArgMatches;

use crate::{
    commands::{Answer, counted, path, texts},
    failure::Failure,
    lint::{self, CODES, PAGE},
    rules::{ProgramSources, RulesFile},
};

/// Reads the file, and tells what is found.
pub(super) fn run(matches: &ArgMatches) -> Result<Answer, Failure> {
    let sources = ProgramSources::named(&texts(matches, "source"));
    let file = RulesFile::read(path(matches, "FILE"), sources)?;
    let allowed = texts(matches, "allow");
    let is_denied = |finding: &lint::Finding| !allowed.iter().any(|code| code == finding.code);
    let findings: Vec<_> = lint::findings(&file).into_iter().filter(is_denied).collect();
    let mut text = String::new();
    for finding in &findings {
        let _ = writeln!(text, "{}: {finding}", file.name);
    }
    for code in CODES.iter().filter(|code| findings.iter().any(|finding| finding.code == **code)) {
        let _ = writeln!(text, "{code}: see {PAGE}#{code}");
    }
    let summary = match findings.len() {
        0 => "nothing found".to_owned(),
        found => counted(found, "finding"),
    };
    let _ = writeln!(text, "{}: {}, {summary}", file.name, counted(file.rules.len(), "rule"));
    let is_failure = matches.get_flag("deny") && !findings.is_empty();
    Ok(Answer { text, code: if is_failure { Failure::DENIED } else { 0 } })
}
