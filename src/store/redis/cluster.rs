//! A cluster, and which of its nodes a command goes to.

use std::{sync::Arc, time::Duration};

use redis::{ConnectionInfo, Value};
use tokio::time::{Instant, sleep_until};

use crate::{
    observe::Observer,
    store::redis::{
        cluster_nodes::{ClusterNodes, Masters, SlotOwner},
        connect::TlsConfig,
        connection::Endpoint,
        failure::{Failure, Redirection},
        health::NodeHealth,
        node::{Command, Node},
        slot_refresher::SlotRefresher,
        timer::{Deadline, Timer},
    },
};

/// Redirections that a command follows without a pause. After more of them the nodes do not agree about the slot yet.
const FREE_REDIRECTIONS: u32 = 2;
/// The first pause before a command is sent again; each further one is twice as long.
const FIRST_BACKOFF: Duration = Duration::from_millis(2);

/// A cluster, whose nodes have a connection and a circuit breaker each.
///
/// It does without the cluster client of redis-rs, which has one queue, one state and one retry policy for all nodes, so
/// that a node that is down holds up the healthy ones.
#[derive(Debug)]
pub(super) struct Cluster {
    nodes: Arc<ClusterNodes>,
    refresher: Arc<SlotRefresher>,
}

/// Where a command is sent next, after a redirection.
enum NextHop {
    /// To this node, with `ASKING` in front if the slot is only moving there.
    Node(Arc<Node>, bool),
    /// To the owner of the slot, after a pause.
    Retry,
}

impl Cluster {
    /// Returns `None` without seeds.
    pub(super) fn new(
        seeds: &[(Endpoint, ConnectionInfo)],
        tls: TlsConfig,
        timer: Timer,
        observer: Arc<Observer>,
    ) -> Option<Self> {
        let nodes = Arc::new(ClusterNodes::new(seeds, tls, timer.clone(), observer)?);
        let refresher = Arc::new(SlotRefresher::new(Arc::clone(&nodes), timer));
        Some(Self { nodes, refresher })
    }

    /// Sends a command to the node that serves the slot, and follows redirections.
    pub(super) async fn call(&self, slot: u16, command: &Command<'_>, deadline: Deadline) -> Result<Value, Failure> {
        let mut node = self.owner(slot, deadline).await?;
        let (mut asking, mut redirections, mut backoff) = (false, 0, FIRST_BACKOFF);
        loop {
            let reply = node.call(command, asking, deadline).await;
            let Err(failure) = reply else { return reply };
            let Some(next) = self.next_hop(slot, command, &node, &failure) else { return Err(failure) };
            redirections += 1;
            if matches!(next, NextHop::Retry) || redirections > FREE_REDIRECTIONS {
                let end = Instant::now() + backoff;
                if end >= deadline.end {
                    return Err(failure);
                }
                sleep_until(end).await;
                backoff *= 2;
            }
            (node, asking) = match next {
                NextHop::Node(next, asking) => (next, asking),
                NextHop::Retry => (self.owner(slot, deadline).await?, false),
            };
        }
    }

    /// Returns where a command goes after a failure; `None` if it is to fail.
    fn next_hop(&self, slot: u16, command: &Command<'_>, asked: &Node, failure: &Failure) -> Option<NextHop> {
        match failure.redirection() {
            Some(Redirection::TryAgain) => (!command.is_divisible).then_some(NextHop::Retry),
            Some(Redirection::Ask(address)) => Some(NextHop::Node(self.nodes.node_at(&address, asked).ok()?, true)),
            Some(Redirection::Moved(address)) => {
                let next = self.nodes.node_at(&address, asked).ok()?;
                self.nodes.move_slot(slot, &next);
                self.refresher.refresh_in_background();
                Some(NextHop::Node(next, false))
            }
            Some(Redirection::ClusterDown) | None => {
                if !failure.is_bad_value() {
                    self.refresher.refresh_in_background();
                }
                None
            }
        }
    }

    /// Returns the failure of a request about a slot if it would not be sent, because a circuit breaker is open.
    pub(super) fn circuit_open(&self, slot: u16) -> Option<Failure> {
        let failure = match self.nodes.owner(slot) {
            SlotOwner::Node(owner) => owner.is_circuit_open().then(|| owner.circuit_open()),
            SlotOwner::Unassigned => None,
            SlotOwner::Unknown => self.refresher.circuit_open(),
        }?;
        // A replica may have been promoted in its place.
        self.refresher.refresh_in_background();
        Some(failure)
    }

    /// Returns all masters by a fresh slot map, with a slot of each. It is a failure if there is none, or if some slots
    /// have none.
    pub(super) async fn masters(&self) -> Result<Masters, Failure> {
        self.refresher.refresh_now().await?;
        match self.nodes.masters().ok_or_else(no_slot_map)? {
            (masters, 0) => Ok(masters),
            (_, count) => Err(Failure::Other(format!("no node serves {count} slots of the cluster").into())),
        }
    }

    /// Returns the health of the masters, or of the seeds before there is a slot map; and whether refreshing the map fails.
    pub(super) fn health(&self) -> (Vec<NodeHealth>, bool) {
        let nodes = match self.nodes.masters() {
            Some((masters, _)) => masters.iter().map(|(node, _)| node.health()).collect(),
            None => self.nodes.seeds().iter().map(|node| node.health()).collect(),
        };
        (nodes, !self.refresher.is_healthy())
    }

    /// Returns the node that serves a slot, as soon as that is known.
    async fn owner(&self, slot: u16, deadline: Deadline) -> Result<Arc<Node>, Failure> {
        let mut owner = self.nodes.owner(slot);
        if matches!(owner, SlotOwner::Unknown) {
            self.refresher.refreshed_by(deadline).await?;
            owner = self.nodes.owner(slot);
        }
        match owner {
            SlotOwner::Node(owner) => Ok(owner),
            SlotOwner::Unassigned => {
                self.refresher.refresh_in_background();
                Err(Failure::other("no node serves the slot"))
            }
            SlotOwner::Unknown => Err(no_slot_map()),
        }
    }
}

fn no_slot_map() -> Failure {
    Failure::other("no node has sent the slot map")
}
