//! What a text says of a quota is taken for what everybody reads in it, or refused with what to write in its place.

use std::time::Duration;

use proptest::prelude::*;
use tower_quota::{Policy, Quota};

/// Texts, the limits and the windows in milliseconds.
#[rustfmt::skip]
const ACCEPTED: &[(&str, u64, u64)] = &[
    ("60/m", 60, 60_000),
    ("60/minute", 60, 60_000),
    ("60 / minute", 60, 60_000),
    (" 60/m", 60, 60_000),
    ("60/m\n", 60, 60_000),
    ("60 per minute", 60, 60_000),
    ("60  per  minute", 60, 60_000),
    ("60/1m", 60, 60_000),
    ("60/1 m", 60, 60_000),
    ("60/1m30s", 60, 90_000),
    ("60/1m 30s", 60, 90_000),
    ("60/1 minute 30 seconds", 60, 90_000),
    ("60/1.5m", 60, 90_000),
    ("60/0.5s", 60, 500),
    ("60/90s", 60, 90_000),
    ("60/0h5m", 60, 300_000),
    ("060/05m", 60, 300_000),
    ("60/1day12h", 60, 129_600_000),
    ("60/month", 60, 2_630_016_000),
    ("60/ms", 60, 1),
    ("1/1000us", 1, 1),
    ("4294967296/m", 1 << 32, 60_000),
    ("281474976710655/m", Quota::MAX_LIMIT, 60_000),
    ("burst=60/m", 60, 60_000),
    (" burst = 60 / m ", 60, 60_000),
];

