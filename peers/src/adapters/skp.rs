//! skp-ratelimit: several algorithms over one map, by the system's wall clock in milliseconds.

use std::time::Duration;

use skp_ratelimit::{Algorithm, GCRA, MemoryStorage, Quota, SlidingLog};

use super::ready::ready;
use crate::{
    subject::{Limit, Setup, Subject, stacked},
    timed::Timed,
};

/// Its intervals are at least a millisecond: it counts in whole ones, and would divide by zero.
pub(crate) fn gcra(setup: &Setup) -> Box<dyn Subject> {
    stacked(setup.plentiful(), |limit| {
        let window = limit.window.max(Duration::from_millis(1) * limit.units);
        let (storage, quota) = (MemoryStorage::new(), Quota::new(u64::from(limit.units), window));
        move |key: &String| is_admitted(&GCRA::new(), &storage, key, &quota)
    })
}

pub(crate) fn timed_gcra(limit: Limit) -> Timed {
    timed(limit, GCRA::new())
}

pub(crate) fn timed_log(limit: Limit) -> Timed {
    timed(limit, SlidingLog::new())
}

fn timed(limit: Limit, algorithm: impl Algorithm) -> Timed {
    let limit = limit.scaled_down();
    let (storage, quota) = (MemoryStorage::new(), Quota::new(u64::from(limit.units), limit.window));
    Timed::in_real_time(limit, move || is_admitted(&algorithm, &storage, "key", &quota))
}

fn is_admitted(algorithm: &impl Algorithm, storage: &MemoryStorage, key: &str, quota: &Quota) -> bool {
    ready(algorithm.check_and_record(storage, key, quota)).is_ok_and(|decision| decision.is_allowed())
}
