//! A primary, its replica, and who promotes it.

use redis_server::{Server, eventually};

/// A server that copies `primary`, and has a copy already.
pub fn replica_of(primary: &Server) -> Server {
    let port = primary.port().to_string();
    let replica = Server::with(&["--replicaof", &format!("127.0.0.1 {port}")]);
    let is_up = || replica.says("INFO replication", "master_link_status:up").then_some(());
    eventually("the replica has its copy", is_up);
    replica
}

/// One sentinel, which watches a primary under the name `mymaster` and needs nobody else to agree with it.
#[derive(Debug)]
pub struct Sentinel(Server);

impl Sentinel {
    pub fn of(primary: &Server) -> Self {
        let sentinel = Self::at(primary.port());
        // It looks every 10 s otherwise.
        sentinel.0.run("SENTINEL DEBUG INFO-PERIOD 100 PING-PERIOD 100");
        eventually("the sentinel knows the replica", || {
            sentinel.0.query::<Vec<redis::Value>>("SENTINEL REPLICAS mymaster").first().map(drop)
        });
        sentinel
    }

    /// One that knows nobody who could take over from the primary at this port.
    pub fn at(port: u16) -> Self {
        let text = format!(
            "sentinel monitor mymaster 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds mymaster 500\n\
             sentinel failover-timeout mymaster 3000\n",
        );
        Self(Server::sentinel(&text))
    }

    pub fn url(&self) -> String {
        self.0.url()
    }

    pub const fn server(&self) -> &Server {
        &self.0
    }

    /// The port of whom it takes for the primary.
    pub fn primary(&self) -> u16 {
        let (_, port): (String, String) = self.0.query("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster");
        port.parse().unwrap()
    }

    /// Has the replica promoted at once, and waits until it is.
    pub fn fail_over(&self) {
        let before = self.primary();
        eventually("the replica may be promoted", || self.0.try_query::<()>(["SENTINEL", "FAILOVER", "mymaster"]).ok());
        eventually("the replica is promoted", || (self.primary() != before).then_some(()));
    }
}
