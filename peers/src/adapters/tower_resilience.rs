//! tower-resilience: three windows and a token bucket, without keys.

use std::{convert::Infallible, time::Duration};

use tower::{Layer, Service, service_fn};
use tower_resilience_ratelimiter::{RateLimiterLayer, WindowType};

use super::ready::ready;
use crate::{
    subject::Limit,
    timed::{Timed, paused},
};

pub(crate) fn timed_fixed(limit: Limit) -> Timed {
    timed(limit, WindowType::Fixed)
}

pub(crate) fn timed_log(limit: Limit) -> Timed {
    timed(limit, WindowType::SlidingLog)
}

pub(crate) fn timed_counter(limit: Limit) -> Timed {
    timed(limit, WindowType::SlidingCounter)
}

fn timed(limit: Limit, window: WindowType) -> Timed {
    let (advance, runtime) = paused();
    let mut service = {
        let _inside = runtime.enter();
        layer(limit, window).layer(service_fn(|()| async { Ok::<_, Infallible>(()) }))
    };
    let decide = move || {
        let _inside = runtime.enter();
        ready(service.call(())).is_ok()
    };
    Timed::in_virtual_time(limit, advance, decide)
}

/// A layer that makes nobody wait.
pub(crate) fn layer(limit: Limit, window: WindowType) -> RateLimiterLayer {
    let builder = RateLimiterLayer::builder().limit_for_period(limit.units as usize).refresh_period(limit.window);
    builder.window_type(window).timeout_duration(Duration::ZERO).build().expect("no limit is zero")
}
