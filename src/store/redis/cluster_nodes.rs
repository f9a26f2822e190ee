//! The nodes of a cluster that are known, and which of them has which slot.

use std::sync::Arc;

use parking_lot::Mutex;
use redis::{ConnectionAddr, ConnectionInfo};

use crate::store::redis::{
    dial::moved_to,
    failure::Failure,
    node::Node,
    slots::{Masters, Range, Slots, host_and_port},
    target::Target,
    timepiece::Timepiece,
    tls::Tls,
};

/// So many nodes are asked at most who has which slot, and others too where there are fewer than some.
const MOST_INFORMANTS: usize = 8;
const FEW_INFORMANTS: usize = 3;

/// The nodes of a cluster that are known, and which of them has which slot.
pub(super) struct ClusterNodes {
    seeds: Vec<Arc<Node>>,
    /// How to connect to a node whose address is known.
    like: ConnectionInfo,
    tls: Tls,
    timepiece: Timepiece,
    known: Mutex<Known>,
}

/// Nodes by host and port, and by slot as far as that is known.
#[derive(Default)]
struct Known {
    slots: Option<Slots>,
    nodes: Vec<((String, u16), Arc<Node>)>,
}

/// Who has a slot.
#[derive(Debug)]
pub(super) enum Owner {
    Known(Arc<Node>),
    Nobody,
    /// Nobody has said yet who has which.
    Unknown,
}

impl ClusterNodes {
    pub(super) fn new(targets: &[(Target, ConnectionInfo)], tls: Tls, timepiece: Timepiece) -> Option<Self> {
        let (_, like) = targets.first()?;
        let seeds: Vec<_> = targets.iter().map(|(target, _)| Node::new(target.clone(), timepiece.clone())).collect();
        let addresses = targets.iter().filter_map(|(_, info)| address_of(info));
        let known = Known { slots: None, nodes: addresses.zip(seeds.iter().cloned()).collect() };
        Some(Self { seeds, like: like.clone(), tls, timepiece, known: Mutex::new(known) })
    }

    pub(super) fn owner(&self, slot: u16) -> Owner {
        match &self.known.lock().slots {
            Some(slots) => slots.owner(slot).map_or(Owner::Nobody, |owner| Owner::Known(Arc::clone(owner))),
            None => Owner::Unknown,
        }
    }

    /// The node at an address of a redirection, known already or not.
    pub(super) fn node_at(&self, address: &str, asked: &Node) -> Result<Arc<Node>, Failure> {
        let host = asked.address().rsplit_once(':').map_or("", |(host, _)| host);
        let address = host_and_port(address, host).ok_or_else(|| Failure::impossible("a redirection to nowhere"))?;
        self.known.lock().node(&address, || self.new_node(&address))
    }

    fn new_node(&self, (host, port): &(String, u16)) -> Result<Arc<Node>, Failure> {
        let target = Target::server(moved_to(&self.like, host, *port), &self.tls);
        target.map(|target| Node::new(target, self.timepiece.clone())).map_err(Failure::Refused)
    }

    /// Notes that a slot has gone to another node.
    pub(super) fn give(&self, slot: u16, node: &Arc<Node>) {
        if let Some(slots) = &mut self.known.lock().slots {
            slots.give(slot, Arc::clone(node));
        }
    }

    /// All masters and a slot of each, and how many slots have none; none of it before somebody has said who has which.
    pub(super) fn masters(&self) -> Option<(Masters, usize)> {
        self.known.lock().slots.as_ref().map(|slots| (slots.masters(), slots.unserved()))
    }

    pub(super) fn seeds(&self) -> &[Arc<Node>] {
        &self.seeds
    }

    /// Some masters that are well, whichever; and all that were ever named where there are few of those.
    pub(super) fn informants(&self) -> Vec<Arc<Node>> {
        let known = self.known.lock();
        let masters = known.slots.as_ref().map(Slots::masters).unwrap_or_default();
        let mut asked: Vec<_> =
            masters.into_iter().map(|(node, _)| node).filter(|node| !node.is_left_alone()).collect();
        fastrand::shuffle(&mut asked);
        asked.truncate(MOST_INFORMANTS);
        if asked.len() < FEW_INFORMANTS {
            let others = known.nodes.iter().map(|(_, node)| node).chain(&self.seeds);
            for other in others {
                if !asked.iter().any(|node| Arc::ptr_eq(node, other)) {
                    asked.push(Arc::clone(other));
                }
            }
        }
        asked
    }

    /// Whether no slot belongs to a node that is left alone.
    pub(super) fn is_credible(&self, ranges: &[Range]) -> bool {
        let known = self.known.lock();
        let is_well = |range: &Range| known.get(&range.address).is_none_or(|node| !node.is_left_alone());
        ranges.iter().all(is_well)
    }

    /// Takes over what was told. Nodes that are known keep their connections.
    pub(super) fn install(&self, ranges: Vec<Range>) {
        let mut known = self.known.lock();
        let mut owned = Vec::new();
        for range in ranges {
            if let Ok(node) = known.node(&range.address, || self.new_node(&range.address)) {
                owned.push((range, node));
            }
        }
        let is_master = |node: &Arc<Node>| owned.iter().any(|(_, master)| Arc::ptr_eq(master, node));
        known.nodes.retain(|(_, node)| {
            let is_master = is_master(node);
            if !is_master {
                node.close();
            }
            is_master || self.seeds.iter().any(|seed| Arc::ptr_eq(seed, node))
        });
        owned.iter().for_each(|(_, node)| node.connect());
        known.slots = Some(Slots::new(owned));
    }
}

impl Known {
    fn get(&self, address: &(String, u16)) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|(other, _)| other == address).map(|(_, node)| node)
    }

    fn node(
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

fn address_of(info: &ConnectionInfo) -> Option<(String, u16)> {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some((host.clone(), *port)),
        _ => None,
    }
}

impl std::fmt::Debug for ClusterNodes {
    /// Without passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterNodes").field("seeds", &self.seeds).finish_non_exhaustive()
    }
}
