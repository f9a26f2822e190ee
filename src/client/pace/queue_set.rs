//! The queues of all keys, and the tickets that wait in them.

use std::{collections::BTreeMap, task::Waker, time::Duration};

use hashbrown::HashMap;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::client::pace::{
    queue::{Queue, QueueKey, QueueKeys, Ticket},
    settings::{ScopeLimits, Settings, saturating_add},
};

/// The least number of queues before idle ones are swept.
const MIN_SWEEP: usize = 64;
/// The time after which a ticket that was due and is not polled is woken again, and set aside after as long once more.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// The queues of all keys, and the tickets that wait in them. A ticket waits
///
/// * in those queues that kept it longest when it asked, until it goes: so it keeps its turn there, except where that is
///   of no use for longer than any window of that queue; and
/// * in one queue where another ticket is before it.
///
/// In the queues of its other keys it stands in nobody's way: a call that waits for its account holds up none of other
/// accounts on the same host. It is never overtaken by a call with the same keys, and it never waits for younger tickets,
/// so there is no deadlock. And it is in every queue at last where it may go soon, so there is no starvation.
///
/// A ticket whose future nobody polls would hold up all those behind it. So one that is late is set aside: it is in no
/// queue until it is polled again, and has its position then.
#[derive(Debug, Default)]
pub(super) struct QueueSet {
    queues: HashMap<QueueKey, Queue>,
    /// By ticket number: the oldest first.
    waiters: BTreeMap<u64, Waiter>,
    /// To be woken once the lock is released.
    woken: SmallVec<[Waker; 2]>,
    /// The number of queues at which the idle ones are swept, including those that became idle by the passing of time.
    sweep_at: usize,
}

/// A ticket that waits.
#[derive(Debug)]
struct Waiter {
    since: Instant,
    /// The queues that had no room for it.
    full: QueueKeys,
    /// A queue in which another ticket is before it.
    behind: Option<QueueKey>,
    /// A response may end its wait.
    is_held: bool,
    is_woken: bool,
    /// The time at which it is to ask again, by its own timer or because it was woken.
    due: Instant,
    /// Since when it is known to be late.
    late_since: Option<Instant>,
    waker: Option<Waker>,
}

/// The obstacle that keeps a ticket from asking the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    None,
    /// Another ticket is before it in this queue.
    Behind(QueueKey),
    /// No call of this queue may go before this time, unless a response says otherwise.
    Closed(QueueKey, Instant),
}

impl Obstacle {
    /// Returns the queue in which another ticket is before.
    pub(super) const fn behind(self) -> Option<QueueKey> {
        match self {
            Self::Behind(key) => Some(key),
            Self::None | Self::Closed(..) => None,
        }
    }

    fn ends_before(self, time: Instant) -> bool {
        !matches!(self, Self::Closed(_, until) if until >= time)
    }
}

