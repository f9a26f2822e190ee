//! The Redis store on real servers: one limit for any number of processes, whatever they think the time is.
//!
//! Rows are those of the table of failures that the store is to survive; outages are in `redis_outage.rs`.
#![allow(clippy::disallowed_methods, reason = "here the time is that of real servers")]

use std::{
    env,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use futures_util::{future::join_all, poll};
use tokio::task::JoinSet;
use tower_quota::{
    Policy, Quota, RateLimiter,
    clock::ManualClock,
    conformance::Suite,
    store::{OnOutage, RedisStore},
};
use tower_quota_tests::redis::{
    Limiter, Proxy, Server, Through, admitted, eventually, limiter, remaining, rule, store,
};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// All promises, against the obvious model, on a time that hours pass on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_keeps_every_promise() {
    let server = Server::start();
    let mut number = 0;
    let fresh = |clock| {
        number += 1;
        store(server.unix_url()).prefix(format!("suite-{number}")).virtual_time(clock)
    };
    // The time of Redis is in microseconds.
    Suite::new(fresh).tick(Duration::from_micros(1)).run().await.unwrap_or_else(|breach| panic!("{breach}"));
}

// P1: any number of processes.

/// Row L4. Started as one of the eight, this very test is the process that asks.
#[test]
fn eight_processes_on_one_key_admit_exactly_n() {
    const NAME: &str = "store::eight_processes_on_one_key_admit_exactly_n";
    const URL: &str = "TOWER_QUOTA_TEST_URL";
    let rules = || [rule("calls", Policy::per_hour(1000)), rule("wide", Policy::per_hour(100_000))];
    if let Ok(url) = env::var(URL) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let admitted = runtime.block_on(async {
            let (limiter, mut tasks) = (limiter(store(url), rules()), JoinSet::new());
            for _ in 0..8 {
                let limiter = limiter.clone();
                tasks.spawn(async move {
                    let mut admitted = 0;
                    for _ in 0..40 {
                        let both = limiter.check_all_async([("calls", "ann"), ("wide", "ann")]).await;
                        admitted += u32::from(both.unwrap().is_admitted());
                    }
                    admitted
                });
            }
            tasks.join_all().await.into_iter().sum::<u32>()
        });
        println!("\nadmitted {admitted}");
        return;
    }
    let server = Server::start();
    let process = |_| {
        let mut process = Command::new(env::current_exe().unwrap());
        process.args(["--exact", NAME, "--nocapture"]).env(URL, server.url()).stdout(Stdio::piped());
        process.spawn().unwrap()
    };
    let processes: Vec<_> = (0..8).map(process).collect();
    let admitted = processes.into_iter().map(|process| {
        let output = process.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        text.lines().find_map(|line| line.strip_prefix("admitted ")).unwrap().parse::<u32>().unwrap()
    });
    let admitted: Vec<u32> = admitted.collect();
    assert_eq!(admitted.iter().sum::<u32>(), 1000, "{admitted:?}");
    // P3: what was refused for want of the one rule was not charged to the other.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let wide = runtime.block_on(limiter(store(server.url()), rules()).rule("wide").unwrap().peek_async("ann")).unwrap();
    assert_eq!(remaining(&wide), [99_000]);
}

/// Rows T5 and F15: the time is the server's.
#[tokio::test]
async fn clients_whose_clocks_are_ten_seconds_apart_admit_exactly_n() {
    let server = Server::start();
    let of_time = |seconds| {
        let clock = ManualClock::new();
        clock.set(Duration::from_secs(seconds));
        let builder = RateLimiter::builder().clock(clock).store(store(server.url()));
        builder.rule(rule("calls", Policy::per_minute(100))).build().unwrap()
    };
    let clients: [Limiter; 3] = [of_time(1_000_000), of_time(1_000_010), of_time(0)];
    let mut total = 0;
    for client in clients.iter().cycle().take(300) {
        total += admitted(client, "calls", "ann", 1).await;
    }
    assert_eq!(total, 100);
    // P4: each tells the same wait, whatever its own clock says.
    for client in &clients {
        let wait = client.rule("calls").unwrap().check_async("ann").await.unwrap().retry_after().unwrap();
        assert!(wait > Duration::ZERO && wait <= MINUTE + MILLI, "{wait:?}");
    }
}

/// P1 on the server's own time, by the times around each admission.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_more_than_n_in_any_window() {
    const WINDOW: Duration = Duration::from_millis(60);
    const LIMIT: usize = 25;
    let server = Server::start();
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let client = limiter(store(server.unix_url()), [rule("calls", Quota::new(LIMIT as u64, WINDOW))]);
        tasks.spawn(async move {
            let mut times = Vec::new();
            while start.elapsed() < WINDOW * 15 {
                let before = start.elapsed();
                if client.rule("calls").unwrap().check_async("ann").await.unwrap().is_admitted() {
                    times.push((before, start.elapsed()));
                }
            }
            times
        });
    }
    let mut times: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    times.sort();
    for (at, (first, _)) in times.iter().enumerate() {
        let in_window = times[at..].iter().filter(|(_, after)| *after < *first + WINDOW).count();
        assert!(in_window <= LIMIT, "{in_window} of {LIMIT} within one window");
    }
    // P2: and they were not refused for nothing.
    assert!(times.len() > LIMIT * 5, "{} admitted in 15 windows", times.len());
}

