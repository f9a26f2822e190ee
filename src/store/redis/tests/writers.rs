//! Several processes with policies of their own on one history: what it remembers does not depend on who writes.

use super::*;

/// Everything that was ever recorded in one history, and what of it has to be known still.
#[derive(Default)]
struct Everything {
    all: Vec<u64>,
    known: Vec<u64>,
    /// For which windows how many units have been asked for, and when last.
    asked: Vec<(u64, usize, u64)>,
}

/// Windows that are asked about, in microseconds, and how many of the newest units matter in each.
fn needs(plan: &Plan) -> Vec<(u64, usize)> {
    let exact = plan.exact().map(|exact| (plan.micros(exact.ticks), exact.capacity));
    // All tiers of a process ask for the windows of all of them.
    let windows = plan.windows().iter().chain(plan.unlimited());
    let large = windows.filter(|window| window.counted != crate::history::Counted::Exactly);
    exact.into_iter().chain(large.map(|window| (plan.micros(window.ticks), window.limit as usize))).collect()
}

impl Everything {
    /// Somebody asks. What nobody has asked for as long as that lasts need not be known any more.
    fn ask(&mut self, subject: &Subject, now: u64) {
        for (window, most) in needs(&subject.plan) {
            self.asked.retain(|(other, limit, _)| (*other, *limit) != (window, most));
            self.asked.push((window, most, now));
        }
        self.asked.retain(|(window, _, at)| at + window >= now);
        let asked = &self.asked;
        let count = self.known.len();
        let mut place = 0;
        self.known.retain(|at| {
            place += 1;
            asked.iter().any(|(window, most, _)| at + window > now && count - place < *most)
        });
    }

    fn record(&mut self, now: u64) {
        self.all.push(now);
        self.known.push(now);
    }

    fn has_room(units: &[u64], policy: &Policy, now: u64, late: u64) -> bool {
        let live = |quota: &Quota| units.iter().filter(|at| **at + micros(quota) + late > now).count();
        policy.quotas().all(|quota| live(quota) < quota.limit() as usize)
    }
}

/// Small limits in windows from a second to two weeks: the longest that is kept decides how finely time is counted.
fn exact_policies() -> impl Strategy<Value = Policy> {
    let window = prop_oneof![
        3 => prop_oneof![Just(1u64), Just(10), Just(60), Just(600), Just(3600)],
        2 => 1u64..3600,
        1 => prop_oneof![Just(86_400), Just(14 * 86_400)],
    ];
    prop::collection::vec((1u64..60, window), 1..4).prop_map(|quotas| {
        let quotas = quotas.into_iter().enumerate();
        quotas.map(|(at, (limit, secs))| Quota::new(limit, Duration::from_secs(secs)).named(format!("q{at}"))).collect()
    })
}

/// One history under each of these policies, whose memory is seen to as often as it would be.
fn short_lived(policies: &[Policy]) -> Vec<Subject> {
    let first = Subject::new(&policies[0]);
    let subjects = policies.iter().map(|policy| first.under(policy));
    subjects.map(|subject| Subject { logs: Layout::new(&subject.plan).kept_for(20_000), ..subject }).collect()
}

/// What one tick may hold a unit back for, whoever else counts more coarsely.
const COARSEST: u64 = MILLI;

fn pauses() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => Just(0u64),
        6 => 0..1_000 * MILLI,
        6 => 0..10_000 * MILLI,
        3 => 0..60_000 * MILLI,
        1 => 0..600_000 * MILLI,
        1 => 0..2_000_000 * MILLI,
    ]
}

/// Turns of processes: who, with which of its policies, and after how many microseconds.
fn turns() -> impl Strategy<Value = Vec<(usize, u64)>> {
    // Runs of one process, so that others are away for a while.
    let run = (0usize..4, prop::collection::vec(pauses(), 1..60));
    prop::collection::vec(run, 1..40).prop_map(|runs| {
        runs.into_iter().flat_map(|(who, pauses)| pauses.into_iter().map(move |pause| (who, pause))).collect()
    })
}

