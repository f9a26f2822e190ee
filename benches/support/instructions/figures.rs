//! The figures that are kept, and those of now.

use std::{
    collections::BTreeMap,
    env, fs, iter,
    num::NonZeroUsize,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde::{Deserialize, Serialize};

use super::{cases::CASES, count};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.toml");
const HEAD: &str =
    "# Instructions per decision. Written by `cargo bench -p tower-quota-benches --bench instructions -- --accept`.\n";

/// Instructions per decision, by the name of the case.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Figures {
    /// And for which processors.
    pub(crate) compiler: String,
    instructions: BTreeMap<String, u64>,
}

impl Figures {
    /// What was accepted.
    pub(crate) fn read() -> Result<Self, String> {
        let text = fs::read_to_string(PATH).map_err(|error| format!("{PATH}: {error}"))?;
        toml::from_str(&text).map_err(|error| format!("{PATH}: {error}"))
    }

    pub(crate) fn count() -> Result<Self, String> {
        let counted = count_all()?;
        let instructions = CASES.iter().map(|case| {
            let contained = case.less.map_or(0, |less| counted[less]);
            (case.name.to_owned(), counted[case.name].saturating_sub(contained))
        });
        Ok(Self { compiler: compiler(), instructions: instructions.collect() })
    }

    pub(crate) fn write(&self) -> Result<(), String> {
        let text = toml::to_string(self).map_err(|error| error.to_string())?;
        fs::write(PATH, format!("{HEAD}{text}")).map_err(|error| format!("{PATH}: {error}"))
    }

    /// Not a number if it is not known.
    pub(crate) fn of(&self, case: &str) -> f64 {
        self.instructions.get(case).map_or(f64::NAN, |count| *count as f64)
    }
}

/// Counts as many cases at a time as there are processors: instructions are the same whatever runs beside them.
fn count_all() -> Result<BTreeMap<&'static str, u64>, String> {
    let (cases, next) = (&CASES, AtomicUsize::new(0));
    let count = || {
        let taken = iter::from_fn(|| cases.get(next.fetch_add(1, Ordering::Relaxed)));
        taken
            .map(|case| Ok((case.name, count::per_decision(case.name)?.round() as u64)))
            .collect::<Result<Vec<_>, String>>()
    };
    let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let counted: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(count)).collect();
        workers.into_iter().map(|worker| worker.join().expect("counting does not panic")).collect::<Result<_, String>>()
    })?;
    Ok(counted.into_iter().flatten().collect())
}

fn compiler() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    let version =
        version.map_or_else(|_| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).into_owned());
    format!("{} for {}", version.trim(), env::consts::ARCH)
}
