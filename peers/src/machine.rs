//! Where and when it was measured.

use std::{fs, process::Command, thread, time::SystemTime};

use serde_json::{Value, json};

use crate::versions::version;

pub(crate) fn describe() -> Value {
    json!({
        "time": humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        "processor": processor(),
        "processors": thread::available_parallelism().map_or(0, usize::from),
        "rustc": rustc(),
        "tower-quota": version("tower-quota"),
    })
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned())
}

fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
