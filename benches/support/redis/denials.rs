//! Keys that are known to be denied.

use std::{hint::black_box, time::Duration};

use redis::cmd;

use super::{
    rounds::{Effort, median, now},
    server::Server,
    subjects::{Keys, Situation, limiter},
};

/// Nanoseconds per answer, and the commands that the server got meanwhile.
pub(crate) async fn known(server: &Server, effort: Effort) -> (f64, u64) {
    let answers = 20 * effort.decisions[0];
    let situation = Situation { limits: [1, 1], ..Situation::usual(Keys::Hot("known")) };
    let limiter = limiter(server, &situation, "known", |store| store.denial_cache_ttl(Duration::from_secs(3600)));
    let calls = limiter.rule("calls").expect("it has that name");
    let mut nanos = Vec::new();
    let mut before = 0;
    for round in 0..=effort.rounds {
        let started = now();
        for _ in 0..answers {
            let _ = black_box(calls.check_async("known").await);
        }
        match round {
            // Until then it was not known.
            0 => before = commands(server).await,
            _ => nanos.push(started.elapsed().as_nanos() as f64 / answers as f64),
        }
    }
    let decision = calls.check_async("known").await.expect("the server answers");
    assert!(!decision.is_admitted(), "one a minute has been used up");
    // The question itself is one.
    (median(nanos), commands(server).await - before - 1)
}

async fn commands(server: &Server) -> u64 {
    let stats: String = server.ask(cmd("INFO").arg("stats")).await;
    let count = stats.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
    count.expect("the server counts").parse().expect("a number")
}
