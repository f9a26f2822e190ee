//! `check`: mistakes, findings, exit codes.

use crate::program::{file_of, run};

const GOOD: &str = "[[rule]]\nname = 'a'\nkey = 'peer_ip'\nquotas = ['60/minute', '1800/hour']\nroutes = ['GET /x']\n";

#[test]
fn a_file_without_a_finding_is_good() {
    let (_folder, path) = file_of(GOOD);
    let run = run(&["check", &path, "--deny"]);
    assert_eq!((run.code, run.stdout), (0, format!("{path}: 1 rule, nothing found\n")));
}

#[test]
fn a_mistake_is_told_as_the_limiter_tells_it() {
    let (_folder, path) = file_of(&GOOD.replace("60/minute", "0/minute"));
    let run = run(&["check", &path]);
    let expected =
        format!("error: {path}: line 4: rule \"a\": quota \"0/minute\": a quota admits at least 1: write 1 or more\n");
    assert_eq!((run.code, run.stderr), (1, expected));
}

#[test]
fn a_file_that_is_not_there_is_a_mistake() {
    let run = run(&["check", "/nowhere/limits.toml"]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.starts_with("error: /nowhere/limits.toml: "), "{}", run.stderr);
}

#[test]
fn findings_are_told_and_denied_and_allowed() {
    let (_folder, path) = file_of(&GOOD.replace("1800/hour", "3600/hour"));
    let finding = format!(
        "{path}: line 4: rule \"a\": 3600/hour never denies, because 60/minute lets no more than 3600 through in that time: leave \
         it out [idle-quota]\n"
    );
    let told = run(&["check", &path]);
    let page = "idle-quota: see docs/command-line.md#idle-quota\n";
    assert_eq!((told.code, told.stdout), (0, format!("{finding}{page}{path}: 1 rule, 1 finding\n")));
    assert_eq!(run(&["check", &path, "--deny"]).code, 2);
    assert_eq!(run(&["check", &path, "--deny", "--allow", "idle-quota"]).code, 0);
    assert_eq!(run(&["check", &path, "--allow", "nothing"]).code, 64);
}

#[test]
fn a_store_and_the_sources_of_a_program_are_no_mistakes() {
    let store = "[store]\nurl = '$QUOTA_TEST_OF_THE_COMMAND_LINE'\non_outage = 'open'\n";
    let (_folder, path) = file_of(&format!("{store}{}", GOOD.replace("peer_ip", "claim:account | app | peer_ip")));
    assert_eq!(run(&["check", &path]).code, 1);
    assert_eq!(run(&["check", &path, "--source", "app"]).code, 0);
    let (_folder, path) = file_of(&format!("{}{GOOD}", store.replace("url", "urrl")));
    assert!(run(&["check", &path]).stderr.contains("line 2: store.urrl"));
}

#[test]
fn the_examples_of_the_crate_are_good() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/limits.toml");
    assert_eq!(run(&["check", path]).code, 0);
}

#[test]
fn a_command_line_that_is_none_has_a_code_of_its_own() {
    for arguments in [&["check"][..], &[], &["chek", "x"], &["replay", "--rules", "x"]] {
        assert_eq!(run(arguments).code, 64, "{arguments:?}");
    }
    assert_eq!(run(&["--help"]).code, 0);
}
