//! A cluster whose slots move and whose nodes come and go: every request that a healthy node can decide is decided.
#![allow(clippy::disallowed_methods, reason = "here the time is that of real servers")]

use std::{
    collections::HashMap,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tower_quota::{
    CheckError, Policy,
    store::{BreakerState, OnOutage, RedisStore},
};
use tower_quota_tests::redis::{self, Cluster, Limiter, admitted, eventually, limiter, remaining, rule};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const GUARD: Duration = Duration::from_secs(20);
const LIMIT: u64 = 1000;

/// For each account all tables together and each table: two histories in one slot. And in another place the region.
fn limiter_on(store: RedisStore) -> Limiter {
    let rules = ["account", "table", "region"].map(|name| rule(name, Policy::per_hour(LIMIT)));
    limiter(store.denial_cache_ttl(Duration::ZERO), rules)
}

fn store(cluster: &Cluster, on_outage: OnOutage) -> RedisStore {
    RedisStore::cluster(cluster.urls(), on_outage).deadline(500 * MILLI)
}

/// Asks all the time for many accounts, in all ways.
struct Load {
    is_over: Arc<AtomicBool>,
    tasks: JoinSet<Tally>,
}

/// What was admitted of each history, and what could not be decided.
#[derive(Debug, Default)]
struct Tally {
    admitted: HashMap<String, u64>,
    asked: u32,
    errors: Vec<String>,
}

impl Load {
    fn on(limiter: &Limiter, accounts: u32) -> Self {
        let (is_over, mut tasks) = (Arc::<AtomicBool>::default(), JoinSet::new());
        for task in 0..4 {
            let (limiter, is_over) = (limiter.clone(), Arc::clone(&is_over));
            tasks.spawn(async move {
                let mut tally = Tally::default();
                for number in (0..).map(|turn| turn * 4 + task) {
                    if is_over.load(Ordering::Relaxed) {
                        return tally;
                    }
                    tally.ask(&limiter, number % accounts, number / accounts).await;
                    tokio::time::sleep(MILLI).await;
                }
                tally
            });
        }
        Self { is_over, tasks }
    }

    async fn end(self) -> Tally {
        self.is_over.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.into_iter().fold(Tally::default(), Tally::and)
    }
}

impl Tally {
    async fn ask(&mut self, limiter: &Limiter, account: u32, turn: u32) {
        let (account, region) = (format!("account {account}"), format!("region {}", account % 7));
        let table = format!("table {}", turn % 5);
        let (whole, part) = ((account.as_str(), "all"), (account.as_str(), table.as_str()));
        let charges = match turn % 3 {
            0 => vec![("account", whole)],
            1 => vec![("account", whole), ("table", part)],
            _ => vec![("account", whole), ("region", (region.as_str(), ""))],
        };
        self.asked += 1;
        match limiter.check_all_async(charges.iter().copied()).await {
            Ok(decision) if decision.is_admitted() => {
                charges.iter().for_each(|charge| *self.admitted.entry(format!("{charge:?}")).or_default() += 1);
            }
            Ok(_) => {}
            Err(CheckError::Unavailable(unavailable)) => self.errors.push(unavailable.to_string()),
            Err(error) => panic!("{error}"),
        }
    }

    fn and(mut self, other: Self) -> Self {
        other.admitted.into_iter().for_each(|(name, count)| *self.admitted.entry(name).or_default() += count);
        self.errors.extend(other.errors);
        Self { asked: self.asked + other.asked, ..self }
    }

    #[track_caller]
    fn assert_without_errors(&self, what: &str) {
        assert!(
            self.errors.is_empty(),
            "{what}: {} errors of {}: {:?}",
            self.errors.len(),
            self.asked,
            self.errors.first()
        );
        assert!(self.asked > 100, "{what}: {} asked", self.asked);
        assert!(self.admitted.values().all(|count| *count <= LIMIT), "{what}: {:?}", self.admitted);
    }
}

async fn warm(limiter: &Limiter) {
    let start = Instant::now();
    while let Err(error) = limiter.store().ping().await {
        assert!(start.elapsed() < 20 * SECOND, "{error}");
        tokio::time::sleep(20 * MILLI).await;
    }
}

fn assert_all_closed(limiter: &Limiter) {
    let health = limiter.store().health().unwrap();
    assert!(health.nodes().iter().all(|node| node.breaker() == BreakerState::Closed), "{health:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_are_given_to_other_nodes_under_load_without_an_error() {
    let cluster = Cluster::start().trust();
    let limiter = limiter_on(store(&cluster, OnOutage::Closed));
    warm(&limiter).await;
    let load = Load::on(&limiter, 400);
    tokio::time::sleep(300 * MILLI).await;
    tokio::task::block_in_place(|| {
        let ids: Vec<String> = cluster.nodes().iter().map(|node| node.query("CLUSTER MYID")).collect();
        for (from, to) in [(0, 1), (2, 0)] {
            let reshard = Command::new("redis-cli")
                .args(["--cluster", "reshard", &cluster.nodes()[0].address(), "--cluster-slots", "400"])
                .args(["--cluster-from", &ids[from], "--cluster-to", &ids[to], "--cluster-yes"])
                .output()
                .unwrap();
            assert!(reshard.status.success(), "{}", String::from_utf8_lossy(&reshard.stdout));
        }
    });
    load.end().await.assert_without_errors("resharding");
    assert_all_closed(&limiter);
}

/// What somebody has begun and not ended: keys are here and there, and new ones only there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_held_open_is_decided_about_key_by_key() {
    let cluster = Cluster::start().trust();
    let limiter = limiter_on(store(&cluster, OnOutage::Closed));
    let ask = async |charges: &[(&str, (&str, &str))]| limiter.check_all_async(charges.iter().copied()).await.unwrap();
    let (account, tables) = (("account", ("ann", "all")), [("table", ("ann", "one")), ("table", ("ann", "two"))]);
    let elsewhere = ("region", ("west", ""));
    let _ = ask(&[account, tables[0]]).await;
    let keys = cluster.keys();
    let (home, slot) = (cluster.node_of(&keys[0]), cluster.slot_of(&keys[0]));
    let target = (home + 1) % 3;
    tokio::task::block_in_place(|| cluster.open_slot(slot, home, target));
    for _ in 0..20 {
        let _ = ask(&[account]).await;
        let _ = ask(&[account, tables[0]]).await;
        let _ = ask(&[account, elsewhere, tables[1]]).await;
    }
    // One of two goes; then the other; and then it is over.
    for key in &keys {
        tokio::task::block_in_place(|| cluster.move_key(key, home, target));
        for _ in 0..20 {
            let _ = ask(&[account]).await;
            let _ = ask(&[account, tables[0]]).await;
            let _ = ask(&[elsewhere, account, tables[1]]).await;
        }
    }
    tokio::task::block_in_place(|| cluster.close_slot(slot, home, target));
    let last = ask(&[account, tables[0]]).await;
    let used: Vec<u64> = remaining(&last).into_iter().map(|left| LIMIT - left).collect();
    assert_eq!(used, [2 + 180, 2 + 60]);
    let region = limiter.rule("region").unwrap().peek_async(("west", "")).await.unwrap();
    assert_eq!(remaining(&region), [LIMIT - 60]);
    assert_all_closed(&limiter);
}

/// Who is denied by one key is not charged by the other, in whatever place these are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denial_costs_nothing_while_a_slot_is_held_open() {
    let cluster = Cluster::start().trust();
    let rules = [rule("account", Policy::per_hour(LIMIT)), rule("table", Policy::per_hour(3))];
    let limiter = limiter(store(&cluster, OnOutage::Closed), rules);
    let both = [("account", ("ann", "all")), ("table", ("ann", "one"))];
    assert!(limiter.check_all_async(both).await.unwrap().is_admitted());
    let keys = cluster.keys();
    let (home, slot) = (cluster.node_of(&keys[0]), cluster.slot_of(&keys[0]));
    tokio::task::block_in_place(|| {
        cluster.open_slot(slot, home, (home + 1) % 3);
        cluster.move_key(&keys[0], home, (home + 1) % 3);
    });
    let mut admitted = 1;
    for _ in 0..20 {
        admitted += u64::from(limiter.check_all_async(both).await.unwrap().is_admitted());
    }
    let account = limiter.rule("account").unwrap().peek_async(("ann", "all")).await.unwrap();
    assert_eq!((admitted, remaining(&account)), (3, vec![LIMIT - 3]));
}

