//! axum_gcra: GCRA in a concurrent map. Its core is asked with a time of the caller's.

use std::{cell::Cell, convert::Infallible, num::NonZeroU64, rc::Rc};

use axum_gcra::{
    RateLimitLayer,
    gcra::{Quota, RateLimiter},
};
use axum07::{async_trait, extract::FromRequestParts};
use http::request::Parts;

use crate::{
    clock::now,
    subject::{ANYTHING, Limit, Setup, Subject, stacked},
    timed::Timed,
};

pub(crate) fn subject(setup: &Setup) -> Box<dyn Subject> {
    stacked(setup.shortened(), |limit| {
        let (limiter, quota) = (limiter(), quota(limit));
        move |key: &String| limiter.req_sync(key.clone(), quota, now()).is_ok()
    })
}

pub(crate) fn timed(limit: Limit) -> Timed {
    let (limiter, quota) = (limiter(), quota(limit));
    let time = Rc::new(Cell::new(now()));
    let clock = Rc::clone(&time);
    let decide = move || limiter.req_sync("key".to_owned(), quota, time.get()).is_ok();
    Timed::in_virtual_time(limit, move |by| clock.set(clock.get() + by), decide)
}

/// Without the collection of garbage, which would be a pass over all keys.
fn limiter() -> RateLimiter<String> {
    RateLimiter::new(u64::MAX, Default::default())
}

fn quota(limit: Limit) -> Quota {
    Quota::new(limit.interval(), NonZeroU64::from(super::governor::units(limit)))
}

/// The value of the header `x-api-key`.
#[derive(Debug, Hash, PartialEq, Eq)]
pub(crate) struct ApiKey(String);

#[async_trait]
impl<S: Sync> FromRequestParts<S> for ApiKey {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let key = parts.headers.get("x-api-key").and_then(|value| value.to_str().ok());
        Ok(Self(key.unwrap_or_default().to_owned()))
    }
}

pub(crate) fn layer() -> RateLimitLayer<ApiKey> {
    RateLimitLayer::builder().with_default_quota(quota(ANYTHING)).with_global_fallback(true).build()
}
