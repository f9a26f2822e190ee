//! The connection of the Redis store: idle, closed, in a runtime that ends, and with too few rights; and callers that hang up.
#![allow(clippy::disallowed_methods, reason = "here the time is that of real servers")]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use futures_util::future::join_all;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tower_quota::{
    Policy, RateLimiter, Rule,
    clock::ManualClock,
    key,
    store::{BreakerState, LeaseConfig, OnOutage, RedisStore},
};
use tower_quota_tests::redis::{
    Cluster, Fake, Limiter, Reply, Sentinel, Server, admitted, limiter, remaining, replica_of, rule, store,
};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const GUARD: Duration = Duration::from_secs(20);

fn calls(store: RedisStore) -> Limiter {
    limiter(store, [rule("calls", Policy::per_hour(1000))])
}

/// Ten at the same time, in calls of their own.
async fn burst(limiter: &Limiter) -> Vec<String> {
    let asked = (0..10).map(async |number| limiter.rule("calls").unwrap().check_async(format!("key {number}")).await);
    join_all(asked).await.into_iter().filter_map(|answer| answer.err().map(|error| error.to_string())).collect()
}

// Idle connections.

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_no_decision() {
    let server = Server::start();
    for most in [1, 32] {
        let limiter = calls(store(server.url()).max_batch(most));
        burst(&limiter).await;
        for round in 0..10 {
            let _: u32 = server.query("CLIENT KILL TYPE normal SKIPME yes");
            // The end of a connection has to arrive before the next request.
            tokio::time::sleep(5 * MILLI).await;
            assert_eq!(burst(&limiter).await, Vec::<String>::new(), "round {round}, {most} in a call");
        }
        let health = limiter.store().health().unwrap();
        assert_eq!(health.nodes()[0].breaker(), BreakerState::Closed, "{health:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_started_again_while_nobody_asks_costs_no_decision() {
    let server = Server::start();
    let limiter = calls(store(server.url()));
    for _ in 0..3 {
        assert_eq!(burst(&limiter).await, Vec::<String>::new());
        server.restart();
        tokio::time::sleep(5 * MILLI).await;
    }
    assert_eq!(burst(&limiter).await, Vec::<String>::new());
}

/// What is in a connection that was lost has been written, so it is not repeated; and it opens no breaker.
#[tokio::test]
async fn a_connection_that_is_lost_with_all_that_is_in_it_is_one_failure() {
    let fake = Fake::saying(Reply::Nothing).await;
    let limiter = calls(store(fake.url()).max_batch(1));
    let asked: Vec<_> = (0..10)
        .map(|number| {
            let limiter = limiter.clone();
            tokio::spawn(async move { limiter.rule("calls").unwrap().check_async(format!("key {number}")).await })
        })
        .collect();
    let start = Instant::now();
    while fake.asked().len() < 10 {
        assert!(start.elapsed() < GUARD, "{} asked", fake.asked().len());
        tokio::time::sleep(MILLI).await;
    }
    fake.hang_up();
    assert!(join_all(asked).await.into_iter().all(|answer| answer.unwrap().is_err()));
    assert_eq!(fake.asked().len(), 10, "none of them twice");
    assert_eq!(limiter.store().health().unwrap().nodes()[0].breaker(), BreakerState::Closed);
}

// Runtimes.

#[test]
fn the_first_decision_after_a_runtime_has_ended_is_made() {
    let (server, cluster) = (Server::start(), Cluster::start());
    for store in [store(server.url()), RedisStore::cluster(cluster.urls(), OnOutage::Closed).deadline(GUARD)] {
        let limiter = calls(store);
        for round in 0..6 {
            let runtime = match round % 2 {
                0 => tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
                _ => tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(),
            };
            let decision = runtime.block_on(limiter.rule("calls").unwrap().check_async("ann")).unwrap();
            assert_eq!(remaining(&decision), [999 - round]);
        }
    }
}

#[test]
fn a_runtime_that_cannot_do_it_is_an_error_that_says_so() {
    let server = Server::start();
    let limiter = calls(store(server.url()).deadline(SECOND));
    let none = futures_executor(limiter.rule("calls").unwrap().check_async("ann")).unwrap_err();
    assert!(none.to_string().contains("runtime"), "{none}");
    let still = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = still.block_on(limiter.rule("calls").unwrap().check_async("ann")).unwrap_err();
    assert!(error.to_string().contains("enable_all"), "{error}");
    let deaf = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let error = deaf.block_on(limiter.rule("calls").unwrap().check_async("ann")).unwrap_err();
    assert!(error.to_string().contains("enable_all"), "{error}");
    let whole = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(whole.block_on(limiter.rule("calls").unwrap().check_async("ann")).unwrap().is_admitted());
}

/// Polls where no runtime is.
fn futures_executor<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::yield_now();
    }
}