#[test]
fn processes_with_random_policies_on_one_key_never_admit_more_than_their_own_nor_deny_with_room() {
    let input = (prop::collection::vec(exact_policies(), 4), turns());
    check(60, input, |connection, (policies, turns)| {
        let subjects = short_lived(&policies);
        let (mut everything, mut now) = (Everything::default(), START);
        for (who, pause) in turns {
            now += pause;
            everything.ask(&subjects[who], now);
            let admitted = decide(connection, &subjects[who], now).admitted;
            let may = Everything::has_room(&everything.known, &policies[who], now, 0);
            let must = Everything::has_room(&everything.all, &policies[who], now, COARSEST);
            prop_assert!(!admitted || may, "over the limits of {} at {}", who, now);
            prop_assert!(admitted || !must, "denied with room by {} at {}", who, now);
            if admitted {
                everything.record(now);
            }
        }
        Ok(())
    });
}

#[test]
fn processes_of_large_and_small_quotas_on_one_key_never_admit_more_than_their_own() {
    let input = (prop::collection::vec((exact_policies(), prop::bool::ANY), 4), turns());
    check(60, input, |connection, (policies, turns)| {
        let of = |(policy, is_coarse): (Policy, bool)| if is_coarse { policy.resolution(16) } else { policy };
        let policies: Vec<_> = policies.into_iter().map(of).collect();
        let late = policies.iter().flat_map(Policy::quotas).map(micros).max().unwrap() / 8 + COARSEST;
        let subjects = short_lived(&policies);
        let (mut everything, mut now) = (Everything::default(), START);
        for (who, pause) in turns {
            now += pause;
            everything.ask(&subjects[who], now);
            let admitted = decide(connection, &subjects[who], now).admitted;
            let may = Everything::has_room(&everything.known, &policies[who], now, 0);
            let must = Everything::has_room(&everything.all, &policies[who], now, late);
            prop_assert!(!admitted || may, "over the limits of {} at {}", who, now);
            prop_assert!(admitted || !must, "denied with room by {} at {}", who, now);
            if admitted {
                everything.record(now);
            }
        }
        Ok(())
    });
}

/// P12 where processes come and go, some for hours: what nobody has asked for as long as it lasts may be forgotten.
#[test]
fn in_a_thousand_minutes_processes_that_come_and_go_never_admit_more_than_their_own() {
    const THOUSAND_MINUTES: u64 = 60_000_000 * MILLI;
    let input = (prop::collection::vec(exact_policies(), 2..5), turns());
    check(12, input, |connection, (policies, turns)| {
        let subjects = [short_lived(&policies), short_lived(&policies)];
        let (mut everything, mut now) = ([Everything::default(), Everything::default()], START);
        let turns = turns.into_iter().cycle().take_while(|(_, pause)| {
            // A schedule without any pause would never end.
            now += (pause + 1) * MILLI;
            now < START + THOUSAND_MINUTES
        });
        let mut time = START;
        for (turn, (who, pause)) in turns.enumerate() {
            time += (pause + 1) * MILLI;
            let (who, key) = (who % policies.len(), turn % 3 % 2);
            let (subject, policy, everything) = (&subjects[key][who], &policies[who], &mut everything[key]);
            everything.ask(subject, time);
            let admitted = decide(connection, subject, time).admitted;
            let may = Everything::has_room(&everything.known, policy, time, 0);
            let must = Everything::has_room(&everything.all, policy, time, 0);
            prop_assert!(!admitted || may, "over the limits of {} at {}", who, time);
            prop_assert!(admitted || !must, "denied with room by {} at {}", who, time);
            if admitted {
                everything.record(time);
            }
        }
        Ok(())
    });
}

/// The tiers of a process: up to three, and perhaps one without limits.
fn tiers() -> impl Strategy<Value = Vec<Policy>> {
    let tiers = (prop::collection::vec(exact_policies(), 1..4), prop::bool::weighted(0.3), prop::bool::weighted(0.4));
    tiers.prop_map(|(tiers, has_unlimited, is_coarse)| {
        let unlimited = has_unlimited.then(|| Policy::from_iter([]));
        let all = tiers.into_iter().chain(unlimited);
        all.map(|policy| policy.resolution(if is_coarse { 16 } else { 4096 })).collect()
    })
}

