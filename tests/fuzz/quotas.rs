//! A quota, or a policy, that can be read is printed so that it is read as the same.
//!
//! Input: the text.

use std::time::Duration;

use tower_quota::{Policy, Quota, RateLimiter, Rule, http::RequestView};

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(36_525 * 24 * 60 * 60);

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<Quota>() {
        Ok(quota) => assert_is_a_quota(text, &quota),
        Err(error) => assert!(!error.to_string().is_empty() && !error.reason().is_empty()),
    }
    if let Ok(policy) = text.parse::<Policy>() {
        assert_eq!(policy.to_string().parse(), Ok(policy.clone()), "{text:?} is printed as {policy}");
        policy.quotas().for_each(|quota| assert_is_a_quota(text, quota));
        assert_is_usable(text, policy);
    }
}

fn assert_is_a_quota(text: &str, quota: &Quota) {
    assert_eq!(quota.to_string().parse().as_ref(), Ok(quota), "{text:?} is printed as {quota}");
    assert!(quota.limit() > 0 && (SHORTEST..=LONGEST).contains(&quota.window()), "{text:?} is {quota:?}");
    assert!(!quota.name().is_empty() && quota.name().bytes().all(|byte| byte.is_ascii_graphic()), "{quota:?}");
    assert_is_what_is_written(text, quota);
}

/// A window is what its digits say.
fn assert_is_what_is_written(text: &str, quota: &Quota) {
    let window = text.rsplit_once('/').map(|(_, window)| window.trim());
    let whole =
        window.and_then(|window| Some((window.strip_suffix("ms")?, 1)).or(Some((window.strip_suffix('s')?, 1000))));
    let millis = whole.and_then(|(digits, unit)| digits.parse::<u64>().ok()?.checked_mul(unit));
    if let Some(millis) = millis.filter(|_| !text.contains([',', '+'])) {
        assert_eq!(quota.window(), Duration::from_millis(millis), "{text:?}");
    }
}

/// What is refused when a limiter is built is two quotas of one name, or too many of them, not a quota that was read.
fn assert_is_usable(text: &str, policy: Policy) {
    let mut names: Vec<String> = policy.quotas().map(|quota| quota.name().to_ascii_lowercase()).collect();
    names.sort();
    names.dedup();
    let is_usable = names.len() == policy.quotas().len() && names.len() <= 16;
    let everybody = |_: &RequestView<'_>| Some("all");
    let built = RateLimiter::builder()
        .rule(Rule::new("calls").every_request().key(everybody).level("all").policy(policy))
        .max_keys(16)
        .build();
    match built {
        Ok(limiter) => assert!(is_usable && limiter.rule("calls").unwrap().check("a").is_admitted(), "{text:?}"),
        Err(error) => assert!(!is_usable, "{text:?}: {error}"),
    }
}