/// Row T6: a server whose clock is set back by a minute. Nothing is given away, and nobody waits for ever.
#[tokio::test]
async fn a_server_clock_that_is_set_back_denies_for_a_while_and_not_for_ever() {
    let (server, clock) = (Server::start(), ManualClock::new());
    let limiter = limiter(store(server.url()).virtual_time(clock.clone()), [rule("calls", Policy::per_minute(5))]);
    clock.set(HOUR);
    assert_eq!(admitted(&limiter, "calls", "ann", 7).await, 5);
    clock.set(HOUR - MINUTE);
    let denied = limiter.rule("calls").unwrap().check_async("ann").await.unwrap();
    assert!(!denied.is_admitted());
    assert!(denied.retry_after().unwrap() <= MINUTE * 2, "{denied:?}");
    clock.advance(denied.retry_after().unwrap());
    assert_eq!(admitted(&limiter, "calls", "ann", 7).await, 5);
}

// P3: all or nothing.

/// Rows F20 and L3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_under_two_rules_lose_no_unit_of_either() {
    let server = Server::start();
    let rules =
        || [rule("a", Policy::per_hour(10)), rule("b", Policy::per_hour(1)), rule("big", Policy::per_hour(9000))];
    let mut tasks = JoinSet::new();
    for number in 0..16 {
        let client = limiter(store(server.url()), rules());
        tasks.spawn(async move {
            let order = if number % 2 == 0 { ["a", "big", "b"] } else { ["b", "a", "big"] };
            let mut admitted = 0;
            for _ in 0..20 {
                let all = client.check_all_async(order.map(|rule| (rule, "ann"))).await.unwrap();
                admitted += usize::from(all.is_admitted());
            }
            admitted
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().sum::<usize>(), 1);
    let client = limiter(store(server.url()), rules());
    let mut left = Vec::new();
    for rule in ["a", "b", "big"] {
        left.extend(remaining(&client.rule(rule).unwrap().peek_async("ann").await.unwrap()));
    }
    assert_eq!(left, [9, 0, 8999]);
}

// P4, P5 on the server's time.

#[tokio::test]
async fn a_caller_that_waits_exactly_as_long_as_told_is_admitted() {
    let server = Server::start();
    let policy = Policy::new(Quota::new(2, 80 * MILLI)).and(Quota::new(3, 150 * MILLI));
    let limiter = limiter(store(server.url()), [rule("calls", policy)]);
    let mut denials = 0;
    for _ in 0..12 {
        let decision = limiter.rule("calls").unwrap().check_async("ann").await.unwrap();
        if let Some(wait) = decision.retry_after() {
            denials += 1;
            tokio::time::sleep(wait).await;
            assert_eq!(admitted(&limiter, "calls", "ann", 1).await, 1, "after {wait:?}");
        }
    }
    assert!(denials > 2);
}

// The script, and what it leaves on the server.

/// Row F26: what has no second command cannot stop between two.
#[tokio::test]
async fn a_decision_is_one_command_whatever_it_charges() {
    let server = Server::start();
    let policy = || Policy::per_minute(60).and_per_hour(1800).and_per_day(20_000);
    let limiter = limiter(store(server.url()), [rule("a", policy()), rule("b", policy())]);
    let _ = limiter.check_all_async([("a", "ann"), ("b", "ann")]).await.unwrap();
    server.run("CONFIG RESETSTAT");
    for _ in 0..50 {
        let _ = limiter.check_all_async([("a", "ann"), ("b", "ann")]).await.unwrap();
    }
    assert_eq!(server.calls_of("evalsha"), 50);
    assert_eq!(server.calls_of("eval") + server.calls_of("script|load"), 0);
    server.assert_all_expire_within(25 * HOUR * 2);
    for key in server.keys() {
        assert!(String::from_utf8(key).unwrap().starts_with("quota:"));
    }
}

/// Rows F4 and F29.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_may_be_flushed_all_the_time() {
    let server = Server::start();
    let limiter = limiter(store(server.url()), [rule("calls", Policy::per_hour(700))]);
    let is_done = AtomicBool::new(false);
    let (flushes, total) = thread::scope(|scope| {
        let flushing = scope.spawn(|| {
            let (mut connection, mut flushes) = (server.connection(), 0);
            while !is_done.load(Ordering::Relaxed) {
                redis::cmd("SCRIPT").arg("FLUSH").exec(&mut connection).unwrap();
                flushes += 1;
                thread::sleep(Duration::from_millis(10));
            }
            flushes
        });
        let total = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                // For as long as it takes to be flushed many times.
                let (start, mut total) = (Instant::now(), 0);
                while start.elapsed() < 300 * MILLI || total < 900 {
                    total += 1;
                    let _ = limiter.rule("calls").unwrap().check_async("ann").await.unwrap();
                }
                total
            })
        });
        is_done.store(true, Ordering::Relaxed);
        (flushing.join().unwrap(), total)
    });
    assert!(flushes > 5, "{flushes} flushes");
    let (by_name, in_full) = (server.calls_of("evalsha"), server.calls_of("eval"));
    assert_eq!(by_name, total, "each decision is asked for once by the script's name,");
    assert!((1..=flushes + 1).contains(&in_full), "and in full only where that is gone: {in_full} of {flushes}");
    assert_eq!(remaining(&limiter.rule("calls").unwrap().peek_async("ann").await.unwrap()), [0]);
}

