//! Random schedules of paced calls: every call ends, none goes above its policy, and who comes first goes first.
//!
//! `PACE_SCHEDULES=100000 ./tests/run --release --test client pace_schedules::` tries more of them, and
//! `PACE_SEED=7` one. Time is tokio's, and stands still unless all wait for it.

use std::{
    collections::HashMap,
    convert::Infallible,
    env,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tower::{Layer, Service, ServiceExt};
use tower_quota::{
    Policy, Quota, RateLimiter, RateLimiterBuilder, Rule,
    client::{
        Advice,
        pace::{IgnoreAdvice, PaceError, PaceLayer},
    },
    clock::TokioClock,
    key::Key,
    plain::Plain,
    store::{Charge, MemoryStore, Store},
};
use tower_quota_tests::{limiter::with_rules, slow_store::SlowStore};

/// Nothing is waited for so long: a few dozen calls in windows of at most five seconds, and pauses of at most five.
const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);
/// What timers may be late, and what the slowest store takes.
const LATE: Duration = Duration::from_millis(120);
/// How long a server may hold calls back.
const MAX_HOLD: Duration = Duration::from_secs(5);
const KEYS: [&str; 2] = ["a", "b"];

/// Numbers that a seed determines.
struct Dice(u64);

impl Dice {
    const fn below(&mut self, sides: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }

    const fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    const fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from + 1))
    }
}

/// What becomes of a call's future.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It is awaited.
    Awaited,
    /// It is dropped after this time, wherever it is then.
    Dropped(Duration),
    /// It is polled once, and then not before the end.
    Left,
    /// It is polled every so often, whatever wakes it.
    Sluggish(Duration),
}

#[derive(Clone, Debug)]
struct Job {
    id: usize,
    /// Under each rule.
    keys: Vec<&'static str>,
}

#[derive(Clone, Debug)]
struct Arrival {
    after: Duration,
    job: Job,
    fate: Fate,
}

#[derive(Clone, Debug)]
struct Schedule {
    policies: Vec<Policy>,
    max_wait: Option<Duration>,
    back_off: Duration,
    is_adaptive: bool,
    /// Of the store, if it is not in memory.
    latency: Option<Duration>,
    arrivals: Vec<Arrival>,
    /// How long the server takes and what it says, one after the other.
    answers: Vec<(Duration, Advice)>,
}

impl Schedule {
    fn draw(seed: u64) -> Self {
        let dice = &mut Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let rules = 2 + dice.below(2) as usize;
        let is_advised = dice.percent(60);
        Self {
            policies: (0..rules).map(|_| policy(dice)).collect(),
            max_wait: dice.percent(50).then(|| dice.millis(50, 8000)),
            back_off: dice.millis(50, 1000),
            is_adaptive: dice.percent(20),
            latency: dice.percent(30).then(|| dice.millis(1, 60)),
            arrivals: (0..3 + dice.below(25) as usize).map(|id| arrival(dice, rules, id)).collect(),
            answers: (0..20)
                .map(|_| (dice.millis(0, 300), if is_advised { advice(dice) } else { Advice::none() }))
                .collect(),
        }
    }

    /// No call takes longer: each before it may cost a window, a pause and what it takes to find out that nobody polls it.
    fn longest(&self) -> Duration {
        let windows = self.policies.iter().flat_map(Policy::quotas).map(Quota::window).max().unwrap_or_default();
        let each = windows + MAX_HOLD + Duration::from_secs(4);
        if self.is_adaptive { FOR_EVER } else { each * (self.arrivals.len() as u32 + 1) }
    }

    /// Whether the store may decide about both at once: then a unit may come back just between the two answers.
    fn ask_together(&self, one: &Job, other: &Job) -> bool {
        let between = self.arrivals[one.id + 1..=other.id].iter().map(|arrival| arrival.after).sum::<Duration>();
        self.latency.is_some_and(|latency| between <= latency)
    }

    fn rules(&self) -> impl Iterator<Item = Rule<Plain<Job>>> {
        self.policies.iter().enumerate().map(|(at, policy)| {
            let key = move |job: &Job| job.keys.get(at).copied();
            Rule::new(format!("rule-{at}")).every_request().key(key).level("key").policy(policy.clone())
        })
    }

    fn builder(&self) -> RateLimiterBuilder<Plain<Job>> {
        with_rules(RateLimiter::builder_for::<Job>().clock(TokioClock::new()), self.rules())
    }
}

fn policy(dice: &mut Dice) -> Policy {
    let quota = |dice: &mut Dice| Quota::new(1 + dice.below(4), dice.millis(20, 5000));
    let policy = Policy::new(quota(dice).named("one"));
    if dice.percent(30) { policy.and(quota(dice).named("two")) } else { policy }
}

