//! The promises, as properties, against the obvious model: a list of admissions.

use std::time::Duration;

use proptest::prelude::*;

use crate::{
    clock::Timestamp,
    history::{History, Plan, plan::Window},
    policy::{Policy, Quota},
};

mod costs;
mod credit;

const MILLI: u64 = 1_000_000;
const DAY: u64 = 86_400_000 * MILLI;

/// The obvious model: everything that was ever admitted, in nanoseconds.
#[derive(Debug, Default)]
struct Model {
    admitted: Vec<u64>,
}

impl Model {
    /// Returns the units admitted within `window` nanoseconds before `now`: one at t counts while now < t + window.
    fn counted(&self, window: u64, now: u64) -> usize {
        self.admitted.iter().filter(|at| **at + window > now).count()
    }

    fn most_in_any(&self, window: u64) -> usize {
        let from = |at: &u64| self.admitted.iter().filter(|other| *other >= at && **other < at + window).count();
        self.admitted.iter().map(from).max().unwrap_or(0)
    }
}

/// A history under test and its answers.
struct Subject {
    plan: Plan,
    history: History,
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Admitted,
    /// Denied, with the wait.
    Denied(Duration),
}

impl Subject {
    fn new(policy: &Policy) -> Self {
        let plan = Plan::new(policy);
        let history = History::new(&plan);
        Self { plan, history }
    }

    fn ask(&mut self, nanos: u64) -> Answer {
        let now = Timestamp::from_nanos(nanos);
        if self.history.is_ahead_of(&self.plan, now) {
            self.history.clamp_to(&self.plan, now);
        }
        let room_at = self.room_at(now);
        match room_at {
            None => {
                self.history.charge(&self.plan, now);
                Answer::Admitted
            }
            Some(at) => {
                if self.plan.counts_denied() {
                    self.history.charge(&self.plan, now);
                }
                Answer::Denied(now.until(self.plan.tick().beginning(at)))
            }
        }
    }

    /// Decides in the way of callers that need only yes or no.
    fn admits(&mut self, nanos: u64) -> bool {
        let now = Timestamp::from_nanos(nanos);
        self.history.clamp_to(&self.plan, now);
        let has_room = self.history.charge_if_room(&self.plan, now).is_none();
        if !has_room {
            // As when the reason is reported.
            self.history.expire(&self.plan, now);
        }
        has_room
    }

    /// Returns the units that each quota counts.
    fn used(&mut self, nanos: u64) -> Vec<u64> {
        let (plan, now) = (&self.plan, Timestamp::from_nanos(nanos));
        plan.windows().iter().map(|window| self.history.usage(plan, window, now).0).collect()
    }

    /// Returns the tick in which all quotas have room, or `None` if they have room now.
    fn room_at(&mut self, now: Timestamp) -> Option<u64> {
        self.history.expire(&self.plan, now);
        let room_at = self.plan.windows().iter().filter_map(|window| {
            let (used, changes_at) = self.history.usage(&self.plan, window, now);
            (used >= window.limit).then_some(changes_at)
        });
        room_at.max()
    }
}

fn nanos(quota: &Quota) -> u64 {
    u64::try_from(quota.window().as_nanos()).unwrap()
}

/// Returns by how much a unit of `quota` may come back late, in nanoseconds.
fn lateness(policy: &Policy, quota: &Quota) -> u64 {
    let width = if quota.limit() > u64::from(policy.entries_per_window()) {
        nanos(quota) / u64::from(policy.entries_per_window())
    } else {
        0
    };
    width.max(policy.tick().nanos())
}

/// Policies of small numbers, so that short schedules meet their limits; a resolution of 16 makes 17 a large limit.
fn policies() -> impl Strategy<Value = Policy> {
    let window = prop_oneof![1u64..40, 40u64..4000, Just(1000), Just(86_400_000 * 10), Just(86_400_000 * 40)];
    let quotas = prop::collection::vec((1u64..60, window), 1..4);
    (quotas, prop::bool::ANY).prop_map(|(quotas, coarse)| {
        let quotas = quotas.into_iter().enumerate();
        let quotas = quotas
            .map(|(at, (limit, millis))| Quota::new(limit, Duration::from_millis(millis)).named(format!("q{at}")));
        let policy: Policy = quotas.collect();
        if coarse { policy.resolution(16) } else { policy }
    })
}

