//! One limit, as an answer states it.

use std::time::Duration;

use crate::client::{Advice, Beginning, answers::reset::Lasting};

/// So much is left, within the time that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) remaining: u64,
    pub(super) within: Lasting,
}

/// What limits come to. With nothing left they are a wait, unless the answer has stated one that takes precedence.
pub(super) fn advise(advice: Advice, limits: &[Limit], stated: Option<Duration>) -> Advice {
    // No time at all is none to keep to.
    let limits = limits.iter().filter(|limit| !limit.within.time.is_zero());
    let (exhausted, others): (Vec<Limit>, Vec<Limit>) = limits.partition(|limit| limit.remaining == 0);
    let advice = match (stated, exhausted.iter().map(|limit| limit.within).max()) {
        (Some(stated), _) => advice.wait(stated),
        // The later beginning if there are several.
        (None, Some(longest)) if exhausted.iter().any(|limit| limit.within.is_until_date) => advice.wait(longest.time),
        (None, Some(longest)) => advice.wait_since_sent(longest.time),
        (None, None) => advice,
    };
    others.iter().fold(advice, |advice, limit| advice.allow_from(limit.remaining, limit.within.time, limit.begins()))
}

impl Limit {
    const fn begins(&self) -> Beginning {
        if self.within.is_until_date { Beginning::Answered } else { Beginning::Sent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn limit(remaining: u64, seconds: u64) -> Limit {
        Limit { remaining, within: Lasting::for_time(Duration::from_secs(seconds)) }
    }

    #[test]
    fn the_longest_of_the_exhausted_limits_is_the_wait_and_the_others_are_allowances() {
        let advice = advise(Advice::none(), &[limit(0, 5), limit(0, 38), limit(7, 3600)], None);
        let expected = Advice::none().wait(Duration::from_secs(38)).allow(7, Duration::from_secs(3600));
        assert_eq!(advice, expected);
    }

    #[test]
    fn a_stated_wait_takes_precedence_be_it_shorter_or_longer() {
        for seconds in [1, 99] {
            let stated = Duration::from_secs(seconds);
            let advice = advise(Advice::none(), &[limit(0, 38), limit(7, 60)], Some(stated));
            assert_eq!(advice, Advice::none().wait(stated).allow(7, Duration::from_secs(60)));
        }
    }

    #[test]
    fn no_time_says_nothing() {
        assert_eq!(advise(Advice::none(), &[limit(0, 0), limit(7, 0)], None), Advice::none());
    }
}
