//! The arguments that the program takes.

use clap::{Arg, ArgAction, Command, value_parser};
use std::path::PathBuf;

use crate::lint::CODES;

const ABOUT: &str = "Checks, compares and explains files of rules, and replays access logs against them.";
const EXIT_CODES: &str = "Exit codes: 0 all is well, 1 a mistake in a file, 2 a finding under --deny, 3 no readable line, or \
                          an unreadable one under --strict, 64 a mistake in the arguments.";

const EXAMPLES: &str = "Examples:
  tower-quota replay --rules limits.toml access.log access.log.1.gz
  tower-quota replay --rules limits.toml --html report.html --format 'nginx=$remote_addr [$time_local] \"$request\"' access.log
  tower-quota replay --rules limits.toml --field path=http.url --cost tokens=json:/usage/total_tokens requests.json
  kubectl logs gateway | tower-quota replay --rules limits.toml -";

/// Returns the command with all subcommands.
pub(crate) fn command() -> Command {
    let command = Command::new("tower-quota").version(env!("CARGO_PKG_VERSION")).about(ABOUT).after_help(EXIT_CODES);
    command.subcommand_required(true).arg_required_else_help(true).subcommands([check(), diff(), replay(), explain()])
}

fn check() -> Command {
    let command =
        Command::new("check").about("Reads a file of rules as the limiter does, and tells what it hardly means");
    command
        .arg(path("FILE", "The file of rules"))
        .arg(flag("deny", "Ends with exit code 2 if anything is found"))
        .arg(list("allow", "CODE", "Leaves out what has this code; may be repeated").value_parser(CODES))
        .arg(source("NAME", "Names a key source of the program, besides those that begin with claim:; may be repeated"))
}

fn diff() -> Command {
    let command = Command::new("diff").about("Tells what a new file of rules changes, and who has less then");
    command
        .arg(path("OLD", "The file of rules as it is now"))
        .arg(path("NEW", "The file of rules that is to replace it"))
        .arg(source("NAME", "Names a key source of the program, besides those that begin with claim:"))
}

fn replay() -> Command {
    let command = Command::new("replay")
        .about("Replays access logs, and tells what the rules would have refused")
        .after_help(EXAMPLES);
    command
        .arg(rules())
        .arg(option("format", "FORMAT", "The format of the logs: auto (the default), common, combined, nginx='$remote_addr ...', apache='%h ...', envoy, envoy='[%START_TIME%] ...', alb, w3c, caddy, traefik or json"))
        .arg(list("field", "NAME=PATH", "Where a log in JSON has something: time=ts, path=request.uri, header:x-account=headers.x-account; may be repeated"))
        .arg(source("NAME=SOURCE", "What stands for a key source of the program, such as claim:account=header:x-account: header:NAME, query:NAME, cookie:NAME, peer_ip or field:NAME (a field of the log); may be repeated"))
        .arg(list("cost", "UNIT=SOURCE", "What the requests of rules with this unit cost, such as tokens=json:/usage/total_tokens or bytes=response-bytes: json:PATH, field:NAME, header:NAME, response-bytes or request-bytes; may be repeated"))
        .arg(flag("json", "Prints the figures as JSON"))
        .arg(option("html", "FILE", "Writes a page with plots, which needs no network").value_parser(value_parser!(PathBuf)))
        .arg(flag("strict", "Ends with exit code 3 if a line cannot be read"))
        .arg(path("LOG", "The logs, which may be compressed with gzip or zstd; - is the standard input").num_args(1..))
}

fn explain() -> Command {
    let command =
        Command::new("explain").about("Tells which rules govern a request, by which key, and why the others do not");
    command
        .arg(rules())
        .arg(Arg::new("REQUEST").help("The request, such as 'GET /bots/7?x=1'").required(true))
        .arg(list("header", "HEADER", "A header field of it, such as 'x-account: acme'; may be repeated").short('H'))
        .arg(option("peer", "ADDRESS", "The address that it comes from"))
        .arg(source(
            "NAME=VALUE",
            "The value of a key source of the program, such as claim:account=acme; may be repeated",
        ))
}

fn rules() -> Arg {
    Arg::new("rules")
        .long("rules")
        .value_name("FILE")
        .help("The file of rules")
        .required(true)
        .value_parser(value_parser!(PathBuf))
}

fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
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

fn source(value: &'static str, help: &'static str) -> Arg {
    list("source", value, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        command().debug_assert();
    }
}