/// With the deadline that users have: those whose nodes are well, and never more than the limit of their histories.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_is_killed_or_frozen_takes_nobody_with_it() {
    let mut tasks = JoinSet::new();
    for on_outage in [OnOutage::Open, OnOutage::Closed, OnOutage::Local { share: 0.5 }] {
        for freezes in [false, true] {
            tasks.spawn(assert_others_go_on(on_outage, freezes));
        }
    }
    tasks.join_all().await;
}

async fn assert_others_go_on(on_outage: OnOutage, freezes: bool) {
    const FEW: u64 = 20;
    let cluster = tokio::task::block_in_place(|| Cluster::start().trust());
    cluster.nodes().iter().for_each(|node| node.run("CONFIG SET cluster-require-full-coverage no"));
    let store = RedisStore::cluster(cluster.urls(), on_outage).deadline(250 * MILLI).denial_cache_ttl(Duration::ZERO);
    let limiter = limiter(store, [rule("calls", Policy::per_hour(FEW))]);
    warm(&limiter).await;
    // By the names that are there when each was asked for once.
    let mut homes = Vec::new();
    let patient = RedisStore::cluster(cluster.urls(), OnOutage::Closed).deadline(20 * SECOND);
    let patient = redis::limiter(patient, [rule("calls", Policy::per_hour(FEW))]);
    for number in 0..60 {
        let _ = patient.rule("calls").unwrap().check_async(format!("key {number}")).await.unwrap();
    }
    let names = cluster.keys();
    for number in 0..60 {
        let end = format!("key%20{number}");
        let name = names.iter().find(|name| name.rsplit(|byte| *byte == b':').next() == Some(end.as_bytes())).unwrap();
        homes.push(cluster.node_of(name));
    }
    if freezes {
        cluster.nodes()[0].freeze();
    } else {
        cluster.nodes()[0].kill();
    }
    let (mut well, mut decided) = (0, 0);
    let mut admitted = vec![1; 60];
    for _ in 0..30 {
        let asked =
            (0..60).map(async |number| limiter.rule("calls").unwrap().check_async(format!("key {number}")).await);
        for (number, answer) in futures_util::future::join_all(asked).await.into_iter().enumerate() {
            let is_well = homes[number] != 0;
            let is_decided = answer.as_ref().is_ok_and(|decision| decision.quotas().next().is_some());
            admitted[number] += u64::from(answer.is_ok_and(|decision| decision.is_admitted()));
            well += u32::from(is_well);
            decided += u32::from(is_well && is_decided);
        }
    }
    let what = format!("{on_outage}, {}", if freezes { "frozen" } else { "killed" });
    assert!(well > 600 && decided * 100 >= well * 95, "{what}: {decided} of {well} decided");
    // A process that starts now finds the others, though its first seed is gone.
    let late = RedisStore::cluster(cluster.urls(), OnOutage::Closed).deadline(SECOND).denial_cache_ttl(Duration::ZERO);
    let late = redis::limiter(late, [rule("calls", Policy::per_hour(FEW))]);
    for number in (0..60).filter(|number| homes[*number] != 0) {
        let _ = late.rule("calls").unwrap().peek_async(format!("key {number}")).await.unwrap();
    }
    let over: Vec<_> = (0..60).filter(|number| homes[*number] != 0 && admitted[*number] > FEW).collect();
    assert!(over.is_empty(), "{what}: {over:?} over");
}

