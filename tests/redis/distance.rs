//! The Redis store at a distance: whatever a round trip takes, it connects and decides, and is back after a pause.
#![allow(clippy::disallowed_methods, reason = "here the time is that of real servers")]

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use tokio::task::{JoinSet, block_in_place};
use tower_quota::{
    Policy,
    store::{BreakerState, ConnectionState, OnOutage, RedisStore},
};
use tower_quota_tests::redis::{Cluster, Distance, Limiter, Secured, Sentinel, Server, limiter, rule};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// What takes longer takes for ever.
const GUARD: Duration = Duration::from_secs(15);
/// To connect takes at most so many round trips: to a sentinel, and then to the server with TLS or to all nodes of a cluster.
const TRIPS_TO_CONNECT: u32 = 10;
/// In which the servers of this machine notice that they go on, and all keys are asked about.
const MARGIN: Duration = Duration::from_millis(300);
/// Time is measured in steps of this length.
const BEAT: Duration = Duration::from_millis(10);
/// From the next machine to the other side of the world.
const ROUND_TRIPS: [u64; 5] = [0, 5, 20, 50, 100];
/// As many as make a breaker open while nothing answers yet.
const TASKS: usize = 8;

fn calls(store: RedisStore) -> Limiter {
    let store = store.denial_cache_ttl(Duration::ZERO).max_batch(1);
    limiter(store, [rule("calls", Policy::per_hour(1_000_000))])
}

/// Tasks that ask all the time, from the first moment.
struct Load {
    is_over: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Load {
    fn on(limiter: &Limiter) -> Self {
        let (is_over, mut tasks) = (Arc::<AtomicBool>::default(), JoinSet::new());
        for number in 0..TASKS {
            let (limiter, is_over) = (limiter.clone(), Arc::clone(&is_over));
            tasks.spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    let _ = limiter.rule("calls").unwrap().check_async(format!("key {number}")).await;
                    tokio::time::sleep(4 * MILLI).await;
                }
            });
        }
        Self { is_over, tasks }
    }

    async fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
    }
}

/// A clock that goes as slowly as everything else on a busy machine: it counts how often a task has slept for a [`BEAT`].
struct Beats(Arc<AtomicU32>);

impl Beats {
    fn start() -> Self {
        let beats = Arc::<AtomicU32>::default();
        let counted = Arc::downgrade(&beats);
        tokio::spawn(async move {
            while let Some(beats) = counted.upgrade() {
                beats.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(BEAT).await;
            }
        });
        Self(beats)
    }

    fn now(&self) -> Duration {
        BEAT * self.0.load(Ordering::Relaxed)
    }
}

/// How long after a pause everything was decided again.
struct Return {
    what: String,
    took: Duration,
    promised: Duration,
}

impl Return {
    async fn of(limiter: &Limiter, what: String, round_trip: Duration) -> Self {
        let beats = Beats::start();
        decided(limiter, &what).await;
        let promised = SECOND + round_trip * TRIPS_TO_CONNECT + MARGIN;
        Self { what, took: beats.now(), promised }
    }
}

/// Everything is back within a second plus the time to connect. Where a probe came too late, because the machine was busy, it
/// is the next one, a second later: that may happen to a few, and to none of them twice.
fn assert_back_in_time(returns: &[Return]) {
    let told = |one: &Return| format!("{}: {:?}, promised {:?}", one.what, one.took, one.promised);
    let late: Vec<_> = returns.iter().filter(|one| one.took > one.promised).map(told).collect();
    assert!(late.len() <= returns.len() / 6, "of {}: {late:#?}", returns.len());
    let very_late: Vec<_> = returns.iter().filter(|one| one.took > one.promised + SECOND).map(told).collect();
    assert!(very_late.is_empty(), "{very_late:#?}");
}

/// Waits until all keys are decided.
async fn decided(limiter: &Limiter, what: &str) {
    let start = Instant::now();
    for number in 0..TASKS {
        while let Err(error) = limiter.rule("calls").unwrap().check_async(format!("key {number}")).await {
            assert!(
                start.elapsed() < GUARD,
                "{what}: not decided within {GUARD:?}: {error}, {:?}",
                limiter.store().health()
            );
            tokio::time::sleep(5 * MILLI).await;
        }
    }
}

