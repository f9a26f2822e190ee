//! The history of one key.

use std::time::Duration;

use crate::{
    clock::Moment,
    history::{
        compact::Stamps,
        large::Large,
        plan::{Exact, Plan, Window},
    },
};

/// By how much a history may be ahead of the clock without being brought back.
const SMALL_LEAD: Duration = Duration::from_millis(10);

/// Old units are forgotten when the newest comes into another stretch of so many ticks (18 minutes of the finest, 12 days of
/// the coarsest), at the latest. No window is longer, so after that all are younger than one stretch, and before the next
/// time than two: 32 bits tell four.
const FAR: u64 = Plan::LONGEST_COMPACT_WINDOW;

/// The admissions remembered for one key under one plan.
///
/// A caller first [`settle`](Self::settle)s the history at a moment and then asks it about that moment; only for
/// [yes or no](Self::room_at) this may be left out, because to look at the oldest unit is to wait for memory.
#[derive(Debug)]
pub(crate) struct History {
    /// When the newest unit was recorded, in full.
    newest: u64,
    log: Log,
}

#[derive(Debug)]
enum Log {
    Compact(Stamps),
    Large(Box<Large>),
}

impl History {
    pub(crate) fn fresh(plan: &Plan) -> Self {
        let log =
            if plan.is_compact() { Log::Compact(Stamps::EMPTY) } else { Log::Large(Box::new(Large::fresh(plan))) };
        Self { newest: 0, log }
    }

    /// Whether this history says the same as a fresh one: nothing it remembers counts any more.
    pub(crate) const fn is_fresh(&self, plan: &Plan, now: Moment) -> bool {
        self.newest.saturating_add(plan.horizon()) <= now.ticks(plan.tick())
    }

    /// Whether the newest unit lies after `now`: another thread read the clock later, or the clock stepped back.
    #[inline]
    pub(crate) const fn is_ahead_of(&self, plan: &Plan, now: Moment) -> bool {
        self.newest > now.stamp(plan.tick())
    }

    /// Lets go of what has left every window.
    pub(crate) fn settle(&mut self, plan: &Plan, now: Moment) {
        match &mut self.log {
            Log::Compact(stamps) => {
                let expired = now.ticks(plan.tick()).saturating_sub(plan.horizon());
                stamps.forget_until(expired, self.newest);
            }
            Log::Large(large) => large.settle(plan, self.newest, now.ticks(plan.tick())),
        }
    }

    /// Units that `window` counts, and when it has room again if it has none, else when the oldest of these units leaves.
    ///
    /// Where denials count, more than the limit may be told as the limit.
    #[inline]
    pub(crate) fn standing(&mut self, plan: &Plan, window: &Window, now: Moment) -> (u32, u64) {
        let now = now.ticks(plan.tick());
        match &mut self.log {
            Log::Compact(stamps) => {
                let expired = now.saturating_sub(window.ticks);
                let (used, oldest) = stamps.count_after(expired, self.newest, window.limit as usize);
                (used as u32, oldest + window.ticks)
            }
            Log::Large(large) => {
                let used = large.used(window, now);
                (used, large.leaves_at(plan, self.newest, window, used, window.in_the_way(used)))
            }
        }
    }

    /// Units that are remembered.
    pub(crate) fn units(&self) -> u32 {
        match &self.log {
            Log::Compact(stamps) => stamps.len() as u32,
            Log::Large(large) => large.units(),
        }
    }

    /// When the first window that has no room for one more unit has some; none if all have. That is what
    /// [`standing`](Self::standing) would say, with fewer looks, and the history need not be settled.
    #[inline]
    pub(crate) fn room_at(&mut self, plan: &Plan, now: Moment) -> Option<u64> {
        let (now, newest) = (now.ticks(plan.tick()), self.newest);
        match &mut self.log {
            Log::Compact(stamps) => plan.windows().iter().find_map(|window| {
                let expired = now.saturating_sub(window.ticks);
                Some(stamps.last_but(expired, newest, window.limit as usize)? + window.ticks)
            }),
            Log::Large(large) => {
                large.settle(plan, newest, now);
                plan.windows().iter().find_map(|window| large.room_at(plan, newest, window, now))
            }
        }
    }

    /// The tick in which unit `nth` of the `used` that `window` counts leaves it, counted from 1 at the oldest.
    #[inline]
    pub(crate) fn leaves_at(&self, plan: &Plan, window: &Window, used: u32, nth: u32) -> u64 {
        match &self.log {
            Log::Compact(stamps) => {
                let oldest = stamps.len().saturating_sub(used as usize);
                stamps.get(oldest + nth.saturating_sub(1) as usize, self.newest) + window.ticks
            }
            Log::Large(large) => large.leaves_at(plan, self.newest, window, used, nth),
        }
    }

    /// Records one unit at `now`.
    #[inline]
    pub(crate) fn charge(&mut self, plan: &Plan, now: Moment) {
        let stamp = self.newest.max(now.stamp(plan.tick()));
        let is_far = (self.newest ^ stamp) >= FAR;
        match &mut self.log {
            Log::Compact(stamps) => {
                // The memory grows only for units that count, and what is too old to be told from what is new has to go.
                if is_far || stamps.fills_its_memory() {
                    stamps.forget_until(now.ticks(plan.tick()).saturating_sub(plan.horizon()), self.newest);
                }
                let capacity = plan.exact().map_or(1, |Exact { capacity, .. }| capacity);
                // More than that there are only where denials count, or in a shared history: the newest are what matters.
                if stamps.len() >= capacity {
                    stamps.keep(capacity - 1);
                }
                stamps.push(stamp, capacity);
            }
            Log::Large(large) => large.charge(plan, stamp),
        }
        self.newest = stamp;
    }

    /// Brings units from the future down to `now`, if they are so far ahead that the clock must have stepped back.
    ///
    /// They then count for a whole window from now, and older ones as before: time that the clock takes back is never
    /// counted twice. A lead of a few milliseconds, as between threads that read different clocks, is left alone: such
    /// units simply wait until the clock has caught up. Says whether any unit was brought down.
    pub(crate) fn come_back_to(&mut self, plan: &Plan, now: Moment) -> bool {
        let latest = now.stamp(plan.tick());
        if self.newest <= now.later(SMALL_LEAD).stamp(plan.tick()) {
            return false;
        }
        match &mut self.log {
            Log::Compact(stamps) => {
                // What had left every window when the newest unit was recorded does not return. The stamp of that is
                // rounded up, so the clock may have shown one tick less.
                stamps.forget_until(self.newest.saturating_sub(plan.horizon().saturating_add(1)), self.newest);
                stamps.clamp(latest, self.newest);
            }
            Log::Large(large) => large.clamp(plan, latest, self.newest),
        }
        self.newest = latest;
        true
    }

    #[cfg(test)]
    pub(crate) fn cells(&self) -> usize {
        match &self.log {
            Log::Compact(stamps) => stamps.len(),
            Log::Large(large) => large.cells(),
        }
    }
}
