//! `tower-quota diff`: what a new file changes, and who has less then.

use std::fmt::Write;

use clap::ArgMatches;

use crate::{
    commands::{Answer, path, texts},
    compare::{Loss, losses, rewritten},
    failure::Failure,
    rules::{ProgramSources, RulesFile},
};

/// Compares two files.
pub(super) fn run(matches: &ArgMatches) -> Result<Answer, Failure> {
    let sources = ProgramSources::named(&texts(matches, "source"));
    let old = RulesFile::read(path(matches, "OLD"), sources.clone())?;
    let new = RulesFile::read(path(matches, "NEW"), sources)?;
    let changes = old.changes_to(&new).map_err(|error| Failure::config(&new.name, &error))?;
    let mut text = String::new();
    section(&mut text, "Limits", changes.iter());
    section(&mut text, "Besides", rewritten(&old, &new).iter());
    let losses: Vec<String> = losses(&old, &new).iter().map(Loss::to_string).collect();
    section(&mut text, "Who has less now", losses.iter());
    if text.is_empty() {
        text.push_str("Nothing is changed.\n");
    } else if losses.is_empty() {
        text.push_str("Nobody has less now.\n");
    }
    Ok(Answer { text, code: 0 })
}

/// Adds a list with a heading, if there is anything in it.
fn section(text: &mut String, heading: &str, lines: impl ExactSizeIterator<Item = impl AsRef<str>>) {
    if lines.len() > 0 {
        let _ = writeln!(text, "{heading}:");
        for line in lines {
            let _ = writeln!(text, "  {}", line.as_ref());
        }
    }
}