/// Everything that is promised of a server that answers after `round_trip`, if `freeze` and `thaw` stop it and let it go on;
/// but for how soon it is back, which is returned.
async fn assert_bends(
    kind: &str,
    store: impl Fn() -> RedisStore,
    round_trip: Duration,
    freeze: impl Fn(),
    thaw: impl Fn(),
) -> Vec<Return> {
    let what = &format!("{kind}, {round_trip:?}");
    let hasty = calls(store());
    let load = Load::on(&hasty);
    let start = Instant::now();
    while !hasty.store().health().unwrap().nodes().iter().all(|node| node.connection() == ConnectionState::Connected) {
        assert!(start.elapsed() < GUARD, "{what}: never connected, {:?}", hasty.store().health());
        tokio::time::sleep(MILLI).await;
    }
    load.end().await;
    hasty.store().ping().await.unwrap();

    // On a busy machine somebody may not get a turn for a second.
    let fitting = calls(store().deadline(2 * round_trip + 3 * SECOND));
    let load = Load::on(&fitting);
    decided(&fitting, what).await;
    let asked = (0..15 * TASKS)
        .map(async |number| fitting.rule("calls").unwrap().check_async(format!("key {}", number % TASKS)).await);
    let mut errors = Vec::new();
    let mut asked = futures_util::stream::iter(asked).buffer_unordered(TASKS);
    while let Some(answer) = asked.next().await {
        errors.extend(answer.err());
    }
    drop(asked);
    load.end().await;
    assert!(errors.len() <= 15 * TASKS / 100, "{what}: {} not decided: {errors:?}", errors.len());

    let lengths: &[Duration] = if round_trip == 20 * MILLI { &[300 * MILLI, 5 * SECOND] } else { &[300 * MILLI] };
    let short = calls(store().deadline(2 * round_trip + 150 * MILLI));
    decided(&short, what).await;
    let mut returns = Vec::new();
    for length in lengths {
        let load = Load::on(&short);
        block_in_place(&freeze);
        tokio::time::sleep(*length).await;
        block_in_place(&thaw);
        returns.push(Return::of(&short, format!("{what}, frozen for {length:?}"), round_trip).await);
        load.end().await;
    }
    returns
}

async fn server_bends() -> Vec<Return> {
    let mut returns = Vec::new();
    let server = block_in_place(Server::start);
    let distance = Distance::to(server.address()).await;
    for millis in ROUND_TRIPS {
        distance.set_round_trip(millis as u32 * MILLI);
        let store = || RedisStore::new(format!("redis://127.0.0.1:{}", distance.port()), OnOutage::Closed);
        returns
            .extend(assert_bends("a server", store, millis as u32 * MILLI, || server.freeze(), || server.thaw()).await);
    }
    returns
}

async fn tls_bends() -> Vec<Return> {
    let mut returns = Vec::new();
    let secured = block_in_place(Secured::start);
    let distance = Distance::to(format!("127.0.0.1:{}", secured.port)).await;
    for millis in ROUND_TRIPS {
        distance.set_round_trip(millis as u32 * MILLI);
        let url = || Secured::url_at(distance.port());
        let store = || secured.certificates.on(RedisStore::new(url(), OnOutage::Closed));
        returns.extend(
            assert_bends(
                "with TLS",
                store,
                millis as u32 * MILLI,
                || secured.server.freeze(),
                || secured.server.thaw(),
            )
            .await,
        );
    }
    returns
}

