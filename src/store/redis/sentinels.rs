//! Sentinels, which know the master of a service.

use std::collections::HashSet;

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use redis::{Client, ConnectionAddr, ConnectionInfo, Value, aio::MultiplexedConnection, cmd};

use crate::store::redis::{
    connect::{TlsConfig, connect, with_address},
    failure::explain,
};

/// Sentinels, and the service whose master they know.
pub(super) struct Sentinels {
    sentinels: Vec<ConnectionInfo>,
    /// The way to connect to a master. The name of the service stands in place of the host.
    master: ConnectionInfo,
    tls: TlsConfig,
}

/// A step towards the master that has ended.
enum SentinelStep {
    Located(Result<(String, u16), String>),
    Connected(Result<MultiplexedConnection, String>),
}

impl Sentinels {
    pub(super) const fn new(sentinels: Vec<ConnectionInfo>, master: ConnectionInfo, tls: TlsConfig) -> Self {
        Self { sentinels, master, tls }
    }

    /// Returns the name of the service.
    pub(super) fn service(&self) -> &str {
        match self.master.addr() {
            ConnectionAddr::Tcp(name, _) | ConnectionAddr::TcpTls { host: name, .. } => name,
            _ => "",
        }
    }

    /// Connects to the master.
    ///
    /// All sentinels are asked at the same time, since any of them may be down, silent or wrong. The first server that is
    /// named and says itself that it is a master wins.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, String> {
        let asked = self.sentinels.iter().map(|sentinel| self.locate(sentinel).map(SentinelStep::Located).boxed());
        let mut steps: FuturesUnordered<_> = asked.collect();
        let (mut tried, mut reason) = (HashSet::new(), String::from("there is no sentinel"));
        while let Some(step) = steps.next().await {
            match step {
                SentinelStep::Located(Ok(address)) if tried.insert(address.clone()) => {
                    steps.push(self.connect_to(address).map(SentinelStep::Connected).boxed());
                }
                SentinelStep::Connected(Ok(connection)) => return Ok(connection),
                SentinelStep::Located(Err(error)) | SentinelStep::Connected(Err(error)) => reason = error,
                SentinelStep::Located(Ok(_)) => {}
            }
        }
        Err(reason)
    }

    /// Asks one sentinel for the address of the master.
    async fn locate(&self, sentinel: &ConnectionInfo) -> Result<(String, u16), String> {
        let name = format!("sentinel {}", sentinel.addr());
        let client = self.client(sentinel.clone())?;
        let mut connection = connect(&client).await.map_err(|error| format!("{name}: {error}"))?;
        let mut command = cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(self.service());
        let reply = command.query_async::<Option<(String, u16)>>(&mut connection).await;
        let reply = reply.map_err(|error| format!("{name}: {}", explain(&error)))?;
        reply.ok_or_else(|| format!("{name} knows no service with the name {:?}", self.service()))
    }

    async fn connect_to(&self, (host, port): (String, u16)) -> Result<MultiplexedConnection, String> {
        let name = format!("master {host}:{port}");
        let client = self.client(with_address(&self.master, &host, port))?;
        let mut connection = connect(&client).await.map_err(|error| format!("{name}: {error}"))?;
        match cmd("ROLE").query_async::<Value>(&mut connection).await {
            Ok(Value::Array(role)) if !is_master(&role) => Err(format!("{name} is not a master, according to itself")),
            // The user may not be allowed to ask, or the server may not know the command.
            _ => Ok(connection),
        }
    }

    /// Returns a client for a sentinel or a master. One may be reached with TLS and the other without.
    fn client(&self, info: ConnectionInfo) -> Result<Client, String> {
        let has_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let client = if has_tls { self.tls.client(info) } else { Client::open(info) };
        client.map_err(|error| error.to_string())
    }
}

fn is_master(role: &[Value]) -> bool {
    matches!(role.first(), Some(Value::BulkString(name)) if name == b"master")
}
