//! The Redis store while its server is not there, not well, or not what it should be: every request meets the outcome that
//! was chosen, soon, and the store is back when the server is.
//!
//! Times are asserted where the difference is one of kind: redis-rs alone would stall for 0.5 s to 9.5 s per request, so
//! "within a second" is generous for a deadline of 50 ms on a busy machine, and would not hold without it.
#![allow(clippy::disallowed_methods, reason = "here the time is that of real servers")]

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tonic::Code;
use tower::ServiceExt;
use tower_quota::{
    Decision, Policy, Rule, key,
    store::{OnOutage, RedisStore, Unavailable},
};
use tower_quota_tests::{
    echo,
    redis::{Fake, Limiter, Proxy, Reply, Server, Through, admitted, limiter, remaining, replica_of, rule},
};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const GUARD: Duration = Duration::from_secs(20);
const MODES: [OnOutage; 3] = [OnOutage::Open, OnOutage::Closed, OnOutage::Local { share: 0.5 }];

/// With the deadline that users have by default, and no memory of denials: each request is asked about.
fn store(url: impl Into<String>, on_outage: OnOutage) -> RedisStore {
    RedisStore::new(url, on_outage).denial_cache_ttl(Duration::ZERO)
}

/// Ten per hour; in an outage, five in this process.
fn ten(url: impl Into<String>, on_outage: OnOutage) -> Limiter {
    limiter(store(url, on_outage), [rule("calls", Policy::per_hour(10))])
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It was decided on the server.
    Decided,
    /// It was let pass without a look.
    Passed,
    /// It was refused without a look.
    Unavailable,
}

type Answer = Result<Decision, Unavailable>;

fn outcome(answer: &Answer) -> Outcome {
    match answer {
        Ok(decision) if decision.quotas().next().is_none() => Outcome::Passed,
        Ok(_) => Outcome::Decided,
        Err(_) => Outcome::Unavailable,
    }
}

/// Asks once, which takes less than a second whatever is the matter with the server.
async fn ask(limiter: &Limiter, key: &str) -> Answer {
    let start = Instant::now();
    let answer = limiter.rule("calls").unwrap().check_async(key).await;
    assert!(start.elapsed() < SECOND, "{:?} for one decision", start.elapsed());
    answer
}

/// Asks until the server decides again, and gives that decision: within a second or so, and 9.5 s if it were for redis-rs.
async fn back_again(limiter: &Limiter, key: &str) -> Decision {
    let start = Instant::now();
    loop {
        let answer = ask(limiter, key).await;
        if outcome(&answer) == Outcome::Decided {
            return answer.unwrap();
        }
        assert!(start.elapsed() < 6 * SECOND, "still {answer:?}");
        tokio::time::sleep(10 * MILLI).await;
    }
}

/// Asks so often for somebody who has asked for nothing yet, while the server does not decide; what the mode promises.
async fn assert_outage(limiter: &Limiter, on_outage: OnOutage, key: &str) {
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(ask(limiter, key).await);
    }
    match on_outage {
        OnOutage::Open => assert!(answers.iter().all(|answer| outcome(answer) == Outcome::Passed), "{answers:?}"),
        OnOutage::Closed => {
            assert!(answers.iter().all(|answer| outcome(answer) == Outcome::Unavailable), "{answers:?}");
        }
        _ => {
            let admitted = answers.iter().filter(|answer| answer.as_ref().unwrap().is_admitted()).count();
            assert_eq!(admitted, 5, "half of ten: {answers:?}");
            assert!(answers.iter().all(|answer| outcome(answer) == Outcome::Decided), "with their quotas: {answers:?}");
        }
    }
}

// Servers that are gone.

/// Row F3.
#[tokio::test]
async fn a_server_that_is_down_at_the_start_is_found_when_it_comes() {
    for on_outage in MODES {
        let server = Server::down();
        let limiter = ten(server.url(), on_outage);
        assert!(limiter.store().ping().await.is_err());
        assert_outage(&limiter, on_outage, "ann").await;
        server.restart();
        eventually_decided(&limiter, &server).await;
        limiter.store().ping().await.unwrap();
    }
}

