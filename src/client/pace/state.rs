//! Who waits, and for what.

use std::{collections::BTreeMap, task::Waker, time::Duration};

use hashbrown::HashMap;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::client::pace::{
    limits::Limits,
    line::Line,
    place::{Place, Places},
    settings::{Settings, later},
    ticket::Ticket,
};

/// Fewer lines than these are not worth looking through.
const FEW: usize = 64;
/// A ticket that does not answer for so long after its time is called once more, and after as long again is set aside.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// Lines and the tickets that wait in them. A ticket waits
///
/// * in those lines that kept it longest when it asked, until it goes: so it keeps its turn there, except where that is of no use
///   for longer than any window of that line; and
/// * in one line where somebody is before it.
///
/// In its other lines it does not stand in anybody's way: a call that waits for its account holds up none of other
/// accounts on the same host. It is never overtaken by a call with the same keys, and it never waits for younger tickets, so
/// no two can wait for each other. And it is in every line at last where it may go soon, so nobody is overtaken for ever.
///
/// A ticket whose future nobody polls would hold up all those behind it. So who does not answer is set aside: it is in no line
/// until it is polled again, and has its place then.
#[derive(Debug, Default)]
pub(super) struct State {
    lines: HashMap<Place, Line>,
    /// By number: the oldest first.
    waiters: BTreeMap<u64, Waiter>,
    /// To be woken once the lock is released.
    called: SmallVec<[Waker; 2]>,
    /// At this many lines the idle ones are let go, among them those that became so by the passing of time.
    tidy_at: usize,
}

/// A ticket that waits.
#[derive(Debug)]
struct Waiter {
    since: Instant,
    /// Lines that had no room for it.
    full: Places,
    /// A line in which somebody is before it.
    behind: Option<Place>,
    /// What it waits for may come with an answer.
    is_held: bool,
    is_called: bool,
    /// When it is to ask again, by its own timer or because it was called.
    due: Instant,
    /// Since when it is known to be late.
    late_since: Option<Instant>,
    waker: Option<Waker>,
}

/// What keeps a ticket from asking the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    None,
    /// Somebody is before it in this line.
    Behind(Place),
    /// No call of this line may go before, unless an answer says otherwise.
    Closed(Place, Instant),
}

impl Obstacle {
    fn ends_before(self, time: Instant) -> bool {
        !matches!(self, Self::Closed(_, until) if until >= time)
    }
}

