//! Limits in fields of their own: `…-Limit`, `…-Remaining`, `…-Reset`.

use http::{HeaderMap, HeaderName};

use crate::client::answers::{Reset, digits::number, limit::Limit, timeline::Timeline};

/// The fields of one family. Of the three only two matter to a caller.
#[derive(Debug)]
pub(super) struct Family {
    remaining: HeaderName,
    reset: HeaderName,
}

/// Drafts 0 to 6.
pub(super) const RATE_LIMIT: Family = Family {
    remaining: HeaderName::from_static("ratelimit-remaining"),
    reset: HeaderName::from_static("ratelimit-reset"),
};

/// What was there before any draft, in its two spellings.
pub(super) const X_RATE_LIMIT: [Family; 2] = [
    Family {
        remaining: HeaderName::from_static("x-ratelimit-remaining"),
        reset: HeaderName::from_static("x-ratelimit-reset"),
    },
    Family {
        remaining: HeaderName::from_static("x-rate-limit-remaining"),
        reset: HeaderName::from_static("x-rate-limit-reset"),
    },
];

impl Family {
    /// The limit that the fields state. A refusal need not say that nothing is left.
    pub(super) fn limit(
        &self,
        headers: &HeaderMap,
        is_refusal: bool,
        reset: Reset,
        timeline: &Timeline,
    ) -> Option<Limit> {
        let remaining =
            if headers.contains_key(&self.remaining) || !is_refusal { number(headers, &self.remaining)? } else { 0 };
        Some(Limit { remaining, within: reset.read(number(headers, &self.reset)?, timeline) })
    }

    /// Whether the fields say that nothing is left.
    pub(super) fn is_exhausted(&self, headers: &HeaderMap) -> bool {
        number(headers, &self.remaining) == Some(0)
    }
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
        Some((limit.remaining, limit.within.as_secs()))
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
        for (remaining, reset) in [("-1", "38"), ("7", "-1"), ("7.5", "38"), ("", "38"), ("7", ""), ("7", "38, 40")] {
            let fields = [("ratelimit-remaining", remaining), ("ratelimit-reset", reset)];
            assert_eq!((limit(false, &fields), limit(true, &fields)), (None, None), "{remaining:?} {reset:?}");
        }
    }
}