/// Whoever has a reachable node's denial is denied, and whoever is let pass by it is charged there, whatever another node does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denial_of_one_node_holds_even_if_another_is_gone() {
    for on_outage in [OnOutage::Open, OnOutage::Closed, OnOutage::Local { share: 0.5 }] {
        let cluster = tokio::task::block_in_place(|| Cluster::start().trust());
        cluster.nodes().iter().for_each(|node| node.run("CONFIG SET cluster-require-full-coverage no"));
        let rules = [rule("calls", Policy::per_hour(4)), rule("other", Policy::per_hour(1000))];
        let store =
            RedisStore::cluster(cluster.urls(), on_outage).denial_cache_ttl(Duration::ZERO).deadline(200 * MILLI);
        let limiter = limiter(store, rules);
        warm(&limiter).await;
        let [here, gone] = cluster.keys_on_two_nodes(&limiter).await;
        assert!(limiter.rule("calls").unwrap().reset_async(&*here.0).await.unwrap());
        cluster.nodes()[gone.1].kill();
        let mut admitted = 0;
        for _ in 0..20 {
            let both = [("calls", here.0.as_str()), ("other", gone.0.as_str())];
            admitted += u64::from(limiter.check_all_async(both).await.is_ok_and(|decision| decision.is_admitted()));
        }
        let left = remaining(&limiter.rule("calls").unwrap().peek_async(&*here.0).await.unwrap())[0];
        match on_outage {
            // Refused, and given back.
            OnOutage::Closed => assert_eq!((admitted, left), (0, 4)),
            // Each of them charged where that can be.
            _ => assert_eq!((admitted, left), (4, 0), "{on_outage}"),
        }
        let rest = (0..left).map(async |_| limiter.rule("calls").unwrap().check_async(here.0.as_str()).await);
        assert!(futures_util::future::join_all(rest).await.into_iter().all(|answer| answer.unwrap().is_admitted()));
        let both = [("calls", here.0.as_str()), ("other", gone.0.as_str())];
        let denied = limiter.check_all_async(both).await.unwrap();
        assert!(!denied.is_admitted(), "{on_outage}: it is denied and not in doubt");
    }
}

