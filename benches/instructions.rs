//! Instructions of a few decisions, as valgrind counts them: `cargo bench -p tower-quota-benches --bench instructions`.
//!
//! Unlike time they are nearly the same in every run and on every machine. The run fails if a decision takes more than a
//! tenth more than `benches/instructions.toml` says, so that speed is not lost unseen. Where more is meant, or less was
//! reached, `cargo bench -p tower-quota-benches --bench instructions -- --accept` writes the new figures, which belong into
//! the same commit.
//!
//! Another compiler generates other instructions. So the file names the one that it is for, and with any other the figures
//! are shown and nothing fails: whoever changes the compiler accepts its figures, in a commit that changes nothing else.
//!
//! Two cases are held against each other, with any compiler: answers in reverse order cost what they cost in order, or many
//! of them would take quadratic time.
//!
//! Each case runs twice in a process of its own, once with more decisions. The difference is what the decisions took,
//! without their preparation. Of the layers it is what they add to the bare service behind them, and of a third quota what it
//! adds to a decision by two. Of metrics it is what counting adds to a decision; all other limiters here count nothing.

#![allow(clippy::expect_used, reason = "a benchmark may stop with a message")]

#[path = "support/instructions/cases.rs"]
mod cases;
#[path = "support/instructions/count.rs"]
mod count;
#[path = "support/instructions/figures.rs"]
mod figures;

use std::{env, process::ExitCode};

use cases::{ALIKE, CASES};
use figures::Figures;

/// More than this, and it fails.
const TOLERATED: f64 = 1.1;
/// And of two cases that are to cost the same, whatever the compiler.
const TOLERATED_APART: f64 = 1.5;

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
    let accepted = match Figures::read() {
        Err(message) if !accept => return Err(message),
        accepted => accepted.unwrap_or_default(),
    };
    let now = Figures::count()?;
    let too_many = print(&now, &accepted);
    if accept {
        now.write()?;
        println!("accepted");
        return Ok(true);
    }
    let are_alike = compare_alike(&now);
    if now.compiler != accepted.compiler {
        println!("accepted were those of {}, this is {}: nothing is held against it", accepted.compiler, now.compiler);
        return Ok(are_alike);
    }
    for case in &too_many {
        println!("more than a tenth above what was accepted, or not accepted yet: {case}");
    }
    Ok(too_many.is_empty() && are_alike)
}

/// Says whether the two cases cost about the same.
fn compare_alike(now: &Figures) -> bool {
    let [in_order, in_reverse] = ALIKE.map(|case| now.of(case));
    let ratio = in_order.max(in_reverse) / in_order.min(in_reverse);
    println!("{:<44} {ratio:>8.2}", "in reverse to in order, either way");
    let are_alike = ratio <= TOLERATED_APART;
    if !are_alike {
        println!("more than {TOLERATED_APART} times apart: {}, and {}", ALIKE[0], ALIKE[1]);
    }
    are_alike
}

/// Says which cases take too many.
fn print(now: &Figures, accepted: &Figures) -> Vec<&'static str> {
    println!("{:<44} {:>8} {:>8} {:>7}", "instructions", "now", "accepted", "ratio");
    let mut too_many = Vec::new();
    for case in &CASES {
        let (now, accepted) = (now.of(case.name), accepted.of(case.name));
        let ratio = now / accepted;
        println!("{:<44} {now:>8.0} {accepted:>8.0} {ratio:>7.2}", case.name);
        // Cases that are held against each other need not be accepted.
        if ratio > TOLERATED || ratio.is_nan() && !ALIKE.contains(&case.name) {
            too_many.push(case.name);
        }
    }
    too_many
}