/// Waits until decisions are the server's: `Local` decides too, so what is looked at is what arrives there.
async fn eventually_decided(limiter: &Limiter, server: &Server) {
    server.run("CONFIG RESETSTAT");
    let start = Instant::now();
    while server.calls_of("evalsha") == 0 || outcome(&ask(limiter, "anybody").await) != Outcome::Decided {
        assert!(start.elapsed() < 6 * SECOND, "the store does not come back");
        let _ = ask(limiter, "anybody").await;
        tokio::time::sleep(10 * MILLI).await;
    }
}

/// Row F2.
#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_empty_is_used_again() {
    for on_outage in MODES {
        let server = Server::start();
        let limiter = ten(server.url(), on_outage);
        assert_eq!(admitted(&limiter, "calls", "ann", 12).await, 10);
        server.kill();
        assert_outage(&limiter, on_outage, "bob").await;
        server.restart();
        eventually_decided(&limiter, &server).await;
        // The script is there again, and what it had counted is gone.
        assert_eq!(admitted(&limiter, "calls", "carl", 12).await, 10);
        assert_eq!(admitted(&limiter, "calls", "ann", 12).await, 10);
        server.assert_all_expire_within(Duration::from_secs(3 * 3600));
    }
}

/// Row F1: the same, of a server that accepts everything and says nothing, under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_frozen_under_load_is_left_alone_and_used_again() {
    for on_outage in MODES {
        let server = Server::start();
        let wide = Policy::per_hour(1_000_000);
        let limiter = limiter(store(server.url(), on_outage), [rule("calls", wide), rule("ten", Policy::per_hour(10))]);
        admitted(&limiter, "calls", "ann", 5).await;
        let (is_over, mut load) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for number in 0..8 {
            let (limiter, is_over) = (limiter.clone(), Arc::clone(&is_over));
            load.spawn(async move {
                let (mut asked, mut slowest) = (0_u64, Duration::ZERO);
                while !is_over.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    let _ = limiter.rule("calls").unwrap().check_async(["ann", "bob"][number % 2]).await;
                    slowest = slowest.max(start.elapsed());
                    asked += 1;
                    tokio::time::sleep(MILLI).await;
                }
                (asked, slowest)
            });
        }
        tokio::time::sleep(50 * MILLI).await;
        server.freeze();
        tokio::time::sleep(1500 * MILLI).await;
        let during = limiter.rule("calls").unwrap().check_async("ann").await;
        match on_outage {
            OnOutage::Open => assert_eq!(outcome(&during), Outcome::Passed),
            OnOutage::Closed => assert_eq!(outcome(&during), Outcome::Unavailable),
            _ => assert!(during.unwrap().is_admitted()),
        }
        server.thaw();
        eventually_decided(&limiter, &server).await;
        is_over.store(true, Ordering::Relaxed);
        let load = load.join_all().await;
        let (asked, slowest) =
            (load.iter().map(|(asked, _)| asked).sum::<u64>(), load.iter().map(|(_, slow)| *slow).max());
        assert!(slowest.unwrap() < SECOND, "{slowest:?} for one decision of {asked}");
    }
}

/// Row F31: what a frozen server does when it goes on: each charge once, for nothing is asked for again.
#[tokio::test]
async fn a_request_to_a_frozen_server_is_charged_once_at_most() {
    let server = Server::start();
    let limiter = limiter(store(server.url(), OnOutage::Closed), [rule("calls", Policy::per_hour(1000))]);
    assert_eq!(admitted(&limiter, "calls", "ann", 1).await, 1);
    server.freeze();
    for _ in 0..50 {
        assert_eq!(outcome(&ask(&limiter, "ann").await), Outcome::Unavailable);
    }
    server.thaw();
    let now = back_again(&limiter, "ann").await;
    let used = 1000 - remaining(&now)[0];
    // One before, three until the server is left alone, perhaps a probe or two, and this one.
    assert!((2..=8).contains(&used), "{used} used");
}

/// Row F32: a machine that does not even answer to a connection, or accepts one and is silent.
#[tokio::test]
async fn a_black_hole_is_an_outage_too() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    for on_outage in MODES {
        for url in [&url, "redis://203.0.113.1:6379"] {
            assert_outage(&ten(url, on_outage), on_outage, "ann").await;
        }
    }
}

