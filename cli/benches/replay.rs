//! How many lines a second `replay` takes on one core, beside `wc -l`, which only looks for their ends.
//!
//! Counted is the time of the processor, which is that of one core: both have one thread. It is read where Linux has it.
//!
//! `cargo bench -p tower-quota-cli`. The log is made anew: 2,000,000 lines of 20,000 clients, in nginx's combined format.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    process::Command,
    time::Duration,
};

const LINES: u64 = 2_000_000;
/// The unit of the times in `/proc`.
const TICK: Duration = Duration::from_millis(10);
/// The first of them is slower: nothing is in the caches yet.
const RUNS: usize = 3;
const RULES: &str = r#"
[[rule]]
name = "bots"
key = "path:botId"
quotas = ["60/minute", "1800/hour"]
routes = ["GET|POST /bots/{botId}/export"]

[[rule]]
name = "clients"
key = "peer_ip"
quotas = ["120/minute"]
paths_under = ["/bots"]
"#;

fn main() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let (log, rules) = (folder.path().join("access.log"), folder.path().join("limits.toml"));
    write_log(&log)?;
    std::fs::write(&rules, RULES)?;
    let bytes = std::fs::metadata(&log)?.len();
    let replay = fastest(|| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tower-quota"));
        command.arg("replay").arg("--json").arg("--rules").arg(&rules).arg(&log);
        command
    })?;
    let count = fastest(|| {
        let mut command = Command::new("wc");
        command.arg("-l").arg(&log);
        command
    })?;
    println!("{LINES} lines, {} MB, time of the processor, fastest of {RUNS}", bytes / 1_000_000);
    for (name, took) in [("tower-quota replay", replay), ("wc -l", count)] {
        println!("{name:20} {:>8.2} s  {:>12.0} lines/s", took.as_secs_f64(), LINES as f64 / took.as_secs_f64());
    }
    println!("{:.0} times as long as wc -l", replay.as_secs_f64() / count.as_secs_f64());
    Ok(())
}

fn fastest(command: impl Fn() -> Command) -> io::Result<Duration> {
    let mut fastest = Duration::MAX;
    for _ in 0..RUNS {
        let before = time_of_children()?;
        let output = command().output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fastest = fastest.min(time_of_children()?.saturating_sub(before));
    }
    Ok(fastest.max(TICK))
}

/// Returns the time that the processor has spent on the programs that were run and have ended.
fn time_of_children() -> io::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name of the program, which may have spaces in it, is in parentheses before.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_ascii_whitespace().skip(13).take(2).filter_map(|field| field.parse::<u32>().ok());
    Ok(TICK * ticks.sum::<u32>())
}

/// Writes a log of 200 requests a second. Some clients ask much more than others do.
fn write_log(path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut state = 1_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36";
    for number in 0..LINES {
        let second = number / 200;
        let (hour, minute, second) = (second / 3600 % 24, second / 60 % 60, second % 60);
        let client = (random() % 20_000) * (random() % 20_000) / 20_000;
        let (method, bot) = (["GET", "POST"][(random() % 2) as usize], random() % 500);
        writeln!(
            file,
            "10.0.{}.{} - - [27/Nov/2026:{hour:02}:{minute:02}:{second:02} +0000] \"{method} /bots/st-{bot}/export?page={} HTTP/1.1\" \
             200 {} \"https://example.com/bots\" \"{agent}\"",
            client / 250,
            client % 250,
            number % 97,
            random() % 9000,
        )?;
    }
    file.flush()
}