// Rights, and what else may be wrong with a server that can be reached.

/// The line of the documentation of the store.
const RIGHTS: &str = "ACL SETUSER limits on >secret resetkeys ~quota:* resetchannels -@all +eval +evalsha +get +getrange +set \
                      +setrange +exists +pexpire +del +time";

async fn refusal(limiter: &Limiter) -> String {
    limiter.store().ping().await.unwrap_err().to_string()
}

#[tokio::test]
async fn the_rights_that_are_documented_are_enough_and_ping_misses_those_that_matter() {
    let server = Server::start();
    server.run(RIGHTS);
    let url = format!("redis://limits:secret@127.0.0.1:{}", server.port());
    let of = |policy: Policy| limiter(store(&url), [rule("calls", policy)]);
    let limiter = of(Policy::per_minute(20).and_per_hour(9000));
    limiter.store().ping().await.unwrap();
    assert_eq!(admitted(&limiter, "calls", "ann", 40).await, 20);
    // Another policy, a smaller log, a unit given back, a reset.
    assert_eq!(admitted(&of(Policy::per_second(1)), "calls", "ann", 1).await, 0);
    assert_eq!(admitted(&of(Policy::per_hour(50)), "calls", "ann", 1).await, 1);
    assert!(of(Policy::per_hour(50)).rule("calls").unwrap().reset_async("ann").await.unwrap());
    for right in ["eval", "evalsha", "set", "time"] {
        server.run(&format!("ACL SETUSER limits -{right}"));
        let reason = refusal(&limiter).await;
        assert!(reason.contains("rights"), "{right}: {reason}");
        server.run(&format!("ACL SETUSER limits +{right}"));
    }
    server.run("ACL SETUSER limits resetkeys ~other:*");
    assert!(!refusal(&limiter).await.is_empty());
}

/// What the server was asked to do but by this test, in scripts and outside.
fn commands(server: &Server) -> BTreeSet<String> {
    const OF_THE_TEST: [&str; 8] =
        ["acl|log", "acl|setuser", "auth", "client|setinfo", "config|resetstat", "hello", "info", "ping"];
    let told: String = server.query("INFO commandstats");
    let names = told.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next());
    names.filter(|name| !OF_THE_TEST.contains(name)).map(str::to_owned).collect()
}

/// All that the store does on one server, in whatever order: none of the rights is missing, and none is for nothing.
#[tokio::test]
async fn the_rights_that_are_documented_are_those_that_are_used() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/store/mod.rs"));
    let rights = RIGHTS.split_once("resetchannels ").unwrap().1;
    assert!(text.contains(&format!("ACL SETUSER limits on >secret ~quota:* resetchannels {rights}\n")));
    let server = Server::start();
    server.run(RIGHTS);
    let url = format!("redis://limits:secret@127.0.0.1:{}", server.port());
    server.run("CONFIG RESETSTAT");
    let on = |store: RedisStore, policy: &str| {
        limiter(store, [rule("calls", policy.parse::<Policy>().unwrap().resolution(16))])
    };
    let (clock, lease) = (ManualClock::new(), LeaseConfig::new(64, 30 * SECOND));
    let policies = ["2/10s", "3/minute, 9/hour", "17/second, 18/10s", "17/second, 21/hour", "40/minute"];
    let virtual_time = || store(&url).virtual_time(clock.clone());
    let limiters = policies.map(|policy| on(virtual_time(), policy));
    for round in 0..60 {
        for limiter in &limiters {
            admitted(limiter, "calls", "ann", round % 4).await;
        }
        clock.advance(SECOND * (round as u32 % 30) * (round as u32 % 30));
    }
    let lending = on(store(&url).lease(lease), "200/minute");
    lending.store().ping().await.unwrap();
    assert_eq!(admitted(&lending, "calls", "bob", 100).await, 100);
    lending.store().return_leases().await;
    assert!(lending.rule("calls").unwrap().reset_async("bob").await.unwrap());
    let documented: BTreeSet<String> =
        rights.split(' ').filter_map(|right| right.strip_prefix('+')).map(str::to_owned).collect();
    assert_eq!(commands(&server), documented);
    assert_eq!(server.query::<Vec<redis::Value>>("ACL LOG").len(), 0);
}