/// Row F35: after three failures in a row, one request a second is the probe, however many come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_is_probed_once_a_second() {
    let fake = Fake::saying(Reply::Nothing).await;
    let limiter = ten(fake.url(), OnOutage::Open);
    for _ in 0..3 {
        assert_eq!(outcome(&ask(&limiter, "ann").await), Outcome::Passed);
    }
    let (before, start) = (fake.asked().len(), Instant::now());
    assert!(before <= 3, "{before}");
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let limiter = limiter.clone();
        tasks.spawn(async move {
            let mut asked = 0;
            while start.elapsed() < 2500 * MILLI {
                assert_eq!(outcome(&limiter.rule("calls").unwrap().check_async("ann").await), Outcome::Passed);
                asked += 1;
                tokio::time::sleep(MILLI).await;
            }
            asked
        });
    }
    let asked: usize = tasks.join_all().await.into_iter().sum();
    let probes = fake.asked().len() - before;
    let most = start.elapsed().as_millis() / 900 + 1;
    assert!(probes >= 1 && probes as u128 <= most, "{probes} probes in {:?}, for {asked} requests", start.elapsed());
}

/// F35, F32: thousands of requests at the same time end together, and nothing of them stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_during_an_outage_end_soon() {
    let fake = Fake::saying(Reply::Nothing).await;
    let limiter = ten(fake.url(), OnOutage::Closed);
    let (start, mut tasks) = (Instant::now(), JoinSet::new());
    for _ in 0..10_000 {
        let limiter = limiter.clone();
        tasks.spawn(async move { outcome(&limiter.rule("calls").unwrap().check_async("ann").await) });
    }
    assert!(tasks.join_all().await.into_iter().all(|outcome| outcome == Outcome::Unavailable));
    assert!(start.elapsed() < 5 * SECOND, "{:?}", start.elapsed());
    let connections = fake.connections().len();
    assert!(connections <= 5, "{connections} connections");
}

/// Row F2 while the connection is a socket's.
#[tokio::test]
async fn a_unix_socket_that_is_gone_is_found_again() {
    let server = Server::start();
    let limiter = ten(server.unix_url(), OnOutage::Closed);
    assert_eq!(admitted(&limiter, "calls", "ann", 2).await, 2);
    server.kill();
    assert_outage(&limiter, OnOutage::Closed, "ann").await;
    server.restart();
    assert_eq!(remaining(&back_again(&limiter, "ann").await), [9]);
}

// Local: what this process knows.

/// F35: what it has admitted itself before the outage counts, and afterwards the server's count goes on.
#[tokio::test]
async fn the_local_share_is_kept_warm() {
    let server = Server::start();
    let limiter = ten(server.url(), OnOutage::Local { share: 0.5 });
    assert_eq!(admitted(&limiter, "calls", "ann", 4).await, 4);
    assert_eq!(admitted(&limiter, "calls", "bob", 9).await, 9);
    server.kill();
    assert_eq!(admitted(&limiter, "calls", "ann", 9).await, 1);
    assert_eq!(admitted(&limiter, "calls", "bob", 9).await, 0);
    assert_eq!(admitted(&limiter, "calls", "carl", 9).await, 5);
    let denied = ask(&limiter, "carl").await.unwrap();
    assert_eq!((denied.is_admitted(), remaining(&denied)), (false, vec![0]));
    assert!(denied.retry_after().unwrap() > Duration::ZERO);
}

/// F35: the share holds however many ask, and over two rules at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_local_share_is_all_or_nothing_too() {
    let server = Server::down();
    let rules = [rule("calls", Policy::per_hour(100)), rule("narrow", Policy::per_hour(3))];
    let limiter = limiter(store(server.url(), OnOutage::Local { share: 0.25 }), rules);
    let mut tasks = JoinSet::new();
    for number in 0..64 {
        let limiter = limiter.clone();
        tasks.spawn(async move {
            let both = if number % 2 == 0 { ["calls", "narrow"] } else { ["narrow", "calls"] };
            limiter.check_all_async(both.map(|rule| (rule, "ann"))).await.unwrap().is_admitted()
        });
    }
    // A quarter of three, but at least one.
    assert_eq!(tasks.join_all().await.into_iter().filter(|admitted| *admitted).count(), 1);
    assert_eq!(admitted(&limiter, "calls", "ann", 50).await, 24);
}

// Servers that are not in order.