/// A node that is silent is waited for by requests that need it, and by no others; and a denial is one whatever it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_holds_up_nobody_who_does_not_need_it_and_turns_no_denial_into_doubt() {
    let cluster = tokio::task::block_in_place(|| Cluster::start().trust());
    let rules = || [rule("calls", Policy::per_hour(4)), rule("other", Policy::per_hour(1000))];
    let on_cluster = |on_outage, deadline| {
        let store = RedisStore::cluster(cluster.urls(), on_outage).denial_cache_ttl(Duration::ZERO).deadline(deadline);
        limiter(store, rules())
    };
    let patient = on_cluster(OnOutage::Closed, GUARD);
    warm(&patient).await;
    let [here, silent] = cluster.keys_on_two_nodes(&patient).await;
    let hasty = [OnOutage::Open, OnOutage::Closed, OnOutage::Local { share: 0.5 }]
        .map(|on_outage| (on_outage, on_cluster(on_outage, 200 * MILLI)));
    for (_, hasty) in &hasty {
        warm(hasty).await;
    }
    assert!(patient.rule("calls").unwrap().reset_async(&*here.0).await.unwrap());
    cluster.nodes()[silent.1].freeze();

    let (needs_it, both) = (patient.clone(), [("other", here.0.clone()), ("other", silent.0.clone())]);
    let waiting = tokio::spawn(async move { needs_it.check_all_async(both).await });
    assert_eq!(admitted(&patient, "calls", &here.0, 100).await, 4);
    assert!(!waiting.is_finished(), "a deadline is much longer than a hundred decisions");

    for (on_outage, hasty) in &hasty {
        for _ in 0..20 {
            let both = [("calls", here.0.as_str()), ("other", silent.0.as_str())];
            assert!(!hasty.check_all_async(both).await.unwrap().is_admitted(), "{on_outage}");
        }
        let health = hasty.store().health().unwrap();
        let left_alone = health.nodes().iter().filter(|node| node.breaker() != BreakerState::Closed).count();
        assert_eq!(left_alone, 1, "{health:?}");
    }
    cluster.nodes()[silent.1].thaw();
    assert!(waiting.await.unwrap().unwrap().is_admitted());
}