/// On a cluster also while slots move, and behind sentinels.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_that_are_documented_are_enough_on_a_cluster_and_behind_sentinels() {
    let cluster = tokio::task::block_in_place(Cluster::start);
    cluster.nodes().iter().for_each(|node| node.run(&format!("{RIGHTS} +cluster|slots +asking")));
    let urls = cluster.urls().into_iter().map(|url| url.replace("redis://", "redis://limits:secret@"));
    let on_cluster = calls(RedisStore::cluster(urls, OnOutage::Closed).deadline(SECOND));
    on_cluster.store().ping().await.unwrap();
    assert_eq!(admitted(&on_cluster, "calls", "ann", 3).await, 3);
    let key = cluster.keys().remove(0);
    let (home, slot) = (cluster.node_of(&key), cluster.slot_of(&key));
    tokio::task::block_in_place(|| {
        cluster.open_slot(slot, home, (home + 1) % 3);
        cluster.move_key(&key, home, (home + 1) % 3);
    });
    assert_eq!(admitted(&on_cluster, "calls", "ann", 3).await, 3);

    let primary = Server::start();
    let sentinel = Sentinel::at(primary.port());
    for role in ["", " +role"] {
        primary.run(&format!("{RIGHTS}{role}"));
        let store = RedisStore::sentinel([sentinel.url()], "redis://limits:secret@mymaster", OnOutage::Closed);
        calls(store).store().ping().await.unwrap();
    }
}

