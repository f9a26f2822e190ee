//! Calls that wait for their turn: the promise, the order, the bounds, and what becomes of those who give up.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::{
    task::{JoinHandle, yield_now},
    time::{Instant, advance, sleep, timeout},
};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit};
use tower_quota::{
    Enforcement, Policy, Quota, RateLimiter, Rule,
    client::{
        Advice,
        pace::{IgnoreAdvice, Pace, PaceError, PaceLayer, QueueStatus},
    },
    clock::TokioClock,
    key,
    plain::Plain,
    store::MemoryStore,
};
use tower_quota_tests::limiter::with_rules;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
struct Job {
    account: &'static str,
    host: &'static str,
    id: usize,
}

impl Job {
    const fn of(account: &'static str, id: usize) -> Self {
        Self { account, host: "host", id }
    }
}

type Layered = PaceLayer<Plain<Job>, MemoryStore, IgnoreAdvice>;

/// Writes down when it was called, and insists on having been polled ready: its clones are not ready.
#[derive(Debug, Default)]
struct Journal {
    calls: Arc<Mutex<Vec<(Instant, Job)>>>,
    latency: Duration,
    is_ready: bool,
}

impl Clone for Journal {
    fn clone(&self) -> Self {
        Self { calls: Arc::clone(&self.calls), latency: self.latency, is_ready: false }
    }
}

impl Journal {
    fn slow(latency: Duration) -> Self {
        Self { latency, ..Self::default() }
    }

    fn ids(&self) -> Vec<usize> {
        self.calls.lock().iter().map(|(_, job)| job.id).collect()
    }

    fn of(&self, account: &str) -> Vec<(Instant, usize)> {
        let calls = self.calls.lock();
        calls.iter().filter(|(_, job)| job.account == account).map(|(at, job)| (*at, job.id)).collect()
    }
}

impl Service<Job> for Journal {
    type Response = usize;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<usize, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, job: Job) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "it was not polled ready");
        let (id, latency) = (job.id, self.latency);
        self.calls.lock().push((Instant::now(), job));
        async move {
            sleep(latency).await;
            Ok(id)
        }
        .boxed()
    }
}

fn rule(name: &str, policy: impl Into<Policy>) -> Rule<Plain<Job>> {
    Rule::new(name).every_request().key(key::field(|job: &Job| job.account)).level("account").policy(policy)
}

fn limiter(rules: impl IntoIterator<Item = Rule<Plain<Job>>>) -> RateLimiter<Plain<Job>> {
    let builder = RateLimiter::builder_for::<Job>().clock(TokioClock::new());
    with_rules(builder, rules).build().unwrap()
}

fn layer(policy: impl Into<Policy>) -> Layered {
    limiter([rule("calls", policy)]).pace().max_jitter(Duration::ZERO)
}

type Outcome = Result<usize, PaceError<Infallible>>;

/// Calls at once, so that calls have an order; what comes back has to be polled.
fn call<S>(service: &Pace<S, Layered>, job: Job) -> impl Future<Output = Outcome> + Send + use<S>
where
    S: Service<Job, Response = usize, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let mut service = service.clone();
    let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(ready.is_ready());
    service.call(job)
}

/// As [`call`], and polls by itself from now on: a call takes its place when it is polled.
async fn spawn_calls(
    service: &Pace<Journal, Layered>,
    jobs: impl IntoIterator<Item = Job>,
) -> Vec<JoinHandle<Outcome>> {
    let calls = jobs.into_iter().map(|job| tokio::spawn(call(service, job))).collect();
    yield_now().await;
    calls
}

/// Whether it is over after one poll.
fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn calls_wait_until_there_is_room_instead_of_being_refused() {
    let (layer, journal, begin) = (layer(Policy::per_second(2)), Journal::default(), Instant::now());
    let service = layer.layer(journal.clone());
    let outcomes = join_all((0..5).map(|id| call(&service, Job::of("a", id)))).await;
    assert!(outcomes.iter().map(|outcome| *outcome.as_ref().unwrap()).eq(0..5));
    let times: Vec<_> = journal.of("a").iter().map(|(at, _)| (*at - begin).as_secs()).collect();
    assert_eq!(times, [0, 0, 1, 1, 2]);
    assert!(layer.handle().queues().is_empty());
}

