//! A pace that adapts to refusals.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::pace::settings::later;

/// What a refusal leaves of the pace.
const DROP: f64 = 0.7;
/// One refusal takes no more than this away, since what was accepted just before may say little.
const LARGEST_DROP: f64 = 0.125;
/// In so many seconds what one refusal has taken away is back.
const RECOVERY: f64 = 10.0;
/// Never slower than a call a minute.
const SLOWEST: f64 = 1.0 / 60.0;

/// The pace of one key, in calls per second: it drops to a fraction after a refusal, and rises by a constant step up to
/// where it was refused. Beyond that the step grows with the pace, and at the policy's own pace it is forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// The policy's own pace.
    ceiling: f64,
    per_second: f64,
    /// Where the last refusal came.
    peak: f64,
    as_of: Instant,
    /// No call before.
    next: Instant,
    /// When the last call went.
    last: Option<Instant>,
    /// Calls accepted since `since`.
    accepted: u64,
    since: Instant,
    /// Refusals of calls up to this number have had their effect.
    judged: u64,
}

impl Rate {
    pub(super) const fn new(ceiling: f64, now: Instant) -> Self {
        let (per_second, peak) = (ceiling, ceiling);
        Self { ceiling, per_second, peak, as_of: now, next: now, last: None, accepted: 0, since: now, judged: 0 }
    }

    /// The pace, unless it is the policy's own.
    pub(super) fn lowered(&self, now: Instant) -> Option<f64> {
        let seconds = now.saturating_duration_since(self.as_of).as_secs_f64();
        let linear = step(self.peak) * seconds;
        let per_second = match self.per_second + linear {
            below if below <= self.peak => below,
            // From the peak on the step grows with the pace.
            _ => {
                let until_peak = ((self.peak - self.per_second) / step(self.peak)).max(0.0);
                self.peak.max(self.per_second) * ((seconds - until_peak) * step(1.0)).exp()
            }
        };
        (per_second < self.ceiling).then_some(per_second)
    }

    /// Until when no call may go, if `reserved` others are about to.
    pub(super) fn closed_until(&self, reserved: u64, now: Instant) -> Option<Instant> {
        Some(self.after(reserved, now)?).filter(|next| now < *next)
    }

    /// Counts a call that goes.
    pub(super) fn pass(&mut self, now: Instant) {
        self.next = self.after(1, now).unwrap_or(now);
        self.last = Some(now);
    }

    /// When the next call may go after so many others; none at the policy's own pace.
    fn after(&self, calls: u64, now: Instant) -> Option<Instant> {
        let per_second = self.lowered(now)?;
        Some(later(self.next.max(now), seconds(calls as f64 / per_second)))
    }

    pub(super) const fn accept(&mut self) {
        self.accepted = self.accepted.saturating_add(1);
    }

    /// Drops after the refusal of call number `call`, when so many have begun and none goes before `resumes`.
    ///
    /// It goes by what was accepted, over all the time that took with the pause. Refusals of calls that had begun before
    /// the last drop say nothing new.
    pub(super) fn refuse(&mut self, call: u64, begun: u64, now: Instant, resumes: Instant) {
        if call <= self.judged {
            return;
        }
        let current = self.lowered(now).unwrap_or(self.ceiling);
        let taken = resumes.saturating_duration_since(self.since).as_secs_f64();
        let observed = self.accepted as f64 / taken.max(f64::MIN_POSITIVE);
        self.peak = observed.clamp(current * LARGEST_DROP, current);
        self.per_second = (self.peak * DROP).max(SLOWEST.min(self.ceiling));
        // Where everything is refused the pause may be shorter than the distance between two calls.
        let distance = seconds(1.0 / self.per_second);
        self.next = self.last.map_or(resumes, |last| later(last, distance).max(resumes));
        (self.as_of, self.since, self.accepted, self.judged) = (resumes, resumes, 0, begun);
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.lowered(now).is_none()
    }
}

/// What a pace that was refused at `peak` gains in a second.
fn step(peak: f64) -> f64 {
    peak * (1.0 - DROP) / RECOVERY
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A pace of 1000 that has had 20 calls accepted and one refused within a second.
    fn refused(begin: Instant) -> Rate {
        let mut rate = Rate::new(1000.0, begin);
        (0..20).for_each(|_| rate.accept());
        rate.refuse(21, 21, begin, begin + SECOND);
        rate
    }

    fn at(rate: &Rate, begin: Instant, seconds: u64) -> f64 {
        rate.lowered(begin + Duration::from_secs(seconds)).unwrap_or(f64::INFINITY)
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
        let paces: Vec<_> = (1..=11).map(|second| at(&rate, begin, second)).collect();
        let steps: Vec<_> = paces.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().all(|step| (step - 125.0 * 0.03).abs() < 1e-6), "{steps:?}");
        assert!((paces[10] - 125.0).abs() < 1e-6, "{paces:?}");
    }

    #[test]
    fn it_is_forgotten_at_the_pace_of_the_policy() {
        let begin = Instant::now();
        let rate = refused(begin);
        assert!(!rate.is_fresh(begin + SECOND * 60));
        assert!(rate.is_fresh(begin + SECOND * 120));
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
        let mut rate = Rate::new(1000.0, begin);
        (1..1000).for_each(|call| rate.refuse(call, call, begin, begin + SECOND * 600));
        assert_eq!(at(&rate, begin, 0), SLOWEST);
        rate.pass(begin + SECOND * 600);
        assert_eq!(rate.closed_until(0, begin + SECOND * 600), Some(begin + SECOND * 660));
    }

    #[test]
    fn where_everything_is_refused_calls_keep_the_distance_of_the_pace_and_not_that_of_the_pause() {
        let begin = Instant::now();
        let (mut rate, mut now, mut waits) = (Rate::new(1.0, begin), begin, Vec::new());
        for call in 1..50 {
            rate.pass(now);
            rate.refuse(call, call, now, now + SECOND);
            let next = rate.closed_until(0, now + SECOND).unwrap_or(now + SECOND);
            waits.push(next - now);
            now = next;
        }
        assert_eq!(waits.last(), Some(&(60 * SECOND)), "one a minute, as it says");
    }

    #[test]
    fn calls_keep_the_distance_of_the_pace() {
        let begin = Instant::now();
        let mut rate = refused(begin);
        let now = begin + SECOND;
        assert_eq!(rate.closed_until(0, now), None);
        rate.pass(now);
        let wait = rate.closed_until(0, now).unwrap() - now;
        assert!((wait.as_secs_f64() - 1.0 / 87.5).abs() < 1e-6, "{wait:?}");
    }
}