#[tokio::test]
async fn ping_says_no_to_servers_that_would_never_decide() {
    let primary = Server::start();
    let replica = replica_of(&primary);
    assert!(refusal(&calls(store(replica.url()))).await.contains("replica"));
    let renamed = Server::with(&["--rename-command", "EVAL", ""]);
    assert!(refusal(&calls(store(renamed.url()))).await.contains("command"));
    let locked = Server::with(&["--requirepass", "secret"]);
    let reason = refusal(&calls(store(locked.url()))).await;
    assert!(reason.contains("password"), "{reason}");
    let full = Server::with(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"]);
    assert!(refusal(&calls(store(full.url()))).await.contains("maxmemory"));
    for server in [&primary, &renamed, &full] {
        assert_eq!(server.keys().len(), 0, "nothing stays of a ping");
    }
}

#[tokio::test]
async fn a_server_with_too_many_clients_says_so() {
    let server = Server::start();
    let _taken = server.connection();
    server.run("CONFIG SET maxclients 1");
    let limiter = calls(store(server.url()));
    let reason = refusal(&limiter).await;
    assert!(reason.contains("maxclients"), "{reason}");
    for _ in 0..5 {
        let error = limiter.rule("calls").unwrap().check_async("ann").await.unwrap_err().to_string();
        assert!(error.contains("maxclients"), "{error}");
    }
    let told = limiter.store().health().unwrap();
    assert!(told.nodes()[0].last_error().unwrap().contains("maxclients"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ping_says_no_to_a_cluster_that_lacks_slots_or_a_master() {
    let cluster = tokio::task::block_in_place(Cluster::start);
    let limiter = calls(RedisStore::cluster(cluster.urls(), OnOutage::Closed));
    limiter.store().ping().await.unwrap();
    cluster.nodes().iter().for_each(|node| node.run("CONFIG SET cluster-require-full-coverage no"));
    cluster.nodes().iter().for_each(|node| node.run("CLUSTER DELSLOTSRANGE 0 99"));
    let reason = refusal(&limiter).await;
    assert!(reason.contains("100 slots"), "{reason}");
    cluster.nodes()[0].run("CLUSTER ADDSLOTSRANGE 0 99");
    tokio::task::block_in_place(|| cluster.await_ok());
    let start = Instant::now();
    while limiter.store().ping().await.is_err() {
        assert!(start.elapsed() < GUARD, "{}", refusal(&limiter).await);
    }
    cluster.nodes()[2].kill();
    assert!(!refusal(&limiter).await.is_empty());
}

// Callers that hang up.

fn shop(store: RedisStore, shared: u64) -> Limiter {
    let account = Rule::new("account").every_request().key(key::header("x-account")).level("account");
    let everybody = Rule::new("everybody").every_request().key(tower_quota::key::constant("everybody"));
    RateLimiter::builder()
        .store(store)
        .rule(account.policy(Policy::per_hour(3)))
        .rule(everybody.policy(Policy::per_hour(shared)))
        .build()
        .unwrap()
}

async fn left_of_all(limiter: &Limiter) -> u64 {
    remaining(&limiter.rule("everybody").unwrap().peek_async("everybody").await.unwrap())[0]
}

/// Accounts that have used up what is theirs hang up a thousand times, and take nothing of what all share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_hangs_up_takes_nothing_of_a_shared_quota() {
    const SHARED: u64 = 5000;
    let cluster = tokio::task::block_in_place(Cluster::start);
    let limiter = shop(RedisStore::cluster(cluster.urls(), OnOutage::Closed).deadline(SECOND), SHARED);
    limiter.store().ping().await.unwrap();
    let app = Router::new().route("/", get(async || "hello")).layer(limiter.layer());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    for account in 0..20 {
        assert_eq!(admitted(&limiter, "account", &format!("account {account}"), 4).await, 3);
    }
    let before = left_of_all(&limiter).await;
    for round in 0..25 {
        let calls = (0..40).map(|number| hang_up(address, round * 40 + number, number % 2 == 0));
        join_all(calls).await;
    }
    let start = Instant::now();
    while left_of_all(&limiter).await != before {
        assert!(start.elapsed() < GUARD, "{} of {before} left", left_of_all(&limiter).await);
        tokio::time::sleep(5 * MILLI).await;
    }
    serving.abort();
}

/// Sends a request of an account that has nothing left, and goes away at some moment after that.
async fn hang_up(address: std::net::SocketAddr, number: u32, http2: bool) {
    let stream = TcpIo::new(TcpStream::connect(address).await.unwrap());
    let request = http::Request::get(format!("http://{address}/"));
    let request = request.header("host", address.to_string()).header("x-account", format!("account {}", number % 20));
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let patience = u64::from(number % 16) * 150;
    let call = async {
        if http2 {
            let (mut send, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            let driver = tokio::spawn(connection);
            let _ = tokio::time::timeout(Duration::from_micros(patience), send.send_request(request)).await;
            driver.abort();
        } else {
            let (mut send, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
            let driver = tokio::spawn(connection);
            let _ = tokio::time::timeout(Duration::from_micros(patience), send.send_request(request)).await;
            driver.abort();
        }
    };
    call.await;
}

type TcpIo = TokioIo<TcpStream>;

/// Whoever is dropped by a layer outside, at any moment, has not used anything; on one server and on several.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_for_a_caller_that_is_gone_is_given_back() {
    let (server, cluster) = (Server::start(), tokio::task::block_in_place(Cluster::start));
    let on_cluster = RedisStore::cluster(cluster.urls(), OnOutage::Closed).deadline(SECOND);
    for store in [store(server.url()), store(server.url()).max_batch(1), on_cluster] {
        let limiter =
            limiter(store, [rule("account", Policy::per_hour(5000)), rule("everybody", Policy::per_hour(5000))]);
        limiter.store().ping().await.unwrap();
        let mut kept = 0;
        for number in 0..600_u64 {
            let both = [("account", format!("account {}", number % 9)), ("everybody", "everybody".to_owned())];
            let asked = limiter.check_all_async(both);
            let told = tokio::time::timeout(Duration::from_micros(number % 12 * 100), asked).await;
            kept += u64::from(told.is_ok_and(|answer| answer.is_ok_and(|decision| decision.is_admitted())));
        }
        let start = Instant::now();
        while left_of_all(&limiter).await != 5000 - kept {
            assert!(start.elapsed() < GUARD, "{} left, {kept} kept", left_of_all(&limiter).await);
            tokio::time::sleep(5 * MILLI).await;
        }
        server.run("FLUSHALL");
    }
}

/// What is lent belongs to the process, and not to who was the first to ask for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_hangs_up_during_a_lease_loses_no_units() {
    let server = Server::start();
    let lease = LeaseConfig::new(64, 30 * SECOND);
    let limiter = limiter(store(server.url()).lease(lease), [rule("everybody", Policy::per_hour(5000))]);
    let mut kept = 0;
    for number in 0..600_u64 {
        let handle = limiter.rule("everybody").unwrap();
        let asked = handle.check_async("everybody");
        let told = tokio::time::timeout(Duration::from_micros(number % 12 * 60), asked).await;
        kept += u64::from(told.is_ok_and(|answer| answer.is_ok_and(|decision| decision.is_admitted())));
    }
    let start = Instant::now();
    loop {
        limiter.store().return_leases().await;
        if left_of_all(&limiter).await == 5000 - kept {
            return;
        }
        assert!(start.elapsed() < GUARD, "{} left, {kept} kept", left_of_all(&limiter).await);
        tokio::time::sleep(5 * MILLI).await;
    }
}

// Virtual time.

#[tokio::test]
async fn a_denial_ends_when_the_virtual_time_says_so() {
    let server = Server::start();
    let clock = ManualClock::new();
    let store = RedisStore::new(server.url(), OnOutage::Closed).deadline(GUARD).virtual_time(clock.clone());
    let limiter = limiter(store, [rule("calls", Policy::per_minute(3))]);
    for _ in 0..3 {
        assert_eq!(admitted(&limiter, "calls", "ann", 5).await, 3);
        clock.advance(59 * SECOND);
        assert_eq!(admitted(&limiter, "calls", "ann", 5).await, 0);
        clock.advance(SECOND);
    }
}

#[tokio::test]
async fn a_lease_ends_when_the_virtual_time_says_so() {
    let server = Server::start();
    let clock = ManualClock::new();
    let store = store(server.url()).virtual_time(clock.clone()).lease(LeaseConfig::new(64, 600 * SECOND));
    let limiter = limiter(store, [rule("calls", Policy::per_hour(300))]);
    let spent = admitted(&limiter, "calls", "ann", 20).await as u64;
    let lent = remaining(&limiter.rule("calls").unwrap().peek_async("ann").await.unwrap())[0];
    assert!(lent < 300 - spent, "more is lent than is spent");
    clock.advance(600 * SECOND);
    let start = Instant::now();
    while remaining(&limiter.rule("calls").unwrap().peek_async("ann").await.unwrap()) != [300 - spent] {
        assert!(start.elapsed() < GUARD, "what was not spent returns");
        tokio::time::sleep(MILLI).await;
    }
}

#[tokio::test]
async fn a_server_is_tried_again_when_the_virtual_time_says_so() {
    let server = Server::start();
    let clock = ManualClock::new();
    let store = RedisStore::new(server.url(), OnOutage::Closed).deadline(GUARD).virtual_time(clock.clone());
    let limiter = calls(store);
    let _ = limiter.rule("calls").unwrap().check_async("ann").await.unwrap();
    server.kill();
    for _ in 0..4 {
        assert!(limiter.rule("calls").unwrap().check_async("ann").await.is_err());
    }
    assert_eq!(limiter.store().health().unwrap().nodes()[0].breaker(), BreakerState::Open);
    server.restart();
    assert!(limiter.rule("calls").unwrap().check_async("ann").await.is_err(), "it is not time yet");
    clock.advance(SECOND);
    assert!(limiter.rule("calls").unwrap().check_async("ann").await.is_ok());
}
