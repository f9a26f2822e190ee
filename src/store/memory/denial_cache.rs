//! A cache of denials that need no look at a history.

use std::{
    cell::{Cell, RefCell},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use crate::{
    clock::Timestamp,
    key::Charge,
    store::contract::{Detail, QuotaState, QuotaStates, Verdict},
};

/// Denials that one thread caches.
const ENTRIES: usize = 64;
/// Maximum number of quotas whose states are cached. With more of them, callers that need detail look at the history.
const STATES: usize = 4;
/// Cached answers of a thread between two steps of the sweep, as with decisions.
const ANSWERS_PER_STEP: u32 = 64;

/// The denials of a store, which each thread caches for itself.
///
/// An exhausted key cannot be charged before the first of its units leaves a window. Until then every verdict is the same
/// but for the time, and is given without a lock: callers that retry without waiting cost little, on however many threads.
///
/// The first decision after the end of a denial invalidates it for all threads, because the clock may step back and the
/// history does not. So does any other change to a history: a reset, a charge without a decision, a step back of the clock.
#[derive(Debug)]
pub(super) struct DenialCache {
    /// One epoch for all keys that share an entry.
    epochs: [Epoch; ENTRIES],
}

/// The epoch of one entry in the caches of all threads. Denials of an earlier epoch are invalid.
#[derive(Debug)]
struct Epoch {
    /// Unique among all epochs of all stores.
    number: AtomicU64,
    /// Nanosecond in which the first denial of the epoch ends.
    ends_at: AtomicU64,
    /// Locked while either changes.
    change: Mutex<()>,
}

/// The denials that one thread has cached. Nothing in it has to be dropped, so that threads reach it without a check.
struct ThreadCache {
    entries: [Entry; ENTRIES],
    answers: Cell<u32>,
}

/// A cached denial, and the hash of its key, which is looked at first: most keys are not denied.
struct Entry {
    hash: Cell<u64>,
    denial: RefCell<Option<CachedDenial>>,
}

/// A denial that stays the same from `decided_at` until `until`.
#[derive(Clone, Copy)]
struct CachedDenial {
    epoch: u64,
    charge: Charge,
    decided_at: Timestamp,
    /// In nanoseconds.
    until: u64,
    /// Number of states; none if the caller needed no detail.
    count: usize,
    states: [QuotaState; STATES],
}

static NEXT_EPOCH: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static CACHE: ThreadCache = const { ThreadCache { entries: [const { Entry::empty() }; ENTRIES], answers: Cell::new(0) } };
}

impl DenialCache {
    /// Invalidates the denials of a key if one has ended. To be called with the history locked, by every decision.
    #[inline]
    pub(super) fn invalidate_ended(&self, hash: u64, now: Timestamp) {
        if let Some(epoch) = self.epochs.get(entry_of(hash))
            && now.nanos() >= epoch.ends_at.load(Ordering::Acquire)
        {
            epoch.advance();
        }
    }

    /// Invalidates the denials of a key. To be called with the history locked, after a change that is no decision.
    pub(super) fn invalidate(&self, hash: u64) {
        if let Some(epoch) = self.epochs.get(entry_of(hash)) {
            epoch.advance();
        }
    }

    /// Invalidates the denials of a key if there are any. To be called with the history locked, by whoever charges a history that
    /// other plans judge too: a denial by one of them says more units then.
    pub(super) fn invalidate_cached(&self, hash: u64) {
        if let Some(epoch) = self.epochs.get(entry_of(hash))
            && epoch.ends_at.load(Ordering::Acquire) != u64::MAX
        {
            epoch.advance();
        }
    }

    /// Writes the verdict at its time, if a denial is cached. Returns whether a step of the sweep is due, or `None` if
    /// no denial is cached.
    #[inline]
    pub(super) fn get(&self, hash: u64, charge: &Charge, verdict: &mut Verdict) -> Option<bool> {
        self.with_cached(hash, charge, verdict.now, |denial| {
            if verdict.detail != Detail::None {
                if denial.count == 0 {
                    return None;
                }
                // All four are copied, which takes fewer steps than to copy as many as there are.
                verdict.states = QuotaStates::from_buf_and_len(denial.states, denial.count);
            }
            verdict.admitted = false;
            Some(())
        })
    }

    /// Returns whether a step of the sweep is due, or `None` if no denial is cached that holds `now`.
    #[inline]
    pub(super) fn holds(&self, hash: u64, charge: &Charge, now: Timestamp) -> Option<bool> {
        self.with_cached(hash, charge, now, |_| Some(()))
    }

    /// Runs `answer` on the denial of a key, if it is cached and holds `now`. Returns whether a step of the sweep is due, or
    /// `None` if there is no such denial or no answer.
    #[inline]
    fn with_cached(
        &self,
        hash: u64,
        charge: &Charge,
        now: Timestamp,
        answer: impl FnOnce(&CachedDenial) -> Option<()>,
    ) -> Option<bool> {
        with_cache(|cache| {
            let entry = cache.entries.get(entry_of(hash)).filter(|entry| entry.hash.get() == hash)?;
            let denial = entry.denial.try_borrow().ok()?;
            let denial = denial.as_ref().filter(|denial| denial.charge == *charge && denial.holds_at(now))?;
            if denial.epoch != self.epochs.get(entry_of(hash))?.number.load(Ordering::Acquire) {
                return None;
            }
            answer(denial)?;
            cache.answers.set(cache.answers.get().wrapping_add(1));
            Some(cache.answers.get().is_multiple_of(ANSWERS_PER_STEP))
        })
    }

