//! Two processes with other limits on one key take turns, as while a change of limits is rolled out.

use std::{sync::Arc, time::Duration};

use tower_quota::clock::ManualClock;

use super::{
    rounds::Case,
    server::Server,
    subjects::{Ask, Keys, Situation, SteppedTime, Subject, ours},
};

pub(crate) const STEADY: &str = "tower-quota, the same limits";
pub(crate) const IN_TURN: &str = "tower-quota, two limits in turn";

/// How many units an hour has, under which keys, and how long after another each of them comes.
const HISTORIES: [(&str, [&str; 2], u64, Duration); 2] = [
    ("alternating limits, 60 units", ["steady-60", "turns-60"], 60, Duration::from_secs(60)),
    ("alternating limits, 1790 units", ["steady-1790", "turns-1790"], 1790, Duration::from_millis(2012)),
];

/// Of another power of two, so that what is to be kept differs as well.
const LIMITS: [[u64; 2]; 2] = [[60, 1800], [120, 3600]];

/// Each history under the same limits all the time, and then under two in turn.
pub(crate) async fn cases(server: &Server) -> Vec<Case> {
    let mut cases = Vec::new();
    for (group, [steady, turns], live, step) in HISTORIES {
        let steady = ask(server, steady, step, [LIMITS[0]; 2]);
        cases.push(Case::new(group, STEADY, &steady).prefilled(live + 100).await);
        let in_turn = ask(server, turns, step, LIMITS);
        cases.push(Case::new(group, IN_TURN, &in_turn).prefilled(live + 100).await);
    }
    cases
}

/// Each decision under the limits that it was not the turn of before.
fn ask(server: &Server, key: &'static str, step: Duration, limits: [[u64; 2]; 2]) -> Ask {
    let time = SteppedTime { clock: ManualClock::new(), step };
    let processes = limits.map(|limits| {
        let situation = Situation { limits, time: Some(time.clone()), ..Situation::usual(Keys::Hot(key)) };
        ours(server, &situation, Subject::Ours.prefix(), |store| store)
    });
    Arc::new(move |number| processes[number as usize % 2](number))
}
