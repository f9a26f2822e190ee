//! What is known of the calls of one key.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::{
    Advice,
    pace::{
        gate::{Gate, Heard},
        limits::Limits,
        ranks::Ranks,
        rate::Rate,
        settings::{Settings, later},
    },
};

/// Calls that were sent so shortly one after the other may reach the server the other way round.
const SKEW: Duration = Duration::from_secs(1);

/// The calls of one key under one rule: who waits, who is under way, and what holds them back besides the policy.
#[derive(Debug)]
pub(super) struct Line {
    /// The numbers of the tickets that wait here, first come first.
    waiting: Ranks<()>,
    /// Calls that are about to go, if the store agrees.
    reserved: u64,
    /// The numbers of the calls under way, counted here, and when they were sent.
    in_flight: Ranks<Instant>,
    /// Calls that have gone.
    begun: u64,
    /// When the policy has room, if it had none when it was asked.
    room_at: Option<Instant>,
    gate: Gate,
    /// Only if the pace adapts.
    rate: Option<Rate>,
}

/// A call that has gone, as the line knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    number: u64,
    at: Instant,
    went_ahead: bool,
}

impl Line {
    pub(super) fn new(limits: Option<&Limits>, now: Instant, settings: &Settings) -> Self {
        let is_adaptive = settings.is_adaptive;
        Self {
            waiting: Ranks::new(),
            reserved: 0,
            in_flight: Ranks::new(),
            begun: 0,
            room_at: None,
            gate: if is_adaptive { Gate::reopening(now, settings) } else { Gate::default() },
            rate: limits.filter(|_| is_adaptive).map(|limits| Rate::new(limits.per_second(), now)),
        }
    }

    /// Whether somebody waits here who came before this ticket.
    pub(super) fn is_ahead_of(&self, ticket: u64) -> bool {
        self.first().is_some_and(|first| first < ticket)
    }

    /// The ticket whose turn is next.
    pub(super) fn first(&self) -> Option<u64> {
        self.waiting.first()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many wait who came before this ticket.
    pub(super) fn waiting_before(&self, ticket: u64) -> usize {
        self.waiting.before(ticket)
    }

    /// The numbers of those who wait, first come first.
    pub(super) fn tickets(&self) -> impl Iterator<Item = u64> {
        self.waiting.iter()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn join(&mut self, ticket: u64) {
        self.waiting.insert(ticket, ());
    }

    /// Says whether the ticket was the first.
    pub(super) fn leave(&mut self, ticket: u64) -> bool {
        let was_first = self.first() == Some(ticket);
        self.waiting.remove(ticket);
        was_first
    }

    /// Until when no call may go, whatever the policy says.
    pub(super) fn closed_until(&mut self, now: Instant, settings: &Settings) -> Option<Instant> {
        let paced = self.rate.and_then(|rate| rate.closed_until(self.reserved, now));
        self.gate.closed_until(self.reserved, now, settings).max(paced)
    }

    pub(super) const fn reserve(&mut self) {
        self.reserved += 1;
    }

    pub(super) const fn unreserve(&mut self) {
        self.reserved = self.reserved.saturating_sub(1);
    }

    /// Notes when the policy has room.
    pub(super) fn is_full_until(&mut self, room_at: Instant) {
        self.room_at = self.room_at.max(Some(room_at));
    }

    /// A call goes for which there was a reservation.
    pub(super) fn begin(&mut self, now: Instant, settings: &Settings) -> Begun {
        self.unreserve();
        self.room_at = None;
        self.begun += 1;
        self.in_flight.insert(self.begun, now);
        self.rate.iter_mut().for_each(|rate| rate.pass(now));
        Begun { number: self.begun, at: now, went_ahead: self.gate.pass(now, settings) }
    }

    /// A call is over, with an answer or without.
    pub(super) fn end(&mut self, begun: Begun, advice: Option<&Advice>, now: Instant, settings: &Settings) {
        self.in_flight.remove(begun.number);
        let is_good = advice.is_some_and(Advice::is_served);
        if begun.went_ahead {
            self.gate.came_back(is_good);
        }
        if let Some(advice) = advice {
            self.hear(advice, begun, now, settings);
        }
    }

    /// Heeds advice that came from elsewhere than from an answer.
    pub(super) fn heed(&mut self, advice: &Advice, now: Instant, settings: &Settings) {
        self.hear(advice, Begun { number: self.begun + 1, at: now, went_ahead: false }, now, settings);
    }

    fn hear(&mut self, advice: &Advice, begun: Begun, now: Instant, settings: &Settings) {
        let heard = Heard { advice, call: begun.number, sent: begun.at, uncounted: self.uncounted(begun), now };
        self.gate.hear(heard, settings);
        let Some(rate) = &mut self.rate else { return };
        if advice.is_refusal() {
            let pause = settings.pause_after(advice).unwrap_or(settings.back_off);
            rate.refuse(begun.number, self.begun, now, later(now, pause));
        } else if advice.is_served() {
            rate.accept();
        }
    }

    /// Calls that the server may not have counted when it decided about this one: those that were sent later, and those that
    /// were sent just before it and are still under way.
    fn uncounted(&self, begun: Begun) -> u64 {
        let just_before = |sent: &Instant| begun.at.saturating_duration_since(*sent) < SKEW;
        let earlier = self.in_flight.late_before(begun.number, just_before);
        self.begun.saturating_sub(begun.number) + earlier as u64
    }

    /// The least time until a call goes before which there are so many others.
    pub(super) fn forecast(&self, ahead: usize, limits: &Limits, now: Instant) -> Duration {
        let begins = self.room_at.max(self.gate.paused_until()).unwrap_or(now);
        let by_policy = begins.saturating_duration_since(now).saturating_add(limits.least_time_for(ahead));
        let by_server = self
            .gate
            .spent_after(ahead)
            .map(|(until, beyond)| until.saturating_duration_since(now).saturating_add(limits.least_time_for(beyond)));
        by_server.fold(by_policy, Duration::max)
    }

    /// How long those who wait will take at the pace that it is held to.
    pub(super) fn time_at_lowered_pace(&self, now: Instant) -> Duration {
        let seconds = self.lowered_pace(now).map_or(0.0, |pace| self.waiting.len() as f64 / pace);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// The calls per second that it is held to, if fewer than the policy's.
    pub(super) fn lowered_pace(&self, now: Instant) -> Option<f64> {
        self.rate.and_then(|rate| rate.lowered(now))
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.waiting.is_empty()
            && self.in_flight.is_empty()
            && self.reserved == 0
            && self.gate.is_forgotten(now)
            && self.rate.is_none_or(|rate| rate.is_fresh(now))
    }
}
