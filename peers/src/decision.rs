//! The cost of one decision, in nanoseconds, allocations, and ratios to one check of governor.

use allocation_counter::measure as count_allocations;

use crate::{
    arguments::Effort,
    candidates::{CANDIDATES, Candidate, FLOOR, LIMITS, SKP},
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
    let names: Vec<&str> = loads.iter().map(|load| load.workload.name).collect();
    let mut tables = Vec::new();
    for threads in [1, 2] {
        let many = if threads == 1 { "1 thread" } else { "2 threads" };
        let title = |what: &str| format!("{what}, {many}");
        let mut ratios = Table::new(
            &format!("decision-{threads}"),
            title("One decision, to one governor check"),
            "x",
            names.clone(),
        )
        .bars(true, Some(1.0))
        .note("A pair is two limiters asked one after the other, but for tower-quota and limitador, which have pairs.")
        .note("Clocks are shortened where they cannot be replaced, so that about the same share is admitted.")
        .note(versions());
        let mut nanos =
            Table::new(&format!("decision-{threads}-ns"), title("One decision, nanoseconds"), "ns", names.clone());
        let mut admitted = Table::new(&format!("decision-{threads}-admitted"), title("Admitted"), "%", names.clone());
        for (column, load) in loads.iter().enumerate() {
            for Measured { name, nanos: time, ratio, admitted: share } in measure(load, threads, effort) {
                ratios.set(name, column, ratio);
                nanos.set(name, column, time);
                admitted.set(name, column, 100.0 * share);
            }
        }
        tables.extend([ratios, nanos, admitted]);
    }
    tables.push(allocations(&loads));
    Findings { tables, charts: Vec::new() }
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
    let all = CANDIDATES.into_iter().chain([SKP]).flat_map(|candidate| [(candidate, 0), (candidate, 1)]);
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