/// Rows F5 and F30: the primary becomes a replica, and later is promoted again.
#[tokio::test]
async fn a_server_that_only_reads_is_an_outage_until_it_writes_again() {
    for on_outage in MODES {
        let (server, other) = (Server::start(), Server::start());
        let limiter = ten(server.url(), on_outage);
        assert_eq!(admitted(&limiter, "calls", "ann", 3).await, 3);
        server.run(&format!("REPLICAOF 127.0.0.1 {}", other.port()));
        assert_outage(&limiter, on_outage, "bob").await;
        server.run("REPLICAOF NO ONE");
        eventually_decided(&limiter, &server).await;
        assert_eq!(admitted(&limiter, "calls", "carl", 12).await, 10);
    }
}

/// Row F5: a replica that is promoted has what it was sent.
#[tokio::test]
async fn a_promoted_replica_goes_on_counting() {
    let primary = Server::start();
    let replica = replica_of(&primary);
    assert_eq!(admitted(&ten(primary.url(), OnOutage::Closed), "calls", "ann", 7).await, 7);
    let _: u32 = primary.query("WAIT 1 5000");
    primary.kill();
    replica.run("REPLICAOF NO ONE");
    let limiter = ten(replica.url(), OnOutage::Closed);
    assert_eq!(admitted(&limiter, "calls", "ann", 12).await, 3);
    replica.assert_all_expire_within(Duration::from_secs(3 * 3600));
}

/// Row F6, by a real server: nothing new fits in.
#[tokio::test]
async fn a_server_that_is_out_of_memory_is_an_outage_until_there_is_some() {
    for on_outage in MODES {
        let server = Server::with(&["--maxmemory-policy", "noeviction"]);
        let limiter = ten(server.url(), on_outage);
        assert_eq!(admitted(&limiter, "calls", "ann", 3).await, 3);
        server.run("CONFIG SET maxmemory 1");
        assert_outage(&limiter, on_outage, "bob").await;
        server.run("CONFIG SET maxmemory 0");
        eventually_decided(&limiter, &server).await;
        assert_eq!(admitted(&limiter, "calls", "carl", 12).await, 10);
    }
}

/// Row F12: who is evicted begins anew, and nobody else.
#[tokio::test]
async fn evicted_keys_begin_anew_and_no_others() {
    let server = Server::with(&["--maxmemory", "2mb", "--maxmemory-policy", "allkeys-lru"]);
    let patient = store(server.unix_url(), OnOutage::Closed).deadline(GUARD);
    let limiter = limiter(patient, [rule("calls", Policy::per_hour(20))]);
    // How much memory a key takes is up to the server and its allocator.
    for round in 0..300 {
        for number in 0..200 {
            // Some are new in each round.
            let key = if number < 20 { format!("regular {number}") } else { format!("guest {round} {number}") };
            let _ = limiter.rule("calls").unwrap().check_async(key.as_str()).await.unwrap();
        }
        if server.info("stats", "evicted_keys") > 100 {
            break;
        }
    }
    assert!(server.info("stats", "evicted_keys") > 100);
    for key in server.keys() {
        let millis: i64 = server.query_words([b"PTTL".as_slice(), &key]);
        assert!(millis != -1, "{}", String::from_utf8_lossy(&key));
    }
    let regular = ask(&limiter, "regular 0").await.unwrap();
    assert!(!regular.is_admitted() || remaining(&regular)[0] < 20);
}

/// Row F6, F28: somebody else has put something under our key. It fails those who need it, and is no outage.
#[tokio::test]
async fn foreign_values_under_our_keys_fail_these_keys_only() {
    let server = Server::start();
    let patient = store(server.url(), OnOutage::Closed).deadline(GUARD);
    let limiter = limiter(patient, [rule("calls", Policy::per_hour(10)), rule("large", Policy::per_hour(9000))]);
    for rule in ["calls", "large"] {
        server.run("FLUSHALL");
        assert_eq!(admitted(&limiter, rule, "ann", 3).await, 3);
        let keys = server.keys();
        let key = keys.first().unwrap();
        let values: [&[&[u8]]; 8] = [
            &[b"RPUSH", key, b"a", b"b"],
            &[b"ZADD", key, b"1", b"a"],
            &[b"SET", key, b"1.7e+18"],
            &[b"SET", key, b"nan"],
            &[b"SET", key, b"abc"],
            &[b"SET", key, b"9223372036854775807"],
            &[b"SET", key, &[0xff; 200]],
            &[b"SET", key, &[0; 50]],
        ];
        for value in values {
            server.query_words::<redis::Value>([b"DEL".as_slice(), key]);
            server.query_words::<redis::Value>(value);
            for _ in 0..5 {
                let answer = ask(&limiter, "nobody").await;
                assert!(answer.is_ok(), "others are decided: {answer:?}");
                let told = limiter.rule(rule).unwrap().check_async("ann").await;
                assert!(told.is_err(), "{told:?} of {:?}", String::from_utf8_lossy(value[2]));
            }
        }
        // A reset puts it in order.
        assert!(limiter.rule(rule).unwrap().reset_async("ann").await.unwrap());
        assert_eq!(admitted(&limiter, rule, "ann", 3).await, 3);
    }
}

