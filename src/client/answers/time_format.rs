//! Dates and durations in the forms that servers write them in.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use crate::client::answers::number::parse_digits;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Longer texts are not read.
const LONGEST_TEXT: usize = 64;

/// Parses a date in any known form: an HTTP date (RFC 9110, section 5.6.7), a near miss of one, or ISO 8601.
pub(super) fn parse_date(text: &str) -> Option<SystemTime> {
    let text = text.trim_ascii();
    if text.len() > LONGEST_TEXT {
        return None;
    }
    httpdate::parse_http_date(text).ok().or_else(|| parse_iso_8601(text)).or_else(|| parse_near_http_date(text))
}

/// Parses `6m0s`, `20ms`, `1h2m3.5s`: durations as Go writes them, and with days.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim_ascii();
    if rest.is_empty() || rest.len() > LONGEST_TEXT {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let (number, behind) = rest.split_at(number);
        let unit = behind.find(|char: char| char.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit);
        total = total.saturating_add(part(number, unit)?);
        rest = behind;
    }
    Some(total)
}

fn part(number: &str, unit: &str) -> Option<Duration> {
    const SECOND: u128 = 1_000_000_000;
    let nanos: u128 = match unit {
        "d" => 24 * 60 * 60 * SECOND,
        "h" => 60 * 60 * SECOND,
        "m" => 60 * SECOND,
        "s" => SECOND,
        "ms" => 1_000_000,
        "us" | "µs" | "μs" => 1000,
        "ns" => 1,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole = u128::from(parse_digits(whole.as_bytes())?).saturating_mul(nanos);
    parse_digits(fraction.as_bytes())?;
    // Nobody means more than twelve digits; they are rounded up.
    let digits_of = fraction.get(..fraction.len().min(12))?;
    let scaled = u128::from(parse_digits(digits_of.as_bytes())?).saturating_mul(nanos);
    let fraction = scaled.div_ceil(10_u128.pow(digits_of.len() as u32));
    Some(Duration::from_nanos(u64::try_from(whole.saturating_add(fraction)).unwrap_or(u64::MAX)))
}

/// Parses `2026-10-15T13:54:56Z`, or `20261015T135456Z`. The `T` may be a space, seconds may be missing or have a
/// fraction, and there may be an offset, or a zone behind a space.
fn parse_iso_8601(text: &str) -> Option<SystemTime> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let zone = time.find(|char: char| char.is_ascii_alphabetic() || matches!(char, '+' | '-'));
    let (time, zone) = time.split_at(zone.unwrap_or(time.len()));
    let (date, time) = (with_separators(date, '-', 4)?, with_separators(time.trim_ascii_end(), ':', 2)?);
    let seconds = if time.len() == "13:54".len() { ":00" } else { "" };
    let utc = humantime::parse_rfc3339(&format!("{date}T{time}{seconds}Z")).ok()?;
    with_offset(utc, zone)
}

/// Inserts separators into the basic form of ISO 8601. The first part has `first` digits, the others two.
fn with_separators(text: &str, separator: char, first: usize) -> Option<Cow<'_, str>> {
    if text.contains(separator) {
        return Some(text.into());
    }
    let (start, second, rest) = (text.get(..first)?, text.get(first..first + 2)?, text.get(first + 2..)?);
    let before_rest = if rest.is_empty() { String::new() } else { separator.to_string() };
    Some(format!("{start}{separator}{second}{before_rest}{rest}").into())
}

/// Applies the offset of a zone: `+02:00`, `-0700`, `+02`.
fn with_offset(time: SystemTime, zone: &str) -> Option<SystemTime> {
    if ["", "Z", "GMT", "UTC"].iter().any(|known| known.eq_ignore_ascii_case(zone)) {
        return Some(time);
    }
    let offset: String = zone.strip_prefix(['+', '-'])?.split(':').collect();
    let number = parse_digits(offset.as_bytes())?;
    let minutes = match offset.len() {
        2 => number * 60,
        4 => number / 100 * 60 + number % 100,
        _ => return None,
    };
    let offset = Duration::from_secs(minutes * 60);
    if zone.starts_with('-') { time.checked_add(offset) } else { time.checked_sub(offset) }
}

