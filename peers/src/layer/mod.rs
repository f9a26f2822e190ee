//! What a layer adds to a request: in process, of one thread and of two, and as requests per second over loopback.

mod loopback;
mod roster;
mod threads;

use allocation_counter::measure;

use crate::{
    arguments::Effort,
    bare::{Serve, requests},
    clock::now,
    findings::{Findings, Table},
    versions::version,
};

use roster::Layered;

/// Two of tower_governor with headers, for a minute and an hour: what tower-quota with its fields is compared with.
const REFERENCE: &str = "2 x tower_governor, headers";

/// Requests in a round: so few that they stay in the processor's caches, and that a round is over before another process wants
/// the processor.
const REQUESTS: usize = 3_000;
/// So many of these rounds stand for one of the other sections.
const SHORT_ROUNDS: usize = 40;

pub(crate) fn run(effort: Effort) -> Findings {
    Findings { tables: vec![in_process(effort), threads::table(effort), loopback::table(effort)], charts: Vec::new() }
}

/// What one layer took, beside all others.
struct Measured {
    name: &'static str,
    /// The least of all rounds.
    nanos: f64,
    /// The share in that round.
    admitted: f64,
    allocations: f64,
}

fn in_process(effort: Effort) -> Table {
    let columns = ["over bare", "to 2 x tower_governor", "allocations", "% admitted"];
    let mut table = Table::new("layer", "What a layer adds to a request, in process", "ns", columns)
        .bars_of(1, true, None)
        .note("One request at a time, 1,000 keys in a header, a service that answers at once. The least of many short rounds.")
        .note("The keys of tower-quota's layers have had as many requests before as an hour admits.")
        .note(format!("The ratio is to {REFERENCE}, both over the bare service."))
        .note(versions());
    let measured = measured(effort);
    let of = |name| measured.iter().find(|one| one.name == name).expect("it is in the roster");
    let (bare, reference) = (of("bare service"), of(REFERENCE));
    for one in &measured {
        let over = one.nanos - bare.nanos;
        let ratio = over / (reference.nanos - bare.nanos);
        let cells = [over, ratio, one.allocations - bare.allocations, 100.0 * one.admitted];
        table.row(one.name, cells.map(Some).to_vec(), "");
    }
    table
}

fn measured(effort: Effort) -> Vec<Measured> {
    let mut subjects: Vec<(&str, Serve)> =
        Layered::all().into_iter().map(|layered| (layered.name, (layered.in_process)())).collect();
    let mut measured: Vec<Measured> = subjects
        .iter()
        .map(|(name, _)| Measured { name, nanos: f64::INFINITY, admitted: 0.0, allocations: 0.0 })
        .collect();
    for round in 0..SHORT_ROUNDS * effort.rounds {
        for turn in 0..subjects.len() {
            let at = (turn + round) % subjects.len();
            let (nanos, admitted) = time(&mut subjects[at].1);
            if nanos < measured[at].nanos {
                measured[at] = Measured { nanos, admitted, ..measured[at] };
            }
        }
    }
    for ((_, serve), measured) in subjects.iter_mut().zip(&mut measured) {
        measured.allocations = allocations(serve);
    }
    measured
}

/// Per request, of keys that are known.
fn allocations(serve: &mut Serve) -> f64 {
    let mut all = |requests: Vec<_>| {
        for request in requests {
            serve(request);
        }
    };
    let requests = requests(REQUESTS);
    let counted = measure(|| all(requests));
    counted.count_total as f64 / REQUESTS as f64
}

/// Nanoseconds per request, and the share that was admitted.
fn time(serve: &mut Serve) -> (f64, f64) {
    let requests = requests(REQUESTS);
    let started = now();
    let admitted = requests.into_iter().filter_map(|request| serve(request).then_some(())).count();
    (started.elapsed().as_nanos() as f64 / REQUESTS as f64, admitted as f64 / REQUESTS as f64)
}

fn versions() -> String {
    let packages = [
        "tower_governor",
        "axum-governor",
        "axum_gcra",
        "rate-net",
        "tower-rate-tier",
        "throttle-kit",
        "tokio-rate-limit",
        "tower-resilience-ratelimiter",
    ];
    packages.map(|package| format!("{package} {}", version(package))).join(", ")
}
