//! Workloads, and cases measured in turn: so that a machine that slows down slows all of them.

use std::{sync::Barrier, time::Instant};

/// What is called with one key after another, and says whether it was admitted.
pub(crate) type Step = Box<dyn Fn(&String) -> bool + Send + Sync>;

type Make = Box<dyn Fn(&[String]) -> Step>;

/// A name, and what makes the thing to measure; the keys are those it will meet.
pub(crate) struct Case {
    name: &'static str,
    make: Make,
}

/// A stream of keys, laid out in the order of their use.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    distinct: Vec<String>,
    stream: Vec<String>,
}

/// What came out for one case: medians of the rounds.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    /// Nanoseconds per decision, over all threads.
    pub(crate) nanos: f64,
    /// To the first case, in the same round.
    pub(crate) ratio: f64,
    /// Share of the decisions, in the last round.
    pub(crate) admitted: f64,
}

impl Case {
    pub(crate) fn new(name: &'static str, make: impl Fn(&[String]) -> Step + 'static) -> Self {
        Self { name, make: Box::new(make) }
    }
}

impl Workload {
    /// The same key again and again.
    pub(crate) fn hot(name: &'static str, requests: usize) -> Self {
        Self::new(name, requests, 1, |_| 0)
    }

    /// Rank r with a probability proportional to 1/r.
    pub(crate) fn zipf(name: &'static str, requests: usize, keys: usize) -> Self {
        let most = keys as f64;
        Self::new(name, requests, keys, move |random| (most.powf(random) - 1.0) as usize)
    }

    /// All keys alike.
    pub(crate) fn uniform(name: &'static str, requests: usize, keys: usize) -> Self {
        Self::new(name, requests, keys, move |random| (random * keys as f64) as usize)
    }

    /// `pick` chooses a key by a random number in 0..1.
    fn new(name: &'static str, requests: usize, keys: usize, pick: impl Fn(f64) -> usize) -> Self {
        let distinct: Vec<String> = (0..keys).map(|number| format!("acct-{number:020}")).collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let stream = (0..requests).map(|_| distinct[pick(random()).min(keys - 1)].clone()).collect();
        Self { name, distinct, stream }
    }
}

/// Measures the cases in turn, so many times.
pub(crate) fn measure(workload: &Workload, threads: usize, rounds: usize, cases: &[Case]) -> Vec<Measured> {
    let subjects: Vec<Step> = cases.iter().map(|case| (case.make)(&workload.distinct)).collect();
    let mut nanos = vec![Vec::new(); cases.len()];
    let mut admitted = vec![0.0; cases.len()];
    for round in 0..rounds {
        for turn in 0..cases.len() {
            let at = (turn + round) % cases.len();
            let (time, share) = time(&subjects[at], &workload.stream, threads);
            nanos[at].push(time);
            admitted[at] = share;
        }
    }
    let measured = cases.iter().enumerate().map(|(at, case)| Measured {
        name: case.name,
        nanos: median(nanos[at].clone()),
        ratio: median(nanos[at].iter().zip(&nanos[0]).map(|(time, first)| time / first).collect()),
        admitted: admitted[at],
    });
    measured.collect()
}

/// Nanoseconds per decision, over all threads, and the share that was admitted.
///
/// The threads read the time themselves: whoever waits for them may be kept waiting for a processor.
fn time(step: &Step, stream: &[String], threads: usize) -> (f64, f64) {
    let barrier = Barrier::new(threads);
    let run = &|thread: usize| {
        let (first, second) = stream.split_at(thread * stream.len() / threads);
        barrier.wait();
        let started = now();
        let admitted = second.iter().chain(first).filter(|key| step(key)).count();
        (started, now(), admitted)
    };
    let runs: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no subject panics")).collect()
    });
    let started = runs.iter().map(|(started, ..)| *started).min().expect("there is a thread");
    let ended = runs.iter().map(|(_, ended, _)| *ended).max().expect("there is a thread");
    let decisions = (stream.len() * threads) as f64;
    let admitted: usize = runs.iter().map(|(.., admitted)| admitted).sum();
    ((ended - started).as_nanos() as f64 / decisions, admitted as f64 / decisions)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the time")]
fn now() -> Instant {
    Instant::now()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
