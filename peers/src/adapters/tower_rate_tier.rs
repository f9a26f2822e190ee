//! tower-rate-tier: GCRA, per named tier, in a `DashMap` or on Redis.

use std::{sync::Arc, time::Duration};

use redis::aio::MultiplexedConnection;
use tower_rate_tier::{OnStorageError, Quota, RateTier, RedisStorage, TierIdentity, TierLimitLayer, clock::FakeClock};

use super::ready::ready;
use crate::{
    subject::{Limit, Setup, Subject, stacked},
    timed::Timed,
};

const TIER: &str = "tier";

pub(crate) fn subject(setup: &Setup) -> Box<dyn Subject> {
    stacked(setup.shortened(), |limit| {
        let limiter = RateTier::builder().tier(TIER, quota(limit)).disable_gc().build();
        move |key: &String| matches!(ready(limiter.check(key, TIER, 1)), Ok(Ok(_)))
    })
}

pub(crate) fn timed(limit: Limit) -> Timed {
    let clock = FakeClock::new();
    let limiter = RateTier::builder().tier(TIER, quota(limit)).clock(clock.clone()).disable_gc().build();
    let decide = move || matches!(ready(limiter.check("key", TIER, 1)), Ok(Ok(_)));
    Timed::in_virtual_time(limit, move |by| clock.advance(by), decide)
}

/// Its layer, keyed by a header.
pub(crate) fn layer(limit: Limit, header: &'static str) -> TierLimitLayer {
    let limiter = RateTier::builder().tier(TIER, quota(limit)).disable_gc().build();
    TierLimitLayer::new(limiter).on_storage_error(OnStorageError::Deny).identifier_fn(move |headers| {
        let user = headers.get(header)?.to_str().ok()?;
        Some(TierIdentity::new(user, TIER))
    })
}

/// A limiter whose numbers are on a server.
pub(crate) fn on_redis(limit: Limit, connection: MultiplexedConnection) -> Arc<RateTier> {
    let storage = RedisStorage::new(connection).key_prefix("tier:").timeout(Duration::from_secs(10));
    Arc::new(RateTier::builder().tier(TIER, quota(limit)).storage(Arc::new(storage)).disable_gc().build())
}

pub(crate) async fn is_admitted(limiter: &RateTier, key: &str) -> bool {
    limiter.check(key, TIER, 1).await.expect("the server answers").is_ok()
}

fn quota(limit: Limit) -> Quota {
    Quota::with_window(limit.units, limit.window)
}