/// A unit that is about to be given back is no reason to deny for a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_that_is_given_back_is_not_remembered_as_a_denial() {
    let cluster = tokio::task::block_in_place(|| Cluster::start().trust());
    let store = RedisStore::cluster(cluster.urls(), OnOutage::Closed).deadline(400 * MILLI);
    let limiter = limiter(store, [rule("calls", Policy::per_hour(1)), rule("other", Policy::per_hour(1000))]);
    warm(&limiter).await;
    let [here, gone] = cluster.keys_on_two_nodes(&limiter).await;
    assert!(limiter.rule("calls").unwrap().reset_async(&*here.0).await.unwrap());
    let left = async || remaining(&limiter.rule("calls").unwrap().peek_async(&*here.0).await.unwrap())[0];
    cluster.nodes()[gone.1].freeze();
    let (reserving, both) = (limiter.clone(), [("calls", here.0.clone()), ("other", gone.0.clone())]);
    let reserving = tokio::spawn(async move { reserving.check_all_async(both).await });
    while left().await > 0 {
        tokio::time::sleep(MILLI).await;
    }
    assert!(!limiter.rule("calls").unwrap().check_async(&*here.0).await.unwrap().is_admitted(), "it is reserved");
    assert!(reserving.await.unwrap().is_err());
    while left().await == 0 {
        tokio::time::sleep(MILLI).await;
    }
    assert!(limiter.rule("calls").unwrap().check_async(&*here.0).await.unwrap().is_admitted());
    // And what is denied for good is known after a while.
    let calls = || cluster.nodes()[here.1].calls_of("evalsha");
    let start = Instant::now();
    loop {
        let before = calls();
        assert!(!limiter.rule("calls").unwrap().check_async(&*here.0).await.unwrap().is_admitted());
        if calls() == before {
            return;
        }
        assert!(start.elapsed() < 20 * SECOND, "it is asked about every time");
        tokio::time::sleep(20 * MILLI).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_are_changed_without_an_error() {
    let cluster = Cluster::with_replicas().trust();
    let limiter = limiter_on(store(&cluster, OnOutage::Closed).deadline(5 * SECOND));
    warm(&limiter).await;
    let load = Load::on(&limiter, 400);
    tokio::time::sleep(200 * MILLI).await;
    tokio::task::block_in_place(|| {
        for heir in &cluster.nodes()[3..5] {
            heir.run("CLUSTER FAILOVER");
            eventually("it is the master", || heir.says("INFO replication", "role:master").then_some(()));
        }
    });
    tokio::time::sleep(500 * MILLI).await;
    load.end().await.assert_without_errors("CLUSTER FAILOVER");
    assert_all_closed(&limiter);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_has_taken_over_is_asked_soon() {
    for freezes in [false, true] {
        let cluster = tokio::task::block_in_place(Cluster::with_replicas);
        let limiter = limiter_on(RedisStore::cluster(cluster.urls(), OnOutage::Closed));
        warm(&limiter).await;
        let [_, gone] = cluster.keys_on_two_nodes_of(&limiter, "account").await;
        let load = Load::on(&limiter, 400);
        let home = &cluster.nodes()[gone.1];
        if freezes {
            home.freeze();
        } else {
            home.kill();
        }
        let heir = &cluster.nodes()[gone.1 + 3];
        tokio::task::block_in_place(|| {
            eventually("the replica takes over", || heir.says("INFO replication", "role:master").then_some(()));
            let is_ok = || heir.says("CLUSTER INFO", "cluster_state:ok").then_some(());
            eventually("the cluster is ok", is_ok);
        });
        let promoted = Instant::now();
        while limiter.rule("account").unwrap().check_async(gone.0.as_str()).await.is_err() {
            // And another second, on a busy machine.
            assert!(promoted.elapsed() < 2 * SECOND, "{:?}", limiter.store().health());
            tokio::time::sleep(5 * MILLI).await;
        }
        load.end().await;
    }
}

trait TwoNodes {
    async fn keys_on_two_nodes(&self, limiter: &Limiter) -> [(String, usize); 2];
    async fn keys_on_two_nodes_of(&self, limiter: &Limiter, rule: &str) -> [(String, usize); 2];
}

impl TwoNodes for Cluster {
    /// Two keys, and the numbers of their nodes, which differ.
    async fn keys_on_two_nodes(&self, limiter: &Limiter) -> [(String, usize); 2] {
        self.keys_on_two_nodes_of(limiter, "calls").await
    }

    async fn keys_on_two_nodes_of(&self, limiter: &Limiter, rule: &str) -> [(String, usize); 2] {
        let mut found: Vec<(String, usize)> = Vec::new();
        for number in 0.. {
            let key = format!("key{number}");
            let _ = limiter.rule(rule).unwrap().check_async(key.as_str()).await.unwrap();
            let names = self.keys();
            let name = names.iter().find(|name| name.ends_with(format!(":{key}").as_bytes())).unwrap();
            let node = self.node_of(name);
            if found.iter().all(|(_, other)| *other != node) {
                found.push((key, node));
            }
            if let [one, other] = found.as_slice() {
                return [one.clone(), other.clone()];
            }
        }
        unreachable!("keys are spread")
    }
}
