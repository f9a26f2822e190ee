//! This crate.

use std::{
    cell::Cell,
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tower_quota::{
    Policy, Quota, RateLimiter, Rule,
    clock::{Clock, ManualClock, SystemClock},
};

use crate::{
    exactness::Timed,
    subject::{Limit, Setup, Subject},
};

pub(crate) fn subject(setup: &Setup) -> Box<dyn Subject> {
    let limiter = limiter(setup);
    Box::new(move |key: &String| limiter.check("calls", key).is_ok_and(|decision| decision.is_admitted()))
}

pub(crate) fn timed(limit: Limit) -> Timed {
    let clock = ManualClock::new();
    let limiter = builder(&[limit]).clock(clock.clone()).build().expect("the policy is sound");
    let decide = move || limiter.check("calls", "key").is_ok_and(|decision| decision.is_admitted());
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
    RateLimiter::builder().rule(Rule::new("calls").every_request().level("key", "").policy(policy(limits)))
}

pub(crate) fn policy(limits: &[Limit]) -> Policy {
    let mut quotas = limits.iter().map(|limit| Quota::new(limit.units, limit.window));
    let first = Policy::new(quotas.next().expect("a setup has a limit"));
    quotas.fold(first, Policy::and)
}

/// A time that goes on by so much per decision, after the system's clock was read as usual.
///
/// Threads agree on it: all of them see a time that one of them moves on, in steps of [`BATCH`] decisions.
#[derive(Debug)]
pub(crate) struct PacedClock {
    system: SystemClock,
    nanos: AtomicU64,
    step: u64,
}

const BATCH: u32 = 16;

thread_local! {
    static READ: Cell<u32> = const { Cell::new(0) };
}

impl PacedClock {
    pub(crate) fn new(step: Duration) -> Self {
        Self { system: SystemClock::new(), nanos: AtomicU64::new(0), step: step.as_nanos() as u64 }
    }
}

impl Clock for PacedClock {
    fn now(&self) -> Duration {
        black_box(self.system.now());
        let read = READ.get().wrapping_add(1);
        READ.set(read);
        if read.is_multiple_of(BATCH) {
            self.nanos.fetch_add(u64::from(BATCH) * self.step, Ordering::Relaxed);
        }
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}