/// Rows T12 and F27.
#[tokio::test]
async fn every_key_expires_and_the_server_is_empty_in_the_end() {
    let server = Server::start();
    let shortest = Policy::new(Quota::new(3, MILLI));
    let short = Policy::new(Quota::new(3, 50 * MILLI)).and(Quota::new(30, 100 * MILLI)).resolution(16);
    let limiter = limiter(store(server.url()), [rule("shortest", shortest), rule("short", short.count_denied())]);
    for number in 0..100 {
        for rule in ["shortest", "short"] {
            admitted(&limiter, rule, &format!("key {}", number % 20), 2).await;
        }
    }
    assert!(server.query::<usize>("DBSIZE") > 20);
    server.assert_all_expire_within(5 * SECOND);
    eventually("nothing is left", || (server.query::<usize>("DBSIZE") == 0).then_some(()));
}

/// Row F27: a hundred years are not too long to expire.
#[tokio::test]
async fn the_longest_windows_and_largest_limits_are_kept_too() {
    let server = Server::start();
    let century = Duration::from_secs(100 * 365 * 86_400);
    let huge = Policy::new(Quota::new(Quota::MAX_LIMIT, century)).and(Quota::new(3, century).named("few"));
    let limiter =
        limiter(store(server.url()), [rule("huge", huge), rule("large", Quota::new(Quota::MAX_LIMIT, SECOND))]);
    assert_eq!(admitted(&limiter, "huge", "ann", 5).await, 3);
    assert_eq!(remaining(&limiter.rule("huge").unwrap().peek_async("ann").await.unwrap()), [Quota::MAX_LIMIT - 3, 0]);
    assert_eq!(admitted(&limiter, "large", "ann", 50).await, 50);
    server.assert_all_expire_within(century * 3);
}

#[tokio::test]
async fn a_limit_beyond_32_bits_is_counted_unit_by_unit() {
    const LIMIT: u64 = 1 << 40;
    let server = Server::start();
    let bytes = Policy::per_minute(LIMIT).and_per_hour(u64::from(u32::MAX) + 1);
    let limiter = limiter(store(server.url()), [rule("bytes", bytes)]);
    for used in 1..=50 {
        let decision = limiter.rule("bytes").unwrap().check_async("ann").await.unwrap();
        assert_eq!(remaining(&decision), [LIMIT - used, (1 << 32) - used]);
    }
}

#[tokio::test]
async fn a_reset_forgets_one_rule_of_one_key_and_leaves_nothing_behind() {
    let server = Server::start();
    let large = Policy::per_minute(1).and_per_hour(5000).and_per_day(50_000);
    let limiter = limiter(store(server.url()), [rule("a", large), rule("b", Policy::per_minute(1))]);
    let _ = limiter.check_all_async([("a", "ann"), ("b", "ann")]).await.unwrap();
    assert!(limiter.rule("a").unwrap().reset_async("ann").await.unwrap());
    assert!(!limiter.rule("a").unwrap().reset_async("ann").await.unwrap());
    assert_eq!(server.query::<usize>("DBSIZE"), 1);
    assert_eq!(admitted(&limiter, "a", "ann", 3).await, 1);
    assert_eq!(admitted(&limiter, "b", "ann", 3).await, 0);
}

/// Bytes of a key with so many units.
async fn bytes_with(server: &Server, policy: Policy, units: usize) -> usize {
    server.run("FLUSHALL");
    let limiter = limiter(store(server.unix_url()), [rule("calls", policy)]);
    assert_eq!(admitted(&limiter, "calls", "somebody", units).await, units);
    let bytes = |key: Vec<u8>| server.query_words::<usize>([b"MEMORY".as_slice(), b"USAGE", &key]);
    server.keys().into_iter().map(bytes).sum()
}

/// Item 1 of the issue: a compact log, not a sorted set of 100 bytes per unit.
#[tokio::test]
async fn a_unit_takes_a_few_bytes_on_the_server() {
    let server = Server::start();
    let policy = || Policy::per_minute(1800).and_per_hour(1800);
    assert!(bytes_with(&server, policy(), 1).await < 300);
    assert!(bytes_with(&server, policy(), 1800).await < 1800 * 12);
}

