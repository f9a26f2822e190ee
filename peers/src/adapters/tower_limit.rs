//! tower's own `RateLimit`: a fixed window for the whole service, which makes callers wait.

use std::{
    convert::Infallible,
    task::{Context, Waker},
};

use tower::{Service, limit::RateLimit, limit::rate::Rate, service_fn};

use super::ready::ready;
use crate::{
    subject::Limit,
    timed::{Timed, paused},
};

/// What it would make wait is taken for denied.
pub(crate) fn timed(limit: Limit) -> Timed {
    let (advance, runtime) = paused();
    let inner = service_fn(|()| async { Ok::<_, Infallible>(()) });
    let mut service = {
        let _inside = runtime.enter();
        RateLimit::new(inner, Rate::new(u64::from(limit.units), limit.window))
    };
    let decide = move || {
        let _inside = runtime.enter();
        let is_ready = service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready();
        is_ready && ready(service.call(())).is_ok()
    };
    Timed::in_virtual_time(limit, advance, decide)
}
