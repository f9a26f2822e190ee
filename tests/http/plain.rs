//! Services that are not about HTTP are limited by the same rules, with requests, responses and errors of their own.
#![allow(clippy::needless_pass_by_value, reason = "this is a test")]

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinSet};
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt, buffer::Buffer, limit::ConcurrencyLimit, service_fn,
    util::BoxCloneService,
};
use tower_quota::{
    MatchedRule, OnMissing, Policy, Quota, RateLimiter, Reservation, Rule, Unsettled,
    clock::ManualClock,
    key, outcome,
    plain::{Plain, RateLimit, RateLimitLayer, Refusal},
};
use tower_quota_tests::limiter::with_rules;

/// A request that knows nothing of HTTP, and cannot even be cloned.
#[derive(Debug, Default, PartialEq)]
struct Job {
    tenant: String,
    queue: Option<&'static str>,
    pages: u64,
    left: Option<u64>,
}

#[derive(Debug, PartialEq)]
enum Answer {
    Done(u64),
    PutOff(Job, Duration),
}

/// An error of the service's own, neither boxed nor made for this.
#[derive(Debug, PartialEq)]
enum JobError {
    PaperJam,
    Limited(String),
}

fn job(tenant: &str) -> Job {
    Job { tenant: tenant.to_owned(), pages: 1, ..Job::default() }
}

const fn tenant(job: &Job) -> &String {
    &job.tenant
}

fn rule(name: &str, policy: Policy) -> Rule<Plain<Job>> {
    Rule::new(name).every_request().key(key::field(tenant)).level("tenant").policy(policy)
}

fn limiter(rules: impl IntoIterator<Item = Rule<Plain<Job>>>) -> (RateLimiter<Plain<Job>>, ManualClock) {
    let clock = ManualClock::new();
    let builder = RateLimiter::builder_for::<Job>().clock(clock.clone());
    (with_rules(builder, rules).build().unwrap(), clock)
}

async fn print(job: Job) -> Result<Answer, JobError> {
    if job.pages == 0 { Err(JobError::PaperJam) } else { Ok(Answer::Done(job.left.unwrap_or(job.pages))) }
}

fn limited(_: Job, refusal: Refusal) -> Result<Answer, JobError> {
    Err(JobError::Limited(refusal.to_string()))
}

#[tokio::test]
async fn a_refusal_becomes_the_service_s_own_error() {
    let (limiter, clock) = limiter([rule("jobs", Policy::per_minute(2).and_per_hour(3))]);
    let printer = limiter.layer(limited).layer(service_fn(print));
    let minute = "You've exceeded the per-minute rate limit. Please wait for sometime before retrying.";
    let hour = "You've exceeded the hourly rate limit. Please wait for sometime before retrying.";

    for expected in [Ok(Answer::Done(1)), Ok(Answer::Done(1)), Err(JobError::Limited(minute.to_owned()))] {
        assert_eq!(printer.clone().oneshot(job("acme")).await, expected);
    }
    clock.advance(Duration::from_secs(60));
    assert_eq!(printer.clone().oneshot(job("acme")).await, Ok(Answer::Done(1)));
    assert_eq!(printer.clone().oneshot(job("acme")).await, Err(JobError::Limited(hour.to_owned())));
    assert_eq!(printer.oneshot(job("globex")).await, Ok(Answer::Done(1)));
}

#[tokio::test]
async fn a_refusal_becomes_a_response_that_gives_the_job_back() {
    let (limiter, _clock) = limiter([rule("jobs", Policy::per_minute(1))]);
    let put_off = |job, refusal: Refusal| Ok(Answer::PutOff(job, refusal.retry_after().unwrap()));
    let printer = limiter.layer(put_off).layer(service_fn(print));

    assert_eq!(printer.clone().oneshot(job("acme")).await, Ok(Answer::Done(1)));
    let put_off = Answer::PutOff(job("acme"), Duration::from_secs(60));
    assert_eq!(printer.oneshot(job("acme")).await, Ok(put_off));
}

