//! A rate that adapts to refusals.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::pace::settings::saturating_add;

/// The part of the rate that a refusal leaves.
const DECREASE: f64 = 0.7;
/// The least part that one refusal leaves: what was accepted just before may say little.
const MIN_DECREASE: f64 = 0.125;
/// The seconds in which the loss from one refusal is made up for.
const RECOVERY: f64 = 10.0;
/// The lowest rate: one call a minute.
const MIN_RATE: f64 = 1.0 / 60.0;

/// The rate of one key, in calls per second, with additive increase and multiplicative decrease (AIMD): it drops to a
/// fraction after a refusal, and rises by a constant step up to where it was refused. Beyond that the step grows with the
/// rate, and at the policy's own rate all is forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct AdaptiveRate {
    /// The policy's own rate.
    ceiling: f64,
    per_second: f64,
    /// The rate at which the last refusal came.
    peak: f64,
    as_of: Instant,
    /// No call before.
    next: Instant,
    /// The time at which the last call was sent.
    last_sent: Option<Instant>,
    /// The number of calls accepted since `since`.
    accepted: u64,
    since: Instant,
    /// Refusals of calls up to this number have had their effect.
    settled: u64,
}

impl AdaptiveRate {
    pub(super) const fn new(ceiling: f64, now: Instant) -> Self {
        let (per_second, peak) = (ceiling, ceiling);
        Self { ceiling, per_second, peak, as_of: now, next: now, last_sent: None, accepted: 0, since: now, settled: 0 }
    }

    /// Returns the rate, unless it is the policy's own.
    pub(super) fn reduced(&self, now: Instant) -> Option<f64> {
        let seconds = now.saturating_duration_since(self.as_of).as_secs_f64();
        let linear = step(self.peak) * seconds;
        let per_second = match self.per_second + linear {
            below if below <= self.peak => below,
            // From the peak on the step grows with the rate.
            _ => {
                let until_peak = ((self.peak - self.per_second) / step(self.peak)).max(0.0);
                self.peak.max(self.per_second) * ((seconds - until_peak) * step(1.0)).exp()
            }
        };
        (per_second < self.ceiling).then_some(per_second)
    }

    /// Returns until when no call may go, if `reserved` others are about to.
    pub(super) fn closed_until(&self, reserved: u64, now: Instant) -> Option<Instant> {
        Some(self.next_after(reserved, now)?).filter(|next| now < *next)
    }

    /// Counts a call that is sent.
    pub(super) fn send(&mut self, now: Instant) {
        self.next = self.next_after(1, now).unwrap_or(now);
        self.last_sent = Some(now);
    }

    /// Returns when the next call may go after so many others, or `None` at the policy's own rate.
    fn next_after(&self, calls: u64, now: Instant) -> Option<Instant> {
        let per_second = self.reduced(now)?;
        Some(saturating_add(self.next.max(now), seconds(calls as f64 / per_second)))
    }

    /// Counts a call that was accepted.
    pub(super) const fn accept(&mut self) {
        self.accepted = self.accepted.saturating_add(1);
    }

    /// Drops after the refusal of call number `call`, when so many were sent and none goes before `resumes`.
    ///
    /// The new rate follows from the calls that were accepted, over all the time which that took with the pause. Refusals
    /// of calls that were sent before the last drop say nothing new.
    pub(super) fn refuse(&mut self, call: u64, sent: u64, now: Instant, resumes: Instant) {
        if call <= self.settled {
            return;
        }
        let current = self.reduced(now).unwrap_or(self.ceiling);
        let taken = resumes.saturating_duration_since(self.since).as_secs_f64();
        let observed = self.accepted as f64 / taken.max(f64::MIN_POSITIVE);
        self.peak = observed.clamp(current * MIN_DECREASE, current);
        self.per_second = (self.peak * DECREASE).max(MIN_RATE.min(self.ceiling));
        // Where everything is refused the pause may be shorter than the distance between two calls.
        let distance = seconds(1.0 / self.per_second);
        self.next = self.last_sent.map_or(resumes, |last| saturating_add(last, distance).max(resumes));
        (self.as_of, self.since, self.accepted, self.settled) = (resumes, resumes, 0, sent);
    }

