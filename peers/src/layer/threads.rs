//! What a layer adds to a request while two threads serve at once.

use std::{sync::Barrier, thread};

use super::{REFERENCE, REQUESTS, SHORT_ROUNDS, roster::Layered};
use crate::{
    arguments::Effort,
    bare::{Serve, requests},
    clock::now,
    findings::Table,
};

pub(super) fn table(effort: Effort) -> Table {
    let columns = ["over bare", "to 2 x tower_governor"];
    let mut table = Table::new("layer-threads", "What a layer adds to a request, two threads at once", "ns", columns)
        .bars_of(1, true, None)
        .note("The service is cloned for each request, as axum does: so a count that all clones share is written by both.")
        .note("The wall time of both threads for the requests of one, the least of many short rounds: where one thread ran after")
        .note("the other it is twice as long.")
        .note("tower-quota's clock is one number here that both threads move on, every 256 requests; its own is not.");
    let layers = Layered::all();
    let mut services: Vec<[Serve; 2]> = layers.iter().map(|layer| (layer.in_two_threads)()).collect();
    let mut least = vec![f64::INFINITY; layers.len()];
    for round in 0..SHORT_ROUNDS * effort.rounds {
        for turn in 0..services.len() {
            let at = (turn + round) % services.len();
            least[at] = least[at].min(time(&mut services[at]));
        }
    }
    let of = |name| least[layers.iter().position(|layer| layer.name == name).expect("it is in the roster")];
    let bare = of("bare service");
    for (layer, least) in layers.iter().zip(&least) {
        let cells = [least - bare, (least - bare) / (of(REFERENCE) - bare)];
        table.row(layer.name, cells.map(Some).to_vec(), "");
    }
    table
}

/// The wall time of both threads, in nanoseconds per request of one.
fn time(services: &mut [Serve; 2]) -> f64 {
    let barrier = Barrier::new(services.len());
    let run = |serve: &mut Serve| {
        let requests = requests(REQUESTS);
        barrier.wait();
        let started = now();
        for request in requests {
            serve(request);
        }
        (started, now())
    };
    let [first, second] = thread::scope(|scope| {
        let threads = services.each_mut().map(|serve| scope.spawn(|| run(serve)));
        threads.map(|thread| thread.join().expect("no service panics"))
    });
    (first.1.max(second.1) - first.0.min(second.0)).as_nanos() as f64 / REQUESTS as f64
}
