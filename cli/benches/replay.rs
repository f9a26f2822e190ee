//! How many lines a second `replay` takes on one core, beside `wc -l`, which only looks for their ends.
//!
//! Measured is processor time, of the program and of the kernel for it, and not the time on the wall: both programs have one
//! thread, so it is that of one core, and other work on the machine is not in it. It is read where Linux has it.
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
    println!(
        "{LINES} lines ({} MB), 2 rules with 3 quotas: processor time of one thread, least of {RUNS} runs",
        bytes / 1_000_000
    );
    println!("{:20} {:>9} {:>9} {:>9} {:>14}", "", "user", "system", "sum", "lines/s of sum");
    for (name, took) in [("tower-quota replay", replay), ("wc -l", count)] {
        let [user, system, sum] = [took.user, took.system, took.sum()].map(|part| part.as_secs_f64());
        println!("{name:20} {user:>7.2} s {system:>7.2} s {sum:>7.2} s {:>14.0}", LINES as f64 / sum);
    }
    println!("{:.0} times as long as wc -l", replay.sum().as_secs_f64() / count.sum().as_secs_f64());
    Ok(())
}

/// Processor time.
#[derive(Clone, Copy)]
struct Processor {
    user: Duration,
    system: Duration,
}

impl Processor {
    fn sum(self) -> Duration {
        (self.user + self.system).max(TICK)
    }

    const fn since(self, before: Self) -> Self {
        Self { user: self.user.saturating_sub(before.user), system: self.system.saturating_sub(before.system) }
    }
}

fn fastest(command: impl Fn() -> Command) -> io::Result<Processor> {
    let mut fastest = Processor { user: Duration::MAX / 4, system: Duration::ZERO };
    for _ in 0..RUNS {
        let before = time_of_children()?;
        let output = command().output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let took = time_of_children()?.since(before);
        if took.sum() < fastest.sum() {
            fastest = took;
        }
    }
    Ok(fastest)
}

/// Returns the time that the processor has spent on the programs that were run and have ended.
fn time_of_children() -> io::Result<Processor> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name of the program, which may have spaces in it, is in parentheses before.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut ticks = fields.split_ascii_whitespace().skip(13).map(|field| TICK * field.parse().unwrap_or(0));
    Ok(Processor { user: ticks.next().unwrap_or_default(), system: ticks.next().unwrap_or_default() })
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