/// Texts and what is said of them.
#[rustfmt::skip]
const REFUSED: &[(&str, &str)] = &[
    ("", r#"a quota is a limit and a window with / between them: write "60/minute" or "500/5m""#),
    ("60", r#"there is no / between limit and window: write "60/minute""#),
    ("60/", r#"there is no window: write "60/minute" or "500/5m""#),
    ("/m", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute" or "500/5m""#),
    ("m/60", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute" or "500/5m""#),
    ("60m", r#"there is no / between limit and window: write "60/m""#),
    ("60 minute", r#"there is no / between limit and window: write "60/minute""#),
    ("60 a minute", r#"a quota is a limit and a window with / between them: write "60/minute" or "500/5m""#),
    ("60 PER minute", r#"a quota is a limit and a window with / between them: write "60/minute" or "500/5m""#),
    ("sixty/m", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute" or "500/5m""#),
    ("60/.5s", r#"".5" is not a number: it has digits on both sides of its point, and at most 9 behind it: write "60/0.5s""#),
    ("60/m30s", r#"the unit "m" has no number before it: write "60/1m30s""#),
    ("60/1.s", r#""1." is not a number: it has digits on both sides of its point, and at most 9 behind it: write "60/minute" or "500/5m""#),
    ("60/.s", r#""." is not a number: it has digits on both sides of its point, and at most 9 behind it: write "60/minute" or "500/5m""#),
    ("60/1..5s", r#""1..5" is not a number: it has digits on both sides of its point, and at most 9 behind it: write "60/minute" or "500/5m""#),
    ("60/1,5h", r#"',' is not allowed in a window, such as minute or 5m: write "60/minute" or "500/5m""#),
    ("60/1m1", r#"the number 1 has no unit behind it: write "60/1m1s""#),
    ("60/0s", "a window is from 1 ms to 100 years: write one such as 1s or 1day"),
    ("60//m", r#"a quota has one window, and each other window is a quota of its own: write "60/minute" or "500/5m""#),
    ("6_0/m", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/m""#),
    ("1'000/m", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "1000/m""#),
    ("1,000/m", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute" or "500/5m""#),
    ("٦٠/m", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute" or "500/5m""#),
    ("+60/m", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/m""#),
    ("-1/m", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute" or "500/5m""#),
    ("1.5/m", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute" or "500/5m""#),
    ("60.0/m", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute" or "500/5m""#),
    ("281474976710656/h", "a quota admits at most 281474976710655: write that or less, or leave the quota out"),
    ("18446744073709551616/h", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute" or "500/5m""#),
    ("0/m", "a quota admits at least 1: write 1 or more"),
    ("60/1e3s", r#""e" is not a unit, which are ms, s, m, h, day, week, month and year: write "60/minute" or "500/5m""#),
    ("60/minute/hour", r#"a quota has one window, and each other window is a quota of its own: write "60/minute""#),
    ("60/m;", r#"';' is not allowed in a window, such as minute or 5m: write "60/m""#),
    ("60/m,", r#"',' is not allowed in a window, such as minute or 5m: write "60/m""#),
    ("60/m, 1800/h", r#"these are several quotas: write a text for each, ["60/m", "1800/h"], or as a policy "60/m, 1800/h""#),
    ("60/m; 1800/h", r#"these are several quotas: write a text for each, ["60/m", "1800/h"], or as a policy "60/m, 1800/h""#),
    ("60/m 1800/h", r#"a quota has one window, and each other window is a quota of its own: write "60/minute" or "500/5m""#),
    ("60/m and 1800/h", r#"a quota has one window, and each other window is a quota of its own: write "60/minute" or "500/5m""#),
    ("60/m + 1800/h", r#"'+' is not allowed in a window, such as minute or 5m: write "60/m""#),
    ("60/M", r#""M" is a minute to some and a month to others: write "60/m" or "60/minute" or "60/month""#),
    ("60/5M", r#""M" is a minute to some and a month to others: write "60/5m" or "60/5minute" or "60/5month""#),
    ("60/H", r#"the unit "H" is written in small letters: write "60/h""#),
    ("60/S", r#"the unit "S" is written in small letters: write "60/s""#),
    ("60/Minute", r#"the unit "Minute" is written in small letters: write "60/minute""#),
    ("60/HOUR", r#"the unit "HOUR" is written in small letters: write "60/hour""#),
    ("60/5MIN", r#"the unit "MIN" is written in small letters: write "60/5min""#),
    ("60/minuets", r#""minuets" is not a unit, which are ms, s, m, h, day, week, month and year: write "60/minutes""#),
    ("60/fortnight", r#""fortnight" is not a unit, which are ms, s, m, h, day, week, month and year: write "60/minute" or "500/5m""#),
    ("60/quarter", r#""quarter" is not a unit, which are ms, s, m, h, day, week, month and year: write "60/minute" or "500/5m""#),
    ("60/1", r#"the number 1 has no unit behind it: write "60/1s""#),
    ("60/60", r#"the number 60 has no unit behind it: write "60/60s""#),
    ("60/5", r#"the number 5 has no unit behind it: write "60/5s""#),
    ("60/-5m", r#"'-' is not allowed in a window, such as minute or 5m: write "60/minute" or "500/5m""#),
    ("60/5 m 5", r#"the number 5 has no unit behind it: write "60/5 m 5s""#),
    ("60/1 2 m", r#"the number 1 has no unit behind it: write "60/minute" or "500/5m""#),
    ("60/1h h", r#"the unit "h" has no number before it: write "60/minute" or "500/5m""#),
    ("60/1m1m", r#"each unit occurs once, longest first: write "60/2m""#),
    ("60/30s1m", r#"each unit occurs once, longest first: write "60/1m30s""#),
    ("60/1s1h", r#"each unit occurs once, longest first: write "60/1h1s""#),
    ("60/m m", r#"the unit "m" has no number before it: write "60/minute" or "500/5m""#),
    ("60/per minute", r#"the unit "per" has no number before it: write "60/minute" or "500/5m""#),
    ("60/a minute", r#"the unit "a" has no number before it: write "60/minute" or "500/5m""#),
    ("60/1 000ms", r#"the number 1 has no unit behind it: write "60/minute" or "500/5m""#),
    ("60/1:30", r#"':' is not allowed in a window, such as minute or 5m: write "60/minute" or "500/5m""#),
    ("60/1m30", r#"the number 30 has no unit behind it: write "60/1m30s""#),
    ("60/PT1M", r#"the unit "PT" has no number before it: write "60/minute" or "500/5m""#),
    ("60/\u{200b}m", r#"'\u{200b}' is not allowed in a window, such as minute or 5m: write "60/minute" or "500/5m""#),
    ("60/m\u{202e}", r#"'\u{202e}' is not allowed in a window, such as minute or 5m: write "60/m""#),
    ("６０/m", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute" or "500/5m""#),
    ("60/1us", "a window is from 1 ms to 100 years: write one such as 1s or 1day"),
    ("60/101y", "a window is from 1 ms to 100 years: write one such as 1s or 1day"),
    ("60/99999999999999999999999999y", "a window is from 1 ms to 100 years: write one such as 1s or 1day"),
    ("60/1.0000000001s", r#""1.0000000001" is not a number: it has digits on both sides of its point, and at most 9 behind it: write "60/minute" or "500/5m""#),
    ("60 requests/minute", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute""#),
    ("60rpm", r#"a quota is a limit and a window with / between them: write "60/minute" or "500/5m""#),
    ("60r/m", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute" or "500/5m""#),
    ("60req/s", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute" or "500/5m""#),
    ("60/5min.", r#"the number . has no unit behind it: write "60/minute" or "500/5m""#),
    ("=60/m", r#"a name is one or more visible ASCII characters without spaces, " and \: write one such as "calls""#),
    ("a b=60/m", r#"a name is one or more visible ASCII characters without spaces, " and \: write one such as "a-b""#),
    ("a=b=60/m", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute" or "500/5m""#),
    ("60/m=60", r#"there is no / between limit and window: write "60/minute""#),
    ("{60/m}", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute" or "500/5m""#),
    ("60%/m", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute" or "500/5m""#),
    ("inf/m", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute" or "500/5m""#),
    ("60/inf", r#""inf" is not a unit, which are ms, s, m, h, day, week, month and year: write "60/minute" or "500/5m""#),
    ("0x3c/m", r#"the limit is a whole number in digits, from 1 to 281474976710655: write "60/minute" or "500/5m""#),
    ("60/0x3cs", r#""x" is not a unit, which are ms, s, m, h, day, week, month and year: write "60/minute" or "500/5m""#),
    ("60/18446744073709551615s1000000000ns", "a window is from 1 ms to 100 years: write one such as 1s or 1day"),
];

fn refusal(text: &str) -> String {
    text.parse::<Quota>().map(|quota| quota.to_string()).expect_err(text).reason().to_owned()
}

#[test]
fn a_text_means_what_everybody_reads_in_it() {
    for (text, limit, millis) in ACCEPTED {
        let quota: Quota = text.parse().unwrap();
        assert_eq!((quota.limit(), quota.window()), (*limit, Duration::from_millis(*millis)), "{text:?}");
    }
}

#[test]
fn ambiguous_texts_are_refused_with_what_to_write() {
    for (text, reason) in REFUSED {
        assert_eq!(refusal(text), *reason, "{text:?}");
        assert!(reason.contains("write "), "{reason}");
    }
}

#[test]
fn quotas_that_are_parted_by_commas_are_a_policy() {
    assert_eq!("60/m, 1800/h".parse::<Policy>().unwrap(), Policy::per_minute(60).and_per_hour(1800));
    for text in ["60/m; 1800/h", "60/m 1800/h", "60/m and 1800/h", "60/m,", ",60/m", "60/m,,1800/h", "1,000/m"] {
        assert!(text.parse::<Policy>().unwrap_err().reason().contains("write "), "{text}");
    }
}

/// The texts in quotes behind the word `write`.
fn advised(reason: &str) -> impl Iterator<Item = &str> {
    let advice = reason.rsplit_once("write ").map_or("", |(_, advice)| advice);
    advice.split('"').skip(1).step_by(2).filter(|text| text.contains('/'))
}

/// Whether a text is of the form that the documentation describes, without its numbers.
fn is_of_the_form(text: &str) -> bool {
    let units = [
        &["years", "year", "yrs", "yr", "y"][..],
        &["months", "month"],
        &["weeks", "week", "wks", "wk", "w"],
        &["days", "day", "d"],
        &["hours", "hour", "hrs", "hr", "h"],
        &["minutes", "minute", "mins", "min", "m"],
        &["seconds", "second", "secs", "sec", "s"],
        &["milliseconds", "millisecond", "millis", "msec", "ms"],
        &["micros", "usec", "\u{b5}s", "us"],
        &["nanos", "nsec", "ns"],
    ];
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = |text: &str| match text.split_once('.') {
        Some((whole, decimals)) => is_digits(whole) && is_digits(decimals),
        None => is_digits(text),
    };
    let amount = text.split_once('=').map_or(text, |(_, amount)| amount);
    let Some((limit, window)) = amount.split_once('/').or_else(|| amount.split_once(" per ")) else { return false };
    let window = window.trim();
    let is_unit_alone = units.iter().any(|spellings| spellings.contains(&window));
    let mut rest = window;
    let counted = units.iter().fold(0, |count, spellings| {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let end = after.find(|letter: char| !letter.is_alphabetic()).unwrap_or(after.len());
        if !is_number(number) || !spellings.contains(&&after[..end]) {
            return count;
        }
        rest = after[end..].trim_start();
        count + 1
    });
    is_digits(limit.trim()) && (is_unit_alone || (counted > 0 && rest.is_empty()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_changed_text_is_what_it_reads_as_or_refused_with_a_text_that_is_good(
        text in prop::sample::select(ACCEPTED).prop_map(|(text, ..)| text),
        changes in prop::collection::vec((0usize..24, 0usize..3, "[0-9mshdMSH/. =,;+_a-zA-Z\u{b5}\u{660}\n]{0,2}"), 1..4),
    ) {
        let mut changed: Vec<char> = text.chars().collect();
        for (at, length, put) in changes {
            let at = at.min(changed.len());
            let end = (at + length).min(changed.len());
            changed.splice(at..end, put.chars());
        }
        let changed: String = changed.into_iter().collect();
        match changed.parse::<Quota>() {
            Ok(quota) => {
                prop_assert!(is_of_the_form(&changed), "{changed:?} was read as {quota}");
                let again: Quota = quota.to_string().parse().unwrap();
                prop_assert_eq!((again.limit(), again.window(), again.name()), (quota.limit(), quota.window(), quota.name()));
            }
            Err(error) => {
                prop_assert!(error.reason().contains("write "), "{error}");
                let is_of_a_name = error.reason().starts_with("a name is");
                for text in advised(error.reason()).filter(|_| !is_of_a_name) {
                    prop_assert!(text.parse::<Quota>().is_ok() || text.parse::<Policy>().is_ok(), "{error}");
                }
            }
        }
    }

    #[test]
    fn every_quota_is_printed_as_a_text_that_is_read_as_the_same(limit in 1..=Quota::MAX_LIMIT, millis in 1u64..3_155_760_000_000) {
        let quota = Quota::new(limit, Duration::from_millis(millis));
        prop_assert_eq!(quota.to_string().parse::<Quota>().unwrap(), quota);
    }

    #[test]
    fn no_text_is_a_panic(text in any::<String>()) {
        let _ = (text.parse::<Quota>(), text.parse::<Policy>());
    }
}
