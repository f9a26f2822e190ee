//! The figures that are kept, and those of now.

use std::{collections::BTreeMap, env, fs, process::Command};

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
        let counted = CASES.iter().map(|case| Ok((case.name, count::per_decision(case.name)?.round() as u64)));
        let counted: BTreeMap<&str, u64> = counted.collect::<Result<_, String>>()?;
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

fn compiler() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    let version =
        version.map_or_else(|_| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).into_owned());
    format!("{} for {}", version.trim(), env::consts::ARCH)
}