fn arrival(dice: &mut Dice, rules: usize, id: usize) -> Arrival {
    let fate = match dice.below(10) {
        0 => Fate::Dropped(dice.millis(0, 4000)),
        1 => Fate::Left,
        2 => Fate::Sluggish(dice.millis(100, 4000)),
        _ => Fate::Awaited,
    };
    let keys = (0..rules).map(|_| KEYS[dice.below(2) as usize]).collect();
    let after = if dice.percent(50) { Duration::ZERO } else { dice.millis(0, 400) };
    Arrival { after, job: Job { id, keys }, fate }
}

fn advice(dice: &mut Dice) -> Advice {
    match dice.below(8) {
        0 => Advice::none().refused().wait(dice.millis(0, 3000)),
        1 => Advice::none().refused(),
        2 => Advice::none().wait(dice.millis(0, 2000)),
        3 => Advice::none().allow(dice.below(4), dice.millis(10, 3000)),
        4 => Advice::none().failed(),
        _ => Advice::none(),
    }
}

/// When which job reached the server.
#[derive(Clone, Debug, Default)]
struct Server {
    calls: Arc<Mutex<Vec<(Instant, Job)>>>,
    /// What a store that takes its time has admitted, and when.
    admissions: Arc<Mutex<Vec<(Instant, Charge)>>>,
    answers: Arc<Vec<(Duration, Advice)>>,
}

impl Service<Job> for Server {
    type Response = Advice;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Advice, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, job: Job) -> Self::Future {
        let mut calls = self.calls.lock();
        calls.push((Instant::now(), job));
        let (latency, advice) = self.answers[(calls.len() - 1) % self.answers.len()].clone();
        Box::pin(async move {
            sleep(latency).await;
            Ok(advice)
        })
    }
}

type Outcome = Result<Advice, PaceError<Infallible>>;

/// When a call was over, if it was.
type Ended = (usize, Option<(Duration, Outcome)>);

/// A task for each call, and what became of it.
async fn run<T: Store>(schedule: &Schedule, limiter: RateLimiter<Plain<Job>, T>, server: &Server) -> Vec<Ended> {
    let layer = settings(schedule, limiter.pace());
    let (layer, handle) = (layer.clone(), layer.handle());
    let layer = layer.read_advice_with(|outcome: &Result<Advice, Infallible>| outcome.clone().unwrap());
    let service = layer.layer(server.clone());
    let (mut tasks, mut left) = (JoinSet::new(), Vec::new());
    for arrival in &schedule.arrivals {
        sleep(arrival.after).await;
        let mut call: Pin<Box<dyn Future<Output = Outcome> + Send>> =
            Box::pin(service.clone().oneshot(arrival.job.clone()));
        // A call takes its place when it is polled.
        let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let (id, begun) = (arrival.job.id, Instant::now());
        if let Poll::Ready(outcome) = polled {
            tasks.spawn(async move { (id, Some((begun.elapsed(), outcome))) });
        } else if arrival.fate == Fate::Left {
            left.push(call);
        } else {
            tasks.spawn(finish(id, call, arrival.fate));
        }
    }
    let mut ended = Vec::new();
    while let Some(task) = tasks.join_next().await {
        ended.push(task.unwrap());
    }
    drop(left);
    assert_eq!(handle.waiting(), 0);
    ended
}

fn settings<T: Store>(
    schedule: &Schedule,
    layer: PaceLayer<Plain<Job>, T, IgnoreAdvice>,
) -> PaceLayer<Plain<Job>, T, IgnoreAdvice> {
    let layer = layer.default_wait(schedule.back_off).max_hold(MAX_HOLD).max_jitter(Duration::ZERO);
    let layer = if schedule.is_adaptive { layer.adaptive() } else { layer };
    schedule.max_wait.map_or(layer.clone(), |wait| layer.max_wait(wait))
}

async fn finish(id: usize, mut call: Pin<Box<dyn Future<Output = Outcome> + Send>>, fate: Fate) -> Ended {
    let begun = Instant::now();
    let patience = if let Fate::Dropped(after) = fate { after } else { FOR_EVER };
    let outcome = match fate {
        Fate::Sluggish(every) => loop {
            sleep_until(Instant::now() + every).await;
            let polled = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
            if let Poll::Ready(outcome) = polled {
                break Some(outcome);
            }
            if begun.elapsed() > FOR_EVER {
                break None;
            }
        },
        _ => timeout(patience, call).await.ok(),
    };
    (id, outcome.map(|outcome| (begun.elapsed(), outcome)))
}

