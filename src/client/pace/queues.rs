//! Everybody's turn.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    task::Waker,
    time::Duration,
};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::client::{
    Advice,
    pace::{
        call::Calls,
        error::Refused,
        limits::Limits,
        line::Line,
        place::{Place, Places},
        settings::{Settings, later},
        state::{GRACE, Obstacle, State},
        status::LineStatus,
        ticket::Ticket,
    },
};

/// Everybody's turn: who waits for which key, who is under way, and what the servers have said.
///
/// One lock, which is never held while a store decides, a service is called or a waiting call is woken.
pub(super) struct Queues {
    state: Mutex<State>,
    settings: Settings,
    limits: Box<[Limits]>,
    numbers: AtomicU64,
}

/// Whether it is a ticket's turn.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    Mine,
    /// It will be called; at the latest it asks again at this time.
    Later(Instant),
}

impl Queues {
    pub(super) fn new(settings: Settings, limits: Box<[Limits]>) -> Self {
        Self { state: Mutex::default(), settings, limits, numbers: AtomicU64::new(0) }
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn limits(&self) -> &[Limits] {
        &self.limits
    }

    /// The number of the next ticket.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether it is this ticket's turn. If not then it waits from now on.
    pub(super) fn turn(&self, ticket: &Ticket) -> Result<Turn, Refused> {
        self.with(|state, now| self.find_turn(state, ticket, now))
    }

    /// As [`turn`](Self::turn), with a reservation on all its lines if it is.
    pub(super) fn reserve(&self, ticket: &Ticket) -> Result<Turn, Refused> {
        self.with(|state, now| {
            let turn = self.find_turn(state, ticket, now)?;
            if matches!(turn, Turn::Mine) {
                self.take_reservation(state, ticket, now);
            }
            Ok(turn)
        })
    }

    /// Makes a reservation if there is no obstacle. If there is then the ticket does not wait yet.
    pub(super) fn reserve_at_once(&self, ticket: &Ticket) -> bool {
        self.with(|state, now| {
            let obstacle = state.obstacle(ticket.number(), ticket.places(), now, &self.settings);
            let is_free = obstacle == Obstacle::None;
            if is_free {
                self.take_reservation(state, ticket, now);
            }
            is_free
        })
    }

    /// Gives a reservation back.
    pub(super) fn unreserve(&self, places: &[Place]) {
        self.with(|state, now| self.give_back(state, places, now));
    }

    /// Turns a reservation into calls under way, one on each line.
    pub(super) fn begin(&self, places: &[Place]) -> Calls {
        self.with(|state, now| {
            let begun = places.iter().map(|place| (*place, self.line(state, *place, now).begin(now, &self.settings)));
            begun.collect()
        })
    }

    /// The calls are over, with an answer or without.
    pub(super) fn end(&self, calls: &Calls, advice: Option<&Advice>) {
        self.with(|state, now| {
            for (place, begun) in calls {
                self.line(state, *place, now).end(*begun, advice, now, &self.settings);
                state.call_first_if_held(*place, now);
                state.forget_if_idle(*place, now);
            }
        });
    }

    /// Heeds advice that came from elsewhere than from an answer.
    pub(super) fn heed(&self, place: Place, advice: &Advice) {
        self.with(|state, now| {
            self.line(state, place, now).heed(advice, now, &self.settings);
            state.call_first_if_held(place, now);
            state.forget_if_idle(place, now);
        });
    }

    /// The store has no room for the ticket, which had a reservation. Of each of its places there is a wait, zero where
    /// there is room. Says when to ask again.
    pub(super) fn deny(&self, ticket: &Ticket, waits: impl Iterator<Item = Duration>) -> Result<Instant, Refused> {
        let waits: SmallVec<[(Place, Duration); 2]> = ticket.places().iter().copied().zip(waits).collect();
        let longest = waits.iter().max_by_key(|(_, wait)| *wait).copied();
        let full: Places = longest.iter().map(|(place, _)| *place).collect();
        self.with(|state, now| {
            self.give_back(state, ticket.places(), now);
            let wait = longest.map(|(_, wait)| wait).filter(|wait| !wait.is_zero()).unwrap_or(self.settings.back_off);
            self.check_wait(ticket, wait, now)?;
            self.check_room(state, ticket, &full)?;
            for (place, wait) in waits {
                self.line(state, place, now).is_full_until(later(now, wait));
            }
            let until = ticket.due(later(now, wait));
            self.wait(state, ticket, &full, Obstacle::None, (wait, until), now);
            Ok(until)
        })
    }

    /// The ticket waits no longer, and whoever is next is called.
    pub(super) fn leave(&self, number: u64) {
        self.with(|state, now| state.leave(number, now));
    }

    /// Whether the ticket was called. If not then `waker` will be.
    pub(super) fn park(&self, number: u64, waker: &Waker) -> bool {
        self.state.lock().park(number, waker)
    }

    /// The ticket is being polled, and is called by `waker`.
    pub(super) fn answer(&self, number: u64, waker: &Waker) {
        self.state.lock().answer(number, waker);
    }

    /// How many calls wait, and for how long the first of them has.
    pub(super) fn waiting(&self) -> (usize, Option<Duration>) {
        let now = Instant::now();
        let state = self.state.lock();
        (state.waiting(), state.oldest().map(|since| now.saturating_duration_since(since)))
    }

    /// How every key stands of which there is something to say.
    pub(super) fn lines(&self) -> Vec<LineStatus> {
        let now = Instant::now();
        let state = self.state.lock();
        let lines = state.lines().filter(|(_, line)| !line.is_idle(now));
        lines
            .filter_map(|(place, line)| Some(LineStatus::of(*place, line, self.limits_of(*place)?, &state, now)))
            .collect()
    }

    fn find_turn(&self, state: &mut State, ticket: &Ticket, now: Instant) -> Result<Turn, Refused> {
        let obstacle = state.obstacle(ticket.number(), ticket.places(), now, &self.settings);
        let (full, until) = match obstacle {
            Obstacle::None => return Ok(Turn::Mine),
            Obstacle::Behind(place) => {
                let expected = later(now, self.expected(state, ticket, now).saturating_add(GRACE));
                (None, state.look_at(place, ticket.number(), now).map_or(expected, |at| at.min(expected)))
            }
            Obstacle::Closed(place, until) => (Some(place), until),
        };
        let (wait, until) = (self.forecast(state, ticket, now), ticket.due(until));
        self.check_wait(ticket, wait, now)?;
        self.check_room(state, ticket, ticket.places())?;
        self.wait(state, ticket, full.as_slice(), obstacle, (wait, until), now);
        Ok(Turn::Later(until))
    }

    /// The least time that a ticket has to wait. Of one that waits already those before it do not count: it stays, though the
    /// server may have said something new meanwhile.
    fn forecast(&self, state: &State, ticket: &Ticket, now: Instant) -> Duration {
        let is_new = !state.knows(ticket.number());
        self.least_wait(state, ticket, now, |line| if is_new { line.waiting_before(ticket.number()) } else { 0 })
    }

    /// The least time in which it is a ticket's turn, with all those before it.
    fn expected(&self, state: &State, ticket: &Ticket, now: Instant) -> Duration {
        self.least_wait(state, ticket, now, |line| line.waiting_before(ticket.number()))
    }

    fn least_wait(&self, state: &State, ticket: &Ticket, now: Instant, before: impl Fn(&Line) -> usize) -> Duration {
        let waits = ticket.places().iter().filter_map(|place| {
            let (line, limits) = (state.line(*place)?, self.limits_of(*place)?);
            Some(line.forecast(before(line), limits, now))
        });
        waits.max().unwrap_or_default()
    }

    fn check_wait(&self, ticket: &Ticket, wait: Duration, now: Instant) -> Result<(), Refused> {
        let total = now.saturating_duration_since(ticket.since()).saturating_add(wait);
        // At the very end of the longest wait there is one more chance, unless it has to wait beyond it.
        match self.settings.max_wait {
            Some(longest) if total > longest || (total == longest && wait.is_zero()) => Err(Refused::TooLong(total)),
            _ => Ok(()),
        }
    }

    /// Who comes finds room in the queue, or goes. Who waits already stays.
    fn check_room(&self, state: &State, ticket: &Ticket, places: &[Place]) -> Result<(), Refused> {
        let waiting = places.iter().filter_map(|place| state.line(*place)).map(Line::waiting).max();
        let waiting = waiting.unwrap_or_default();
        let is_full = waiting >= self.settings.max_waiting && !state.knows(ticket.number());
        if is_full { Err(Refused::Full(waiting)) } else { Ok(()) }
    }

    /// The ticket joins these lines and waits, at least for so long. Of others it keeps no turn that it cannot use by then: it
    /// would hold up those who can.
    fn wait(
        &self,
        state: &mut State,
        ticket: &Ticket,
        full: &[Place],
        obstacle: Obstacle,
        (wait, until): (Duration, Instant),
        now: Instant,
    ) {
        // First it gives up turns, since it may be behind somebody in one of these lines, and has to wait there.
        let is_in_vain = |place| self.limits_of(place).is_some_and(|limits| limits.longest_window() < wait);
        state.give_up_turns(ticket.number(), |place| !full.contains(&place) && is_in_vain(place), now);
        let behind = if let Obstacle::Behind(place) = obstacle { Some(place) } else { None };
        for place in full.iter().chain(&behind) {
            self.line(state, *place, now).join(ticket.number());
        }
        state.wait(ticket, full, obstacle, until, now);
    }

    fn take_reservation(&self, state: &mut State, ticket: &Ticket, now: Instant) {
        ticket.places().iter().for_each(|place| self.line(state, *place, now).reserve());
    }

    fn give_back(&self, state: &mut State, places: &[Place], now: Instant) {
        for place in places {
            self.line(state, *place, now).unreserve();
            state.call_first_if_held(*place, now);
            state.forget_if_idle(*place, now);
        }
    }

    fn line<'s>(&self, state: &'s mut State, place: Place, now: Instant) -> &'s mut Line {
        state.line_or_insert(place, self.limits_of(place), now, &self.settings)
    }

    fn limits_of(&self, place: Place) -> Option<&Limits> {
        self.limits.get(place.scope as usize)
    }

    /// Runs `step` under the lock, and wakes afterwards whoever it has called.
    fn with<T>(&self, step: impl FnOnce(&mut State, Instant) -> T) -> T {
        let now = Instant::now();
        let mut state = self.state.lock();
        let result = step(&mut state, now);
        let called = state.take_called();
        drop(state);
        called.into_iter().for_each(Waker::wake);
        result
    }
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (waiting, longest) = self.waiting();
        f.debug_struct("Queues").field("waiting", &waiting).field("longest", &longest).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{Layer, Service, service_fn};

    use super::*;
    use crate::{
        client::pace::{PaceLayer, Unread},
        clock::TokioClock,
        limiter::RateLimiter,
        policy::Policy,
        request::Plain,
        rule::Rule,
        store::MemoryStore,
    };

    const KEYS: u32 = 20_000;
    const HOLD: Duration = Duration::from_secs(60);

    fn layer() -> PaceLayer<Plain<u32>, MemoryStore, Unread> {
        let rule = Rule::new("calls").every_request().key(|id: &u32| Some(id.to_be_bytes())).level("id");
        let limiter = RateLimiter::builder_for::<u32>().rule(rule.policy(Policy::per_minute(1)));
        limiter.clock(TokioClock::new()).build().unwrap().pace()
    }

    fn kept(layer: &PaceLayer<Plain<u32>, MemoryStore, Unread>) -> usize {
        layer.queues().state.lock().lines().count()
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
                layer.pacer().advise("calls", key, &Advice::none().wait(HOLD)).unwrap();
            }
            // For as long again they are remembered.
            tokio::time::advance(2 * HOLD).await;
        }
        assert!(kept(&layer) <= 2 * KEYS as usize, "{}", kept(&layer));
    }
}
