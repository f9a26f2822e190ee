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
        let call = |subject: &Subject| Script::at(now).call(&[one(&[subject.charged()])], Mode::Decide);
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
