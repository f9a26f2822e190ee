//! The history of one key.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    history::{
        bucketed_log::BucketedLog,
        exact_log::ExactLog,
        plan::{Exact, Plan, Window},
        ring::Ring,
    },
};

/// Maximum lead of a history over the clock that is left alone.
const SMALL_LEAD: Duration = Duration::from_millis(10);

/// Length of a stretch in ticks: 18 minutes of the finest ticks, 12 days of the coarsest.
///
/// Old units are dropped at the latest when the newest unit enters another stretch. No window is longer, so the remaining
/// units are then younger than one stretch, and never older than two. 32 bits tell four apart.
const STRETCH: u64 = Plan::LONGEST_COMPACT_WINDOW;

/// Units of one tick that are moved to another shape, at most. It bounds the time that moving a history takes.
const MOST_RESTORED: u64 = 1 << 24;

/// The sliding-window log of one key under one plan.
///
/// Callers [`expire`](Self::expire) a history before they ask about that time. [`room_at`](Self::room_at) needs no such
/// call, because reading the oldest unit would wait for memory.
#[derive(Debug)]
pub(crate) struct History {
    /// Tick of the newest unit, in full.
    newest: u64,
    log: Log,
}

#[derive(Debug)]
enum Log {
    Exact(ExactLog),
    Bucketed(Box<BucketedLog>),
}

impl History {
    /// Returns the same history in the shape of another plan. What only the other remembers longer is not there; no unit
    /// leaves earlier than before, and later by at most what the shapes differ in precision.
    pub(crate) fn reshaped(self, from: &Plan, to: &Plan) -> Self {
        if from.tick() == to.tick() && from.is_compact() && to.is_compact() {
            return self;
        }
        let mut reshaped = Self::new(to);
        for (tick, units) in self.recorded(from) {
            let tick = to.tick().from(from.tick(), tick);
            for _ in 0..units.min(MOST_RESTORED) {
                reshaped.restore(to, tick);
            }
        }
        reshaped
    }

    /// Records one unit of another shape. All of them are kept, also those beyond the limits: the next shape may be one in which
    /// they matter again.
    fn restore(&mut self, plan: &Plan, tick: u64) {
        let tick = self.newest.max(tick);
        match &mut self.log {
            Log::Exact(log) => {
                log.expire_until(tick.saturating_sub(plan.horizon()), self.newest);
                log.keep(Ring::LARGEST - 1);
                log.push(tick, Ring::LARGEST);
            }
            Log::Bucketed(log) => log.restore(plan, tick),
        }
        self.newest = tick;
    }

    /// Returns the ticks in which units count as recorded, oldest first, and how many in each.
    fn recorded(&self, plan: &Plan) -> Vec<(u64, u64)> {
        match &self.log {
            Log::Exact(log) => (0..log.len()).map(|at| (log.get(at, self.newest), 1)).collect(),
            Log::Bucketed(log) => log.recorded(plan, self.newest),
        }
    }

    pub(crate) fn new(plan: &Plan) -> Self {
        let log = if plan.is_compact() {
            Log::Exact(ExactLog::EMPTY)
        } else {
            Log::Bucketed(Box::new(BucketedLog::new(plan)))
        };
        Self { newest: 0, log }
    }

    /// Returns `true` if no unit counts any more, so that the history answers as a new one does.
    pub(crate) const fn is_idle(&self, plan: &Plan, now: Timestamp) -> bool {
        self.newest.saturating_add(plan.horizon()) <= now.floor_ticks(plan.tick())
    }

    /// Returns `true` if the newest unit lies after `now`: another thread read the clock later, or the clock stepped back.
    #[inline]
    pub(crate) const fn is_ahead_of(&self, plan: &Plan, now: Timestamp) -> bool {
        self.newest > now.ceil_ticks(plan.tick())
    }

    /// Drops the units that have left every window.
    pub(crate) fn expire(&mut self, plan: &Plan, now: Timestamp) {
        match &mut self.log {
            Log::Exact(log) => {
                let expired = now.floor_ticks(plan.tick()).saturating_sub(plan.horizon());
                log.expire_until(expired, self.newest);
            }
            Log::Bucketed(log) => log.expire(plan, self.newest, now.floor_ticks(plan.tick())),
        }
    }

