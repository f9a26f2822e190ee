//! The script against the histories in memory, and against the obvious model: a list of admissions.

mod common;
mod costs;
mod tiers;
mod writers;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use proptest::prelude::*;
use redis::{Connection, RedisResult};
use redis_server::Server;

use crate::{
    clock::Timestamp,
    history::{History, Plan},
    policy::{Enforcement, Policy, Quota},
    store::{
        contract::{QuotaState, QuotaStates, Verdict},
        redis::{
            layout::{Layout, low_bytes},
            script::{Charged, Mode, Request, Script},
        },
    },
};

const MILLI: u64 = 1000;
const START: u64 = 1_700_000_000_000 * MILLI;
/// Just before the low 32 bits of a stamp begin again.
const WRAP: u64 = (396 << 32) * MILLI - 2_000 * MILLI;

/// A history on the server, and the same in memory.
#[derive(Debug)]
struct Subject {
    plan: Plan,
    logs: Layout,
    key: String,
    history: History,
    enforcement: Enforcement,
}

impl Subject {
    fn new(policy: &Policy) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let plan = Plan::new(policy);
        let logs = Layout::new(&plan).kept_for(3_600_000);
        let key = format!("tq:{{{}}}", MADE.fetch_add(1, Ordering::Relaxed));
        Self { history: History::new(&plan), plan, logs, key, enforcement: Enforcement::On }
    }

    /// The same key under another policy.
    fn under(&self, policy: &Policy) -> Self {
        Self { key: self.key.clone(), ..Self::new(policy) }
    }

    /// The same key under one of several policies that judge it together.
    fn in_tier(&self, policy: &Policy, all: &[Policy]) -> Self {
        let plan = Plan::among(policy, all);
        let logs = Layout::new(&plan).kept_for(3_600_000);
        Self { key: self.key.clone(), history: History::new(&plan), plan, logs, enforcement: self.enforcement }
    }

    fn charged(&self) -> Charged<'_> {
        Charged { logs: &self.logs, key: self.key.as_bytes(), enforcement: self.enforcement, units: 1 }
    }

    /// Layout that quotas are counted by.
    fn counted(&self) -> usize {
        self.logs.iter().filter(|log| !log.quotas().is_empty()).count()
    }

    fn names(&self) -> Vec<String> {
        self.logs.iter().map(|log| format!("{}{}", self.key, log.suffix())).collect()
    }
}

/// What the crate's own store decides about several charges.
fn expected(subjects: &mut [Subject], micros: u64) -> Verdict {
    let now = Timestamp::from_micros(micros);
    let mut measured: Vec<(QuotaStates, bool)> = Vec::new();
    let mut admitted = true;
    for Subject { plan, history, enforcement, .. } in &mut *subjects {
        if history.is_ahead_of(plan, now) {
            history.clamp_to(plan, now);
        }
        let mut states = QuotaStates::new();
        let has_room = history.measure(plan, now, |state| states.push(state));
        admitted &= has_room || !enforcement.is_enforced();
        measured.push((states, has_room));
    }
    let mut verdict = Verdict { now, ..Verdict::new(admitted) };
    for (at, (Subject { plan, history, enforcement, .. }, (mut states, has_room))) in
        subjects.iter_mut().zip(measured).enumerate()
    {
        if !enforcement.is_charged(admitted, has_room) {
            history.count_denied(plan, now, &mut states);
        } else if has_room {
            history.admit(plan, now, &mut states);
        } else {
            history.charge(plan, now);
            states.clear();
            history.measure(plan, now, |state| states.push(state));
        }
        if !has_room && !enforcement.is_enforced() {
            verdict.set_without_room(at);
        }
        verdict.states.extend(states);
    }
    verdict
}

