//! Backpressure: how servers hold back the calls of one key.

use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::client::{
    advice::{Advice, Allowance, Since},
    pace::settings::{Settings, saturating_add},
};

/// The largest number of allowances that are heeded of one response.
const MAX_ALLOWANCES: usize = 16;

/// The backpressure of servers on the calls of one key.
#[derive(Debug, Default)]
pub(super) struct Backpressure {
    /// No call before it is over.
    hold: Option<Hold>,
    remaining: SmallVec<[RemainingCalls; 2]>,
    /// The number of the call whose response stated the remaining calls.
    stated_by: u64,
    slow_start: Option<SlowStart>,
}

/// A time in which calls are held back. For the same time afterwards it is remembered, and calls ramp up slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Hold {
    until: Instant,
    forgotten: Instant,
}

/// The number of calls that a server has left until the hold is over. It is negative if more were in flight than that.
#[derive(Clone, Copy, Debug)]
struct RemainingCalls {
    left: i64,
    hold: Hold,
}

/// A slow start after a hold, since nobody knows how many calls there is room for: one goes ahead, and each that is served
/// lets two more go. Responses may take long, so one goes whenever no other has for a while, too.
#[derive(Clone, Copy, Debug)]
struct SlowStart {
    credit: u64,
    next: Instant,
    /// The time at which it ends, unless calls wait or are in flight then.
    forgotten: Instant,
}

/// The advice of a response to call number `call`, with what else is known at that time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Feedback<'a> {
    pub(super) advice: &'a Advice,
    pub(super) call: u64,
    /// The server decided at about this time.
    pub(super) sent_at: Instant,
    /// The number of calls that the server may not have counted when it decided.
    pub(super) uncounted: u64,
    pub(super) now: Instant,
}

impl Backpressure {
    /// Begins with a slow start.
    pub(super) fn slow_start(now: Instant, settings: &Settings) -> Self {
        let slow_start = SlowStart::new(now, saturating_add(now, settings.default_wait), settings);
        Self { slow_start: Some(slow_start), ..Self::default() }
    }

    /// Returns until when no call may go, if `reserved` others are about to. A response may end that before.
    pub(super) fn closed_until(&mut self, reserved: u64, now: Instant, settings: &Settings) -> Option<Instant> {
        self.expire(now, settings);
        let about_to_go = saturating_i64(reserved);
        let exhausted = self.remaining.iter().filter(|remaining| remaining.left <= about_to_go);
        let slow_start = self.slow_start.filter(|start| start.credit <= reserved && now < start.next);
        let ends = exhausted.map(|remaining| remaining.hold.until);
        ends.chain(self.held_until()).chain(slow_start.map(|start| start.next)).max()
    }

    /// Counts a call that is sent. Returns `true` if it is a probe: one that goes ahead of others in a slow start.
    pub(super) fn send(&mut self, now: Instant, settings: &Settings) -> bool {
        for remaining in &mut self.remaining {
            remaining.left = remaining.left.saturating_sub(1);
        }
        if let Some(start) = &mut self.slow_start {
            start.credit = start.credit.saturating_sub(1);
            start.next = saturating_add(now, settings.default_wait);
        }
        self.slow_start.is_some()
    }

    /// Notes that a probe is over.
    pub(super) const fn finish_probe(&mut self, is_served: bool) {
        if let Some(start) = &mut self.slow_start {
            start.credit = start.credit.saturating_add(if is_served { 2 } else { 1 });
        }
    }

    /// Heeds a response. This only ever holds calls back further than a policy would.
    pub(super) fn apply(&mut self, feedback: Feedback<'_>, settings: &Settings) {
        if let Some(pause) = settings.pause_after(feedback.advice) {
            // Clients that were served keep to a limit by themselves, and not all at once, so only a refusal needs jitter.
            // A refusal takes no time, but a handler may, and a limit is stated as of before that.
            let hold = if feedback.advice.is_refusal() {
                Hold::new(feedback.now, settings.with_jitter(pause), settings)
            } else {
                Hold::new(feedback.begin(feedback.advice.wait_since()), pause, settings)
            };
            self.hold = self.hold.max(Some(hold));
        }
        let allowances = feedback.advice.allowances();
        if !allowances.is_empty() && feedback.call >= self.stated_by {
            self.stated_by = feedback.call;
            let allowances = allowances.iter().take(MAX_ALLOWANCES);
            self.remaining = allowances.map(|allowance| feedback.remaining(allowance, settings)).collect();
            self.slow_start = None;
        }
    }

    /// Returns until when calls are held back for certain, if no response says anything else.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.hold.map(|hold| hold.until)
    }

    /// Returns the end of each hold that begins once so many calls were sent, and the number of those calls beyond it.
    pub(super) fn exhausted_after(&self, calls: usize) -> impl Iterator<Item = (Instant, usize)> {
        self.remaining.iter().filter_map(move |remaining| {
            let left = usize::try_from(remaining.left).unwrap_or(0);
            Some((remaining.hold.until, calls.checked_sub(left)?))
        })
    }

    /// Returns `true` if there is nothing to remember.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.hold.is_none_or(|hold| hold.forgotten <= now)
            && self.remaining.iter().all(|remaining| remaining.forgotten() <= now)
            && self.slow_start.is_none_or(|start| start.forgotten <= now)
    }

    fn expire(&mut self, now: Instant, settings: &Settings) {
        let mut over = self.hold.take_if(|hold| hold.until <= now);
        self.remaining.retain(|remaining| {
            let is_over = remaining.hold.until <= now;
            over = over.max(Some(remaining.hold).filter(|_| is_over && remaining.is_exhausted()));
            !is_over
        });
        if let Some(hold) = over {
            self.slow_start = Some(SlowStart::new(now, hold.forgotten, settings));
        }
    }
}

impl Feedback<'_> {
    const fn begin(&self, since: Since) -> Instant {
        match since {
            Since::Sent => self.sent_at,
            Since::Answered => self.now,
        }
    }

    fn remaining(&self, allowance: &Allowance, settings: &Settings) -> RemainingCalls {
        let length = allowance.within().min(settings.max_hold);
        RemainingCalls {
            left: saturating_i64(allowance.remaining()).saturating_sub(saturating_i64(self.uncounted)),
            hold: Hold::new(self.begin(allowance.since()), length, settings),
        }
    }
}

impl SlowStart {
    fn new(now: Instant, forgotten: Instant, settings: &Settings) -> Self {
        Self { credit: 1, next: saturating_add(now, settings.default_wait), forgotten }
    }
}

impl Hold {
    fn new(begin: Instant, length: Duration, settings: &Settings) -> Self {
        let until = saturating_add(begin, length);
        Self { until, forgotten: saturating_add(until, length.max(settings.default_wait)) }
    }
}

impl RemainingCalls {
    const fn is_exhausted(&self) -> bool {
        self.left <= 0
    }

    /// Returns when it is forgotten. Until it was exhausted it has held nothing back.
    const fn forgotten(&self) -> Instant {
        if self.is_exhausted() { self.hold.forgotten } else { self.hold.until }
    }
}

fn saturating_i64(calls: u64) -> i64 {
    i64::try_from(calls).unwrap_or(i64::MAX)
}
