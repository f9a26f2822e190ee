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
/// Threads agree on it: all of them see a time that one of them moves on, after every [`FEWEST`] of its decisions, or after more of
/// them if these take less than a second of it, so that threads seldom write what all of them read.
#[derive(Debug)]
pub(crate) struct PacedClock {
    system: SystemClock,
    nanos: AtomicU64,
    step: u64,
    /// Decisions of a thread between two of its steps, less one: a power of two, less one.
    mask: u32,
}

/// Fewest decisions between two steps of a thread, and most.
const FEWEST: u128 = 16;
const MOST: u128 = 256;

thread_local! {
    static READ: Cell<u32> = const { Cell::new(0) };
}

impl PacedClock {
    pub(crate) fn new(step: Duration) -> Self {
        let a_second = Duration::from_secs(1).as_nanos() / step.as_nanos().max(1);
        let decisions = a_second.clamp(FEWEST, MOST).next_power_of_two() as u32;
        let (nanos, step) = (AtomicU64::new(0), step.as_nanos() as u64);
        Self { system: SystemClock::new(), nanos, step, mask: decisions - 1 }
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
        if read & self.mask == 0 {
            self.nanos.fetch_add((u64::from(self.mask) + 1) * self.step, Ordering::Relaxed);
        }
        self.nanos.load(Ordering::Relaxed)
    }
}
