//! A limiter of one key, and the time that it lives in.

use std::{
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

use crate::{clock::now, subject::Limit};

/// A limiter of one key, in a time that can be waited for.
pub(crate) struct Timed {
    /// What it enforces; in real time the window is shorter than what was asked for.
    pub(crate) limit: Limit,
    time: Time,
    decide: Box<dyn FnMut() -> bool>,
}

enum Time {
    Virtual { passed: Duration, advance: Box<dyn FnMut(Duration)> },
    Real(Instant),
}

/// When something was decided: not before the one, and not after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) earliest: Duration,
    pub(crate) latest: Duration,
}

impl Timed {
    pub(crate) fn in_virtual_time(
        limit: Limit,
        advance: impl FnMut(Duration) + 'static,
        decide: impl FnMut() -> bool + 'static,
    ) -> Self {
        let time = Time::Virtual { passed: Duration::ZERO, advance: Box::new(advance) };
        Self { limit, time, decide: Box::new(decide) }
    }

    pub(crate) fn in_real_time(limit: Limit, decide: impl FnMut() -> bool + 'static) -> Self {
        Self { limit, time: Time::Real(now()), decide: Box::new(decide) }
    }

    /// Waits until so much time has passed since the beginning.
    pub(crate) fn wait_until(&mut self, at: Duration) {
        match &mut self.time {
            Time::Virtual { passed, advance } => {
                advance(at.saturating_sub(*passed));
                *passed = at.max(*passed);
            }
            Time::Real(started) => thread::sleep(at.saturating_sub(started.elapsed())),
        }
    }

    /// When a request was admitted, if it was.
    pub(crate) fn decide(&mut self) -> Option<Moment> {
        let earliest = self.passed();
        let is_admitted = (self.decide)();
        is_admitted.then(|| Moment { earliest, latest: self.passed() })
    }

    fn passed(&self) -> Duration {
        match &self.time {
            Time::Virtual { passed, .. } => *passed,
            Time::Real(started) => started.elapsed(),
        }
    }
}

/// A runtime whose time stands still, and what moves it on.
pub(crate) fn paused() -> (impl FnMut(Duration) + 'static, Rc<Runtime>) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = Rc::new(runtime.expect("a runtime without sockets can be built"));
    let moved = Rc::clone(&runtime);
    (move |by| moved.block_on(tokio::time::advance(by)), runtime)
}
