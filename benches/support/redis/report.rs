//! What is printed, and written as JSON.

use std::{env, fs, path::PathBuf};

use serde_json::{Map, Value, json};

use super::{
    costs,
    memory::HISTORIES,
    rounds::{Case, Sample, median},
    subjects::Subject,
    turns,
};

/// At most so much processor time of the server against the fixed window pair, and against two sorted sets.
const TARGETS: [f64; 2] = [1.4, 0.6];

/// At most so much against a process that is alone, where two with other limits take turns.
const TURNS_TARGET: f64 = 1.5;

/// At most so much against an exact pair, where a request costs one of its limit and tokens of two others.
const COSTS_TARGET: f64 = 2.0;

/// The cases, and those that others are compared with.
pub(crate) struct Table<'a> {
    cases: &'a [Case],
}

/// What is compared.
type Of = fn(&Sample) -> f64;

const MICROS: Of = |sample| sample.micros;
const CPU: Of = |sample| sample.cpu_micros;

impl<'a> Table<'a> {
    pub(crate) const fn of(cases: &'a [Case]) -> Self {
        Self { cases }
    }

    pub(crate) fn print(&self) {
        println!("{:<36} {:^21} | {:^65}", "", "one task", "64 tasks on one connection");
        println!(
            "{:<36} {:>6} {:>6} {:>7} | {:>7} {:>6} {:>7} {:>13} {:>6} {:>6} {:>6} {:>7} {:>6} {:>5}  calls",
            "",
            "us",
            "x PING",
            "CPU us",
            "per s",
            "x PING",
            "CPU us",
            "min..max",
            "x PING",
            "x pair",
            "x sets",
            "Lua us",
            "adm. %",
            "live"
        );
        let mut group = "";
        for case in self.cases {
            if case.group != group {
                group = case.group;
                println!("{group}");
            }
            self.print_case(case);
        }
    }

    fn print_case(&self, case: &Case) {
        let value = |at: usize, of: Of| median(case.samples[at].iter().map(of));
        let optional = |ratio: Option<f64>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let (ping, pair, sets) =
            (self.ping(), self.beside(case, Subject::FixedPair), self.beside(case, Subject::TwoSets));
        let (least, most) = spread(case, 1, CPU);
        let live = case.samples[1].iter().filter_map(|sample| sample.live);
        let live = live.clone().next().map_or_else(String::new, |_| format!("{:.0}", median(live)));
        let calls = case.profile.calls.iter().map(|(name, count)| format!("{} {count:.2}", name.to_lowercase()));
        println!(
            "  {:<34} {:>6.1} {:>6.2} {:>7.1} | {:>7.0} {:>6.2} {:>7.2} {:>13} {:>6.1} {:>6} {:>6} {:>7.2} {:>6.1} {live:>5}  {}",
            case.name,
            value(0, MICROS),
            ratio(case, ping, 0, MICROS),
            value(0, CPU),
            1e6 / value(1, MICROS),
            ratio(case, ping, 1, MICROS),
            value(1, CPU),
            format!("{least:.2}..{most:.2}"),
            ratio(case, ping, 1, CPU),
            optional(pair.map(|other| ratio(case, other, 1, CPU))),
            optional(sets.map(|other| ratio(case, other, 1, CPU))),
            case.profile.script_micros,
            100.0 * value(1, |sample| sample.admitted),
            calls.collect::<Vec<_>>().join(", "),
        );
    }

    /// What was aimed for, and what was reached.
    pub(crate) fn print_targets(&self) {
        println!("\nServer CPU with 64 tasks, against the targets");
        for case in self.cases.iter().filter(|case| case.subject == Some(Subject::Ours)) {
            let against = [(Subject::FixedPair, "the fixed window pair"), (Subject::TwoSets, "two sorted sets")];
            for ((subject, name), target) in against.into_iter().zip(TARGETS) {
                let Some(other) = self.beside(case, subject) else { continue };
                let reached = ratio(case, other, 1, CPU);
                let verdict = verdict(reached, target);
                let quiet = spread(case, 1, CPU).0 / spread(other, 1, CPU).0;
                println!(
                    "  {:<30} {reached:.2} of {name} (in the quietest rounds {quiet:.2}), target {target}: {verdict}",
                    case.group
                );
            }
        }
    }

    /// What it costs that limits alternate.
    pub(crate) fn print_turns(&self) {
        println!("\nServer CPU with 64 tasks where limits alternate, against the steady case");
        for case in self.cases.iter().filter(|case| case.name == turns::IN_TURN) {
            let is_steady = |other: &&Case| other.group == case.group && other.name == turns::STEADY;
            let Some(steady) = self.cases.iter().find(is_steady) else { continue };
            let reached = ratio(case, steady, 1, CPU);
            println!("  {:<30} {reached:.2}, target {TURNS_TARGET}: {}", case.group, verdict(reached, TURNS_TARGET));
        }
    }

