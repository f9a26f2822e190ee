//! Cases measured in turn, so that a machine that slows down slows all of them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::cmd;

use super::{
    server::Server,
    subjects::{Ask, Keys, Situation, Subject},
};

pub(crate) const TASKS: u64 = 64;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// Decisions per round of one task, and of many.
    pub(crate) decisions: [u64; 2],
    pub(crate) keys: u64,
    /// Decisions about each of the keys before they are measured.
    pub(crate) prefill: u64,
}

/// Something to ask, by one task and by many.
pub(crate) struct Case {
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    pub(crate) subject: Option<Subject>,
    asks: [Ask; 2],
    /// The longest window, where the history turns over within it.
    windows: [Option<Duration>; 2],
    /// Decisions before a round, which are not measured.
    warm_up: [u64; 2],
    /// How much more is measured than of others, because it costs less.
    weight: u64,
    asked: Arc<AtomicU64>,
    pub(crate) samples: [Vec<Sample>; 2],
    pub(crate) profile: Profile,
}

/// One round of one case, per decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) micros: f64,
    /// Processor time of the server.
    pub(crate) cpu_micros: f64,
    pub(crate) admitted: f64,
    /// Live units of the history, if it turns over.
    pub(crate) live: Option<f64>,
}

/// What the server says about itself, per decision.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profile {
    /// Processor time within scripts.
    pub(crate) script_micros: f64,
    /// What was called.
    pub(crate) calls: BTreeMap<String, f64>,
}

impl Case {
    pub(crate) fn new(group: &'static str, name: &'static str, ask: &Ask) -> Self {
        Self {
            group,
            name,
            subject: None,
            asks: [ask, ask].map(Arc::clone),
            windows: [None; 2],
            warm_up: [100, 500],
            weight: 1,
            asked: Arc::default(),
            samples: [Vec::new(), Vec::new()],
            profile: Profile::default(),
        }
    }

    pub(crate) const fn weight(mut self, weight: u64) -> Self {
        self.weight = weight;
        self
    }

    pub(crate) async fn of(group: &'static str, subject: Subject, server: &Server, situation: &Situation) -> Self {
        let ask = subject.ask(server, situation).await;
        Self { subject: Some(subject), ..Self::new(group, subject.name(), &ask) }
    }

    /// About a history that keeps about `live` units: as many as come in its longer window leave it.
    pub(crate) async fn turning(group: &'static str, subject: Subject, server: &Server, live: u64) -> Self {
        let mut case = Self::of(group, subject, server, &turning("first", Duration::from_millis(40))).await;
        for (at, tasks, key, guess) in [(0, 1, "turning-1", 180), (1, TASKS, "turning-64", 40)] {
            let ask = subject.ask(server, &turning(key, Duration::from_millis(guess))).await;
            case.run(&ask, tasks, live).await;
            let mut times = [0.0; 3];
            for time in &mut times {
                *time = 2.0 * case.run(&ask, tasks, live / 2).await.0.as_secs_f64();
            }
            let window = Duration::from_millis((1000.0 * median(times)).max(2.0) as u64);
            case.asks[at] = subject.ask(server, &turning(key, window)).await;
            case.windows[at] = Some(window);
            case.warm_up[at] = live + live / 4;
        }
        case
    }

    /// Asks that often before anything is measured.
    pub(crate) async fn prefilled(self, decisions: u64) -> Self {
        let ask = Arc::clone(&self.asks[1]);
        self.run(&ask, TASKS, decisions).await;
        self
    }

    async fn measure(&mut self, server: &Server, at: usize, effort: Effort) {
        let (ask, tasks) = (Arc::clone(&self.asks[at]), [1, TASKS][at]);
        self.run(&ask, tasks, self.warm_up[at]).await;
        let decisions = effort.decisions[at] * if at == 1 { self.weight } else { 1 };
        let cpu = server.cpu();
        let (elapsed, admitted) = self.run(&ask, tasks, decisions).await;
        let per_decision = |time: Duration| time.as_secs_f64() * 1e6 / decisions as f64;
        let micros = per_decision(elapsed);
        self.samples[at].push(Sample {
            micros,
            cpu_micros: per_decision(server.cpu().saturating_sub(cpu)),
            admitted: admitted as f64 / decisions as f64,
            live: self.windows[at].map(|window| window.as_secs_f64() * 1e6 / micros),
        });
    }

    /// Counts what the server executes; apart from the rounds, for nothing else may be sent meanwhile.
    async fn take_profile(&mut self, server: &Server, effort: Effort) {
        let decisions = effort.decisions[0];
        let ask = Arc::clone(&self.asks[1]);
        self.run(&ask, TASKS, self.warm_up[1]).await;
        let () = server.ask(cmd("CONFIG").arg("RESETSTAT")).await;
        self.run(&ask, TASKS, decisions).await;
        let stats: String = server.ask(cmd("INFO").arg("commandstats")).await;
        for line in stats.lines() {
            let Some((name, numbers)) = line.strip_prefix("cmdstat_").and_then(|line| line.split_once(':')) else {
                continue;
            };
            let number = |field: &str| {
                let number = numbers.split(',').find_map(|number| number.strip_prefix(field)?.strip_prefix('='));
                number.and_then(|number| number.parse::<f64>().ok()).expect("a number") / decisions as f64
            };
            match name {
                "evalsha" => self.profile.script_micros = number("usec"),
                "config|resetstat" | "info" => {}
                name => drop(self.profile.calls.insert(name.to_uppercase(), number("calls"))),
            }
        }
    }

    /// Says how long it took, and how many were admitted.
    async fn run(&self, ask: &Ask, tasks: u64, decisions: u64) -> (Duration, u64) {
        let last = self.asked.load(Ordering::Relaxed) + decisions;
        let started = now();
        let tasks: Vec<_> = (0..tasks)
            .map(|_| {
                let (ask, asked) = (Arc::clone(ask), Arc::clone(&self.asked));
                tokio::spawn(async move {
                    let mut admitted = 0;
                    loop {
                        let number = asked.fetch_add(1, Ordering::Relaxed);
                        if number >= last {
                            return admitted;
                        }
                        admitted += u64::from(ask(number).await);
                    }
                })
            })
            .collect();
        let mut admitted = 0;
        for task in tasks {
            admitted += task.await.expect("every question is answered");
        }
        (started.elapsed(), admitted)
    }
}

/// Quotas that admit everything, and whose windows are in proportion as a minute and an hour of a busy key are.
fn turning(key: &'static str, window: Duration) -> Situation {
    let shorter = Duration::from_millis((window.as_millis() as u64 / 30).max(1));
    Situation { limits: [60_000; 2], windows: [shorter, window], ..Situation::usual(Keys::Hot(key)) }
}

/// Measures all cases in turn, several times over.
pub(crate) async fn measure(server: &Server, cases: &mut [Case], effort: Effort) {
    for round in 0..effort.rounds {
        for turn in 0..cases.len() {
            let turn = (turn + round * 7) % cases.len();
            for at in [0, 1] {
                cases[turn].measure(server, at, effort).await;
            }
        }
    }
    for case in cases {
        case.take_profile(server, effort).await;
    }
}

pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
