//! The scheduler: decides whose turn it is.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    task::Waker,
    time::Duration,
};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::{
    client::{
        advice::Advice,
        pace::{
            error::CannotQueue,
            queue::{Ahead, Queue, QueueKey, QueueKeys, SentCall, Ticket},
            queue_set::{GRACE, Obstacle, QueueSet},
            settings::{ScopeLimits, Settings, saturating_add},
            status::QueueStatus,
        },
    },
    key::Charge,
};

/// Decides whose turn it is: from the queue of each key, the calls in flight, and the advice of servers.
///
/// It has one lock, which is never held while a store decides, a service is called or a task is woken.
pub(super) struct Scheduler {
    queues: Mutex<QueueSet>,
    settings: Settings,
    limits: Box<[ScopeLimits]>,
    next_ticket: AtomicU64,
}

/// The scheduler's answer to a ticket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Admission {
    /// It is the ticket's turn.
    Granted,
    /// The ticket waits. It will be woken, and asks again at this time at the latest.
    Queued(Instant),
}

/// A call in flight, as its queues know it.
pub(super) type SentCalls = SmallVec<[(QueueKey, SentCall); 2]>;

impl Scheduler {
    /// Creates a scheduler for these limits, by scope.
    pub(super) fn new(settings: Settings, limits: Box<[ScopeLimits]>) -> Self {
        Self { queues: Mutex::default(), settings, limits, next_ticket: AtomicU64::new(0) }
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn limits(&self) -> &[ScopeLimits] {
        &self.limits
    }

    /// Draws the next ticket, for a call with these charges.
    pub(super) fn draw_ticket(&self, charges: &[Charge]) -> Ticket {
        let drawn_at = Instant::now();
        let deadline = self.settings.max_wait.and_then(|wait| drawn_at.checked_add(wait));
        let (keys, units) = charges.iter().map(|charge| (QueueKey::from(charge), charge.units())).unzip();
        Ticket { number: self.next_ticket.fetch_add(1, Ordering::Relaxed), drawn_at, deadline, keys, units }
    }

    /// Checks whether it is the ticket's turn. If not then it waits from now on.
    pub(super) fn check_turn(&self, ticket: &Ticket) -> Result<Admission, CannotQueue> {
        self.with_queues(|queues, now| self.admit_or_queue(queues, ticket, now))
    }

    /// Checks whether it is the ticket's turn, and makes a reservation on all its queues then. If not then it waits from
    /// now on.
    pub(super) fn reserve(&self, ticket: &Ticket) -> Result<Admission, CannotQueue> {
        self.with_queues(|queues, now| {
            let admission = self.admit_or_queue(queues, ticket, now)?;
            if matches!(admission, Admission::Granted) {
                self.take_reservation(queues, ticket, now);
            }
            Ok(admission)
        })
    }

    /// Makes a reservation if there is no obstacle. If there is one then the ticket does not wait yet.
    pub(super) fn reserve_at_once(&self, ticket: &Ticket) -> bool {
        self.with_queues(|queues, now| {
            let is_free = queues.obstacle(ticket, now, &self.settings) == Obstacle::None;
            if is_free {
                self.take_reservation(queues, ticket, now);
            }
            is_free
        })
    }

    /// Gives a reservation back.
    pub(super) fn release(&self, keys: &[QueueKey]) {
        self.with_queues(|queues, now| self.give_back(queues, keys, now));
    }

    /// Turns a reservation into calls in flight, one on each queue.
    pub(super) fn send(&self, keys: &[QueueKey]) -> SentCalls {
        self.with_queues(|queues, now| {
            let calls = keys.iter().map(|key| (*key, self.queue(queues, *key, now).send(now, &self.settings)));
            calls.collect()
        })
    }

    /// Notes that the calls are over, with a response or without.
    pub(super) fn finish(&self, calls: &SentCalls, advice: Option<&Advice>) {
        self.with_queues(|queues, now| {
            for (key, call) in calls {
                self.queue(queues, *key, now).finish(*call, advice, now, &self.settings);
                queues.wake_first_if_held(*key, now);
                queues.remove_if_idle(*key, now);
            }
        });
    }

    /// Notes that units of these calls may have been given back: the first in each queue asks again.
    pub(super) fn wake_first(&self, calls: &SentCalls) {
        self.with_queues(|queues, now| {
            for (key, _) in calls {
                self.queue(queues, *key, now).forget_full();
                queues.wake_next(*key, now);
                queues.remove_if_idle(*key, now);
            }
        });
    }

    /// Heeds advice that comes from elsewhere than from a response.
    pub(super) fn heed(&self, key: QueueKey, advice: &Advice) {
        self.with_queues(|queues, now| {
            self.queue(queues, key, now).heed(advice, now, &self.settings);
            queues.wake_first_if_held(key, now);
            queues.remove_if_idle(key, now);
        });
    }

    /// Puts a ticket with a reservation back to wait, because the store has no room for it. `waits` has a wait for each of
    /// its keys, zero where there is room. Returns when to ask again.
    pub(super) fn deny(&self, ticket: &Ticket, waits: impl Iterator<Item = Duration>) -> Result<Instant, CannotQueue> {
        let waits: SmallVec<[(QueueKey, Duration); 2]> = ticket.keys.iter().copied().zip(waits).collect();
        let longest = waits.iter().max_by_key(|(_, wait)| *wait).copied();
        let full: QueueKeys = longest.iter().map(|(key, _)| *key).collect();
        self.with_queues(|queues, now| {
            self.give_back(queues, &ticket.keys, now);
            let wait = longest.map(|(_, wait)| wait).filter(|wait| !wait.is_zero());
            let wait = wait.unwrap_or(self.settings.default_wait);
            self.check_wait(ticket, wait, now)?;
            self.check_capacity(queues, ticket, &full)?;
            for (key, wait) in waits {
                self.queue(queues, key, now).set_full_until(saturating_add(now, wait));
            }
            let until = ticket.cap(saturating_add(now, wait));
            self.enqueue(queues, ticket, &full, Obstacle::None, (wait, until), now);
            Ok(until)
        })
    }

    /// Removes a ticket from its queues, and wakes the next one.
    pub(super) fn leave(&self, number: u64) {
        self.with_queues(|queues, now| queues.leave(number, now));
    }

    /// Returns `true` if the ticket was woken. If not then `waker` will be.
    pub(super) fn park(&self, number: u64, waker: &Waker) -> bool {
        self.queues.lock().park(number, waker)
    }

    /// Notes that the ticket is being polled, and is to be woken by `waker`.
    pub(super) fn touch(&self, number: u64, waker: &Waker) {
        self.queues.lock().touch(number, waker);
    }

    /// Returns the number of waiting calls, and for how long the first of them has been waiting.
    pub(super) fn waiting(&self) -> (usize, Option<Duration>) {
        let now = Instant::now();
        let queues = self.queues.lock();
        (queues.waiting(), queues.oldest().map(|since| now.saturating_duration_since(since)))
    }

    /// Returns the status of every queue that is not idle.
    pub(super) fn statuses(&self) -> Vec<QueueStatus> {
        let now = Instant::now();
        let queues = self.queues.lock();
        let busy = queues.iter().filter(|(_, queue)| !queue.is_idle(now));
        let status = |(key, queue): (&QueueKey, &Queue)| {
            let since = queue.first().and_then(|first| queues.waiting_since(first));
            Some(QueueStatus::new(*key, queue, self.limits_of(*key)?, since, now))
        };
        busy.filter_map(status).collect()
    }

    fn admit_or_queue(&self, queues: &mut QueueSet, ticket: &Ticket, now: Instant) -> Result<Admission, CannotQueue> {
        let obstacle = queues.obstacle(ticket, now, &self.settings);
        let (full, until) = match obstacle {
            Obstacle::None => return Ok(Admission::Granted),
            Obstacle::Behind(key) => {
                let expected = saturating_add(now, self.expected_wait(queues, ticket, now).saturating_add(GRACE));
                (None, queues.check_at(key, ticket.number, now).map_or(expected, |at| at.min(expected)))
            }
            Obstacle::Closed(key, until) => (Some(key), until),
        };
        let (wait, until) = (self.forecast(queues, ticket, now), ticket.cap(until));
        self.check_wait(ticket, wait, now)?;
        self.check_capacity(queues, ticket, &ticket.keys)?;
        self.enqueue(queues, ticket, full.as_slice(), obstacle, (wait, until), now);
        Ok(Admission::Queued(until))
    }

    /// Returns the least time that a ticket has to wait. Tickets before it count only when it is new: one that waits
    /// already stays, though the server may have said something new meanwhile.
    fn forecast(&self, queues: &QueueSet, ticket: &Ticket, now: Instant) -> Duration {
        let is_new = !queues.contains(ticket.number);
        let ahead = |queue: &Queue| if is_new { queue.ahead_of(ticket.number) } else { Ahead::default() };
        self.least_wait(queues, ticket, now, ahead)
    }

    /// Returns the least time in which it is a ticket's turn, with all those before it.
    fn expected_wait(&self, queues: &QueueSet, ticket: &Ticket, now: Instant) -> Duration {
        self.least_wait(queues, ticket, now, |queue| queue.ahead_of(ticket.number))
    }

    fn least_wait(
        &self,
        queues: &QueueSet,
        ticket: &Ticket,
        now: Instant,
        ahead: impl Fn(&Queue) -> Ahead,
    ) -> Duration {
        let waits = ticket.keys.iter().filter_map(|key| {
            let (queue, limits) = (queues.get(*key)?, self.limits_of(*key)?);
            Some(queue.forecast(ahead(queue), ticket.units_in(*key), limits, now))
        });
        waits.max().unwrap_or_default()
    }

    fn check_wait(&self, ticket: &Ticket, wait: Duration, now: Instant) -> Result<(), CannotQueue> {
        let total = ticket.waited(now).saturating_add(wait);
        // At the very end of the longest wait there is one more chance, unless it has to wait beyond it.
        match self.settings.max_wait {
            Some(longest) if total > longest || (total == longest && wait.is_zero()) => {
                Err(CannotQueue::TooLong { wait: total })
            }
            _ => Ok(()),
        }
    }

    /// Checks that a new ticket finds room in these queues. One that waits already stays.
    fn check_capacity(&self, queues: &QueueSet, ticket: &Ticket, keys: &[QueueKey]) -> Result<(), CannotQueue> {
        let waiting = keys.iter().filter_map(|key| queues.get(*key)).map(Queue::waiting).max().unwrap_or_default();
        let is_full = waiting >= self.settings.max_waiting && !queues.contains(ticket.number);
        if is_full { Err(CannotQueue::Full { waiting }) } else { Ok(()) }
    }

    /// Lets the ticket join these queues and wait, at least for so long. In others it keeps no turn that it cannot use by
    /// then: it would hold up those that can.
    fn enqueue(
        &self,
        queues: &mut QueueSet,
        ticket: &Ticket,
        full: &[QueueKey],
        obstacle: Obstacle,
        (wait, until): (Duration, Instant),
        now: Instant,
    ) {
        // First it gives up turns: it may be behind another ticket in one of these queues, and has to wait there.
        let is_useless = |key| self.limits_of(key).is_some_and(|limits| limits.longest_window() < wait);
        queues.give_up_turns(ticket.number, |key| !full.contains(&key) && is_useless(key), now);
        for key in full.iter().copied().chain(obstacle.behind()) {
            self.queue(queues, key, now).join(ticket.number, ticket.units_in(key));
        }
        queues.enqueue(ticket, full, obstacle, until, now);
    }

    fn take_reservation(&self, queues: &mut QueueSet, ticket: &Ticket, now: Instant) {
        for key in &ticket.keys {
            self.queue(queues, *key, now).reserve();
        }
    }

    fn give_back(&self, queues: &mut QueueSet, keys: &[QueueKey], now: Instant) {
        for key in keys {
            self.queue(queues, *key, now).release();
            queues.wake_first_if_held(*key, now);
            queues.remove_if_idle(*key, now);
        }
    }

    fn queue<'q>(&self, queues: &'q mut QueueSet, key: QueueKey, now: Instant) -> &'q mut Queue {
        queues.get_or_insert(key, self.limits_of(key), now, &self.settings)
    }

    fn limits_of(&self, key: QueueKey) -> Option<&ScopeLimits> {
        self.limits.get(key.scope as usize)
    }

    /// Runs `step` under the lock, and wakes the tasks that it names after that.
    fn with_queues<T>(&self, step: impl FnOnce(&mut QueueSet, Instant) -> T) -> T {
        let now = Instant::now();
        let mut queues = self.queues.lock();
        let result = step(&mut queues, now);
        let woken = queues.take_woken();
        drop(queues);
        for waker in woken {
            waker.wake();
        }
        result
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (waiting, longest_wait) = self.waiting();
        f.debug_struct("Scheduler")
            .field("waiting", &waiting)
            .field("longest_wait", &longest_wait)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{Layer, Service, service_fn};

    use super::*;
    use crate::{
        client::pace::{IgnoreAdvice, PaceLayer},
        clock::TokioClock,
        limiter::RateLimiter,
        policy::Policy,
        request::Plain,
        rule::Rule,
        store::MemoryStore,
    };

    const KEYS: u32 = 20_000;
    const HOLD: Duration = Duration::from_secs(60);

    fn layer() -> PaceLayer<Plain<u32>, MemoryStore, IgnoreAdvice> {
        let rule = Rule::new("calls").every_request().key(|id: &u32| Some(id.to_be_bytes())).level("id");
        let limiter = RateLimiter::builder_for::<u32>().rule(rule.policy(Policy::per_minute(1)));
        limiter.clock(TokioClock::new()).build().unwrap().pace()
    }

    fn kept(layer: &PaceLayer<Plain<u32>, MemoryStore, IgnoreAdvice>) -> usize {
        layer.scheduler().queues.lock().iter().count()
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_keys_whose_calls_are_over_or_given_up() {
        let layer = layer();
        let mut service = layer.layer(service_fn(async |id: u32| Ok::<_, Infallible>(id)));
        for id in 0..KEYS {
            assert!(service.call(id).await.is_ok());
            drop(service.call(id));
        }
        assert_eq!(kept(&layer), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_were_held_back_are_forgotten_by_and_by() {
        let layer = layer();
        let limiter = layer.limiter().unwrap();
        for round in 0..4 {
            for id in 0..KEYS {
                let key = limiter.key((round * KEYS + id).to_be_bytes().as_slice());
                layer.handle().advise("calls", key, &Advice::none().wait(HOLD)).unwrap();
            }
            // For as long again they are remembered.
            tokio::time::advance(2 * HOLD).await;
        }
        assert!(kept(&layer) <= 2 * KEYS as usize, "{}", kept(&layer));
    }
}