impl QueueSet {
    /// Returns the number of waiting tickets.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Returns since when the oldest ticket waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.waiters.first_key_value().map(|(_, waiter)| waiter.since)
    }

    /// Returns since when this ticket waits.
    pub(super) fn waiting_since(&self, number: u64) -> Option<Instant> {
        self.waiters.get(&number).map(|waiter| waiter.since)
    }

    /// Returns `true` if this ticket waits.
    pub(super) fn contains(&self, number: u64) -> bool {
        self.waiters.contains_key(&number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&QueueKey, &Queue)> {
        self.queues.iter()
    }

    pub(super) fn get(&self, key: QueueKey) -> Option<&Queue> {
        self.queues.get(&key)
    }

    /// Returns the queue of this key, which is a new one if nothing is known of the key.
    pub(super) fn get_or_insert(
        &mut self,
        key: QueueKey,
        limits: Option<&ScopeLimits>,
        now: Instant,
        settings: &Settings,
    ) -> &mut Queue {
        self.sweep(now);
        self.queues.entry(key).or_insert_with(|| Queue::new(limits, now, settings))
    }

    /// Returns the obstacle in a ticket's way: the first ticket before it, or the queue that is closed for longest.
    pub(super) fn obstacle(&mut self, ticket: &Ticket, now: Instant, settings: &Settings) -> Obstacle {
        let mut closed = Obstacle::None;
        for key in &ticket.keys {
            self.remove_if_idle(*key, now);
            self.set_late_ones_aside(*key, ticket.number, now);
            let Some(queue) = self.queues.get_mut(key) else { continue };
            if queue.is_ahead_of(ticket.number) {
                return Obstacle::Behind(*key);
            }
            if let Some(until) = queue.closed_until(now, settings).filter(|until| closed.ends_before(*until)) {
                closed = Obstacle::Closed(*key, until);
            }
        }
        closed
    }

    /// Notes that the ticket, which has joined these queues, waits for the end of the obstacle. It asks again when it is
    /// due at the latest.
    pub(super) fn enqueue(
        &mut self,
        ticket: &Ticket,
        full: &[QueueKey],
        obstacle: Obstacle,
        due: Instant,
        now: Instant,
    ) {
        let waiter = self.waiters.entry(ticket.number).or_insert_with(|| Waiter::new(ticket.drawn_at, due));
        (waiter.due, waiter.late_since) = (due, None);
        for key in full {
            if !waiter.full.contains(key) {
                waiter.full.push(*key);
            }
        }
        waiter.is_held = matches!(obstacle, Obstacle::Closed(..));
        let behind = obstacle.behind();
        let left = std::mem::replace(&mut waiter.behind, behind);
        if let Some(left) = left.filter(|left| Some(*left) != behind && !waiter.full.contains(left)) {
            self.leave_queue(left, ticket.number, now);
        }
    }

    /// Lets the ticket leave those queues in which a turn is useless to it.
    pub(super) fn give_up_turns(&mut self, number: u64, is_useless: impl Fn(QueueKey) -> bool, now: Instant) {
        let Some(waiter) = self.waiters.get_mut(&number) else { return };
        let (left, kept): (QueueKeys, QueueKeys) = waiter.full.iter().copied().partition(|key| is_useless(*key));
        waiter.full = kept;
        for key in left {
            self.leave_queue(key, number, now);
        }
    }

    /// Returns `true` if the ticket was woken. If not then this waker will be.
    pub(super) fn park(&mut self, number: u64, waker: &Waker) -> bool {
        self.touch(number, waker);
        self.waiters.get_mut(&number).is_none_or(|waiter| std::mem::take(&mut waiter.is_woken))
    }

    /// Notes that the ticket is being polled, and is to be woken by this waker.
    pub(super) fn touch(&mut self, number: u64, waker: &Waker) {
        let Some(waiter) = self.waiters.get_mut(&number) else { return };
        waiter.late_since = None;
        if !waiter.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            waiter.waker = Some(waker.clone());
        }
    }

    /// Removes the ticket from all queues.
    pub(super) fn leave(&mut self, number: u64, now: Instant) {
        let Some(waiter) = self.waiters.remove(&number) else { return };
        for key in waiter.full.into_iter().chain(waiter.behind) {
            self.leave_queue(key, number, now);
        }
    }

    /// Wakes the first ticket of the queue if a response may have ended its wait.
    pub(super) fn wake_first_if_held(&mut self, key: QueueKey, now: Instant) {
        self.wake_first(key, now, |waiter| waiter.is_held);
    }

    pub(super) fn remove_if_idle(&mut self, key: QueueKey, now: Instant) {
        if self.queues.get(&key).is_some_and(|queue| queue.is_idle(now)) {
            self.queues.remove(&key);
        }
    }

    /// Takes the wakers of all tickets that were woken.
    pub(super) fn take_woken(&mut self) -> SmallVec<[Waker; 2]> {
        std::mem::take(&mut self.woken)
    }

    /// Returns when a ticket checks whether the first of the queue is late: the nearer it is the sooner, so that many
    /// tickets cost little.
    pub(super) fn check_at(&self, key: QueueKey, number: u64, now: Instant) -> Option<Instant> {
        let queue = self.queues.get(&key)?;
        let first = self.waiters.get(&queue.first()?)?;
        if let Some(since) = first.late_since {
            return Some(saturating_add(since, GRACE));
        }
        let ahead = u32::try_from(queue.waiting_before(number)).unwrap_or(u32::MAX).max(1);
        Some(saturating_add(first.due.max(now), GRACE.saturating_mul(ahead)))
    }

    fn leave_queue(&mut self, key: QueueKey, number: u64, now: Instant) {
        if self.queues.get_mut(&key).is_some_and(|queue| queue.leave(number)) {
            self.wake_next(key, now);
        }
        self.remove_if_idle(key, now);
    }

    /// Wakes the first ticket of the queue, whatever it waits for.
    pub(super) fn wake_next(&mut self, key: QueueKey, now: Instant) {
        self.wake_first(key, now, |_| true);
    }

    fn wake_first(&mut self, key: QueueKey, now: Instant, is_wanted: impl Fn(&Waiter) -> bool) {
        let first = self.queues.get(&key).and_then(Queue::first);
        let waiter = first.and_then(|first| self.waiters.get_mut(&first));
        if let Some(waiter) = waiter.filter(|waiter| is_wanted(waiter)) {
            waiter.is_woken = true;
            waiter.due = waiter.due.min(now);
            self.woken.extend(waiter.waker.take());
        }
    }

    /// Sets aside the tickets before this one that are late, and wakes those that have just become so. As long as the first
    /// one is on time there is nothing to look for.
    fn set_late_ones_aside(&mut self, key: QueueKey, number: u64, now: Instant) {
        let Some(queue) = self.queues.get(&key) else { return };
        let first = queue.first().filter(|first| *first < number).and_then(|first| self.waiters.get(&first));
        if !first.is_some_and(|first| first.is_overdue(now)) {
            return;
        }
        let ahead: Vec<u64> = queue.tickets().take_while(|other| *other < number).collect();
        for other in ahead {
            let Some(waiter) = self.waiters.get_mut(&other) else { continue };
            if waiter.is_late(now) {
                self.set_aside(other, now);
            } else if waiter.late_since == Some(now) {
                self.woken.extend(waiter.waker.take());
            }
        }
    }

    /// Takes the ticket out of all queues until it is polled, which makes it ask at once.
    fn set_aside(&mut self, number: u64, now: Instant) {
        let Some(waiter) = self.waiters.get_mut(&number) else { return };
        waiter.is_woken = true;
        let left = std::mem::take(&mut waiter.full).into_iter().chain(waiter.behind.take());
        for key in left.collect::<QueueKeys>() {
            self.leave_queue(key, number, now);
        }
    }

    /// Removes idle queues each time that their number has doubled.
    fn sweep(&mut self, now: Instant) {
        if self.queues.len() >= self.sweep_at.max(MIN_SWEEP) {
            self.queues.retain(|_, queue| !queue.is_idle(now));
            self.sweep_at = 2 * self.queues.len();
        }
    }
}

impl Waiter {
    fn new(since: Instant, due: Instant) -> Self {
        let (full, behind, waker, late_since) = (QueueKeys::new(), None, None, None);
        Self { since, full, behind, is_held: false, is_woken: false, due, late_since, waker }
    }

    fn is_overdue(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.due) >= GRACE
    }

    /// Returns `true` if it was not polled for long enough after it was known to be late. That may be from now on: all may
    /// have been asleep together, and are not polled in their order then.
    fn is_late(&mut self, now: Instant) -> bool {
        if !self.is_overdue(now) {
            return false;
        }
        let since = *self.late_since.get_or_insert(now);
        now.saturating_duration_since(since) >= GRACE
    }
}
