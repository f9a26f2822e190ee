//! Bytes per key, as the server counts them.

use std::time::Duration;

use redis::cmd;
use tower_quota::clock::ManualClock;

use super::{
    server::Server,
    subjects::{Keys, Situation, SteppedTime, Subject},
};

/// How many units, under which key. The last one has let go of as many again.
pub(crate) const HISTORIES: [(&str, &str, u64); 4] =
    [("1", "one", 1), ("60", "sixty", 60), ("1800", "hour", 1800), ("1800, later", "late", 3600)];

/// The bytes of each of the [`HISTORIES`], in all keys that belong to it.
pub(crate) async fn bytes(server: &Server, subject: Subject) -> [u64; 4] {
    let mut bytes = [0; 4];
    for (total, (_, key, units)) in bytes.iter_mut().zip(HISTORIES) {
        let ask = subject.ask(server, &one_in_two_seconds(key)).await;
        for number in 0..units {
            ask(number).await;
        }
        let names: Vec<String> = server.ask(cmd("KEYS").arg(format!("{}:*[:{{]{key}*", subject.prefix()))).await;
        for name in names {
            *total += server.ask::<u64>(cmd("MEMORY").arg("USAGE").arg(name).arg("SAMPLES").arg(0)).await;
        }
    }
    bytes
}

/// The most that 1800 per hour admit, evenly.
pub(crate) fn one_in_two_seconds(key: &'static str) -> Situation {
    let time = SteppedTime { clock: ManualClock::new(), step: Duration::from_millis(2001) };
    Situation { time: Some(time), ..Situation::usual(Keys::Hot(key)) }
}
