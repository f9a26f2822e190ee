//! The wait that a refusal states.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header::RETRY_AFTER};

use crate::client::answers::{
    digits::digits,
    timeline::{Timeline, read_date},
};

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// What `retry-after-ms` says, which is the more exact, or else `Retry-After`; of several lines the longest.
pub(super) fn stated_wait(headers: &HeaderMap, timeline: &Timeline) -> Option<Duration> {
    let millis = |line: &HeaderValue| Some(timeline.millis(digits(line.as_bytes().trim_ascii())?));
    let longest =
        |name, read: &dyn Fn(&HeaderValue) -> Option<Duration>| headers.get_all(&name).iter().filter_map(read).max();
    longest(RETRY_AFTER_MS, &millis).or_else(|| longest(RETRY_AFTER, &|line| retry_after(line, timeline)))
}

/// `delay-seconds`, or an `HTTP-date` (RFC 9110, section 10.2.3).
fn retry_after(line: &HeaderValue, timeline: &Timeline) -> Option<Duration> {
    let text = line.as_bytes().trim_ascii();
    let date = || read_date(str::from_utf8(text).ok()?).map(|date| timeline.until(date));
    digits(text).map(|seconds| timeline.seconds(seconds)).or_else(date)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(3600);

    fn wait(fields: &[(&'static str, &str)]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        stated_wait(&headers, &Timeline::of(&headers, LONGEST, || now))
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
        for malformed in ["-1", "+5", "1.5", "", "5 seconds", "5, 10", "soon", "0x10", "1e3"] {
            assert_eq!(retry_after(malformed), None, "{malformed:?}");
        }
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
        assert_eq!((millis("-1"), millis("12.5"), millis("")), (seconds(5), seconds(5), seconds(5)));
    }
}
