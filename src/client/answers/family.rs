//! Limits in fields of their own: `…-Limit`, `…-Remaining`, `…-Reset`.

use http::{HeaderMap, HeaderName};

use crate::client::answers::{
    Reset,
    limit::Limit,
    moment::read_duration,
    number::{Number, digits, numbers},
    reset::Lasting,
    timeline::Timeline,
};

/// The fields of one family. Of the three only two matter to a caller.
#[derive(Debug)]
pub(super) struct Family {
    remaining: HeaderName,
    reset: HeaderName,
    kind: Kind,
}

/// What is peculiar to a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It may mean anything.
    Unknown,
    /// Its numbers are seconds from now, with a fraction.
    Seconds,
    /// The length of its window stands in place of its end, in milliseconds.
    Window,
    /// It tells what it means, and is about requests.
    Requests,
    /// It is about something else, so it says nothing about calls until nothing is left.
    Other,
}

/// Drafts 0 to 6.
pub(super) static RATE_LIMIT: Family = Family::new("ratelimit-remaining", "ratelimit-reset", Kind::Unknown);

/// What was there before any draft, in its two spellings.
pub(super) static X_RATE_LIMIT: [Family; 2] = [
    Family::new("x-ratelimit-remaining", "x-ratelimit-reset", Kind::Unknown),
    Family::new("x-rate-limit-remaining", "x-rate-limit-reset", Kind::Unknown),
];

/// Names that say whose they are or what they hold.
pub(super) static SELF_NAMED: [Family; 8] = [
    Family::new("x-ratelimit-remaining", "x-ratelimit-reset-after", Kind::Seconds),
    Family::new("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", Kind::Requests),
    Family::new("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", Kind::Other),
    Family::new("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset", Kind::Requests),
    Family::new("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset", Kind::Other),
    Family::new("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset", Kind::Other),
    Family::new("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset", Kind::Other),
    Family::new("x-hubspot-ratelimit-remaining", "x-hubspot-ratelimit-interval-milliseconds", Kind::Window),
];

impl Family {
    const fn new(remaining: &'static str, reset: &'static str, kind: Kind) -> Self {
        Self { remaining: HeaderName::from_static(remaining), reset: HeaderName::from_static(reset), kind }
    }

    /// The limit that the fields state, where `reset` is how one of an unknown family is to be read. A refusal need not say
    /// that nothing is left.
    pub(super) fn limit(
        &self,
        headers: &HeaderMap,
        is_refusal: bool,
        reset: Reset,
        timeline: &Timeline,
    ) -> Option<Limit> {
        // Where a server has several families, a refusal is not about each of them.
        let is_implied = is_refusal && matches!(self.kind, Kind::Unknown | Kind::Seconds);
        let remaining = if headers.contains_key(&self.remaining) || !is_implied { self.remaining(headers)? } else { 0 };
        let within = self.within(headers, reset, timeline)?;
        (self.kind != Kind::Other || remaining == 0).then_some(Limit { remaining, within })
    }

    /// Whether the fields say that nothing is left.
    pub(super) fn is_exhausted(&self, headers: &HeaderMap) -> bool {
        self.remaining(headers) == Some(0)
    }

    /// The least that any of them leaves. A window may follow, as with Docker Hub's `76;w=21600`.
    fn remaining(&self, headers: &HeaderMap) -> Option<u64> {
        parts(headers, &self.remaining).filter_map(|(number, _)| number).map(Number::rounded_down).min()
    }

    fn within(&self, headers: &HeaderMap, reset: Reset, timeline: &Timeline) -> Option<Lasting> {
        let stated = match self.kind {
            Kind::Unknown => reset.longest_in(headers, &self.reset, timeline),
            Kind::Requests | Kind::Other => Reset::Guess.longest_in(headers, &self.reset, timeline),
            Kind::Seconds => longest_seconds(headers, &self.reset, timeline),
            Kind::Window => numbers(headers, &self.reset)
                .map(Number::rounded_up)
                .max()
                .map(|millis| Lasting::for_time(timeline.millis(millis))),
        };
        let windows = || parts(headers, &self.remaining).filter_map(|(_, window)| window);
        let window = || Some(Lasting::for_time(timeline.seconds(windows().max()?)));
        stated.or_else(|| window().filter(|_| self.kind == Kind::Unknown))
    }
}

/// Seconds whose fraction matters: buckets of a second are not worth rounding to the next.
fn longest_seconds(headers: &HeaderMap, name: &HeaderName, timeline: &Timeline) -> Option<Lasting> {
    let read = |item: &str| {
        let is_number = Number::parse(item.as_bytes()).is_some();
        if is_number { read_duration(&format!("{item}s")) } else { read_duration(item) }
    };
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let times = lines.flat_map(|line| line.split(',')).filter_map(|item| read(item.trim_ascii()));
    times.max().map(|time| Lasting::for_time(timeline.capped(time)))
}

/// The numbers of a list, and the windows that stand as their parameters.
fn parts(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = (Option<Number>, Option<u64>)> {
    let items = headers.get_all(name).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    items.map(|item| {
        let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let number = parts.next().and_then(Number::parse);
        (number, parts.find_map(|part| digits(part.strip_prefix(b"w=")?)))
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn limit(is_refusal: bool, fields: &[(&'static str, &str)]) -> Option<(u64, u64)> {
        let headers: HeaderMap =
            fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let timeline = Timeline::of(&headers, Duration::from_secs(3600), || SystemTime::UNIX_EPOCH);
        let limit = RATE_LIMIT.limit(&headers, is_refusal, Reset::Delta, &timeline)?;
        Some((limit.remaining, limit.within.time.as_secs()))
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
            let timeline = Timeline::of(&headers, Duration::from_secs(3600), || SystemTime::UNIX_EPOCH);
            let limits = SELF_NAMED.iter().filter_map(|family| family.limit(&headers, false, Reset::Epoch, &timeline));
            limits.map(|limit| (limit.remaining, limit.within.time.as_millis())).collect::<Vec<_>>()
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
