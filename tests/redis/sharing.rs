//! Fewer calls to the server: many requests in one, and units that are lent. Exact all the same.
#![allow(clippy::disallowed_methods, reason = "here the time is that of real servers")]

use std::time::{Duration, Instant};

use futures_util::{future::join_all, poll};
use tokio::task::JoinSet;
use tower_quota::{Decision, Policy, Quota, RateLimiter, clock::ManualClock, store::LeaseConfig};
use tower_quota_tests::{
    limiter::with_rules,
    redis::{Limiter, Server, admitted, eventually, limiter, remaining, rule, store},
};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

async fn all_at_once(limiter: &Limiter, keys: impl IntoIterator<Item = String>) -> Vec<bool> {
    let asked = keys.into_iter().map(async |key| limiter.rule("calls").unwrap().check_async(key).await);
    join_all(asked).await.into_iter().map(|decision| decision.unwrap().is_admitted()).collect()
}

// Many requests in one call.

#[tokio::test]
async fn requests_of_one_turn_share_a_call_and_each_is_decided_for_itself() {
    let server = Server::start();
    let limiter = limiter(store(server.url()), [rule("calls", Policy::per_hour(3))]);
    assert_eq!(admitted(&limiter, "calls", "ann", 2).await, 2);
    server.run("CONFIG RESETSTAT");
    let keys = (0..64).map(|number| if number % 4 == 0 { "ann".to_owned() } else { format!("key {number}") });
    let decided = all_at_once(&limiter, keys).await;
    let of_ann: Vec<bool> = decided.iter().copied().step_by(4).collect();
    assert_eq!(of_ann, [vec![true], vec![false; 15]].concat());
    assert_eq!(decided.iter().filter(|admitted| **admitted).count(), 48 + 1);
    assert_eq!(server.calls_of("evalsha"), 2, "32 in each call");
}

#[tokio::test]
async fn equal_requests_of_one_batch_are_admitted_in_order_and_told_what_is_left_then() {
    let server = Server::start();
    let rules = [
        rule("calls", Policy::per_minute(40).and_per_hour(21)),
        rule("counting", Policy::per_hour(21).count_denied()),
        rule("large", Policy::per_minute(21).and_per_hour(9000)),
    ];
    let limiter = limiter(store(server.url()), rules);
    for (name, quota) in [("calls", 1), ("counting", 0), ("large", 0)] {
        let _ = limiter.rule(name).unwrap().check_async("ann").await.unwrap();
        let decided = join_all((0..30).map(async |_| limiter.rule(name).unwrap().check_async("ann").await)).await;
        let told = decided.into_iter().map(|decision| {
            let decision = decision.unwrap();
            (decision.is_admitted(), remaining(&decision)[quota], decision.retry_after().is_some())
        });
        let admitted = (0..20).rev().map(|left| (true, left, false));
        assert!(told.eq(admitted.chain(vec![(false, 0, true); 10])), "{name}");
    }
    let knocking = limiter.rule("counting").unwrap().peek_async("ann").await.unwrap();
    let patient = limiter.rule("calls").unwrap().peek_async("ann").await.unwrap();
    assert!(knocking.retry_after() >= patient.retry_after(), "denials that count are counted one by one");
}

/// Rules and keys of requests, chosen at random: few rules and few keys, so that nearly all have one in common with another.
fn mixed(random: &mut fastrand::Rng, requests: usize) -> Vec<Vec<(&'static str, String)>> {
    let request = |_| {
        let mut rules = ["few", "some", "counting", "large"];
        random.shuffle(&mut rules);
        let rules = rules.into_iter().take(random.usize(1..=3));
        rules.map(|rule| (rule, format!("key {}", random.u8(..3)))).collect()
    };
    (0..requests).map(request).collect()
}

fn told(decision: &Decision) -> (bool, Vec<u64>, Option<Duration>) {
    (decision.is_admitted(), remaining(decision), decision.retry_after())
}

