//! What is counted of one key.

use smallvec::SmallVec;

use crate::replay::{KeyTrial, Stretch, Trial};

/// A key of a rule, and what became of its requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyStats {
    /// The parts of the key, as people read them.
    pub(crate) name: Box<str>,
    /// The index of its rule, or of the tier of it.
    pub(crate) rule: usize,
    pub(crate) requests: u64,
    /// The units that these cost.
    pub(crate) units: u64,
    /// Most keys have none.
    refusals: Option<Box<Refusals>>,
    pub(crate) trials: SmallVec<[KeyTrial; 2]>,
}

/// The refusals of a key.
#[derive(Clone, Debug)]
struct Refusals {
    count: u64,
    first: i64,
    longest: Stretch,
    /// The present run of refusals.
    present: Option<Stretch>,
}

impl KeyStats {
    pub(crate) fn new(name: &str, rule: usize, quotas: usize) -> Self {
        Self { name: name.into(), rule, trials: (0..quotas).map(|_| KeyTrial::default()).collect(), ..Self::default() }
    }

    /// Counts a request that was refused, or not.
    #[inline]
    pub(crate) fn note(&mut self, now: i64, units: u64, is_refused: bool) {
        self.requests += 1;
        self.units = self.units.saturating_add(units);
        match &mut self.refusals {
            Some(refusals) if is_refused => refusals.note(now),
            Some(refusals) => refusals.present = None,
            None if is_refused => self.refusals = Some(Box::new(Refusals::new(now))),
            None => {}
        }
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refusals.as_ref().map_or(0, |refusals| refusals.count)
    }

    pub(crate) fn first_refused(&self) -> Option<i64> {
        self.refusals.as_ref().map(|refusals| refusals.first)
    }

    /// Returns the longest time in which all its requests were refused.
    pub(crate) fn longest(&self) -> Option<Stretch> {
        self.refusals.as_ref().map(|refusals| refusals.longest)
    }

    /// Returns the most units in the window of any quota, as a share of its limit: who suffers first.
    pub(crate) fn pressure(&self, trials: &[Trial]) -> f64 {
        let shares = self.trials.iter().zip(trials).map(|(key, trial)| key.peak as f64 / trial.limit.max(1) as f64);
        shares.fold(0.0, f64::max)
    }

    /// Returns `true` if nothing of it counts any more, and nothing of it is worth a line of the report.
    pub(crate) fn is_forgettable(&mut self, now: i64, trials: &[Trial]) -> bool {
        self.refusals.is_none() && self.trials.iter_mut().zip(trials).all(|(key, trial)| key.is_idle(now, trial.window))
    }
}

impl Refusals {
    const fn new(now: i64) -> Self {
        let stretch = Stretch { from: now, until: now, refused: 1 };
        Self { count: 1, first: now, longest: stretch, present: Some(stretch) }
    }

    fn note(&mut self, now: i64) {
        self.count += 1;
        let stretch = self.present.get_or_insert(Stretch { from: now, until: now, refused: 0 });
        stretch.until = now;
        stretch.refused += 1;
        if stretch.is_longer_than(self.longest) {
            self.longest = *stretch;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_stretch_is_the_one_that_took_longest() {
        let mut key = KeyStats::new("a", 0, 1);
        for (now, is_refused) in [
            (0, false),
            (10, true),
            (20, true),
            (30, false),
            (40, true),
            (90, true),
            (91, true),
            (95, false),
            (99, true),
        ] {
            key.note(now, 2, is_refused);
        }
        assert_eq!(key.longest(), Some(Stretch { from: 40, until: 91, refused: 3 }));
        assert_eq!((key.requests, key.units, key.refused(), key.first_refused()), (9, 18, 6, Some(10)));
    }
}