#[tokio::test]
async fn a_refusal_becomes_a_boxed_error_and_is_found_in_it() {
    let (limiter, _clock) = limiter([rule("jobs", Policy::per_minute(1))]);
    let mut printer = ServiceBuilder::new()
        .layer(limiter.layer(|_: Job, refusal| Err(refusal.into())))
        .service(service_fn(|job: Job| async move { Ok::<_, BoxError>(job.pages) }));
    assert_eq!(printer.ready().await.unwrap().call(job("acme")).await.unwrap(), 1);
    let error = printer.ready().await.unwrap().call(job("acme")).await.unwrap_err();
    let refusal = error.downcast::<Refusal>().unwrap();
    assert_eq!(refusal.decision().unwrap().exhausted().map(|quota| quota.limit()).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn the_inner_service_s_own_errors_pass_and_their_charge_stays() {
    let (limiter, _clock) = limiter([rule("jobs", Policy::per_minute(2))]);
    let printer = limiter.layer(limited).layer(service_fn(print));
    let jam = Job { tenant: "acme".to_owned(), ..Job::default() };
    assert_eq!(printer.oneshot(jam).await, Err(JobError::PaperJam));
    assert_eq!(limiter.rule("jobs").unwrap().peek("acme").quotas().next().unwrap().remaining(), 1);
}

#[tokio::test]
async fn a_rule_governs_the_requests_of_its_condition_and_all_rules_admit_together() {
    let long = Rule::new("long").when(|job: &Job| job.pages > 99).key(key::field(tenant)).level("tenant");
    let (limiter, _clock) = limiter([rule("jobs", Policy::per_minute(3)), long.policy(Policy::per_hour(1))]);
    let printer = limiter.layer(limited).layer(service_fn(print));
    let long = || Job { pages: 300, ..job("acme") };

    assert_eq!(printer.clone().oneshot(long()).await, Ok(Answer::Done(300)));
    assert!(printer.clone().oneshot(long()).await.is_err());
    let left = limiter.rule("jobs").unwrap().peek("acme").quotas().next().unwrap().remaining();
    assert_eq!(left, 2, "what the other rule denied was not charged");
    assert_eq!(printer.clone().oneshot(job("acme")).await, Ok(Answer::Done(1)));
    assert_eq!(printer.oneshot(job("acme")).await, Ok(Answer::Done(1)));
}

#[test]
fn closures_tuples_alternatives_and_boxes_of_extractors_read_requests_of_any_type() {
    let queue = |job: &Job| job.queue;
    let boxed: Box<dyn key::KeyExtractor<Plain<Job>>> = Box::new(queue);
    let shared: Arc<dyn key::KeyExtractor<Plain<Job>>> = Arc::new(queue);
    let one = Policy::per_minute(1);
    let every = |name: &str| Rule::new(name).every_request().policy(one.clone());
    let (limiter, _clock) = limiter([
        every("both").key((key::field(tenant), queue)).level("tenant+queue"),
        every("either").key(key::first_of((queue, key::field(tenant)))).level("queue|tenant"),
        every("boxed").key(boxed).level("queue"),
        every("shared").key(shared).level("queue"),
        every("same").key(key::constant("everybody")),
    ]);
    let keys = |job: &Job| limiter.matching(job).iter().map(MatchedRule::key).collect::<Vec<_>>();

    let (acme, a4) = (Some(limiter.key("acme")), Some(limiter.key("a4")));
    let everybody = Some(limiter.key("everybody"));
    assert_eq!(keys(&job("acme")), [None, acme, None, None, everybody]);
    let queued = Job { queue: Some("a4"), ..job("acme") };
    assert_eq!(keys(&queued), [Some(limiter.key(("acme", "a4"))), a4, a4, a4, everybody]);
}

#[tokio::test]
async fn a_request_without_the_key_meets_the_outcome_of_the_rule() {
    let queued = |name: &str| Rule::new(name).every_request().key(|job: &Job| job.queue).level("queue");
    let one = Policy::per_minute(1);
    for (rule, expected) in [
        (queued("shared"), [true, false]),
        (queued("skipped").on_missing(OnMissing::Skip), [true, true]),
        (queued("required").key_required(), [false, false]),
    ] {
        let (limiter, _clock) = limiter([rule.policy(one.clone())]);
        let printer = limiter.layer(|_, refusal| Err(refusal)).layer(service_fn(async |_: Job| Ok(())));
        for admitted in expected {
            let answer = printer.clone().oneshot(job("acme")).await;
            assert_eq!(answer.is_ok(), admitted);
            if let Err(refusal @ Refusal::KeyMissing { .. }) = answer {
                assert_eq!(refusal.to_string(), "The request does not carry the queue by which it is limited.");
                assert_eq!(refusal.retry_after(), None);
                assert!(limiter.is_empty(), "nothing was charged");
            }
        }
        assert!(printer.oneshot(Job { queue: Some("a4"), ..job("acme") }).await.is_ok());
    }
}

#[tokio::test]
async fn the_decision_can_be_kept_in_the_request() {
    let (limiter, _clock) = limiter([rule("jobs", Policy::per_minute(9))]);
    let layer = limiter.layer(limited).on_admitted(|job: &mut Job, decision| {
        job.left = decision.quotas().next().map(|quota| quota.remaining());
    });
    assert_eq!(layer.layer(service_fn(print)).oneshot(job("acme")).await, Ok(Answer::Done(8)));
}

#[test]
fn mistakes_are_found_when_the_limiter_is_built() {
    let build = |rule: Rule<Plain<Job>>| RateLimiter::builder_for::<Job>().rule(rule).build().unwrap_err();
    let nothing_governed = Rule::new("a").key(key::field(tenant)).level("tenant").policy(Policy::per_minute(1));
    assert_eq!(build(nothing_governed).field(), "routes");
    assert_eq!(build(rule("a", Policy::per_minute(0))).field(), "quota \"minute\": limit");
    assert_eq!(build(Rule::new("a").every_request().policy(Policy::per_minute(1))).field(), "key");
    let twins = RateLimiter::builder_for::<Job>().rule(rule("a", Policy::per_minute(1)));
    let error = twins.rule(rule("A", Policy::per_minute(1))).build().unwrap_err();
    assert_eq!((error.rule(), error.field()), (Some("A"), "name"));
}

#[test]
fn two_windows_hold_around_any_edge() {
    let (limiter, clock) = limiter([rule("jobs", Quota::new(2, Duration::from_secs(10)).into())]);
    let mut printer = pin!(limiter.layer(limited).layer(service_fn(print)));
    let mut admitted_at = Vec::new();
    for second in 0..60 {
        let mut answer = pin!(printer.call(job("acme")));
        if let Poll::Ready(Ok(_)) = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            admitted_at.push(second);
        }
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(admitted_at, [0, 1, 10, 11, 20, 21, 30, 31, 40, 41, 50, 51]);
}

#[test]
fn a_refused_request_gives_back_at_once_what_it_reserved_in_the_inner_service() {
    let (limiter, _clock) = limiter([rule("jobs", Policy::per_minute(1))]);
    let permits = Arc::new(Semaphore::new(1));
    let inner = ConcurrencyLimit::with_semaphore(service_fn(print), Arc::clone(&permits));
    let mut printer = limiter.layer(limited).layer(inner);
    for left in [0, 1, 1] {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(printer.poll_ready(&mut cx).is_ready());
        let answer = printer.call(job("acme"));
        assert_eq!(permits.available_permits(), left);
        drop(answer);
        assert_eq!(permits.available_permits(), 1);
    }
}

type Printer = BoxCloneService<Job, Answer, BoxError>;

/// MultipleValues workers send many jobs through services around and inside of the layer; half of the jobs are refused.
async fn all_are_answered(
    build: impl Fn(RateLimitLayer<Job, fn(Job, Refusal) -> Result<Answer, BoxError>>) -> Printer,
) {
    const WORKERS: u64 = 16;
    const JOBS: u64 = 200;
    let (limiter, _clock) = limiter([rule("jobs", Policy::per_hour(WORKERS * JOBS / 2))]);
    let service = build(limiter.layer(|_, refusal| Err(refusal.into())));
    let printed = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (mut service, printed) = (service.clone(), Arc::clone(&printed));
        workers.spawn(async move {
            for _ in 0..JOBS {
                let answer = service.ready().await.unwrap().call(job("acme")).await;
                printed.fetch_add(u64::from(answer.is_ok()), Ordering::Relaxed);
            }
            // The worker stays, and must not keep anything from the others.
            service
        });
    }
    let kept = workers.join_all().await;
    assert_eq!((kept.len(), printed.load(Ordering::Relaxed)), (16, WORKERS * JOBS / 2));
}

async fn print_slowly(job: Job) -> Result<Answer, BoxError> {
    tokio::task::yield_now().await;
    Ok(Answer::Done(job.pages))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn limits_and_buffers_inside_and_outside_starve_nobody_and_keep_no_permit() {
    let (inside, outside) = (Arc::new(Semaphore::new(2)), Arc::new(Semaphore::new(2)));
    all_are_answered(|layer| {
        let inner = ConcurrencyLimit::with_semaphore(service_fn(print_slowly), Arc::clone(&inside));
        BoxCloneService::new(layer.layer(inner))
    })
    .await;
    all_are_answered(|layer| {
        let limited = layer.layer(service_fn(print_slowly));
        BoxCloneService::new(ConcurrencyLimit::with_semaphore(limited, Arc::clone(&outside)))
    })
    .await;
    assert_eq!((inside.available_permits(), outside.available_permits()), (2, 2));
    all_are_answered(|layer| BoxCloneService::new(layer.layer(Buffer::new(service_fn(print_slowly), 1)))).await;
    all_are_answered(|layer| BoxCloneService::new(Buffer::new(layer.layer(service_fn(print_slowly)), 1))).await;
}

#[tokio::test]
async fn readiness_is_the_inner_service_s() {
    let (limiter, _clock) = limiter([rule("jobs", Policy::per_minute(1))]);
    let (inner, mut handle) = tower_test::mock::pair::<Job, Answer>();
    let mut printer: RateLimit<_, _, _> = limiter.layer(|_, refusal| Err(refusal.into())).layer(inner);
    handle.allow(0);
    assert!(poll_fn(|cx| Poll::Ready(printer.poll_ready(cx).is_pending())).await);
    handle.send_error("gone");
    assert!(printer.ready().await.is_err());
    assert!(limiter.is_empty());
}

// ---- costs ----

fn left(limiter: &RateLimiter<Plain<Job>>, rule: &str) -> u64 {
    limiter.rule(rule).unwrap().peek("acme").quotas().next().unwrap().remaining()
}

#[tokio::test]
async fn a_job_costs_its_pages_and_settles_those_that_it_has_printed() {
    #[derive(Debug, Default)]
    struct Print {
        pages: u64,
        reservation: Option<Reservation>,
    }
    let rule = || Rule::new("pages").every_request().key(key::constant("acme")).policy(Policy::per_minute(100));
    for unsettled in [Unsettled::Keep, Unsettled::Release, Unsettled::Observed] {
        let rule = rule().reserve("pages", |job: &Print| job.pages).unsettled(unsettled);
        let limiter = RateLimiter::builder_for::<Print>().clock(ManualClock::new()).rule(rule).build().unwrap();
        let layer = limiter.layer(|_, refusal| Err(BoxError::from(refusal)));
        let layer = layer.on_admitted(|job, decision| job.reservation = decision.reservation().cloned());
        let left = || limiter.rule("pages").unwrap().peek("acme").quotas().next().unwrap().remaining();
        let printer = layer.layer(service_fn(async |job: Print| {
            let reservation = job.reservation.unwrap();
            reservation.observe("pages", 3);
            match job.pages {
                20 => reservation.settle("pages", 5),
                40 => return Err("a jam".into()),
                _ => {}
            }
            Ok::<_, BoxError>(())
        }));
        let print = |pages| printer.clone().oneshot(Print { pages, reservation: None });
        print(20).await.unwrap();
        assert_eq!(left(), 95, "the handler has said so");
        print(30).await.unwrap();
        assert!(print(40).await.unwrap_err().downcast_ref::<Refusal>().is_none());
        let expected = match unsettled {
            Unsettled::Keep => 25,
            Unsettled::Release => 95,
            _ => 89,
        };
        assert_eq!(left(), expected, "{unsettled:?}");
        let refused = print(101).await.unwrap_err().downcast::<Refusal>().unwrap();
        assert!(refused.decision().unwrap().is_never_possible() && refused.retry_after().is_none());
        let text = "This request costs 101 pages; at most 100 are admitted per minute.";
        assert_eq!(refused.to_string(), text);
    }
}

#[tokio::test]
async fn a_job_counts_by_its_outcome_and_one_that_is_given_up_counts() {
    let rule = || rule("jobs", Policy::per_minute(9)).count_only(outcome::failures());
    let (limiter, _clock) = limiter([rule()]);
    let printer = limiter.layer(limited).layer(service_fn(print));
    assert_eq!(printer.clone().oneshot(job("acme")).await, Ok(Answer::Done(1)));
    assert_eq!(left(&limiter, "jobs"), 9);
    let jam = Job { tenant: "acme".to_owned(), ..Job::default() };
    assert_eq!(printer.oneshot(jam).await, Err(JobError::PaperJam));
    assert_eq!(left(&limiter, "jobs"), 8);

    let slow = service_fn(|_: Job| std::future::pending());
    drop(limiter.layer(limited).layer(slow).call(job("acme")));
    assert_eq!(left(&limiter, "jobs"), 7);
}