/// What `MEMORY USAGE` says of one key, as the operator's page has it.
#[tokio::test]
async fn a_string_takes_as_much_memory_as_is_documented() {
    let (server, clock) = (Server::start(), ManualClock::new());
    let rules = [
        rule("calls", Policy::per_minute(60).and_per_hour(1800)),
        rule("large", Policy::per_minute(600).and_per_hour(18_000)),
    ];
    let limiter = limiter(store(server.unix_url()).virtual_time(clock.clone()).max_batch(255), rules);
    let usage = || {
        let usage = |name: Vec<u8>| server.query_words::<usize>([b"MEMORY".as_slice(), b"USAGE", &name]);
        let mut names = server.keys();
        names.sort();
        <[usize; 3]>::try_from(names.into_iter().map(usage).collect::<Vec<_>>()).unwrap()
    };
    assert_eq!(admitted(&limiter, "calls", "acme", 1).await, 1);
    assert_eq!(admitted(&limiter, "large", "acme", 1).await, 1);
    let [small, plain, cells] = usage();
    let is_small = [small, plain, cells].iter().all(|bytes| (130..260).contains(bytes));
    assert!(is_small, "of one unit: {small}, {plain}, {cells}");
    for minute in 0..30 {
        let (calls, large) = (limiter.rule("calls").unwrap(), limiter.rule("large").unwrap());
        let asked = (0..60).map(|_| calls.check_async("acme"));
        assert!(join_all(asked).await.into_iter().all(|decision| decision.is_ok()));
        let asked = (0..600).map(|_| large.check_async("acme"));
        assert!(join_all(asked).await.into_iter().all(|decision| decision.is_ok()));
        if minute == 0 {
            assert!((500..800).contains(&usage()[0]), "of 60 units: {:?}", usage());
        }
        clock.advance(MINUTE);
    }
    let [small, plain, cells] = usage();
    assert!((7_500..9_000).contains(&small), "of 1800 units: {small}");
    assert!((2_400..4_000).contains(&plain) && cells < 1_000, "of 600 units, and of 30 cells: {plain}, {cells}");
}

/// What an operator sees of many keys: with what the server adds for each, of which some comes in powers of two.
#[tokio::test]
async fn a_key_takes_so_much_of_the_memory_of_the_server() {
    const KEYS: usize = 20_000;
    let server = Server::start();
    let limiter = limiter(store(server.unix_url()), [rule("calls", Policy::per_minute(60).and_per_hour(1800))]);
    assert_eq!(admitted(&limiter, "calls", "first", 1).await, 1);
    let before = server.info("memory", "used_memory");
    for round in 0..KEYS / 1000 {
        let asked = (0..1000).map(async |number| {
            limiter.rule("calls").unwrap().check_async(format!("{:08}", round * 1000 + number)).await
        });
        assert!(join_all(asked).await.into_iter().all(|decision| decision.unwrap().is_admitted()));
    }
    let bytes = (server.info("memory", "used_memory") - before) as usize / KEYS;
    assert!((150..260).contains(&bytes), "{bytes} bytes a key");
}

/// Row A8, F09.
#[tokio::test]
async fn identities_are_told_apart_whatever_is_in_them() {
    let server = Server::start();
    let limiter = limiter(store(server.url()), [rule("a", Policy::per_hour(1)), rule("b", Policy::per_hour(1))]);
    let long = "x".repeat(300);
    let keys = ["", "a", "}{", "{}", "{a", "a}", "{a}", "|", ":", "a:b", "\0", "a\0", "\r\n", "*", "~", "é", &long];
    for key in keys {
        let both = [("a", key), ("b", key)];
        assert!(limiter.check_all_async(both).await.unwrap().is_admitted(), "{key:?}");
        assert!(!limiter.check_all_async(both).await.unwrap().is_admitted(), "{key:?}");
    }
    for parts in [("a", "b"), ("ab", ""), ("", "ab")] {
        assert!(limiter.rule("a").unwrap().check_async(parts).await.unwrap().is_admitted(), "{parts:?}");
    }
    let any = &b"\xff\xfe"[..];
    assert!(limiter.rule("a").unwrap().check_async(any).await.unwrap().is_admitted());
    assert_eq!(server.query::<usize>("DBSIZE"), keys.len() * 2 + 4);
    for key in server.keys() {
        let (open, close) = (key.iter().filter(|b| **b == b'{').count(), key.iter().filter(|b| **b == b'}').count());
        assert_eq!((open, close), (1, 1), "{}", String::from_utf8_lossy(&key));
    }
}

/// Quotas of one process, as limits and windows.
type Quotas = Vec<(u64, Duration)>;

fn policy_of(quotas: &Quotas) -> Policy {
    let named = |(at, (limit, window)): (usize, &(u64, Duration))| Quota::new(*limit, *window).named(format!("q{at}"));
    quotas.iter().enumerate().map(named).collect()
}

/// A process that has never heard of the hour, one that has, and others of any quotas of which one lasts a minute at least.
fn processes(random: &mut fastrand::Rng, count: usize) -> Vec<Quotas> {
    let mut any = || {
        let shorter = (random.u64(1..9), SECOND * random.u32(1..50));
        let longer = (random.u64(5..60), MINUTE * [1, 2, 10, 60, 90, 300][random.usize(..6)]);
        if random.bool() { vec![shorter, longer] } else { vec![longer] }
    };
    let others: Vec<Quotas> = (2..count).map(|_| any()).collect();
    [vec![vec![(12, MINUTE)], vec![(12, MINUTE), (200, HOUR)]], others].concat()
}

