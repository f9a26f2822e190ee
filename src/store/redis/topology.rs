//! Where the histories are: on one server, on the master that sentinels know, or on a cluster.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisFuture,
    RedisResult, ServerErrorKind, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType},
};
use tokio::sync::Mutex;

use crate::{error::ConfigError, store::redis::tls::Tls};

/// Time in which a connection has to be established. A decision waits for one no longer than its own deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the histories are, in URLs.
#[derive(Clone)]
pub(super) enum Topology {
    Single(String),
    /// The sentinels, and a URL with the name of the service in the place of the host.
    Sentinel(Vec<String>, String),
    /// Some of the nodes.
    Cluster(Vec<String>),
}

/// What connects to it.
#[derive(Clone)]
pub(super) enum Connector {
    Single(Box<Client>),
    Sentinel(Arc<Mutex<SentinelClient>>),
    Cluster(Box<ClusterClient>),
}

/// A connection that its clones share and pipeline on.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Topology {
    /// Whether histories may be on different servers.
    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Checks the URLs. Nothing is connected yet.
    pub(super) fn connector(&self, tls: &Tls) -> Result<Connector, ConfigError> {
        match self {
            Self::Single(url) => Ok(Connector::Single(Box::new(checked(url, tls.client(url))?))),
            Self::Cluster(urls) => {
                // What it repeats, it repeats without knowing whether the first attempt was executed.
                let builder = ClusterClient::builder(all_checked(urls)?).retries(0).connection_timeout(CONNECT_TIMEOUT);
                Ok(Connector::Cluster(Box::new(checked(&urls.join(", "), tls.of_cluster(builder).build())?)))
            }
            Self::Sentinel(urls, _) if tls.is_custom() => {
                let reason = "behind sentinels only the certificates of the system are used";
                Err(ConfigError::new("redis certificates", without_secrets(&urls.join(", ")), reason))
            }
            Self::Sentinel(urls, service) => {
                let (name, node) = master(service)?;
                let client = SentinelClient::build(all_checked(urls)?, name, Some(node), SentinelServerType::Master);
                Ok(Connector::Sentinel(Arc::new(Mutex::new(checked(&urls.join(", "), client)?))))
            }
        }
    }
}

impl Connector {
    pub(super) async fn connect(&self) -> RedisResult<Connection> {
        // Answers have a deadline of our own.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(None);
        Ok(match self {
            Self::Single(client) => {
                Connection::Single(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
            Self::Sentinel(client) => {
                Connection::Single(client.lock().await.get_async_connection_with_config(&config).await?)
            }
            Self::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        })
    }
}

impl Connection {
    pub(super) fn send<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            // An error that the server replies is a value at this level.
            Self::Single(connection) => {
                Box::pin(async move { connection.req_packed_command(command).await?.extract_error() })
            }
            Self::Cluster(connection) => Box::pin(through_redirections(connection, command)),
        }
    }
}

/// Sends once more where the answer was that this is not the node: then nothing was executed.
async fn through_redirections(connection: &mut ClusterConnection, command: &Cmd) -> RedisResult<Value> {
    let mut reply = connection.req_packed_command(command).await.and_then(Value::extract_error);
    for _ in 0..2 {
        let moved = |kind| matches!(kind, ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::ReadOnly));
        match &reply {
            Err(error) if moved(error.kind()) => {
                reply = connection.req_packed_command(command).await.and_then(Value::extract_error);
            }
            _ => break,
        }
    }
    reply
}

fn all_checked(urls: &[String]) -> Result<Vec<ConnectionInfo>, ConfigError> {
    if urls.is_empty() {
        return Err(ConfigError::new("redis urls", "[]", "at least one is needed"));
    }
    urls.iter().map(|url| checked(url, url.as_str().into_connection_info())).collect()
}

/// The service that sentinels know a master by, and how to connect to it.
fn master(service: &str) -> Result<(String, SentinelNodeConnectionInfo), ConfigError> {
    let url = if service.contains("://") { service.to_owned() } else { format!("redis://{service}") };
    let info = checked(service, url.as_str().into_connection_info())?;
    let node = SentinelNodeConnectionInfo::default().set_redis_connection_info(info.redis_settings().clone());
    match info.addr() {
        ConnectionAddr::Tcp(name, _) => Ok((name.clone(), node)),
        ConnectionAddr::TcpTls { host, .. } => Ok((host.clone(), node.set_tls_mode(TlsMode::Secure))),
        _ => Err(ConfigError::new("redis service", without_secrets(service), "not the name of a service")),
    }
}

fn checked<T>(url: &str, result: RedisResult<T>) -> Result<T, ConfigError> {
    result.map_err(|error| ConfigError::new("redis url", without_secrets(url), error.to_string()))
}

/// A password is not for error messages.
fn without_secrets(url: &str) -> String {
    let shown = url.split(", ").map(|url| url.rsplit_once('@').map_or(url, |(_, host)| host));
    // The URL of a socket has the password among its options.
    let shown = shown.map(|url| url.split_once('?').map_or(url, |(address, _)| address));
    format!("\"{}\"", shown.collect::<Vec<_>>().join(", "))
}
