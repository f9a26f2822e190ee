//! One limiter under one schedule.

use std::{collections::VecDeque, time::Duration};

use super::schedule::Schedule;
use crate::timed::{Moment, Timed};

/// The most that was surely admitted within one window.
pub(super) fn worst(mut subject: Timed, schedule: &Schedule) -> usize {
    let limit = subject.limit;
    let mut admitted = Vec::new();
    for burst in schedule.bursts_in_order() {
        subject.wait_until(limit.window.mul_f64(burst.at));
        let requests = (f64::from(limit.units) * burst.limits).ceil().max(1.0) as u32;
        admitted.extend((0..requests).filter_map(|_| subject.decide()));
    }
    most_within(limit.window, &admitted)
}

/// The most moments that surely lie within an interval shorter than the window.
fn most_within(window: Duration, moments: &[Moment]) -> usize {
    let mut recent: VecDeque<Moment> = VecDeque::new();
    let counts = moments.iter().map(|moment| {
        recent.push_back(*moment);
        while recent.front().is_some_and(|oldest| moment.latest - oldest.earliest >= window) {
            recent.pop_front();
        }
        recent.len()
    });
    counts.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        let moment = Duration::from_millis(millis);
        Moment { earliest: moment, latest: moment }
    }

    #[test]
    fn what_is_a_window_apart_is_not_in_one_window() {
        let window = Duration::from_millis(100);
        assert_eq!(most_within(window, &[at(0), at(100), at(199)]), 2);
        assert_eq!(most_within(window, &[at(0), at(99), at(100)]), 2);
        assert_eq!(most_within(window, &[at(1), at(99), at(100)]), 3);
    }
}