    /// Returns the number of units that `window` counts, and the tick in which it has room again. If it has room now,
    /// returns the tick in which the oldest of these units leaves.
    ///
    /// Where denials count, a number above the limit may be returned as the limit.
    #[inline]
    pub(crate) fn usage(&mut self, plan: &Plan, window: &Window, now: Timestamp) -> (u64, u64) {
        let now = now.floor_ticks(plan.tick());
        match &mut self.log {
            Log::Exact(log) => {
                let expired = now.saturating_sub(window.ticks);
                let (used, oldest) = log.count_after(expired, self.newest, window.limit_as_len());
                (used as u64, oldest + window.ticks)
            }
            Log::Bucketed(log) => {
                let used = log.used(window, now);
                (used, log.leaves_at(plan, self.newest, window, used, window.excess(used)))
            }
        }
    }

    /// Returns the number of remembered units.
    pub(crate) fn units(&self) -> u64 {
        match &self.log {
            Log::Exact(log) => log.len() as u64,
            Log::Bucketed(log) => log.units(),
        }
    }

    /// Returns the tick in which the first window that is full has room again, or `None` if all windows have room.
    ///
    /// Agrees with [`usage`](Self::usage), reads fewer entries, and the history need not be expired.
    #[inline]
    pub(crate) fn room_at(&mut self, plan: &Plan, now: Timestamp) -> Option<u64> {
        let (now, newest) = (now.floor_ticks(plan.tick()), self.newest);
        match &mut self.log {
            Log::Exact(log) => plan.windows().iter().find_map(|window| {
                let expired = now.saturating_sub(window.ticks);
                Some(log.nth_newest_after(expired, newest, window.limit_as_len())? + window.ticks)
            }),
            Log::Bucketed(log) => {
                log.expire(plan, newest, now);
                plan.windows().iter().find_map(|window| log.room_at(plan, newest, window, now))
            }
        }
    }

    /// Returns the tick in which unit `nth` of the `used` that `window` counts leaves it, counted from 1 at the oldest.
    #[inline]
    pub(crate) fn leaves_at(&self, plan: &Plan, window: &Window, used: u64, nth: u64) -> u64 {
        match &self.log {
            Log::Exact(log) => {
                let oldest = log.len().saturating_sub(used as usize);
                log.get(oldest + nth.saturating_sub(1) as usize, self.newest) + window.ticks
            }
            Log::Bucketed(log) => log.leaves_at(plan, self.newest, window, used, nth),
        }
    }

    /// Records one unit at `now`.
    #[inline]
    pub(crate) fn charge(&mut self, plan: &Plan, now: Timestamp) {
        self.record(plan, now.ceil_ticks(plan.tick()), now.floor_ticks(plan.tick()));
    }

    /// Records one unit in a tick; what had expired `now` may be dropped.
    #[inline]
    fn record(&mut self, plan: &Plan, tick: u64, now: u64) {
        let timestamp = self.newest.max(tick);
        let enters_stretch = (self.newest ^ timestamp) >= STRETCH;
        match &mut self.log {
            Log::Exact(log) => {
                // The memory grows only for units that count, and units too old for 32 bits have to go.
                if enters_stretch || log.fills_its_memory() {
                    log.expire_until(now.saturating_sub(plan.horizon()), self.newest);
                }
                let capacity = plan.exact().map_or(1, |Exact { capacity, .. }| capacity);
                // More units exist only where denials count, or in a shared history. The newest ones matter.
                if log.len() >= capacity {
                    log.keep(capacity - 1);
                }
                log.push(timestamp, capacity);
            }
            Log::Bucketed(log) => log.charge(plan, timestamp),
        }
        self.newest = timestamp;
    }

    /// Sets units from the future to `now`, if they are so far ahead that the clock must have stepped back. Returns `true`
    /// if there were any.
    ///
    /// They then count for a whole window from now, and older units as before: time that the clock takes back is never
    /// counted twice. A lead of a few milliseconds, as between threads that read different clocks, is left alone: such
    /// units wait until the clock has caught up.
    pub(crate) fn clamp_to(&mut self, plan: &Plan, now: Timestamp) -> bool {
        let latest = now.ceil_ticks(plan.tick());
        if self.newest <= now.saturating_add(SMALL_LEAD).ceil_ticks(plan.tick()) {
            return false;
        }
        match &mut self.log {
            Log::Exact(log) => {
                // Units that had left every window when the newest was recorded do not return. The newest timestamp is
                // rounded up, so the clock may have shown one tick less.
                log.expire_until(self.newest.saturating_sub(plan.horizon().saturating_add(1)), self.newest);
                log.clamp(latest, self.newest);
            }
            Log::Bucketed(log) => log.clamp(plan, latest, self.newest),
        }
        self.newest = latest;
        true
    }

    #[cfg(test)]
    pub(crate) fn entries(&self) -> usize {
        match &self.log {
            Log::Exact(log) => log.len(),
            Log::Bucketed(log) => log.entries(),
        }
    }
}
