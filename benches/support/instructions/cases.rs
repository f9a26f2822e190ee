//! The decisions that are counted.

use std::{
    cell::Cell,
    collections::VecDeque,
    convert::Infallible,
    future::ready,
    hint::black_box,
    pin::{Pin, pin},
    process::{self, ExitCode},
    task::{Context, Waker},
    time::Duration,
};

use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tokio::runtime::Builder;
use tower::{Layer, Service, service_fn};
use tower_quota::{
    Policy, RateLimitLayer, RateLimiter, RateLimiterBuilder, Reservation, Rule,
    client::{PaceLayer, pace::PaceError},
    clock::ManualClock,
    http::{DecisionIn, Headers},
    key,
};

/// What is prepared for, whether it comes to that or not.
pub(crate) const MOST: usize = 12_000;

thread_local! {
    /// Whether limiters count, through the facade of the crate `metrics`.
    static COUNTS: Cell<bool> = const { Cell::new(false) };
}

const KEY: &str = "acct-00000000000000000000";
/// The hour admits that often, so that a key has 1600 live units.
const STEP: Duration = Duration::from_millis(2200);
const SECOND: Duration = Duration::from_secs(1);
const BRISK_STEP: Duration = Duration::from_micros(280);

/// A decision, and what has to be there before it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The case that it contains, whose instructions are taken off.
    pub(crate) less: Option<&'static str>,
    prepare: fn() -> Decide,
}

type Decide = Box<dyn FnMut()>;
type Call = Pin<Box<dyn Future<Output = Result<Response<()>, PaceError<Infallible>>>>>;

/// Two cases that cost the same, whatever the compiler.
pub(crate) const ALIKE: [&str; 2] = ["20,000 calls, answered in order", "20,000 calls, answered in reverse"];

/// More calls than are answered, so that many are in flight at any time.
const IN_FLIGHT: usize = 20_000;

const BARE: &str = "the bare service";
const TOLD: &str = "one hot key, admitted";
const DENIED: &str = "one hot key, denied";
const BRISK: &str = "many a second, yes or no, admitted";
const BRISK_TOLD: &str = "many a second, admitted";

const RESERVED: &str = "a reservation that keeps its estimate";

pub(crate) const CASES: [Case; 26] = [
    case("yes or no, admitted", || yes_or_no(&pair(), STEP)),
    case("yes or no, denied", || yes_or_no(&pair(), Duration::ZERO)),
    case(TOLD, || hot(&pair(), STEP)),
    case(DENIED, || hot(&pair(), Duration::ZERO)),
    case("a third quota, admitted", || hot(&pair().and_per_second(10), STEP)).less(TOLD),
    case(BRISK, || yes_or_no(&brisk(), BRISK_STEP)),
    case("metrics, yes or no, admitted", || counted(|| yes_or_no(&brisk(), BRISK_STEP))).less(BRISK),
    case(BRISK_TOLD, || hot(&brisk(), BRISK_STEP)),
    case("metrics, admitted", || counted(|| hot(&brisk(), BRISK_STEP))).less(BRISK_TOLD),
    case("metrics, denied", || counted(|| hot(&pair(), Duration::ZERO))).less(DENIED),
    case("a new key", new_key),
    case("two rules, admitted", two_rules),
    case("two rules, yes or no, admitted", two_rules_yes_or_no),
    case("a cost, yes or no, admitted", || cost_yes_or_no(SECOND)),
    case("a cost, admitted", || cost(SECOND)),
    case("a denied cost", || cost(Duration::ZERO)),
    case(RESERVED, || reservation(|_| ())),
    case("a settlement", || reservation(|reservation| reservation.settle("tokens", 400))).less(RESERVED),
    case(BARE, || request_to(bare(), || ())),
    case("the default layer, admitted", || behind_layer(|layer| layer, STEP)).less(BARE),
    case("the default layer, denied", || behind_layer(|layer| layer, Duration::ZERO)).less(BARE),
    case("the layer with fields alone, admitted", || behind_layer(with_fields, STEP)).less(BARE),
    case("the layer with the decision alone, admitted", || behind_layer(with_decision, STEP)).less(BARE),
    case("the layer that tells nobody, admitted", || behind_layer(untold, STEP)).less(BARE),
    case(ALIKE[0], || answered(VecDeque::pop_front)),
    case(ALIKE[1], || answered(VecDeque::pop_back)),
];

