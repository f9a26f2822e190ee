//! Memory: bytes per key, and what a flood of new keys leaves behind.

use allocation_counter::measure;

use crate::{
    arguments::Effort,
    candidates::{CANDIDATES, Candidate, FLOOR, LIMITS},
    findings::{Findings, Table},
    subject::{Pace, Setup, Subject},
};

/// Admissions of each key that is weighed.
const UNITS: [usize; 3] = [1, 60, 1800];
/// The cap of those that bound their keys, in a flood.
const CAP: usize = 100_000;

pub(crate) fn run(effort: Effort) -> Findings {
    Findings { tables: vec![per_key(effort), flood(effort)], charts: Vec::new() }
}

fn candidates() -> impl Iterator<Item = (Candidate, usize)> {
    CANDIDATES.into_iter().flat_map(|candidate| [(candidate, 0), (candidate, 1)]).chain([(FLOOR, 0)])
}

fn key(number: usize) -> String {
    format!("acct-{number:020}")
}

fn per_key(effort: Effort) -> Table {
    let columns = ["1 admission", "60", "1800 (minute only: 60)"];
    let mut table = Table::new("memory", "Bytes per key, allocated", "bytes", columns)
        .bars(true, None)
        .note("Keys have 25 bytes. With one quota per minute a key cannot have more than 60 live admissions.")
        .note("Only logs remember admissions; the others keep a number or two, whatever was admitted.");
    for (candidate, limits) in candidates() {
        let bytes = UNITS.map(|units| bytes(candidate, limits, units, effort));
        table.row(candidate.names[limits], bytes.to_vec(), "");
    }
    table
}

/// By all that this thread has allocated for so many keys and not freed.
fn bytes(candidate: Candidate, limits: usize, units: usize, effort: Effort) -> Option<f64> {
    let keys = if effort.is_quick { 20_000 } else { 200_000 } / if units > 60 { 20 } else { 1 };
    let setup = Setup::new(LIMITS[limits], Pace::Admitting);
    let mut kept: Option<Box<dyn Subject>> = None;
    let info = measure(|| {
        let subject = (candidate.new)(&setup);
        for number in 0..keys {
            let key = key(number);
            (0..units).for_each(|_| {
                subject.decide(&key);
            });
        }
        kept = Some(subject);
    });
    drop(kept);
    (info.bytes_current > 0).then(|| info.bytes_current as f64 / keys as f64)
}

fn flood(effort: Effort) -> Table {
    let (half, whole) = (effort.flood / 2, effort.flood);
    let columns = [format!("after {half} new keys"), format!("after {whole}")];
    let mut table = Table::new("flood", "Memory under a flood of new keys", "MB", columns)
        .bars(true, None)
        .note(format!(
            "tower-quota, rate-net and limitador have a cap, here of {CAP} keys. The others free what has drained"
        ))
        .note("when they are told to, or by a task; none of theirs could free anything yet here.");
    for (candidate, limits) in candidates() {
        let mut setup = Setup::new(LIMITS[limits], Pace::Real);
        setup.max_keys = CAP;
        let subject = (candidate.new)(&setup);
        let mut total = 0;
        let cells = [0..half, half..whole].map(|keys| {
            total += measure(|| {
                keys.for_each(|number| {
                    subject.decide(&key(number));
                })
            })
            .bytes_current;
            Some(total as f64 / 1e6)
        });
        table.row(candidate.names[limits], cells.to_vec(), "");
    }
    table
}
