//! What a field that ends in `-Reset` says.

use std::time::Duration;

use crate::client::answers::timeline::Timeline;

/// The least number that [`Reset::Guess`] takes for seconds since 1970: September 2001, and 31 years from now.
const EPOCH_SECONDS: u64 = 1_000_000_000;
/// The least number that it takes for milliseconds since 1970.
const EPOCH_MILLIS: u64 = 1_000_000_000_000;

/// What the number in an `X-RateLimit-Reset` or `RateLimit-Reset` means. Servers differ, and do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reset {
    /// Seconds since 1970, as GitHub and GitLab send it.
    Epoch,
    /// Seconds from now, as Envoy sends it.
    Delta,
    /// Either, by its size: milliseconds since 1970 from 10¹² on, seconds since 1970 from 10⁹ on, else seconds from now.
    ///
    /// For when it is not known who answers; what is known is better said.
    Guess,
}

impl Reset {
    pub(super) fn read(self, number: u64, timeline: &Timeline) -> Duration {
        match self {
            Self::Guess if number >= EPOCH_MILLIS => timeline.until_epoch(Duration::from_millis(number)),
            Self::Guess if number >= EPOCH_SECONDS => timeline.until_epoch(Duration::from_secs(number)),
            Self::Epoch => timeline.until_epoch(Duration::from_secs(number)),
            Self::Delta | Self::Guess => timeline.seconds(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use http::HeaderMap;

    use super::*;

    const NOW: u64 = 1_792_152_896;
    const LONGEST: Duration = Duration::from_secs(3600);

    fn read(reset: Reset, number: u64) -> Duration {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        reset.read(number, &Timeline::of(&HeaderMap::new(), LONGEST, || now))
    }

    #[test]
    fn an_epoch_is_five_seconds_from_now_and_as_a_delta_very_long() {
        let epoch = NOW + 5;
        assert_eq!(read(Reset::Epoch, epoch), Duration::from_secs(5));
        assert_eq!(read(Reset::Guess, epoch), Duration::from_secs(5));
        assert_eq!(read(Reset::Guess, epoch * 1000 + 250), Duration::from_millis(5250));
        assert_eq!(read(Reset::Delta, epoch), LONGEST);
    }

    #[test]
    fn a_delta_is_a_time_that_has_long_passed_as_an_epoch() {
        assert_eq!(read(Reset::Delta, 38), Duration::from_secs(38));
        assert_eq!(read(Reset::Guess, 38), Duration::from_secs(38));
        assert_eq!(read(Reset::Epoch, 38), Duration::ZERO);
    }

    #[test]
    fn no_number_is_too_large() {
        for reset in [Reset::Epoch, Reset::Delta, Reset::Guess] {
            assert_eq!(read(reset, u64::MAX), LONGEST, "{reset:?}");
        }
    }
}