/// A log of ours that was cut or changed at any byte: a decision or an error, and no more than that.
#[tokio::test]
async fn damaged_histories_are_an_error_or_counted_and_never_a_crash() {
    let server = Server::start();
    let patient = store(server.unix_url(), OnOutage::Closed).deadline(GUARD);
    let rules =
        [rule("calls", Policy::per_minute(30).and_per_hour(40)), rule("large", Policy::per_hour(50).resolution(16))];
    let limiter = limiter(patient, rules);
    for rule in ["calls", "large"] {
        server.run("FLUSHALL");
        assert_eq!(admitted(&limiter, rule, "ann", 25).await, 25);
        let key = server.keys().remove(0);
        let whole: Vec<u8> = server.query_words([b"GET".as_slice(), &key]);
        let mut damaged: Vec<Vec<u8>> = (0..whole.len()).step_by(3).map(|length| whole[..length].to_vec()).collect();
        for at in 0..whole.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= change;
                damaged.push(bytes);
            }
        }
        for bytes in damaged {
            let words: [&[u8]; 5] = [b"SET", &key, &bytes, b"PX", b"100000"];
            server.query_words::<redis::Value>(words);
            for _ in 0..2 {
                let _ = limiter.rule(rule).unwrap().check_async("ann").await;
            }
            assert!(limiter.rule(rule).unwrap().check_async("bob").await.is_ok(), "others go on");
        }
        assert!(server.is_running());
        server.assert_all_expire_within(Duration::from_secs(3 * 3600));
    }
}

/// Rows F6 and F33: what servers say when they cannot, and what no server says.
#[tokio::test]
async fn whatever_the_server_says_the_outcome_is_the_one_that_was_chosen() {
    let errors = [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "READONLY You can't write against a read only replica.",
        "LOADING Redis is loading the dataset in memory",
        "NOAUTH Authentication required.",
        "NOPERM this user has no permissions to run the 'evalsha' command",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "CROSSSLOT Keys in request don't hash to the same slot",
        "CLUSTERDOWN Hash slot not served",
        "MOVED 3999 127.0.0.1:1",
        "ASK 3999 127.0.0.1:1",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "NOREPLICAS Not enough good replicas to write.",
        "NOSCRIPT No matching script. Please use EVAL.",
        "ERR Error running script (call to f_0): @user_script:1: user_script:1: oops",
        "UNKILLABLE",
        "",
    ];
    let mut replies: Vec<Reply> = errors.into_iter().map(Reply::error).collect();
    let odd: [&[u8]; 24] = [
        b"$-1\r\n",
        b"+OK\r\n",
        b":1\r\n",
        b":9223372036854775807\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*1\r\n$-1\r\n",
        b"*2\r\n:1\r\n:2\r\n",
        b"$0\r\n\r\n",
        b"$5\r\nabcde\r\n",
        b"$100\r\n",
        b"$99999999999999999999\r\n",
        b"$-7\r\n",
        b"*1000000000\r\n",
        b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0\0\0\0\r\n",
        b"\r\n",
        b"?\r\n",
        b"_\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n-OOM no\r\n",
        b"%1\r\n+a\r\n:1\r\n",
        b"#t\r\n,nan\r\n",
    ];
    replies.extend(odd.into_iter().map(Reply::bytes));
    replies.extend([Reply::Last(Vec::new()), Reply::Last(b"$100\r\nabc".to_vec()), Reply::Last(b"-".to_vec())]);
    // A log in the right length, of nonsense.
    for length in [34, 44, 54, 300] {
        let mut bytes = format!("${length}\r\n").into_bytes();
        bytes.extend(std::iter::repeat_n(0xff, length));
        bytes.extend(b"\r\n");
        replies.push(Reply::Bytes(bytes));
    }
    let fake = Fake::saying(Reply::Nothing).await;
    for reply in replies {
        fake.say(reply.clone());
        for protocol in ["resp2", "resp3"] {
            let url = format!("{}/?protocol={protocol}", fake.url());
            let closed = ten(&url, OnOutage::Closed);
            for _ in 0..5 {
                assert_eq!(outcome(&ask(&closed, "ann").await), Outcome::Unavailable, "{reply:?} {protocol}");
                let looked = closed.rule("calls").unwrap().peek_async("ann").await;
                assert!(looked.is_err(), "{reply:?}: {looked:?}");
            }
            let open = ten(&url, OnOutage::Open);
            for _ in 0..5 {
                assert_eq!(outcome(&ask(&open, "ann").await), Outcome::Passed, "{reply:?} {protocol}");
            }
            let local = ten(&url, OnOutage::Local { share: 0.5 });
            assert_eq!(admitted(&local, "calls", "ann", 9).await, 5, "{reply:?} {protocol}");
        }
    }
}

