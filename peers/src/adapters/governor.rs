//! governor: GCRA, one number per key in a `DashMap`. What everything is compared with.

use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::FakeRelativeClock};

use crate::{
    subject::{Limit, Setup, Subject, stacked},
    timed::Timed,
};

pub(crate) fn subject(setup: &Setup) -> Box<dyn Subject> {
    stacked(setup.shortened(), |limit| {
        let limiter: DefaultKeyedRateLimiter<String> = RateLimiter::keyed(quota(limit));
        move |key: &String| limiter.check_key(key).is_ok()
    })
}

pub(crate) fn timed(limit: Limit) -> Timed {
    let clock = FakeRelativeClock::default();
    let limiter = RateLimiter::dashmap_with_clock(quota(limit), clock.clone());
    Timed::in_virtual_time(limit, move |by| clock.advance(by), move || limiter.check_key(&"key").is_ok())
}

/// A bucket of the limit's size that is refilled in the limit's window.
pub(super) fn quota(limit: Limit) -> Quota {
    Quota::with_period(limit.interval()).expect("no window is zero").allow_burst(units(limit))
}

pub(super) fn units(limit: Limit) -> NonZeroU32 {
    NonZeroU32::new(limit.units).expect("no limit is zero")
}
