//! Limiters on a store, and what is asked of them.

use std::time::Duration;

use tower_quota::{
    Decision, Policy, RateLimiter, RateLimiterBuilder, Rule,
    http::Http,
    key,
    store::{OnOutage, RedisStore},
};

pub type Limiter = RateLimiter<Http, RedisStore>;

/// A rule whose key is given by hand.
pub fn rule(name: &str, policy: impl Into<Policy>) -> Rule {
    Rule::new(name).every_request().key(key::constant("")).level("caller").policy(policy)
}

/// A store that always asks, and waits for as long as a busy machine may take: for tests that are about counting.
pub fn store(url: impl Into<String>) -> RedisStore {
    RedisStore::new(url, OnOutage::Closed).deadline(Duration::from_secs(20)).denial_cache_ttl(Duration::ZERO)
}

pub fn limiter(store: RedisStore, rules: impl IntoIterator<Item = Rule>) -> Limiter {
    rules.into_iter().fold(RateLimiter::builder().store(store), RateLimiterBuilder::rule).build().unwrap()
}

/// How many of `most` calls in a row are admitted.
pub async fn admitted(limiter: &Limiter, rule: &str, key: &str, most: usize) -> usize {
    let mut admitted = 0;
    for _ in 0..most {
        admitted += usize::from(limiter.rule(rule).unwrap().check_async(key).await.unwrap().is_admitted());
    }
    admitted
}

pub fn remaining(decision: &Decision) -> Vec<u32> {
    decision.quotas().map(|quota| quota.remaining()).collect()
}
