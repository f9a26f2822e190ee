//! Times as servers state them, relative to when the response was sent.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, HeaderName,
    header::{DATE, RETRY_AFTER},
};

use crate::client::{
    advice::Since,
    answers::{
        number::{Number, numbers},
        time_format::{parse_date, parse_duration},
    },
};

/// The least number that [`Reset::Guess`] takes for seconds since 1970: September 2001, and 31 years from now.
const EPOCH_SECONDS: u64 = 1_000_000_000;
/// The least number that it takes for milliseconds since 1970, and for microseconds.
const EPOCH_MILLIS: u64 = 1_000_000_000_000;
const EPOCH_MICROS: u64 = 1_000_000_000_000_000;

/// Stated in milliseconds, which is the more exact: as OpenAI's and Azure's clients know them.
static RETRY_AFTER_MILLIS: [HeaderName; 2] =
    [HeaderName::from_static("retry-after-ms"), HeaderName::from_static("x-ms-retry-after-ms")];
/// Docker Hub states a timestamp, in seconds since 1970.
static RETRY_AFTER_SECONDS: [HeaderName; 2] = [RETRY_AFTER, HeaderName::from_static("x-retry-after")];

/// The meaning of a number in `X-RateLimit-Reset` or `RateLimit-Reset`. Servers differ, and do not say.
///
/// Other values tell their meaning by their form, whichever of these is chosen: a duration (`6m0s`), an ISO 8601 timestamp,
/// an HTTP date.
///
/// ```
/// use std::time::Duration;
///
/// use http::Response;
/// use tower_quota::client::{AdviceReader, answers::Reset};
///
/// let response = Response::builder()
///     .status(429)
///     .header("date", "Thu, 15 Oct 2026 01:14:56 GMT")
///     .header("x-ratelimit-reset", "1792026901")
///     .body(())?;
/// let wait = |reset| {
///     let reader = AdviceReader::new().x_rate_limit(reset);
///     reader.read_response(&response).wait_time()
/// };
/// assert_eq!(wait(Reset::Epoch), Some(Duration::from_secs(5)));
/// assert_eq!(wait(Reset::Guess), Some(Duration::from_secs(5)));
/// assert_eq!(wait(Reset::Delta), Some(Duration::from_secs(86_400)), "capped");
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reset {
    /// Seconds since 1970, as GitHub and GitLab send it; milliseconds or microseconds if it is too large for that.
    Epoch,
    /// Seconds from now, as Envoy sends it.
    Delta,
    /// Either, by its size: microseconds since 1970 from 10¹⁵ on, milliseconds from 10¹² on, seconds from 10⁹ on, else
    /// seconds from now.
    ///
    /// For servers that are not known: nobody means 31 years.
    Guess,
}

/// The end of a time that a server states. The longest comes last in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StatedTime {
    pub(super) length: Duration,
    /// It lasts until a date, and so counts from the response on, which has a date too.
    pub(super) is_until_date: bool,
}

/// The moment at which a response was sent, by the server's clock, and how far ahead of that it is believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerTime {
    sent_at: SystemTime,
    max_time: Duration,
}

impl StatedTime {
    /// A time that counts from when the call was sent.
    pub(super) const fn since_sent(length: Duration) -> Self {
        Self { length, is_until_date: false }
    }

    pub(super) const fn since(self) -> Since {
        if self.is_until_date { Since::Answered } else { Since::Sent }
    }
}

impl ServerTime {
    /// Reads the `Date` of a response, and takes the wall clock's where there is none.
    pub(super) fn from_headers(
        headers: &HeaderMap,
        max_time: Duration,
        wall_clock: impl FnOnce() -> SystemTime,
    ) -> Self {
        let date = headers.get(DATE).and_then(|date| parse_date(date.to_str().ok()?));
        Self { sent_at: date.unwrap_or_else(wall_clock), max_time }
    }

