//! The history of one key.

use crate::{
    clock::Timestamp,
    history::{
        bucketed_log::BucketedLog,
        cost_entry::{SmallEntry, WideEntry},
        cost_log::{CostLog, Costs, Identity},
        exact_log::{ExactLog, split_newest},
        newest::Newest,
        plan::{Exact, Form, Plan, Window},
        receipt::Receipt,
        ring::Ring,
        room::Room,
    },
};

/// Length of a stretch in ticks: 18 minutes of the finest ticks, 12 days of the coarsest.
///
/// Old units are dropped at the latest when the newest unit enters another stretch. No window is longer, so the remaining
/// units are then younger than one stretch, and never older than two. 32 bits tell four apart.
const STRETCH: u64 = Plan::LONGEST_COMPACT_WINDOW;

/// The sliding-window log of one key under one plan.
///
/// Callers [`expire`](Self::expire) a history before they ask about that time. [`room_at`](Self::room_at) needs no such
/// call, because reading the oldest unit would wait for memory.
#[derive(Debug)]
pub(crate) struct History {
    /// The tick of the newest unit in full, and the units that have room from then on.
    newest: Newest,
    log: Log,
}

#[derive(Debug)]
enum Log {
    Exact(ExactLog),
    Bucketed(Box<BucketedLog>),
    Costs(Box<dyn Costs>),
}

impl History {
    /// Returns the same history in the shape of another plan. What only the other remembers longer is not there; no unit
    /// leaves earlier than before, and later by at most what the shapes differ in precision.
    pub(crate) fn reshaped(self, from: &Plan, to: &Plan) -> Self {
        if from.tick() == to.tick() && from.is_compact() && to.is_compact() {
            return Self { newest: Newest::new(self.newest.tick()), ..self };
        }
        let mut reshaped = Self::new(to);
        let tick = |tick| to.tick().from(from.tick(), tick);
        // A bucket counts until its end, which may be later than the timestamps behind it.
        let mut latest = 0;
        let in_order = self.recorded(from).into_iter().map(|(at, units)| {
            latest = tick(at).max(latest);
            (latest, units)
        });
        let recorded: Vec<_> = in_order.collect();
        // Zero stands for none.
        let forgotten = |at| if at == 0 { 0 } else { tick(at) };
        let identity = self.identity().map(|kept| Identity { forgotten: forgotten(kept.forgotten), ..kept });
        let last = recorded.last().map_or(0, |(at, _)| *at);
        // With receipts no unit is recorded before one that was given back.
        let newest = if identity.is_some() { tick(self.newest.tick()) } else { last };
        reshaped.restore(to, &recorded, newest, identity);
        reshaped
    }

    /// Records units of another shape. All of them are kept, also those beyond the limits: the next shape may be one in which
    /// they matter again.
    fn restore(&mut self, plan: &Plan, recorded: &[(u64, u64)], newest: u64, identity: Option<Identity>) {
        match &mut self.log {
            Log::Exact(log) => {
                for (tick, _, units) in split_newest(recorded, Ring::LARGEST) {
                    if tick.saturating_add(plan.horizon()) > newest {
                        (0..units).for_each(|_| log.push(tick, Ring::LARGEST));
                    }
                }
            }
            Log::Bucketed(log) => log.restore(plan, recorded),
            Log::Costs(log) => log.restore(plan, recorded, newest, identity),
        }
        self.newest = Newest::new(newest);
    }

    fn identity(&self) -> Option<Identity> {
        match &self.log {
            Log::Exact(_) | Log::Bucketed(_) => None,
            Log::Costs(log) => Some(log.identity()),
        }
    }

    /// Returns the ticks in which units count as recorded, oldest first, and how many in each.
    pub(super) fn recorded(&self, plan: &Plan) -> Vec<(u64, u64)> {
        match &self.log {
            Log::Exact(log) => (0..log.len()).map(|at| (log.get(at, self.newest.tick()), 1)).collect(),
            Log::Bucketed(log) => log.recorded(plan, self.newest.tick()),
            Log::Costs(log) => log.recorded(self.newest.tick()),
        }
    }

    pub(crate) fn new(plan: &Plan) -> Self {
        let log = match plan.form() {
            Form::Exact => Log::Exact(ExactLog::EMPTY),
            Form::Bucketed => Log::Bucketed(Box::new(BucketedLog::new(plan))),
            Form::Costs => Log::Costs(Box::new(CostLog::<SmallEntry>::new(plan))),
            Form::WideCosts => Log::Costs(Box::new(CostLog::<WideEntry>::new(plan))),
        };
        Self { newest: Newest::default(), log }
    }

