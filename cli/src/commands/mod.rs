//! The commands: from arguments to an answer.

mod check;
mod diff;
mod explain;
mod replay;

use std::path::Path;

use clap::ArgMatches;

use crate::failure::Failure;

/// The answer of a command: what it prints, and its exit code.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) code: u8,
}

/// Runs the command that was asked for.
pub(crate) fn run(matches: &ArgMatches) -> Result<Answer, Failure> {
    match matches.subcommand() {
        Some(("check", matches)) => check::run(matches),
        Some(("diff", matches)) => diff::run(matches),
        Some(("explain", matches)) => explain::run(matches),
        Some(("replay", matches)) => replay::run(matches),
        _ => Err(Failure::usage("no such command")),
    }
}

/// Returns the path of this argument.
fn path<'a>(matches: &'a ArgMatches, name: &str) -> &'a Path {
    matches.get_one::<std::path::PathBuf>(name).map_or(Path::new(""), |path| path)
}

/// Returns the values of an option that may be repeated.
fn texts(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.get_many::<String>(name).into_iter().flatten().cloned().collect()
}

/// Returns `1 rule` or `3 rules`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