/// Whether there is room for one more after these, the last of them first.
fn has_room(recorded: &[Duration], quotas: &Quotas, now: Duration) -> bool {
    let used = |window: Duration| recorded.iter().rev().take_while(|at| **at + window > now).count();
    quotas.iter().all(|(limit, window)| used(*window) < *limit as usize)
}

/// P12: each process lets through what its own policy has room for after all that anybody recorded, no more and no less.
#[tokio::test]
async fn processes_with_other_policies_neither_refill_nor_empty_a_key_for_a_thousand_minutes() {
    const KEYS: [&str; 2] = ["ann", "bob"];
    for count in [2, 4] {
        let mut random = fastrand::Rng::with_seed(count as u64);
        let (server, clock) = (Server::start(), ManualClock::new());
        let on_server = |quotas: &Quotas| {
            let store = store(server.unix_url()).virtual_time(clock.clone());
            limiter(store, [rule("calls", policy_of(quotas))])
        };
        let quotas = processes(&mut random, count);
        let limiters: Vec<Limiter> = quotas.iter().map(on_server).collect();
        let (mut recorded, mut now, mut over) = ([Vec::new(), Vec::new()], Duration::ZERO, 0);
        while now < MINUTE * 1000 {
            for (limiter, quotas) in limiters.iter().zip(&quotas) {
                let keys = KEYS.repeat(random.usize(1..=2));
                let calls = limiter.rule("calls").unwrap();
                let asked = join_all(keys.iter().map(|key| calls.check_async(*key))).await;
                for (at, decision) in asked.into_iter().enumerate() {
                    let recorded = &mut recorded[at % KEYS.len()];
                    let expected = has_room(recorded, quotas, now);
                    let decision = decision.unwrap();
                    assert_eq!(decision.is_admitted(), expected, "{count} processes, {quotas:?} at {now:?}");
                    recorded.extend(expected.then_some(now));
                }
            }
            over += usize::from(!has_room(&recorded[0], &vec![(201, HOUR)], now));
            // Nobody is away for as long as its longest window.
            let pause = MILLI * random.u32(1..60_000);
            now += pause;
            clock.advance(pause);
        }
        assert!(over > 100, "the process without the hour has used more than that of all others");
    }
}

/// Row T9.
#[tokio::test]
async fn a_limit_may_change_at_run_time() {
    let server = Server::start();
    let of = |limit| limiter(store(server.url()), [rule("calls", Policy::per_hour(limit))]);
    let (wide, narrow) = (of(100), of(10));
    assert_eq!(admitted(&wide, "calls", "ann", 50).await, 50);
    // Not below zero, and nothing back at once.
    let denied = narrow.rule("calls").unwrap().check_async("ann").await.unwrap();
    assert_eq!((denied.is_admitted(), remaining(&denied)), (false, vec![0]));
    assert!(denied.retry_after().unwrap() <= HOUR + MILLI);
    // Up again: what was used before still counts.
    let left = remaining(&wide.rule("calls").unwrap().peek_async("ann").await.unwrap())[0];
    assert!(left <= 50, "{left} left after 50 of 100");
    assert_eq!(admitted(&wide, "calls", "ann", 200).await, left as usize);
    assert_eq!(admitted(&narrow, "calls", "ann", 5).await, 0);
    assert_eq!(admitted(&narrow, "calls", "bob", 20).await, 10);
    assert_eq!(admitted(&wide, "calls", "bob", 200).await, 90);
}

/// Row T9 with other windows, and quotas that come and go.
#[tokio::test]
async fn a_policy_may_change_at_run_time() {
    let server = Server::start();
    let policies = [
        Policy::per_hour(20),
        Policy::per_minute(30).and_per_hour(20),
        Policy::per_day(20),
        Policy::per_hour(5000),
        Policy::per_hour(20).count_denied(),
        Policy::new(Quota::new(20, 30 * 24 * HOUR)),
        Policy::per_hour(20).resolution(16),
    ];
    for (from, first) in policies.iter().enumerate() {
        for (to, second) in policies.iter().enumerate() {
            let key = format!("{from} {to}");
            let of = |policy: &Policy| limiter(store(server.url()), [rule("calls", policy.clone())]);
            let units = 10;
            assert_eq!(admitted(&of(first), "calls", &key, units).await, units);
            let left = remaining(&of(second).rule("calls").unwrap().peek_async(key.as_str()).await.unwrap());
            let expected: Vec<_> = second.quotas().map(|quota| quota.limit() - units as u64).collect();
            assert_eq!(left, expected, "{first} to {second}");
            let smallest = |policy: &Policy| policy.quotas().map(Quota::limit).min().unwrap() as usize;
            let more = admitted(&of(second), "calls", &key, 40).await;
            assert_eq!(more, 40.min(smallest(second) - units), "{first} to {second}");
            let recorded = units + if second.counts_denied() { 40 } else { more };
            let again = admitted(&of(first), "calls", &key, 40).await;
            assert_eq!(again, 40.min(smallest(first).saturating_sub(recorded)), "{first} to {second} and back");
        }
    }
    server.assert_all_expire_within(70 * 24 * HOUR);
}