/// Two versions of a service side by side, as in a rolling deployment, each with tiers of its own.
#[test]
fn in_a_thousand_minutes_two_processes_with_tiers_never_admit_more_than_their_own_tier() {
    const THOUSAND_MINUTES: u64 = 60_000_000 * MILLI;
    let turn = (0usize..2, 0usize..4, pauses());
    let input = ([tiers(), tiers()], prop::collection::vec(turn, 20..400));
    check(16, input, |connection, (processes, turns)| {
        let keys = [(); 2].map(|()| {
            let key = Subject::new(&Policy::per_minute(1));
            let of = |tiers: &Vec<Policy>| tiers.iter().map(|tier| key.in_tier(tier, tiers)).collect::<Vec<_>>();
            let short = |subject: Subject| Subject { logs: Layout::new(&subject.plan).kept_for(20_000), ..subject };
            [0, 1].map(|process| of(&processes[process]).into_iter().map(short).collect::<Vec<_>>())
        });
        let coarse = processes.iter().flatten().filter(|policy| policy.entries_per_window() == 16);
        let is_coarse = coarse.count() > 0;
        let longest = processes.iter().flatten().flat_map(Policy::quotas).map(micros).max().unwrap_or(0);
        let late = if is_coarse { longest / 8 + COARSEST } else { COARSEST };
        let (mut everything, mut now) = ([Everything::default(), Everything::default()], START);
        for (turn, (process, tier, pause)) in turns.into_iter().cycle().enumerate() {
            now += (pause + 1) * 4;
            if now > START + THOUSAND_MINUTES || turn > 4_000 {
                break;
            }
            let (tier, key) = (tier % processes[process].len(), turn % 3 % 2);
            let (subject, policy) = (&keys[key][process][tier], &processes[process][tier]);
            let everything = &mut everything[key];
            everything.ask(subject, now);
            let admitted = decide(connection, subject, now).admitted;
            let may = Everything::has_room(&everything.known, policy, now, 0);
            let must = Everything::has_room(&everything.all, policy, now, late);
            prop_assert!(!admitted || may, "over tier {} of process {} at {}", tier, process, now);
            prop_assert!(admitted || !must, "denied with room in tier {} of process {} at {}", tier, process, now);
            if admitted {
                everything.record(now);
            }
        }
        Ok(())
    });
}

fn minutes(policy: &str, resolution: u32) -> Policy {
    policy.parse::<Policy>().unwrap().resolution(resolution)
}

/// Admitted by each of two processes that ask in turn, once every so many milliseconds, in an hour.
fn side_by_side(connection: &mut Connection, subjects: [&Subject; 2], millis: u64, from: u64) -> [u64; 2] {
    let mut admitted = [0; 2];
    for at in 0..3_600_000 / millis {
        let now = from + at * millis * MILLI;
        for (subject, admitted) in subjects.iter().zip(&mut admitted) {
            *admitted += u64::from(decide(connection, subject, now).admitted);
        }
    }
    admitted
}

#[test]
fn a_call_with_a_shorter_window_refills_nobody() {
    let server = Server::start();
    let connection = &mut server.connection();
    let minute = Subject::new(&Policy::per_minute(10));
    let second = minute.under(&Policy::per_second(10));
    assert_eq!(admitted_at(connection, &minute, START, 20), 10);
    assert!(decide(connection, &second, START + 1_500 * MILLI).admitted);
    assert_eq!(admitted_at(connection, &minute, START + 1_600 * MILLI, 20), 0);
    assert_eq!(admitted_at(connection, &minute, START + 59_999 * MILLI, 20), 0);
    assert_eq!(admitted_at(connection, &minute, START + 60_000 * MILLI, 20), 9);
}