const fn case(name: &'static str, prepare: fn() -> Decide) -> Case {
    Case { name, less: None, prepare }
}

impl Case {
    /// Takes the instructions of another case off.
    const fn less(self, other: &'static str) -> Self {
        Self { less: Some(other), ..self }
    }
}

/// Takes so many decisions and ends the process, with nothing cleared away that others would have to.
pub(crate) fn run(case: &str, decisions: usize) -> ExitCode {
    let Some(case) = CASES.iter().find(|known| known.name == case) else { return ExitCode::FAILURE };
    let mut decide = (case.prepare)();
    (0..decisions).for_each(|_| decide());
    process::exit(0)
}

/// The quotas of all rules here.
fn pair() -> Policy {
    Policy::per_minute(60).and_per_hour(1800)
}

/// A recorder that keeps each metric in an atomic number of its own, and no histogram.
struct Atomics;

impl Recorder for Atomics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0)))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0)))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Room for many thousands a second: what is done ten times a second is hardly a part of every decision then.
fn brisk() -> Policy {
    Policy::per_second(4000)
}

fn builder(clock: &ManualClock) -> RateLimiterBuilder {
    RateLimiter::builder().clock(clock.clone()).metrics(COUNTS.get())
}

fn limiter(rules: &[&str], policy: &Policy) -> (RateLimiter, ManualClock) {
    let clock = ManualClock::new();
    if COUNTS.get() {
        // At its origin a clock states no time.
        clock.advance(SECOND);
    }
    let builder = rules.iter().fold(builder(&clock), |builder, rule| {
        let rule = Rule::new(*rule).every_request().key(key::header("x-api-key")).level("key");
        builder.rule(rule.policy(policy.clone()))
    });
    (builder.build().expect("the rules are sound"), clock)
}

/// Decides often enough for the history to be full, or used up.
fn filled(mut decide: impl FnMut() + 'static) -> Decide {
    (0..4_000).for_each(|_| decide());
    Box::new(decide)
}

fn hot(policy: &Policy, step: Duration) -> Decide {
    let (limiter, clock) = limiter(&["calls"], policy);
    let calls = limiter.rule("calls").expect("it has that name");
    filled(move || {
        clock.advance(step);
        drop(black_box(calls.check(black_box(KEY))));
    })
}

fn yes_or_no(policy: &Policy, step: Duration) -> Decide {
    let (limiter, clock) = limiter(&["calls"], policy);
    let calls = limiter.rule("calls").expect("it has that name");
    filled(move || {
        clock.advance(step);
        black_box(calls.admit(black_box(KEY)));
    })
}

/// Prepares limiters that count, in atomic numbers as exporters do.
fn counted(prepare: impl FnOnce() -> Decide) -> Decide {
    COUNTS.set(true);
    metrics::with_local_recorder(&Atomics, prepare)
}

fn new_key() -> Decide {
    let (limiter, _) = limiter(&["calls"], &pair());
    let calls = limiter.rule("calls").expect("it has that name");
    let keys: Vec<String> = (0..MOST).map(|number| format!("acct-{number:020}")).collect();
    let mut number = 0;
    Box::new(move || {
        drop(black_box(calls.check(&keys[number])));
        number += 1;
    })
}

fn two_rules() -> Decide {
    let (limiter, clock) = limiter(&["calls", "tables"], &pair());
    filled(move || {
        clock.advance(STEP);
        drop(black_box(limiter.check_all([("calls", black_box(KEY)), ("tables", black_box(KEY))])));
    })
}

fn two_rules_yes_or_no() -> Decide {
    let (limiter, clock) = limiter(&["calls", "tables"], &pair());
    filled(move || {
        clock.advance(STEP);
        let _ = black_box(limiter.admit_all([("calls", black_box(KEY)), ("tables", black_box(KEY))]));
    })
}

