//! How many units a rolling window holds.

use std::collections::VecDeque;

/// Up to this many moments are told apart exactly; more are taken together by the 4096th part of a window, as a policy's
/// resolution does for large limits.
const RESOLUTION: usize = 4096;

/// The units of the last window: a sliding-window log of moments, in milliseconds, and the units of each.
#[derive(Clone, Debug)]
pub(crate) struct RollingCount {
    /// Until then nothing leaves the window, so there is no need to look at the moments.
    quiet_until: i64,
    count: u64,
    moments: VecDeque<(i64, u64)>,
}

impl Default for RollingCount {
    fn default() -> Self {
        Self { quiet_until: i64::MAX, count: 0, moments: VecDeque::new() }
    }
}

impl RollingCount {
    /// Drops what has left the window. A request leaves it exactly one window after it came.
    #[inline]
    pub(crate) fn expire(&mut self, now: i64, window: i64) {
        if now >= self.quiet_until {
            self.expire_some(now, window);
        }
    }

    fn expire_some(&mut self, now: i64, window: i64) {
        self.quiet_until = i64::MAX;
        while let Some((moment, units)) = self.moments.front() {
            if moment.saturating_add(window) > now {
                self.quiet_until = moment.saturating_add(window);
                return;
            }
            self.count -= *units;
            self.moments.pop_front();
        }
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Adds the units of a request; of none, nothing. Returns `true` if its moment was taken together with another one, and so made later than it is.
    #[inline]
    pub(crate) fn push(&mut self, units: u64, now: i64, window: i64) -> bool {
        if units == 0 {
            return false;
        }
        if self.count == 0 {
            self.quiet_until = now.saturating_add(window);
        }
        self.count = self.count.saturating_add(units);
        let is_full = self.moments.len() >= RESOLUTION;
        let part = (window / RESOLUTION as i64).max(1);
        match self.moments.back_mut() {
            Some((moment, known)) if *moment == now => {
                *known = known.saturating_add(units);
                false
            }
            Some((moment, known)) if is_full && moment.div_euclid(part) == now.div_euclid(part) => {
                // The only moment, if it is one, leaves later now; to look for it early does no harm.
                (*moment, *known) = (now, known.saturating_add(units));
                true
            }
            _ => {
                self.moments.push_back((now, units));
                false
            }
        }
    }

    /// Returns the moment of each unit, the oldest first.
    pub(crate) fn moments(&self) -> impl Iterator<Item = i64> {
        self.moments.iter().flat_map(|(moment, units)| std::iter::repeat_n(*moment, *units as usize))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_leaves_the_window_exactly_when_the_window_has_passed() {
        let mut rolling = RollingCount::default();
        rolling.push(1, 5, 1000);
        rolling.expire(1004, 1000);
        assert_eq!(rolling.count(), 1);
        rolling.expire(1005, 1000);
        assert!(rolling.moments.is_empty() && rolling.count() == 0);
    }

    #[test]
    fn units_leave_the_window_together_and_nothing_is_no_moment() {
        let mut rolling = RollingCount::default();
        assert_eq!([(7, 5), (0, 6), (2, 6)].map(|(units, now)| rolling.push(units, now, 1000)), [false; 3]);
        rolling.expire(1005, 1000);
        assert_eq!((rolling.count(), rolling.moments().collect::<Vec<_>>()), (2, vec![6, 6]));
        assert!(!rolling.push(0, 2000, 1000));
        rolling.expire(2000, 1000);
        assert!(rolling.moments.is_empty());
    }

    #[test]
    fn its_memory_is_bounded_and_no_request_leaves_early() {
        let (mut rolling, window, mut exact) = (RollingCount::default(), 40_960_000, VecDeque::new());
        for now in (0..200_000_000_i64).step_by(1009) {
            rolling.expire(now, window);
            while exact.front().is_some_and(|moment| moment + window <= now) {
                exact.pop_front();
            }
            rolling.push(1, now, window);
            exact.push_back(now);
            let surplus = rolling.count() - exact.len() as u64;
            assert!(surplus <= 10, "{surplus} at {now}");
        }
        assert!(rolling.moments.len() <= 2 * RESOLUTION + 1);
    }

    proptest! {
        #[test]
        fn it_counts_the_window(steps in prop::collection::vec(0_i64..50, 0..300), window in 1_i64..400) {
            let (mut rolling, mut now, mut all) = (RollingCount::default(), 0, Vec::new());
            for step in steps {
                now += step;
                rolling.expire(now, window);
                prop_assert!(!rolling.push(1, now, window));
                all.push(now);
                prop_assert_eq!(rolling.count(), all.iter().filter(|moment| **moment + window > now).count() as u64);
            }
        }
    }
}
