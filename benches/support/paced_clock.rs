//! A time that depends on decisions, not on the machine.

use std::{
    cell::Cell,
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tower_quota::clock::{Clock, SystemClock};

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
    pub(crate) const fn new(step: Duration) -> Self {
        Self { system: SystemClock::new(), nanos: AtomicU64::new(0), step: step.as_nanos() as u64 }
    }
}

impl Clock for PacedClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos())
    }

    fn nanos(&self) -> u64 {
        black_box(self.system.nanos());
        let read = READ.get().wrapping_add(1);
        READ.set(read);
        if read.is_multiple_of(BATCH) {
            self.nanos.fetch_add(u64::from(BATCH) * self.step, Ordering::Relaxed);
        }
        self.nanos.load(Ordering::Relaxed)
    }
}
