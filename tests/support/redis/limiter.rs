//! Limiters on Redis.

use std::time::Duration;

use tower_quota::{
    RateLimiter, Rule,
    http::Http,
    observe::Check,
    store::{OnOutage, RedisStore},
};

use crate::limiter::with_rules;

pub type Limiter = RateLimiter<Http, RedisStore>;

/// A store that always asks, and waits for as long as a busy machine may take: for tests that are about counting.
pub fn store(url: impl Into<String>) -> RedisStore {
    RedisStore::new(url, OnOutage::Closed).deadline(Duration::from_secs(20)).denial_cache_ttl(Duration::ZERO)
}

/// Returns a limiter on a store. It asks its server nothing besides: tests count what is sent.
pub fn limiter(store: RedisStore, rules: impl IntoIterator<Item = Rule>) -> Limiter {
    with_rules(RateLimiter::builder().store(store).without(Check::RedisEvicts), rules).build().unwrap()
}

/// Asks `most` times, and returns how many times the answer was yes.
pub async fn admitted(limiter: &Limiter, rule: &str, key: &str, most: usize) -> usize {
    let mut admitted = 0;
    for _ in 0..most {
        admitted += usize::from(limiter.rule(rule).unwrap().check_async(key).await.unwrap().is_admitted());
    }
    admitted
}