/// One sentinel is down, one is silent, and one is frozen.
async fn sentinels_bend() -> Vec<Return> {
    let mut returns = Vec::new();
    let primary = block_in_place(Server::start);
    let to_primary = Distance::to(primary.address()).await;
    let sentinel = || block_in_place(|| Sentinel::at(to_primary.port()));
    let (sentinel, frozen) = (sentinel(), sentinel());
    let to_sentinel = Distance::to(sentinel.server().address()).await;
    let (down, silent) = (Server::down(), TcpListener::bind("127.0.0.1:0").unwrap());
    let silent = silent.local_addr().unwrap().to_string();
    block_in_place(|| frozen.server().freeze());
    let addresses = [down.address(), silent, frozen.server().address(), format!("127.0.0.1:{}", to_sentinel.port())];
    let urls = addresses.map(|address| format!("redis://{address}"));
    for millis in ROUND_TRIPS {
        to_primary.set_round_trip(millis as u32 * MILLI);
        to_sentinel.set_round_trip(millis as u32 * MILLI);
        let store = || RedisStore::sentinel(&urls, "mymaster", OnOutage::Closed);
        returns.extend(
            assert_bends("sentinels", store, millis as u32 * MILLI, || primary.freeze(), || primary.thaw()).await,
        );
    }
    returns
}

/// One seed is down, and one is silent.
async fn cluster_bends() -> Vec<Return> {
    let mut returns = Vec::new();
    let cluster = block_in_place(Cluster::start);
    let mut distances = Vec::new();
    for node in cluster.nodes() {
        distances.push(Distance::to(node.address()).await);
    }
    let ports: Vec<u16> = distances.iter().map(Distance::port).collect();
    block_in_place(|| cluster.announce(&ports));
    let (down, silent) = (Server::down(), TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = [down.address(), silent.local_addr().unwrap().to_string(), format!("127.0.0.1:{}", ports[0])];
    let urls = addresses.map(|address| format!("redis://{address}"));
    for millis in ROUND_TRIPS {
        distances.iter().for_each(|distance| distance.set_round_trip(millis as u32 * MILLI));
        let store = || RedisStore::cluster(&urls, OnOutage::Closed);
        let freeze = || cluster.nodes().iter().for_each(Server::freeze);
        let thaw = || cluster.nodes().iter().for_each(Server::thaw);
        returns.extend(assert_bends("a cluster", store, millis as u32 * MILLI, freeze, thaw).await);
    }
    returns
}

/// All at the same time, since most of it is waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_kind_of_server_decides_at_any_distance_and_after_any_pause() {
    let bends = [
        tokio::spawn(server_bends()),
        tokio::spawn(tls_bends()),
        tokio::spawn(sentinels_bend()),
        tokio::spawn(cluster_bends()),
    ];
    let mut returns = Vec::new();
    for bends in bends {
        returns.extend(bends.await.unwrap());
    }
    assert_back_in_time(&returns);
}

/// What an operator sees of it, from outside.
#[tokio::test]
async fn health_tells_how_it_stands_with_each_server() {
    let server = Server::start();
    let store = RedisStore::new(server.url(), OnOutage::Local { share: 0.5 }).deadline(5 * SECOND);
    assert!(store.health().is_none(), "it belongs to no limiter yet");
    let limiter = calls(store);
    let health = || limiter.store().health().unwrap();
    assert_eq!(health().nodes()[0].connection(), ConnectionState::Disconnected);
    decided(&limiter, "at first").await;
    let before = health();
    let node = &before.nodes()[0];
    assert_eq!((node.address(), node.connection()), (&*server.address(), ConnectionState::Connected));
    assert_eq!((node.breaker(), node.last_error()), (BreakerState::Closed, None));
    assert!(before.is_healthy() && !before.is_local());
    server.kill();
    for _ in 0..20 {
        let _ = limiter.rule("calls").unwrap().check_async("ann").await.unwrap();
    }
    let during = health();
    let node = &during.nodes()[0];
    assert!(during.is_local() && !during.is_healthy());
    assert_ne!(node.connection(), ConnectionState::Connected);
    assert!(node.last_error().unwrap().contains("refused"), "{node:?}");
    server.restart();
    let start = Instant::now();
    while !health().is_healthy() {
        assert!(start.elapsed() < 10 * SECOND, "{:?}", health());
        let _ = limiter.rule("calls").unwrap().check_async("ann").await.unwrap();
        tokio::time::sleep(5 * MILLI).await;
    }
    assert_eq!(health().nodes()[0].connection(), ConnectionState::Connected);
    assert!(health().nodes()[0].since() > before.nodes()[0].since());
}
