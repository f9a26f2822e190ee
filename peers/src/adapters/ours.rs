//! This crate.

use tower_quota::{Policy, Quota, RateLimiter, Rule, RuleHandle, clock::ManualClock};

use crate::{
    paced_clock::PacedClock,
    subject::{Limit, Setup, Subject},
    timed::Timed,
};

/// Asked for yes or no, as all others are.
pub(crate) fn subject(setup: &Setup) -> Box<dyn Subject> {
    let calls = calls(setup);
    Box::new(move |key: &String| calls.admit(key))
}

/// Asked what remains of each quota as well, and until when.
pub(crate) fn told(setup: &Setup) -> Box<dyn Subject> {
    let calls = calls(setup);
    Box::new(move |key: &String| calls.check(key).is_admitted())
}

fn calls(setup: &Setup) -> RuleHandle {
    limiter(setup).rule("calls").expect("it has that name")
}

pub(crate) fn timed(limit: Limit) -> Timed {
    let clock = ManualClock::new();
    let limiter = builder(&[limit]).clock(clock.clone()).build().expect("the policy is sound");
    let calls = limiter.rule("calls").expect("it has that name");
    let decide = move || calls.check("key").is_admitted();
    Timed::in_virtual_time(limit, move |by| clock.advance(by), decide)
}

/// A limiter with one rule named `calls`.
pub(crate) fn limiter(setup: &Setup) -> RateLimiter {
    let builder = builder(&setup.limits).max_keys(setup.max_keys);
    let builder = match setup.pace.step() {
        Some(step) => builder.clock(PacedClock::new(step)),
        None => builder,
    };
    builder.build().expect("the policy is sound")
}

fn builder(limits: &[Limit]) -> tower_quota::RateLimiterBuilder {
    RateLimiter::builder().rule(Rule::new("calls").no_requests().policy(policy(limits)))
}

pub(crate) fn policy(limits: &[Limit]) -> Policy {
    let mut quotas = limits.iter().map(|limit| Quota::new(limit.units.into(), limit.window));
    let first = Policy::new(quotas.next().expect("a setup has a limit"));
    quotas.fold(first, Policy::and)
}