/// In one batch each is told what it would have been told if they had come one after the other; so nobody overtakes.
#[tokio::test]
async fn requests_of_a_batch_are_decided_in_the_order_in_which_they_were_asked() {
    let rules = || {
        [
            rule("few", Policy::per_hour(20)),
            rule("some", Policy::per_minute(40).and_per_hour(70)),
            rule("counting", Policy::per_hour(30).count_denied()),
            rule("large", Policy::per_minute(25).and_per_hour(9000)),
        ]
    };
    let (server, mut random) = (Server::start(), fastrand::Rng::with_seed(255));
    for (most, batches) in [(255, [255, 255, 256, 700]), (32, [32, 255, 256, 700]), (255, [1, 2, 255, 255])] {
        server.run("FLUSHALL");
        let clock = ManualClock::new();
        let one_by_one = with_rules(RateLimiter::builder().clock(clock.clone()), rules());
        let one_by_one = one_by_one.build().unwrap();
        let shared = limiter(store(server.url()).virtual_time(clock.clone()).max_batch(most), rules());
        shared.store().ping().await.unwrap();
        for requests in batches {
            server.run("CONFIG RESETSTAT");
            let batch = mixed(&mut random, requests);
            let asked = batch.iter().map(|request| shared.check_all_async(request.clone()));
            let decided = join_all(asked).await;
            for (at, (request, decision)) in batch.into_iter().zip(decided).enumerate() {
                let expected = told(&one_by_one.check_all(request.clone()).unwrap());
                assert_eq!(told(&decision.unwrap()), expected, "{at} of {requests}, {most} in a call: {request:?}");
            }
            assert_eq!(server.calls_of("evalsha"), requests.div_ceil(usize::from(most)) as u64);
            clock.advance(MILLI * random.u32(..30_000));
        }
    }
}

#[tokio::test]
async fn a_call_may_be_for_one_request_only() {
    let server = Server::start();
    let limiter = limiter(store(server.url()).max_batch(1), [rule("calls", Policy::per_hour(3))]);
    assert_eq!(admitted(&limiter, "calls", "ann", 1).await, 1);
    server.run("CONFIG RESETSTAT");
    let decided = all_at_once(&limiter, vec!["ann".to_owned(); 10]).await;
    assert_eq!(decided.into_iter().filter(|admitted| *admitted).count(), 2);
    assert_eq!(server.calls_of("evalsha"), 10);
}

/// Row F28: what is wrong with one key does not concern those that share its call, before it or behind it.
#[tokio::test]
async fn a_foreign_value_fails_its_own_request_and_no_other_of_the_call() {
    let server = Server::start();
    let limiter = limiter(store(server.url()), [rule("calls", Policy::per_hour(3))]);
    assert_eq!(admitted(&limiter, "calls", "bad", 1).await, 1);
    let name = String::from_utf8(server.keys().remove(0)).unwrap();
    server.run(&format!("DEL {name}"));
    server.run(&format!("LPUSH {name} x"));
    let keys = ["ann", "bad", "bob", "bad", "carl"];
    let asked = keys.map(async |key| limiter.rule("calls").unwrap().check_async(key).await);
    let decided = join_all(asked).await;
    for (key, decision) in keys.into_iter().zip(decided) {
        match decision {
            Ok(decision) => assert_eq!((key == "bad", remaining(&decision)), (false, vec![2])),
            Err(error) => assert!(key == "bad" && error.to_string().contains("not a string"), "{key}: {error}"),
        }
    }
}

/// Rows F8 and F25.
#[tokio::test]
async fn a_request_dropped_before_the_call_is_not_charged_and_the_others_are_decided() {
    let server = Server::start();
    let limiter = limiter(store(server.url()), [rule("calls", Policy::per_hour(3))]);
    assert_eq!(admitted(&limiter, "calls", "ann", 1).await, 1);
    let handle = limiter.rule("calls").unwrap();
    let mut first = Box::pin(handle.check_async("ann"));
    let handle = limiter.rule("calls").unwrap();
    let second = handle.check_async("bob");
    assert!(poll!(first.as_mut()).is_pending());
    drop(first);
    assert!(second.await.unwrap().is_admitted());
    assert_eq!(remaining(&limiter.rule("calls").unwrap().peek_async("ann").await.unwrap()), [2]);
}

