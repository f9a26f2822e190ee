//! The known nodes of a cluster, and the slot map: which node serves which hash slot.

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use redis::{ConnectionAddr, ConnectionInfo};

use crate::{
    observe::Observer,
    store::redis::{
        connect::{TlsConfig, with_address},
        connection::Endpoint,
        failure::Failure,
        key_name::HASH_SLOTS,
        node::Node,
        timer::Timer,
    },
};

/// Nodes that are asked for the slot map, at most.
const MAX_INFORMANTS: usize = 8;
/// Where fewer healthy masters than this are known, all other nodes are asked for the slot map as well.
const MIN_INFORMANTS: usize = 3;

/// The known nodes of a cluster, and its slot map.
pub(super) struct ClusterNodes {
    seeds: Vec<Arc<Node>>,
    /// Connection settings of the first seed, which all nodes share but for the address.
    settings: ConnectionInfo,
    tls: TlsConfig,
    timer: Timer,
    observer: Arc<Observer>,
    table: Mutex<NodeTable>,
}

#[derive(Default)]
struct NodeTable {
    /// `None` until a node has been asked.
    slots: Option<SlotMap>,
    /// By host and port.
    nodes: Vec<((String, u16), Arc<Node>)>,
}

/// The node of each hash slot.
#[derive(Debug)]
struct SlotMap {
    owners: Vec<Option<Arc<Node>>>,
}

/// A run of slots, with the host and port of their master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotRange {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) address: (String, u16),
}

/// The node that serves a slot, as far as is known.
#[derive(Debug)]
pub(super) enum SlotOwner {
    Node(Arc<Node>),
    /// No node serves the slot.
    Unassigned,
    /// There is no slot map yet.
    Unknown,
}

/// Nodes that serve slots, each once, with one slot of each.
pub(super) type Masters = Vec<(Arc<Node>, u16)>;

impl ClusterNodes {
    /// Returns `None` without seeds.
    pub(super) fn new(
        seeds: &[(Endpoint, ConnectionInfo)],
        tls: TlsConfig,
        timer: Timer,
        observer: Arc<Observer>,
    ) -> Option<Self> {
        let (_, settings) = seeds.first()?;
        let node = |(endpoint, _): &(Endpoint, _)| Node::new(endpoint.clone(), timer.clone(), &observer);
        let nodes: Vec<_> = seeds.iter().map(node).collect();
        let addresses = seeds.iter().filter_map(|(_, info)| address_of(info));
        let table = NodeTable { slots: None, nodes: addresses.zip(nodes.iter().cloned()).collect() };
        Some(Self { seeds: nodes, settings: settings.clone(), tls, timer, observer, table: Mutex::new(table) })
    }

    pub(super) fn owner(&self, slot: u16) -> SlotOwner {
        match &self.table.lock().slots {
            Some(slots) => slots.owner(slot).map_or(SlotOwner::Unassigned, |owner| SlotOwner::Node(Arc::clone(owner))),
            None => SlotOwner::Unknown,
        }
    }

    /// Returns the node at the address of a redirection by `asked`; a new one if it is not known.
    pub(super) fn node_at(&self, address: &str, asked: &Node) -> Result<Arc<Node>, Failure> {
        let host = asked.address().rsplit_once(':').map_or("", |(host, _)| host);
        let address = parse_address(address, host).ok_or_else(|| Failure::other("a redirection without an address"))?;
        self.table.lock().get_or_insert(&address, || self.new_node(&address))
    }

    fn new_node(&self, (host, port): &(String, u16)) -> Result<Arc<Node>, Failure> {
        let endpoint = Endpoint::server(with_address(&self.settings, host, *port), &self.tls);
        endpoint.map(|endpoint| Node::new(endpoint, self.timer.clone(), &self.observer)).map_err(Failure::Server)
    }

    /// Records that a slot has moved to another node.
    pub(super) fn move_slot(&self, slot: u16, node: &Arc<Node>) {
        if let Some(slots) = &mut self.table.lock().slots {
            slots.set_owner(slot, Arc::clone(node));
        }
    }

    /// Returns all masters with a slot of each, and the number of slots that none of them serves; `None` before there is
    /// a slot map.
    pub(super) fn masters(&self) -> Option<(Masters, usize)> {
        self.table.lock().slots.as_ref().map(|slots| (slots.masters(), slots.unassigned()))
    }

    pub(super) fn seeds(&self) -> &[Arc<Node>] {
        &self.seeds
    }

