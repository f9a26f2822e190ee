//! One decision, side by side with `governor`, in one run:
//! `cargo bench -p tower-quota-benches --bench decision --features governor`.
//!
//! Ours is always 60 per minute and 1800 per hour, exactly; governor is one keyed limiter (60 per minute, GCRA), and two
//! of them for the pair. What is printed are medians of interleaved rounds and, to be believed more than nanoseconds, the
//! ratio to one governor check of the same workload.

#![allow(clippy::expect_used, reason = "a benchmark may stop with a message")]

#[path = "support/paced_clock.rs"]
mod paced_clock;
#[path = "support/rounds.rs"]
mod rounds;

use std::{hint::black_box, num::NonZeroU32, time::Duration};

use governor::{DefaultKeyedRateLimiter, Quota as GovernorQuota};
use paced_clock::PacedClock;
use rounds::{Case, Workload};
use tower_quota::{Policy, RateLimiter, Rule, RuleHandle};

const ROUNDS: usize = 7;
const REQUESTS: usize = 500_000;

/// How the time of a workload passes for us, per decision: in real time a hot key is always denied, and a key that comes
/// seldom always admitted.
const REAL_TIME: Option<Duration> = None;
/// A hot key has 1600 live units, and every request is admitted.
const ADMITTING: Option<Duration> = Some(Duration::from_millis(2200));
/// Three in four of the requests are admitted, and no busy key is idle for an hour.
const TURNING: Option<Duration> = Some(Duration::from_millis(5));

fn ours(policy: Policy, step: Option<Duration>) -> RuleHandle {
    let rule = Rule::new("calls").no_requests().policy(policy);
    let builder = RateLimiter::builder().metrics(false).rule(rule).max_keys(10_000_000);
    let builder = match step {
        Some(step) => builder.clock(PacedClock::new(step)),
        None => builder,
    };
    let limiter = builder.build().expect("the policy is sound");
    limiter.rule("calls").expect("it has that name")
}

fn governor(per_minute: u32) -> DefaultKeyedRateLimiter<String> {
    let limit = NonZeroU32::new(per_minute).expect("not zero");
    governor::RateLimiter::keyed(GovernorQuota::per_minute(limit))
}

fn governor_hour() -> DefaultKeyedRateLimiter<String> {
    governor::RateLimiter::keyed(GovernorQuota::per_hour(NonZeroU32::new(1800).expect("not zero")))
}

fn one_of_ours(name: &'static str, policy: Policy, step: Option<Duration>) -> Case {
    Case::new(name, move |keys| {
        let calls = ours(policy.clone(), step);
        keys.iter().for_each(|key| _ = calls.admit(key));
        Box::new(move |key: &String| black_box(calls.admit(key)))
    })
}

fn told_by_ours(name: &'static str, policy: Policy, step: Option<Duration>) -> Case {
    Case::new(name, move |keys| {
        let calls = ours(policy.clone(), step);
        keys.iter().for_each(|key| _ = calls.admit(key));
        Box::new(move |key: &String| black_box(calls.check(key).is_admitted()))
    })
}

fn one_governor(name: &'static str, per_minute: u32) -> Case {
    Case::new(name, move |keys| {
        let limiter = governor(per_minute);
        keys.iter().for_each(|key| drop(limiter.check_key(key)));
        Box::new(move |key: &String| black_box(limiter.check_key(key)).is_ok())
    })
}

fn two_governors(name: &'static str, per_minute: u32) -> Case {
    Case::new(name, move |keys| {
        let (minute, hour) = (governor(per_minute), governor_hour());
        keys.iter().for_each(|key| drop((minute.check_key(key), hour.check_key(key))));
        Box::new(move |key: &String| black_box(minute.check_key(key).is_ok() && hour.check_key(key).is_ok()))
    })
}

fn cases(step: Option<Duration>, governor_limit: u32) -> Vec<Case> {
    vec![
        one_governor("governor, one quota (inexact)", governor_limit),
        two_governors("governor, two quotas (inexact)", governor_limit),
        one_of_ours("tower-quota, one quota", Policy::per_minute(60), step),
        one_of_ours("tower-quota, minute + hour", Policy::per_minute(60).and_per_hour(1800), step),
        told_by_ours("the same, and what remains", Policy::per_minute(60).and_per_hour(1800), step),
    ]
}

fn measure(workload: &Workload, threads: usize, cases: &[Case]) {
    println!("\n{}, {threads} thread{}", workload.name, if threads == 1 { "" } else { "s" });
    for case in rounds::measure(workload, threads, ROUNDS, cases) {
        println!("  {:<34} {:>7.1} ns  {:>5.2}  {:>4.0} %", case.name, case.nanos, case.ratio, 100.0 * case.admitted);
    }
}

fn main() {
    let plenty = 4_000_000_000;
    for threads in [1, 2] {
        measure(&Workload::hot("one hot key, admitted", REQUESTS), threads, &cases(ADMITTING, plenty));
        measure(&Workload::hot("one hot key, denied", REQUESTS), threads, &cases(REAL_TIME, 60));
        measure(&Workload::zipf("100,000 keys, Zipf", REQUESTS, 100_000), threads, &cases(TURNING, 60));
        measure(&Workload::uniform("1,000,000 keys, uniform", REQUESTS, 1_000_000), threads, &cases(REAL_TIME, 60));
    }
}
