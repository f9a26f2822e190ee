//! The queue of one key, and the tickets of the calls in it.

use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::{
    client::{
        advice::Advice,
        pace::{
            adaptive_rate::AdaptiveRate,
            backpressure::{Backpressure, Feedback},
            rank_map::RankMap,
            settings::{ScopeLimits, Settings, saturating_add},
        },
    },
    key::{Charge, Key},
};

/// Calls that were sent within this time of each other may reach the server in another order.
const SKEW: Duration = Duration::from_secs(1);

/// The calls of one key under one rule: those that wait, those in flight, and what holds them back besides the policy.
#[derive(Debug)]
pub(super) struct Queue {
    /// The numbers of the tickets that wait here, first in, first out, and the units that they cost.
    waiting: RankMap<u64>,
    /// The sum of these.
    waiting_units: u64,
    /// The number of calls that are about to be sent, if the store agrees.
    reserved: u64,
    /// The numbers of the calls in flight, as counted by `sent`, and when they were sent.
    in_flight: RankMap<Instant>,
    /// The number of calls that were sent.
    sent: u64,
    /// The time at which the policy has room, if it had none when it was asked.
    full_until: Option<Instant>,
    backpressure: Backpressure,
    /// `None` unless the rate adapts.
    rate: Option<AdaptiveRate>,
}

/// A call that was sent, as its queue knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentCall {
    number: u64,
    sent_at: Instant,
    /// It went ahead of others in a slow start.
    is_probe: bool,
}

/// The key that a call is counted under, within the scope of a rule. Each has a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct QueueKey {
    pub(super) scope: u32,
    pub(super) key: Key,
}

/// The calls that go before another one, and the units that they cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ahead {
    calls: usize,
    units: u64,
}

/// All keys of one call.
pub(super) type QueueKeys = SmallVec<[QueueKey; 2]>;

/// The position of a call in the queues.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    /// Counts calls in the order of their arrival.
    pub(super) number: u64,
    pub(super) drawn_at: Instant,
    /// The time at which the call has waited as long as it may.
    pub(super) deadline: Option<Instant>,
    pub(super) keys: QueueKeys,
    /// The units that the call costs in each of these queues.
    pub(super) units: SmallVec<[u64; 2]>,
}

impl Queue {
    pub(super) fn new(limits: Option<&ScopeLimits>, now: Instant, settings: &Settings) -> Self {
        let is_adaptive = settings.is_adaptive;
        Self {
            waiting: RankMap::new(),
            waiting_units: 0,
            reserved: 0,
            in_flight: RankMap::new(),
            sent: 0,
            full_until: None,
            backpressure: if is_adaptive { Backpressure::slow_start(now, settings) } else { Backpressure::default() },
            rate: limits.filter(|_| is_adaptive).map(|limits| AdaptiveRate::new(limits.per_second(), now)),
        }
    }

    /// Returns `true` if a ticket waits here that is before this one.
    pub(super) fn is_ahead_of(&self, ticket: u64) -> bool {
        self.first().is_some_and(|first| first < ticket)
    }

    /// Returns the ticket whose turn is next.
    pub(super) fn first(&self) -> Option<u64> {
        self.waiting.first()
    }

    /// Returns the number of tickets that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the calls that wait.
    pub(super) fn all(&self) -> Ahead {
        Ahead { calls: self.waiting.len(), units: self.waiting_units }
    }

    /// Returns the waiting calls that are before this ticket.
    pub(super) fn ahead_of(&self, ticket: u64) -> Ahead {
        match self.waiting.rank(ticket) {
            calls if calls == self.waiting.len() => self.all(),
            // Where each call costs a unit, there is no need to add them up.
            calls if self.waiting_units == self.waiting.len() as u64 => Ahead { calls, units: calls as u64 },
            calls => {
                let units = self.waiting.values_before(ticket).fold(0, |sum: u64, units| sum.saturating_add(*units));
                Ahead { calls, units }
            }
        }
    }

    /// Returns the number of waiting tickets that are before this one.
    pub(super) fn waiting_before(&self, ticket: u64) -> usize {
        self.waiting.rank(ticket)
    }

    /// Returns the waiting tickets in their order.
    pub(super) fn tickets(&self) -> impl Iterator<Item = u64> {
        self.waiting.iter()
    }

    /// Returns the number of calls in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Adds a ticket, at its position.
    pub(super) fn join(&mut self, ticket: u64, units: u64) {
        if self.waiting.insert(ticket, units) {
            self.waiting_units = self.waiting_units.saturating_add(units);
        }
    }

    /// Removes a ticket. Returns `true` if it was the first.
    pub(super) fn leave(&mut self, ticket: u64) -> bool {
        let was_first = self.first() == Some(ticket);
        if let Some(units) = self.waiting.remove(ticket) {
            self.waiting_units = self.waiting_units.saturating_sub(units);
            if was_first && units > 1 {
                // The next one may cost less.
                self.full_until = None;
            }
        }
        was_first
    }

    /// Returns until when no call may go, whatever the policy says.
    pub(super) fn closed_until(&mut self, now: Instant, settings: &Settings) -> Option<Instant> {
        let paced = self.rate.and_then(|rate| rate.closed_until(self.reserved, now));
        self.backpressure.closed_until(self.reserved, now, settings).max(paced)
    }

