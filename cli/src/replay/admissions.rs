//! What several limits would have admitted of one key.

use smallvec::SmallVec;

use crate::replay::{Candidate, Demand, Epoch, LONGEST_WINDOW, RollingCount};

/// A limit up to this has a ring of as many slots. Larger ones have a log, whose moments are taken together.
const MOST_SLOTS: u64 = 4096;

/// The admissions of one key by each of some limits, lowest limit first.
///
/// A ring has a slot for each request that its limit admits in a window: a request is admitted if the one whose slot it takes,
/// as many admissions ago as the limit is, has left the window. So nothing has to be expired or counted, and one slot of each
/// ring is looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admissions {
    epoch: Epoch,
    /// The rings, one behind the other.
    slots: Vec<u32>,
    /// The index of the oldest slot of each ring.
    oldest: SmallVec<[u16; 8]>,
    /// The limits that have no ring, which are the largest ones.
    logs: Vec<RollingCount>,
}

impl Admissions {
    /// Adds a limit that is larger than all before, and has admitted all of this `demand` so far. It has no ring if requests
    /// may cost other than one unit.
    pub(crate) fn push(&mut self, limit: u64, has_costs: bool, demand: &Demand, now: i64, window: i64) {
        if has_costs || !self.logs.is_empty() || limit > MOST_SLOTS || window > LONGEST_WINDOW {
            self.logs.push(demand.to_log(window));
            return;
        }
        self.epoch.horizon(now, window, || self.slots.iter_mut());
        let (from, epoch) = (self.slots.len(), self.epoch);
        self.slots.reserve_exact(limit as usize);
        self.slots.extend(demand.moments().map(|moment| epoch.short(moment)).take(limit as usize));
        self.oldest.push(((self.slots.len() - from) as u64 % limit) as u16);
        self.slots.resize(from + limit as usize, 0);
    }

    /// Removes the limits of these levels, which are the lowest.
    pub(crate) fn remove_lowest(&mut self, levels: &[Candidate]) {
        let rings = levels.len().min(self.oldest.len());
        let slots: u64 = levels[..rings].iter().map(|level| level.limit).sum();
        self.slots.drain(..slots as usize);
        self.oldest.drain(..rings);
        self.logs.drain(..(levels.len() - rings).min(self.logs.len()));
    }

    /// Asks all limits about a request, and counts the refusals. The levels begin with those of these limits.
    #[inline]
    pub(crate) fn ask(&mut self, units: u64, now: i64, window: i64, levels: &mut [Candidate]) {
        let (of_rings, of_logs) = levels.split_at_mut(self.oldest.len());
        self.ask_rings(now, window, of_rings);
        for (log, level) in self.logs.iter_mut().zip(of_logs) {
            log.expire(now, window);
            if log.count().saturating_add(units) > level.limit {
                level.refused += 1;
            } else {
                log.push(units, now, window);
            }
        }
    }

    #[inline]
    fn ask_rings(&mut self, now: i64, window: i64, levels: &mut [Candidate]) {
        if self.oldest.is_empty() {
            return;
        }
        let horizon = self.epoch.horizon(now, window, || self.slots.iter_mut());
        let mut slots = &mut self.slots[..];
        for (oldest, level) in self.oldest.iter_mut().zip(levels) {
            let (ring, behind) = slots.split_at_mut(level.limit as usize);
            let slot = &mut ring[*oldest as usize];
            if *slot > horizon {
                level.refused += 1;
            } else {
                *slot = horizon + window as u32;
                *oldest = if u64::from(*oldest + 1) == level.limit { 0 } else { *oldest + 1 };
            }
            slots = behind;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: [u64; 4] = [1, 2, 3, 5_000];

    /// Asks the limits about requests at these times, and returns how many each has refused.
    fn refused(window: i64, times: impl IntoIterator<Item = i64>) -> [u64; 4] {
        let (mut admissions, mut levels) = (Admissions::default(), LIMITS.map(Candidate::new));
        for now in times {
            admissions.ask(1, now, window, &mut levels);
            if admissions.oldest.len() + admissions.logs.len() == 0 {
                LIMITS.iter().for_each(|limit| admissions.push(*limit, false, &Demand::default(), now, window));
                admissions.ask(1, now, window, &mut levels);
            }
        }
        levels.map(|level| level.refused)
    }

    #[test]
    fn a_slot_is_free_exactly_when_the_window_has_passed() {
        assert_eq!(refused(1_000, [5, 1_004, 1_005, 2_005, 3_004]), [2, 0, 0, 0]);
        assert_eq!(refused(1_000, [5, 5, 5, 5, 1_004, 1_005]), [4, 3, 2, 0]);
    }

    #[test]
    fn times_of_many_months_are_told_apart() {
        let days = |days: i64| days * 86_400_000;
        for gap in [1, 49, 50, 99, 400].map(days) {
            let times = [0, 1, gap, gap + 1, gap + 999, gap + 1_000, 3 * gap];
            assert_eq!(refused(1_000, times), [3, 1, 0, 0], "{gap}");
        }
    }

    #[test]
    fn a_window_that_is_longer_than_rings_can_tell_has_logs() {
        let window = LONGEST_WINDOW + 1;
        assert_eq!(refused(window, [0, window - 1, window]), [1, 0, 0, 0]);
    }

    #[test]
    fn a_new_limit_has_admitted_what_came_so_far_and_the_lowest_can_be_forgotten() {
        let (mut admissions, mut demand, mut levels) =
            (Admissions::default(), Demand::default(), LIMITS.map(Candidate::new));
        assert!(!demand.push(1, 7, 1_000, true) && !demand.push(1, 8, 1_000, true));
        admissions.push(1, false, &demand, 9, 1_000);
        admissions.push(2, false, &demand, 9, 1_000);
        admissions.ask(1, 9, 1_000, &mut levels);
        assert_eq!(levels.map(|level| level.refused), [1, 1, 0, 0]);
        admissions.remove_lowest(&levels[..1]);
        admissions.ask(1, 1_007, 1_000, &mut levels[1..]);
        admissions.ask(1, 1_007, 1_000, &mut levels[1..]);
        assert_eq!((admissions.oldest.len(), levels.map(|level| level.refused)), (1, [1, 2, 0, 0]));
    }
}