#[test]
fn a_bad_deploy_that_is_rolled_back_refills_nobody() {
    let server = Server::start();
    let connection = &mut server.connection();
    let hour = Subject::new(&Policy::per_hour(1000));
    assert_eq!(admitted_at(connection, &hour, START, 1001), 1000);
    for policy in [Policy::per_second(1000), Policy::per_minute(100_000), Policy::per_hour(100_000)] {
        let bad = hour.under(&policy);
        assert!(decide(connection, &bad, START + 90_000 * MILLI).admitted);
        assert_eq!(admitted_at(connection, &hour, START + 100_000 * MILLI, 1000), 0, "{policy}");
    }
}

#[test]
fn a_canary_without_the_hour_does_not_empty_it() {
    let server = Server::start();
    let connection = &mut server.connection();
    for (both, resolution) in
        [("60/minute, 1800/hour", 4096), ("60/minute, 1800/hour", 256), ("60/minute, 100/hour", 4096)]
    {
        let canary = Subject::new(&Policy::per_minute(60));
        let both = canary.under(&minutes(both, resolution));
        let [alone, with_hour] = side_by_side(connection, [&canary, &both], 500, START);
        let hour = both.plan.windows()[1].limit;
        assert!((3_590..=3_600).contains(&(alone + with_hour)), "{alone} + {with_hour}: the canary has a minute only");
        assert!(with_hour <= hour);
        assert_eq!(admitted_at(connection, &both, START + 3_600_000 * MILLI, 10), 0, "the canary has used the hour");
    }
}

#[test]
fn a_minute_that_is_dropped_and_brought_back_frees_nothing_of_the_hour() {
    let server = Server::start();
    let connection = &mut server.connection();
    let both = Subject::new(&minutes("600/minute, 5000/hour", 4096));
    let hour = both.under(&minutes("5000/hour", 4096));
    let mut admitted = 0;
    for minute in 0..8 {
        admitted += admitted_at(connection, &both, START + minute * 61_000 * MILLI, 601);
    }
    assert_eq!(admitted, 4800);
    admitted += admitted_at(connection, &hour, START + 500_000 * MILLI, 1000);
    admitted += admitted_at(connection, &both, START + 600_000 * MILLI, 1000);
    assert_eq!(admitted, 5000);
    assert_eq!(admitted_at(connection, &hour, START + 3_500_000 * MILLI, 1000), 0);
    assert_eq!(admitted_at(connection, &both, START + 3_602_000 * MILLI, 1000), 600);
    let other = Subject::new(&minutes("500/minute, 500/hour", 256));
    let [old, new] = side_by_side(connection, [&other, &other.under(&minutes("500/hour", 256))], 1000, START);
    assert_eq!(old + new, 500);
}

#[test]
fn a_lease_lengthens_windows_and_frees_nothing() {
    let server = Server::start();
    let connection = &mut server.connection();
    let plain = Subject::new(&Policy::per_minute(60).and_per_hour(100));
    let lending = plain.under(&minutes("60/61s, 100/3601s", 4096));
    let [one, other] = side_by_side(connection, [&plain, &lending], 5_000, START);
    assert_eq!(one + other, 100);
}

#[test]
fn what_nobody_asks_for_any_more_is_forgotten_in_the_end() {
    let server = Server::start();
    let connection = &mut server.connection();
    for resolution in [4096, 16] {
        let mut day = Subject::new(&minutes("2000/day", resolution));
        day.logs = day.logs.kept_for(1000);
        let mut second = day.under(&Policy::per_second(20));
        second.logs = second.logs.kept_for(1000);
        assert_eq!(admitted_at(connection, &day, START, 2000), 2000);
        for minute in 1..24 * 60 * 5 {
            decide(connection, &second, START + minute * 60_000 * MILLI);
        }
        let length: usize = redis::cmd("STRLEN").arg(&day.key).query(connection).unwrap();
        assert!(length < 400, "{length}");
    }
}