/// One unit of these.
const fn one<'a>(charges: &'a [Charged<'a>]) -> Request<'a> {
    Request { charges, units: 1 }
}

fn ask(connection: &mut Connection, subjects: &[Subject], micros: u64, mode: Mode) -> RedisResult<Verdict> {
    let charges: Vec<_> = subjects.iter().map(Subject::charged).collect();
    let answer = Script::at(micros).call_in_full(&[one(&charges)], mode).query(connection)?;
    Ok(Script::reply(&charges, answer)?.verdict)
}

fn decide(connection: &mut Connection, subject: &Subject, micros: u64) -> Verdict {
    ask(connection, std::slice::from_ref(subject), micros, Mode::Decide).unwrap()
}

fn refund(connection: &mut Connection, subject: &Subject, admitted_at: u64, now: u64) -> u32 {
    refund_units(connection, subject, admitted_at, now, 1)
}

fn refund_units(connection: &mut Connection, subject: &Subject, admitted_at: u64, now: u64, units: u8) -> u32 {
    let mode = Mode::Refund(Timestamp::from_micros(admitted_at));
    let request = Request { charges: &[subject.charged()], units };
    Script::at(now).call_in_full(&[request], mode).query(connection).unwrap()
}

fn forget(connection: &mut Connection, subject: &Subject) -> u32 {
    Script::new().call_in_full(&[one(&[subject.charged()])], Mode::Forget).query(connection).unwrap()
}

fn told(verdict: &Verdict) -> (bool, Timestamp, Vec<(u64, u64)>) {
    let told = |state: &QuotaState| (state.used, state.changes_at);
    (verdict.admitted, verdict.now, verdict.states.iter().map(told).collect())
}

fn used(verdict: &Verdict) -> Vec<u64> {
    verdict.states.iter().map(|state| state.used).collect()
}

fn dumps(connection: &mut Connection, subjects: &[Subject]) -> Vec<(Option<Vec<u8>>, bool)> {
    let names = subjects.iter().flat_map(Subject::names);
    let dump = |name: String| {
        let dump = redis::cmd("DUMP").arg(&name).query(connection).unwrap();
        let expires: i64 = redis::cmd("PTTL").arg(&name).query(connection).unwrap();
        (dump, expires > 0)
    };
    names.map(dump).collect()
}

fn admitted_at(connection: &mut Connection, subject: &Subject, micros: u64, most: u64) -> u64 {
    (0..most).take_while(|_| decide(connection, subject, micros).admitted).count() as u64
}

fn micros(quota: &Quota) -> u64 {
    u64::try_from(quota.window().as_micros()).unwrap()
}

/// Policies of small numbers, so that short schedules meet their limits and rings wrap and grow. With a resolution of 16
/// a limit of 17 is a large one.
fn policies() -> impl Strategy<Value = Policy> {
    let window = prop_oneof![1u64..40, 40u64..4000, Just(1000), Just(2000), Just(86_400_000 * 40)];
    let limit = prop_oneof![4 => 1u64..60, 1 => 60u64..400];
    let quotas = prop::collection::vec((limit, window), 1..4);
    (quotas, prop::bool::ANY, prop::bool::weighted(0.3)).prop_map(|(quotas, coarse, count_denied)| {
        let quotas = quotas.into_iter().enumerate();
        let quotas = quotas
            .map(|(at, (limit, millis))| Quota::new(limit, Duration::from_millis(millis)).named(format!("q{at}")));
        let policy: Policy = quotas.collect();
        let policy = if coarse { policy.resolution(16) } else { policy };
        if count_denied { policy.count_denied() } else { policy }
    })
}

/// Steps between requests in microseconds: bursts, trickles, just before and at the edges, and long pauses.
fn step() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => Just(0i64),
        3 => 0i64..3_000,
        3 => 0i64..30_000,
        1 => 0i64..300_000,
        1 => 0i64..5_000_000,
        1 => (1i64..2000).prop_map(|millis| millis * 1000 - 1),
        1 => (1i64..2000).prop_map(|millis| millis * 1000),
    ]
}

/// The same with a clock that steps back, a little or a lot, and forward by up to a hundred days.
fn jump() -> impl Strategy<Value = i64> {
    prop_oneof![
        40 => step(),
        1 => -12_000i64..0,
        1 => -4_000_000i64..0,
        1 => -100 * 86_400_000_000i64..100 * 86_400_000_000i64,
    ]
}

fn times(start: u64, steps: &[i64]) -> Vec<u64> {
    let move_on = |now: &mut u64, step: &i64| {
        *now = now.saturating_add_signed(*step).max(1);
        Some(*now)
    };
    steps.iter().scan(start, move_on).collect()
}

fn starts() -> impl Strategy<Value = u64> {
    prop_oneof![Just(START), Just(WRAP), (0u64..1_000_000).prop_map(|micros| START + micros)]
}

/// Runs `property` on random input of `strategy`, so many times, or as often as `PROPTEST_CASES` says, with a server.
fn check<S: Strategy>(
    cases: u32,
    strategy: S,
    property: impl Fn(&mut Connection, S::Value) -> Result<(), TestCaseError>,
) {
    let wanted = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let server = Server::start();
    let connection = std::cell::RefCell::new(server.connection());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..ProptestConfig::with_cases(wanted.unwrap_or(cases))
    });
    runner
        .run(&strategy, |input| property(&mut connection.borrow_mut(), input))
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_script_decides_as_the_history_in_memory_does_whatever_the_clock_does() {
    let input = (policies(), starts(), prop::collection::vec(jump(), 1..500));
    check(30, input, |connection, (policy, start, steps)| {
        let mut subjects = [Subject::new(&policy)];
        for now in times(start, &steps) {
            let told_by_script = told(&ask(connection, &subjects, now, Mode::Decide).unwrap());
            prop_assert_eq!(told_by_script, told(&expected(&mut subjects, now)), "at {}", now);
        }
        Ok(())
    });
}

#[test]
fn rings_that_go_round_and_grow_then_are_read_as_the_history_in_memory() {
    let quota = (17u64..400, 300u64..5000).prop_map(|(limit, millis)| Quota::new(limit, Duration::from_millis(millis)));
    let phase = (1usize..150, 0i64..60_000);
    let input = (prop::collection::vec(quota, 1..4), 0u8..4, prop::collection::vec(phase, 1..12));
    check(25, input, |connection, (quotas, kind, phases)| {
        let named = quotas.into_iter().enumerate().map(|(at, quota)| quota.named(format!("q{at}")));
        let policy = Policy::from_iter(named).resolution(if kind % 2 == 0 { 4096 } else { 16 });
        let mut subjects = [Subject::new(&if kind < 2 { policy } else { policy.count_denied() })];
        let steps: Vec<_> = phases.into_iter().flat_map(|(count, gap)| vec![gap; count]).collect();
        for now in times(START, &steps) {
            let told_by_script = told(&ask(connection, &subjects, now, Mode::Decide).unwrap());
            prop_assert_eq!(told_by_script, told(&expected(&mut subjects, now)), "at {}", now);
        }
        Ok(())
    });
}

