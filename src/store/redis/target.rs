//! What a connection leads to: a server, or the master that sentinels know.

use std::{fmt, sync::Arc};

use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, aio::MultiplexedConnection};

use crate::{
    error::ConfigError,
    store::redis::{dial::connect, sentinels::Sentinels, tls::Tls},
};

/// What a connection leads to.
#[derive(Clone)]
pub(super) enum Target {
    Server(Arc<Client>),
    Master(Arc<Sentinels>),
}

impl Target {
    /// The server at a URL, or at another address in the same way.
    pub(super) fn server(info: ConnectionInfo, tls: &Tls) -> Result<Self, RedisError> {
        Ok(Self::Server(Arc::new(tls.client(info)?)))
    }

    pub(super) fn address(&self) -> String {
        match self {
            Self::Server(client) => client.get_connection_info().addr().to_string(),
            Self::Master(sentinels) => sentinels.service().to_owned(),
        }
    }

    /// Connects, or says in words for the operator why not.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, String> {
        match self {
            Self::Server(client) => connect(client).await,
            Self::Master(sentinels) => sentinels.connect().await,
        }
    }
}

/// Where the histories are, in URLs.
#[derive(Clone)]
pub(super) enum Topology {
    Single(String),
    /// The sentinels, and a URL with the name of the service in the place of the host.
    Sentinel(Vec<String>, String),
    /// Some of the nodes.
    Cluster(Vec<String>),
}

impl Topology {
    /// Checks the URLs, and gives what to connect to first. Nothing is connected yet.
    pub(super) fn targets(&self, tls: &Tls) -> Result<Vec<Target>, ConfigError> {
        tls.validate()?;
        match self {
            Self::Single(url) => Ok(vec![checked(url, url.as_str().into_connection_info(), tls)?]),
            Self::Cluster(urls) => {
                let targets = urls.iter().map(|url| checked(url, node(url), tls)).collect::<Result<Vec<_>, _>>()?;
                at_least_one(targets)
            }
            Self::Sentinel(urls, service) => {
                let (sentinels, master) = (all_of(urls)?, master(service)?);
                // A certificate that cannot be used is found here and not by the first connection.
                checked(service, Ok(master.clone()), tls)?;
                Ok(vec![Target::Master(Arc::new(Sentinels::new(sentinels, master, tls.clone())))])
            }
        }
    }
}

fn at_least_one<T>(all: Vec<T>) -> Result<Vec<T>, ConfigError> {
    if all.is_empty() {
        return Err(ConfigError::new("redis urls", "[]", "at least one is needed"));
    }
    Ok(all)
}

fn all_of(urls: &[String]) -> Result<Vec<ConnectionInfo>, ConfigError> {
    let info = |url: &String| url.as_str().into_connection_info().map_err(|error| mistake(url, &error.to_string()));
    at_least_one(urls.iter().map(info).collect::<Result<Vec<_>, _>>()?)
}

/// A node of a cluster, whose first database is the only one.
fn node(url: &str) -> Result<ConnectionInfo, RedisError> {
    let info = url.into_connection_info()?;
    let invalid = |reason| Err((redis::ErrorKind::InvalidClientConfig, reason).into());
    match info.addr() {
        ConnectionAddr::Unix(_) => invalid("a node of a cluster has a host and a port"),
        _ if info.redis_settings().db() != 0 => invalid("a cluster has only database 0"),
        _ => Ok(info),
    }
}

/// The service that sentinels know a master by, in the place of the host.
fn master(service: &str) -> Result<ConnectionInfo, ConfigError> {
    let url = if service.contains("://") { service.to_owned() } else { format!("redis://{service}") };
    let info = url.as_str().into_connection_info().map_err(|error| mistake(service, &error.to_string()))?;
    match info.addr() {
        ConnectionAddr::Unix(_) => {
            Err(ConfigError::new("redis service", without_secrets(service), "not the name of a service"))
        }
        _ => Ok(info),
    }
}

fn checked(url: &str, info: Result<ConnectionInfo, RedisError>, tls: &Tls) -> Result<Target, ConfigError> {
    info.and_then(|info| Target::server(info, tls)).map_err(|error| mistake(url, &error.to_string()))
}

fn mistake(url: &str, reason: &str) -> ConfigError {
    ConfigError::new("redis url", without_secrets(url), reason)
}

/// A password is not for error messages.
fn without_secrets(url: &str) -> String {
    let shown = url.rsplit_once('@').map_or(url, |(_, host)| host);
    // The URL of a socket has the password among its options.
    let shown = shown.split_once('?').map_or(shown, |(address, _)| address);
    format!("\"{shown}\"")
}

impl fmt::Debug for Target {
    /// Without passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address())
    }
}