    /// Reserves the next call.
    pub(super) const fn reserve(&mut self) {
        self.reserved += 1;
    }

    /// Gives a reservation back.
    pub(super) const fn release(&mut self) {
        self.reserved = self.reserved.saturating_sub(1);
    }

    /// Notes when the policy has room.
    pub(super) fn set_full_until(&mut self, until: Instant) {
        self.full_until = self.full_until.max(Some(until));
    }

    /// Notes that units may have been given back, so that it is not known any more when the policy has room.
    pub(super) const fn forget_full(&mut self) {
        self.full_until = None;
    }

    /// Sends a call for which there was a reservation.
    pub(super) fn send(&mut self, now: Instant, settings: &Settings) -> SentCall {
        self.release();
        self.full_until = None;
        self.sent += 1;
        self.in_flight.insert(self.sent, now);
        if let Some(rate) = &mut self.rate {
            rate.send(now);
        }
        SentCall { number: self.sent, sent_at: now, is_probe: self.backpressure.send(now, settings) }
    }

    /// Notes that a call is over, with a response or without.
    pub(super) fn finish(&mut self, call: SentCall, advice: Option<&Advice>, now: Instant, settings: &Settings) {
        self.in_flight.remove(call.number);
        if call.is_probe {
            self.backpressure.finish_probe(advice.is_some_and(Advice::is_served));
        }
        if let Some(advice) = advice {
            self.apply(advice, call, now, settings);
        }
    }

    /// Heeds advice that comes from elsewhere than from a response.
    pub(super) fn heed(&mut self, advice: &Advice, now: Instant, settings: &Settings) {
        let as_of_now = SentCall { number: self.sent + 1, sent_at: now, is_probe: false };
        self.apply(advice, as_of_now, now, settings);
    }

    fn apply(&mut self, advice: &Advice, call: SentCall, now: Instant, settings: &Settings) {
        let (sent_at, uncounted) = (call.sent_at, self.uncounted(call));
        self.backpressure.apply(Feedback { advice, call: call.number, sent_at, uncounted, now }, settings);
        let Some(rate) = &mut self.rate else { return };
        if advice.is_refusal() {
            let pause = settings.pause_after(advice).unwrap_or(settings.default_wait);
            rate.refuse(call.number, self.sent, now, saturating_add(now, pause));
        } else if advice.is_served() {
            rate.accept();
        }
    }

    /// Returns the number of calls that the server may not have counted when it decided about this one: those that were
    /// sent later, and those that were sent just before it and are still in flight.
    fn uncounted(&self, call: SentCall) -> u64 {
        let is_just_before = |sent_at: &Instant| call.sent_at.saturating_duration_since(*sent_at) < SKEW;
        let earlier = self.in_flight.rank_among(call.number, is_just_before);
        self.sent.saturating_sub(call.number) + earlier as u64
    }

    /// Returns the least time until a call goes that costs so many units, and has these others before it.
    pub(super) fn forecast(&self, ahead: Ahead, cost: u64, limits: &ScopeLimits, now: Instant) -> Duration {
        let begins = self.full_until.max(self.backpressure.held_until()).unwrap_or(now);
        let mut longest =
            begins.saturating_duration_since(now).saturating_add(limits.least_time_for(ahead.units, cost));
        for (until, beyond) in self.backpressure.exhausted_after(ahead.calls) {
            // Calls that cost anything may all cost nothing.
            let beyond = if limits.has_costs() { 0 } else { beyond as u64 };
            let by_server = until.saturating_duration_since(now).saturating_add(limits.least_time_for(beyond, 1));
            longest = longest.max(by_server);
        }
        longest
    }

    /// Returns how long the waiting calls will take at a reduced rate.
    pub(super) fn time_at_reduced_rate(&self, now: Instant) -> Duration {
        let seconds = self.reduced_rate(now).map_or(0.0, |rate| self.waiting.len() as f64 / rate);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// Returns the calls per second to which it is held, if fewer than the policy's.
    pub(super) fn reduced_rate(&self, now: Instant) -> Option<f64> {
        self.rate.and_then(|rate| rate.reduced(now))
    }

    /// Returns `true` if there is nothing to remember.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.waiting.is_empty()
            && self.in_flight.is_empty()
            && self.reserved == 0
            && self.backpressure.is_idle(now)
            && self.rate.is_none_or(|rate| rate.is_idle(now))
    }
}

impl Ticket {
    /// Returns the units that the call costs in a queue.
    pub(super) fn units_in(&self, key: QueueKey) -> u64 {
        let at = self.keys.iter().position(|other| *other == key);
        at.and_then(|at| self.units.get(at)).copied().unwrap_or(1)
    }

    /// Returns this time, or the deadline if that is before.
    pub(super) fn cap(&self, time: Instant) -> Instant {
        self.deadline.map_or(time, |deadline| deadline.min(time))
    }

    /// Returns the time that the call has waited.
    pub(super) fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.drawn_at)
    }
}

impl From<&Charge> for QueueKey {
    fn from(charge: &Charge) -> Self {
        Self { scope: charge.scope(), key: charge.key() }
    }
}