#[test]
fn a_reset_of_a_history_voids_the_cells_beside_it() {
    let server = Server::start();
    let connection = &mut server.connection();
    let large = Subject::new(&minutes("100/minute", 16));
    let small = large.under(&Policy::per_minute(60));
    assert_eq!(admitted_at(connection, &large, START, 200), 100);
    redis::cmd("DEL").arg(&large.key).exec(connection).unwrap();
    assert_eq!(admitted_at(connection, &small, START + MILLI, 70), 60);
    assert_eq!(admitted_at(connection, &large, START + 2 * MILLI, 200), 40);
}

#[test]
fn cells_that_a_reset_left_behind_teach_a_new_cell_log_nothing() {
    let server = Server::start();
    let connection = &mut server.connection();
    let large = Subject::new(&minutes("38/10s, 57/minute", 16));
    let small = large.under(&Policy::per_minute(60));
    for start in [START, START + 1_000 * MILLI] {
        assert_eq!(admitted_at(connection, &large, start, 50), 38);
        // By hand or by a process that lists none of the cells: each of them is there when the other is made anew.
        redis::cmd("DEL").arg(&large.key).exec(connection).unwrap();
        assert!(decide(connection, &small, start + MILLI).admitted);
        assert_eq!(used(&decide(connection, &large, start + 2 * MILLI)), [2, 2]);
        redis::cmd("DEL").arg(&large.key).exec(connection).unwrap();
    }
}

#[test]
fn a_reset_by_one_process_forgets_the_logs_of_all() {
    let server = Server::start();
    let connection = &mut server.connection();
    let large = Subject::new(&minutes("38/10s, 57/minute", 16));
    let others = [minutes("100/hour", 16), minutes("60/minute", 4096)].map(|policy| large.under(&policy));
    let subjects = [&large, &others[0], &others[1]];
    for resetting in subjects {
        for (at, subject) in (0..).zip(subjects) {
            assert!(decide(connection, subject, START + at * MILLI).admitted);
        }
        assert_eq!(redis::cmd("DBSIZE").query(connection), Ok(4));
        assert_eq!((forget(connection, resetting), forget(connection, resetting)), (1, 0));
        assert_eq!(redis::cmd("DBSIZE").query(connection), Ok(0), "{:?}", resetting.logs);
    }
}

#[test]
fn a_reset_finds_no_history_in_cells_alone_and_forgets_values_of_others() {
    let server = Server::start();
    let connection = &mut server.connection();
    let large = Subject::new(&minutes("38/10s, 57/minute", 16));
    assert!(decide(connection, &large, START).admitted);
    redis::cmd("DEL").arg(&large.key).exec(connection).unwrap();
    assert_eq!(forget(connection, &large), 0);
    assert_eq!(redis::cmd("DBSIZE").query(connection), Ok(0));
    redis::cmd("RPUSH").arg(&large.key).arg("x").exec(connection).unwrap();
    assert_eq!(forget(connection, &large), 1);
    redis::cmd("SET").arg(&large.key).arg("not a log").exec(connection).unwrap();
    assert_eq!(forget(connection, &large), 1);
}

#[test]
fn a_denial_that_a_new_cell_log_counts_is_told_the_wait_of_all_its_cells() {
    let server = Server::start();
    let connection = &mut server.connection();
    let exact = Subject::new(&minutes("5/minute", 16).count_denied());
    assert_eq!(admitted_at(connection, &exact, START, 4), 4);
    let tiers = ["2/minute", "17/10s"].map(|tier| minutes(tier, 16).count_denied());
    let coarse = exact.in_tier(&tiers[0], &tiers);
    let denied = decide(connection, &coarse, START + 30_000 * MILLI);
    // There is room again when the fourth of five leaves. A cell is up to a sixteenth of the window wide.
    assert_eq!((denied.admitted, used(&denied)), (false, vec![5]));
    let changes_at = denied.states[0].changes_at / 1000;
    assert!((START + 60_000 * MILLI..START + 64_000 * MILLI).contains(&changes_at), "{changes_at}");
}

