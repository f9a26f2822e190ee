//! A hot key whose units are lent.

use std::{hint::black_box, time::Duration};

use tower_quota::{Quota, store::LeaseConfig};

use super::{
    rounds::{Effort, median, now},
    server::Server,
    subjects::{Keys, Situation, limiter},
};

/// Nanoseconds per decision, and the server's processor time for it in microseconds.
pub(crate) async fn lent(server: &Server, effort: Effort) -> [f64; 2] {
    let decisions = 10 * effort.decisions[0];
    let situation = Situation { limits: [Quota::MAX_LIMIT; 2], ..Situation::usual(Keys::Hot("lent")) };
    let lease = LeaseConfig::new(64, Duration::from_secs(1));
    let limiter = limiter(server, &situation, "lent", |store| store.lease(lease.clone()));
    let calls = limiter.rule("calls").expect("it has that name");
    let mut samples = [Vec::new(), Vec::new()];
    for _ in 0..effort.rounds {
        let (cpu, started) = (server.cpu(), now());
        for _ in 0..decisions {
            let _ = black_box(calls.check_async("lent").await);
        }
        samples[0].push(started.elapsed().as_nanos() as f64 / decisions as f64);
        samples[1].push(server.cpu().saturating_sub(cpu).as_nanos() as f64 / 1e3 / decisions as f64);
    }
    samples.map(median)
}
