//! The servers of a store: one, the master behind sentinels, or a cluster.

use std::sync::Arc;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, Value};

use crate::{
    error::ConfigError,
    observe::Observer,
    store::redis::{
        cluster::Cluster,
        cluster_nodes::Masters,
        connect::TlsConfig,
        connection::Endpoint,
        failure::Failure,
        health::{BreakerState, NodeHealth},
        node::{Command, Node},
        sentinels::Sentinels,
        timer::{Deadline, Timer},
    },
};

/// The URLs that lead to the servers.
#[derive(Clone)]
pub(super) enum Topology {
    Single(String),
    /// The sentinels, and a URL with the name of the service in place of the host.
    Sentinel(Vec<String>, String),
    /// Some of the nodes.
    Cluster(Vec<String>),
}

/// The servers of a store.
#[derive(Debug)]
pub(super) enum Servers {
    One(Arc<Node>),
    Cluster(Box<Cluster>),
}

impl Servers {
    /// Checks the URLs. Nothing is connected yet.
    pub(super) fn new(
        topology: &Topology,
        tls: &TlsConfig,
        timer: &Timer,
        observer: &Arc<Observer>,
    ) -> Result<Self, ConfigError> {
        tls.validate()?;
        let one = |endpoint| Self::One(Node::new(endpoint, timer.clone(), observer));
        match topology {
            Topology::Single(url) => endpoint(url, url.as_str().into_connection_info(), tls).map(one),
            Topology::Sentinel(urls, service) => master(urls, service, tls).map(one),
            Topology::Cluster(urls) => {
                let seeds = urls.iter().map(|url| seed(url, tls)).collect::<Result<Vec<_>, _>>()?;
                let cluster =
                    Cluster::new(&seeds, tls.clone(), timer.clone(), Arc::clone(observer)).ok_or_else(no_urls)?;
                Ok(Self::Cluster(Box::new(cluster)))
            }
        }
    }

    /// Returns whether histories may be on different servers.
    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Sends a command to the server that has the slot, and waits for the reply until the deadline.
    pub(super) async fn call(&self, slot: u16, command: &Command<'_>, deadline: Deadline) -> Result<Value, Failure> {
        match self {
            Self::One(node) => node.call(command, false, deadline).await,
            Self::Cluster(cluster) => cluster.call(slot, command, deadline).await,
        }
    }

    /// Returns the failure of a request about a slot if it would not be sent, because a circuit breaker is open.
    pub(super) fn circuit_open(&self, slot: u16) -> Option<Failure> {
        match self {
            Self::One(node) => node.is_circuit_open().then(|| node.circuit_open()),
            Self::Cluster(cluster) => cluster.circuit_open(slot),
        }
    }

    /// Returns every server that decides, with a slot of each.
    pub(super) async fn masters(&self) -> Result<Masters, Failure> {
        match self {
            Self::One(node) => Ok(vec![(Arc::clone(node), 0)]),
            Self::Cluster(cluster) => cluster.masters().await,
        }
    }

    /// Returns the health of each server, and whether some of them cannot even be located.
    pub(super) fn health(&self) -> (Vec<NodeHealth>, bool) {
        match self {
            Self::One(node) => {
                let health = node.health();
                let is_cut_off = health.breaker() != BreakerState::Closed;
                (vec![health], is_cut_off)
            }
            Self::Cluster(cluster) => cluster.health(),
        }
    }
}

/// Checks the URLs of the sentinels and of the master that they know.
fn master(urls: &[String], service: &str, tls: &TlsConfig) -> Result<Endpoint, ConfigError> {
    let info = |url: &String| url.as_str().into_connection_info().map_err(|error| invalid(url, &error.to_string()));
    let sentinels = urls.iter().map(info).collect::<Result<Vec<_>, _>>()?;
    if sentinels.is_empty() {
        return Err(no_urls());
    }
    let master = master_info(service)?;
    // This finds a certificate that cannot be used, before the first connection does.
    endpoint(service, Ok(master.clone()), tls)?;
    Ok(Endpoint::Master(Arc::new(Sentinels::new(sentinels, master, tls.clone()))))
}

/// Returns how to connect to a master. The name of the service stands in place of the host.
fn master_info(service: &str) -> Result<ConnectionInfo, ConfigError> {
    let url = if service.contains("://") { service.to_owned() } else { format!("redis://{service}") };
    let info = url.as_str().into_connection_info().map_err(|error| invalid(service, &error.to_string()))?;
    match info.addr() {
        ConnectionAddr::Unix(_) => {
            Err(ConfigError::new("redis service", without_secrets(service), "not the name of a service"))
        }
        _ => Ok(info),
    }
}

/// Checks the URL of a cluster node.
fn seed(url: &str, tls: &TlsConfig) -> Result<(Endpoint, ConnectionInfo), ConfigError> {
    let info = seed_info(url).map_err(|error| invalid(url, &error.to_string()))?;
    Ok((endpoint(url, Ok(info.clone()), tls)?, info))
}

fn seed_info(url: &str) -> Result<ConnectionInfo, RedisError> {
    let info = url.into_connection_info()?;
    let invalid = |reason| Err((redis::ErrorKind::InvalidClientConfig, reason).into());
    match info.addr() {
        ConnectionAddr::Unix(_) => invalid("a node of a cluster has a host and a port"),
        _ if info.redis_settings().db() != 0 => invalid("a cluster has only database 0"),
        _ => Ok(info),
    }
}

fn endpoint(url: &str, info: Result<ConnectionInfo, RedisError>, tls: &TlsConfig) -> Result<Endpoint, ConfigError> {
    info.and_then(|info| Endpoint::server(info, tls)).map_err(|error| invalid(url, &error.to_string()))
}

fn no_urls() -> ConfigError {
    ConfigError::new("redis urls", "[]", "at least one is needed")
}

fn invalid(url: &str, reason: &str) -> ConfigError {
    ConfigError::new("redis url", without_secrets(url), reason)
}

/// Returns a URL as it may be shown in error messages: without a password.
fn without_secrets(url: &str) -> String {
    let shown = url.rsplit_once('@').map_or(url, |(_, host)| host);
    // The URL of a socket has the password among its options.
    let shown = shown.split_once('?').map_or(shown, |(address, _)| address);
    format!("\"{shown}\"")
}
