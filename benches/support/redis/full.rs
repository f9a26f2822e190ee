//! A key that has used all of its hour.

use std::time::{Duration, SystemTime};

use redis::cmd;
use tower_quota::clock::ManualClock;

use super::{
    rounds::Case,
    server::Server,
    subjects::{Keys, Situation, SteppedTime, Subject, VIRTUAL_START},
};

/// Units of a full hour.
pub(crate) const LIVE: u64 = 1800;

/// A history of 1800 units in the last half hour: all of them are live during the benchmark, and none has to be let go of.
pub(crate) async fn denied(server: &Server, subject: Subject) -> Case {
    const STEP: Duration = Duration::from_millis(1001);
    let situation = Situation::usual(Keys::Hot("denied"));
    let clock = ManualClock::new();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970");
    clock.set(now - VIRTUAL_START - STEP * (LIVE as u32 + 1));
    let past = Situation { time: Some(SteppedTime { clock, step: STEP }), ..situation.clone() };
    match subject {
        // A call that is sent again would be sent with the same time again.
        Subject::OursScript => {
            let ours: Vec<String> = server.ask(cmd("KEYS").arg("ours:*:calls:*:denied")).await;
            let _: u64 = server.ask(cmd("COPY").arg(ours).arg("alone:{0011aabb}:calls:denied")).await;
        }
        Subject::FixedPair => drop(Case::of("", subject, server, &situation).await.prefilled(LIVE).await),
        _ => drop(Case::of("", subject, server, &past).await.prefilled(LIVE).await),
    }
    Case::of("a full key, denied", subject, server, &situation).await
}