    /// Returns `true` if there is nothing to remember.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.reduced(now).is_none()
    }
}

/// Returns the gain per second of a rate that was refused at `peak`.
fn step(peak: f64) -> f64 {
    peak * (1.0 - DECREASE) / RECOVERY
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A rate of 1000 that has had 20 calls accepted and one refused within a second.
    fn refused(begin: Instant) -> AdaptiveRate {
        let mut rate = AdaptiveRate::new(1000.0, begin);
        (0..20).for_each(|_| rate.accept());
        rate.refuse(21, 21, begin, begin + SECOND);
        rate
    }

    fn at(rate: &AdaptiveRate, begin: Instant, seconds: u64) -> f64 {
        rate.reduced(begin + Duration::from_secs(seconds)).unwrap_or(f64::INFINITY)
    }

    #[test]
    fn one_refusal_drops_no_further_than_an_eighth_and_the_next_finds_the_limit() {
        let begin = Instant::now();
        let mut rate = refused(begin);
        assert_eq!(at(&rate, begin, 1), 1000.0 / 8.0 * 0.7);
        for round in 1..=2 {
            (0..20).for_each(|_| rate.accept());
            let now = begin + SECOND * round;
            rate.refuse(100 * u64::from(round), 1000 * u64::from(round), now, now + SECOND);
        }
        assert!((at(&rate, begin, 3) - 20.0 * 0.7).abs() < 1.0, "{rate:?}");
    }

    #[test]
    fn it_recovers_by_a_constant_step_up_to_where_it_was_refused() {
        let begin = Instant::now();
        let rate = refused(begin);
        let rates: Vec<_> = (1..=11).map(|second| at(&rate, begin, second)).collect();
        let steps: Vec<_> = rates.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().all(|step| (step - 125.0 * 0.03).abs() < 1e-6), "{steps:?}");
        assert!((rates[10] - 125.0).abs() < 1e-6, "{rates:?}");
    }

    #[test]
    fn it_is_forgotten_at_the_rate_of_the_policy() {
        let begin = Instant::now();
        let rate = refused(begin);
        assert!(!rate.is_idle(begin + SECOND * 60));
        assert!(rate.is_idle(begin + SECOND * 120));
        assert_eq!(rate.closed_until(0, begin + SECOND * 120), None);
    }

    #[test]
    fn refusals_of_calls_that_were_under_way_drop_it_once() {
        let begin = Instant::now();
        let mut rate = refused(begin);
        let before = at(&rate, begin, 1);
        (1..=21).for_each(|call| rate.refuse(call, 21, begin, begin + SECOND));
        assert_eq!(at(&rate, begin, 1), before);
    }

    #[test]
    fn it_never_stops_whatever_is_refused() {
        let begin = Instant::now();
        let mut rate = AdaptiveRate::new(1000.0, begin);
        (1..1000).for_each(|call| rate.refuse(call, call, begin, begin + SECOND * 600));
        assert_eq!(at(&rate, begin, 0), MIN_RATE);
        rate.send(begin + SECOND * 600);
        assert_eq!(rate.closed_until(0, begin + SECOND * 600), Some(begin + SECOND * 660));
    }

    #[test]
    fn where_everything_is_refused_calls_keep_the_distance_of_the_rate_and_not_that_of_the_pause() {
        let begin = Instant::now();
        let (mut rate, mut now, mut waits) = (AdaptiveRate::new(1.0, begin), begin, Vec::new());
        for call in 1..50 {
            rate.send(now);
            rate.refuse(call, call, now, now + SECOND);
            let next = rate.closed_until(0, now + SECOND).unwrap_or(now + SECOND);
            waits.push(next - now);
            now = next;
        }
        assert_eq!(waits.last(), Some(&(60 * SECOND)), "one a minute, as it says");
    }

    #[test]
    fn calls_keep_the_distance_of_the_rate() {
        let begin = Instant::now();
        let mut rate = refused(begin);
        let now = begin + SECOND;
        assert_eq!(rate.closed_until(0, now), None);
        rate.send(now);
        let wait = rate.closed_until(0, now).unwrap() - now;
        assert!((wait.as_secs_f64() - 1.0 / 87.5).abs() < 1e-6, "{wait:?}");
    }
}