/// What a failed reset says: not that it is done.
#[tokio::test]
async fn a_reset_that_fails_says_so() {
    let fake = Fake::saying(Reply::error("READONLY You can't write against a read only replica.")).await;
    for on_outage in MODES {
        let answer = ten(fake.url(), on_outage).rule("calls").unwrap().reset_async("ann").await;
        assert!(answer.is_err(), "{answer:?}");
    }
}

/// Bytes that this process has.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Row F6, F33: half a gigabyte is announced, and begins to arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_without_end_does_not_fill_the_memory() {
    let fake = Fake::saying(Reply::Endless).await;
    let limiter = ten(fake.url(), OnOutage::Closed);
    let before = resident();
    let (mut most, start) = (0, Instant::now());
    while start.elapsed() < 2 * SECOND {
        assert_eq!(outcome(&ask(&limiter, "ann").await), Outcome::Unavailable);
        most = most.max(resident().saturating_sub(before));
        tokio::time::sleep(5 * MILLI).await;
    }
    assert!(most < 150 << 20, "{} MiB", most >> 20);
}

/// Row F6: replies that end in the middle, everywhere, and the store is in order again.
#[tokio::test]
async fn half_a_reply_is_an_outage_and_the_next_connection_is_in_order() {
    let server = Server::start();
    let proxy = Proxy::to(&server).await;
    for most in [0, 1, 3, 10, 40] {
        // Another one each time: its breaker is closed.
        let limiter = limiter(store(proxy.url(), OnOutage::Closed), [rule("calls", Policy::per_hour(1000))]);
        let before = back_again(&limiter, "ann").await;
        proxy.let_through(Through::Cut(most));
        assert_eq!(outcome(&ask(&limiter, "ann").await), Outcome::Unavailable, "{most} bytes");
        proxy.let_through(Through::Whole);
        let after = back_again(&limiter, "ann").await;
        // It was charged, though nobody was told; and not twice.
        assert_eq!(remaining(&before)[0] - remaining(&after)[0], 2, "{most} bytes");
    }
}

/// Row F6 of one who was in order before.
#[tokio::test]
async fn junk_in_place_of_a_reply_is_an_outage_that_ends() {
    let server = Server::start();
    let proxy = Proxy::to(&server).await;
    let junk: [&[u8]; 4] = [b"!?\r\n", b"$3\r\nabcdefgh\r\n", b"*2\r\n$-1\r\n", b"\xff\xff\xff\xff"];
    for junk in junk {
        let limiter = ten(proxy.url(), OnOutage::Closed);
        let _ = back_again(&limiter, "ann").await;
        proxy.let_through(Through::Replaced(junk));
        for _ in 0..4 {
            assert_eq!(outcome(&ask(&limiter, "ann").await), Outcome::Unavailable);
        }
        proxy.let_through(Through::Whole);
        let _ = back_again(&limiter, "ann").await;
        limiter.rule("calls").unwrap().reset_async("ann").await.unwrap();
    }
}

/// Row F6: the breaker is for servers that are not well, and not for one key that is not.
#[tokio::test]
async fn an_error_about_one_key_does_not_stop_the_decisions_about_others() {
    let server = Server::start();
    let limiter = ten(server.url(), OnOutage::Closed);
    let _ = ask(&limiter, "ann").await.unwrap();
    let key = server.keys().remove(0);
    server.query_words::<redis::Value>([b"DEL".as_slice(), &key]);
    server.query_words::<redis::Value>([b"RPUSH".as_slice(), &key, b"x"]);
    for _ in 0..10 {
        assert_eq!(outcome(&ask(&limiter, "ann").await), Outcome::Unavailable);
    }
    assert_eq!(admitted(&limiter, "calls", "bob", 12).await, 10);
}