#[test]
fn a_unit_is_given_back_in_the_logs_of_others_too() {
    let server = Server::start();
    let connection = &mut server.connection();
    let large = Subject::new(&minutes("100/minute", 16));
    let small = large.under(&Policy::per_minute(60));
    assert_eq!(admitted_at(connection, &large, START, 50), 50);
    assert_eq!(admitted_at(connection, &small, START + 5_000 * MILLI, 50), 10);
    assert_eq!(refund_units(connection, &small, START + 5_000 * MILLI, START + 6_000 * MILLI, 8), 8);
    let used_by = |connection: &mut Connection, subject: &Subject| {
        used(&ask(connection, std::slice::from_ref(subject), START + 7_000 * MILLI, Mode::Peek).unwrap())
    };
    assert_eq!((used_by(connection, &large), used_by(connection, &small)), (vec![52], vec![52]));
    assert_eq!(refund_units(connection, &large, START, START + 8_000 * MILLI, 20), 40, "20 in each of its logs");
    assert_eq!((used_by(connection, &large), used_by(connection, &small)), (vec![32], vec![32]));
}

#[test]
fn a_history_of_an_earlier_layout_begins_afresh() {
    let server = Server::start();
    let connection = &mut server.connection();
    for policy in [Policy::per_minute(60), Policy::per_minute(60).resolution(16)] {
        let subject = Subject::new(&policy);
        let earlier = [b"S\x01abcd".to_vec(), vec![7; 90]].concat();
        redis::cmd("SET").arg(&subject.key).arg(earlier).exec(connection).unwrap();
        assert_eq!(refund(connection, &subject, START, START), 0);
        assert_eq!(admitted_at(connection, &subject, START, 70), 60);
    }
}

#[test]
fn a_new_cell_log_learns_all_that_its_exact_log_remembers() {
    let server = Server::start();
    let connection = &mut server.connection();
    let exact = Subject::new(&minutes("8/606s", 16));
    let [second, day] = ["17/s", "17/day"].map(|policy| exact.under(&minutes(policy, 16)));
    assert!(decide(connection, &exact, START).admitted);
    assert_eq!(admitted_at(connection, &second, START, 7), 7);
    // The first eight have left the second, and are one more than the exact log has been asked for.
    assert!(decide(connection, &second, START + 1_500 * MILLI).admitted);
    assert_eq!(admitted_at(connection, &day, START + 1_500 * MILLI, 20), 8);
}

#[test]
fn whoever_is_denied_asks_for_a_long_memory_too() {
    let server = Server::start();
    let connection = &mut server.connection();
    for resolution in [4096, 16] {
        let hour = Subject::new(&minutes("50/hour", resolution));
        let minute = hour.under(&Policy::per_minute(60));
        let [hour, minute] = [hour, minute].map(|subject| Subject {
            logs: Layout::new(&subject.plan).kept_for(if resolution == 16 { 60_000 } else { 20_000 }),
            ..subject
        });
        assert_eq!(admitted_at(connection, &hour, START, 60), 50);
        for at in 1..600 {
            let now = START + at * 60_000 * MILLI;
            assert!(decide(connection, &minute, now).admitted);
            if at % 40 == 0 {
                assert!(!decide(connection, &hour, now).admitted, "after {at} minutes: 60 in an hour are more than 50");
            }
        }
    }
}

#[test]
fn processes_with_as_many_large_quotas_in_other_windows_feed_each_other() {
    let server = Server::start();
    let connection = &mut server.connection();
    let seconds = Subject::new(&minutes("17/second, 18/10s", 16));
    let other = seconds.under(&minutes("17/second, 21/10min", 16));
    assert_eq!(admitted_at(connection, &other, START, 1), 1);
    assert_eq!(admitted_at(connection, &seconds, START, 10), 10);
    assert_eq!(used(&decide(connection, &other, START)), [12, 12]);
    assert_eq!(used(&decide(connection, &seconds, START)), [13, 13]);
}

