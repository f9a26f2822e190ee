//! What several tests of the limiter begin with.

use tower_quota::{Policy, RateLimiter, RateLimiterBuilder, Rule, clock::ManualClock, key};

/// A rule whose key is given by hand.
pub fn rule(name: &str, policy: impl Into<Policy>) -> Rule {
    Rule::new(name).every_request().key(key::constant("")).level("caller").policy(policy)
}

/// A limiter for at most `max_keys` and the clock that it stands on.
pub fn limiter(max_keys: usize, rules: impl IntoIterator<Item = Rule>) -> (RateLimiter, ManualClock) {
    let clock = ManualClock::new();
    let builder = RateLimiter::builder().clock(clock.clone()).max_keys(max_keys);
    (rules.into_iter().fold(builder, RateLimiterBuilder::rule).build().unwrap(), clock)
}