/// Parses near misses of an HTTP date: another zone, a day of one digit, a year of four with hyphens, no weekday.
fn parse_near_http_date(text: &str) -> Option<SystemTime> {
    // A hyphen in front of an offset is a sign.
    let (text, sign) = text.rsplit_once(" -").map_or((text, None), |(text, zone)| (text, Some(format!("-{zone}"))));
    let mut words = text.split([' ', ',', '-']).filter(|word| !word.is_empty()).peekable();
    words.next_if(|word| is_day(word));
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let (time, zone) = (words.next()?, words.next().map(str::to_owned).or(sign));
    let zone = match zone.as_deref().map(str::to_ascii_uppercase).as_deref() {
        None | Some("GMT" | "UTC" | "UT" | "Z") => "Z".to_owned(),
        Some(offset) => offset.to_owned(),
    };
    let (day, month, year) = (parse_digits(day.as_bytes())?, month_number(month)?, full_year(year)?);
    if words.next().is_some() { None } else { parse_iso_8601(&format!("{year:04}-{month:02}-{day:02}T{time}{zone}")) }
}

fn is_day(word: &str) -> bool {
    word.get(..3).is_some_and(|start| DAYS.contains(&&*start.to_ascii_lowercase()))
}

fn month_number(word: &str) -> Option<usize> {
    let start = word.get(..3)?.to_ascii_lowercase();
    MONTHS.iter().position(|month| *month == start).map(|at| at + 1)
}

/// Completes a year of two digits, which is from 1970 to 2069.
fn full_year(word: &str) -> Option<u64> {
    let year = parse_digits(word.as_bytes())?;
    Some(match word.len() {
        2 if year < 70 => 2000 + year,
        2 => 1900 + year,
        _ => year,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const SECONDS: u64 = 784_111_777;

    fn date(text: &str) -> Option<u64> {
        Some(parse_date(text)?.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn a_date_of_http_may_have_any_of_the_three_forms() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(date(text), Some(SECONDS), "{text}");
        }
    }

    #[test]
    fn what_looks_like_a_date_of_http_is_one() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "sun, 06 nov 1994 08:49:37 gmt",
            "06 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 08:49:37 -0000",
            "Sun, 06 Nov 1994 10:49:37 +0200",
            "Sun, 06 Nov 1994 01:49:37 -0700",
            "Sun, 06 Nov 1994 08:49:37",
            "Sunday, 06-Nov-94 08:49:37 UTC",
            "Sun,  06 Nov 1994 08:49:37 GMT ",
        ] {
            assert_eq!(date(text), Some(SECONDS), "{text}");
        }
    }

    #[test]
    fn a_time_of_iso_8601_may_have_an_offset_and_a_fraction_or_no_seconds() {
        for text in [
            "1994-11-06T08:49:37Z",
            "1994-11-06t08:49:37z",
            "1994-11-06 08:49:37Z",
            "1994-11-06T08:49:37",
            "1994-11-06T08:49:37.250Z",
            "1994-11-06T08:49:37+00:00",
            "1994-11-06T10:49:37+02:00",
            "1994-11-06T01:49:37.25-0700",
            "1994-11-06 08:49:37 UTC",
            "1994-11-06 10:49:37 +0200",
            "19941106T084937Z",
        ] {
            assert_eq!(date(text), Some(SECONDS), "{text}");
        }
        assert_eq!(date("1994-11-06T08:49Z"), Some(SECONDS - 37));
        assert_eq!(date("1994-11-06T10:49+02"), Some(SECONDS - 37));
    }

    #[test]
    fn anything_else_is_no_date() {
        for text in [
            "",
            "soon",
            "1994-11-06",
            "1994-13-06T08:49:37Z",
            "1994-11-06T25:49:37Z",
            "1994-11-06T08:49:37X",
            "1994-11-06T08:49:37+2",
            "Sun, 06 Nov 1994",
            "Sun, 06 Nov 1994 08:49:37 PST",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT GMT",
            "-",
            "é",
            "Sunday, \u{e9}",
        ] {
            assert_eq!(date(text), None, "{text:?}");
        }
        assert_eq!(date(&" -".repeat(1_000_000)), None);
    }

    #[test]
    fn a_duration_is_read_as_go_writes_it() {
        let millis = |text| parse_duration(text).map(|duration| duration.as_micros());
        for (text, micros) in [
            ("1s", 1_000_000),
            ("6m0s", 360_000_000),
            ("20ms", 20_000),
            ("1h2m3.5s", 3_723_500_000),
            ("2d", 172_800_000_000),
            ("8.64s", 8_640_000),
            ("0s", 0),
            ("250µs", 250),
            ("1.0000001s", 1_000_000),
        ] {
            assert_eq!(millis(text), Some(micros), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_duration() {
        for text in ["", "5", "s", "5 s", "-5s", "1.s", ".5s", "1e3s", "5 seconds", "1s1", "1x", "1.5.5s", "٣s", "1µ"]
        {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
        assert_eq!(parse_duration("99999999999999999999h"), Some(Duration::from_nanos(u64::MAX)));
    }
}