    /// What costs cost.
    pub(crate) fn print_costs(&self) {
        println!("\nServer CPU with 64 tasks where requests have costs, against an exact pair");
        let Some(pair) = self.cases.iter().find(|case| case.name == costs::PAIR) else { return };
        for case in self.cases.iter().filter(|case| case.group == pair.group && case.name != pair.name) {
            let reached = ratio(case, pair, 1, CPU);
            let is_aimed = case.name == costs::THREE;
            let target = is_aimed.then(|| format!(", target {COSTS_TARGET}: {}", verdict(reached, COSTS_TARGET)));
            println!("  {:<36} {reached:.2}{}", case.name, target.unwrap_or_default());
        }
    }

    pub(crate) fn json(&self) -> Value {
        self.cases.iter().map(|case| self.json_of(case)).collect()
    }

    fn json_of(&self, case: &Case) -> Value {
        let mut object = Map::new();
        object.insert("group".to_owned(), case.group.into());
        object.insert("name".to_owned(), case.name.into());
        for (at, tasks) in ["one_task", "64_tasks"].into_iter().enumerate() {
            let value = |of: Of| median(case.samples[at].iter().map(of));
            let beside = |subject| self.beside(case, subject).map(|other| ratio(case, other, at, CPU));
            let live: Vec<f64> = case.samples[at].iter().filter_map(|sample| sample.live).collect();
            let (least, most) = spread(case, at, CPU);
            let measured = json!({
                "micros": value(MICROS),
                "decisions_per_second": 1e6 / value(MICROS),
                "time_to_ping": ratio(case, self.ping(), at, MICROS),
                "cpu_micros": value(CPU),
                "cpu_micros_min_max": [least, most],
                "cpu_to_ping": ratio(case, self.ping(), at, CPU),
                "cpu_to_fixed_pair": beside(Subject::FixedPair),
                "cpu_to_two_sets": beside(Subject::TwoSets),
                "admitted": value(|sample| sample.admitted),
                "live": (!live.is_empty()).then(|| median(live)),
            });
            object.insert(tasks.to_owned(), measured);
        }
        object.insert("script_micros".to_owned(), case.profile.script_micros.into());
        object.insert("calls".to_owned(), json!(case.profile.calls));
        Value::Object(object)
    }

    const fn ping(&self) -> &'a Case {
        &self.cases[0]
    }

    /// The case of the same group with this subject.
    fn beside(&self, case: &Case, subject: Subject) -> Option<&'a Case> {
        self.cases.iter().find(|other| other.group == case.group && other.subject == Some(subject))
    }
}

/// The median of the ratios of each round.
fn ratio(case: &Case, other: &Case, at: usize, of: Of) -> f64 {
    median(case.samples[at].iter().zip(&other.samples[at]).map(|(sample, other)| of(sample) / of(other)))
}

fn verdict(reached: f64, target: f64) -> String {
    if reached <= target { "met".to_owned() } else { format!("missed by {:.0} %", 100.0 * (reached / target - 1.0)) }
}

fn spread(case: &Case, at: usize, of: Of) -> (f64, f64) {
    let values = || case.samples[at].iter().map(of);
    (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max))
}

pub(crate) fn print_memory(bytes: &[(Subject, [u64; 4])]) {
    println!("\nBytes per key by MEMORY USAGE");
    print!("{:<36}", "");
    HISTORIES.iter().for_each(|(units, ..)| print!(" {units:>12}"));
    println!();
    for (subject, bytes) in bytes {
        print!("  {:<34}", subject.name());
        bytes.iter().for_each(|bytes| print!(" {bytes:>12}"));
        println!();
    }
}

pub(crate) fn memory_json(bytes: &[(Subject, [u64; 4])]) -> Value {
    let rows = bytes.iter().map(|(subject, bytes)| {
        let units = HISTORIES.iter().map(|(units, ..)| (*units).to_owned());
        (subject.name().to_owned(), units.zip(bytes.iter().map(|bytes| Value::from(*bytes))).collect())
    });
    Value::Object(rows.collect())
}

/// Writes `redis-bench.json` where cargo builds, and says where that is.
pub(crate) fn write(report: &Value) -> Result<PathBuf, String> {
    let directory = PathBuf::from(
        env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into()),
    );
    let path = directory.join("redis-bench.json");
    let written = fs::create_dir_all(directory).and_then(|()| fs::write(&path, format!("{report:#}\n")));
    written.map(|()| path.clone()).map_err(|error| format!("{}: {error}", path.display()))
}
