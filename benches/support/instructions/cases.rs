//! The decisions that are counted.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::ready,
    hint::black_box,
    pin::{Pin, pin},
    process::{self, ExitCode},
    task::{Context, Waker},
    time::Duration,
};

use http::{Request, Response};
use tokio::runtime::Builder;
use tower::{Layer, Service, service_fn};
use tower_quota::{
    Policy, RateLimiter, Rule,
    client::{PaceLayer, pace::PaceError},
    clock::ManualClock,
    http::{DecisionIn, Headers},
    key,
};

/// What is prepared for, whether it comes to that or not.
pub(crate) const MOST: usize = 12_000;

const KEY: &str = "acct-00000000000000000000";
/// The hour admits that often, so that a key has 1600 live units.
const STEP: Duration = Duration::from_millis(2200);

/// A decision, and what has to be there before it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    prepare: fn() -> Decide,
}

type Decide = Box<dyn FnMut()>;
type Call = Pin<Box<dyn Future<Output = Result<Response<()>, PaceError<Infallible>>>>>;

/// Two cases that cost the same, whatever the compiler.
pub(crate) const ALIKE: [&str; 2] = ["20,000 calls, answered in order", "20,000 calls, answered in reverse"];

/// More calls than are answered, so that many are in flight at any time.
const IN_FLIGHT: usize = 20_000;

pub(crate) const CASES: [Case; 11] = [
    Case { name: "yes or no, admitted", prepare: || yes_or_no(STEP) },
    Case { name: "yes or no, denied", prepare: || yes_or_no(Duration::ZERO) },
    Case { name: "one hot key, admitted", prepare: || hot(STEP) },
    Case { name: "one hot key, denied", prepare: || hot(Duration::ZERO) },
    Case { name: "a new key", prepare: new_key },
    Case { name: "two rules, admitted", prepare: two_rules },
    Case { name: "the layer with fields, admitted", prepare: || layer(true, STEP) },
    Case { name: "the layer that tells nobody, admitted", prepare: || layer(false, STEP) },
    Case { name: "the layer with fields, denied", prepare: || layer(true, Duration::ZERO) },
    Case { name: ALIKE[0], prepare: || answered(VecDeque::pop_front) },
    Case { name: ALIKE[1], prepare: || answered(VecDeque::pop_back) },
];

/// Takes so many decisions and ends the process, with nothing cleared away that others would have to.
pub(crate) fn run(case: &str, decisions: usize) -> ExitCode {
    let Some(case) = CASES.iter().find(|known| known.name == case) else { return ExitCode::FAILURE };
    let mut decide = (case.prepare)();
    (0..decisions).for_each(|_| decide());
    process::exit(0)
}

/// Of rules with 60 per minute and 1800 per hour each.
fn limiter(rules: &[&str]) -> (RateLimiter, ManualClock) {
    let clock = ManualClock::new();
    let builder = rules.iter().fold(RateLimiter::builder().clock(clock.clone()), |builder, rule| {
        let rule = Rule::new(*rule).every_request().key(key::header("x-api-key")).level("key");
        builder.rule(rule.policy(Policy::per_minute(60).and_per_hour(1800)))
    });
    (builder.build().expect("the rules are sound"), clock)
}

/// Decides often enough for the history to be full, or used up.
fn filled(mut decide: impl FnMut() + 'static) -> Decide {
    (0..4_000).for_each(|_| decide());
    Box::new(decide)
}

fn hot(step: Duration) -> Decide {
    let (limiter, clock) = limiter(&["calls"]);
    let calls = limiter.rule("calls").expect("it has that name");
    filled(move || {
        clock.advance(step);
        drop(black_box(calls.check(black_box(KEY))));
    })
}

fn yes_or_no(step: Duration) -> Decide {
    let (limiter, clock) = limiter(&["calls"]);
    let calls = limiter.rule("calls").expect("it has that name");
    filled(move || {
        clock.advance(step);
        black_box(calls.admit(black_box(KEY)));
    })
}

fn new_key() -> Decide {
    let (limiter, _) = limiter(&["calls"]);
    let calls = limiter.rule("calls").expect("it has that name");
    let keys: Vec<String> = (0..MOST).map(|number| format!("acct-{number:020}")).collect();
    let mut number = 0;
    Box::new(move || {
        drop(black_box(calls.check(&keys[number])));
        number += 1;
    })
}

fn two_rules() -> Decide {
    let (limiter, clock) = limiter(&["calls", "tables"]);
    filled(move || {
        clock.advance(STEP);
        drop(black_box(limiter.check_all([("calls", black_box(KEY)), ("tables", black_box(KEY))])));
    })
}

/// The request's way through the layer and a service that answers at once.
fn layer(fields: bool, step: Duration) -> Decide {
    let (limiter, clock) = limiter(&["calls"]);
    let bare = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) });
    let told = limiter.layer();
    let untold = limiter.layer().headers(Headers::on_refusals()).decision(DecisionIn::Neither);
    let mut service = if fields { told } else { untold }.layer(bare);
    let request = || Request::get("/calls").header("x-api-key", KEY).body(()).expect("it is a request");
    let mut requests: Vec<Request<()>> = (0..MOST + 4_000).map(|_| request()).collect();
    filled(move || {
        clock.advance(step);
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