/// In what a log counts time, in microseconds.
fn tick_of(connection: &mut Connection, subject: &Subject) -> u64 {
    let kept: Vec<u8> = redis::cmd("GETRANGE").arg(&subject.key).arg(43).arg(45).query(connection).unwrap();
    kept.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)) >> 12
}

#[test]
fn the_longest_window_that_is_kept_decides_how_finely_time_is_counted() {
    let server = Server::start();
    let connection = &mut server.connection();
    let mut second = Subject::new(&Policy::per_second(20));
    second.logs = second.logs.kept_for(1000);
    let [hour, day, fortnight] = ["20/hour", "20/day", "2000/14d"].map(|policy| {
        let other = second.under(&policy.parse().unwrap());
        Subject { logs: Layout::new(&other.plan).kept_for(1000), ..other }
    });
    let at = |micros: u64| START + micros;
    for (who, micros, tick, admitted) in [
        (&second, 1, 1, true),
        (&hour, 2, 4, true),
        (&second, 3, 4, true),
        (&day, 4, 100, true),
        (&fortnight, 5, 1000, true),
        (&second, 6, 1000, true),
        (&hour, 7, 1000, true),
    ] {
        assert_eq!(decide(connection, who, at(micros)).admitted, admitted, "{micros}");
        assert_eq!(tick_of(connection, who), tick, "{micros}");
    }
    let verdict = ask(connection, std::slice::from_ref(&second), at(8), Mode::Peek).unwrap();
    assert_eq!(used(&verdict), [7]);
    // What was recorded finely is rounded up with the rest: nothing is free early.
    assert_eq!(verdict.states[0].changes_at, Timestamp::from_micros(START + 1_001_000).nanos());
    let used_at = |connection: &mut Connection, now: u64| {
        used(&ask(connection, std::slice::from_ref(&second), now, Mode::Peek).unwrap())
    };
    assert_eq!(used_at(connection, START + 1_000_999), [7]);
    assert_eq!(used_at(connection, START + 1_001_000), [0]);
    // When nobody asks for the long windows any more it is as fine again as it was.
    for hour in 1..24 * 120 {
        assert!(decide(connection, &second, START + hour * 3_600_000 * MILLI).admitted);
    }
    assert_eq!(tick_of(connection, &second), 1);
}

#[test]
fn a_window_that_is_no_whole_number_of_the_ticks_of_others_is_kept_to_and_told_rounded_up() {
    let server = Server::start();
    let connection = &mut server.connection();
    let odd = Subject::new(&Policy::new(Quota::new(1, Duration::from_micros(1_234_567))));
    let long = odd.under(&"50/14d".parse().unwrap());
    assert!(decide(connection, &long, START + 1).admitted);
    let denied = decide(connection, &odd, START + 2);
    let room_at = START + 1_000 + 1_234_567;
    assert!(!denied.admitted);
    let told = denied.states[0].changes_at / 1000;
    assert!(told >= room_at && told < room_at + 1000, "{told}");
    assert!(!decide(connection, &odd, room_at - 1).admitted);
    assert!(decide(connection, &odd, told).admitted);
}

#[test]
fn what_is_long_gone_never_counts_again_however_slowly_a_log_is_written() {
    let server = Server::start();
    let connection = &mut server.connection();
    // The low 32 bits of a microsecond come again every 72 minutes.
    let mut wide = Subject::new(&"2000/100s".parse().unwrap());
    wide.logs = wide.logs.kept_for(1000);
    let mut narrow = wide.under(&"60/minute".parse().unwrap());
    narrow.logs = narrow.logs.kept_for(1000);
    assert!(decide(connection, &wide, START).admitted);
    for unit in 1..4_000 {
        let now = START + unit * 40_000 * MILLI;
        assert!(decide(connection, &narrow, now).admitted);
        let seen = ask(connection, std::slice::from_ref(&wide), now, Mode::Peek).unwrap();
        assert_eq!(used(&seen), [(unit + 1).min(3)], "after {unit} units");
    }
    let length: usize = redis::cmd("STRLEN").arg(&wide.key).query(connection).unwrap();
    assert!(length < 1000, "{length}");
}
