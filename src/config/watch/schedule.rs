//! When a file is looked at.

use std::time::Duration;

use crate::clock::Timestamp;

/// Events that never pause delay a look by at most so many times the debounce.
const LONGEST_BURST: u32 = 8;
/// Polling more often would keep a processor busy.
const SHORTEST_POLL: Duration = Duration::from_millis(100);

/// Says when to look at a file: after a burst of events (a trailing debounce), and otherwise from time to time (a poll).
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    debounce: Duration,
    poll: Duration,
    looked_at: Timestamp,
    burst: Option<Burst>,
}

/// Events since the last look.
#[derive(Clone, Copy, Debug)]
struct Burst {
    first: Timestamp,
    last: Timestamp,
}

impl Schedule {
    /// A schedule whose first look is due one poll after `now`.
    pub(super) fn new(debounce: Duration, poll: Duration, now: Timestamp) -> Self {
        Self { debounce, poll: poll.max(SHORTEST_POLL), looked_at: now, burst: None }
    }

    /// Notes that something happened to the file, perhaps.
    pub(super) fn note_event(&mut self, now: Timestamp) {
        let first = self.burst.map_or(now, |burst| burst.first);
        self.burst = Some(Burst { first, last: now });
    }

    /// Notes that the file was looked at, or is now: what happens later is another burst.
    pub(super) const fn note_look(&mut self, now: Timestamp) {
        self.looked_at = now;
        self.burst = None;
    }

    /// Returns the time until the next look, which is zero if it is due.
    pub(super) fn wait(&self, now: Timestamp) -> Duration {
        now.until(self.due().nanos())
    }

    /// A poll does not interrupt a burst: in the middle of one a file may be half written.
    fn due(&self) -> Timestamp {
        match self.burst {
            Some(Burst { first, last }) => {
                let latest = first.saturating_add(self.debounce.saturating_mul(LONGEST_BURST));
                last.saturating_add(self.debounce).min(latest)
            }
            None => self.looked_at.saturating_add(self.poll),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBOUNCE: Duration = Duration::from_millis(250);
    const POLL: Duration = Duration::from_secs(30);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    fn schedule() -> Schedule {
        Schedule::new(DEBOUNCE, POLL, at(0))
    }

    #[test]
    fn without_events_the_file_is_polled() {
        let mut schedule = schedule();
        assert_eq!(schedule.wait(at(10_000)), Duration::from_secs(20));
        assert_eq!(schedule.wait(at(30_000)), Duration::ZERO);
        schedule.note_look(at(31_000));
        assert_eq!(schedule.wait(at(31_000)), POLL);
    }

    #[test]
    fn a_look_waits_until_events_have_paused() {
        let mut schedule = schedule();
        for event in [1000, 1200, 1400] {
            schedule.note_event(at(event));
            assert_eq!(schedule.wait(at(event)), DEBOUNCE);
        }
        assert_eq!(schedule.wait(at(1649)), Duration::from_millis(1));
        assert_eq!(schedule.wait(at(1650)), Duration::ZERO);
    }

    #[test]
    fn events_without_a_pause_delay_a_look_eight_times() {
        let mut schedule = schedule();
        for event in (1000..3000).step_by(100) {
            schedule.note_event(at(event));
        }
        assert_eq!(schedule.wait(at(2900)), Duration::from_millis(100));
        assert_eq!(schedule.wait(at(3000)), Duration::ZERO);
    }

    #[test]
    fn a_poll_does_not_interrupt_a_burst() {
        let mut schedule = schedule();
        schedule.note_event(at(29_900));
        assert_eq!(schedule.wait(at(30_000)), Duration::from_millis(150));
    }

    #[test]
    fn events_before_a_look_are_over_with_it() {
        let mut schedule = schedule();
        schedule.note_event(at(1000));
        schedule.note_look(at(1250));
        assert_eq!(schedule.wait(at(1250)), POLL);
        schedule.note_event(at(5000));
        assert_eq!(schedule.wait(at(5000)), DEBOUNCE);
    }

    #[test]
    fn no_setting_makes_it_look_all_the_time_or_overflows() {
        assert_eq!(Schedule::new(Duration::ZERO, Duration::ZERO, at(0)).wait(at(0)), SHORTEST_POLL);
        let mut never = Schedule::new(Duration::MAX, Duration::MAX, at(1));
        assert!(never.wait(at(2)) > POLL);
        never.note_event(at(2));
        assert!(never.wait(at(2)) > POLL);
    }
}
