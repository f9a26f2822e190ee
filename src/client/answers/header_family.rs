//! Limits stated in header fields of their own: `…-Limit`, `…-Remaining`, `…-Reset`.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::client::{
    advice::Allowance,
    answers::{
        number::{Number, numbers, parse_digits},
        server_time::{Reset, ServerTime, StatedTime},
        time_format::parse_duration,
    },
};

/// The header fields that state one limit. Of the usual three only two matter to a caller.
#[derive(Debug)]
pub(super) struct HeaderFamily {
    remaining: HeaderName,
    reset: HeaderName,
    meaning: Meaning,
}

/// The meaning of the numbers of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// It varies between servers.
    Unknown,
    /// `reset` is seconds from now, with a fraction.
    Seconds,
    /// In place of `reset` is the length of the window, in milliseconds.
    Window,
    /// The fields tell their meaning, and are about requests.
    Requests,
    /// The fields are about something else, and say nothing about calls until nothing is left.
    Other,
}

/// The fields of drafts 0 to 6 of the IETF.
pub(super) static RATE_LIMIT: HeaderFamily =
    HeaderFamily::new("ratelimit-remaining", "ratelimit-reset", Meaning::Unknown);

/// The fields that were there before any draft, in both spellings.
pub(super) static X_RATE_LIMIT: [HeaderFamily; 2] = [
    HeaderFamily::new("x-ratelimit-remaining", "x-ratelimit-reset", Meaning::Unknown),
    HeaderFamily::new("x-rate-limit-remaining", "x-rate-limit-reset", Meaning::Unknown),
];

/// Fields whose names tell their server or their meaning.
pub(super) static SELF_DESCRIBING: [HeaderFamily; 8] = [
    HeaderFamily::new("x-ratelimit-remaining", "x-ratelimit-reset-after", Meaning::Seconds),
    HeaderFamily::new("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", Meaning::Requests),
    HeaderFamily::new("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", Meaning::Other),
    HeaderFamily::new(
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
        Meaning::Requests,
    ),
    HeaderFamily::new("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset", Meaning::Other),
    HeaderFamily::new(
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-reset",
        Meaning::Other,
    ),
    HeaderFamily::new(
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-reset",
        Meaning::Other,
    ),
    HeaderFamily::new("x-hubspot-ratelimit-remaining", "x-hubspot-ratelimit-interval-milliseconds", Meaning::Window),
];

impl HeaderFamily {
    const fn new(remaining: &'static str, reset: &'static str, meaning: Meaning) -> Self {
        Self { remaining: HeaderName::from_static(remaining), reset: HeaderName::from_static(reset), meaning }
    }

    /// Reads the limit that the fields state; `reset` says how to read one of unknown meaning. A refusal need not say that
    /// nothing is left.
    pub(super) fn read(
        &self,
        headers: &HeaderMap,
        is_refusal: bool,
        reset: Reset,
        server_time: &ServerTime,
    ) -> Option<Allowance> {
        // With several families in a response, a refusal is not about each of them.
        let is_implied = is_refusal && matches!(self.meaning, Meaning::Unknown | Meaning::Seconds);
        let remaining = if headers.contains_key(&self.remaining) || !is_implied { self.remaining(headers)? } else { 0 };
        let within = self.within(headers, reset, server_time)?;
        let is_about_calls = self.meaning != Meaning::Other || remaining == 0;
        is_about_calls.then(|| Allowance::new(remaining, within.length, within.since()))
    }

    /// Returns `true` if the fields say that nothing is left.
    pub(super) fn is_exhausted(&self, headers: &HeaderMap) -> bool {
        self.remaining(headers) == Some(0)
    }

    /// Returns the least number in the field. A window may follow, as in Docker Hub's `76;w=21600`.
    fn remaining(&self, headers: &HeaderMap) -> Option<u64> {
        items(headers, &self.remaining).filter_map(|(number, _)| number).map(Number::rounded_down).min()
    }

    fn within(&self, headers: &HeaderMap, reset: Reset, server_time: &ServerTime) -> Option<StatedTime> {
        match self.meaning {
            Meaning::Unknown => {
                server_time.longest(headers, &self.reset, reset).or_else(|| self.window(headers, server_time))
            }
            Meaning::Requests | Meaning::Other => server_time.longest(headers, &self.reset, Reset::Guess),
            Meaning::Seconds => longest_seconds(headers, &self.reset, server_time),
            Meaning::Window => {
                let millis = numbers(headers, &self.reset).map(Number::rounded_up).max()?;
                Some(StatedTime::since_sent(server_time.millis(millis)))
            }
        }
    }

    /// Returns the window that follows the remaining number.
    fn window(&self, headers: &HeaderMap, server_time: &ServerTime) -> Option<StatedTime> {
        let seconds = items(headers, &self.remaining).filter_map(|(_, window)| window).max()?;
        Some(StatedTime::since_sent(server_time.seconds(seconds)))
    }
}

/// Returns the longest time of a field in seconds.
fn longest_seconds(headers: &HeaderMap, name: &HeaderName, server_time: &ServerTime) -> Option<StatedTime> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let times = lines.flat_map(|line| line.split(',')).filter_map(|item| parse_seconds(item.trim_ascii()));
    times.max().map(|time| StatedTime::since_sent(server_time.cap(time)))
}

