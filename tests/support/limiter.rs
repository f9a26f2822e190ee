//! Limiters in memory, their rules, and the questions that tests ask of them.

use tower_quota::{
    Decision, Policy, RateLimiter, RateLimiterBuilder, RequestKind, Rule,
    clock::ManualClock,
    key::{self, KeyExtractor},
    store::Store,
};

/// A rule for every request, all under one key. Tests that ask it by name give it other keys.
pub fn rule(name: &str, policy: impl Into<Policy>) -> Rule {
    Rule::new(name).every_request().key(key::constant("everybody")).policy(policy)
}

/// A rule of `limit` requests a minute, all under one key; the test adds for which requests.
pub fn per_minute(name: &str, limit: u64) -> Rule {
    Rule::new(name).key(key::constant("everybody")).policy(Policy::per_minute(limit))
}

/// Adds rules to a builder.
pub fn with_rules<K, S>(
    builder: RateLimiterBuilder<K, S>,
    rules: impl IntoIterator<Item = Rule<K>>,
) -> RateLimiterBuilder<K, S>
where
    K: RequestKind,
    S: Store,
{
    rules.into_iter().fold(builder, RateLimiterBuilder::rule)
}

/// Returns a limiter, and the clock that it runs on.
pub fn limiter(rules: impl IntoIterator<Item = Rule>) -> (RateLimiter, ManualClock) {
    let clock = ManualClock::new();
    (with_rules(RateLimiter::builder().clock(clock.clone()), rules).build().unwrap(), clock)
}

/// Returns a limiter for at most `max_keys`, and the clock that it runs on.
pub fn limiter_for(max_keys: usize, rules: impl IntoIterator<Item = Rule>) -> (RateLimiter, ManualClock) {
    let clock = ManualClock::new();
    let builder = RateLimiter::builder().clock(clock.clone()).max_keys(max_keys);
    (with_rules(builder, rules).build().unwrap(), clock)
}

/// Returns a limiter whose clock stands still.
pub fn frozen(rules: impl IntoIterator<Item = Rule>) -> RateLimiter {
    limiter(rules).0
}

/// Returns a limiter of one rule, `calls`, with `limit` requests a minute for everybody together, whose clock stands still.
pub fn calls_per_minute(limit: u64) -> RateLimiter {
    frozen([rule("calls", Policy::per_minute(limit))])
}

/// Returns a limiter that admits one request a minute of each key that `extractor` reads, whose clock stands still.
pub fn one_per_minute(extractor: impl KeyExtractor) -> RateLimiter {
    frozen([Rule::new("calls").every_request().key(extractor).level("caller").policy(Policy::per_minute(1))])
}

/// Asks `most` times, and returns how many times the answer was yes.
pub fn admitted(limiter: &RateLimiter, rule: &str, key: &str, most: usize) -> usize {
    (0..most).filter(|_| limiter.rule(rule).unwrap().check(key).is_admitted()).count()
}

/// Returns what each quota has left.
pub fn remaining(decision: &Decision) -> Vec<u64> {
    decision.quotas().map(|quota| quota.remaining()).collect()
}
