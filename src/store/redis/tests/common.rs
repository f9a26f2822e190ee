//! The common decision against the rest of the script, which decides and writes the same if it is asked instead.

use redis::{Arg, Cmd, Value};

use super::*;
use crate::store::redis::script::TEXT;

/// Two keys with one history: the whole script decides about the first, the rest of it about the second.
struct Twins {
    keys: [Subject; 2],
    rest: String,
}

impl Twins {
    fn new(connection: &mut Connection, policy: &Policy) -> Self {
        let keys = [Subject::new(policy), Subject::new(policy)];
        // The common decision is what stands in the script's first loop, which is left at once.
        let text = TEXT.replacen("\nrepeat\n", "\nrepeat\n  do break end\n", 1);
        assert_ne!(text, *TEXT);
        let rest = redis::cmd("SCRIPT").arg("LOAD").arg(text).query(connection).unwrap();
        Self { keys, rest }
    }

    /// The same keys under another policy.
    fn under(&self, policy: &Policy) -> Self {
        let keys = [0, 1].map(|at: usize| self.keys[at].under(policy));
        Self { keys, rest: self.rest.clone() }
    }

    fn decide(&self, connection: &mut Connection, now: u64) -> [RedisResult<Value>; 2] {
        self.ask(connection, now, 1, Mode::Decide)
    }

    fn ask(&self, connection: &mut Connection, now: u64, units: u8, mode: Mode) -> [RedisResult<Value>; 2] {
        let call = |subject: &Subject| {
            let request = Request { charges: &[subject.charged()], units };
            Script::at(now).call(&[request], mode)
        };
        let rest = about_script(&self.rest, &call(&self.keys[1]));
        [call(&self.keys[0]), rest].map(|call| call.query(connection))
    }

    fn stored(&self, connection: &mut Connection) -> [(Option<Vec<u8>>, bool); 2] {
        [0, 1].map(|at: usize| dumps(connection, &self.keys[at..=at]).remove(0))
    }
}

/// The same call of another script.
fn about_script(hash: &str, call: &Cmd) -> Cmd {
    let mut other = redis::cmd("EVALSHA");
    other.arg(hash);
    for argument in call.args_iter().skip(2) {
        if let Arg::Simple(bytes) = argument {
            other.arg(bytes);
        }
    }
    other
}

/// One or two quotas that count exactly, for the most part.
fn common_policies() -> impl Strategy<Value = Policy> {
    let window = prop_oneof![4 => 300u64..5000, 1 => Just(60_000), 1 => Just(86_400_000)];
    let quotas = prop::collection::vec((prop_oneof![1u64..17, 17u64..400], window), 1..3);
    let common = quotas.prop_map(|quotas| {
        let quota = |(at, (limit, millis))| Quota::new(limit, Duration::from_millis(millis)).named(format!("q{at}"));
        quotas.into_iter().enumerate().map(quota).collect()
    });
    prop_oneof![9 => common, 1 => policies()]
}

/// Runs of decisions with such pauses between them, in microseconds, under the first policy or the other.
fn runs() -> impl Strategy<Value = Vec<(usize, i64, bool)>> {
    let pause = prop_oneof![6 => 0i64..60_000, 2 => jump(), 1 => Just(0)];
    prop::collection::vec((1usize..120, pause, prop::bool::weighted(0.1)), 1..12)
}

#[test]
fn the_common_decision_says_and_writes_what_the_rest_of_the_script_does() {
    let input = (common_policies(), common_policies(), starts(), runs());
    check(100, input, |connection, (policy, other, start, runs)| {
        let first = Twins::new(connection, &policy);
        redis::cmd("SCRIPT").arg("LOAD").arg(&*TEXT).exec(connection).unwrap();
        let second = first.under(&other);
        let mut now = start;
        for (decisions, pause, is_other) in runs {
            let twins = if is_other { &second } else { &first };
            for _ in 0..decisions {
                now = now.saturating_add_signed(pause).max(1);
                let [common, rest] = twins.decide(connection, now);
                prop_assert_eq!(common, rest, "at {}", now);
            }
            let [common, rest] = twins.stored(connection);
            prop_assert_eq!(common, rest, "at {}", now);
        }
        Ok(())
    });
}