// Through servers of HTTP and of gRPC.

fn by_account(url: String, on_outage: OnOutage) -> Limiter {
    let calls = Rule::new("calls").every_request().key(key::header("x-account")).level("account");
    limiter(store(url, on_outage), [calls.policy(Policy::per_hour(10))])
}

/// P7, through axum: status, type and whether the handler was reached.
#[tokio::test]
async fn axum_serves_or_refuses_with_503_during_an_outage_as_chosen() {
    for on_outage in MODES {
        let server = Server::start();
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let handler = async move || {
            counter.fetch_add(1, Ordering::SeqCst);
            "hello"
        };
        let app = Router::new().route("/", get(handler)).layer(by_account(server.url(), on_outage).layer());
        let request = async || {
            let request = Request::get("/").header("x-account", "acme").body(axum::body::Body::empty()).unwrap();
            app.clone().oneshot(request).await.unwrap()
        };
        let before = request().await;
        assert_eq!((before.status(), calls.load(Ordering::SeqCst)), (StatusCode::OK, 1));
        assert!(before.headers()["ratelimit"].to_str().unwrap().starts_with(r#""hour";r=9"#));

        server.kill();
        for _ in 0..6 {
            let start = Instant::now();
            let during = request().await;
            assert!(start.elapsed() < SECOND);
            match on_outage {
                OnOutage::Open => {
                    assert_eq!(during.status(), StatusCode::OK);
                    assert!(!during.headers().contains_key("ratelimit"), "nothing is known: {during:?}");
                }
                OnOutage::Closed => {
                    assert_eq!(during.status(), StatusCode::SERVICE_UNAVAILABLE);
                    assert_eq!(during.headers()["content-type"], "application/problem+json");
                    assert!(during.headers().contains_key("retry-after"));
                    let body = during.into_body().collect().await.unwrap().to_bytes();
                    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
                    let kind = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
                    assert_eq!(body["type"], kind);
                    assert!(!body.to_string().contains("127.0.0.1"), "the server's address is nobody's business");
                }
                _ => assert!(during.headers().contains_key("ratelimit") || during.status() == 429, "{during:?}"),
            }
        }
        // Local: one before, so four more of the share of five.
        let reached = calls.load(Ordering::SeqCst) - 1;
        assert_eq!(reached, [6, 0, 4][MODES.iter().position(|mode| *mode == on_outage).unwrap()]);

        server.restart();
        let start = Instant::now();
        while request().await.headers().get("ratelimit").is_none_or(|field| !field.to_str().unwrap().contains("r=9")) {
            assert!(start.elapsed() < 6 * SECOND, "the store does not come back");
            tokio::time::sleep(10 * MILLI).await;
        }
    }
}

/// P7, through tonic.
#[tokio::test]
async fn tonic_serves_or_refuses_as_unavailable_during_an_outage_as_chosen() {
    for on_outage in MODES {
        let server = Server::start();
        let limiter = by_account(server.url(), on_outage);
        let (echo, (address, incoming)) = (echo::Echo::default(), echo::listen());
        let serving = tonic::transport::Server::builder().layer(limiter.layer()).add_service(echo.clone());
        let serving = tokio::spawn(serving.serve_with_incoming(incoming));
        let client = echo::Client::connect(address).await.with("x-account", "acme");
        assert_eq!(client.code().await, Code::Ok);
        server.kill();
        let mut codes = Vec::new();
        for _ in 0..6 {
            let start = Instant::now();
            codes.push(client.code().await);
            assert!(start.elapsed() < SECOND);
        }
        let (ok, refused) = (Code::Ok, Code::ResourceExhausted);
        match on_outage {
            OnOutage::Open => assert_eq!(codes, [ok; 6]),
            OnOutage::Closed => assert_eq!(codes, [Code::Unavailable; 6]),
            _ => assert_eq!(codes, [ok, ok, ok, ok, refused, refused]),
        }
        assert_eq!(echo.calls(), 1 + codes.iter().filter(|code| **code == ok).count());
        server.restart();
        eventually_decided(&limiter, &server).await;
        assert_eq!(client.code().await, Code::Ok);
        serving.abort();
    }
}
