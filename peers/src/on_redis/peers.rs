//! The Redis stores of other crates, asked as their users would: a pair is two limiters, one after the other.

use std::{sync::Arc, time::Duration};

use throttle_kit::{RateLimiter, RedisBackend};
use tower_rate_tier::RateTier;

use super::{
    server::Server,
    subjects::{Ask, Keys},
};
use crate::{
    adapters,
    subject::{HOUR, Limit, MINUTE},
};

/// A crate's limiters on the server: with its limits, and with some that admit everything.
pub(super) struct Peer {
    pub(super) name: &'static str,
    usual: Arc<[Limiter]>,
    plenty: Arc<[Limiter]>,
}

/// One limiter.
enum Limiter {
    Tier(Arc<RateTier>),
    Kit(RateLimiter<RedisBackend>),
}

/// One that admits everything, with intervals that either crate can keep.
const PLENTY: Limit = Limit::new(1_000_000_000, Duration::from_secs(1_000_000));

impl Peer {
    pub(super) async fn all(server: &Server) -> Vec<Self> {
        vec![
            Self::new("tower-rate-tier, one quota", &[MINUTE], server, Limiter::tier).await,
            Self::new("tower-rate-tier, two", &[MINUTE, HOUR], server, Limiter::tier).await,
            Self::new("throttle-kit, one quota", &[MINUTE], server, Limiter::kit).await,
            Self::new("throttle-kit, two", &[MINUTE, HOUR], server, Limiter::kit).await,
        ]
    }

    async fn new(
        name: &'static str,
        limits: &[Limit],
        server: &Server,
        new: impl AsyncFn(Limit, &Server) -> Limiter,
    ) -> Self {
        let mut peer = [Vec::new(), Vec::new()];
        for limit in limits {
            peer[0].push(new(*limit, server).await);
            peer[1].push(new(PLENTY, server).await);
        }
        let [usual, plenty] = peer.map(Arc::from);
        Self { name, usual, plenty }
    }

    pub(super) fn plenty(&self) -> Self {
        Self { name: self.name, usual: Arc::clone(&self.plenty), plenty: Arc::clone(&self.plenty) }
    }

    pub(super) fn ask(&self, keys: Keys) -> Ask {
        let (limiters, name) = (Arc::clone(&self.usual), self.name);
        Arc::new(move |number| {
            let limiters = Arc::clone(&limiters);
            let key = format!("{name}:{}", keys.name(number));
            Box::pin(async move {
                for (window, limiter) in limiters.iter().enumerate() {
                    // Each has a number of its own.
                    if !limiter.is_admitted(&format!("{key}:{window}")).await {
                        return false;
                    }
                }
                true
            })
        })
    }
}

impl Limiter {
    async fn tier(limit: Limit, server: &Server) -> Self {
        Self::Tier(adapters::tower_rate_tier::on_redis(limit, server.connection()))
    }

    async fn kit(limit: Limit, server: &Server) -> Self {
        let backend = RedisBackend::connect(&server.url()).await.expect("the server takes connections");
        Self::Kit(RateLimiter::new(adapters::throttle_kit::quota(limit), backend))
    }

    async fn is_admitted(&self, key: &str) -> bool {
        match self {
            Self::Tier(limiter) => adapters::tower_rate_tier::is_admitted(limiter, key).await,
            Self::Kit(limiter) => limiter.check(key).await.allowed,
        }
    }
}
