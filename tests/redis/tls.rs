//! The Redis store over TLS, against real servers with certificates of their own.
#![allow(clippy::disallowed_methods, reason = "here the time is that of real servers")]

use std::time::Duration;

use tokio::task::block_in_place;
use tower_quota::{
    Policy, RateLimiter,
    store::{OnOutage, RedisStore},
};
use tower_quota_tests::redis::{Certificates, Cluster, Secured, admitted, authority, limiter, port_of, rule, store};

const GUARD: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_server_with_a_certificate_that_is_trusted_decides() {
    let secured = Secured::start();
    let limiter = limiter(secured.certificates.on(store(secured.url())), [rule("calls", Policy::per_hour(5))]);
    limiter.store().ping().await.unwrap();
    assert_eq!(admitted(&limiter, "calls", "ann", 8).await, 5);
    assert_eq!(secured.server.calls_of("evalsha"), 8 + 1, "and one of the ping");
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_told_nothing() {
    let secured = Secured::start();
    let stranger = authority().pem();
    for trusting in [store(secured.url()), store(secured.url()).root_certificate(stranger)] {
        let limiter = limiter(trusting, [rule("calls", Policy::per_hour(5))]);
        let error = limiter.store().ping().await.unwrap_err();
        assert!(error.reason().to_lowercase().contains("certificate"), "{error}");
        assert!(limiter.rule("calls").unwrap().check_async("ann").await.is_err());
    }
    assert_eq!(secured.server.calls_of("evalsha") + secured.server.calls_of("eval"), 0);
}

#[tokio::test]
async fn a_client_without_a_certificate_is_turned_away_where_one_is_asked_for() {
    let secured = Secured::start();
    let store = store(secured.url()).root_certificate(secured.certificates.root.as_str());
    let limiter = limiter(store, [rule("calls", Policy::per_hour(5))]);
    assert!(limiter.store().ping().await.is_err());
}

fn on_cluster(cluster: &Cluster) -> RedisStore {
    RedisStore::cluster(&cluster.urls()[..1], OnOutage::Closed).deadline(GUARD).denial_cache_ttl(Duration::ZERO)
}

/// Whatever node a key is on, as the one that was asked first says; and when a slot moves, as the one that had it says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_speaks_nothing_but_tls_decides_also_about_slots_that_move() {
    let certificates = Certificates::of("127.0.0.1");
    let cluster = block_in_place(|| Cluster::secured(&certificates).trust());
    let rules = [rule("calls", Policy::per_hour(5)), rule("other", Policy::per_hour(1000))];
    let limiter = limiter(certificates.on(on_cluster(&cluster)), rules);
    limiter.store().ping().await.unwrap();
    cluster.nodes().iter().for_each(|node| node.run("CONFIG RESETSTAT"));
    for number in 0..30 {
        let both = [("calls", format!("key {number}")), ("other", format!("key {}", number + 1))];
        assert!(limiter.check_all_async(both).await.unwrap().is_admitted());
        assert_eq!(admitted(&limiter, "calls", &format!("key {number}"), 6).await, 4);
    }
    assert!(cluster.nodes().iter().all(|node| node.calls_of("evalsha") > 0));
    let health = limiter.store().health().unwrap();
    let mut ports: Vec<_> = cluster.nodes().iter().map(|node| format!("127.0.0.1:{}", port_of(node))).collect();
    let mut nodes: Vec<_> = health.nodes().iter().map(|node| node.address().to_owned()).collect();
    ports.sort();
    nodes.sort();
    assert_eq!(nodes, ports);

    let name = cluster.keys().remove(0);
    let (home, slot) = (cluster.node_of(&name), cluster.slot_of(&name));
    block_in_place(|| cluster.open_slot(slot, home, (home + 1) % 3));
    block_in_place(|| cluster.move_key(&name, home, (home + 1) % 3));
    let used_up = async || {
        for number in 0..30 {
            assert_eq!(admitted(&limiter, "calls", &format!("key {number}"), 1).await, 0, "key {number}");
        }
    };
    used_up().await;
    block_in_place(|| cluster.move_slot(slot, home, (home + 1) % 3));
    used_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_nobody_vouches_for_is_told_nothing() {
    let certificates = Certificates::of("127.0.0.1");
    let cluster = block_in_place(|| Cluster::secured(&certificates).trust());
    let (elsewhere, stranger) = (Certificates::of("localhost"), Certificates::of("127.0.0.1"));
    for of in [&elsewhere, &stranger] {
        let limiter = limiter(of.on(on_cluster(&cluster)), [rule("calls", Policy::per_hour(5))]);
        let error = limiter.store().ping().await.unwrap_err();
        assert!(error.reason().to_lowercase().contains("certificate"), "{error}");
        assert!(limiter.rule("calls").unwrap().check_async("ann").await.is_err());
    }
    assert!(cluster.nodes().iter().all(|node| node.calls_of("evalsha") + node.calls_of("eval") == 0));
}

#[test]
fn mistakes_in_certificates_are_found_when_the_limiter_is_built() {
    let refusal = |store: RedisStore| {
        RateLimiter::builder().store(store).rule(rule("calls", Policy::per_hour(5))).build().map(drop).unwrap_err()
    };
    let at = |url: &str| RedisStore::new(url, OnOutage::Closed);
    let certificate = authority().pem();
    for store in [
        at("rediss://localhost").client_certificate("no certificate", "no key"),
        at("redis://localhost").root_certificate(certificate.as_str()),
        at("rediss://localhost").root_certificate(""),
        at("rediss://localhost").root_certificate("not in PEM"),
        RedisStore::cluster(["rediss://localhost"], OnOutage::Open).root_certificate("\n"),
        RedisStore::sentinel(["redis://localhost"], "rediss://main", OnOutage::Open).root_certificate(""),
        RedisStore::sentinel(["rediss://localhost"], "main", OnOutage::Open).root_certificate(certificate.as_str()),
    ] {
        let error = refusal(store);
        assert!(error.field().starts_with("redis "), "{error}");
    }
}
