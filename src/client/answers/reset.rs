//! What a field that ends in `-Reset` says.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::client::answers::{
    moment::{read_date, read_duration},
    number::Number,
    timeline::Timeline,
};

/// The least number that [`Reset::Guess`] takes for seconds since 1970: September 2001, and 31 years from now.
const EPOCH_SECONDS: u64 = 1_000_000_000;
/// The least number that it takes for milliseconds since 1970, and for microseconds.
const EPOCH_MILLIS: u64 = 1_000_000_000_000;
const EPOCH_MICROS: u64 = 1_000_000_000_000_000;

/// What the number in an `X-RateLimit-Reset` or `RateLimit-Reset` means. Servers differ, and do not say.
///
/// What is no number tells by its form what it is, whichever of these is chosen: a duration (`6m0s`), a time of ISO 8601, a
/// date of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reset {
    /// Seconds since 1970, as GitHub and GitLab send it; milliseconds or microseconds if it is too large for that.
    Epoch,
    /// Seconds from now, as Envoy sends it.
    Delta,
    /// Either, by its size: microseconds since 1970 from 10¹⁵ on, milliseconds from 10¹² on, seconds from 10⁹ on, else seconds
    /// from now.
    ///
    /// For when it is not known who answers: nobody means 31 years.
    Guess,
}

/// How long something lasts, the longest first in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lasting {
    pub(super) time: Duration,
    /// It lasts until a date, and so from the answer on, which has one too.
    pub(super) is_until_date: bool,
}

impl Reset {
    pub(super) fn read(self, number: u64, timeline: &Timeline) -> Lasting {
        let is_until_date = match self {
            Self::Delta => false,
            Self::Epoch => true,
            Self::Guess => number >= EPOCH_SECONDS,
        };
        let time = match number {
            _ if !is_until_date => timeline.seconds(number),
            EPOCH_MICROS.. => timeline.until_epoch(Duration::from_micros(number)),
            EPOCH_MILLIS.. => timeline.until_epoch(Duration::from_millis(number)),
            _ => timeline.until_epoch(Duration::from_secs(number)),
        };
        Lasting { time, is_until_date }
    }

    /// The longest time that a field states, in all its lines, which may be joined. The comma within a date parts it from its
    /// weekday, which is not needed.
    pub(super) fn longest_in(self, headers: &HeaderMap, name: &HeaderName, timeline: &Timeline) -> Option<Lasting> {
        let lines = headers.get_all(name).iter().filter_map(|line| str::from_utf8(line.as_bytes()).ok());
        lines.filter_map(|line| self.longest_of(line, timeline)).max()
    }

    fn longest_of(self, line: &str, timeline: &Timeline) -> Option<Lasting> {
        line.split(',').filter_map(|item| self.time(item, timeline)).max()
    }

    fn time(self, item: &str, timeline: &Timeline) -> Option<Lasting> {
        let item = item.trim_ascii();
        if let Some(number) = Number::parse(item.as_bytes()) {
            return Some(self.read(number.rounded_up(), timeline));
        }
        let duration = || Some(Lasting::for_time(timeline.capped(read_duration(item)?)));
        let date = || Some(Lasting { time: timeline.until(read_date(item)?), is_until_date: true });
        duration().or_else(date)
    }
}

impl Lasting {
    /// So long, whenever that begins.
    pub(super) const fn for_time(time: Duration) -> Self {
        Self { time, is_until_date: false }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    /// Thu, 15 Oct 2026 12:14:56 GMT
    const NOW: u64 = 1_792_066_496;
    const LONGEST: Duration = Duration::from_secs(3600);

    fn timeline() -> Timeline {
        Timeline::of(&HeaderMap::new(), LONGEST, || SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
    }

    fn read(reset: Reset, number: u64) -> Duration {
        reset.read(number, &timeline()).time
    }

    fn guessed(line: &str) -> Option<u64> {
        Some(Reset::Guess.longest_of(line, &timeline())?.time.as_secs())
    }

    #[test]
    fn an_epoch_is_five_seconds_from_now_and_as_a_delta_very_long() {
        let epoch = NOW + 5;
        assert_eq!(read(Reset::Epoch, epoch), Duration::from_secs(5));
        assert_eq!(read(Reset::Epoch, epoch * 1000), Duration::from_secs(5));
        assert_eq!(read(Reset::Guess, epoch), Duration::from_secs(5));
        assert_eq!(read(Reset::Guess, epoch * 1000 + 250), Duration::from_millis(5250));
        assert_eq!(read(Reset::Guess, epoch * 1_000_000 + 250), Duration::from_micros(5_000_250));
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

    #[test]
    fn what_is_no_number_tells_by_its_form_what_it_is() {
        assert_eq!(guessed("6m0s"), Some(360));
        assert_eq!(guessed("2026-10-15T12:15:26Z"), Some(30));
        assert_eq!(guessed("Thu, 15 Oct 2026 12:15:26 GMT"), Some(30));
        assert_eq!(guessed("1792066526.350"), Some(31));
        assert_eq!(guessed("soon"), None);
    }

    #[test]
    fn of_several_times_in_one_line_the_longest_counts() {
        assert_eq!(guessed("30, 30"), Some(30));
        assert_eq!(guessed("7, soon, 98"), Some(98));
        let dates = "Thu, 15 Oct 2026 12:15:26 GMT, Thu, 15 Oct 2026 12:15:16 GMT";
        assert_eq!(guessed(dates), Some(30));
        assert_eq!(guessed("5, Thu, 15 Oct 2026 12:15:26 GMT"), Some(30));
    }
}