#[test]
fn what_no_writer_has_left_is_an_error_of_the_rest_or_counted_as_there() {
    let server = Server::start();
    let connection = &mut server.connection();
    let twins = Twins::new(connection, &Policy::per_minute(60).and_per_hour(1800));
    redis::cmd("SCRIPT").arg("LOAD").arg(&*TEXT).exec(connection).unwrap();
    for step in 0..100 {
        let [common, rest] = twins.decide(connection, START + step * 900 * MILLI);
        assert_eq!(common, rest);
    }
    let ours: Vec<u8> = redis::cmd("GET").arg(&twins.keys[0].key).query(connection).unwrap();
    let of_length = (0..ours.len()).step_by(11).map(|length| ours[..length].to_vec());
    let spoilt = (0..72).flat_map(|at| {
        [1, 16, 255].map(|change| {
            let mut spoilt = ours.clone();
            spoilt[at] ^= change;
            spoilt
        })
    });
    for value in of_length.chain(spoilt).chain([b"abc".to_vec(), vec![0; 300]]) {
        for key in &twins.keys {
            redis::cmd("SET").arg(&key.key).arg(&value).exec(connection).unwrap();
        }
        let [common, rest] = twins.decide(connection, START + 140_000 * MILLI);
        assert_eq!(common, rest, "{value:?}");
        let [common, rest] = twins.stored(connection);
        assert_eq!(common, rest, "{value:?}");
    }
}

/// Policies whose quotas have these limits in so many milliseconds.
fn policy_of(quotas: &[(u64, u64)]) -> Policy {
    let quota = |(at, &(limit, millis))| Quota::new(limit, Duration::from_millis(millis)).named(format!("q{at}"));
    quotas.iter().enumerate().map(quota).collect()
}

#[test]
fn at_the_edges_of_windows_and_in_other_calls_both_say_and_write_the_same() {
    let server = Server::start();
    let connection = &mut server.connection();
    redis::cmd("SCRIPT").arg("LOAD").arg(&*TEXT).exec(connection).unwrap();
    let quotas: [&[(u64, u64)]; 6] = [
        &[(3, 40)],
        &[(5, 40), (9, 100)],
        &[(40, 400), (20, 100)],
        &[(70, 900), (65, 500)],
        &[(1, 10)],
        &[(9, 86_400_000 * 40)],
    ];
    for quotas in quotas {
        for policy in [policy_of(quotas), policy_of(quotas).count_denied()] {
            let twins = Twins::new(connection, &policy);
            let mut now = START;
            for (step, pause) in
                (0..160).zip([0, 10_000, 0, 0, 9_999, 1, 0, 10_001, 9_999, 0, 10_000, 0, 40_000].iter().cycle())
            {
                now += pause;
                // A call that renews the life of a key without one is seen by that.
                for key in twins.keys.iter().filter(|_| step % 2 == 1) {
                    redis::cmd("PERSIST").arg(&key.key).exec(connection).unwrap();
                }
                let mode = if step % 11 == 5 { Mode::Peek } else { Mode::Decide };
                let [common, rest] = twins.ask(connection, now, if step % 9 == 3 { 2 } else { 1 }, mode);
                assert_eq!(common, rest, "{quotas:?}, step {step}");
                let [common, rest] = twins.stored(connection);
                assert_eq!(common, rest, "{quotas:?}, step {step}");
            }
        }
    }
}