    /// Caches a denial that stays the same `until` that nanosecond, as far as it has detail. To be called with the history
    /// locked.
    pub(super) fn insert(&self, hash: u64, charge: &Charge, verdict: &Verdict, until: u64) {
        with_cache(|cache| {
            let epoch = self.epochs.get(entry_of(hash))?.include(until);
            let entry = cache.entries.get(entry_of(hash))?;
            *entry.denial.try_borrow_mut().ok()? = Some(CachedDenial::new(epoch, charge, verdict, until));
            entry.hash.set(hash);
            Some(())
        });
    }
}

impl Entry {
    const fn empty() -> Self {
        Self { hash: Cell::new(0), denial: RefCell::new(None) }
    }
}

impl Epoch {
    fn new() -> Self {
        Self {
            number: AtomicU64::new(NEXT_EPOCH.fetch_add(1, Ordering::Relaxed)),
            ends_at: AtomicU64::new(u64::MAX),
            change: Mutex::new(()),
        }
    }

    /// Includes a denial that ends at `until`, and returns the number of the epoch.
    fn include(&self, until: u64) -> u64 {
        let _changing = self.change.lock();
        self.ends_at.fetch_min(until, Ordering::Release);
        self.number.load(Ordering::Acquire)
    }

    /// Begins the next epoch, which has no denials. A thread that reads the new end reads the new number as well.
    #[cold]
    fn advance(&self) {
        let _changing = self.change.lock();
        self.number.store(NEXT_EPOCH.fetch_add(1, Ordering::Relaxed), Ordering::Release);
        self.ends_at.store(u64::MAX, Ordering::Release);
    }
}

impl CachedDenial {
    fn new(epoch: u64, charge: &Charge, verdict: &Verdict, until: u64) -> Self {
        let mut states = [QuotaState { used: 0, changes_at: 0 }; STATES];
        let count = if verdict.states.len() <= STATES { verdict.states.len() } else { 0 };
        states.iter_mut().zip(&verdict.states).for_each(|(place, state)| *place = *state);
        Self { epoch, charge: *charge, decided_at: verdict.now, until, count, states }
    }

    /// Returns `true` if the denial holds at `now`. Before it was decided there may have been more units.
    #[inline]
    fn holds_at(&self, now: Timestamp) -> bool {
        self.decided_at <= now && now.nanos() < self.until
    }
}

impl Default for DenialCache {
    fn default() -> Self {
        Self { epochs: std::array::from_fn(|_| Epoch::new()) }
    }
}

/// Runs `act` on the cache of this thread, unless the thread is about to end.
#[inline]
fn with_cache<T>(act: impl FnOnce(&ThreadCache) -> Option<T>) -> Option<T> {
    CACHE.try_with(act).ok()?
}

/// Returns the entry of a key by the hash of key and scope. Keys that share one evict each other, which costs them a look at
/// their histories. Tables use the lowest bits.
#[inline]
const fn entry_of(hash: u64) -> usize {
    (hash >> 48) as usize % ENTRIES
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
    fn a_cached_denial_ends_when_there_is_room_and_its_wait_gets_shorter() {
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
    fn the_remaining_units_of_the_other_quotas_are_reported_as_they_change() {
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
    fn callers_that_need_detail_get_it_after_others_needed_none() {
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
    fn a_reset_is_seen_on_every_thread() {
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
    fn a_clock_that_steps_back_ends_a_cached_denial() {
        let clock = ManualClock::new();
        clock.set(SECOND * 1000);
        let limiter = limiter(&clock, Policy::per_minute(1));
        assert!(is_admitted(&limiter) && !is_admitted(&limiter));
        // Another thread clamps the unit to now: it leaves earlier than this thread has cached.
        clock.set(SECOND * 970);
        std::thread::scope(|scope| assert!(!scope.spawn(|| is_admitted(&limiter)).join().unwrap()));
        clock.set(SECOND * 1029 + SECOND / 2);
        assert!(!is_admitted(&limiter));
        clock.set(SECOND * 1030);
        assert!(is_admitted(&limiter), "60 seconds after {:?}", clock.now());
    }

    /// Runs `work` on another thread, and then on this one.
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
        // By less than what clamps the history, and by more.
        for back in [SECOND / 200, SECOND / 2, SECOND] {
            clock.set(SECOND * 1001 - back);
            let left = |quotas: &crate::Decision| quotas.quotas().map(|quota| quota.remaining()).collect::<Vec<_>>();
            let report = || {
                let denied = limiter.rule("calls").unwrap().check("ann");
                (left(&denied), denied.retry_after())
            };
            let (other, own) = on_two_threads(report);
            assert_eq!(own, other, "{back:?} back");
            assert_eq!(own.0[1], 0, "{back:?} back");
        }
    }

    #[test]
    fn a_denial_whose_history_was_evicted_does_not_come_back_with_the_clock() {
        let clock = ManualClock::new();
        clock.set(SECOND * 10_000);
        let limiter = limiter(&clock, Policy::per_hour(1));
        assert!(is_admitted(&limiter) && !is_admitted(&limiter));
        clock.set(SECOND * 14_000);
        // Newcomers enough to sweep every bucket.
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
