//! A progress line.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

use tokio::time::{Interval, interval};
use tower_quota::client::pace::{PaceHandle, QueueStatus};

/// Shows the progress of a batch: in place on a terminal, every three seconds elsewhere.
pub(crate) struct Progress {
    name: &'static str,
    handle: Option<PaceHandle>,
    ticks: Interval,
    is_terminal: bool,
}

impl Progress {
    pub(crate) fn begin(name: &'static str, handle: Option<PaceHandle>) -> Self {
        let is_terminal = stderr().is_terminal();
        let period = Duration::from_millis(if is_terminal { 100 } else { 3000 });
        Self { name, handle, ticks: interval(period), is_terminal }
    }

    pub(crate) async fn tick(&mut self) {
        self.ticks.tick().await;
    }

    pub(crate) fn show(&self, done: u32) {
        let waiting =
            self.handle.iter().flat_map(PaceHandle::queues).next().map_or_else(String::new, |queue| describe(&queue));
        let line = format!("{}: {done} done{waiting}", self.name);
        // A progress line that cannot be written is no reason to fail.
        let _ = if self.is_terminal { write!(stderr(), "\r{line:<100}") } else { writeln!(stderr(), "{line}") };
    }

    pub(crate) fn end(&self) {
        if self.is_terminal {
            let _ = write!(stderr(), "\r{:<100}\r", "");
        }
    }
}

fn describe(queue: &QueueStatus) -> String {
    format!(
        ", {} wait, the first for {:.1} s; about {:.1} s to go at {:.1} per second",
        queue.waiting(),
        queue.longest_wait().as_secs_f64(),
        queue.forecast().as_secs_f64(),
        queue.rate()
    )
}
