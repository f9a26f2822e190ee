//! The servers that the tests of the Redis store start: that they are what those tests take them for.

use std::{path::Path, time::Duration};

use redis::{AsyncTypedCommands, Client, RedisError};

use tower_quota_tests::redis::{Cluster, Fake, Proxy, Reply, Sentinel, Server, Through, eventually, replica_of};

/// What an asynchronous client is told by PING, or by a GET of "key".
async fn get(url: &str) -> Result<Option<String>, RedisError> {
    Client::open(url)?.get_multiplexed_async_connection().await?.get("key").await
}

#[test]
fn a_server_answers_on_both_of_its_addresses_and_is_gone_when_dropped() {
    let server = Server::start();
    server.run("SET key value");
    for url in [server.url(), server.unix_url()] {
        let mut connection = Client::open(url).unwrap().get_connection().unwrap();
        assert_eq!(redis::cmd("GET").arg("key").query::<String>(&mut connection).unwrap(), "value");
    }
    assert_eq!(server.calls_of("get"), 2);
    assert!(server.resident() > 100_000);
    let (process, folder) = (format!("/proc/{}", server.pid()), server.folder().to_owned());
    assert!(Path::new(&process).exists() && folder.exists());
    drop(server);
    assert!(!Path::new(&process).exists() && !folder.exists());
}

#[test]
fn a_frozen_server_answers_once_it_goes_on() {
    let server = Server::start();
    let mut connection = server.connection();
    server.freeze();
    connection.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    assert!(redis::cmd("PING").query::<String>(&mut connection).unwrap_err().is_timeout());
    server.thaw();
    assert_eq!(server.query::<String>("PING"), "PONG");
}

#[test]
fn a_restarted_server_is_empty_and_where_it_was() {
    let server = Server::with(&["--requirepass", "secret"]);
    let url = server.url();
    server.run("SET key value");
    server.kill();
    server.restart();
    assert_eq!((server.url(), server.query("DBSIZE")), (url, 0));
}

#[tokio::test]
async fn a_proxy_holds_cuts_splits_and_replaces_replies() {
    let server = Server::start();
    server.run("SET key value");
    let proxy = Proxy::to(&server).await;
    let value = Some("value".to_owned());
    for through in [Through::Whole, Through::Bytewise] {
        proxy.let_through(through);
        assert_eq!(get(&proxy.url()).await.unwrap(), value);
    }
    let mut connection = Client::open(proxy.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    proxy.let_through(Through::Held);
    let mut held = tokio::spawn(async move { connection.get("key").await });
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut held).await.is_err());
    proxy.let_through(Through::Whole);
    assert_eq!(held.await.unwrap().unwrap(), value);

    proxy.let_through(Through::Cut(3));
    assert!(get(&proxy.url()).await.is_err());
    proxy.let_through(Through::Replaced(b"!?\r\n"));
    assert!(get(&proxy.url()).await.is_err());
    assert_eq!(proxy.connections(), 5);
}

#[tokio::test]
async fn a_fake_begins_a_connection_and_then_says_what_it_is_told() {
    let fake = Fake::saying(Reply::bytes("$5\r\nvalue\r\n")).await;
    for url in [fake.url(), format!("{}/1?protocol=resp3", fake.url())] {
        assert_eq!(get(&url).await.unwrap().as_deref(), Some("value"));
    }
    fake.say(Reply::error("LOADING Redis is loading the dataset in memory"));
    assert_eq!(get(&fake.url()).await.unwrap_err().code(), Some("LOADING"));
    fake.say(Reply::Last(b"$5\r\nva".to_vec()));
    assert!(get(&fake.url()).await.is_err());
    assert_eq!(fake.asked().len(), 4);
    assert!(fake.asked().iter().all(|(_, words)| *words == [b"GET".to_vec(), b"key".to_vec()]));
    assert_eq!(fake.connections().len(), 4);
}

#[test]
fn a_replica_copies_its_primary_and_can_be_promoted() {
    let primary = Server::start();
    let replica = replica_of(&primary);
    primary.run("SET key value");
    eventually("the copy", || (replica.query::<Option<String>>("GET key").as_deref() == Some("value")).then_some(()));
    let refused = replica.try_query::<()>(["SET", "key", "other"]).unwrap_err();
    assert_eq!(refused.code(), Some("READONLY"));
    replica.run("REPLICAOF NO ONE");
    replica.run("SET key other");
}

#[test]
fn a_sentinel_promotes_the_replica() {
    let primary = Server::start();
    let replica = replica_of(&primary);
    let sentinel = Sentinel::of(&primary);
    assert_eq!(sentinel.primary(), primary.port());
    sentinel.fail_over();
    assert_eq!(sentinel.primary(), replica.port());
    eventually("it takes writes", || replica.try_query::<()>(["SET", "key", "value"]).ok());
}

#[test]
fn a_cluster_serves_all_slots_and_moves_them() {
    let cluster = Cluster::start();
    let at = cluster.node_of(b"key");
    let (home, other) = (&cluster.nodes()[at], (at + 1) % 3);
    home.run("SET key value");
    assert_eq!(cluster.nodes()[other].try_query::<()>(["GET", "key"]).unwrap_err().code(), Some("MOVED"));
    cluster.move_slot(home.query("CLUSTER KEYSLOT key"), at, other);
    assert_eq!(cluster.nodes()[other].query::<String>("GET key"), "value");
    assert_eq!(cluster.keys(), [b"key"]);
}

#[test]
fn the_replica_of_a_node_that_dies_takes_over() {
    let cluster = Cluster::with_replicas();
    let at = cluster.node_of(b"key");
    cluster.nodes()[at].run("SET key value");
    cluster.nodes()[at].run("WAIT 1 1000");
    cluster.nodes()[at].kill();
    let heir = &cluster.nodes()[at + 3];
    eventually("the replica takes over", || heir.says("INFO replication", "role:master").then_some(()));
    cluster.await_ok();
    assert_eq!(heir.query::<String>("GET key"), "value");
}