#[test]
fn at_the_edges_of_what_a_header_says_both_say_and_write_the_same() {
    let server = Server::start();
    let connection = &mut server.connection();
    redis::cmd("SCRIPT").arg("LOAD").arg(&*TEXT).exec(connection).unwrap();
    let policies = [policy_of(&[(400, 4_000_000)]), policy_of(&[(400, 4_000_000), (300, 3_000_000)])];
    for (policy, units) in policies.iter().flat_map(|policy| [10, 20, 40].map(|units| (policy, units))) {
        let twins = Twins::new(connection, policy);
        for step in 0..units {
            let [common, rest] = twins.decide(connection, START + step);
            assert_eq!(common, rest);
        }
        let ours: Vec<u8> = redis::cmd("GET").arg(&twins.keys[0].key).query(connection).unwrap();
        let number =
            |at: usize, bytes: usize| (0..bytes).rev().fold(0, |sum, byte| sum << 8 | u64::from(ours[at + byte]));
        let tick = number(43, 3) / 4096;
        let stamp = (START + 1_000_000).next_multiple_of(tick);
        let now = stamp + 1 - tick;
        let need = ((number(29, 7) - START) / 1000 - 1000) * 500;
        let mut headers = vec![(18, 4, 0)];
        headers.extend([now - 1, now, now + 1].map(|decided| (7, 7, decided)));
        headers
            .extend([now, stamp].iter().flat_map(|at| [9_999, 10_000, 10_001, 15_000].map(|lead| (22, 7, at + lead))));
        headers.extend([now, stamp].iter().flat_map(|at| [0, 1, 2, 100_001].map(|more| (29, 7, at + need - 1 + more))));
        for (at, bytes, value) in headers {
            let mut text = ours.clone();
            text[at..at + bytes].copy_from_slice(&u64::to_le_bytes(value)[..bytes]);
            for key in &twins.keys {
                redis::cmd("SET").arg(&key.key).arg(&text).exec(connection).unwrap();
            }
            let [common, rest] = twins.decide(connection, now);
            assert_eq!(common, rest, "{value} at {at}");
            let [common, rest] = twins.stored(connection);
            assert_eq!(common, rest, "{value} at {at}");
        }
    }
}

#[test]
fn common_decisions_do_not_come_to_the_rest_of_the_script() {
    let server = Server::start();
    let connection = &mut server.connection();
    let (piece, _) = TEXT.split_once("\nlocal function part(").unwrap();
    let piece: String =
        redis::cmd("SCRIPT").arg("LOAD").arg(format!("{piece}\nreturn 'rest'")).query(connection).unwrap();
    for quotas in [&[(40, 1000)][..], &[(40, 1000), (30, 700)]] {
        let subject = Subject::new(&policy_of(quotas));
        let mut left = |step: u64| {
            let call =
                |step| Script::at(START + step * 10 * MILLI).call_in_full(&[one(&[subject.charged()])], Mode::Decide);
            let said: Value = about_script(&piece, &call(step)).query(connection).unwrap();
            let is_left = said == Value::BulkString(b"rest".to_vec());
            if is_left {
                call(step).exec(connection).unwrap();
            }
            is_left
        };
        // The first of all, and those for which the ring grows.
        assert_eq!((0..200).filter(|&step| left(step)).collect::<Vec<_>>(), [0, 16, 108]);
    }
}

#[test]
fn when_about_a_block_of_units_is_left_both_say_and_write_the_same() {
    let server = Server::start();
    let connection = &mut server.connection();
    redis::cmd("SCRIPT").arg("LOAD").arg(&*TEXT).exec(connection).unwrap();
    for (millis, window, left) in [10, 720_000].into_iter().flat_map(|millis| {
        [50, 100].into_iter().flat_map(move |window| (14..19).map(move |left| (millis, window, left)))
    }) {
        let twins = Twins::new(connection, &policy_of(&[(100, 100 * millis), (90, 50 * millis)]));
        for step in (0..64).chain(63 - left + window..68 - left + window) {
            let [common, rest] = twins.decide(connection, START + step * millis * MILLI);
            assert_eq!(common, rest, "{left} left of {window}, step {step}");
            // Later decisions write the copies of blocks anew.
            let [common, rest] = twins.stored(connection);
            assert_eq!(common, rest, "{left} left of {window}, step {step}");
        }
    }
}
