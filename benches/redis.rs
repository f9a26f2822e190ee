//! Decisions of a Redis server, side by side with what others let it do, in one run:
//! `cargo bench -p tower-quota-benches --bench redis --features redis`, and with `-- --quick` in half a minute, roughly.
//!
//! It starts a `redis-server` of its own on a Unix socket. Ours is asked through the public API, with two quotas: 60 per
//! minute and 1800 per hour. The references are scripts written here, for the same quotas, sent by redis-rs in the same
//! way; decisions of ours that are asked for in one turn of the scheduler share a call, unless it is said that each has its
//! own. What is printed are medians of interleaved rounds, and ratios that were taken within a round: to `PING`, and of
//! the server's processor time also to a fixed window pair and to two sorted sets.
//!
//! * A *new key* has 1 to 10 units, and many *keys* have some dozens each.
//! * A *full key* that admits has about 1800 live units, and with each decision about one leaves: its windows are so short
//!   that this happens by the server's own time. As a check it is done again with a virtual time that goes on by 2.001 s
//!   per decision: then the histories are exactly those of an hour, but the scripts do not call `TIME`.
//! * A *full key* that denies has 1800 units of the last half hour.
//! * *Costs* are calls of the script that are made here, in virtual time: of a key that uses all of its hour, and of one that
//!   spends 250 tokens five times a second.
//! * *Alternating limits* are those of two processes with other limits on one key, which take turns.
//!
//! *CPU* is the processor time of the server's process by `/proc`, *Lua* what the server says about the script alone.

#![allow(clippy::expect_used, reason = "a benchmark may stop with a message")]

#[path = "support/redis/capture.rs"]
mod capture;
#[path = "support/redis/costs.rs"]
mod costs;
#[path = "support/redis/denials.rs"]
mod denials;
#[path = "support/redis/full.rs"]
mod full;
#[path = "support/redis/leases.rs"]
mod leases;
#[path = "support/redis/memory.rs"]
mod memory;
#[path = "support/redis/report.rs"]
mod report;
#[path = "support/redis/rounds.rs"]
mod rounds;
#[path = "support/redis/server.rs"]
mod server;
#[path = "support/redis/subjects.rs"]
mod subjects;
#[path = "support/redis/turns.rs"]
mod turns;

use std::{env, process::ExitCode};

use full::LIVE;
use redis::cmd;
use report::Table;
use rounds::{Case, Effort};
use serde_json::json;
use server::Server;
use subjects::{Keys, Situation, Subject, command};

const FULL: Effort = Effort { rounds: 9, decisions: [3_000, 25_000], keys: 10_000, prefill: 15 };
const QUICK: Effort = Effort { rounds: 3, decisions: [400, 4_000], keys: 1_000, prefill: 15 };

