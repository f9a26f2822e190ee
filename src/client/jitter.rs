//! Times that nobody foresees.

use std::time::Duration;

/// A time from `least` to `most`, both included.
pub(super) fn random(least: Duration, most: Duration) -> Duration {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let most = nanos(most);
    Duration::from_nanos(fastrand::u64(nanos(least).min(most)..=most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_too_long_and_none_is_shorter_than_nothing() {
        assert_eq!(random(Duration::MAX, Duration::MAX), Duration::from_nanos(u64::MAX));
        assert_eq!(random(Duration::from_secs(1), Duration::ZERO), Duration::ZERO);
    }
}