/// Whoever asked first may be in a runtime that stands still: nobody relies on it for long.
#[test]
fn a_first_call_that_does_not_go_on_holds_up_nobody() {
    let server = Server::start();
    let limiter = limiter(store(server.url()), [rule("calls", Policy::per_hour(3))]);
    let still = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let moving = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    moving.block_on(async { assert_eq!(admitted(&limiter, "calls", "bob", 1).await, 1) });
    let handle = limiter.rule("calls").unwrap();
    let mut first = Box::pin(handle.check_async("ann"));
    still.block_on(async { assert!(poll!(first.as_mut()).is_pending()) });
    for _ in 0..2 {
        moving.block_on(async { assert_eq!(admitted(&limiter, "calls", "bob", 1).await, 1) });
    }
}

#[tokio::test]
async fn a_request_without_any_charge_is_admitted_and_is_no_outage() {
    let server = Server::start();
    let limiter = limiter(store(server.url()), [rule("calls", Policy::per_hour(3))]);
    for _ in 0..5 {
        assert!(limiter.check_all_async(std::iter::empty::<(&str, &str)>()).await.unwrap().is_admitted());
    }
    assert_eq!(admitted(&limiter, "calls", "ann", 4).await, 3);
}

#[tokio::test]
async fn a_request_with_hundreds_of_keys_shares_a_call_with_others() {
    let server = Server::start();
    let limiter = limiter(store(server.url()), [rule("calls", Policy::per_hour(3))]);
    let keys: Vec<String> = (0..300).map(|number| format!("key {number}")).collect();
    for left in [2, 1] {
        let calls = limiter.rule("calls").unwrap();
        let (many, one) =
            tokio::join!(limiter.check_all_async(keys.iter().map(|key| ("calls", key))), calls.check_async("ann"),);
        assert!(many.unwrap().quotas().all(|quota| quota.remaining() == left));
        assert_eq!(remaining(&one.unwrap()), [left]);
    }
}

// Units that are lent.

const LIFE: Duration = Duration::from_millis(60);

fn lending(server: &Server, quota: Quota, life: Duration) -> Limiter {
    limiter(store(server.unix_url()).lease(LeaseConfig::new(64, life)), [rule("calls", quota)])
}

/// P1, where each of four processes spends by itself what it was lent, and some of it at the last moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_leases_there_are_never_more_than_n_in_any_window_either() {
    const WINDOW: Duration = Duration::from_millis(150);
    const LIMIT: usize = 120;
    let server = Server::start();
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..8u32 {
        let client = lending(&server, Quota::new(LIMIT as u64, WINDOW), LIFE);
        tasks.spawn(async move {
            let mut times = Vec::new();
            while start.elapsed() < WINDOW * 12 {
                let before = start.elapsed();
                if client.rule("calls").unwrap().check_async("ann").await.unwrap().is_admitted() {
                    times.push((before, start.elapsed()));
                }
                // Some ask all the time, others less often: their units grow old.
                if task % 2 == 0 {
                    tokio::time::sleep(MILLI * task).await;
                }
            }
            times
        });
    }
    let mut times = tasks.join_all().await.concat();
    times.sort();
    assert!(times.len() > LIMIT * 3, "{}", times.len());
    // Of those admitted surely within a window there are at most so many.
    for (at, (begins, _)) in times.iter().enumerate() {
        let within = times[at..].iter().filter(|(_, ends)| *ends < *begins + WINDOW).count();
        assert!(within <= LIMIT, "{within} within {WINDOW:?}");
    }
}

#[tokio::test]
async fn a_hot_key_takes_few_calls_and_is_admitted_exactly_n_times() {
    let server = Server::start();
    let limiter = lending(&server, Quota::per_minute(2000), SECOND);
    assert_eq!(admitted(&limiter, "calls", "ann", 2000).await, 2000);
    assert!(server.calls_of("evalsha") < 100, "{} calls", server.calls_of("evalsha"));
    let denied = limiter.rule("calls").unwrap().check_async("ann").await.unwrap();
    assert!(denied.retry_after().unwrap() <= Duration::from_secs(61) + MILLI);
}

#[tokio::test]
async fn the_remaining_number_goes_down_by_one_with_each_request() {
    let server = Server::start();
    let limiter = lending(&server, Quota::per_minute(300), 10 * SECOND);
    for left in (200..300).rev() {
        assert_eq!(remaining(&limiter.rule("calls").unwrap().check_async("ann").await.unwrap()), [left]);
    }
}

