//! The arguments that the program takes.

use clap::{Arg, ArgAction, Command, value_parser};
use std::path::PathBuf;

use crate::lint::CODES;

const ABOUT: &str = "Checks, compares and explains files of rules, and replays access logs against them.";
const EXIT_CODES: &str = "Exit codes: 0 all is well, 1 a mistake in a file, 2 a finding under --deny, 3 unreadable lines under \
                          --strict, 64 a mistake in the arguments.";

/// Returns the command with all subcommands.
pub(crate) fn command() -> Command {
    let command = Command::new("tower-quota").version(env!("CARGO_PKG_VERSION")).about(ABOUT).after_help(EXIT_CODES);
    command.subcommand_required(true).arg_required_else_help(true).subcommands([check(), diff()])
}

fn check() -> Command {
    let command = Command::new("check").about("Reads a file of rules as the limiter does, and tells what it hardly means");
    command
        .arg(path("FILE", "The file of rules"))
        .arg(flag("deny", "Ends with exit code 2 if anything is found"))
        .arg(list("allow", "CODE", "Leaves out what has this code; may be repeated").value_parser(CODES))
        .arg(source("claim:account", "Names a key source of the program, besides those that begin with claim:"))
}

fn diff() -> Command {
    let command = Command::new("diff").about("Tells what a new file of rules changes, and who has less then");
    command
        .arg(path("OLD", "The file of rules as it is now"))
        .arg(path("NEW", "The file of rules that is to replace it"))
        .arg(source("claim:account", "Names a key source of the program, besides those that begin with claim:"))
}

fn path(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).help(help).required(true).value_parser(value_parser!(PathBuf))
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
}

/// An option that may be repeated.
fn list(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help).action(ArgAction::Append)
}

fn source(example: &'static str, help: &'static str) -> Arg {
    list("source", example, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        command().debug_assert();
    }
}