/// A call: how long after the one before, whose, and when its caller loses patience.
type Arrival = (u64, usize, Option<u64>);

const ACCOUNTS: [&str; 3] = ["a", "b", "c"];

async fn run(layer: &Layered, journal: &Journal, arrivals: &[Arrival]) -> Vec<Result<Outcome, usize>> {
    let service = layer.layer(journal.clone());
    let mut tasks = Vec::new();
    for (id, (delay, account, patience)) in arrivals.iter().enumerate() {
        sleep(Duration::from_millis(*delay)).await;
        let calling = call(&service, Job::of(ACCOUNTS[*account], id));
        let patience = patience.map_or(Duration::from_secs(1_000_000), Duration::from_millis);
        tasks.push(tokio::spawn(async move { timeout(patience, calling).await.map_err(|_| id) }));
    }
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

fn assert_never_more_than_n(calls: &[(Instant, usize)], quota: &Quota) {
    let n = quota.limit() as usize;
    for pair in calls.windows(n + 1) {
        let passed = pair[n].0 - pair[0].0;
        assert!(passed >= quota.window(), "{} calls in {passed:?}, for {quota}", n + 1);
    }
}

fn in_paused_time<T>(run: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(run)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn never_more_than_n_go_in_any_window_and_who_comes_first_goes_first(
        arrivals in prop::collection::vec((0_u64..120, 0_usize..3, prop::option::of(0_u64..4000)), 1..80),
        burst in 1_u64..6,
        slow in 5_u64..12,
        latency in 0_u64..300,
    ) {
        let policy = Policy::new(Quota::new(burst, Duration::from_millis(500))).and(Quota::new(slow, 3 * SECOND));
        in_paused_time(async {
            let (layer, journal) = (layer(policy.clone()), Journal::slow(Duration::from_millis(latency)));
            let outcomes = run(&layer, &journal, &arrivals).await;
            for account in ACCOUNTS {
                let calls = journal.of(account);
                policy.quotas().for_each(|quota| assert_never_more_than_n(&calls, quota));
                assert!(calls.is_sorted_by_key(|(_, id)| *id), "{calls:?}");
            }
            let called = journal.ids();
            for outcome in outcomes {
                match outcome {
                    Ok(outcome) => assert!(called.contains(&outcome.unwrap())),
                    Err(id) => assert!(arrivals[id].2.is_some()),
                }
            }
            assert!(layer.handle().queues().is_empty());
            assert_eq!(layer.handle().waiting(), 0);
        });
    }

    #[test]
    fn several_rules_and_keys_at_once_all_hold_and_everybody_goes_at_last(
        arrivals in prop::collection::vec((0_u64..50, 0_usize..3), 1..60),
        own in 1_u64..4,
        all in 1_u64..6,
    ) {
        let (own, all) = (Quota::new(own, SECOND), Quota::new(all, Duration::from_millis(700)));
        in_paused_time(async {
            let host = Rule::new("host").every_request().key(key::field(|job: &Job| job.host)).level("host").policy(all.clone());
            let layer = limiter([rule("account", own.clone()), host]).pace();
            let arrivals: Vec<Arrival> = arrivals.iter().map(|(delay, account)| (*delay, *account, None)).collect();
            let journal = Journal::default();
            run(&layer, &journal, &arrivals).await;
            let mut of_host = Vec::new();
            for account in ACCOUNTS {
                let calls = journal.of(account);
                assert_never_more_than_n(&calls, &own);
                assert!(calls.is_sorted_by_key(|(_, id)| *id), "{calls:?}");
                of_host.extend(calls);
            }
            of_host.sort();
            assert_never_more_than_n(&of_host, &all);
            assert_eq!(of_host.len(), arrivals.len());
        });
    }
}

#[tokio::test(start_paused = true)]
async fn other_keys_are_not_held_up() {
    let (layer, journal) = (layer(Policy::per_minute(1)), Journal::default());
    let service = layer.layer(journal.clone());
    spawn_calls(&service, (0..10).map(|id| Job::of("a", id))).await;
    assert_eq!(call(&service, Job::of("b", 99)).await.unwrap(), 99);
    assert_eq!(journal.ids(), [0, 99]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_account_does_not_hold_up_others_on_the_same_host() {
    let host = Rule::new("host").every_request().key(key::field(|job: &Job| job.host)).level("host");
    let layer = limiter([rule("account", Policy::per_minute(1)), host.policy(Policy::per_minute(100))]).pace();
    let journal = Journal::default();
    let service = layer.layer(journal.clone());
    spawn_calls(&service, (0..10).map(|id| Job::of("a", id))).await;
    let _other = call(&service, Job::of("b", 99));
    assert_eq!(journal.ids(), [0, 99]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_needs_two_keys_at_once_is_not_overtaken_for_ever() {
    let host = Rule::new("host").every_request().key(key::field(|job: &Job| job.host)).level("host");
    let layer = limiter([rule("account", Quota::new(1, SECOND)), host.policy(Quota::new(1, SECOND))]).pace();
    let journal = Journal::default();
    let service = layer.layer(journal.clone());
    let job = |account, host, id| Job { account, host, id };
    // The units of account and host come back half a second apart, and there is always somebody for each of them alone.
    let mut tasks = vec![tokio::spawn(call(&service, job("a", "x", 0)))];
    sleep(SECOND / 2).await;
    tasks.push(tokio::spawn(call(&service, job("y", "h", 1))));
    tasks.push(tokio::spawn(call(&service, job("a", "h", 2))));
    for id in 0..20 {
        tasks.push(tokio::spawn(call(&service, job("a", "x", 100 + id))));
        tasks.push(tokio::spawn(call(&service, job("y", "h", 200 + id))));
    }
    join_all(tasks).await;
    let at = journal.ids().iter().position(|id| *id == 2).unwrap();
    assert!(at <= 4, "it went after {:?}", &journal.ids()[..at]);
}

fn by_account_and_host(account: Policy, host: Policy) -> RateLimiter<Plain<Job>> {
    let of_host = Rule::new("host").every_request().key(key::field(|job: &Job| job.host)).level("host");
    limiter([rule("account", account), of_host.policy(host)])
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_exhausted_for_long_does_not_hold_up_its_host() {
    let layer = by_account_and_host(Policy::per_hour(1), Policy::per_second(1)).pace();
    let (journal, begin) = (Journal::default(), Instant::now());
    let service = layer.layer(journal.clone());
    // The second call of "a" finds its account full for an hour, and its host for a second.
    let _exhausted = spawn_calls(&service, (0..2).map(|id| Job::of("a", id))).await;
    assert_eq!(call(&service, Job::of("b", 2)).await.unwrap(), 2);
    assert_eq!(begin.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_turn_at_the_host_is_given_up_if_the_account_turns_out_to_be_exhausted_for_long() {
    let limiter = by_account_and_host(Policy::per_hour(1), Policy::per_second(1));
    let (journal, begin) = (Journal::default(), Instant::now());
    let service = limiter.pace().layer(journal.clone());
    let _calls = spawn_calls(&service, [Job::of("b", 0), Job::of("a", 1)]).await;
    // While it waits for the host, somebody else takes what its account had.
    assert!(limiter.rule("account").unwrap().check("a").is_admitted());
    assert_eq!(call(&service, Job::of("c", 2)).await.unwrap(), 2);
    assert_eq!(begin.elapsed(), SECOND);
    let held = limiter.pace().max_jitter(Duration::ZERO);
    let handle = held.handle();
    let service = held.layer(journal.clone());
    sleep(SECOND).await;
    let _calls = spawn_calls(&service, [Job::of("d", 3), Job::of("e", 4)]).await;
    // While it waits for the host, its account is held back.
    handle.advise("account", limiter.key("e"), &Advice::none().wait(SECOND * 60)).unwrap();
    assert_eq!(call(&service, Job::of("f", 5)).await.unwrap(), 5);
    assert_eq!(begin.elapsed(), 3 * SECOND);
}

/// Counts how often a future is polled.
async fn counted<F: Future>(future: F, polls: Arc<AtomicUsize>) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        polls.fetch_add(1, Ordering::Relaxed);
        future.as_mut().poll(cx)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_wait_without_a_stampede() {
    const CALLS: usize = 10_000;
    let layer = layer(Policy::per_second(100)).max_waiting(CALLS);
    let (journal, polls, begin) = (Journal::default(), Arc::new(AtomicUsize::new(0)), Instant::now());
    let service = layer.layer(journal.clone());
    let tasks: Vec<_> =
        (0..CALLS).map(|id| tokio::spawn(counted(call(&service, Job::of("a", id)), Arc::clone(&polls)))).collect();
    sleep(Duration::from_millis(1)).await;
    assert_eq!(layer.handle().waiting(), CALLS - 100);
    join_all(tasks).await;
    assert_eq!(begin.elapsed().as_secs(), 99);
    assert!(journal.ids().into_iter().eq(0..CALLS));
    // One to begin with, one when its turn comes, one for the inner service; and a hundredth that wait for the next window.
    assert!(polls.load(Ordering::Relaxed) <= 4 * CALLS, "{polls:?}");
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_for_each_key() {
    let layer = layer(Policy::per_minute(1)).max_waiting(2);
    let service = layer.layer(Journal::default());
    spawn_calls(&service, (0..3).map(|id| Job::of("a", id))).await;
    let full = call(&service, Job::of("a", 3)).now_or_never().unwrap();
    assert!(matches!(full, Err(PaceError::QueueFull { waiting: 2 })), "{full:?}");
    spawn_calls(&service, (4..6).map(|id| Job::of("b", id))).await;
    assert_eq!(layer.handle().waiting(), 3);
}

#[test]
fn without_a_runtime_a_call_goes_at_once_or_says_what_it_needs() {
    let journal = Journal::default();
    let service = layer(Policy::per_minute(1)).layer(journal.clone());
    let _first = call(&service, Job::of("a", 0));
    assert_eq!(journal.ids(), [0]);
    let refused = call(&service, Job::of("a", 1)).now_or_never().unwrap().unwrap_err();
    assert!(matches!(refused, PaceError::NoRuntime), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn with_no_place_to_wait_a_call_fails_at_once() {
    let service = layer(Policy::per_minute(1)).max_waiting(0).layer(Journal::default());
    let _first = call(&service, Job::of("a", 0));
    let refused = call(&service, Job::of("a", 1)).now_or_never().unwrap();
    assert!(matches!(refused, Err(PaceError::QueueFull { waiting: 0 })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_wait_too_long_fails_at_once_and_says_for_how_long() {
    let layer = layer(Policy::per_second(2)).max_wait(SECOND * 3 / 2);
    let service = layer.layer(Journal::default());
    spawn_calls(&service, (0..4).map(|id| Job::of("a", id))).await;
    let refused = call(&service, Job::of("a", 4)).now_or_never().unwrap().unwrap_err();
    assert_eq!((refused.wait(), refused.was_called()), (Some(2 * SECOND), false));
    assert_eq!(refused.to_string(), "it would have had to wait for 2s");
}

#[tokio::test(start_paused = true)]
async fn later_calls_do_not_count_as_ahead_in_the_queue() {
    let layer = layer(Policy::per_second(1)).max_wait(SECOND * 3 / 2);
    let service = layer.layer(Journal::default());
    let _gone = call(&service, Job::of("a", 0));
    let first = call(&service, Job::of("a", 1));
    // It comes later, but is polled first.
    let _second = spawn_calls(&service, [Job::of("a", 2)]).await;
    let advice = Advice::none().wait(SECOND);
    layer.handle().advise("calls", layer.limiter().unwrap().key("a"), &advice).unwrap();
    assert_eq!(first.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_could_not_be_foreseen_ends_at_the_longest_wait() {
    let layer = layer(Policy::per_second(1)).max_wait(SECOND * 5 / 2);
    let (journal, begin) = (Journal::default(), Instant::now());
    let service = layer.layer(journal.clone());
    let calls = spawn_calls(&service, (0..3).map(|id| Job::of("a", id))).await;
    // The server speaks up only now.
    let advice = Advice::none().wait(SECOND * 2);
    layer.handle().advise("calls", layer.limiter().unwrap().key("a"), &advice).unwrap();
    let outcomes: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert!(outcomes[0].is_ok() && outcomes[1].is_ok());
    assert_eq!(outcomes[2].as_ref().unwrap_err().wait(), Some(3 * SECOND), "the wait when its turn came");
    assert_eq!(begin.elapsed(), 2 * SECOND);
    assert_eq!(layer.handle().waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_gives_up_leaves_the_queue_and_is_charged_nothing() {
    let limiter = limiter([rule("calls", Policy::per_second(1))]);
    let journal = Journal::default();
    let service = limiter.pace().layer(journal.clone());
    let begin = Instant::now();
    let mut calls: Vec<_> = (0..5).map(|id| Box::pin(call(&service, Job::of("a", id)))).collect();
    calls.iter_mut().for_each(|call| drop(poll_once(call.as_mut())));
    let last = calls.pop().unwrap();
    // The first of those who wait, and one in the middle.
    drop(calls.remove(1));
    drop(calls.remove(2));
    let third = calls.pop().unwrap();
    assert_eq!(third.await.unwrap(), 2);
    assert_eq!(last.await.unwrap(), 4);
    assert_eq!(begin.elapsed(), 2 * SECOND, "one second each, and none for those who gave up");
    assert_eq!(journal.ids(), [0, 2, 4]);
    advance(SECOND).await;
    assert_eq!(limiter.rule("calls").unwrap().peek("a").quotas().next().unwrap().remaining(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_next_call_is_woken_when_the_first_gives_up() {
    let service = layer(Policy::per_second(1)).layer(Journal::default());
    let _gone = call(&service, Job::of("a", 0));
    let first = tokio::spawn(call(&service, Job::of("a", 1)));
    let second = tokio::spawn(call(&service, Job::of("a", 2)));
    sleep(SECOND / 2).await;
    first.abort();
    let begin = Instant::now();
    assert_eq!(second.await.unwrap().unwrap(), 2);
    assert_eq!(begin.elapsed(), SECOND / 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_polled_holds_up_nobody() {
    let service = layer(Policy::per_second(1)).layer(Journal::default());
    let _gone = call(&service, Job::of("a", 0));
    let unpolled = call(&service, Job::of("a", 1));
    assert_eq!(call(&service, Job::of("a", 2)).await.unwrap(), 2);
    assert_eq!(unpolled.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_polled_once_and_left_holds_up_others_by_seconds_and_not_by_windows() {
    for (window, left) in [(2, 1), (60, 1), (3600, 1), (60, 20), (60, 100)] {
        let layer = layer(Quota::new(1, SECOND * window));
        let service = layer.layer(Journal::default());
        let _gone = call(&service, Job::of("a", 0));
        let mut calls: Vec<_> = (1..=left).map(|id| Box::pin(call(&service, Job::of("a", id)))).collect();
        calls.iter_mut().for_each(|call| assert!(poll_once(call.as_mut()).is_pending()));
        let begin = Instant::now();
        assert_eq!(call(&service, Job::of("a", 999)).await.unwrap(), 999);
        let most = SECOND * (window + left as u32 + 3);
        assert!(begin.elapsed() <= most, "{left} before it, {window} s: {:?}", begin.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_wait_ends_for_who_is_next_while_the_inner_service_is_busy() {
    let layer = layer(Policy::per_second(1)).max_wait(5 * SECOND);
    let service = layer.layer(ConcurrencyLimit::new(Journal::slow(SECOND * 60), 1));
    drop(service.clone().ready().await.unwrap().call(Job::of("a", 0)));
    let begin = Instant::now();
    let mut caller = service.clone();
    let waiting = tokio::spawn(caller.ready().await.unwrap().call(Job::of("a", 1)));
    drop(caller);
    let _busy = tokio::spawn(service.oneshot(Job::of("b", 2)));
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!((error.wait(), begin.elapsed()), (Some(5 * SECOND), 5 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_call_under_way_is_left_alone_however_long_it_takes() {
    let service = layer(Policy::per_second(1)).max_wait(SECOND).layer(Journal::slow(SECOND * 3600));
    let calls = join_all((0..2).map(|id| call(&service, Job::of("a", id)))).await;
    assert!(calls.iter().all(Result::is_ok), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_holds_nothing_reserved_in_the_inner_service() {
    let journal = Journal::default();
    let service = layer(Policy::per_second(1)).layer(ConcurrencyLimit::new(journal.clone(), 1));
    let mut first = service.clone();
    first.ready().await.unwrap().call(Job::of("a", 0)).await.unwrap();
    let mut waiting = Box::pin(first.ready().await.unwrap().call(Job::of("a", 1)));
    assert!(poll_once(waiting.as_mut()).is_pending());
    // The only permit is free, for others and for the service that has made the waiting call.
    drop(first);
    assert_eq!(service.clone().oneshot(Job::of("b", 2)).await.unwrap(), 2);
    assert_eq!(waiting.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn whose_turn_it_is_waits_for_the_inner_service_and_then_asks_again() {
    let (layer, journal) = (layer(Policy::per_second(1)), Journal::slow(SECOND * 10));
    let service = layer.layer(ConcurrencyLimit::new(journal.clone(), 1));
    let begin = Instant::now();
    let mut first = service.clone();
    let first_call = first.ready().await.unwrap().call(Job::of("a", 0));
    drop(first_call);
    let waiting = tokio::spawn(first.ready().await.unwrap().call(Job::of("a", 1)));
    drop(first);
    let mut other = service.clone();
    let busy = tokio::spawn(other.ready().await.unwrap().call(Job::of("b", 2)));
    busy.await.unwrap().unwrap();
    waiting.await.unwrap().unwrap();
    let times: Vec<_> = journal.of("a").iter().map(|(at, _)| (*at - begin).as_secs()).collect();
    assert_eq!(times, [0, 10], "it went when the other was done");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_no_rule_governs_goes_at_once() {
    let none = Rule::new("none")
        .when(|job: &Job| job.account == "a")
        .key(key::constant(""))
        .level("all")
        .policy(Policy::per_minute(1));
    let (layer, journal) = (limiter([none]).pace(), Journal::default());
    let service = layer.layer(journal.clone());
    let _calls: Vec<_> = (0..10).map(|id| call(&service, Job::of("b", id))).collect();
    assert_eq!(journal.ids().len(), 10);
    assert!(layer.handle().queues().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_required_key_is_an_error() {
    let required = Rule::new("calls").every_request().key(|_: &Job| None::<String>).level("account");
    let service = limiter([required.key_required().policy(Policy::per_minute(1))]).pace().layer(Journal::default());
    let outcome = call(&service, Job::of("a", 0)).await.unwrap_err();
    assert!(matches!(&outcome, PaceError::KeyMissing { level } if level == "account"), "{outcome}");
}

#[tokio::test(start_paused = true)]
async fn one_can_see_who_waits_and_for_how_long() {
    let (layer, journal) = (layer(Policy::per_second(2)), Journal::slow(SECOND * 60));
    let handle = layer.handle();
    let service = layer.layer(journal.clone());
    let calls = spawn_calls(&service, (0..7).map(|id| Job::of("a", id))).await;
    sleep(SECOND / 4).await;
    let queues = handle.queues();
    let queue = &queues[0];
    assert_eq!((queue.rule(), queue.key()), ("calls", layer.limiter().unwrap().key("a")));
    assert_eq!((queue.waiting(), queue.in_flight(), queue.rate()), (5, 2, 2.0));
    assert_eq!((queue.longest_wait(), queue.forecast()), (SECOND / 4, SECOND * 11 / 4));
    assert_eq!((handle.waiting(), handle.longest_wait()), (5, Some(SECOND / 4)));
    calls.iter().for_each(JoinHandle::abort);
    yield_now().await;
    assert_eq!((handle.waiting(), handle.longest_wait(), handle.queues().len()), (0, None, 0));
}

#[tokio::test(start_paused = true)]
async fn the_forecast_never_promises_more_than_the_wait_turns_out_to_be() {
    for (burst, calls) in [(1, 9), (2, 13), (5, 23)] {
        let policy = Policy::new(Quota::new(burst, SECOND)).and(Quota::new(7, 10 * SECOND));
        let (layer, journal) = (layer(policy), Journal::default());
        let service = layer.layer(journal.clone());
        let mut waits = HashMap::new();
        let mut tasks = Vec::new();
        for id in 0..calls {
            let forecast = layer.handle().queues().first().map_or(Duration::ZERO, QueueStatus::forecast);
            waits.insert(id, (Instant::now(), forecast));
            tasks.push(tokio::spawn(call(&service, Job::of("a", id))));
            sleep(SECOND / 10).await;
        }
        join_all(tasks).await;
        for (at, id) in journal.of("a") {
            let (begin, forecast) = waits[&id];
            assert!(at - begin >= forecast, "call {id} waited {:?}, forecast {forecast:?}", at - begin);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn spreading_evenly_keeps_calls_apart() {
    let (layer, journal, begin) = (layer(Policy::per_second(4).spread_evenly()), Journal::default(), Instant::now());
    let service = layer.layer(journal.clone());
    join_all((0..4).map(|id| call(&service, Job::of("a", id)))).await;
    let times: Vec<_> = journal.of("a").iter().map(|(at, _)| (*at - begin).as_millis()).collect();
    assert_eq!(times, [0, 250, 500, 750]);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "polled after completion")]
async fn a_call_that_is_polled_after_it_was_given_up_panics() {
    let service = layer(Policy::per_minute(1)).max_wait(SECOND).layer(Journal::default());
    call(&service, Job::of("a", 0)).await.unwrap();
    let mut too_long = Box::pin(call(&service, Job::of("a", 1)));
    assert!(matches!((&mut too_long).await, Err(PaceError::TooLong { .. })));
    let _ = too_long.await;
}

#[test]
fn the_types_are_send_and_sync() {
    fn assert_send_sync<T: Send + Sync>() {}
    assert_send_sync::<PaceLayer>();
    assert_send_sync::<Pace<Journal, Layered>>();
    assert_send_sync::<tower_quota::client::pace::PaceHandle>();
    assert_send_sync::<PaceError<std::io::Error>>();
}

// Rules that are not enforced.

#[tokio::test(start_paused = true)]
async fn calls_wait_for_enforced_rules_alone() {
    for (enforcement, expected) in [
        (Enforcement::On, [0, 1, 2]),
        (Enforcement::Soft, [0, 0, 0]),
        (Enforcement::Shadow, [0, 0, 0]),
        (Enforcement::Off, [0, 0, 0]),
    ] {
        let (layer, journal, begin) = (layer(Policy::per_second(1)), Journal::default(), Instant::now());
        layer.limiter().unwrap().enforce("calls", enforcement).unwrap();
        let service = layer.layer(journal.clone());
        join_all((0..3).map(|id| call(&service, Job::of("a", id)))).await;
        let times: Vec<_> = journal.of("a").iter().map(|(at, _)| (*at - begin).as_secs()).collect();
        assert_eq!(times, expected, "{enforcement}");
        assert!(layer.handle().queues().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_an_enforced_rule_is_not_that_of_a_shadow() {
    for enforcement in [Enforcement::Soft, Enforcement::Shadow] {
        let rules =
            [rule("strict", Policy::per_hour(1)).enforcement(enforcement), rule("calls", Policy::per_second(1))];
        let layer = limiter(rules).pace().max_jitter(Duration::ZERO);
        let (journal, begin) = (Journal::default(), Instant::now());
        let service = layer.layer(journal.clone());
        join_all((0..4).map(|id| call(&service, Job::of("a", id)))).await;
        let times: Vec<_> = journal.of("a").iter().map(|(at, _)| (*at - begin).as_secs()).collect();
        assert_eq!(times, [0, 1, 2, 3], "{enforcement}");
    }
}