#[test]
fn a_log_with_nothing_alive_still_knows_how_far_it_is_ahead_of_the_clock() {
    let server = Server::start();
    let connection = &mut server.connection();
    for policy in
        [Policy::new(Quota::new(1, Duration::from_millis(3))), Policy::new(Quota::new(17, Duration::from_millis(3)))]
    {
        let mut subjects = [Subject::new(&policy.clone().resolution(16)), Subject::new(&Policy::per_hour(1))];
        for (step, alone) in [(0, false), (8, false), (-2, true), (3, false), (-20, true)] {
            let now = START.saturating_add_signed(step * 1000);
            let asked = &mut subjects[..if alone { 1 } else { 2 }];
            let told_by_script = told(&ask(connection, asked, now, Mode::Decide).unwrap());
            assert_eq!(told_by_script, told(&expected(asked, now)), "{policy} at {step}");
        }
    }
}

#[test]
fn several_charges_are_decided_as_the_store_in_memory_does() {
    let input = (prop::collection::vec(policies(), 2..4), starts(), prop::collection::vec(jump(), 1..400));
    check(20, input, |connection, (policies, start, steps)| {
        let mut subjects: Vec<_> = policies.iter().map(Subject::new).collect();
        for (turn, now) in times(start, &steps).into_iter().enumerate() {
            // Now and then one of them is charged alone, so that they differ in what they have used.
            let alone = (turn % 5).min(subjects.len());
            let asked = if turn % 3 == 0 { &mut subjects[..] } else { &mut subjects[alone.saturating_sub(1)..] };
            let told_by_script = told(&ask(connection, asked, now, Mode::Decide).unwrap());
            prop_assert_eq!(told_by_script, told(&expected(asked, now)), "at {}", now);
        }
        Ok(())
    });
}

/// What is told of the verdict, with the units that each quota has left: it may remember more than its limit.
fn left(subjects: &[Subject], verdict: &Verdict) -> (bool, Timestamp, Vec<(u64, u64)>) {
    let limits = subjects.iter().flat_map(|subject| subject.plan.windows()).map(|window| window.limit);
    let (admitted, now, states) = told(verdict);
    let left = states.iter().zip(limits).map(|((used, changes_at), limit)| (limit.saturating_sub(*used), *changes_at));
    (admitted, now, left.collect())
}

/// The charges that denied nothing and had no room.
fn without_room(verdict: &Verdict) -> Vec<usize> {
    (0..10).filter(|at| verdict.is_without_room(*at)).collect()
}

#[test]
fn charges_of_every_enforcement_are_decided_as_the_store_in_memory_does() {
    const ALL: [Enforcement; 3] = [Enforcement::On, Enforcement::Soft, Enforcement::Shadow];
    let enforcements = prop::collection::vec(prop::sample::select(ALL.to_vec()), 3);
    let steps = prop::collection::vec((jump(), prop::option::weighted(0.05, enforcements)), 1..400);
    // Of quotas that never deny memory may keep fewer units beyond a limit than the server does.
    let sound = policies().prop_filter("a quota never denies", |policy| policy.idle_quotas().next().is_none());
    check(30, (prop::collection::vec(sound, 1..4), starts(), steps), |connection, (policies, start, steps)| {
        let mut subjects: Vec<_> = policies.iter().map(Subject::new).collect();
        let enforcements = [Enforcement::Shadow, Enforcement::On, Enforcement::Soft];
        let switch = |subjects: &mut [Subject], to: &[Enforcement]| {
            subjects.iter_mut().zip(to).for_each(|(subject, to)| subject.enforcement = *to);
        };
        switch(&mut subjects, &enforcements);
        let (jumps, switches): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
        for (turn, (now, switched)) in times(start, &jumps).into_iter().zip(switches).enumerate() {
            switch(&mut subjects, &switched.unwrap_or_default());
            let alone = (turn % 5).min(subjects.len());
            let asked = if turn % 3 == 0 { &mut subjects[..] } else { &mut subjects[alone.saturating_sub(1)..] };
            let peeked = ask(connection, asked, now, Mode::Peek).unwrap();
            let decided = ask(connection, asked, now, Mode::Decide).unwrap();
            let expected = expected(asked, now);
            prop_assert_eq!(left(asked, &decided), left(asked, &expected), "at {}", now);
            prop_assert_eq!(without_room(&decided), without_room(&expected), "at {}", now);
            prop_assert_eq!((peeked.admitted, without_room(&peeked)), (decided.admitted, without_room(&decided)));
        }
        Ok(())
    });
}

#[test]
fn peeking_says_what_is_decided_then_and_changes_nothing() {
    let input = (prop::collection::vec(policies(), 1..3), prop::collection::vec(jump(), 1..100));
    check(20, input, |connection, (policies, steps)| {
        let subjects: Vec<_> = policies.iter().map(Subject::new).collect();
        for now in times(START, &steps) {
            let before = dumps(connection, &subjects);
            let peeked = ask(connection, &subjects, now, Mode::Peek).unwrap();
            prop_assert_eq!(dumps(connection, &subjects), before);
            let decided = ask(connection, &subjects, now, Mode::Decide).unwrap();
            prop_assert_eq!(peeked.admitted, decided.admitted);
            if decided.admitted {
                let with_one_more: Vec<_> = peeked.states.iter().map(|state| state.used + 1).collect();
                prop_assert_eq!(with_one_more, used(&decided));
            } else if !subjects.iter().any(|subject| subject.plan.counts_denied()) {
                prop_assert_eq!(told(&peeked), told(&decided));
            }
        }
        Ok(())
    });
}

