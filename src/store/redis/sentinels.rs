//! Who is the master, by those who know.

use std::collections::HashSet;

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use redis::{Client, ConnectionAddr, ConnectionInfo, Value, aio::MultiplexedConnection, cmd};

use crate::store::redis::{
    dial::{connect, moved_to},
    failure::explained,
    tls::Tls,
};

/// Sentinels, and the service whose master they know.
pub(super) struct Sentinels {
    sentinels: Vec<ConnectionInfo>,
    /// How to connect to a master, with the name of the service in the place of the host.
    master: ConnectionInfo,
    tls: Tls,
}

/// What has been reached.
enum SentinelStep {
    Detail(Result<(String, u16), String>),
    Connected(Result<MultiplexedConnection, String>),
}

impl Sentinels {
    pub(super) const fn new(sentinels: Vec<ConnectionInfo>, master: ConnectionInfo, tls: Tls) -> Self {
        Self { sentinels, master, tls }
    }

    /// The name of the service.
    pub(super) fn service(&self) -> &str {
        match self.master.addr() {
            ConnectionAddr::Tcp(name, _) | ConnectionAddr::TcpTls { host: name, .. } => name,
            _ => "",
        }
    }

    /// Connects to the master. All sentinels are asked at the same time, since any of them may be gone, silent or wrong, and
    /// the first one wins whose master says that it is one.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, String> {
        let asked = self.sentinels.iter().map(|sentinel| self.ask(sentinel).map(SentinelStep::Detail).boxed());
        let mut steps: FuturesUnordered<_> = asked.collect();
        let (mut known, mut reason) = (HashSet::new(), String::from("there is no sentinel"));
        while let Some(step) = steps.next().await {
            match step {
                SentinelStep::Detail(Ok(address)) if known.insert(address.clone()) => {
                    steps.push(self.connect_to(address).map(SentinelStep::Connected).boxed());
                }
                SentinelStep::Connected(Ok(connection)) => return Ok(connection),
                SentinelStep::Detail(Err(error)) | SentinelStep::Connected(Err(error)) => reason = error,
                SentinelStep::Detail(Ok(_)) => {}
            }
        }
        Err(reason)
    }

    /// Where the master is, by one sentinel.
    async fn ask(&self, sentinel: &ConnectionInfo) -> Result<(String, u16), String> {
        let who = format!("sentinel {}", sentinel.addr());
        let client = self.client(sentinel.clone())?;
        let mut connection = connect(&client).await.map_err(|error| format!("{who}: {error}"))?;
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(self.service());
        let answer = question.query_async::<Option<(String, u16)>>(&mut connection).await;
        let answer = answer.map_err(|error| format!("{who}: {}", explained(&error)))?;
        answer.ok_or_else(|| format!("{who} knows no service with the name {:?}", self.service()))
    }

    async fn connect_to(&self, (host, port): (String, u16)) -> Result<MultiplexedConnection, String> {
        let who = format!("master {host}:{port}");
        let client = self.client(moved_to(&self.master, &host, port))?;
        let mut connection = connect(&client).await.map_err(|error| format!("{who}: {error}"))?;
        match cmd("ROLE").query_async::<Value>(&mut connection).await {
            Ok(Value::Array(role)) if !is_master(&role) => Err(format!("{who} is none, by its own word")),
            // It may not be allowed to say so, or not know how.
            _ => Ok(connection),
        }
    }

    /// Sentinels may be reached without TLS, and the master with it.
    fn client(&self, info: ConnectionInfo) -> Result<Client, String> {
        let is_secret = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let client = if is_secret { self.tls.client(info) } else { Client::open(info) };
        client.map_err(|error| error.to_string())
    }
}

fn is_master(role: &[Value]) -> bool {
    matches!(role.first(), Some(Value::BulkString(name)) if name == b"master")
}
