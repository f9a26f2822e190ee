//! Workloads, and cases measured in turn: so that a machine that slows down slows all of them.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

const ROUNDS: usize = 7;
const REQUESTS: usize = 500_000;

/// What is called with one key after another, and says whether it admitted.
pub(crate) type Step = Box<dyn Fn(&String) -> bool + Send + Sync>;

type Make = Box<dyn Fn(&[String]) -> Step>;

/// A name, and what makes the thing to measure; the keys are those it will meet.
pub(crate) struct Case {
    name: &'static str,
    make: Make,
}

/// A stream of keys, laid out in the order of their use.
pub(crate) struct Workload {
    name: &'static str,
    distinct: Vec<String>,
    stream: Vec<String>,
}

impl Case {
    pub(crate) fn new(name: &'static str, make: impl Fn(&[String]) -> Step + 'static) -> Self {
        Self { name, make: Box::new(make) }
    }
}

impl Workload {
    /// The same key again and again.
    pub(crate) fn hot(name: &'static str) -> Self {
        Self::new(name, 1, |_| 0)
    }

    /// Rank r with a probability proportional to 1/r.
    pub(crate) fn zipf(name: &'static str, keys: usize) -> Self {
        let most = keys as f64;
        Self::new(name, keys, move |random| (most.powf(random) - 1.0) as usize)
    }

    /// All keys alike.
    pub(crate) fn uniform(name: &'static str, keys: usize) -> Self {
        Self::new(name, keys, move |random| (random * keys as f64) as usize)
    }

    /// `pick` chooses a key by a random number in 0..1.
    fn new(name: &'static str, keys: usize, pick: impl Fn(f64) -> usize) -> Self {
        let distinct: Vec<String> = (0..keys).map(|number| format!("acct-{number:020}")).collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let stream = (0..REQUESTS).map(|_| distinct[pick(random()).min(keys - 1)].clone()).collect();
        Self { name, distinct, stream }
    }
}

/// Measures the cases in turn, `ROUNDS` times, and prints medians, ratios to the first case, and the share admitted.
pub(crate) fn measure(workload: &Workload, threads: usize, cases: &[Case]) {
    println!("\n{}, {threads} thread{}", workload.name, if threads == 1 { "" } else { "s" });
    let subjects: Vec<Step> = cases.iter().map(|case| (case.make)(&workload.distinct)).collect();
    let mut nanos = vec![Vec::new(); cases.len()];
    let mut admitted = vec![0.0; cases.len()];
    for round in 0..ROUNDS {
        for turn in 0..cases.len() {
            let at = (turn + round) % cases.len();
            let (time, share) = time(&subjects[at], &workload.stream, threads);
            nanos[at].push(time);
            admitted[at] = share;
        }
    }
    for (at, case) in cases.iter().enumerate() {
        let ratios = (0..ROUNDS).map(|round| nanos[at][round] / nanos[0][round]).collect();
        let (time, ratio, share) = (median(nanos[at].clone()), median(ratios), 100.0 * admitted[at]);
        println!("  {:<34} {time:>7.1} ns  {ratio:>5.2}  {share:>5.1} % admitted", case.name);
    }
}

/// Nanoseconds per decision, over all threads, and the share that was admitted.
fn time(step: &Step, stream: &[String], threads: usize) -> (f64, f64) {
    let (barrier, admitted) = (Barrier::new(threads + 1), AtomicUsize::new(0));
    let mut started = None;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (barrier, admitted) = (&barrier, &admitted);
            scope.spawn(move || {
                let (first, second) = stream.split_at(thread * stream.len() / threads);
                barrier.wait();
                let count = second.iter().chain(first).filter(|key| step(key)).count();
                admitted.fetch_add(count, Ordering::Relaxed);
            });
        }
        barrier.wait();
        started = Some(now());
    });
    let decisions = (stream.len() * threads) as f64;
    let nanos = started.map_or(0.0, |started| started.elapsed().as_nanos() as f64);
    (nanos / decisions, admitted.into_inner() as f64 / decisions)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the time")]
fn now() -> Instant {
    Instant::now()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