    /// Returns the wait in the first field that holds a well-formed one: the longest, if it holds several.
    pub(super) fn retry_after(&self, headers: &HeaderMap) -> Option<Duration> {
        for name in &RETRY_AFTER_MILLIS {
            if let Some(millis) = numbers(headers, name).map(Number::rounded_up).max() {
                return Some(self.millis(millis));
            }
        }
        let stated = RETRY_AFTER_SECONDS.iter().find_map(|name| self.longest(headers, name, Reset::Guess));
        stated.map(|time| time.length)
    }

    /// Returns the longest time in all lines of a field, which may be joined by commas. The comma within a date splits it
    /// from its weekday, which is not needed.
    pub(super) fn longest(&self, headers: &HeaderMap, name: &HeaderName, reset: Reset) -> Option<StatedTime> {
        let lines = headers.get_all(name).iter().filter_map(|line| str::from_utf8(line.as_bytes()).ok());
        lines.filter_map(|line| self.longest_in_line(line, reset)).max()
    }

    /// Returns the time that a number states.
    pub(super) fn resolve(&self, number: u64, reset: Reset) -> StatedTime {
        let is_until_date = match reset {
            Reset::Delta => false,
            Reset::Epoch => true,
            Reset::Guess => number >= EPOCH_SECONDS,
        };
        let length = match number {
            _ if !is_until_date => self.seconds(number),
            EPOCH_MICROS.. => self.until_epoch(Duration::from_micros(number)),
            EPOCH_MILLIS.. => self.until_epoch(Duration::from_millis(number)),
            _ => self.until_epoch(Duration::from_secs(number)),
        };
        StatedTime { length, is_until_date }
    }

    pub(super) fn seconds(&self, seconds: u64) -> Duration {
        self.cap(Duration::from_secs(seconds))
    }

    pub(super) fn millis(&self, millis: u64) -> Duration {
        self.cap(Duration::from_millis(millis))
    }

    /// Shortens a longer time to the longest that is believed.
    pub(super) fn cap(&self, time: Duration) -> Duration {
        time.min(self.max_time)
    }

    fn longest_in_line(&self, line: &str, reset: Reset) -> Option<StatedTime> {
        line.split(',').filter_map(|item| self.parse(item.trim_ascii(), reset)).max()
    }

    fn parse(&self, item: &str, reset: Reset) -> Option<StatedTime> {
        if let Some(number) = Number::parse(item.as_bytes()) {
            return Some(self.resolve(number.rounded_up(), reset));
        }
        if let Some(duration) = parse_duration(item) {
            return Some(StatedTime::since_sent(self.cap(duration)));
        }
        parse_date(item).map(|date| StatedTime { length: self.until(date), is_until_date: true })
    }

    /// Returns the time from the response until a date; zero if that has passed.
    fn until(&self, date: SystemTime) -> Duration {
        self.cap(date.duration_since(self.sent_at).unwrap_or_default())
    }

