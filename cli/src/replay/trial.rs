//! What one quota alone would refuse, at other limits than its own.

use crate::replay::{Admissions, Demand, LONGEST_WINDOW};

/// The digits that limits begin with, as people choose them.
const ROUND: [u64; 6] = [10, 15, 20, 30, 50, 70];
const MOST_DECADES: u32 = 9;
/// Limits of bytes may be as large as limits can be.
const MOST_DECADES_OF_COSTS: u32 = 15;
/// The candidates that are reported below the limit that refuses nobody.
pub(crate) const CANDIDATES: usize = 8;

/// A quota, and what its limit could be: the limits that are tried, and what each would have refused.
///
/// A refused request is not charged, so every limit has counts of its own. A key needs those only for limits that it has
/// exceeded: below them all its requests are admitted.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) limit: u64,
    pub(crate) window: i64,
    counts_denied: bool,
    /// Requests may cost other than one unit.
    has_costs: bool,
    /// The demand of a key may be kept as times of 32 bits.
    is_short: bool,
    levels: Vec<Candidate>,
    /// The most units of one key in a window: the smallest limit that refuses nobody.
    pub(crate) peak: u64,
    /// Some counts are of moments that were taken together.
    pub(crate) is_rounded: bool,
}

/// A limit, and what it would have refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) limit: u64,
    pub(crate) refused: u64,
    pub(crate) keys: u64,
}

/// One key under the limits of a trial.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyTrial {
    demand: Demand,
    pub(crate) peak: u64,
    /// The number of limits below those of `exceeded`.
    first_level: u8,
    /// The limits that the key has exceeded: all of those of the trial but the first and the last ones.
    exceeded_count: u8,
    /// What these have admitted; nothing, if refused requests are charged as well.
    exceeded: Admissions,
}

impl Candidate {
    pub(crate) const fn new(limit: u64) -> Self {
        Self { limit, refused: 0, keys: 0 }
    }
}

impl Trial {
    /// Creates the trial of a quota, which has a window in milliseconds.
    pub(crate) fn new(limit: u64, window: i64, counts_denied: bool, has_costs: bool) -> Self {
        let decades = if has_costs { MOST_DECADES_OF_COSTS } else { MOST_DECADES };
        let round = (0..decades).flat_map(|decade| ROUND.map(|digits| digits * 10_u64.pow(decade) / 10));
        let mut limits: Vec<u64> = round.filter(|limit| *limit > 0).chain([limit]).collect();
        limits.sort_unstable();
        limits.dedup();
        let levels = limits.into_iter().map(Candidate::new).collect();
        Self {
            limit,
            window,
            counts_denied,
            has_costs,
            is_short: !has_costs && window <= LONGEST_WINDOW,
            levels,
            peak: 0,
            is_rounded: false,
        }
    }

    /// Counts the units of a request of a key. Returns how many of it the window holds now, if none is refused.
    #[inline]
    pub(crate) fn note(&mut self, key: &mut KeyTrial, units: u64, now: i64) -> u64 {
        let with_it = key.demand.count(now, self.window).saturating_add(units);
        key.peak = key.peak.max(with_it);
        self.peak = self.peak.max(with_it);
        if with_it > 1 || key.exceeded_count > 0 {
            self.note_levels(key, units, now, with_it);
        }
        self.is_rounded |= key.demand.push(units, now, self.window, self.is_short);
        with_it
    }

    /// Counts a request of a key at the limits that the key has exceeded, or exceeds with it.
    fn note_levels(&mut self, key: &mut KeyTrial, units: u64, now: i64, with_it: u64) {
        self.drop_low_levels(key);
        let levels = &mut self.levels[usize::from(key.first_level)..];
        if self.counts_denied {
            let exceeded = levels.iter_mut().take(key.exceeded_count.into());
            exceeded.for_each(|level| level.refused += u64::from(with_it > level.limit));
        } else {
            key.exceeded.ask(units, now, self.window, levels);
        }
        while let Some(level) = self.levels.get_mut(usize::from(key.first_level + key.exceeded_count)) {
            if level.limit >= with_it {
                return;
            }
            level.refused += 1;
            level.keys += 1;
            key.exceeded_count += 1;
            if !self.counts_denied {
                key.exceeded.push(level.limit, self.has_costs, &key.demand, now, self.window);
            }
        }
    }

    /// Forgets the limits of a key that will not be reported. The peak only grows, and so does the lowest limit of interest.
    #[inline]
    fn drop_low_levels(&self, key: &mut KeyTrial) {
        let lowest = self.lowest();
        if self.levels.get(usize::from(key.first_level)).is_some_and(|level| level.limit < lowest) {
            let levels = &self.levels[usize::from(key.first_level)..];
            let low = levels.iter().take_while(|level| level.limit < lowest).count() as u8;
            let exceeded = low.min(key.exceeded_count);
            key.exceeded.remove_lowest(&levels[..exceeded.into()]);
            key.exceeded_count -= exceeded;
            key.first_level += low;
        }
    }

    /// Returns the lowest limit that is of interest: an eighth of the present one, or of what was needed.
    fn lowest(&self) -> u64 {
        (self.limit.min(self.peak) / 8).max(1)
    }