    /// Returns the tick of the newest unit.
    #[inline]
    pub(crate) const fn newest_tick(&self) -> u64 {
        self.newest.tick()
    }

    /// Returns `true` if no unit counts any more, so that the history answers as a new one does.
    pub(crate) const fn is_idle(&self, plan: &Plan, now: Timestamp) -> bool {
        self.newest.tick().saturating_add(plan.horizon()) <= now.floor_ticks(plan.tick())
    }

    /// Returns `true` if the newest unit lies after `now`: another thread read the clock later, or the clock stepped back.
    #[inline]
    pub(crate) const fn is_ahead_of(&self, plan: &Plan, now: Timestamp) -> bool {
        self.newest.tick() > now.ceil_ticks(plan.tick())
    }

    /// Drops the units that have left every window.
    pub(crate) fn expire(&mut self, plan: &Plan, now: Timestamp) {
        match &mut self.log {
            Log::Exact(log) => {
                let expired = now.floor_ticks(plan.tick()).saturating_sub(plan.horizon());
                log.expire_until(expired, self.newest.tick());
            }
            Log::Bucketed(log) => log.expire(plan, self.newest.tick(), now.floor_ticks(plan.tick())),
            Log::Costs(log) => log.expire(plan, self.newest.tick(), now.floor_ticks(plan.tick())),
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
                let (used, oldest) = log.count_after(expired, self.newest.tick(), window.limit_as_len());
                (used as u64, oldest + window.ticks)
            }
            Log::Bucketed(log) => {
                let used = log.used(window, now);
                (used, log.leaves_at(plan, self.newest.tick(), window, used, window.excess(used)))
            }
            Log::Costs(log) => {
                let (used, changes_at) = log.usage(plan, window, 1, self.newest.tick(), now);
                (used, changes_at.unwrap_or(u64::MAX))
            }
        }
    }

    /// Returns the number of remembered units.
    pub(crate) fn units(&self) -> u64 {
        match &self.log {
            Log::Exact(log) => log.len() as u64,
            Log::Bucketed(log) => log.units(),
            Log::Costs(log) => log.units(),
        }
    }

    /// Returns the tick in which the full window of the lowest rate has room again, or `None` if all windows have room.
    ///
    /// Agrees with [`usage`](Self::usage), reads fewer entries, and the history need not be expired.
    #[inline]
    pub(crate) fn room_at(&mut self, plan: &Plan, now: Timestamp) -> Option<u64> {
        let (now, newest) = (now.floor_ticks(plan.tick()), self.newest.tick());
        match &mut self.log {
            Log::Exact(log) => plan.by_rate().iter().find_map(|window| {
                let expired = now.saturating_sub(window.ticks);
                Some(log.nth_newest_after(expired, newest, window.limit_as_len())? + window.ticks)
            }),
            Log::Bucketed(log) => {
                log.expire(plan, newest, now);
                plan.by_rate().iter().find_map(|window| log.room_at(plan, newest, window, now))
            }
            Log::Costs(log) => log.room(plan, 1, newest, now).tick(),
        }
    }

    /// Returns the tick in which unit `nth` of the `used` that `window` counts leaves it, counted from 1 at the oldest.
    #[inline]
    pub(crate) fn leaves_at(&self, plan: &Plan, window: &Window, used: u64, nth: u64) -> u64 {
        match &self.log {
            Log::Exact(log) => {
                let oldest = log.len().saturating_sub(used as usize);
                log.get(oldest + nth.saturating_sub(1) as usize, self.newest.tick()) + window.ticks
            }
            Log::Bucketed(log) => log.leaves_at(plan, self.newest.tick(), window, used, nth),
            Log::Costs(log) => log.leaves_at(window, used, nth, self.newest.tick()),
        }
    }

    /// Records one unit if all windows have room for it. If not, returns the tick in which the full window of the lowest rate has room.
    #[inline]
    pub(crate) fn charge_if_room(&mut self, plan: &Plan, now: Timestamp) -> Option<u64> {
        if self.charge_on_credit(plan, now) {
            return None;
        }
        let room_at = self.room_at(plan, now);
        if room_at.is_none() {
            self.charge_with_room(plan, now);
        }
        room_at
    }

    /// Records one unit if it is known to have room, which takes no look at the log. Returns `false` if it is not known.
    #[inline]
    pub(crate) fn charge_on_credit(&mut self, plan: &Plan, now: Timestamp) -> bool {
        let has_credit = self.has_credit(plan, now);
        if has_credit {
            self.charge(plan, now);
        }
        has_credit
    }

    /// Returns `true` if one unit is known to have room.
    ///
    /// The credit is that of the only plan without siblings. A thread whose clock lags behind the newest unit has to look, since
    /// more units may count at its time.
    #[inline]
    pub(crate) const fn has_credit(&self, plan: &Plan, now: Timestamp) -> bool {
        self.newest.credit() > 0 && !self.is_ahead_of(plan, now) && !plan.has_siblings()
    }

    /// Records one unit that all windows have room for, and notes how many more they have room for.
    pub(crate) fn charge_with_room(&mut self, plan: &Plan, now: Timestamp) {
        let free = if self.newest.credit() > 0 { 0 } else { self.free_units(plan, now) };
        self.charge(plan, now);
        if free > 1 {
            self.newest = self.newest.with_credit(free - 1);
        }
    }

    /// Returns a number of units that all windows have room for now and later, often half of all that they do.
    fn free_units(&self, plan: &Plan, now: Timestamp) -> usize {
        let Log::Exact(log) = &self.log else { return 0 };
        if !plan.may_have_credit() {
            return 0;
        }
        // The clock of another thread may lag by a part of a tick, unseen.
        let now = now.ceil_ticks(plan.tick()).saturating_sub(1);
        plan.windows().iter().fold(Newest::MOST_CREDIT, |most, window| {
            let expired = now.saturating_sub(window.ticks);
            log.free(expired, self.newest.tick(), window.limit_as_len(), most)
        })
    }

    /// Records one unit at `now`.
    #[inline]
    pub(crate) fn charge(&mut self, plan: &Plan, now: Timestamp) {
        let timestamp = self.newest.tick().max(now.ceil_ticks(plan.tick()));
        let is_recorded = match &mut self.log {
            Log::Exact(log) if (self.newest.tick() ^ timestamp) < STRETCH => {
                log.push_in_place(timestamp, capacity(plan))
            }
            _ => false,
        };
        if !is_recorded {
            self.record(plan, timestamp, now.floor_ticks(plan.tick()));
        }
        self.newest = self.newest.charged_at(timestamp);
    }

    /// Records one unit in a tick that is not before the newest; what had expired `now` may be dropped.
    #[inline(never)]
    fn record(&mut self, plan: &Plan, timestamp: u64, now: u64) {
        let newest = self.newest.tick();
        match &mut self.log {
            Log::Exact(log) => {
                // The memory grows only for units that count, and units too old for 32 bits have to go.
                if (newest ^ timestamp) >= STRETCH || log.fills_its_memory() {
                    log.expire_until(now.saturating_sub(plan.horizon()), newest);
                }
                // A limit that was lowered may be raised again, so memory of the larger one is kept full.
                let capacity = capacity(plan).max(log.memory());
                // More units exist only where denials count, or in a shared history. The newest ones matter.
                if log.len() >= capacity {
                    log.keep(capacity - 1);
                }
                log.push(timestamp, capacity);
            }
            Log::Bucketed(log) => log.charge(plan, timestamp),
            Log::Costs(log) => log.charge(plan, 1, timestamp, newest, now),
        }
    }

    /// Sets units from the future to `now`, if they are so far ahead that the clock must have stepped back. Returns `true`
    /// if there were any.
    ///
    /// They then count for a whole window from now, and older units as before: time that the clock takes back is never
    /// counted twice. A lead of a few milliseconds, as between threads that read different clocks, is left alone: such
    /// units wait until the clock has caught up.
    pub(crate) fn clamp_to(&mut self, plan: &Plan, now: Timestamp) -> bool {
        let latest = now.ceil_ticks(plan.tick());
        if self.newest.tick() <= now.saturating_add(Plan::SMALL_LEAD).ceil_ticks(plan.tick()) {
            return false;
        }
        match &mut self.log {
            Log::Exact(log) => {
                // Units that had left every window when the newest was recorded do not return. The newest timestamp is
                // rounded up, so the clock may have shown one tick less.
                let newest = self.newest.tick();
                log.expire_until(newest.saturating_sub(plan.horizon().saturating_add(1)), newest);
                log.clamp(latest, newest);
            }
            Log::Bucketed(log) => log.clamp(plan, latest, self.newest.tick()),
            Log::Costs(log) => {
                let expired = self.newest.tick().saturating_sub(plan.horizon().saturating_add(1));
                log.clamp(expired, latest, self.newest.tick());
            }
        }
        self.newest = Newest::new(latest);
        true
    }

    #[cfg(test)]
    pub(crate) fn entries(&self) -> usize {
        match &self.log {
            Log::Exact(log) => log.len(),
            Log::Bucketed(log) => log.entries(),
            Log::Costs(log) => log.entries(),
        }
    }

    /// Returns the bytes on the heap of a log of costs.
    #[cfg(test)]
    pub(super) fn bytes_of_costs(&self) -> usize {
        if let Log::Costs(log) = &self.log { log.bytes() } else { 0 }
    }
}