    /// Returns the same for a date in terms of the beginning of 1970.
    fn until_epoch(&self, since_1970: Duration) -> Duration {
        SystemTime::UNIX_EPOCH.checked_add(since_1970).map_or(self.max_time, |date| self.until(date))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thu, 15 Oct 2026 12:14:56 GMT
    const NOW: u64 = 1_792_066_496;
    const LONGEST: Duration = Duration::from_secs(3600);

    fn server_time() -> ServerTime {
        ServerTime::from_headers(&HeaderMap::new(), LONGEST, || SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
    }

    fn read(reset: Reset, number: u64) -> Duration {
        server_time().resolve(number, reset).length
    }

    fn guessed(line: &str) -> Option<u64> {
        Some(server_time().longest_in_line(line, Reset::Guess)?.length.as_secs())
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

    fn wait(fields: &[(&'static str, &str)]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        ServerTime::from_headers(&headers, LONGEST, || now).retry_after(&headers)
    }

    fn retry_after(value: &str) -> Option<Duration> {
        wait(&[("retry-after", value)])
    }

    const fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn seconds_are_digits_and_nothing_else() {
        assert_eq!((retry_after("38"), retry_after("0"), retry_after(" 5\t")), (seconds(38), seconds(0), seconds(5)));
        for malformed in ["-1", "+5", "", "5 seconds", "soon", "0x10", "1e3", ".5", "5.", "1.2.3"] {
            assert_eq!(retry_after(malformed), None, "{malformed:?}");
        }
    }

    #[test]
    fn a_fraction_is_rounded_up_and_of_joined_numbers_the_longest_counts() {
        assert_eq!(
            (retry_after("2.0"), retry_after("10.5"), retry_after("0.25")),
            (seconds(2), seconds(11), seconds(1))
        );
        assert_eq!(
            (retry_after("30, 30"), retry_after("5, 38"), retry_after("5, soon")),
            (seconds(30), seconds(38), seconds(5))
        );
    }

    #[test]
    fn nobody_means_thirty_years_but_a_time() {
        assert_eq!(retry_after("784111815"), seconds(3600), "before 2001 it is a number of seconds");
        assert_eq!(wait(&[("date", "Thu, 15 Oct 2026 12:14:56 GMT"), ("retry-after", "1792066526")]), seconds(30));
        assert_eq!(wait(&[("date", "Thu, 15 Oct 2026 12:14:56 GMT"), ("x-retry-after", "1792066526")]), seconds(30));
    }

    #[test]
    fn a_duration_and_a_time_of_iso_8601_are_understood() {
        assert_eq!(retry_after("1m2s"), seconds(62));
        assert_eq!(retry_after("1994-11-06T08:50:07Z"), seconds(30));
    }

    #[test]
    fn a_number_of_any_length_is_capped() {
        for long in ["9999999999", "9999999999999999999", &"9".repeat(400)] {
            assert_eq!(retry_after(long), Some(LONGEST), "{long}");
        }
    }

    #[test]
    fn a_date_may_have_any_of_the_three_forms() {
        for date in ["Sun, 06 Nov 1994 08:50:07 GMT", "Sunday, 06-Nov-94 08:50:07 GMT", "Sun Nov  6 08:50:07 1994"] {
            assert_eq!(retry_after(date), seconds(30), "{date}");
        }
    }

    #[test]
    fn a_date_that_has_passed_is_no_wait_and_a_distant_one_is_capped() {
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:36 GMT"), seconds(0));
        assert_eq!(retry_after("Thu, 01 Jan 1970 00:00:00 GMT"), seconds(0));
        assert_eq!(retry_after("Fri, 31 Dec 9999 23:59:59 GMT"), Some(LONGEST));
    }

    #[test]
    fn a_date_is_relative_to_that_of_the_answer_if_it_has_one() {
        let later = ("retry-after", "Wed, 18 Nov 2026 10:00:07 GMT");
        assert_eq!(wait(&[later, ("date", "Wed, 18 Nov 2026 10:00:00 GMT")]), seconds(7));
        assert_eq!(wait(&[later, ("date", "yesterday")]), Some(LONGEST));
        assert_eq!(wait(&[("retry-after", "7"), ("date", "Wed, 18 Nov 2026 10:00:00 GMT")]), seconds(7));
    }

    #[test]
    fn of_several_lines_the_longest_well_formed_one_counts() {
        assert_eq!(wait(&[("retry-after", "5"), ("retry-after", "38")]), seconds(38));
        assert_eq!(wait(&[("retry-after", "38"), ("retry-after", "-1")]), seconds(38));
        assert_eq!(wait(&[("retry-after", "5"), ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")]), seconds(30));
        assert_eq!(wait(&[("retry-after", "x"), ("retry-after", "")]), None);
    }

    #[test]
    fn milliseconds_come_first() {
        let millis = |value| wait(&[("retry-after-ms", value), ("retry-after", "5")]);
        assert_eq!(millis("1250"), Some(Duration::from_millis(1250)));
        assert_eq!(millis("9999999999999999999999"), Some(LONGEST));
        assert_eq!(millis("3250.5"), Some(Duration::from_millis(3251)));
        assert_eq!((millis("-1"), millis("soon"), millis("")), (seconds(5), seconds(5), seconds(5)));
        assert_eq!(wait(&[("x-ms-retry-after-ms", "1250"), ("retry-after", "5")]), Some(Duration::from_millis(1250)));
    }
}