#[tokio::test]
async fn prefixes_keep_limits_apart_and_rules_of_one_name_share() {
    let server = Server::start();
    let of = |prefix: &str, name: &str| limiter(store(server.url()).prefix(prefix), [rule(name, Policy::per_hour(3))]);
    assert_eq!(admitted(&of("shop", "calls"), "calls", "ann", 5).await, 3);
    assert_eq!(admitted(&of("shop", "calls"), "calls", "ann", 5).await, 0);
    assert_eq!(admitted(&of("desk", "calls"), "calls", "ann", 5).await, 3);
    assert_eq!(admitted(&of("shop", "other"), "other", "ann", 5).await, 3);
}

// Connections.

#[tokio::test]
async fn a_server_is_reached_by_its_socket_with_either_protocol_and_in_a_database() {
    let server = Server::start();
    let (tcp, unix) = (server.url(), server.unix_url());
    let urls = [
        tcp.clone(),
        format!("{tcp}/?protocol=resp3"),
        format!("{tcp}/?protocol=resp2"),
        unix.clone(),
        format!("{unix}?protocol=resp3"),
    ];
    for url in &urls {
        let limiter = limiter(store(url), [rule("calls", Policy::per_hour(10))]);
        limiter.store().ping().await.unwrap();
        assert_eq!(admitted(&limiter, "calls", "ann", 2).await, 2, "{url}");
    }
    let elsewhere = limiter(store(format!("{tcp}/3")), [rule("calls", Policy::per_hour(10))]);
    assert_eq!(admitted(&elsewhere, "calls", "ann", 20).await, 10);
    assert_eq!(server.query::<usize>("DBSIZE"), 1);
    let keyspace: String = server.query("INFO keyspace");
    assert!(keyspace.contains("db0:keys=1,expires=1") && keyspace.contains("db3:keys=1,expires=1"), "{keyspace}");
}

#[tokio::test]
async fn a_password_and_a_user_with_few_rights_are_enough() {
    let server = Server::with(&["--requirepass", "se/cr@et"]);
    let rights = "on >word ~quota:* resetchannels -@all +@scripting +@string +@keyspace +@connection +time";
    server.run(&format!("ACL SETUSER limiter {rights}"));
    let address = server.address();
    for who in [":se%2Fcr%40et", "limiter:word"] {
        for end in ["", "/?protocol=resp3"] {
            let limiter =
                limiter(store(format!("redis://{who}@{address}{end}")), [rule(who_rule(who), Policy::per_hour(5))]);
            limiter.store().ping().await.unwrap();
            assert_eq!(admitted(&limiter, who_rule(who), "ann", 2).await, 2, "{who}{end}");
            assert!(limiter.rule(who_rule(who)).unwrap().reset_async("ann").await.unwrap());
        }
    }
}

const fn who_rule(who: &str) -> &'static str {
    if who.len() == 12 { "user" } else { "password" }
}

#[tokio::test]
async fn a_wrong_password_is_told_to_the_operator_and_the_password_is_not() {
    let server = Server::with(&["--requirepass", "secret"]);
    for url in [format!("redis://:wrong-4711@{}", server.address()), server.url()] {
        let limiter = limiter(store(url), [rule("calls", Policy::per_hour(5))]);
        let error = limiter.store().ping().await.unwrap_err();
        let told = error.to_string().to_lowercase();
        assert!(["auth", "password"].iter().any(|word| told.contains(word)), "{error}");
        let error = limiter.rule("calls").unwrap().check_async("ann").await.unwrap_err();
        assert!(!format!("{error} {error:?} {limiter:?} {:?}", limiter.store()).contains("4711"), "{error}");
    }
}

/// A mistake is found when the limiter is built, with the field and the value, and without the password.
#[test]
fn mistakes_are_found_before_the_first_request() {
    let refusal = |store: RedisStore| {
        let builder = RateLimiter::builder().store(store).rule(rule("calls", Policy::per_hour(5)));
        builder.build().map(drop).unwrap_err()
    };
    let at = |url: &str| RedisStore::new(url, OnOutage::Closed);
    for url in ["", "127.0.0.1:6379", "http://127.0.0.1", "redis://:4711@127.0.0.1:notaport", "redis://127.0.0.1/x"] {
        let error = refusal(at(url));
        assert!(error.field().contains("url"), "{url}: {error}");
        assert!(!format!("{error:?}").contains("4711"), "{error}");
    }
    for share in [0.0, -1.0, 1.5, f64::NAN, f64::INFINITY] {
        let error = refusal(RedisStore::new("redis://127.0.0.1", OnOutage::Local { share }));
        assert!(error.field().contains("share"), "{error}");
        assert_eq!(error.value(), share.to_string());
    }
    let error = refusal(at("redis://127.0.0.1").deadline(Duration::ZERO));
    assert_eq!(error.field(), "deadline");
    assert!(!refusal(RedisStore::cluster(Vec::<String>::new(), OnOutage::Open)).to_string().is_empty());
    assert!(!refusal(RedisStore::sentinel(Vec::<String>::new(), "mymaster", OnOutage::Open)).to_string().is_empty());
}