#[tokio::test]
async fn unspent_units_of_a_lease_return_to_others_when_the_process_ends() {
    let server = Server::start();
    let (here, there) =
        (lending(&server, Quota::per_minute(300), SECOND * 30), lending(&server, Quota::per_minute(300), SECOND * 30));
    assert_eq!(admitted(&here, "calls", "ann", 100).await, 100);
    let lent = remaining(&there.rule("calls").unwrap().peek_async("ann").await.unwrap());
    here.store().return_leases().await;
    assert!(lent[0] < 200, "{lent:?}");
    assert_eq!(remaining(&there.rule("calls").unwrap().peek_async("ann").await.unwrap()), [200]);
    assert_eq!(admitted(&there, "calls", "ann", 300).await, 200);
}

#[tokio::test]
async fn unspent_units_return_by_themselves_when_the_lease_ends() {
    let server = Server::start();
    let limiter = lending(&server, Quota::per_minute(300), LIFE);
    let spent = admitted(&limiter, "calls", "ann", 50).await as u64;
    let start = Instant::now();
    while remaining(&limiter.rule("calls").unwrap().peek_async("ann").await.unwrap()) != [300 - spent] {
        assert!(start.elapsed() < 10 * SECOND);
        tokio::time::sleep(5 * MILLI).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_at_the_same_time_share_what_one_of_them_was_lent() {
    let server = Server::start();
    let limiter = lending(&server, Quota::per_minute(500), 10 * SECOND);
    let mut tasks = JoinSet::new();
    for _ in 0..32 {
        let limiter = limiter.clone();
        tasks.spawn(async move { admitted(&limiter, "calls", "ann", 20).await });
    }
    assert_eq!(tasks.join_all().await.into_iter().sum::<usize>(), 500);
    assert!(server.calls_of("evalsha") < 200, "{} calls", server.calls_of("evalsha"));
}

#[tokio::test]
async fn a_key_under_another_rule_too_is_decided_by_the_server() {
    let server = Server::start();
    let lease = LeaseConfig::new(64, SECOND).for_rules(["calls"]);
    let rules = [rule("calls", Policy::per_minute(100)), rule("few", Policy::per_minute(10))];
    let limiter = limiter(store(server.url()).lease(lease), rules);
    let mut admitted = 0;
    for _ in 0..20 {
        let both = limiter.check_all_async([("calls", "ann"), ("few", "ann")]).await.unwrap();
        admitted += u32::from(both.is_admitted());
    }
    assert_eq!(admitted, 10);
    assert_eq!(server.calls_of("evalsha"), 20);
    assert_eq!(remaining(&limiter.rule("calls").unwrap().peek_async("ann").await.unwrap()), [90]);
}

#[tokio::test]
async fn after_a_reset_nothing_is_spent_that_was_lent_before() {
    let server = Server::start();
    let limiter = lending(&server, Quota::per_minute(300), 30 * SECOND);
    assert_eq!(admitted(&limiter, "calls", "ann", 100).await, 100);
    assert!(limiter.rule("calls").unwrap().reset_async("ann").await.unwrap());
    assert_eq!(admitted(&limiter, "calls", "ann", 400).await, 300);
}

/// While the server is gone what was lent can still be spent, and not more than that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leased_units_outlive_the_server_but_not_the_lease() {
    let server = Server::start();
    let closed = store(server.unix_url()).deadline(200 * MILLI).lease(LeaseConfig::new(64, 20 * SECOND));
    let limiter = limiter(closed, [rule("calls", Policy::per_minute(300))]);
    assert_eq!(admitted(&limiter, "calls", "ann", 100).await, 100);
    let left = remaining(&limiter.rule("calls").unwrap().peek_async("ann").await.unwrap())[0];
    server.kill();
    let mut spent = 0;
    while limiter.rule("calls").unwrap().check_async("ann").await.is_ok() {
        spent += 1;
    }
    assert_eq!(spent, 200 - left);
    server.restart();
    let _ = tokio::task::block_in_place(|| {
        eventually("it decides again", || {
            let handle = limiter.rule("calls").unwrap();
            let asked = handle.check_async("ann");
            tokio::runtime::Handle::current().block_on(asked).ok()
        })
    });
}