#[test]
fn never_more_than_n_in_any_window_and_never_denied_with_room() {
    let exact = policies().prop_map(|policy| policy.resolution(4096));
    check(30, (exact, prop::collection::vec(step(), 1..400)), |connection, (policy, steps)| {
        let subject = Subject::new(&policy);
        let counts_denied = subject.plan.counts_denied();
        let (mut admitted, mut counted): (Vec<u64>, Vec<u64>) = Default::default();
        let tick = subject.plan.tick().micros();
        for now in times(START, &steps).into_iter().map(|now| now / tick * tick) {
            let live = |quota: &Quota| counted.iter().filter(|at| **at + micros(quota) > now).count();
            let has_room = policy.quotas().all(|quota| live(quota) < quota.limit() as usize);
            prop_assert_eq!(decide(connection, &subject, now).admitted, has_room, "at {}", now);
            admitted.extend(has_room.then_some(now));
            counted.extend((has_room || counts_denied).then_some(now));
        }
        for quota in policy.quotas() {
            let from = |at: &u64| admitted.iter().filter(|other| *other >= at && **other < at + micros(quota)).count();
            prop_assert!(admitted.iter().map(from).max().unwrap_or(0) <= quota.limit() as usize, "{}", quota);
        }
        Ok(())
    });
}

#[test]
fn a_unit_that_is_given_back_was_never_taken() {
    let input = (policies(), prop::collection::vec((step(), prop::bool::weighted(0.2)), 1..200));
    check(30, input, |connection, (policy, steps)| {
        let (refunded, spared) = (Subject::new(&policy), Subject::new(&policy));
        let mut now = START;
        for (step, is_refunded) in steps {
            now += step.unsigned_abs();
            if is_refunded {
                let taken = decide(connection, &refunded, now);
                let logs = if taken.admitted { refunded.counted() } else { 0 };
                if taken.admitted || !refunded.plan.counts_denied() {
                    if taken.admitted {
                        prop_assert_eq!(refund(connection, &refunded, now, now) as usize, logs);
                    }
                    continue;
                }
                decide(connection, &spared, now);
            }
            let (one, other) = (decide(connection, &refunded, now), decide(connection, &spared, now));
            prop_assert_eq!(told(&one), told(&other), "at {}", now);
        }
        Ok(())
    });
}

#[test]
fn a_refund_takes_the_unit_of_its_stamp_and_no_other() {
    let server = Server::start();
    let connection = &mut server.connection();
    for policy in [Policy::per_minute(100), Policy::per_minute(100).resolution(16)] {
        let subject = Subject::new(&policy);
        let at = |second: u64| START + second * 1_000_000;
        for second in 0..40 {
            assert!(decide(connection, &subject, at(second)).admitted);
        }
        assert_eq!(refund(connection, &subject, at(41) + 900_000, at(42)), 0);
        assert_eq!(refund(connection, &subject, at(20), at(42)), 1);
        assert_eq!(refund(connection, &subject, at(0), at(42)), 1);
        let verdict = ask(connection, std::slice::from_ref(&subject), at(42), Mode::Peek).unwrap();
        assert_eq!(used(&verdict), [38]);
    }
}

#[test]
fn giving_back_the_only_unit_leaves_nothing_behind() {
    let server = Server::start();
    let connection = &mut server.connection();
    let subject = Subject::new(&Policy::per_minute(60).and_per_hour(18_000));
    decide(connection, &subject, START);
    assert_eq!(refund(connection, &subject, START, START), 2);
    assert_eq!(redis::cmd("DBSIZE").query(connection), Ok(0));
    assert_eq!(refund(connection, &subject, START, START), 0);
}

#[test]
fn n_at_once_then_none_until_the_window_is_over_and_n_again() {
    let server = Server::start();
    let connection = &mut server.connection();
    for limit in [1, 2, 15, 16, 17, 31, 32, 33, 60, 500, 1800] {
        let subject = Subject::new(&Policy::per_second(limit));
        let edge = WRAP + 1_000_000;
        assert_eq!(admitted_at(connection, &subject, WRAP, limit + 5), limit);
        assert_eq!(admitted_at(connection, &subject, edge - 1, 5), 0);
        assert_eq!(admitted_at(connection, &subject, edge, limit + 5), limit);
    }
}

#[test]
fn a_limit_lowered_and_raised_again_frees_nothing() {
    let server = Server::start();
    let connection = &mut server.connection();
    let hundred = Subject::new(&Policy::per_minute(100));
    let ten = hundred.under(&Policy::per_minute(10));
    assert_eq!(admitted_at(connection, &hundred, START, 70), 70);
    let denied = decide(connection, &ten, START + 1);
    assert_eq!((denied.admitted, used(&denied)), (false, vec![10]));
    assert_eq!(admitted_at(connection, &hundred, START + 2, 200), 30);
    assert!(!decide(connection, &ten, START + 59_999 * MILLI).admitted);
    assert_eq!(admitted_at(connection, &ten, START + 61_000 * MILLI, 200), 10);
}

#[test]
fn under_a_lowered_limit_the_wait_is_until_enough_units_have_left() {
    let server = Server::start();
    let connection = &mut server.connection();
    for count_denied in [false, true] {
        for (before, limit) in [(100, 1), (100, 10), (100, 60), (14, 3)] {
            let kept = |policy: Policy| if count_denied { policy.count_denied() } else { policy };
            let high = Subject::new(&kept(Policy::per_minute(before)));
            let low = high.under(&kept(Policy::per_minute(limit)));
            let at = |unit: u64| START + unit * 100 * MILLI;
            for unit in 0..before {
                assert!(decide(connection, &high, at(unit)).admitted);
            }
            for now in [at(before), at(before + 1)] {
                let peeked = ask(connection, std::slice::from_ref(&low), now, Mode::Peek).unwrap();
                let denied = decide(connection, &low, now);
                assert_eq!((denied.admitted, used(&denied), used(&peeked)), (false, vec![limit], vec![limit]));
                if count_denied {
                    continue;
                }
                let room_at = Timestamp::from_micros(at(before - limit) + 60_000 * MILLI).nanos();
                assert_eq!((denied.states[0].changes_at, peeked.states[0].changes_at), (room_at, room_at));
            }
            if !count_denied {
                assert!(!decide(connection, &low, at(before - limit) + 60_000 * MILLI - 1).admitted);
                assert!(decide(connection, &low, at(before - limit) + 60_000 * MILLI).admitted);
            } else {
                let raised = decide(connection, &high, at(before + 2));
                assert_eq!((raised.admitted, used(&raised)), (false, vec![before]));
            }
        }
    }
}

