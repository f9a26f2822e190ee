//! tokio-rate-limit: a token bucket that is filled by a whole number of tokens per second.

use std::sync::Arc;

use tokio_rate_limit::{
    RateLimiter,
    algorithm::TokenBucket,
    middleware::{CustomKeyExtractor, KeyExtractor, RateLimitLayer},
};

use crate::{
    bare::API_KEY,
    subject::{ANYTHING, Limit, Pace, Setup, Subject, stacked},
    timed::{Timed, paused},
};

/// For the hour it takes one token per second and 1800 at most: half a token per second cannot be said.
pub(crate) fn subject(setup: &Setup) -> Box<dyn Subject> {
    let rate = if setup.pace == Pace::Admitting { 4_000_000_000 } else { 1 };
    stacked(setup.plentiful(), |limit| {
        let limiter = limiter(limit, rate);
        move |key: &String| limiter.check(key).permitted
    })
}

pub(crate) fn timed(limit: Limit) -> Option<Timed> {
    let rate = u64::from(limit.units) / limit.window.as_secs();
    if rate == 0 {
        return None;
    }
    let (advance, runtime) = paused();
    let limiter = {
        let _inside = runtime.enter();
        limiter(limit, rate)
    };
    let decide = move || {
        let _inside = runtime.enter();
        limiter.check("key").permitted
    };
    Some(Timed::in_virtual_time(limit, advance, decide))
}

pub(crate) fn limiter(limit: Limit, rate: u64) -> RateLimiter {
    let builder = RateLimiter::builder().requests_per_second(rate).burst(u64::from(limit.units));
    builder.build().expect("the rate is not above the burst")
}

/// Its layer, keyed by a header.
pub(crate) fn layer() -> RateLimitLayer<TokenBucket, impl KeyExtractor + Clone> {
    let key = |request: &http::Request<axum::body::Body>| {
        request.headers().get(API_KEY).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
    };
    let limiter = limiter(ANYTHING, u64::from(ANYTHING.units));
    RateLimitLayer::with_extractor(Arc::new(limiter), CustomKeyExtractor::new(key))
}