const ALL: [Subject; 7] = [
    Subject::FixedPair,
    Subject::TwoSets,
    Subject::OneSet,
    Subject::Ours,
    Subject::OursOneByOne,
    Subject::OursTwoRules,
    Subject::OursScript,
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let effort = if env::args().any(|argument| argument == "--quick") { QUICK } else { FULL };
    match compare(effort).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

async fn compare(effort: Effort) -> Result<(), String> {
    let server = Server::start().await?;
    let version = server.info("server", "redis_version").await;
    println!("redis-server {version}, a processor each for server and client: {}, {effort:?}\n", server.is_pinned());
    let script = load(&server, &include!("../src/store/redis/script/text.rs")).await;
    let mut cases = cases(&server, effort).await;
    cases.extend(costs::cases(&server, &script).await);
    let before = [server.cpu(), server.cpu_ticks()];
    rounds::measure(&server, &mut cases, effort).await;
    let used = [server.cpu() - before[0], server.cpu_ticks() - before[1]];
    let table = Table::of(&cases);
    table.print();
    println!("\nServer CPU of all rounds: {:.2?} by the scheduler's count, {:.2?} by utime + stime", used[0], used[1]);
    table.print_targets();
    table.print_turns();
    table.print_costs();
    let mut bytes = Vec::new();
    for subject in [Subject::FixedPair, Subject::TwoSets, Subject::OneSet, Subject::Ours] {
        bytes.push((subject, memory::bytes(&server, subject).await));
    }
    report::print_memory(&bytes);
    let (nanos, commands) = denials::known(&server, effort).await;
    println!("\nA key known to be denied: {nanos:.0} ns per answer, {commands} commands to the server");
    let lent = leases::lent(&server, effort).await;
    println!(
        "A hot key that is lent 64 units at once: {:.0} ns and {:.2} us of server CPU per decision",
        lent[0], lent[1]
    );
    let written = report::write(&json!({
        "redis_version": version,
        "is_pinned": server.is_pinned(),
        "rounds": effort.rounds,
        "decisions_per_round": effort.decisions,
        "cases": table.json(),
        "bytes_per_key": report::memory_json(&bytes),
        "cpu_seconds": { "schedstat": used[0].as_secs_f64(), "utime_and_stime": used[1].as_secs_f64() },
        "known_denial": { "nanos": nanos, "commands": commands },
        "lent": { "nanos": lent[0], "cpu_micros": lent[1] },
    }))?;
    println!("\nWritten to {}", written.display());
    Ok(())
}

async fn cases(server: &Server, effort: Effort) -> Vec<Case> {
    let mut cases = floor(server).await;
    for subject in ALL {
        let fresh = Situation::usual(Keys::Fresh);
        cases.push(Case::of("a new key", subject, server, &fresh).await);
    }
    for subject in ALL {
        let many = Situation::usual(Keys::Many(effort.keys));
        let case = Case::of("10,000 keys (1,000 if quick)", subject, server, &many).await;
        cases.push(case.prefilled(effort.keys * effort.prefill).await);
    }
    for subject in ALL {
        cases.push(Case::turning("a full key, admitted", subject, server, LIVE).await);
    }
    for subject in ALL {
        cases.push(full::denied(server, subject).await);
    }
    for subject in [Subject::FixedPair, Subject::TwoSets, Subject::OneSet, Subject::Ours, Subject::OursTwoRules] {
        let mut stepped = memory::one_in_two_seconds("stepped");
        if subject == Subject::FixedPair {
            // Its windows are the server's.
            stepped = Situation { limits: [1 << 30; 2], time: None, ..stepped };
        }
        let case = Case::of("a full key, admitted, no TIME", subject, server, &stepped).await;
        cases.push(case.prefilled(LIVE + 100).await);
    }
    cases.extend(turns::cases(server).await);
    cases
}

async fn floor(server: &Server) -> Vec<Case> {
    let call = async |text: &str, key: &str| {
        let mut call = cmd("EVALSHA");
        call.arg(load(server, text).await).arg(1).arg(key);
        command(server, call)
    };
    let () = server.ask(cmd("SETRANGE").arg("ring").arg(8000).arg("x")).await;
    let mut increment = cmd("INCR");
    increment.arg("counter");
    let group = "floor";
    vec![
        Case::new(group, "PING", &command(server, cmd("PING"))).weight(4),
        Case::new(group, "INCR", &command(server, increment)).weight(4),
        Case::new(group, "EVALSHA return 1", &call("return 1", "one").await),
        Case::new(group, "EVALSHA TIME", &call("redis.call('TIME') return 1", "one").await),
        Case::new(
            group,
            "EVALSHA TIME, GETRANGE, SETRANGE",
            &call(include_str!("support/redis/same_calls.lua"), "ring").await,
        ),
    ]
}

/// Makes a script known to the server, and says by which name.
async fn load(server: &Server, text: &str) -> String {
    server.ask(cmd("SCRIPT").arg("LOAD").arg(text)).await
}