#[test]
fn a_limit_that_becomes_large_and_small_again_keeps_what_was_counted() {
    let server = Server::start();
    let connection = &mut server.connection();
    let small = Subject::new(&Policy::per_minute(100));
    let large = small.under(&Policy::per_minute(120).resolution(16));
    assert_eq!(admitted_at(connection, &small, START, 70), 70);
    assert_eq!(admitted_at(connection, &large, START + MILLI, 200), 50);
    assert_eq!(admitted_at(connection, &small, START + 59_000 * MILLI, 200), 0);
    assert_eq!(admitted_at(connection, &small, START + 70_000 * MILLI, 200), 100);
}

#[test]
fn a_policy_that_gains_a_quota_counts_what_was_admitted_before() {
    let server = Server::start();
    let connection = &mut server.connection();
    let hour = Subject::new(&Policy::per_hour(50));
    let both = hour.under(&Policy::per_minute(20).and_per_hour(50));
    assert_eq!(admitted_at(connection, &hour, START, 15), 15);
    assert_eq!(admitted_at(connection, &both, START, 50), 5);
    assert_eq!(used(&decide(connection, &both, START)), [20, 20]);
}

#[test]
fn every_write_has_an_end_and_after_it_nothing_is_left() {
    let server = Server::start();
    let connection = &mut server.connection();
    let policy =
        Policy::new(Quota::new(40, Duration::from_millis(50))).and(Quota::new(400, Duration::from_millis(300)));
    let plan = Plan::new(&policy.resolution(64));
    let logs = Layout::new(&plan);
    let charges = [Charged { logs: &logs, key: b"k", enforcement: Enforcement::On, units: 1 }];
    let names = ["k", "k:300000.4687"];
    for _ in 0..300 {
        let answer = Script::new().call_in_full(&[one(&charges)], Mode::Decide).query(connection).unwrap();
        assert!(Script::reply(&charges, answer).is_ok());
        for name in names {
            let left: i64 = redis::cmd("PTTL").arg(name).query(connection).unwrap();
            assert!((300..=1610).contains(&left), "{left} ms for {name}");
        }
    }
    // No time passes in this test: the server is told that it has.
    for name in names {
        let left: i64 = redis::cmd("PTTL").arg(name).query(connection).unwrap();
        redis::cmd("PEXPIRE").arg(name).arg((left - 1610).max(1)).exec(connection).unwrap();
    }
    for _ in 0..200 {
        if redis::cmd("DBSIZE").query(connection) == Ok(0) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("a log is left");
}

#[test]
fn by_the_clock_of_the_server_a_hundred_years_are_remembered_and_a_millisecond_is_not() {
    let server = Server::start();
    let connection = &mut server.connection();
    let century = Plan::new(&Policy::new(Quota::new(2, Duration::from_secs(36_525 * 86_400))));
    let logs = Layout::new(&century);
    let charges = [Charged { logs: &logs, key: b"k", enforcement: Enforcement::On, units: 1 }];
    for expected in [true, true, false] {
        let answer = Script::new().call_in_full(&[one(&charges)], Mode::Decide).query(connection).unwrap();
        assert_eq!(Script::reply(&charges, answer).unwrap().verdict.admitted, expected);
    }
    let left: i64 = redis::cmd("PTTL").arg("k").query(connection).unwrap();
    assert!(left > 36_525 * 86_400_000, "{left}");
}

#[test]
fn the_extremes_of_limits_and_windows_are_decided_as_in_memory() {
    let server = Server::start();
    let connection = &mut server.connection();
    let years = |years: u64| Duration::from_secs(years * 365 * 86_400);
    for limit in [1, 2, 4096, 4097, Quota::MAX_LIMIT] {
        for window in [Duration::from_millis(1), Duration::from_secs(1), years(1), years(100)] {
            let mut subjects = [Subject::new(&Policy::new(Quota::new(limit, window)).resolution(16))];
            for now in [1, 1000, 1001, START, START, 5, START - 1, 2 * START, 1, 2 * START] {
                let told_by_script = told(&ask(connection, &subjects, now, Mode::Decide).unwrap());
                assert_eq!(told_by_script, told(&expected(&mut subjects, now)), "{limit} per {window:?} at {now}");
            }
        }
    }
}

#[test]
fn what_is_not_ours_is_an_error_and_never_counted() {
    let server = Server::start();
    let connection = &mut server.connection();
    let subject = Subject::new(&Policy::per_minute(60).and_per_hour(1800));
    for _ in 0..40 {
        decide(connection, &subject, START);
    }
    let ours: Vec<u8> = redis::cmd("GET").arg(&subject.key).query(connection).unwrap();
    let mut values: Vec<Vec<u8>> = (1..ours.len()).step_by(7).map(|len| ours[..len].to_vec()).collect();
    values.extend([b"1.7e+18".to_vec(), b"nan".to_vec(), b"abc".to_vec(), vec![0; 65], vec![255; 500]]);
    values.push([ours.as_slice(), b"x"].concat());
    let mut spoilt = ours.clone();
    spoilt[48] = 200;
    values.push(spoilt);
    for value in values {
        redis::cmd("SET").arg(&subject.key).arg(&value).exec(connection).unwrap();
        // Later than the minute, so that its cursor has to move.
        for (now, mode) in
            [(START + 90_000 * MILLI, Mode::Peek), (START + 90_000 * MILLI, Mode::Decide), (START - 1, Mode::Decide)]
        {
            match ask(connection, std::slice::from_ref(&subject), now, mode) {
                Err(error) => assert!(Script::is_corrupt(&error), "{error}"),
                // A ring that is cut off is noticed when it is needed; until then nothing is counted wrongly.
                Ok(verdict) => assert!(value.len() >= 65 + 3 * 64 && verdict.states[1].used >= 40, "{verdict:?}"),
            }
        }
    }
}

#[test]
fn a_value_of_another_type_is_an_error_and_charges_nobody() {
    let server = Server::start();
    let connection = &mut server.connection();
    let subjects = [Subject::new(&Policy::per_minute(60)), Subject::new(&Policy::per_minute(60))];
    redis::cmd("RPUSH").arg(&subjects[1].key).arg("x").exec(connection).unwrap();
    for mode in [Mode::Peek, Mode::Decide, Mode::Refund(Timestamp::from_micros(START))] {
        let error = ask(connection, &subjects, START, mode).unwrap_err();
        assert!(Script::is_corrupt(&error), "{error}");
    }
    assert_eq!(redis::cmd("DBSIZE").query(connection), Ok(1));
}

#[test]
fn a_key_is_small_and_grows_with_what_it_has_to_remember() {
    let server = Server::start();
    let connection = &mut server.connection();
    let subject = Subject::new(&Policy::per_minute(1800).and_per_hour(1800));
    for admitted in 1..=1800 {
        assert!(decide(connection, &subject, START).admitted);
        let most = match admitted {
            1 => 210,
            16 => 270,
            60 => 900,
            1800 => 8_400,
            _ => continue,
        };
        let bytes: usize =
            redis::cmd("MEMORY").arg("USAGE").arg(&subject.key).arg("SAMPLES").arg(0).query(connection).unwrap();
        assert!(bytes <= most, "{bytes} bytes for {admitted} units");
    }
    // Once they have left, so has the memory.
    decide(connection, &subject, START + 2 * 3_600_000 * MILLI);
    assert!(redis::cmd("STRLEN").arg(&subject.key).query::<usize>(connection).unwrap() < 80);
}

/// The number that the next entry of a log has.
fn next_entry(connection: &mut Connection, key: &str) -> u32 {
    let header: Vec<u8> = redis::cmd("GETRANGE").arg(key).arg(18).arg(21).query(connection).unwrap();
    u32::from_le_bytes(header.try_into().unwrap())
}

#[test]
fn entries_are_numbered_anew_before_the_numbers_run_out() {
    let server = Server::start();
    let connection = &mut server.connection();
    let subject = Subject::new(&Policy::per_second(40));
    for request in 0..2000u64 {
        assert!(decide(connection, &subject, START + request * 25 * MILLI).admitted);
        assert!(next_entry(connection, &subject.key) <= 16 * 4);
    }
}

#[test]
fn cells_are_bounded_whatever_the_limit() {
    let server = Server::start();
    let connection = &mut server.connection();
    let subject = Subject::new(&Policy::new(Quota::new(1_000_000, Duration::from_secs(10))).resolution(256));
    for request in 0..3000u64 {
        assert!(decide(connection, &subject, START + request * 13 * MILLI).admitted);
    }
    let cells = subject.names().swap_remove(1);
    let bytes: usize = redis::cmd("STRLEN").arg(&cells).query(connection).unwrap();
    assert!((256 * 9..=270 * 9 + 89).contains(&bytes), "{bytes} bytes");
    assert!(next_entry(connection, &cells) <= 258);
}

#[test]
fn cells_count_to_limits_of_48_bits() {
    const LIMIT: u64 = Quota::MAX_LIMIT;
    let server = Server::start();
    let connection = &mut server.connection();
    let subject = Subject::new(&Policy::per_hour(18_000));
    let subject = Subject { logs: Layout::new(&subject.plan).kept_for(3_600_000).limited_to(LIMIT), ..subject };
    let cells = subject.names().swap_remove(1);
    assert!(decide(connection, &subject, START).admitted);
    // As if all but two had been used, and as many ever as the total has bits for.
    for (at, number) in [(50, LIMIT - 2), (70, LIMIT), (76, LIMIT)] {
        redis::cmd("SETRANGE").arg(&cells).arg(at).arg(&low_bytes::<6>(number)).exec(connection).unwrap();
    }
    let minute = 60_000 * MILLI;
    assert_eq!(used(&decide(connection, &subject, START + minute)), [LIMIT - 1]);
    assert_eq!(admitted_at(connection, &subject, START + 2 * minute, 3), 1);
    let denied = ask(connection, std::slice::from_ref(&subject), START + 3 * minute, Mode::Peek).unwrap();
    assert!(!denied.admitted && denied.states[0].changes_at > Timestamp::from_micros(START + 60 * minute).nanos());
    assert_eq!(refund(connection, &subject, START + 2 * minute, START + 3 * minute), 1);
    assert_eq!(admitted_at(connection, &subject, START + 3 * minute, 3), 1);
    // What is left when the oldest cell has gone.
    let later = ask(connection, std::slice::from_ref(&subject), START + 61 * minute - minute / 2, Mode::Peek).unwrap();
    assert_eq!(used(&later), [2]);
}

#[test]
fn several_requests_in_one_call_are_decided_as_one_after_the_other() {
    let input = (prop::collection::vec(policies(), 3), starts(), prop::collection::vec((jump(), 1usize..9), 1..120));
    check(20, input, |connection, (policies, start, steps)| {
        let mut subjects: Vec<_> = policies.iter().map(Subject::new).collect();
        let mut now = start;
        for (turn, (step, requests)) in steps.into_iter().enumerate() {
            now = now.saturating_add_signed(step).max(1);
            // Of one or several charges, of one or several keys, and often of the same.
            let of: Vec<_> = (0..requests).map(|at| (turn + at / 2) % 3..(turn + at / 2) % 3 + 1 + at % 2).collect();
            let of: Vec<_> = of.into_iter().map(|range| range.start..range.end.min(subjects.len())).collect();
            let charged: Vec<Vec<_>> =
                of.iter().map(|range| subjects[range.clone()].iter().map(Subject::charged).collect()).collect();
            let asked: Vec<_> = charged.iter().map(|charges| one(charges)).collect();
            let answer = Script::at(now).call_in_full(&asked, Mode::Decide).query(connection).unwrap();
            let replies = Script::replies(&asked, answer).unwrap();
            let by_script: Vec<_> = replies.into_iter().map(|reply| told(&reply.unwrap().verdict)).collect();
            let in_memory: Vec<_> = of.into_iter().map(|range| told(&expected(&mut subjects[range], now))).collect();
            prop_assert_eq!(by_script, in_memory, "at {}", now);
        }
        Ok(())
    });
}

#[test]
fn several_units_are_taken_as_one_after_the_other_and_no_more_than_there_is_room_for() {
    let lenient = policies()
        .prop_map(|policy| policy.quotas().cloned().collect::<Policy>().resolution(policy.entries_per_window()));
    let input = (prop::collection::vec(lenient, 1..3), starts(), prop::collection::vec((jump(), 1u8..40), 1..200));
    check(20, input, |connection, (policies, start, steps)| {
        let mut subjects: Vec<_> = policies.iter().map(Subject::new).collect();
        let mut now = start;
        for (step, most) in steps {
            now = now.saturating_add_signed(step).max(1);
            let charged: Vec<_> = subjects.iter().map(Subject::charged).collect();
            let answer = Script::at(now)
                .call_in_full(&[Request { charges: &charged, units: most }], Mode::Decide)
                .query(connection)
                .unwrap();
            let reply = Script::reply(&charged, answer).unwrap();
            let mut one_by_one = expected(&mut subjects, now);
            let mut units = u32::from(one_by_one.admitted);
            while one_by_one.admitted && units < u32::from(most) {
                one_by_one = expected(&mut subjects, now);
                units += u32::from(one_by_one.admitted);
            }
            prop_assert_eq!(reply.units, units, "at {}", now);
            // It is an admission if any unit was admitted, and speaks of what is so after the last of them.
            prop_assert_eq!(told(&reply.verdict).2, told(&one_by_one).2, "at {}", now);
        }
        Ok(())
    });
}

#[test]
fn units_taken_together_are_given_back_together() {
    let server = Server::start();
    let connection = &mut server.connection();
    for policy in [Policy::per_hour(40), Policy::per_minute(30).and_per_hour(40).resolution(16)] {
        let subject = Subject::new(&policy);
        assert_eq!(admitted_at(connection, &subject, START, 11), 11);
        let charged = [subject.charged()];
        let mut answer = || {
            Script::at(START + 5 * MILLI)
                .call_in_full(&[Request { charges: &charged, units: 4 }], Mode::Decide)
                .query(connection)
                .unwrap()
        };
        assert_eq!(Script::reply(&charged, answer()).unwrap().units, 4);
        assert_eq!(admitted_at(connection, &subject, START + 20 * MILLI, 3), 3);
        let in_each_log = refund_units(connection, &subject, START + 5 * MILLI, START + 30 * MILLI, 3);
        assert_eq!(in_each_log as usize, 3 * subject.counted());
        let left = used(&ask(connection, std::slice::from_ref(&subject), START + 30 * MILLI, Mode::Peek).unwrap());
        assert!(left.iter().all(|used| *used == 15), "{left:?}");
    }
}

#[test]
fn what_is_wrong_with_one_request_is_told_and_the_later_ones_are_not_charged() {
    let server = Server::start();
    let connection = &mut server.connection();
    let subjects: Vec<_> = (0..3).map(|_| Subject::new(&Policy::per_minute(60))).collect();
    redis::cmd("RPUSH").arg(&subjects[1].key).arg("x").exec(connection).unwrap();
    let charged: Vec<_> = subjects.iter().map(|subject| [subject.charged()]).collect();
    let asked: Vec<_> = charged.iter().map(|charges| one(charges)).collect();
    let answer = Script::at(START).call_in_full(&asked, Mode::Decide).query(connection).unwrap();
    let replies = Script::replies(&asked, answer).unwrap();
    assert_eq!(replies.len(), 2);
    assert!(replies[0].as_ref().is_ok_and(|reply| reply.verdict.admitted));
    assert!(replies[1].as_ref().is_err_and(Script::is_corrupt));
    assert_eq!(redis::cmd("EXISTS").arg(&subjects[2].key).query(connection), Ok(0));
}

#[test]
fn it_is_the_server_who_says_what_time_it_is() {
    let server = Server::start();
    let connection = &mut server.connection();
    let subject = Subject::new(&Policy::per_minute(60));
    let time = |connection: &mut Connection| {
        let (secs, micros): (u64, u64) = redis::cmd("TIME").query(connection).unwrap();
        Timestamp::from_micros(secs * 1_000_000 + micros)
    };
    let charges = [subject.charged()];
    let before = time(connection);
    let answer = Script::new().call_in_full(&[one(&charges)], Mode::Decide).query(connection).unwrap();
    let decided = Script::reply(&charges, answer).unwrap().verdict.now;
    assert!(before <= decided && decided <= time(connection), "{before:?} {decided:?}");
}

#[test]
fn a_lead_of_ten_milliseconds_is_left_alone_and_a_longer_one_is_brought_back() {
    let server = Server::start();
    let connection = &mut server.connection();
    for (policy, back, free_at) in [("1/minute", 10, 60_000), ("1/minute", 11, 59_989)] {
        let subject = Subject::new(&policy.parse().unwrap());
        assert!(decide(connection, &subject, START).admitted);
        assert!(!decide(connection, &subject, START - back * MILLI).admitted);
        assert!(!decide(connection, &subject, START + free_at * MILLI - 1).admitted);
        assert!(decide(connection, &subject, START + free_at * MILLI).admitted, "{back} ms back");
    }
}

#[test]
fn a_refund_reaches_ten_milliseconds_beyond_its_stamp() {
    let server = Server::start();
    let connection = &mut server.connection();
    for newer in [0, 3, 40] {
        let subject = Subject::new(&Policy::per_minute(100));
        for unit in 0..=newer {
            assert!(decide(connection, &subject, START + unit * 100 * MILLI).admitted);
        }
        let later = START + 5_000 * MILLI;
        assert_eq!(refund(connection, &subject, START - 11 * MILLI, later), 0, "{newer} newer");
        assert_eq!(refund(connection, &subject, START + MILLI, later), 0, "{newer} newer");
        assert_eq!(refund(connection, &subject, START - 10 * MILLI, later), 1, "{newer} newer");
    }
}

#[test]
fn a_log_that_is_laid_out_anew_lives_as_long_as_it_is_asked_for() {
    let server = Server::start();
    let connection = &mut server.connection();
    let life =
        |connection: &mut Connection, key: &str| -> i64 { redis::cmd("PTTL").arg(key).query(connection).unwrap() };
    let of = |policy: &str, key: &str| {
        let plan = Plan::new(&policy.parse().unwrap());
        Subject {
            key: key.to_owned(),
            logs: Layout::new(&plan),
            history: History::new(&plan),
            plan,
            enforcement: Enforcement::On,
        }
    };
    let lives = |secs: i64| secs * 2_000 - 5_000..=secs * 2_000 + 1_000;
    for (first, second, secs) in
        [("5/minute", "5/hour", 3600), ("5/hour", "5/minute", 3600), ("5/hour", "5/minute, 6/second", 3600)]
    {
        let key = format!("{first} {second}");
        let (first, second) = (of(first, &key), of(second, &key));
        decide(connection, &first, START);
        decide(connection, &second, START + MILLI);
        assert!(lives(secs).contains(&life(connection, &key)), "{key}");
        decide(connection, &second, START - 3_000 * MILLI);
        assert!(lives(secs).contains(&life(connection, &key)), "{key} after a step back");
    }
}

/// How many units a caller is admitted in one second that asks again at the moment it is told, or a little later.
fn admitted_in_a_second(connection: &mut Connection, subject: &Subject, late: u64) -> u64 {
    let (mut now, mut admitted) = (START + 123, 0);
    while now < START + 123 + 1_000_000 {
        let verdict = decide(connection, subject, now);
        admitted += u64::from(verdict.admitted);
        let windows = verdict.states.iter().zip(subject.plan.windows());
        let full = windows.filter(|(state, window)| state.used >= window.limit);
        now = full.map(|(state, _)| state.changes_at / 1000).max().unwrap_or(now).max(now) + late;
    }
    admitted
}

#[test]
fn a_second_that_is_spread_evenly_admits_what_it_promises() {
    let server = Server::start();
    let connection = &mut server.connection();
    for rate in [60, 100, 200, 500, 1000] {
        let policy = Policy::per_second(rate).spread_evenly();
        let admitted = admitted_in_a_second(connection, &Subject::new(&policy), 0);
        assert!(admitted <= rate && admitted * 100 >= rate * 99, "{admitted} of {rate}");
        let late = admitted_in_a_second(connection, &Subject::new(&policy), 3);
        assert!(late <= rate && late * 100 >= rate * 98, "{late} of {rate}, 3 us late each time");
    }
}

#[test]
fn where_denials_count_each_quota_is_told_of_as_in_memory() {
    let server = Server::start();
    let connection = &mut server.connection();
    let second = Quota::new(10, Duration::from_secs(1)).named("second");
    let minute = Quota::new(3, Duration::from_secs(60)).named("minute");
    for resolution in [4096, 5, 2] {
        let policy = Policy::new(second.clone()).and(minute.clone()).resolution(resolution).count_denied();
        let mut subjects = [Subject::new(&policy)];
        for request in 1..=12u64 {
            let now = START + request * MILLI;
            let told_by_script = ask(connection, &subjects, now, Mode::Decide).unwrap();
            assert_eq!(told(&told_by_script), told(&expected(&mut subjects, now)), "{resolution}: {request}");
            if resolution == 4096 {
                assert_eq!(used(&told_by_script), [request.min(10), request.min(3)]);
            }
        }
    }
}
