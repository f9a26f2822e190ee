//! The most that is admitted in any window, by the real libraries under the same schedules.

mod edge;
mod roster;
mod schedule;
mod trial;

use std::{collections::HashMap, thread};

use crate::{
    arguments::Effort,
    findings::{Findings, Table},
    subject::{HOUR, Limit, MINUTE},
    versions::version,
};

use roster::{ROSTER, Tried};
use schedule::Schedule;

pub(crate) fn run(effort: Effort) -> Findings {
    let columns = ["60 per minute", "1800 per hour"];
    let mut table = Table::new("exactness", "The most admitted in any window", "of the limit", columns)
        .bars(false, Some(1.0))
        .note("1.00 is exact, as far as these schedules can tell; nothing may be above it.")
        .note("What was driven in real time may be a little worse than shown: only what surely lies in one window counts.")
        .note("Scaled down, a minute is 1.2 seconds and an hour 3.6; for limitador, which wants whole seconds, 2 and 4.")
        .note("An empty cell: tokio-rate-limit takes whole requests per second, so it cannot be told 1800 per hour.");
    let [minute, hour] = [MINUTE, HOUR].map(|limit| worst_of_all(limit, effort));
    for (at, subject) in ROSTER.iter().enumerate() {
        let share = |worst: Option<usize>, limit: Limit| worst.map(|worst| worst as f64 / f64::from(limit.units));
        let cells = vec![share(minute[at], MINUTE), share(hour[at], HOUR)];
        let count = |worst: Option<usize>| worst.map_or_else(|| "-".to_owned(), |worst| worst.to_string());
        let counts = format!("{} / {}", count(minute[at]), count(hour[at]));
        let remark = format!("{counts}; {} {}, {}", subject.package, version(subject.package), subject.time.name());
        table.row(subject.name, cells, remark);
    }
    Findings { tables: vec![table], charts: vec![edge::chart()] }
}

/// Of each subject the worst of all schedules. Trials in real time mostly sleep, so they run side by side; the others
/// come first, in order not to disturb them.
fn worst_of_all(limit: Limit, effort: Effort) -> Vec<Option<usize>> {
    let schedules = Schedule::all(false, effort);
    let virtually = ROSTER.iter().filter(|subject| !subject.time.is_real());
    let mut worsts: HashMap<&str, Option<usize>> = virtually
        .map(|subject| (subject.name, schedules.iter().filter_map(|schedule| worst(subject, limit, schedule)).max()))
        .collect();
    thread::scope(|scope| {
        let really = ROSTER.iter().filter(|subject| subject.time.is_real());
        let trials: Vec<_> = really
            .flat_map(|subject| Schedule::all(true, effort).into_iter().map(move |schedule| (subject, schedule)))
            .map(|(subject, schedule)| (subject.name, scope.spawn(move || worst(subject, limit, &schedule))))
            .collect();
        for (name, trial) in trials {
            let worst = trial.join().expect("a trial does not fail");
            worsts.entry(name).and_modify(|known| *known = worst.max(*known)).or_insert(worst);
        }
    });
    ROSTER.iter().map(|subject| worsts[subject.name]).collect()
}

fn worst(subject: &Tried, limit: Limit, schedule: &Schedule) -> Option<usize> {
    Some(trial::worst((subject.new)(limit)?, schedule))
}
