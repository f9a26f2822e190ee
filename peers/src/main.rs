//! tower-quota beside every peer, in one run: `cargo run --release -p peers`.
//!
//! With `-- --quick` a smaller run of everything takes less than five minutes; sections are chosen by name: `exactness`,
//! `decision`, `layer`, `memory`, `redis`, `scaling`. Numbers are written to `target/peers/results.json`, pictures beside
//! it. The full run keeps a million keys of all subjects at a time, which takes about 6 GB.
//!
//! The real libraries are driven, and the output says how. Costs are medians of several rounds, in which all subjects take
//! turns, and ratios are taken within a round: on a shared machine believe them rather than nanoseconds. Allocations are
//! counted by the global allocator, which makes each of them a few nanoseconds dearer, for everybody. Tokio is built with
//! `test-util`, so that its time can stand still; that makes its clock a little slower for those that use it.

mod adapters;
mod arguments;
mod bare;
mod candidates;
mod clock;
mod decision;
mod exactness;
mod findings;
mod layer;
mod machine;
mod median;
mod memory;
mod on_redis;
#[path = "../../benches/support/paced_clock.rs"]
mod paced_clock;
mod plot;
mod report;
#[path = "../../benches/support/rounds.rs"]
mod rounds;
mod scaling;
mod subject;
mod timed;
mod versions;

use std::{env, process::ExitCode};

use arguments::{Arguments, Section};
use findings::Findings;
use report::Results;

fn main() -> ExitCode {
    match Arguments::parse(env::args().skip(1)).and_then(|arguments| compare(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// A section that cannot run keeps none of the others from being written.
fn compare(arguments: &Arguments) -> Result<(), String> {
    println!("{:#}", machine::describe());
    let (mut results, mut failures) = (Results::new(), Vec::new());
    for section in &arguments.sections {
        let started = clock::now();
        match run(*section, arguments) {
            Ok(findings) => {
                println!("\n== {} ({:.0} s)", section.name(), started.elapsed().as_secs_f64());
                report::print(&findings);
                results.insert(section.name(), findings);
            }
            Err(message) => failures.push(format!("{}: {message}", section.name())),
        }
    }
    if !results.is_empty() {
        println!("\nWritten to {}", report::write(&results, arguments)?.display());
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

fn run(section: Section, Arguments { effort, .. }: &Arguments) -> Result<Findings, String> {
    Ok(match section {
        Section::Exactness => exactness::run(*effort),
        Section::Decision => decision::run(*effort),
        Section::Layer => layer::run(*effort),
        Section::Memory => memory::run(*effort),
        Section::Redis => on_redis::run(*effort)?,
        Section::Scaling => scaling::run(*effort),
    })
}
