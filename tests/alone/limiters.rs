//! Limiters that are built all the time, which this process alone does.

use tower_quota::{
    RateLimiter,
    observe::{Check, Warned},
};
use tower_quota_tests::limiter::calls_per_minute;

#[test]
fn more_than_a_hundred_limiters_in_ten_seconds_are_a_warning() {
    let limiters: Vec<RateLimiter> = (0..100).map(|_| calls_per_minute(1)).collect();
    assert!(limiters.iter().all(|limiter| limiter.warnings().is_empty()));
    let warnings = calls_per_minute(1).warnings();
    assert_eq!(warnings.iter().map(Warned::check).collect::<Vec<_>>(), [Check::ManyLimiters]);
    assert_eq!((warnings[0].code(), warnings[0].rule()), ("many-limiters", None));
    assert!(calls_per_minute(1).warnings().is_empty(), "it is said once");
}
