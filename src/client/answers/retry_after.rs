//! The wait that a refusal states.

use std::time::Duration;

use http::{HeaderMap, HeaderName, header::RETRY_AFTER};

use crate::client::answers::{
    Reset,
    number::{Number, numbers},
    timeline::Timeline,
};

/// In milliseconds, which is the more exact: as OpenAI's and Azure's clients know them.
static MILLIS: [HeaderName; 2] =
    [HeaderName::from_static("retry-after-ms"), HeaderName::from_static("x-ms-retry-after-ms")];
/// Docker Hub's says when, in seconds since 1970.
static SECONDS: [HeaderName; 2] = [RETRY_AFTER, HeaderName::from_static("x-retry-after")];

/// What the first of the fields says that holds a time; of several times in it the longest.
pub(super) fn stated_wait(headers: &HeaderMap, timeline: &Timeline) -> Option<Duration> {
    let in_millis = |name| numbers(headers, name).map(Number::rounded_up).max().map(|millis| timeline.millis(millis));
    let in_seconds = |name| Some(Reset::Guess.longest_in(headers, name, timeline)?.time);
    MILLIS.iter().find_map(in_millis).or_else(|| SECONDS.iter().find_map(in_seconds))
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
