//! Instructions of a few decisions, as valgrind counts them: `cargo bench --bench instructions`.
//!
//! Unlike time they are nearly the same in every run and on every machine. The run fails if a decision takes more than a
//! tenth more than `benches/instructions.toml` says, so that speed is not lost unseen. Where more is meant, or less was
//! reached, `cargo bench --bench instructions -- --accept` writes the new figures, which belong into the same commit.
//!
//! Another compiler generates other instructions. So the file names the one that it is for, and with any other the figures
//! are shown and nothing fails: whoever changes the compiler accepts its figures, in a commit that changes nothing else.
//!
//! Each case runs twice in a process of its own, once with more decisions. The difference is what the decisions took,
//! without their preparation.

#![allow(clippy::expect_used, reason = "a benchmark may stop with a message")]

#[path = "support/instructions/cases.rs"]
mod cases;
#[path = "support/instructions/count.rs"]
mod count;
#[path = "support/instructions/figures.rs"]
mod figures;

use std::{env, process::ExitCode};

use cases::CASES;
use figures::Figures;

/// More than this, and it fails.
const TOLERATED: f64 = 1.1;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some((case, decisions)) = count::asked(&arguments) {
        return cases::run(case, decisions);
    }
    match compare(arguments.iter().any(|argument| argument == "--accept")) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether no decision takes too many.
fn compare(accept: bool) -> Result<bool, String> {
    let known = Figures::read().unwrap_or_default();
    let counted = Figures::count()?;
    let is_comparable = known.compiler == counted.compiler;
    println!("{:<36} {:>8} {:>8} {:>7}", "instructions", "now", "accepted", "ratio");
    let mut too_many = Vec::new();
    for case in &CASES {
        let now = counted.of(case.name);
        let accepted = known.of(case.name);
        let ratio = now / accepted;
        println!("{:<36} {now:>8.0} {accepted:>8.0} {ratio:>7.2}", case.name);
        // A case without a figure has none to keep to.
        if !(ratio <= TOLERATED) {
            too_many.push(case.name);
        }
    }
    if accept {
        counted.write()?;
        println!("accepted");
        return Ok(true);
    }
    if !is_comparable {
        println!("the figures are for {}, this is {}: nothing is held against it", known.compiler, counted.compiler);
        return Ok(true);
    }
    for name in &too_many {
        println!("more than a tenth above what was accepted: {name}");
    }
    Ok(too_many.is_empty())
}