/// A rule that counts tokens, of which the minute has room for ninety requests and the day for more than a hundred thousand.
fn tokens() -> Rule {
    let policy = Policy::per_minute(90_000).and_per_day(200_000_000);
    Rule::new("tokens").no_requests().policy(policy).cost("tokens", 1)
}

fn cost(step: Duration) -> Decide {
    let (limiter, clock) = limiter_of(tokens());
    let tokens = limiter.rule("tokens").expect("it has that name");
    filled(move || {
        clock.advance(step);
        drop(black_box(tokens.check_cost(black_box(KEY), 1000)));
    })
}

fn cost_yes_or_no(step: Duration) -> Decide {
    let (limiter, clock) = limiter_of(tokens());
    let tokens = limiter.rule("tokens").expect("it has that name");
    filled(move || {
        clock.advance(step);
        let _ = black_box(tokens.admit_cost(black_box(KEY), 1000));
    })
}

/// A request that reserves, and what it does with that.
fn reservation(settle: fn(&Reservation)) -> Decide {
    let (limiter, clock) = limiter_of(tokens().reserve("tokens", 1));
    let tokens = limiter.rule("tokens").expect("it has that name");
    filled(move || {
        clock.advance(SECOND);
        let decision = tokens.check_cost(black_box(KEY), 1000).expect("the rule has costs");
        settle(decision.reservation().expect("there is room"));
    })
}

fn limiter_of(rule: Rule) -> (RateLimiter, ManualClock) {
    let clock = ManualClock::new();
    (builder(&clock).rule(rule).build().expect("the rule is sound"), clock)
}

/// A service that answers at once, with a header field as nearly all do: an answer without one would leave to the layer what
/// the first field of a map takes.
fn bare() -> impl Service<Request<()>, Response = Response<String>, Error = Infallible> + Clone {
    service_fn(|_: Request<()>| async {
        let mut response = Response::new(String::new());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok::<_, Infallible>(response)
    })
}

/// A request's way through the layer and that service.
fn behind_layer(told: fn(RateLimitLayer) -> RateLimitLayer, step: Duration) -> Decide {
    let (limiter, clock) = limiter(&["calls"], &pair());
    request_to(told(limiter.layer()).layer(bare()), move || clock.advance(step))
}

fn with_fields(layer: RateLimitLayer) -> RateLimitLayer {
    layer.decision(DecisionIn::Neither)
}

fn with_decision(layer: RateLimitLayer) -> RateLimitLayer {
    layer.headers(Headers::on_refusals())
}

fn untold(layer: RateLimitLayer) -> RateLimitLayer {
    with_decision(with_fields(layer))
}

/// A request to a service, before which something is done.
fn request_to<S>(mut service: S, before: impl Fn() + 'static) -> Decide
where
    S: Service<Request<()>> + 'static,
{
    let request = || Request::get("/calls").header("x-api-key", KEY).body(()).expect("it is a request");
    let mut requests: Vec<Request<()>> = (0..MOST + 4_000).map(|_| request()).collect();
    filled(move || {
        before();
        let mut context = Context::from_waker(Waker::noop());
        let _ = service.poll_ready(&mut context);
        let Some(request) = requests.pop() else { unreachable!("there are enough") };
        assert!(pin!(service.call(request)).poll(&mut context).is_ready());
    })
}

/// The answer to one of many calls in flight to the same host, which `next` takes. Time stands still, or the figures would
/// depend on how fast they are counted.
fn answered(next: fn(&mut VecDeque<Call>) -> Option<Call>) -> Decide {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("it can be built");
    let server = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(()))));
    let request = || Request::get("http://api.example.com/").body(()).expect("it is a request");
    let inside = runtime.enter();
    let mut client = PaceLayer::new(key::host(), Policy::per_minute(1_000_000)).layer(server);
    let mut calls: VecDeque<Call> = (0..IN_FLIGHT).map(|_| Box::pin(client.call(request())) as Call).collect();
    drop(inside);
    Box::new(move || {
        let _inside = runtime.enter();
        let Some(mut call) = next(&mut calls) else { unreachable!("there are enough") };
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    })
}
