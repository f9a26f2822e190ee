//! The cost of one decision, in nanoseconds, allocations, and ratios to one check of governor.

use allocation_counter::measure as count_allocations;

use crate::{
    arguments::Effort,
    candidates::{CANDIDATES, Candidate, FLOOR, LIMITS, PAIR, SKP, TOLD},
    findings::{Findings, Table},
    rounds::{self, Case, Measured, Workload},
    subject::{Pace, Setup},
    versions::version,
};

/// A stream of keys, and how quickly its time goes by.
struct Load {
    workload: Workload,
    pace: Pace,
    /// Whether it has too many keys for the heavy ones.
    is_large: bool,
}

pub(crate) fn run(effort: Effort) -> Findings {
    let loads = loads(effort);
    let mut tables: Vec<Table> = [1, 2].into_iter().flat_map(|threads| with_threads(threads, &loads, effort)).collect();
    tables.push(allocations(&loads));
    Findings { tables, charts: Vec::new() }
}

fn with_threads(threads: usize, loads: &[Load], effort: Effort) -> [Table; 4] {
    let many = if threads == 1 { "1 thread" } else { "2 threads" };
    let table = |name: &str, title: &str, unit| {
        let names = loads.iter().map(|load| load.workload.name);
        Table::new(&format!("decision-{name}-{threads}"), format!("{title}, {many}"), unit, names)
    };
    let mut pairs = table("pair", "One decision about a minute and an hour, to one governor check of the minute", "x")
        .bars(true, Some(1.0))
        .note("A pair is two limiters asked one after the other, but for tower-quota and limitador, which have pairs.")
        .note("All answer yes or no. With \"what remains\" tower-quota also tells it of each quota, and until when.")
        .note("Windows are shortened where the clock cannot be replaced, so that about the same share is admitted.")
        .note(versions());
    let mut ones = table("one", "One decision about a minute, to one governor check", "x").bars(true, Some(1.0));
    let mut nanos = table("ns", "One decision, nanoseconds", "ns");
    let mut admitted = table("admitted", "Admitted", "%");
    if threads > 1 {
        let shared = "On several threads the clock that tower-quota is given for the admitted key and for Zipf's is one number that \
                      all of them move on, every 16 decisions of the one and every 256 of the other: its own shares nothing.";
        pairs = pairs.note(shared).note("The time is that from the first thread's beginning to the last one's end.");
    }
    for (column, load) in loads.iter().enumerate() {
        for Measured { name, nanos: time, ratio, admitted: share } in measure(load, threads, effort) {
            let is_pair = name.ends_with(PAIR);
            if is_pair || name == CANDIDATES[0].names[0] || name == FLOOR.names[0] {
                pairs.set(name, column, ratio);
            }
            if !is_pair {
                ones.set(name, column, ratio);
            }
            nanos.set(name, column, time);
            admitted.set(name, column, 100.0 * share);
        }
    }
    [pairs, ones, nanos, admitted]
}

fn loads(effort: Effort) -> Vec<Load> {
    let Effort { decisions, keys: [some, many], .. } = effort;
    let (zipf, uniform) = if effort.is_quick {
        ("20,000 keys, Zipf", "100,000 keys, uniform")
    } else {
        ("100,000 keys, Zipf", "1,000,000 keys, uniform")
    };
    let load = |workload, pace| Load { workload, pace, is_large: false };
    vec![
        load(Workload::hot("one hot key, admitted", decisions), Pace::Admitting),
        load(Workload::hot("one hot key, denied", decisions), Pace::Real),
        load(Workload::zipf(zipf, decisions, some), Pace::Turning),
        Load { is_large: true, ..load(Workload::uniform(uniform, decisions, many), Pace::Real) },
    ]
}

fn measure(load: &Load, threads: usize, effort: Effort) -> Vec<Measured> {
    rounds::measure(&load.workload, threads, effort.rounds, &cases(load))
}

fn candidates() -> impl Iterator<Item = (Candidate, usize)> {
    let all = CANDIDATES.into_iter().chain([TOLD, SKP]).flat_map(|candidate| [(candidate, 0), (candidate, 1)]);
    all.chain([(FLOOR, 0)])
}

fn cases(load: &Load) -> Vec<Case> {
    let able = candidates().filter(|(candidate, _)| !(load.is_large && candidate.is_heavy));
    able.map(|(candidate, limits)| candidate.case(limits, load.pace)).collect()
}

/// Allocations per decision on a key that is known.
fn allocations(loads: &[Load]) -> Table {
    const DECISIONS: u32 = 2_000;
    let columns = loads.iter().take(2).map(|load| load.workload.name);
    let mut table = Table::new("allocations", "Allocations per decision on a known key", "", columns);
    let key = String::from("acct-00000000000000000000");
    for (candidate, limits) in candidates() {
        for (column, load) in loads.iter().take(2).enumerate() {
            let subject = (candidate.new)(&Setup::new(LIMITS[limits], load.pace));
            let decide = || {
                for _ in 0..DECISIONS {
                    subject.decide(&key);
                }
            };
            decide();
            let counted = count_allocations(decide);
            table.set(candidate.names[limits], column, counted.count_total as f64 / f64::from(DECISIONS));
        }
    }
    table
}

pub(crate) fn versions() -> String {
    let mut packages: Vec<&str> = CANDIDATES.iter().chain([&SKP]).map(|candidate| candidate.package).collect();
    packages.sort_unstable();
    packages.dedup();
    let named: Vec<String> = packages.into_iter().map(|package| format!("{package} {}", version(package))).collect();
    named.join(", ")
}
