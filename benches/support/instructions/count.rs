//! Counting, by this program under valgrind.

use std::{env, io::ErrorKind, process::Command};

use super::cases::MOST;

const CASE: &str = "--count";
const FEWER: usize = MOST / 3;

/// The case and the number of decisions that this process is for, if it is one of those under valgrind.
pub(crate) fn asked(arguments: &[String]) -> Option<(&str, usize)> {
    let [mode, case, decisions] = arguments else { return None };
    (mode == CASE).then_some((case.as_str(), decisions.parse().ok()?))
}

/// Instructions per decision.
pub(crate) fn per_decision(case: &str) -> Result<f64, String> {
    let more = instructions(case, MOST)? - instructions(case, FEWER)?;
    Ok(more / (MOST - FEWER) as f64)
}

/// Of the whole process.
fn instructions(case: &str, decisions: usize) -> Result<f64, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let output = valgrind.args([CASE, case, &decisions.to_string()]).output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => "valgrind was not found: install it (apt-get install valgrind)".to_owned(),
        _ => format!("valgrind could not be started: {error}"),
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.ok_or_else(|| format!("valgrind did not count `{case}`:\n{said}"))
}
