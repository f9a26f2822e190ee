//! DenialCache that need no look at a history.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use crate::{
    clock::Timestamp,
    key::Charge,
    store::verdict::{Detail, QuotaStates, Verdict},
};

/// Keys that one thread remembers.
const PLACES: usize = 64;
/// Answers of a thread from one turn to sweep to the next, as with decisions.
const PAUSE: u32 = 64;

/// The denials of a store, which each thread remembers for itself.
///
/// A key that is exhausted cannot be charged before the first of its units leaves a window. Until then every answer is the
/// same but for the time, and is given without a lock: who knocks all the time costs little, on however many threads.
///
/// Who looks at a history after the end of a denial makes it void for all threads: the clock may step back, and the history
/// does not. So does what changes a history otherwise: a reset, a charge that nobody asks for, a clock that was seen to step
/// back.
#[derive(Debug)]
pub(super) struct DenialCache {
    /// Keys share them as they share the places of a thread.
    spans: [Span; PLACES],
}

/// What is common to the denials of some keys.
#[derive(Debug)]
struct Span {
    /// Tells them from all that are void, of any store.
    era: AtomicU64,
    /// The nanosecond in which the first of them ends.
    ends: AtomicU64,
    /// Held while either changes.
    change: Mutex<()>,
}

/// What a thread remembers.
struct ThreadCache {
    places: [Option<CachedDenial>; PLACES],
    answers: u32,
}

/// Nothing changes in this key's history from one moment to the other.
struct CachedDenial {
    era: u64,
    charge: Charge,
    /// When it was decided.
    told: Timestamp,
    until: u64,
    /// None if nobody asked.
    states: QuotaStates,
}

static ERAS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static KNOWN: RefCell<ThreadCache> = const { RefCell::new(ThreadCache { places: [const { None }; PLACES], answers: 0 }) };
}

impl DenialCache {
    /// To be called by who looks at a history at this moment, and has it locked.
    #[inline]
    pub(super) fn pass(&self, charge: &Charge, now: Timestamp) {
        if let Some(span) = self.spans.get(place(charge))
            && now.nanos() >= span.ends.load(Ordering::Acquire)
        {
            span.forget();
        }
    }

    /// To be called after a history was changed otherwise than by a decision, by who has it locked.
    pub(super) fn forget(&self, charge: &Charge) {
        self.spans.get(place(charge)).map(Span::forget);
    }

    /// Writes the verdict at the moment that stands there already, if it is known to be a denial. Then says whether it is
    /// this answer's turn to sweep.
    #[inline]
    pub(super) fn recall(&self, charge: &Charge, verdict: &mut Verdict) -> Option<bool> {
        with_known(|known| {
            let denial = known.places.get(place(charge))?.as_ref().filter(|denial| denial.charge == *charge)?;
            let is_enough = verdict.told == Detail::None || !denial.states.is_empty();
            if !is_enough
                || denial.era != self.spans.get(place(charge))?.era.load(Ordering::Acquire)
                || !denial.holds_at(verdict.now)
            {
                return None;
            }
            verdict.admitted = false;
            if verdict.told != Detail::None {
                verdict.states.extend(denial.states.iter().copied());
            }
            known.answers = known.answers.wrapping_add(1);
            Some(known.answers.is_multiple_of(PAUSE))
        })
    }

    /// Remembers a denial that is the same `until` then, as far as it was told. The history is to be locked.
    pub(super) fn note(&self, charge: &Charge, verdict: &Verdict, until: u64) {
        let states = QuotaStates::from_slice(&verdict.states);
        with_known(|known| {
            let era = self.spans.get(place(charge))?.keep_until(until);
            let denial = CachedDenial { era, charge: *charge, told: verdict.now, until, states };
            *known.places.get_mut(place(charge))? = Some(denial);
            Some(())
        });
    }
}

impl Span {
    fn new() -> Self {
        Self {
            era: AtomicU64::new(ERAS.fetch_add(1, Ordering::Relaxed)),
            ends: AtomicU64::new(u64::MAX),
            change: Mutex::new(()),
        }
    }

    /// The era of a denial that ends then.
    fn keep_until(&self, until: u64) -> u64 {
        let _changing = self.change.lock();
        self.ends.fetch_min(until, Ordering::Release);
        self.era.load(Ordering::Acquire)
    }

