//! A cluster of real servers.

use redis::Value;
use redis_server::{Server, eventually, free_port};

use super::{Certificates, turn::Turn};

const SLOTS: u32 = 16_384;

/// Three primaries, and a replica of each if so wanted.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
    primaries: usize,
    /// The last to go: then the nodes are gone.
    _turn: Turn,
}

impl Cluster {
    /// Three nodes that share the slots.
    pub fn start() -> Self {
        Self::of(3, 0, node)
    }

    /// Three nodes that share the slots, and another for each that takes over if it dies.
    pub fn with_replicas() -> Self {
        Self::of(3, 3, node)
    }

    /// Three nodes that share the slots and speak nothing but TLS, also with each other.
    pub fn secured(certificates: &Certificates) -> Self {
        let secured = || {
            let port = free_port();
            node_with(&[&certificates.options(port)[..], &words(["--port", "0", "--tls-cluster", "yes"])].concat())
        };
        Self::of(3, 0, secured)
    }

    fn of(primaries: usize, replicas: usize, node: impl Fn() -> Server) -> Self {
        let turn = Turn::wait();
        let nodes: Vec<Server> = (0..primaries + replicas).map(|_| node()).collect();
        let cluster = Self { nodes, primaries, _turn: turn };
        cluster.introduce();
        cluster.share_slots();
        for (at, replica) in cluster.nodes.iter().enumerate().skip(primaries) {
            let primary: String = cluster.nodes[at - primaries].query("CLUSTER MYID");
            eventually("the replica knows its primary", || {
                replica.try_query::<()>(["CLUSTER", "REPLICATE", &primary]).ok()
            });
        }
        cluster.await_ok();
        for replica in &cluster.nodes[primaries..] {
            let is_up = || replica.says("INFO replication", "master_link_status:up").then_some(());
            eventually("the replica has its copy", is_up);
        }
        cluster
    }

    fn introduce(&self) {
        for (epoch, node) in self.nodes.iter().enumerate() {
            node.run(&format!("CLUSTER SET-CONFIG-EPOCH {}", epoch + 1));
            let bus = node.option("--cluster-port").unwrap();
            self.nodes[0].run(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", port_of(node)));
        }
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        let all_know = || self.nodes.iter().all(|node| node.says("CLUSTER INFO", &known)).then_some(());
        eventually("all nodes know each other", all_know);
    }

    fn share_slots(&self) {
        let count = self.primaries as u32;
        for (at, node) in (0..).zip(&self.nodes[..self.primaries]) {
            let (first, last) = (SLOTS * at / count, SLOTS * (at + 1) / count - 1);
            node.run(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
        }
    }

    /// Waits until all nodes that run say that all slots are served.
    pub fn await_ok(&self) {
        let is_ok = |node: &Server| !node.is_running() || node.says("CLUSTER INFO", "cluster_state:ok");
        eventually("the cluster is ok", || self.nodes.iter().all(is_ok).then_some(()));
    }

    /// Has no node take another for dead: on a busy machine one may be silent for a second.
    pub fn trust(self) -> Self {
        self.nodes.iter().for_each(|node| node.run("CONFIG SET cluster-node-timeout 60000"));
        self
    }

    /// Has all nodes tell clients that they are at these ports.
    pub fn announce(&self, ports: &[u16]) {
        for (node, port) in self.nodes.iter().zip(ports) {
            let bus = node.option("--cluster-port").unwrap();
            node.run(&format!("CONFIG SET cluster-announce-port {port} cluster-announce-bus-port {bus}"));
        }
        let known = |node: &Server| {
            let told: String = node.query("CLUSTER NODES");
            ports.iter().all(|port| told.contains(&format!(":{port}@")))
        };
        eventually("all nodes know the ports", || self.nodes.iter().all(known).then_some(()));
    }

    /// Where to find it: all nodes.
    pub fn urls(&self) -> Vec<String> {
        let scheme = |node: &Server| if node.option("--tls-port").is_some() { "rediss" } else { "redis" };
        self.nodes.iter().map(|node| format!("{}://127.0.0.1:{}", scheme(node), port_of(node))).collect()
    }

    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    pub fn primaries(&self) -> &[Server] {
        &self.nodes[..self.primaries]
    }

    /// The primary that has the slot of a key.
    pub fn node_of(&self, key: &[u8]) -> usize {
        let slot: u32 = self.nodes[0].query_words([b"CLUSTER".as_slice(), b"KEYSLOT", key]);
        (slot * self.primaries as u32 / SLOTS) as usize
    }

    /// All keys of all primaries.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        self.primaries().iter().filter(|node| node.is_running()).flat_map(Server::keys).collect()
    }

    pub fn slot_of(&self, key: &[u8]) -> u16 {
        self.nodes[0].query_words([b"CLUSTER".as_slice(), b"KEYSLOT", key])
    }

    /// Gives a slot of one primary to another, with the keys in it.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) {
        self.open_slot(slot, from, to);
        loop {
            let keys: Vec<Vec<u8>> = self.nodes[from].query(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
            if keys.is_empty() {
                break;
            }
            keys.iter().for_each(|key| self.move_key(key, from, to));
        }
        self.close_slot(slot, from, to);
    }

    /// Begins to give a slot of one primary to another: from now on new keys are there.
    pub fn open_slot(&self, slot: u16, from: usize, to: usize) {
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let (from, to): (String, String) = (source.query("CLUSTER MYID"), target.query("CLUSTER MYID"));
        target.run(&format!("CLUSTER SETSLOT {slot} IMPORTING {from}"));
        source.run(&format!("CLUSTER SETSLOT {slot} MIGRATING {to}"));
    }

    pub fn move_key(&self, key: &[u8], from: usize, to: usize) {
        let port = port_of(&self.nodes[to]);
        let words: [&[u8]; 6] = [b"MIGRATE", b"127.0.0.1", port.as_bytes(), key, b"0", b"5000"];
        let _: Value = self.nodes[from].query_words(words);
    }

    pub fn close_slot(&self, slot: u16, from: usize, to: usize) {
        let heir: String = self.nodes[to].query("CLUSTER MYID");
        for node in [&self.nodes[to], &self.nodes[from]] {
            node.run(&format!("CLUSTER SETSLOT {slot} NODE {heir}"));
        }
    }
}

/// The port for clients and for other nodes.
pub fn port_of(node: &Server) -> String {
    node.option("--tls-port").map_or_else(|| node.port().to_string(), str::to_owned)
}

fn node() -> Server {
    node_with(&[])
}

fn words<const N: usize>(words: [&str; N]) -> [String; N] {
    words.map(str::to_owned)
}

fn node_with(more: &[String]) -> Server {
    let bus = free_port().to_string();
    let timeout = ["--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0"];
    let options = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", &bus];
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    Server::with(&[options.as_slice(), &timeout, &["--repl-ping-replica-period", "1"], &more].concat())
}
