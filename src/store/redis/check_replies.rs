//! Checks that any reply of a server is an error or a verdict: for a fuzz target (`fuzz/`), and for its corpus as a test.
//!
//! Input: a byte for the policy, one for the number of requests, one for their units; then `w` and a reply as it is on the
//! wire, or any other byte and for each log the number of bytes after its tag, and these bytes.

use std::time::Duration;

use redis::{RedisResult, Value, parse_redis_value};

use crate::{
    history::Plan,
    policy::{Enforcement, Policy, Quota},
    store::redis::{
        layout::Layout,
        script::{Charged, Mode, Reply, Request, Script},
    },
};

/// Charges of a request, at most.
const MAX_CHARGES: u8 = 3;
/// Units of a charge with costs: more than the smallest limit, so that it is never possible there.
const COST: u64 = 6;
/// Bytes that a log and its reply both begin with.
const TAG: usize = 6;

/// Checks how a reply is read.
pub(crate) fn check_replies(data: &[u8]) {
    let [policy, requests, units, form, ref rest @ ..] = *data else { return };
    let layout = layout(policy);
    let count = usize::from(MAX_CHARGES.min(policy / 16 % MAX_CHARGES + 1));
    let units_each = if layout.has_costs() { COST } else { 1 };
    let charged = Charged { logs: &layout, key: b"k", enforcement: Enforcement::On, units: units_each };
    let charges = vec![charged; count];
    let units = units.max(1);
    let requests = vec![Request { charges: &charges, units }; usize::from(requests % 4 + 1)];
    let reply = if form == b'w' { parse_redis_value(rest) } else { Ok(tagged(&requests, rest)) };
    match reply.and_then(|reply| Script::replies(&requests, reply)) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(replies) => check_all(&requests, replies),
    }
}

/// Returns the layout of a policy with one exact quota, with two, with buckets, or with both; or all that with costs.
fn layout(number: u8) -> Layout {
    let policy = match number % 4 {
        0 => Policy::per_minute(60),
        1 => Policy::per_minute(60).and_per_hour(1800),
        2 => Policy::per_day(1_000_000),
        _ => Policy::per_second(5).and_per_hour(18_000).and_per_day(Quota::MAX_LIMIT),
    };
    if number >= 128 {
        Layout::with_costs(&policy, std::slice::from_ref(&policy))
    } else {
        Layout::new(&Plan::new(&policy))
    }
}

/// Returns replies that look like those of the script.
fn tagged(requests: &[Request<'_>], mut rest: &[u8]) -> Value {
    let mut header = |argument: &[u8]| {
        let length = rest.split_off_first().copied().unwrap_or_default();
        let body = rest.split_off(..usize::from(length).min(rest.len())).unwrap_or_default();
        Value::BulkString([argument.get(..TAG).unwrap_or_default(), body].concat())
    };
    let mut reply = |request: &Request<'_>| {
        let logs = request.charges.iter().flat_map(|charge| charge.logs.iter());
        let mut headers: Vec<Value> = logs.map(|log| header(log.argument())).collect();
        if headers.len() == 1 { headers.remove(0) } else { Value::Array(headers) }
    };
    match requests {
        [request] => reply(request),
        _ => Value::Array(requests.iter().map(reply).collect()),
    }
}

fn check_all(requests: &[Request<'_>], replies: Vec<RedisResult<Reply>>) {
    assert!(replies.len() <= requests.len());
    for (request, reply) in requests.iter().zip(replies) {
        match reply {
            Err(error) => assert!(!error.to_string().is_empty()),
            Ok(reply) => check(request, &reply),
        }
    }
}

/// Checks that each verdict has every quota, and that the first requests are admitted.
fn check(request: &Request<'_>, reply: &Reply) {
    let quotas: usize = request.charges.iter().map(|charge| charge.logs.quotas()).sum();
    for number in 1..=u32::from(request.units) {
        let verdict = reply.clone().verdict_on(number);
        assert_eq!(verdict.states.len(), quotas);
        assert_eq!(verdict.admitted, number <= reply.units);
        for (state, at_last) in verdict.states.iter().zip(&reply.verdict.states) {
            assert!(state.used <= at_last.used);
            assert!(verdict.now.until(state.changes_at) < Duration::MAX);
            assert_eq!(verdict.now.saturating_add(Duration::MAX).until(state.changes_at), Duration::ZERO);
        }
    }
    // A refund of what was admitted has to be possible.
    drop(Script::new().call(&[*request], Mode::Refund(reply.verdict.now)));
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn any_reply_is_an_error_or_a_verdict() {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz/replies");
        let files: Vec<_> = fs::read_dir(&kept).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty());
        for file in files {
            // Printed with a panic, it names the input.
            println!("{}", file.display());
            check_replies(&fs::read(&file).unwrap());
        }
    }
}