    /// All of them are void. Who sees that none is left to end sees that as well.
    #[cold]
    fn forget(&self) {
        let _changing = self.change.lock();
        self.era.store(ERAS.fetch_add(1, Ordering::Relaxed), Ordering::Release);
        self.ends.store(u64::MAX, Ordering::Release);
    }
}

impl CachedDenial {
    /// Before it was told there may have been more units.
    #[inline]
    fn holds_at(&self, now: Timestamp) -> bool {
        self.told <= now && now.nanos() < self.until
    }
}

/// A thread that is about to end remembers nothing any more.
#[inline]
fn with_known<T>(act: impl FnOnce(&mut ThreadCache) -> Option<T>) -> Option<T> {
    KNOWN.try_with(|known| act(&mut *known.try_borrow_mut().ok()?)).ok()?
}

impl Default for DenialCache {
    fn default() -> Self {
        Self { spans: std::array::from_fn(|_| Span::new()) }
    }
}

/// Keys that share a place push each other out, which costs them a look at their histories.
#[inline]
const fn place(charge: &Charge) -> usize {
    charge.key.mixed() as usize % PLACES
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{
        Policy, Quota, RateLimiter, Rule,
        clock::{Clock, ManualClock},
    };

    fn limiter(clock: &ManualClock, policy: impl Into<Policy>) -> RateLimiter {
        let rule = |name| Rule::new(name).no_requests();
        let builder = RateLimiter::builder().clock(clock.clone()).rule(rule("calls").policy(policy));
        builder.rule(rule("other").policy(Policy::per_hour(1))).build().unwrap()
    }

    fn is_admitted(limiter: &RateLimiter) -> bool {
        limiter.rule("calls").unwrap().check("ann").is_admitted()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_known_denial_ends_when_there_is_room_and_its_wait_gets_shorter() {
        let clock = ManualClock::new();
        let limiter = limiter(&clock, Policy::per_minute(1).and_per_hour(2));
        for start in [0, 60] {
            clock.set(SECOND * start);
            assert!(is_admitted(&limiter));
            for left in (1..=if start == 0 { 60 } else { 3540 }).rev().step_by(7) {
                clock.set(SECOND * start + SECOND * (if start == 0 { 60 } else { 3540 } - left));
                let denied = limiter.rule("calls").unwrap().check("ann");
                assert_eq!((denied.is_admitted(), denied.retry_after()), (false, Some(SECOND * left)));
            }
        }
        clock.set(SECOND * 3600);
        assert!(is_admitted(&limiter));
    }

    #[test]
    fn what_is_left_of_the_other_quotas_is_told_as_it_becomes() {
        let clock = ManualClock::new();
        let quotas = Policy::new(Quota::new(3, SECOND).named("second")).and_per_minute(3);
        let limiter = limiter(&clock, quotas);
        assert!((0..3).all(|_| is_admitted(&limiter)));
        let left = |at: Duration| {
            clock.set(at);
            let denied = limiter.rule("calls").unwrap().check("ann");
            denied.quotas().map(|quota| quota.remaining()).collect::<Vec<_>>()
        };
        assert_eq!(left(SECOND / 2), [0, 0]);
        assert_eq!(left(SECOND - Duration::from_nanos(1)), [0, 0]);
        assert_eq!(left(SECOND), [3, 0]);
    }

    #[test]
    fn who_asks_for_more_than_yes_or_no_is_told_it_after_others_did_not() {
        let clock = ManualClock::new();
        let limiter = limiter(&clock, Policy::per_minute(1).and_per_hour(5));
        let calls = limiter.rule("calls").unwrap();
        assert!(calls.admit("ann") && !calls.admit("ann"));
        clock.advance(SECOND * 20);
        for _ in 0..2 {
            let denied = calls.check("ann");
            assert_eq!(denied.quotas().map(|quota| quota.remaining()).collect::<Vec<_>>(), [0, 4]);
            assert_eq!(denied.retry_after(), Some(SECOND * 40));
            assert!(!calls.admit("ann"));
        }
        clock.advance(SECOND * 40);
        assert!(calls.admit("ann"));
    }

    #[test]
    fn a_reset_is_heard_on_every_thread() {
        let clock = ManualClock::new();
        let limiter = limiter(&clock, Policy::per_minute(1));
        let (denied, resume) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        assert!(is_admitted(&limiter));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                assert!(!is_admitted(&limiter) && !is_admitted(&limiter));
                denied.wait();
                resume.wait();
                is_admitted(&limiter)
            });
            denied.wait();
            assert!(!is_admitted(&limiter));
            assert!(limiter.rule("calls").unwrap().reset("ann"));
            resume.wait();
            assert!(other.join().unwrap());
        });
        assert!(!is_admitted(&limiter));
    }

    #[test]
    fn a_clock_that_steps_back_ends_what_is_known() {
        let clock = ManualClock::new();
        clock.set(SECOND * 1000);
        let limiter = limiter(&clock, Policy::per_minute(1));
        assert!(is_admitted(&limiter) && !is_admitted(&limiter));
        // Another thread brings the unit down to now: it leaves earlier than this one has been told.
        clock.set(SECOND * 970);
        std::thread::scope(|scope| assert!(!scope.spawn(|| is_admitted(&limiter)).join().unwrap()));
        clock.set(SECOND * 1029 + SECOND / 2);
        assert!(!is_admitted(&limiter));
        clock.set(SECOND * 1030);
        assert!(is_admitted(&limiter), "60 seconds after {:?}", clock.now());
    }

    /// What `work` makes on another thread, and then on this one.
    fn on_two_threads<T: Send>(work: impl Fn() -> T + Sync) -> (T, T) {
        (std::thread::scope(|scope| scope.spawn(&work).join().unwrap()), work())
    }

    #[test]
    fn a_denial_that_an_admission_has_followed_does_not_come_back_with_the_clock() {
        let clock = ManualClock::new();
        clock.set(SECOND * 1000);
        let limiter = limiter(&clock, Policy::per_second(2).and_per_hour(3));
        assert!(is_admitted(&limiter) && is_admitted(&limiter) && !is_admitted(&limiter));
        clock.set(SECOND * 1001);
        std::thread::scope(|scope| assert!(scope.spawn(|| is_admitted(&limiter)).join().unwrap()));
        // By less than what brings the history back, and by more.
        for back in [SECOND / 200, SECOND / 2, SECOND] {
            clock.set(SECOND * 1001 - back);
            let left = |quotas: &crate::Decision| quotas.quotas().map(|quota| quota.remaining()).collect::<Vec<_>>();
            let told = || {
                let denied = limiter.rule("calls").unwrap().check("ann");
                (left(&denied), denied.retry_after())
            };
            let (other, own) = on_two_threads(told);
            assert_eq!(own, other, "{back:?} back");
            assert_eq!(own.0[1], 0, "{back:?} back");
        }
    }

    #[test]
    fn a_denial_whose_history_was_let_go_does_not_come_back_with_the_clock() {
        let clock = ManualClock::new();
        clock.set(SECOND * 10_000);
        let limiter = limiter(&clock, Policy::per_hour(1));
        assert!(is_admitted(&limiter) && !is_admitted(&limiter));
        clock.set(SECOND * 14_000);
        // So many newcomers that every place has been looked at.
        std::thread::scope(|scope| {
            scope.spawn(|| (0..3000).for_each(|key| drop(limiter.rule("other").unwrap().check(format!("{key}")))));
        });
        assert_eq!(limiter.len(), 3000);
        clock.set(SECOND * 13_000);
        assert!(is_admitted(&limiter));
    }

    #[test]
    fn keys_rules_and_limiters_are_told_apart() {
        let clock = ManualClock::new();
        let (one, two) = (limiter(&clock, Policy::per_minute(1)), limiter(&clock, Policy::per_minute(1)));
        assert!(is_admitted(&one) && !is_admitted(&one));
        assert!(is_admitted(&two));
        assert!(one.rule("other").unwrap().check("ann").is_admitted());
        assert!((0..200).all(|key| one.rule("calls").unwrap().check(format!("key {key}")).is_admitted()));
    }

    #[test]
    fn denials_that_count_are_counted_every_time() {
        let clock = ManualClock::new();
        let limiter = limiter(&clock, Policy::per_minute(1).count_denied());
        assert!(is_admitted(&limiter));
        for _ in 0..3 {
            clock.advance(SECOND * 59);
            assert!(!is_admitted(&limiter));
        }
    }
}