    /// Returns the nodes to ask for the slot map: some healthy masters at random, and where there are few of them all
    /// other known nodes.
    pub(super) fn informants(&self) -> Vec<Arc<Node>> {
        let table = self.table.lock();
        let masters = table.slots.as_ref().map(SlotMap::masters).unwrap_or_default();
        let mut asked: Vec<_> =
            masters.into_iter().map(|(node, _)| node).filter(|node| !node.is_circuit_open()).collect();
        fastrand::shuffle(&mut asked);
        asked.truncate(MAX_INFORMANTS);
        if asked.len() < MIN_INFORMANTS {
            for other in table.nodes.iter().map(|(_, node)| node).chain(&self.seeds) {
                if !asked.iter().any(|node| Arc::ptr_eq(node, other)) {
                    asked.push(Arc::clone(other));
                }
            }
        }
        asked
    }

    /// Returns whether no slot would belong to a node whose circuit breaker is open.
    pub(super) fn is_credible(&self, ranges: &[SlotRange]) -> bool {
        let table = self.table.lock();
        ranges.iter().all(|range| table.get(&range.address).is_none_or(|node| !node.is_circuit_open()))
    }

    /// Installs a new slot map. Known nodes keep their connections; those that serve no slot any more are closed.
    pub(super) fn install(&self, ranges: Vec<SlotRange>) {
        let mut table = self.table.lock();
        let mut owned = Vec::new();
        for range in ranges {
            if let Ok(node) = table.get_or_insert(&range.address, || self.new_node(&range.address)) {
                owned.push((range, node));
            }
        }
        table.nodes.retain(|(_, node)| {
            let is_master = owned.iter().any(|(_, master)| Arc::ptr_eq(master, node));
            if !is_master {
                node.close();
            }
            is_master || self.seeds.iter().any(|seed| Arc::ptr_eq(seed, node))
        });
        for (_, node) in &owned {
            node.connect_in_background();
        }
        table.slots = Some(SlotMap::new(owned));
    }
}

impl NodeTable {
    fn get(&self, address: &(String, u16)) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|(other, _)| other == address).map(|(_, node)| node)
    }

    fn get_or_insert(
        &mut self,
        address: &(String, u16),
        new: impl FnOnce() -> Result<Arc<Node>, Failure>,
    ) -> Result<Arc<Node>, Failure> {
        if let Some(node) = self.get(address) {
            return Ok(Arc::clone(node));
        }
        let node = new()?;
        self.nodes.push((address.clone(), Arc::clone(&node)));
        Ok(node)
    }
}

impl SlotMap {
    fn new(ranges: impl IntoIterator<Item = (SlotRange, Arc<Node>)>) -> Self {
        let mut owners = vec![None; HASH_SLOTS];
        for (range, node) in ranges {
            if let Some(run) = owners.get_mut(usize::from(range.first)..=usize::from(range.last)) {
                run.fill(Some(node));
            }
        }
        Self { owners }
    }

    fn owner(&self, slot: u16) -> Option<&Arc<Node>> {
        self.owners.get(usize::from(slot))?.as_ref()
    }

    fn set_owner(&mut self, slot: u16, node: Arc<Node>) {
        if let Some(owner) = self.owners.get_mut(usize::from(slot)) {
            *owner = Some(node);
        }
    }

    fn masters(&self) -> Masters {
        let mut masters = Masters::new();
        for (slot, owner) in (0..).zip(&self.owners) {
            let Some(owner) = owner else { continue };
            if !masters.iter().rev().any(|(master, _)| Arc::ptr_eq(master, owner)) {
                masters.push((Arc::clone(owner), slot));
            }
        }
        masters
    }

    /// Returns the number of slots that no node serves.
    fn unassigned(&self) -> usize {
        self.owners.iter().filter(|owner| owner.is_none()).count()
    }
}

/// Without passwords, which the settings have.
impl fmt::Debug for ClusterNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterNodes").field("seeds", &self.seeds).finish_non_exhaustive()
    }
}

fn address_of(info: &ConnectionInfo) -> Option<(String, u16)> {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some((host.clone(), *port)),
        _ => None,
    }
}

/// Parses the address of a redirection. A missing host stands for that of the node that was asked.
fn parse_address(address: &str, asked: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() || host == "?" { asked } else { host };
    Some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_redirection_may_lack_its_host() {
        assert_eq!(parse_address("[::1]:6381", "here"), Some(("::1".to_owned(), 6381)));
        assert_eq!(parse_address("::1:6381", "here"), Some(("::1".to_owned(), 6381)));
        assert_eq!(parse_address(":6381", "here"), Some(("here".to_owned(), 6381)));
        assert_eq!(parse_address("nowhere", "here"), None);
    }
}