/// What requests with costs need.
///
/// With a plan that is not [for costs](Plan::for_costs_among) the answers are right as well, but nothing can be given back.
impl History {
    /// Returns the number of units that `window` counts, without regard to its limit.
    pub(crate) fn used(&mut self, plan: &Plan, window: &Window, now: Timestamp) -> u64 {
        match &mut self.log {
            Log::Costs(log) => log.used(plan, window, self.newest.tick(), now.floor_ticks(plan.tick())),
            // An exact log counts up to the limit.
            Log::Exact(_) | Log::Bucketed(_) => self.usage(plan, &Window { limit: u64::MAX, ..*window }, now).0,
        }
    }

    /// Returns the number of units that `window` counts, and the tick in which it has room for a cost. If it has room now,
    /// returns the tick in which the oldest of these units leaves, and if it never has, `None`.
    pub(crate) fn usage_for(&mut self, plan: &Plan, window: &Window, units: u64, now: Timestamp) -> (u64, Option<u64>) {
        if let Log::Costs(log) = &mut self.log {
            return log.usage(plan, window, units, self.newest.tick(), now.floor_ticks(plan.tick()));
        }
        let used = self.used(plan, window, now);
        let leaves = |excess: u64| self.leaves_at(plan, window, used, excess.max(1));
        (used, window.excess_for(used, units).map(leaves))
    }