/// Item 5 of the issue: one connection, whatever goes on at the same time; and it is gone with the limiter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_share_one_connection_which_ends_with_the_limiter() {
    let server = Server::start();
    let before = server.info("clients", "connected_clients");
    let limiter = limiter(store(server.url()), [rule("calls", Policy::per_hour(1_000_000))]);
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let limiter = limiter.clone();
        tasks.spawn(async move { admitted(&limiter, "calls", "ann", 20).await });
    }
    assert_eq!(tasks.join_all().await.into_iter().sum::<usize>(), 64 * 20);
    assert_eq!(server.info("clients", "connected_clients"), before + 1);
    drop(limiter);
    let is_gone = || (server.info("clients", "connected_clients") == before).then_some(());
    tokio::task::block_in_place(|| eventually("the connection is closed", is_gone));
    let metrics = tokio::runtime::Handle::current().metrics();
    tokio::task::block_in_place(|| eventually("no task is left", || (metrics.num_alive_tasks() == 0).then_some(())));
}

/// Rows F8 and F25: what is dropped is not charged in the end, and nothing else happens.
#[tokio::test]
async fn a_decision_that_is_dropped_at_any_point_disturbs_no_other() {
    let server = Server::start();
    let limiter =
        limiter(store(server.url()), [rule("calls", Policy::per_hour(1000)), rule("none", Policy::per_hour(1))]);
    assert_eq!(admitted(&limiter, "none", "ann", 1).await, 1);
    let mut dropped = 0;
    for polls in 0..60 {
        let handle = limiter.rule("calls").unwrap();
        let mut asked = Box::pin(handle.check_async("ann"));
        let mut is_pending = true;
        for _ in 0..polls % 6 {
            is_pending = is_pending && poll!(asked.as_mut()).is_pending();
            tokio::task::yield_now().await;
        }
        dropped += u64::from(is_pending);
        drop(asked);
        // Replies that come late are for nobody: this one is told what it asked for.
        assert_eq!(admitted(&limiter, "none", "ann", 1).await, 0);
        let whole = limiter.rule("calls").unwrap().check_async("bob").await.unwrap();
        assert_eq!(remaining(&whole), [999 - polls]);
    }
    assert!(dropped > 10, "{dropped}");
    let start = Instant::now();
    while remaining(&limiter.rule("calls").unwrap().peek_async("ann").await.unwrap()) != [1000 - (60 - dropped)] {
        assert!(start.elapsed() < 20 * SECOND, "what nobody took is given back");
        tokio::time::sleep(MILLI).await;
    }
}

/// Row F11. The connection ends with its runtime, which the next one notices: that may cost it one decision.
#[test]
fn a_runtime_may_end_while_a_decision_is_pending_and_another_goes_on() {
    let server = Server::start();
    let limiter = limiter(store(server.url()), [rule("calls", Policy::per_hour(10))]);
    for round in 1..=2 {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _ = eventually("it decides", || runtime.block_on(limiter.rule("calls").unwrap().check_async("ann")).ok());
        server.freeze();
        let (pending, is_started) = (limiter.clone(), Arc::new(AtomicBool::new(false)));
        let started = Arc::clone(&is_started);
        let _task = runtime.spawn(async move {
            let handle = pending.rule("calls").unwrap();
            let mut asked = Box::pin(handle.check_async("ann"));
            assert!(poll!(asked.as_mut()).is_pending());
            tokio::task::yield_now().await;
            started.store(true, Ordering::SeqCst);
            asked.await
        });
        eventually("it is under way", || is_started.load(Ordering::SeqCst).then_some(()));
        runtime.shutdown_timeout(Duration::from_secs(5));
        server.thaw();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let look = || runtime.block_on(limiter.rule("calls").unwrap().peek_async("ann")).ok();
        let left = remaining(&eventually("it can be seen", look))[0];
        // What was pending may have been charged.
        assert!((10 - 2 * round..=10 - round).contains(&left), "{left} left in round {round}");
    }
}

// Denials that need not be asked for.

