//! What a rolling window is, in one picture: a client that is silent until shortly before a window's end, then asks often.

use std::{collections::VecDeque, time::Duration};

use crate::{
    adapters::{governor, ours, tower_resilience},
    findings::{Axis, Chart, Line},
    subject::MINUTE,
    timed::Timed,
};

const SILENT: Duration = Duration::from_secs(45);
const ASKS_EVERY: Duration = Duration::from_millis(250);
const ENDS: Duration = Duration::from_secs(180);

pub(super) fn chart() -> Chart {
    let lines = vec![
        line("fixed window (tower-resilience)", tower_resilience::timed_fixed(MINUTE)),
        line("token bucket (governor)", governor::timed(MINUTE)),
        line("rolling window (tower-quota)", ours::timed(MINUTE)),
    ];
    Chart {
        name: "rolling-window".to_owned(),
        title: "A limit of 60 per minute, and a client that asks four times a second from second 45 on".to_owned(),
        x: Axis::linear("seconds"),
        y: Axis::linear("admitted in the last 60 seconds"),
        lines,
        mark: Some((f64::from(MINUTE.units), "the limit".to_owned())),
    }
}

fn line(name: &str, mut subject: Timed) -> Line {
    let mut line = Line::new(name);
    let mut recent = VecDeque::new();
    let mut at = Duration::ZERO;
    while at <= ENDS {
        subject.wait_until(at);
        if at >= SILENT {
            recent.extend(subject.decide().map(|_| at));
        }
        while recent.front().is_some_and(|oldest| at - *oldest >= MINUTE.window) {
            recent.pop_front();
        }
        line.points.push((at.as_secs_f64(), recent.len() as f64));
        at += ASKS_EVERY;
    }
    line
}