    /// Returns when all windows have room for a cost, if nothing else is charged. A cost of nothing has room in every window
    /// that does not count more units than its limit.
    pub(crate) fn room_for(&mut self, plan: &Plan, units: u64, now: Timestamp) -> Room {
        if let Log::Costs(log) = &mut self.log {
            return log.room(plan, units, self.newest.tick(), now.floor_ticks(plan.tick()));
        }
        self.expire(plan, now);
        let rooms = plan.windows().iter().map(|window| match self.usage_for(plan, window, units, now) {
            (_, None) => Room::Never,
            (used, Some(_)) if window.excess_for(used, units) == Some(0) => Room::Now,
            (_, Some(tick)) => Room::At(tick),
        });
        rooms.max().unwrap_or(Room::Now)
    }

    /// Records units at `now`, whether there is room or not. Nothing is recorded for a cost of nothing.
    pub(crate) fn charge_units(&mut self, plan: &Plan, units: u64, now: Timestamp) -> Receipt {
        if units == 0 {
            return Receipt::NONE;
        }
        let (timestamp, asked) = (self.newest.tick().max(now.ceil_ticks(plan.tick())), now.floor_ticks(plan.tick()));
        match &mut self.log {
            Log::Costs(log) => {
                log.charge(plan, units, timestamp, self.newest.tick(), asked);
                let recorded_at = Timestamp::from_nanos(plan.tick().beginning(timestamp));
                self.newest = Newest::new(timestamp);
                return Receipt { id: Some(log.identity().id), recorded_at };
            }
            Log::Bucketed(log) => {
                log.restore(plan, &[(timestamp, units.min(plan.most_units()))]);
                self.newest = Newest::new(timestamp);
            }
            // More cannot change any answer.
            Log::Exact(_) => (0..units.min(plan.most_units())).for_each(|_| self.charge(plan, now)),
        }
        Receipt::NONE
    }

    /// Takes back units that were charged, and returns how many. All windows that still count them have more room.
    ///
    /// Nothing is given back for units that have left every window, nor for a receipt of another history or from before the
    /// clock stepped back. Callers give back at most the units of a charge, and once.
    pub(crate) fn give_back(&mut self, plan: &Plan, receipt: Receipt, units: u64, now: Timestamp) -> u64 {
        let recorded_at = receipt.recorded_at.ceil_ticks(plan.tick());
        let expired = now.floor_ticks(plan.tick()).saturating_sub(plan.horizon());
        self.log_of(receipt).map_or(0, |(log, newest)| log.give_back(recorded_at, units, newest, expired))
    }

    /// Returns the log of costs that a receipt is of, and the tick of its newest unit.
    fn log_of(&mut self, receipt: Receipt) -> Option<(&mut dyn Costs, u64)> {
        match &mut self.log {
            Log::Costs(log) if receipt.id == Some(log.identity().id) => Some((log.as_mut(), self.newest.tick())),
            _ => None,
        }
    }
}

/// Returns the maximum number of entries of an exact log.
#[inline]
fn capacity(plan: &Plan) -> usize {
    plan.exact().map_or(1, |Exact { capacity, .. }| capacity)
}