#[tokio::test]
async fn a_key_that_is_known_to_be_exhausted_is_not_asked_about() {
    let server = Server::start();
    let asking = store(server.url()).denial_cache_ttl(MINUTE);
    let counting = Policy::per_hour(2).count_denied();
    let limiter = limiter(asking, [rule("calls", Policy::per_hour(2)), rule("counting", counting)]);
    assert_eq!(admitted(&limiter, "calls", "ann", 3).await, 2);
    server.run("CONFIG RESETSTAT");
    let mut waits = Vec::new();
    for _ in 0..100 {
        let denied = limiter.rule("calls").unwrap().check_async("ann").await.unwrap();
        assert_eq!((denied.is_admitted(), remaining(&denied)), (false, vec![0]));
        waits.push(denied.retry_after().unwrap());
    }
    assert_eq!(server.calls_of("evalsha"), 0);
    assert!(waits.is_sorted_by(|earlier, later| earlier >= later), "the wait gets shorter as time goes on: {waits:?}");
    // Others are asked about, and denials that count are counted.
    assert_eq!(admitted(&limiter, "calls", "bob", 2).await, 2);
    admitted(&limiter, "counting", "ann", 10).await;
    assert_eq!(server.calls_of("evalsha"), 12);
    // Who resets here is heard at once.
    assert!(limiter.rule("calls").unwrap().reset_async("ann").await.unwrap());
    assert_eq!(admitted(&limiter, "calls", "ann", 3).await, 2);
}

#[tokio::test]
async fn a_reset_by_another_process_is_noticed_after_the_stated_time() {
    let server = Server::start();
    let of = |longest| limiter(store(server.url()).denial_cache_ttl(longest), [rule("calls", Policy::per_hour(1))]);
    let (here, there) = (of(100 * MILLI), of(SECOND));
    assert_eq!(admitted(&here, "calls", "ann", 2).await, 1);
    there.rule("calls").unwrap().reset_async("ann").await.unwrap();
    let start = Instant::now();
    while !here.rule("calls").unwrap().check_async("ann").await.unwrap().is_admitted() {
        // 100 ms, but on a busy machine.
        assert!(start.elapsed() < 5 * SECOND);
        tokio::time::sleep(5 * MILLI).await;
    }
}

/// The memory of denials does not outlive the denial.
#[tokio::test]
async fn a_remembered_denial_ends_when_there_is_room() {
    let server = Server::start();
    let of =
        |longest| limiter(store(server.url()).denial_cache_ttl(longest), [rule("calls", Quota::new(1, 120 * MILLI))]);
    let (remembering, asking) = (of(MINUTE), of(Duration::ZERO));
    for _ in 0..3 {
        assert_eq!(admitted(&remembering, "calls", "ann", 1).await, 1);
        let wait = asking.rule("calls").unwrap().check_async("ann").await.unwrap().retry_after().unwrap();
        let told = remembering.rule("calls").unwrap().check_async("ann").await.unwrap().retry_after().unwrap();
        assert!(told <= wait + MILLI);
        tokio::time::sleep(told).await;
    }
}

// Replies in pieces and too late.

/// Row F6: split replies are whole again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_in_pieces_of_one_byte_are_understood() {
    let server = Server::start();
    let proxy = Proxy::to(&server).await;
    proxy.let_through(Through::Bytewise);
    for protocol in ["resp2", "resp3"] {
        let url = format!("{}/?protocol={protocol}", proxy.url());
        let limiter = limiter(store(url), [rule(protocol, Policy::per_hour(10)), rule("wide", Policy::per_hour(6000))]);
        let mut total = 0;
        for _ in 0..15 {
            let both = limiter.check_all_async([(protocol, "ann"), ("wide", protocol)]).await.unwrap();
            total += usize::from(both.is_admitted());
        }
        assert_eq!(total, 10);
    }
}

/// Rows F7 and F31: what comes too late is not somebody else's answer, and nothing is asked for twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_is_late_is_nobody_elses() {
    const ROUNDS: u64 = 12;
    let server = Server::start();
    let proxy = Proxy::to(&server).await;
    // One connection all the time: the breaker, which would make a new one, opens after three failures in a row.
    let slow = RedisStore::new(proxy.url(), OnOutage::Closed).deadline(300 * MILLI).denial_cache_ttl(Duration::ZERO);
    let limiter = limiter(slow, [rule("calls", Policy::per_hour(1000)), rule("one", Policy::per_hour(1))]);
    let direct = limiter_on(&server);
    assert_eq!(admitted(&direct, "one", "ann", 2).await, 1);
    for round in 0..ROUNDS {
        assert_eq!(admitted(&limiter, "calls", "bob", 1).await, 1);
        proxy.let_through(Through::Held);
        let late = limiter.rule("calls").unwrap().check_async("carl").await;
        assert!(late.is_err(), "{late:?}");
        proxy.let_through(Through::Whole);
        let (one, calls) = (limiter.rule("one").unwrap(), limiter.rule("calls").unwrap());
        let (ann, dora) = tokio::join!(one.check_async("ann"), calls.check_async("dora"));
        assert!(!ann.unwrap().is_admitted());
        assert_eq!(remaining(&dora.unwrap()), [999 - round]);
    }
    // Each late one was charged once, which is what the server made of it, and not twice; or given back, where the reply
    // came when nobody waited any more.
    let left = remaining(&direct.rule("calls").unwrap().peek_async("carl").await.unwrap())[0];
    assert!((1000 - ROUNDS..=1000).contains(&left), "{left}");
    assert_eq!(proxy.connections(), 1);
}

fn limiter_on(server: &Server) -> Limiter {
    limiter(store(server.url()), [rule("calls", Policy::per_hour(1000)), rule("one", Policy::per_hour(1))])
}