/// What is promised, or what is wrong with it.
fn check(schedule: &Schedule, server: &Server, ended: &[Ended]) -> Result<(), String> {
    let slowest = schedule.answers.iter().map(|(latency, _)| *latency).max().unwrap();
    for (id, end) in ended {
        let fate = schedule.arrivals[*id].fate;
        match end {
            None if !matches!(fate, Fate::Dropped(_)) => return Err(format!("call {id} never ends")),
            Some((took, outcome)) if fate == Fate::Awaited => {
                let most = schedule.max_wait.map_or(schedule.longest(), |wait| wait + LATE);
                let most = if outcome.is_ok() { most + slowest } else { most };
                if *took > most {
                    return Err(format!("call {id} took {took:?}, {outcome:?}"));
                }
            }
            _ => {}
        }
    }
    let calls = server.calls.lock();
    check_policies(schedule, &calls)?;
    check_admissions(schedule, &server.admissions.lock())?;
    check_order(schedule, &calls)
}

/// Of calls that reached the server, unless the store takes its time: then who is told late calls late.
fn check_policies(schedule: &Schedule, calls: &[(Instant, Job)]) -> Result<(), String> {
    if schedule.latency.is_some() {
        return Ok(());
    }
    for (at, policy) in schedule.policies.iter().enumerate() {
        for key in KEYS {
            let times: Vec<_> = calls.iter().filter(|(_, job)| job.keys[at] == key).map(|(time, _)| *time).collect();
            check_windows(policy, &times).map_err(|why| format!("rule {at}, key {key}: {why}"))?;
        }
    }
    Ok(())
}

/// Of what a store that takes its time has decided.
fn check_admissions(schedule: &Schedule, admissions: &[(Instant, Charge)]) -> Result<(), String> {
    let mut histories: HashMap<(u32, Key), Vec<Instant>> = HashMap::new();
    for (time, charge) in admissions {
        histories.entry((charge.scope(), charge.key())).or_default().push(*time);
    }
    for ((scope, _), times) in histories {
        check_windows(&schedule.policies[scope as usize], &times).map_err(|why| format!("scope {scope}: {why}"))?;
    }
    Ok(())
}

fn check_windows(policy: &Policy, times: &[Instant]) -> Result<(), String> {
    for quota in policy.quotas() {
        let n = quota.limit() as usize;
        if let Some(calls) = times.windows(n + 1).find(|calls| calls[n] - calls[0] < quota.window()) {
            return Err(format!("{} calls in {:?}, of {quota}", n + 1, calls[n] - calls[0]));
        }
    }
    Ok(())
}

/// Of calls with the same keys that were awaited all the time.
fn check_order(schedule: &Schedule, calls: &[(Instant, Job)]) -> Result<(), String> {
    let is_awaited = |job: &Job| schedule.arrivals[job.id].fate == Fate::Awaited;
    let awaited: Vec<_> = calls.iter().map(|(_, job)| job).filter(|job| is_awaited(job)).collect();
    for (at, job) in awaited.iter().enumerate() {
        let overtakes =
            |other: &&&Job| other.keys == job.keys && other.id > job.id && !schedule.ask_together(job, other);
        if let Some(other) = awaited[..at].iter().find(overtakes) {
            return Err(format!("call {} went before call {}, with the same keys", other.id, job.id));
        }
    }
    Ok(())
}

async fn play(schedule: &Schedule) -> Result<usize, String> {
    let mut server = Server { answers: Arc::new(schedule.answers.clone()), ..Server::default() };
    let ended = match schedule.latency {
        None => run::<MemoryStore>(schedule, schedule.builder().build().unwrap(), &server).await,
        Some(latency) => {
            let store = SlowStore::new(latency);
            server.admissions = Arc::clone(&store.admissions);
            let limiter = schedule.builder().store(store).build().unwrap();
            run(schedule, limiter, &server).await
        }
    };
    check(schedule, &server, &ended)?;
    let calls = server.calls.lock().len();
    Ok(calls)
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn every_paced_call_ends_in_order_and_within_its_policy() {
    let seeds = number("PACE_SEED").map_or(1..1 + number("PACE_SCHEDULES").unwrap_or(2000), |seed| seed..seed + 1);
    let (mut calls, mut schedules) = (0, 0);
    for seed in seeds {
        let schedule = Schedule::draw(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        match runtime.block_on(play(&schedule)) {
            Ok(served) => (calls, schedules) = (calls + served, schedules + 1),
            Err(why) => panic!("PACE_SEED={seed}: {why}\n{schedule:#?}"),
        }
    }
    println!("{schedules} schedules, {calls} calls reached the server");
}
