//! What servers have said about when to call.

use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::client::{
    Advice, Beginning,
    jitter::random,
    pace::settings::{Settings, later},
};

/// Allowances that are heeded of one answer.
const MOST_ALLOWANCES: usize = 16;
/// What is added to a pause is at most such a part of it.
const MOST_OF_PAUSE: u32 = 10;

/// What servers have said about when to call for one key.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// No call before it is over.
    pause: Option<Pause>,
    budgets: SmallVec<[Budget; 2]>,
    /// The number of the call whose answer told the budgets.
    told_by: u64,
    reopening: Option<Reopening>,
}

/// A time in which calls are held back, and what is remembered of it after that: for as long again, who calls does so with
/// care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pause {
    until: Instant,
    forgotten: Instant,
}

/// So many more calls, and more only after the pause. Below zero if more were under way than the server allowed.
#[derive(Clone, Copy, Debug)]
struct Budget {
    left: i64,
    pause: Pause,
}

/// After a pause nobody knows how many calls there is room for. So one goes ahead, and each good answer lets two more go;
/// and one goes whenever no other has for a while, because answers may take long.
#[derive(Clone, Copy, Debug)]
struct Reopening {
    credit: u64,
    next: Instant,
    /// Unless calls wait or are under way then.
    forgotten: Instant,
}

/// An answer to call number `call`, and what else is known at that time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard<'a> {
    pub(super) advice: &'a Advice,
    pub(super) call: u64,
    /// When it was sent: about then the server decided.
    pub(super) sent: Instant,
    /// Calls that the server may not have counted when it decided.
    pub(super) uncounted: u64,
    pub(super) now: Instant,
}

impl Gate {
    /// A gate where one call goes ahead of all others.
    pub(super) fn reopening(now: Instant, settings: &Settings) -> Self {
        Self { reopening: Some(Reopening::begin(now, later(now, settings.back_off), settings)), ..Self::default() }
    }

    /// Until when no call may go, if `reserved` others are about to. It may open before, when an answer comes.
    pub(super) fn closed_until(&mut self, reserved: u64, now: Instant, settings: &Settings) -> Option<Instant> {
        self.forget_what_is_over(now, settings);
        let reserved_budget = i64::try_from(reserved).unwrap_or(i64::MAX);
        let spent =
            self.budgets.iter().filter(|budget| budget.left <= reserved_budget).map(|budget| budget.pause.until);
        let reopening = self.reopening.filter(|reopening| reopening.credit <= reserved && now < reopening.next);
        spent.chain(self.paused_until()).chain(reopening.map(|reopening| reopening.next)).max()
    }

    /// Counts a call that goes. Says whether it goes ahead of others.
    pub(super) fn pass(&mut self, now: Instant, settings: &Settings) -> bool {
        self.budgets.iter_mut().for_each(|budget| budget.left = budget.left.saturating_sub(1));
        self.reopening.iter_mut().for_each(|reopening| {
            reopening.credit = reopening.credit.saturating_sub(1);
            reopening.next = later(now, settings.back_off);
        });
        self.reopening.is_some()
    }

    /// Notes that a call that went ahead of others is over.
    pub(super) fn came_back(&mut self, is_good: bool) {
        let credit = if is_good { 2 } else { 1 };
        self.reopening.iter_mut().for_each(|reopening| reopening.credit = reopening.credit.saturating_add(credit));
    }

    /// Heeds an answer. It only ever closes the gate further than a policy would.
    pub(super) fn hear(&mut self, heard: Heard<'_>, settings: &Settings) {
        if let Some(pause) = settings.pause_after(heard.advice) {
            // Those who were served keep to a limit by themselves, and not all at once.
            let is_refusal = heard.advice.is_refusal();
            let length = if is_refusal { settings.lengthened(pause) } else { pause };
            // A refusal takes no time, but a handler may, and a limit is stated as of before that.
            let from = if is_refusal { heard.now } else { heard.beginning(heard.advice.wait_begins()) };
            self.pause = self.pause.max(Some(Pause::begin(from, length, settings)));
        }
        if !heard.advice.allowances().is_empty() && heard.call >= self.told_by {
            self.told_by = heard.call;
            self.budgets = budgets(heard, settings).collect();
            self.reopening = None;
        }
    }

    /// Until when calls are held back for certain, if no answer says anything else.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.pause.map(|pause| pause.until)
    }

    /// Until when each of those budgets lasts that so many calls use up, and how many calls remain beyond it.
    pub(super) fn spent_after(&self, calls: usize) -> impl Iterator<Item = (Instant, usize)> {
        self.budgets.iter().filter_map(move |budget| {
            let left = usize::try_from(budget.left).unwrap_or(0);
            Some((budget.pause.until, calls.checked_sub(left)?))
        })
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        self.pause.is_none_or(|pause| pause.forgotten <= now)
            && self.budgets.iter().all(|budget| budget.forgotten() <= now)
            && self.reopening.is_none_or(|reopening| reopening.forgotten <= now)
    }

    fn forget_what_is_over(&mut self, now: Instant, settings: &Settings) {
        let mut over = self.pause.take_if(|pause| pause.until <= now);
        self.budgets.retain(|budget| {
            let is_over = budget.pause.until <= now;
            over = over.max(Some(budget.pause).filter(|_| is_over && budget.is_spent()));
            !is_over
        });
        if let Some(pause) = over {
            self.reopening = Some(Reopening::begin(now, pause.forgotten, settings));
        }
    }
}

impl Heard<'_> {
    const fn beginning(&self, begins: Beginning) -> Instant {
        match begins {
            Beginning::Sent => self.sent,
            Beginning::Answered => self.now,
        }
    }
}

impl Reopening {
    fn begin(now: Instant, forgotten: Instant, settings: &Settings) -> Self {
        Self { credit: 1, next: later(now, settings.back_off), forgotten }
    }
}

impl Pause {
    fn begin(now: Instant, length: Duration, settings: &Settings) -> Self {
        let until = later(now, length);
        Self { until, forgotten: later(until, length.max(settings.back_off)) }
    }
}

impl Budget {
    const fn is_spent(&self) -> bool {
        self.left <= 0
    }

    /// One that was not spent has held nothing back.
    const fn forgotten(&self) -> Instant {
        if self.is_spent() { self.pause.forgotten } else { self.pause.until }
    }
}

fn budgets(heard: Heard<'_>, settings: &Settings) -> impl Iterator<Item = Budget> {
    let to_number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    heard.advice.allowances().iter().take(MOST_ALLOWANCES).map(move |allowance| Budget {
        left: to_number(allowance.remaining()).saturating_sub(to_number(heard.uncounted)),
        pause: Pause::begin(heard.beginning(allowance.begins()), allowance.within().min(settings.max_hold), settings),
    })
}

impl Settings {
    /// A pause that does not end when it does for all others who were refused with it.
    fn lengthened(&self, pause: Duration) -> Duration {
        let spread = random(Duration::ZERO, (pause / MOST_OF_PAUSE).min(self.spread));
        pause.saturating_add(spread).min(self.max_hold)
    }

    /// How long no call goes after this answer. A refusal that asks for calls at once, or does not say, is not believed.
    pub(super) fn pause_after(&self, advice: &Advice) -> Option<Duration> {
        let stated = advice.wait_time().filter(|wait| !wait.is_zero());
        let is_silent = stated.is_none() && advice.allowances().iter().all(|allowance| allowance.remaining() > 0);
        let pause = if advice.is_refusal() && is_silent { Some(self.back_off) } else { stated };
        pause.map(|pause| pause.min(self.max_hold))
    }
}
