//! Any number of threads on any number of keys: never more than N, nothing lost, nobody waits for ever.

use std::{
    cell::Cell,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tower_quota::{
    Policy, Quota, RateLimiter,
    clock::{Clock, ManualClock},
};
use tower_quota_tests::limiter::{limiter_for, rule};

const THREADS: usize = 64;

/// Runs `work` on `count` threads that start together; returns what each of them made.
fn on_threads<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(count);
    thread::scope(|scope| {
        let (barrier, work) = (&barrier, &work);
        let spawn = |number| {
            scope.spawn(move || {
                barrier.wait();
                work(number)
            })
        };
        let threads: Vec<_> = (0..count).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Numbers that look random: xorshift64*.
struct Dice(u64);

impl Dice {
    const fn of_thread(number: usize) -> Self {
        Self((number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    const fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % bound
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

/// Some want to know what remains, and others no more than yes or no.
fn is_admitted(limiter: &RateLimiter, is_told: bool) -> bool {
    if is_told {
        limiter.rule("calls").unwrap().check("ann").is_admitted()
    } else {
        limiter.rule("calls").unwrap().admit("ann")
    }
}

/// P1, rows F19 and L1, for every kind of history.
#[test]
fn many_threads_on_one_key_are_admitted_exactly_n_times() {
    for policy in [
        Policy::per_minute(1000),
        Policy::per_minute(1000).count_denied(),
        Policy::per_minute(5000).and_per_hour(6000),
        Policy::per_second(1500).and_per_minute(1000).resolution(16),
        Policy::new(Quota::new(1000, Duration::from_secs(30 * 86_400))),
    ] {
        let limit = policy.quotas().map(Quota::limit).min().unwrap() as usize;
        let (limiter, _) = limiter_for(100, [rule("calls", policy)]);
        let admitted =
            on_threads(THREADS, |number| (0..200).filter(|_| is_admitted(&limiter, number % 2 == 0)).count());
        assert_eq!(admitted.iter().sum::<usize>(), limit);
    }
}

/// P3, rows F20 and L3: nothing is charged to the wide rule when the narrow one denies.
#[test]
fn many_threads_under_two_rules_lose_no_unit_of_either() {
    let (limiter, _) = limiter_for(100, [rule("a", Policy::per_minute(10)), rule("b", Policy::per_minute(1))]);
    let admitted = on_threads(THREADS, |number| {
        let order = if number % 2 == 0 { ["a", "b"] } else { ["b", "a"] };
        (0..100).filter(|_| limiter.check_all(order.map(|rule| (rule, "ann"))).unwrap().is_admitted()).count()
    });
    assert_eq!(admitted.iter().sum::<usize>(), 1);
    let left = |rule| limiter.rule(rule).unwrap().peek("ann").quotas().next().unwrap().remaining();
    assert_eq!((left("a"), left("b")), (9, 0));
}

/// P1, P3, P5: what was admitted under a rule is what is gone from it, whatever the other rules of each request said.
#[test]
fn units_admitted_and_units_left_add_up_to_the_limit() {
    const RULES: [(&str, u64); 4] = [("a", 400), ("b", 300), ("c", 200), ("d", 5000)];
    const KEYS: [&str; 3] = ["ann", "bob", "carl"];
    let (limiter, _) =
        limiter_for(100, RULES.map(|(name, limit)| rule(name, Policy::per_hour(limit).and_per_day(limit))));
    let admitted: [[AtomicUsize; KEYS.len()]; RULES.len()] = Default::default();
    on_threads(THREADS, |number| {
        let mut dice = Dice::of_thread(number);
        for _ in 0..60 {
            let mut charges: Vec<(usize, usize)> =
                (0..RULES.len()).map(|rule| (rule, dice.below(KEYS.len() as u64) as usize)).collect();
            dice.shuffle(&mut charges);
            charges.truncate(1 + dice.below(RULES.len() as u64) as usize);
            if limiter.check_all(charges.iter().map(|(rule, key)| (RULES[*rule].0, KEYS[*key]))).unwrap().is_admitted()
            {
                for (rule, key) in charges {
                    admitted[rule][key].fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    for ((rule, limit), admitted) in RULES.iter().zip(&admitted) {
        for (key, admitted) in KEYS.iter().zip(admitted) {
            let left = limiter.rule(rule).unwrap().peek(*key).quotas().next().unwrap().remaining();
            assert_eq!(admitted.load(Ordering::Relaxed) + left as usize, *limit as usize, "{rule} {key}");
        }
    }
}

/// P1, P2: below the cap each key has all of its own units, and only those.
#[test]
fn many_threads_on_many_keys_are_admitted_exactly_n_times_on_each() {
    const KEYS: usize = 500;
    let (limiter, _) = limiter_for(KEYS, [rule("calls", Policy::per_minute(7).and_per_hour(8))]);
    let keys: Vec<String> = (0..KEYS).map(|number| format!("a key of which a hash is kept: {number}")).collect();
    let admitted: Vec<AtomicUsize> = keys.iter().map(|_| AtomicUsize::new(0)).collect();
    on_threads(THREADS, |number| {
        let mut dice = Dice::of_thread(number);
        let mut order: Vec<usize> = (0..KEYS).collect();
        dice.shuffle(&mut order);
        for at in order {
            if limiter.rule("calls").unwrap().check(&keys[at]).is_admitted() {
                admitted[at].fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    assert!(admitted.iter().all(|admitted| admitted.load(Ordering::Relaxed) == 7));
    assert_eq!(limiter.len(), KEYS);
}

/// P1, P6: beyond the cap no key gets more than N, all newcomers together no more than N, and the cap holds at every
/// moment.
#[test]
fn many_threads_crowding_the_table_get_no_more_than_n_beside_it() {
    const CAP: usize = 50;
    let (limiter, _) = limiter_for(CAP, [rule("calls", Policy::per_minute(3)), rule("twin", Policy::per_minute(3))]);
    let admitted = on_threads(THREADS, |number| {
        let mut dice = Dice::of_thread(number);
        let mut admitted = 0;
        for _ in 0..200 {
            let key = format!("{}", dice.below(2000));
            admitted += usize::from(limiter.rule("calls").unwrap().check(&key).is_admitted());
            let _ = limiter.check_all([("twin", &key), ("calls", &key)]).unwrap();
            assert!(limiter.len() <= CAP);
        }
        admitted
    });
    // Every place in the table may have been used up, and the shared history beside it.
    assert!(admitted.iter().sum::<usize>() <= 3 * (CAP + 1));
}

/// An admission happened somewhere between these two readings of the clock.
#[derive(Clone, Copy, Debug)]
struct Admitted {
    before: Duration,
    after: Duration,
}

/// The most admissions that lie in one window for certain.
fn most_in_any(window: Duration, mut admitted: Vec<Admitted>) -> usize {
    admitted.sort_by_key(|admitted| admitted.before);
    let from = |at: usize| {
        let start = admitted[at].before;
        let candidates = admitted[at..].iter().take_while(|other| other.before < start + window);
        candidates.filter(|other| other.after < start + window).count()
    };
    (0..admitted.len()).map(from).max().unwrap_or(0)
}

/// Advances `clock` in steps until that is enough or `work` is done.
fn while_advancing<T>(
    clock: &ManualClock,
    step: Duration,
    is_enough: impl Fn() -> bool + Send,
    work: impl FnOnce(&AtomicBool) -> T,
) -> T {
    let (is_done, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let (is_done, is_over) = (&is_done, &is_over);
        scope.spawn(move || {
            while !is_done.load(Ordering::Relaxed) && !is_enough() {
                clock.advance(step);
                thread::yield_now();
            }
            is_over.store(true, Ordering::Relaxed);
        });
        let made = work(is_over);
        is_done.store(true, Ordering::Relaxed);
        made
    })
}

/// P1 while the time passes.
#[test]
fn never_more_than_n_in_any_window_while_the_clock_moves() {
    let window = Duration::from_millis(20);
    for (rules, limit) in [(vec!["a"], 50), (vec!["b", "a"], 50), (vec!["c", "a"], 20), (vec!["large"], 40)] {
        let (limiter, clock) = limiter_for(
            10,
            [
                rule("a", Policy::new(Quota::new(50, window))),
                rule("b", Policy::per_hour(1_000_000)),
                rule("c", Policy::new(Quota::new(20, window))),
                rule("large", Policy::new(Quota::new(40, window)).resolution(16)),
            ],
        );
        // The threads may get no turn while the time goes on.
        let count = AtomicUsize::new(0);
        let is_enough = || clock.now() >= Duration::from_millis(600) && count.load(Ordering::Relaxed) >= limit;
        let admitted = while_advancing(&clock, Duration::from_micros(37), is_enough, |is_over| {
            on_threads(16, |_| {
                let mut admitted = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let before = clock.now();
                    let decision = limiter.check_all(rules.iter().map(|rule| (*rule, "ann"))).unwrap();
                    if decision.is_admitted() {
                        admitted.push(Admitted { before, after: clock.now() });
                        count.fetch_add(1, Ordering::Relaxed);
                    } else {
                        // A denial takes no lock that would let others go on, and time is one of them.
                        thread::yield_now();
                    }
                }
                admitted
            })
        });
        let admitted: Vec<Admitted> = admitted.into_iter().flatten().collect();
        assert!(admitted.len() >= limit, "{rules:?}");
        assert!(most_in_any(window, admitted) <= limit, "{rules:?}");
    }
}

/// One time for all, of which each thread learns a little late.
#[derive(Clone, Debug)]
struct LaggingClock(ManualClock);

const MOST_LAG: Duration = Duration::from_micros(50);

thread_local! {
    static LAG: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

impl Clock for LaggingClock {
    fn now(&self) -> Duration {
        self.0.now().saturating_sub(LAG.get())
    }
}

/// P1 where threads read clocks that differ by microseconds: the differences must not add up.
#[test]
fn never_more_than_n_in_any_window_although_threads_disagree_on_the_time() {
    let (limit, window) = (1000, Duration::from_millis(20));
    let clock = ManualClock::new();
    let builder = RateLimiter::builder().clock(LaggingClock(clock.clone()));
    let limiter = builder.rule(rule("calls", Policy::new(Quota::new(limit, window)))).build().unwrap();
    let is_enough = || clock.now() >= Duration::from_millis(200);
    let admitted = while_advancing(&clock, Duration::from_micros(3), is_enough, |is_over| {
        on_threads(8, |number| {
            LAG.set(MOST_LAG * number as u32 / 8);
            let mut admitted = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let before = clock.now();
                if limiter.rule("calls").unwrap().check("ann").is_admitted() {
                    admitted.push(Admitted { before, after: clock.now() });
                } else {
                    thread::yield_now();
                }
            }
            admitted
        })
    });
    let most = most_in_any(window - MOST_LAG, admitted.into_iter().flatten().collect());
    assert!(most <= limit as usize, "{most} of {limit}");
}

/// P3: locks are taken in one order, whatever the order of the charges; also at the cap, with everything else going on.
#[test]
fn decisions_on_many_keys_in_any_order_do_not_block_each_other() {
    const RULES: [&str; 3] = ["a", "b", "c"];
    let policies =
        [Policy::per_second(50), Policy::per_second(20).count_denied(), Policy::per_second(30).and_per_minute(100_000)];
    for max_keys in [3, 40, 1000] {
        let rules = RULES.iter().zip(policies.clone()).map(|(name, policy)| rule(name, policy));
        let (limiter, clock) = limiter_for(max_keys, rules);
        on_threads(16, |number| {
            let mut dice = Dice::of_thread(number);
            for _ in 0..600 {
                let count = 1 + dice.below(8);
                let charges: Vec<(&str, String)> =
                    (0..count).map(|_| (RULES[dice.below(3) as usize], dice.below(60).to_string())).collect();
                let _ = limiter.check_all(charges.iter().map(|(rule, key)| (*rule, key))).unwrap();
                let (rule, key) = &charges[0];
                match dice.below(8) {
                    0 => drop(limiter.rule(rule).unwrap().reset(key)),
                    1 | 2 => drop(limiter.rule(rule).unwrap().peek(key)),
                    3 => clock.advance(Duration::from_millis(dice.below(100))),
                    _ => drop(limiter.rule(rule).unwrap().check(key)),
                }
                assert!(limiter.len() <= max_keys);
            }
        });
    }
}

/// Row L2: many keys of which few are busy, while the time passes. P1 for each of them, and P2: nobody starves.
#[test]
fn busy_and_quiet_keys_side_by_side_all_get_their_share() {
    const KEYS: usize = 20_000;
    const LIMIT: u64 = 4;
    let window = Duration::from_millis(100);
    let (limiter, clock) = limiter_for(KEYS, [rule("calls", Policy::new(Quota::new(LIMIT, window)))]);
    let tried: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let admitted: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    while_advancing(
        &clock,
        Duration::from_micros(100),
        || clock.now() >= Duration::from_secs(60),
        |_| {
            on_threads(8, |number| {
                let mut dice = Dice::of_thread(number);
                for _ in 0..15_000 {
                    // Half of all calls go to the first key, a quarter to the next two, and so on.
                    let reach = 1 << dice.below(u64::from(KEYS.ilog2()) + 1);
                    let key = dice.below(reach) as usize;
                    tried[key].fetch_add(1, Ordering::Relaxed);
                    if limiter.rule("calls").unwrap().check(key.to_string()).is_admitted() {
                        admitted[key].fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        },
    );
    let windows = clock.now().as_nanos().div_ceil(window.as_nanos()) as u64;
    for (tried, admitted) in tried.iter().zip(&admitted) {
        let (tried, admitted) = (tried.load(Ordering::Relaxed), admitted.load(Ordering::Relaxed));
        assert!(admitted <= LIMIT * (windows + 1));
        assert!(admitted >= tried.min(LIMIT));
    }
}