/// Steps between requests in nanoseconds: bursts, trickles, just before and at the edges, and long pauses.
fn schedules() -> impl Strategy<Value = Vec<u64>> {
    let step = prop_oneof![
        4 => Just(0u64),
        3 => 0u64..3 * MILLI,
        2 => 0u64..300 * MILLI,
        1 => 0u64..5000 * MILLI,
        1 => (1u64..2000).prop_map(|millis| millis * MILLI - 1),
        1 => (1u64..2000).prop_map(|millis| millis * MILLI),
    ];
    prop::collection::vec(step, 1..400)
}

fn times(steps: &[u64]) -> impl Iterator<Item = u64> {
    steps.iter().scan(0u64, |now, step| {
        *now += step;
        Some(*now)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn never_more_than_n_in_any_window(policy in policies(), steps in schedules()) {
        let (mut subject, mut model) = (Subject::new(&policy), Model::default());
        model.admitted.extend(times(&steps).filter(|now| subject.ask(*now) == Answer::Admitted));
        for quota in policy.quotas() {
            prop_assert!(model.most_in_any(nanos(quota)) <= quota.limit() as usize, "{}", quota);
        }
    }

    #[test]
    fn live_ticks_are_those_of_histories_that_are_neither_idle_nor_ahead(
        policy in policies(),
        steps in schedules(),
        looks in prop::collection::vec(-3_000_000_000_000i64..3_000_000_000_000, 1..30),
    ) {
        let mut subject = Subject::new(&policy);
        let mut last = 0;
        for now in times(&steps) {
            subject.ask(now);
            last = now;
        }
        let horizon = subject.plan.horizon() as i64 * MILLI as i64;
        let edges = [horizon - 1, horizon, horizon + 1, -1, 0, 1].map(|age| last.saturating_add_signed(age));
        for now in looks.iter().map(|look| last.saturating_add_signed(*look)).chain(edges).map(Timestamp::from_nanos) {
            let is_live = !subject.history.is_idle(&subject.plan, now) && !subject.history.is_ahead_of(&subject.plan, now);
            prop_assert_eq!(subject.plan.live_ticks(now).contains(&subject.history.newest_tick()), is_live, "{:?}", now);
        }
    }

    #[test]
    fn never_denied_with_room(policy in policies(), steps in schedules()) {
        let (mut subject, mut model) = (Subject::new(&policy), Model::default());
        for now in times(&steps) {
            if subject.ask(now) == Answer::Admitted {
                model.admitted.push(now);
                continue;
            }
            let is_full = |quota: &Quota| {
                model.counted(nanos(quota) + lateness(&policy, quota), now) >= quota.limit() as usize
            };
            prop_assert!(policy.quotas().any(is_full), "denied at {} after {:?}", now, model.admitted);
        }
    }

    #[test]
    fn whole_ticks_are_decided_exactly_as_the_model_does(
        policy in policies().prop_map(|policy| policy.resolution(4096)),
        steps in schedules(),
    ) {
        let (mut subject, mut model) = (Subject::new(&policy), Model::default());
        let tick = policy.tick().nanos();
        for now in times(&steps).map(|now| now / tick * tick) {
            let has_room = policy.quotas().all(|quota| model.counted(nanos(quota), now) < quota.limit() as usize);
            prop_assert_eq!(subject.ask(now) == Answer::Admitted, has_room, "at {}", now);
            if has_room {
                model.admitted.push(now);
            }
        }
    }

    #[test]
    fn denied_until_the_stated_moment_and_admitted_at_it(policy in policies(), steps in schedules()) {
        let mut subject = Subject::new(&policy);
        for now in times(&steps) {
            if let Answer::Denied(wait) = subject.ask(now) {
                let then = now + u64::try_from(wait.as_nanos()).unwrap();
                prop_assert!(wait > Duration::ZERO);
                let just_before = Timestamp::from_nanos(then - 1);
                let mut copy = replay(&policy, &steps, now);
                prop_assert!(copy.room_at(just_before).is_some(), "room before {}", then);
                prop_assert_eq!(copy.room_at(Timestamp::from_nanos(then)), None, "no room at {}", then);
            }
        }
    }

    #[test]
    fn denied_requests_cost_nothing(policy in policies(), steps in schedules()) {
        let (mut knocking, mut patient) = (Subject::new(&policy), Subject::new(&policy));
        for now in times(&steps) {
            let answer = knocking.ask(now);
            for _ in 0..3 {
                if matches!(answer, Answer::Denied(_)) {
                    prop_assert_eq!(&knocking.ask(now), &answer);
                }
            }
            prop_assert_eq!(patient.ask(now), answer);
        }
    }

    #[test]
    fn with_count_denied_every_request_counts(policy in policies(), steps in schedules()) {
        let policy = policy.resolution(4096).count_denied();
        let mut subject = Subject::new(&policy);
        let (mut attempts, tick) = (Model::default(), policy.tick().nanos());
        for now in times(&steps).map(|now| now / tick * tick) {
            let has_room = policy.quotas().all(|quota| attempts.counted(nanos(quota), now) < quota.limit() as usize);
            prop_assert_eq!(subject.ask(now) == Answer::Admitted, has_room, "at {}", now);
            attempts.admitted.push(now);
            for (quota, used) in policy.quotas().zip(subject.used(now)) {
                let counted = attempts.counted(nanos(quota), now) as u64;
                prop_assert_eq!(used.min(quota.limit()), counted.min(quota.limit()), "of {} at {}", quota, now);
            }
        }
    }

    #[test]
    fn with_count_denied_large_quotas_stay_bounded_and_strict(policy in policies(), steps in schedules()) {
        let policy = policy.resolution(16).count_denied();
        let mut subject = Subject::new(&policy);
        let mut attempts = Model::default();
        for now in times(&steps) {
            let is_full = |quota: &Quota| attempts.counted(nanos(quota), now) >= quota.limit() as usize;
            if policy.quotas().any(is_full) {
                prop_assert!(matches!(subject.ask(now), Answer::Denied(_)));
            } else {
                subject.ask(now);
            }
            attempts.admitted.push(now);
            // However many are denied, no more is remembered than any quota counts.
            let used = |window: &Window| subject.history.usage(&subject.plan, window, Timestamp::from_nanos(now)).0;
            let most = subject.plan.windows().iter().map(used).max();
            prop_assert!(most <= Some(subject.plan.most_units()));
        }
    }

    #[test]
    fn yes_or_no_is_the_same_if_nothing_is_ever_expired(
        policy in policies(),
        steps in prop::collection::vec(prop_oneof![4 => 0..2_000 * MILLI, 2 => 0..DAY, 1 => 0..60 * DAY], 1..300),
    ) {
        let (mut expired, mut other) = (Subject::new(&policy), Subject::new(&policy));
        for now in times(&steps) {
            prop_assert_eq!(expired.ask(now) == Answer::Admitted, other.admits(now), "at {}", now);
        }
    }

    #[test]
    fn a_clock_that_steps_anywhere_gives_nothing_away(
        policy in policies(),
        steps in prop::collection::vec((prop::bool::weighted(0.1), 0u64..2_000 * MILLI), 1..300),
        briefly in prop::bool::ANY,
    ) {
        // True time goes on as it does; the clock that is asked was set back now and then.
        let (mut subject, mut model) = (Subject::new(&policy), Model::default());
        let (mut clock, mut truth) = (10_000 * MILLI, 0u64);
        for (back, step) in steps {
            if back {
                clock = clock.saturating_sub(step * 3);
            } else {
                clock += step;
                truth += step;
            }
            if if briefly { subject.admits(clock) } else { subject.ask(clock) == Answer::Admitted } {
                model.admitted.push(truth);
            }
        }
        for quota in policy.quotas() {
            prop_assert!(model.most_in_any(nanos(quota)) <= quota.limit() as usize, "{}", quota);
        }
    }

    #[test]
    fn a_reshaped_history_judges_by_what_a_list_remembers(
        (before, after) in (policies(), policies()),
        steps in schedules(),
        pause in 0u64..3000,
    ) {
        let (mut subject, mut model) = (Subject::new(&before), Model::default());
        model.admitted.extend(times(&steps).filter(|now| subject.ask(*now) == Answer::Admitted));
        let now = steps.iter().sum::<u64>() + pause * MILLI;
        let plan = Plan::new(&after).with_siblings();
        let history = subject.history.reshaped(&subject.plan, &plan);
        let is_admitted = Subject { plan, history }.ask(now) == Answer::Admitted;
        let is_full = |window: &dyn Fn(&Quota) -> u64| {
            after.quotas().any(|quota| model.counted(window(quota), now) >= quota.limit() as usize)
        };
        let remembered = before.quotas().map(nanos).max().unwrap();
        let late: u64 = [&before, &after].iter().flat_map(|policy| policy.quotas().map(|quota| lateness(policy, quota))).sum();
        prop_assert!(!(is_admitted && is_full(&|quota| nanos(quota).min(remembered))), "admitted without room");
        prop_assert!(is_admitted || is_full(&|quota| nanos(quota) + late), "denied with room");
    }

    #[test]
    fn tiers_that_judge_one_history_in_turn_count_as_a_list_does(
        tiers in prop::collection::vec(policies(), 2..4),
        steps in schedules(),
        turns in prop::collection::vec(0usize..4, 1..400),
    ) {
        let tiers: Vec<Policy> = tiers.into_iter().map(|policy| policy.resolution(4096)).collect();
        let plans: Vec<Plan> = tiers.iter().map(|tier| Plan::among(tier, &tiers)).collect();
        let (mut history, mut model) = (History::new(&plans[0]), Model::default());
        let tick = plans[0].tick().nanos();
        for (now, turn) in times(&steps).zip(turns.iter().cycle()) {
            let at = turn % tiers.len();
            let has_room = {
                let now = Timestamp::from_nanos(now);
                history.expire(&plans[at], now);
                history.room_at(&plans[at], now).is_none()
            };
            let is_full = |late: u64| {
                let full = |quota: &Quota| model.counted(nanos(quota) + late, now) >= quota.limit() as usize;
                tiers[at].quotas().any(full)
            };
            prop_assert!(!(has_room && is_full(0)), "admitted without room at {now}");
            prop_assert!(has_room || is_full(2 * tick), "denied with room at {now}");
            if has_room {
                history.charge(&plans[at], Timestamp::from_nanos(now));
                model.admitted.push(now);
            }
        }
    }
}

/// The history as it stood after the request at `until`.
fn replay(policy: &Policy, steps: &[u64], until: u64) -> Subject {
    let mut subject = Subject::new(policy);
    times(steps).take_while(|now| *now <= until).for_each(|now| {
        subject.ask(now);
    });
    subject
}

fn admitted_at(subject: &mut Subject, nanos: u64, most: u64) -> u64 {
    (0..most).take_while(|_| subject.ask(nanos) == Answer::Admitted).count() as u64
}

#[test]
fn n_at_once_then_none_until_the_window_is_over_and_n_again() {
    for limit in 1..=1000 {
        let mut subject = Subject::new(&Policy::per_second(limit));
        let edge = 5 * 1000 * MILLI;
        assert_eq!(admitted_at(&mut subject, 4 * 1000 * MILLI, 2000), limit);
        assert_eq!(admitted_at(&mut subject, edge - 1, 2000), 0);
        assert_eq!(admitted_at(&mut subject, edge, 2000), limit);
    }
}

#[test]
fn hour_exhaustion_blocks_while_the_minute_has_room() {
    let mut subject = Subject::new(&Policy::per_minute(60).and_per_hour(1800));
    for minute in 0..30 {
        assert_eq!(admitted_at(&mut subject, minute * 60_000 * MILLI, 100), 60);
    }
    let half_past = 30 * 60_000 * MILLI;
    assert_eq!(subject.ask(half_past), Answer::Denied(Duration::from_secs(1800)));
    assert_eq!(admitted_at(&mut subject, 60 * 60_000 * MILLI, 100), 60);
}

#[test]
fn a_small_minute_stays_exact_beside_a_large_hour() {
    let mut subject = Subject::new(&Policy::per_minute(600).and_per_hour(18_000));
    let mut now = 0;
    for _ in 0..600 {
        assert_eq!(subject.ask(now), Answer::Admitted);
        now += 100 * MILLI - 1;
    }
    // The first of the minute was at 0 and leaves at 60 s, to the millisecond.
    assert_eq!(subject.ask(60_000 * MILLI - 1), Answer::Denied(Duration::from_nanos(1)));
    assert_eq!(subject.ask(60_000 * MILLI), Answer::Admitted);
}

#[test]
fn the_extremes_of_limits_and_windows_neither_overflow_nor_panic() {
    let years = |years: u64| Duration::from_secs(years * 365 * 86_400);
    for limit in [1, 2, 4096, 4097, Quota::MAX_LIMIT] {
        for window in [Duration::from_millis(1), Duration::from_secs(1), years(1), years(100)] {
            let mut subject = Subject::new(&Policy::new(Quota::new(limit, window)).resolution(16));
            for nanos in [0, 1, MILLI, u64::MAX / 2, 5, u64::MAX - 1, u64::MAX, u64::MAX, 0, u64::MAX] {
                let _ = subject.ask(nanos);
            }
        }
    }
}

#[test]
fn a_window_that_is_no_multiple_of_its_limit_does_not_drift() {
    let mut subject = Subject::new(&Policy::new(Quota::new(7, Duration::from_secs(10))));
    for window in 0..100_000u64 {
        assert_eq!(admitted_at(&mut subject, window * 10_000 * MILLI, 20), 7);
    }
}

#[test]
fn a_century_of_silence_is_a_fresh_start_and_a_clock_set_back_is_none() {
    let mut subject = Subject::new(&Policy::per_minute(60).and_per_hour(1800));
    let century = 100 * 365 * 86_400_000 * MILLI;
    assert_eq!(admitted_at(&mut subject, 3_600_000 * MILLI, 100), 60);
    assert_eq!(admitted_at(&mut subject, century, 100), 60);
    assert_eq!(subject.ask(0), Answer::Denied(Duration::from_secs(60)));
    assert_eq!(subject.ask(60_000 * MILLI), Answer::Admitted);
}

#[test]
fn memory_is_bounded_whatever_the_limit() {
    let policy = Policy::new(Quota::new(1_000_000, Duration::from_secs(3600)));
    let mut subject = Subject::new(&policy);
    for request in 0..200_000u64 {
        assert_eq!(subject.ask(request * 30 * MILLI), Answer::Admitted);
    }
    let entries = subject.history.entries();
    assert!((4096..=4110).contains(&entries), "{entries} entries");
}

/// A virtual machine's clock, which is wrong by more than is left alone.
#[test]
fn a_clock_that_trembles_costs_a_large_quota_neither_memory_nor_time() {
    let policies = ["1000000/hour", "5000/minute, 100000/hour", "600/second, 50000/hour", "100/second, 4000/hour"];
    for policy in policies.map(|text| text.parse::<Policy>().unwrap()) {
        let (mut subject, mut most) = (Subject::new(&policy), 0);
        for request in 0..50_000u64 {
            let tremble = if request % 2 == 0 { 900 * MILLI } else { 0 };
            subject.ask(1_000 * MILLI + request * MILLI / 5 - tremble);
            most = most.max(subject.history.entries());
        }
        // Each second is at most five buckets of an hour, and the timestamps are as many as the small quota admits.
        assert!(most <= 4100, "{most} entries of {policy:?}");
    }
}

#[test]
fn a_spaced_caller_that_waits_as_stated_gets_its_rate() {
    for rate in [60, 100, 200, 333, 500, 700, 999, 1000, 1001, 1500, 2000] {
        for policy in [Policy::per_second(rate), Policy::per_second(rate).and_per_hour(3_600 * rate)] {
            let mut subject = Subject::new(&policy.spread_evenly());
            let (mut now, mut admitted) = (0u64, 0);
            while now < 5 * 1000 * MILLI {
                match subject.ask(now) {
                    Answer::Admitted => admitted += 1,
                    Answer::Denied(wait) => now += u64::try_from(wait.as_nanos()).unwrap(),
                }
                // A call takes some time.
                now += 137;
            }
            assert!(admitted * 100 >= 5 * rate * 99, "{admitted} in 5 s of {rate}/s");
        }
    }
}