impl State {
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Since when the oldest ticket waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.waiters.first_key_value().map(|(_, waiter)| waiter.since)
    }

    /// Since when this ticket waits.
    pub(super) fn since(&self, number: u64) -> Option<Instant> {
        self.waiters.get(&number).map(|waiter| waiter.since)
    }

    pub(super) fn knows(&self, number: u64) -> bool {
        self.waiters.contains_key(&number)
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = (&Place, &Line)> {
        self.lines.iter()
    }

    pub(super) fn line(&self, place: Place) -> Option<&Line> {
        self.lines.get(&place)
    }

    /// The line of this place, which is a new one if nothing is known of it.
    pub(super) fn line_or_insert(
        &mut self,
        place: Place,
        limits: Option<&Limits>,
        now: Instant,
        settings: &Settings,
    ) -> &mut Line {
        self.tidy(now);
        self.lines.entry(place).or_insert_with(|| Line::new(limits, now, settings))
    }

    pub(super) fn obstacle(&mut self, number: u64, places: &[Place], now: Instant, settings: &Settings) -> Obstacle {
        let mut closed = Obstacle::None;
        for place in places {
            self.forget_if_idle(*place, now);
            self.set_late_ones_aside(*place, number, now);
            let Some(line) = self.lines.get_mut(place) else { continue };
            if line.is_ahead_of(number) {
                return Obstacle::Behind(*place);
            }
            if let Some(until) = line.closed_until(now, settings).filter(|until| closed.ends_before(*until)) {
                closed = Obstacle::Closed(*place, until);
            }
        }
        closed
    }

    /// The ticket, which has joined these lines, waits for what the obstacle says, and asks again at the latest when it is due.
    pub(super) fn wait(&mut self, ticket: &Ticket, full: &[Place], obstacle: Obstacle, due: Instant, now: Instant) {
        let waiter = self.waiters.entry(ticket.number()).or_insert_with(|| Waiter::since(ticket.since(), due));
        (waiter.due, waiter.late_since) = (due, None);
        for place in full {
            if !waiter.full.contains(place) {
                waiter.full.push(*place);
            }
        }
        let behind = if let Obstacle::Behind(place) = obstacle { Some(place) } else { None };
        let left = std::mem::replace(&mut waiter.behind, behind);
        waiter.is_held = matches!(obstacle, Obstacle::Closed(..));
        if let Some(left) = left.filter(|left| Some(*left) != behind && !waiter.full.contains(left)) {
            self.leave_line(left, ticket.number(), now);
        }
    }

    /// The ticket leaves those lines in which a turn is of no use to it.
    pub(super) fn give_up_turns(&mut self, number: u64, is_in_vain: impl Fn(Place) -> bool, now: Instant) {
        let Some(waiter) = self.waiters.get_mut(&number) else { return };
        let (left, kept): (Places, Places) = waiter.full.iter().copied().partition(|place| is_in_vain(*place));
        waiter.full = kept;
        left.into_iter().for_each(|place| self.leave_line(place, number, now));
    }

    /// Whether the ticket was called; else it will be by this waker.
    pub(super) fn park(&mut self, number: u64, waker: &Waker) -> bool {
        self.answer(number, waker);
        self.waiters.get_mut(&number).is_none_or(|waiter| std::mem::take(&mut waiter.is_called))
    }

    /// The ticket is being polled, and is called by this waker.
    pub(super) fn answer(&mut self, number: u64, waker: &Waker) {
        let Some(waiter) = self.waiters.get_mut(&number) else { return };
        waiter.late_since = None;
        if !waiter.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            waiter.waker = Some(waker.clone());
        }
    }

    /// The ticket waits no longer.
    pub(super) fn leave(&mut self, number: u64, now: Instant) {
        let Some(waiter) = self.waiters.remove(&number) else { return };
        for place in waiter.full.into_iter().chain(waiter.behind) {
            self.leave_line(place, number, now);
        }
    }

    /// Calls the first of the line if it waits for what may come with an answer.
    pub(super) fn call_first_if_held(&mut self, place: Place, now: Instant) {
        self.call_first(place, now, |waiter| waiter.is_held);
    }

    pub(super) fn forget_if_idle(&mut self, place: Place, now: Instant) {
        if self.lines.get(&place).is_some_and(|line| line.is_idle(now)) {
            self.lines.remove(&place);
        }
    }

    /// Those to wake.
    pub(super) fn take_called(&mut self) -> SmallVec<[Waker; 2]> {
        std::mem::take(&mut self.called)
    }

    fn leave_line(&mut self, place: Place, number: u64, now: Instant) {
        if self.lines.get_mut(&place).is_some_and(|line| line.leave(number)) {
            self.call_first(place, now, |_| true);
        }
        self.forget_if_idle(place, now);
    }

    fn call_first(&mut self, place: Place, now: Instant, wanted: impl Fn(&Waiter) -> bool) {
        let first = self.lines.get(&place).and_then(Line::first);
        let waiter = first.and_then(|first| self.waiters.get_mut(&first));
        if let Some(waiter) = waiter.filter(|waiter| wanted(waiter)) {
            waiter.is_called = true;
            waiter.due = waiter.due.min(now);
            self.called.extend(waiter.waker.take());
        }
    }

    /// When a ticket looks whether the first of the line is late: the nearer it is the sooner, so that many cost little.
    pub(super) fn look_at(&self, place: Place, number: u64, now: Instant) -> Option<Instant> {
        let line = self.lines.get(&place)?;
        let first = self.waiters.get(&line.first()?)?;
        if let Some(since) = first.late_since {
            return Some(later(since, GRACE));
        }
        let before = u32::try_from(line.waiting_before(number)).unwrap_or(u32::MAX).max(1);
        Some(later(first.due.max(now), GRACE.saturating_mul(before)))
    }

    /// Sets aside those before a ticket in a line that have not answered, and calls those that have not for a while. As long as
    /// the first answers there is nothing to look for.
    fn set_late_ones_aside(&mut self, place: Place, number: u64, now: Instant) {
        let Some(line) = self.lines.get(&place) else { return };
        let first = line.first().filter(|first| *first < number).and_then(|first| self.waiters.get(&first));
        if !first.is_some_and(|first| first.is_overdue(now)) {
            return;
        }
        let before: Vec<u64> = line.tickets().take_while(|other| *other < number).collect();
        for other in before {
            let Some(waiter) = self.waiters.get_mut(&other) else { continue };
            if waiter.is_late(now) {
                self.set_aside(other, now);
            } else if waiter.late_since == Some(now) {
                self.called.extend(waiter.waker.take());
            }
        }
    }

    /// The ticket is in no line until it is polled, and then asks at once.
    fn set_aside(&mut self, number: u64, now: Instant) {
        let Some(waiter) = self.waiters.get_mut(&number) else { return };
        waiter.is_called = true;
        let left = std::mem::take(&mut waiter.full).into_iter().chain(waiter.behind.take());
        for place in left.collect::<Places>() {
            self.leave_line(place, number, now);
        }
    }

    /// Looks through the lines each time that their number has doubled.
    fn tidy(&mut self, now: Instant) {
        if self.lines.len() >= self.tidy_at.max(FEW) {
            self.lines.retain(|_, line| !line.is_idle(now));
            self.tidy_at = 2 * self.lines.len();
        }
    }
}

impl Waiter {
    fn since(since: Instant, due: Instant) -> Self {
        let (full, behind, waker, late_since) = (Places::new(), None, None, None);
        Self { since, full, behind, is_held: false, is_called: false, due, late_since, waker }
    }

    fn is_overdue(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.due) >= GRACE
    }

    /// Whether it has not answered for long enough after it was known to be late, which may be from now on: all may have been
    /// asleep together, and are not polled in their order then.
    fn is_late(&mut self, now: Instant) -> bool {
        if !self.is_overdue(now) {
            return false;
        }
        let since = *self.late_since.get_or_insert(now);
        now.saturating_duration_since(since) >= GRACE
    }
}
