//! rate-net: five algorithms, one of them an exact log. Its token bucket is the default.

use std::sync::Arc;

use clock_lib::ManualClock;
use rate_net::{
    Algorithm, RateLimiter,
    tower::{HeaderKey, RateLimitLayer},
};

use crate::{
    bare::API_KEY,
    subject::{ANYTHING, Limit, Setup, Subject, stacked},
    timed::Timed,
};

pub(crate) fn log(setup: &Setup) -> Box<dyn Subject> {
    subject(setup, Algorithm::SlidingWindowLog)
}

pub(crate) fn token_bucket(setup: &Setup) -> Box<dyn Subject> {
    subject(setup, Algorithm::TokenBucket)
}

fn subject(setup: &Setup, algorithm: Algorithm) -> Box<dyn Subject> {
    stacked(setup.shortened(), |limit| {
        let limiter = limiter(limit, algorithm, setup.max_keys);
        move |key: &String| limiter.check_bytes(key).is_allow()
    })
}

pub(crate) fn limiter(limit: Limit, algorithm: Algorithm, max_keys: usize) -> RateLimiter {
    let eviction = rate_net::Eviction::capacity(max_keys);
    RateLimiter::builder().algorithm(algorithm).quota(limit.units, limit.window).eviction(eviction).build()
}

pub(crate) fn timed_log(limit: Limit) -> Timed {
    timed(limit, Algorithm::SlidingWindowLog)
}

pub(crate) fn timed_token_bucket(limit: Limit) -> Timed {
    timed(limit, Algorithm::TokenBucket)
}

pub(crate) fn timed_counter(limit: Limit) -> Timed {
    timed(limit, Algorithm::SlidingWindowCounter)
}

fn timed(limit: Limit, algorithm: Algorithm) -> Timed {
    let clock = Arc::new(ManualClock::new());
    let limiter = limiter(limit, algorithm, 10).with_clock(Arc::clone(&clock));
    Timed::in_virtual_time(limit, move |by| clock.advance(by), move || limiter.check("key").is_allow())
}

/// Its layer, keyed by a header.
pub(crate) fn layer(headers: bool) -> RateLimitLayer<HeaderKey> {
    let limiter = limiter(ANYTHING, Algorithm::TokenBucket, 100_000);
    let key = HeaderKey::new(http::HeaderName::from_static(API_KEY));
    RateLimitLayer::new(limiter, key).with_headers_on_success(headers)
}