    /// Returns what some limits below the peak would have refused, lowest first: round numbers, and the present limit.
    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        let lowest = self.lowest();
        let is_of_interest = |level: &&Candidate| level.limit >= lowest && level.limit < self.peak;
        let round: Vec<_> =
            self.levels.iter().filter(is_of_interest).filter(|level| level.limit != self.limit).collect();
        let own = self.levels.iter().filter(is_of_interest).find(|level| level.limit == self.limit);
        let room = CANDIDATES - usize::from(own.is_some());
        let spread = (0..room.min(round.len())).map(|at| *round[spread(at, room, round.len())]);
        let mut chosen: Vec<Candidate> = spread.chain(own.copied()).collect();
        chosen.sort_unstable_by_key(|candidate| candidate.limit);
        chosen
    }
}

/// Returns the index of number `at` of `room` that are spread evenly over `length`; all, if there is room.
const fn spread(at: usize, room: usize, length: usize) -> usize {
    if length <= room || room < 2 { at } else { at * (length - 1) / (room - 1) }
}

impl KeyTrial {
    /// Drops what has left the window. Returns `true` if nothing is left: the key is like a new one.
    pub(crate) fn is_idle(&mut self, now: i64, window: i64) -> bool {
        self.demand.count(now, window) == 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tower_quota::{Policy, Quota, RateLimiter, Rule, clock::ManualClock};

    use super::*;

    /// A request: its time, the number of its key, and its cost.
    type Request = (i64, usize, u64);

    /// Asks a limiter of one quota, and returns what it refuses, and of how many keys.
    fn refused(policy: Policy, has_costs: bool, requests: &[Request]) -> (u64, u64) {
        let clock = ManualClock::new();
        let rule = Rule::new("a").no_requests().policy(policy);
        let rule = if has_costs { rule.cost("points", 1) } else { rule };
        let limiter = RateLimiter::builder().clock(clock.clone()).rule(rule).build().unwrap();
        let (handle, mut refused) = (limiter.rule("a").unwrap(), [0; 3]);
        for (now, key, units) in requests {
            clock.set(Duration::from_millis(u64::try_from(*now).unwrap()));
            let is_admitted =
                if has_costs { handle.check_cost(*key, *units).unwrap().is_admitted() } else { handle.admit(*key) };
            refused[*key] += u64::from(!is_admitted);
        }
        (refused.iter().sum(), refused.iter().filter(|refused| **refused > 0).count() as u64)
    }

    /// Compares the candidates of a trial of requests with limiters.
    fn compare(limit: u64, counts_denied: bool, has_costs: bool, requests: &[Request]) {
        let mut trial = Trial::new(limit, 2_000, counts_denied, has_costs);
        let mut keys = vec![KeyTrial::default(); 3];
        for (now, key, units) in requests {
            trial.note(&mut keys[*key], *units, *now);
        }
        let ask = |limit: u64| {
            let policy = Policy::new(Quota::new(limit, Duration::from_millis(2_000)));
            refused(if counts_denied { policy.count_denied() } else { policy }, has_costs, requests)
        };
        for candidate in trial.candidates() {
            assert_eq!(ask(candidate.limit), (candidate.refused, candidate.keys), "limit {}", candidate.limit);
        }
        if trial.peak > 0 {
            assert_eq!(ask(trial.peak).0, 0);
        }
        assert!(trial.peak <= 1 || ask(trial.peak - 1).0 > 0);
    }

    /// Requests so long apart, at their times.
    fn at_times(steps: Vec<(i64, usize, u64)>) -> Vec<Request> {
        let mut now = 0;
        steps
            .into_iter()
            .map(|(step, key, units)| {
                now += step;
                (now, key, units)
            })
            .collect()
    }

    #[test]
    fn the_candidates_are_round_numbers_below_the_peak() {
        let mut trial = Trial::new(60, 60_000, false, false);
        let mut key = KeyTrial::default();
        for now in 0..400 {
            trial.note(&mut key, 1, now);
        }
        let limits: Vec<u64> = trial.candidates().iter().map(|candidate| candidate.limit).collect();
        assert_eq!((trial.peak, limits), (400, vec![7, 10, 20, 50, 60, 70, 150, 300]));
        assert!(trial.candidates().iter().all(|candidate| candidate.refused == 400 - candidate.limit));
    }

    #[test]
    fn whoever_asks_once_needs_a_limit_of_one() {
        let mut trial = Trial::new(60, 60_000, false, false);
        assert_eq!(trial.note(&mut KeyTrial::default(), 1, 0), 1);
        assert_eq!((trial.peak, trial.candidates()), (1, vec![]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_candidate_refuses_what_a_limiter_of_it_would(
            steps in prop::collection::vec((0_i64..300, 0_usize..3, Just(1)), 1..300),
            limit in 1_u64..40,
            counts_denied: bool,
        ) {
            compare(limit, counts_denied, false, &at_times(steps));
        }

        #[test]
        fn every_candidate_refuses_the_costs_that_a_limiter_of_it_would(
            steps in prop::collection::vec((0_i64..300, 0_usize..3, prop_oneof![0_u64..4, 0_u64..5_000]), 1..200),
            limit in 1_u64..20_000,
            counts_denied: bool,
        ) {
            compare(limit, counts_denied, true, &at_times(steps));
        }
    }
}
