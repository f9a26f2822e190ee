//! throttle-kit: GCRA in milliseconds, or an exact log; in a `DashMap`, or (GCRA) on Redis.

use std::{sync::Arc, time::Duration};

use throttle_kit::{InMemoryBackend, Quota, RateLimitBackend, RateLimitLayer, RateLimiter, SlidingWindowBackend};

use super::ready::ready;
use crate::{
    subject::{Limit, Pace, Setup, Subject, stacked},
    timed::Timed,
};

/// Its interval has at least a millisecond, so that an admitting bucket is a large one.
pub(crate) fn gcra(setup: &Setup) -> Box<dyn Subject> {
    let limits = setup.plentiful().map(|limit| Limit::new(limit.units, limit.window.max(Duration::from_secs(1))));
    stacked(limits, |limit| {
        let interval = if setup.pace == Pace::Admitting { Duration::from_millis(1) } else { limit.interval() };
        subject(RateLimiter::new(Quota::from_parts(interval, limit.units), InMemoryBackend::new()))
    })
}

pub(crate) fn log(setup: &Setup) -> Box<dyn Subject> {
    stacked(setup.shortened(), |limit| subject(RateLimiter::new(quota(limit), SlidingWindowBackend::new())))
}

fn subject<B: RateLimitBackend>(limiter: RateLimiter<B>) -> impl Subject {
    move |key: &String| ready(limiter.check(key)).allowed
}

pub(crate) fn timed_gcra(limit: Limit) -> Timed {
    timed(limit, InMemoryBackend::new())
}

pub(crate) fn timed_log(limit: Limit) -> Timed {
    timed(limit, SlidingWindowBackend::new())
}

fn timed<B: RateLimitBackend>(limit: Limit, backend: B) -> Timed {
    let limit = limit.scaled_down();
    let limiter = RateLimiter::new(quota(limit), backend);
    Timed::in_real_time(limit, move || ready(limiter.check("key")).allowed)
}

/// Its layer, keyed by a header.
pub(crate) fn layer(quota: Quota, header: &'static str) -> RateLimitLayer<InMemoryBackend> {
    let key = move |headers: &http::HeaderMap, _: &http::Extensions| {
        headers.get(header).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    RateLimitLayer::new(quota, InMemoryBackend::new()).with_key_extractor(Arc::new(key))
}

pub(crate) fn quota(limit: Limit) -> Quota {
    Quota::from_parts(limit.interval(), limit.units)
}
