//! Tiers: one history that is judged by several plans.

use super::*;

/// Two to four tiers of one rule. The last may have no limits.
fn tiers() -> impl Strategy<Value = Vec<Policy>> {
    (prop::collection::vec(policies(), 2..4), prop::bool::ANY, prop::bool::ANY, prop::bool::weighted(0.2)).prop_map(
        |(policies, has_unlimited, is_coarse, counts_denied)| {
            let unlimited = has_unlimited.then(|| Policy::from_iter([]));
            let alike = |policy: Policy| {
                let policy = Policy::from_iter(policy.quotas().cloned()).resolution(if is_coarse { 16 } else { 4096 });
                if counts_denied { policy.count_denied() } else { policy }
            };
            policies.into_iter().chain(unlimited).map(alike).collect()
        },
    )
}

fn subjects(tiers: &[Policy]) -> Vec<Subject> {
    let first = Subject::new(&tiers[0]);
    tiers.iter().map(|tier| first.in_tier(tier, tiers)).collect()
}

/// The verdict in memory, where the tiers share the history too.
fn expected_of(subjects: &mut [Subject], who: usize, last: &mut usize, now: u64) -> Verdict {
    if who != *last {
        let history = std::mem::replace(&mut subjects[*last].history, History::new(&subjects[who].plan));
        subjects[who].history = history;
        *last = who;
    }
    expected(std::slice::from_mut(&mut subjects[who]), now)
}

/// What callers see of more units than a limit allows is that nothing is left.
fn seen(verdict: &Verdict, plan: &Plan) -> (bool, Timestamp, Vec<(u64, u64)>) {
    let (admitted, now, states) = told(verdict);
    let states = states.into_iter().zip(plan.windows());
    (admitted, now, states.map(|((used, changes), window)| (used.min(window.limit), changes)).collect())
}

#[test]
fn the_script_decides_about_tiers_as_the_history_in_memory_does_whatever_the_clock_does() {
    let input = (tiers(), starts(), prop::collection::vec((jump(), 0usize..4), 1..400));
    check(37, input, |connection, (tiers, start, steps)| {
        let (mut subjects, mut last, mut now) = (subjects(&tiers), 0, start);
        for (step, who) in steps {
            now = now.saturating_add_signed(step).max(1);
            let who = who % subjects.len();
            let by_script = ask(connection, std::slice::from_ref(&subjects[who]), now, Mode::Decide).unwrap();
            let in_memory = expected_of(&mut subjects, who, &mut last, now);
            let plan = &subjects[who].plan;
            prop_assert_eq!(seen(&by_script, plan), seen(&in_memory, plan), "tier {} at {}", who, now);
        }
        Ok(())
    });
}

#[test]
fn what_is_used_in_one_tier_counts_in_the_others() {
    let server = Server::start();
    let connection = &mut server.connection();
    for resolution in [4096, 16] {
        let tiers = [60, 600].map(|limit| Policy::per_minute(limit).resolution(resolution));
        let [free, pro] = &subjects(&tiers)[..] else { panic!("not two") };
        assert_eq!(admitted_at(connection, free, START, 100), 60);
        assert_eq!(admitted_at(connection, pro, START + 1_000 * MILLI, 1000), 540);
        assert_eq!(used(&decide(connection, pro, START + 1_000 * MILLI)), [600]);
        // Buckets of a sixteenth of a minute hold units back for up to four seconds.
        let later = if resolution == 16 { 70_000 } else { 61_000 } * MILLI;
        assert!(!decide(connection, free, START + 60_999 * MILLI).admitted, "540 of them were recorded a second later");
        assert_eq!(admitted_at(connection, free, START + later, 100), 60);
    }
}

#[test]
fn a_tier_without_limits_is_recorded_in_bounded_memory() {
    let server = Server::start();
    let connection = &mut server.connection();
    for resolution in [4096, 16] {
        let tiers = [Policy::per_hour(60).resolution(resolution), Policy::from_iter([]).resolution(resolution)];
        let [limited, unlimited] = &subjects(&tiers)[..] else { panic!("not two") };
        for request in 0..5_000 {
            let verdict = decide(connection, unlimited, START + request * MILLI);
            assert!(verdict.admitted && verdict.states.is_empty());
        }
        let length: usize = redis::cmd("STRLEN").arg(&limited.key).query(connection).unwrap();
        assert!(length < 900, "{length} bytes");
        let denied = decide(connection, limited, START + 5_000 * MILLI);
        assert!(!denied.admitted);
        // When the last but 59 of them leaves.
        let changes_at = denied.states[0].changes_at / 1000;
        let expected = START + (4_940 + 3_600_000) * MILLI;
        let late = if resolution == 16 { 3_600_000 * MILLI / 16 } else { 0 };
        assert!((expected..=expected + late).contains(&changes_at), "{changes_at}");
    }
}

#[test]
fn the_tiers_of_a_rule_may_have_31_windows_together() {
    let server = Server::start();
    let connection = &mut server.connection();
    let of = |windows: std::ops::Range<u64>| -> Policy {
        windows.map(|secs| Quota::new(20 + secs, Duration::from_secs(secs)).named(format!("q{secs}"))).collect()
    };
    let [short, long] = &subjects(&[of(1..17), of(17..32)])[..] else { panic!("not two") };
    assert_eq!(admitted_at(connection, short, START, 100), 21);
    assert_eq!(admitted_at(connection, long, START + MILLI, 100), 16);
    assert_eq!(refund_units(connection, long, START + MILLI, START + 2 * MILLI, 5), 5);
    // Another window has it laid out anew, and then those are asked for again.
    assert!(decide(connection, &short.under(&Policy::per_minute(100)), START + 3 * MILLI).admitted);
    assert_eq!(admitted_at(connection, long, START + 4 * MILLI, 100), 4);
}

#[test]
fn tiers_that_take_turns_do_not_have_a_log_laid_out_anew() {
    let server = Server::start();
    let connection = &mut server.connection();
    let tiers: Vec<Policy> =
        ["60/minute", "600/minute, 1800/hour", "100/second, 20000/day"].map(|tier| tier.parse().unwrap()).into();
    let subjects = subjects(&tiers);
    let reads = |connection: &mut Connection| {
        let stats: String = redis::cmd("INFO").arg("commandstats").query(connection).unwrap();
        let calls = |line: &str| line.strip_prefix("cmdstat_get:calls=")?.split(',').next()?.parse::<u32>().ok();
        stats.lines().find_map(calls).unwrap_or_default()
    };
    for (turn, subject) in subjects.iter().cycle().take(30).enumerate() {
        decide(connection, subject, START + turn as u64 * MILLI);
    }
    assert_eq!(reads(connection), 0, "only a log that is laid out anew is read as a whole");
}