/// Parses seconds without rounding their fraction up: a bucket of one second is not worth it.
fn parse_seconds(item: &str) -> Option<Duration> {
    let is_number = Number::parse(item.as_bytes()).is_some();
    if is_number { parse_duration(&format!("{item}s")) } else { parse_duration(item) }
}

/// Splits a list into numbers and the windows that are their parameters.
fn items(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = (Option<Number>, Option<u64>)> {
    let items = headers.get_all(name).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    items.map(|item| {
        let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let number = parts.next().and_then(Number::parse);
        (number, parts.find_map(|part| parse_digits(part.strip_prefix(b"w=")?)))
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn limit(is_refusal: bool, fields: &[(&'static str, &str)]) -> Option<(u64, u64)> {
        let headers: HeaderMap =
            fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let server_time = ServerTime::from_headers(&headers, Duration::from_secs(3600), || SystemTime::UNIX_EPOCH);
        let limit = RATE_LIMIT.read(&headers, is_refusal, Reset::Delta, &server_time)?;
        Some((limit.remaining(), limit.within().as_secs()))
    }

    #[test]
    fn both_fields_make_a_limit() {
        assert_eq!(limit(false, &[("ratelimit-remaining", "7"), ("ratelimit-reset", "38")]), Some((7, 38)));
        assert_eq!(limit(true, &[("ratelimit-remaining", "7"), ("ratelimit-reset", "38")]), Some((7, 38)));
    }

    #[test]
    fn only_a_refusal_may_leave_out_that_nothing_is_left() {
        assert_eq!(limit(true, &[("ratelimit-reset", "38")]), Some((0, 38)));
        assert_eq!(limit(false, &[("ratelimit-reset", "38")]), None);
        assert_eq!(limit(true, &[("ratelimit-remaining", "0")]), None);
    }

    #[test]
    fn malformed_fields_make_none() {
        for (remaining, reset) in [("-1", "38"), ("7", "-1"), ("7.x", "38"), ("", "38"), ("7", ""), ("7", "soon")] {
            let fields = [("ratelimit-remaining", remaining), ("ratelimit-reset", reset)];
            assert_eq!((limit(false, &fields), limit(true, &fields)), (None, None), "{remaining:?} {reset:?}");
        }
    }

    #[test]
    fn of_joined_numbers_the_least_remains_for_the_longest_time() {
        assert_eq!(limit(false, &[("ratelimit-remaining", "991, 98"), ("ratelimit-reset", "7, 38")]), Some((98, 38)));
        assert_eq!(limit(false, &[("ratelimit-remaining", "7.9"), ("ratelimit-reset", "38.1")]), Some((7, 39)));
        assert_eq!(limit(false, &[("ratelimit-remaining", "0.0"), ("ratelimit-reset", "38")]), Some((0, 38)));
    }

    #[test]
    fn a_window_may_follow_what_remains() {
        assert_eq!(limit(false, &[("ratelimit-remaining", "76;w=21600")]), Some((76, 3600)));
        assert_eq!(limit(false, &[("ratelimit-remaining", "76;w=600"), ("ratelimit-reset", "38")]), Some((76, 38)));
        assert_eq!(limit(false, &[("ratelimit-remaining", "76;w=-1")]), None);
    }

    #[test]
    fn a_name_that_says_what_it_holds_needs_no_telling() {
        let read = |fields: &[(&'static str, &str)]| {
            let headers: HeaderMap =
                fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            let server_time = ServerTime::from_headers(&headers, Duration::from_secs(3600), || SystemTime::UNIX_EPOCH);
            let limits =
                SELF_DESCRIBING.iter().filter_map(|family| family.read(&headers, false, Reset::Epoch, &server_time));
            limits.map(|limit| (limit.remaining(), limit.within().as_millis())).collect::<Vec<_>>()
        };
        let requests = [("x-ratelimit-remaining-requests", "59"), ("x-ratelimit-reset-requests", "6m0s")];
        assert_eq!(read(&requests), [(59, 360_000)]);
        let tokens = |left| [("x-ratelimit-remaining-tokens", left), ("x-ratelimit-reset-tokens", "20ms")];
        assert_eq!((read(&tokens("149984")), read(&tokens("0"))), (vec![], vec![(0, 20)]));
        assert_eq!(read(&[("x-ratelimit-remaining", "4"), ("x-ratelimit-reset-after", "0.343")]), [(4, 343)]);
        for (text, millis) in [("6m0s", 360_000), ("343ms", 343), ("2", 2000)] {
            assert_eq!(
                read(&[("x-ratelimit-remaining", "4"), ("x-ratelimit-reset-after", text)]),
                [(4, millis)],
                "{text}"
            );
        }
        for junk in ["5.", "1d2", "-1", "soon"] {
            assert_eq!(read(&[("x-ratelimit-remaining", "4"), ("x-ratelimit-reset-after", junk)]), [], "{junk}");
        }
        assert_eq!(read(&[("x-ratelimit-remaining", "5;w=60")]), [], "that family has to be asked for");
        let interval = ("x-hubspot-ratelimit-interval-milliseconds", "10000");
        assert_eq!(read(&[("x-hubspot-ratelimit-remaining", "108"), interval]), [(108, 10_000)]);
    }
}
