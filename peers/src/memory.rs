//! Memory: bytes per key, and what a flood of new keys leaves behind.

use std::time::Duration;

use allocation_counter::measure;

use crate::{
    arguments::Effort,
    candidates::{CANDIDATES, Candidate, FLOOR, LIMITS},
    findings::{Findings, Table},
    subject::{HOUR, MINUTE, Pace, Setup, Subject},
};

/// Admissions of each key that is weighed.
const UNITS: [u32; 3] = [1, 60, 1800];
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
    let columns = UNITS.map(|units| format!("{units} admitted"));
    let mut table = Table::new("memory", "Bytes per key, allocated", "bytes", columns)
        .bars(true, None)
        .note("Keys have 25 bytes. One quota is 1800 per hour; the pair has 60 per minute beside it.")
        .note("Only logs remember admissions; the others keep a number or two, whatever was admitted.");
    for (candidate, limits) in candidates() {
        let bytes = UNITS.map(|units| Some(bytes(candidate, limits == 1, units, effort)));
        table.row(candidate.names[limits], bytes.to_vec(), "");
    }
    table
}

/// Of a key that was admitted so often within an hour, and not more than 60 times in any minute of a pair.
fn bytes(candidate: Candidate, is_pair: bool, units: u32, effort: Effort) -> f64 {
    let most = match (effort.is_quick, candidate.is_heavy) {
        (false, false) => 200_000,
        (false, true) | (true, false) => 20_000,
        (true, true) => 2_000,
    };
    let keys: Vec<String> = (0..if units > 60 { most / 20 } else { most }).map(key).collect();
    match (is_pair, candidate.has_pairs) {
        (false, _) => bytes_of(candidate, &Setup::new(&[HOUR], Pace::Real), units, &keys),
        (true, false) => {
            let minute = bytes_of(candidate, &Setup::new(&[MINUTE], Pace::Real), units.min(60), &keys);
            minute + bytes_of(candidate, &Setup::new(&[HOUR], Pace::Real), units, &keys)
        }
        (true, true) => {
            // A little less than two seconds from one admission of a key to the next.
            let step = Duration::from_millis(1990) / keys.len() as u32;
            let pace = if units > 60 { Pace::Every(step) } else { Pace::Real };
            bytes_of(candidate, &Setup::new(LIMITS[1], pace), units, &keys)
        }
    }
}

/// By all that this thread has allocated meanwhile and not freed.
fn bytes_of(candidate: Candidate, setup: &Setup, units: u32, keys: &[String]) -> f64 {
    let mut kept: Option<Box<dyn Subject>> = None;
    let info = measure(|| {
        let subject = (candidate.new)(setup);
        for key in (0..units).flat_map(|_| keys) {
            subject.decide(key);
        }
        kept = Some(subject);
    });
    drop(kept);
    info.bytes_current as f64 / keys.len() as f64
}

fn flood(effort: Effort) -> Table {
    let (half, whole) = (effort.flood / 2, effort.flood);
    let columns = [format!("after {half} new keys"), format!("after {whole}")];
    let mut table = Table::new("flood", "Memory under a flood of new keys", "MB", columns)
        .bars(true, None)
        .note(format!("tower-quota, rate-net and limitador have a cap, here of {CAP} keys."))
        .note("The others free what has drained when they are told to, or by a task; nothing has drained here yet.");
    for (candidate, limits) in candidates() {
        let mut setup = Setup::new(LIMITS[limits], Pace::Real);
        setup.max_keys = CAP;
        let subject = (candidate.new)(&setup);
        let mut total = 0;
        let cells = [0..half, half..whole].map(|keys| {
            let info = measure(|| {
                for number in keys {
                    subject.decide(&key(number));
                }
            });
            total += info.bytes_current;
            Some(total as f64 / 1e6)
        });
        table.row(candidate.names[limits], cells.to_vec(), "");
    }
    table
}
