//! A cluster, and which of its nodes is to be asked.

use std::{sync::Arc, time::Duration};

use redis::{ConnectionInfo, Value};
use tokio::time::{Instant, sleep_until};

use crate::store::redis::{
    cluster_nodes::{ClusterNodes, Owner},
    failure::{Failure, Redirection},
    health::NodeHealth,
    lookout::Lookout,
    node::{Command, Deadline, Node},
    slots::Masters,
    target::Target,
    timepiece::Timepiece,
    tls::Tls,
};

/// A slot that is passed on more often is waited for, until those who pass it on agree.
const FREE_REDIRECTIONS: u32 = 2;
/// How long that is, at first, and for keys on their way.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// A cluster, whose nodes have a connection and a breaker each.
///
/// Whose turn it is to be asked is looked up here and not by the cluster client of redis-rs: that has one queue, one state
/// and one retry for all nodes, so that a node that is gone holds up those that are well.
#[derive(Debug)]
pub(super) struct Cluster {
    nodes: Arc<ClusterNodes>,
    lookout: Arc<Lookout>,
}

impl Cluster {
    pub(super) fn new(targets: &[(Target, ConnectionInfo)], tls: Tls, timepiece: Timepiece) -> Option<Self> {
        let nodes = Arc::new(ClusterNodes::new(targets, tls, timepiece.clone())?);
        let lookout = Arc::new(Lookout::new(Arc::clone(&nodes), timepiece));
        Some(Self { nodes, lookout })
    }

    /// Sends a command to the node that has the slot of its keys, wherever that may have gone.
    pub(super) async fn ask(&self, slot: u16, command: &Command<'_>, deadline: Deadline) -> Result<Value, Failure> {
        let mut node = self.owner(slot, deadline).await?;
        let (mut asking, mut redirections, mut pause) = (false, 0, FIRST_PAUSE);
        loop {
            let reply = node.ask(command, asking, deadline).await;
            let Err(failure) = reply else { return reply };
            let Some(next) = self.redirected(slot, command, &node, &failure) else { return Err(failure) };
            redirections += 1;
            if next.is_none() || redirections > FREE_REDIRECTIONS {
                let end = Instant::now() + pause;
                if end >= deadline.end {
                    return Err(failure);
                }
                sleep_until(end).await;
                pause *= 2;
            }
            (node, asking) = match next {
                Some(next) => next,
                None => (self.owner(slot, deadline).await?, false),
            };
        }
    }

    /// Whom to ask instead, and whether the slot is only on its way there; or nobody else, but later.
    fn redirected(
        &self,
        slot: u16,
        command: &Command<'_>,
        asked: &Node,
        failure: &Failure,
    ) -> Option<Option<(Arc<Node>, bool)>> {
        match failure.redirection() {
            Some(Redirection::TryAgain) => (!command.is_divisible).then_some(None),
            Some(Redirection::Ask(address)) => Some(Some((self.nodes.node_at(&address, asked).ok()?, true))),
            Some(Redirection::Moved(address)) => {
                let next = self.nodes.node_at(&address, asked).ok()?;
                self.nodes.give(slot, &next);
                self.lookout.look_again();
                Some(Some((next, false)))
            }
            Some(Redirection::Down) | None => {
                if !failure.is_about_the_key() {
                    self.lookout.look_again();
                }
                None
            }
        }
    }

    /// Why a request about a slot need not be sent, if so.
    pub(super) fn left_alone(&self, slot: u16) -> Option<Failure> {
        let failure = match self.nodes.owner(slot) {
            Owner::Known(owner) => owner.is_left_alone().then(|| owner.left_alone()),
            Owner::Nobody => None,
            Owner::Unknown => self.lookout.left_alone(),
        }?;
        // Somebody may have been promoted in its place.
        self.lookout.look_again();
        Some(failure)
    }

    /// All masters as they are now, with a slot of each; or why there is none, or that some slots have none.
    pub(super) async fn masters(&self) -> Result<Masters, Failure> {
        self.lookout.fresh_news().await?;
        match self.nodes.masters().ok_or_else(nobody_knows)? {
            (masters, 0) => Ok(masters),
            (_, count) => Err(Failure::Impossible(format!("{count} slots of the cluster are served by nobody").into())),
        }
    }

    /// How it stands with the masters, or with what is to lead to them; and whether nobody has said who they are.
    pub(super) fn health(&self) -> (Vec<NodeHealth>, bool) {
        let nodes = match self.nodes.masters() {
            Some((masters, _)) => masters.iter().map(|(node, _)| node.health()).collect(),
            None => self.nodes.seeds().iter().map(|node| node.health()).collect(),
        };
        (nodes, !self.lookout.is_well())
    }

    /// The node that has a slot, as soon as that is known.
    async fn owner(&self, slot: u16, deadline: Deadline) -> Result<Arc<Node>, Failure> {
        let mut owner = self.nodes.owner(slot);
        if matches!(owner, Owner::Unknown) {
            self.lookout.news_by(deadline).await?;
            owner = self.nodes.owner(slot);
        }
        match owner {
            Owner::Known(owner) => Ok(owner),
            Owner::Nobody => {
                self.lookout.look_again();
                Err(Failure::impossible("no node serves the slot"))
            }
            Owner::Unknown => Err(nobody_knows()),
        }
    }
}

fn nobody_knows() -> Failure {
    Failure::impossible("no node says who has which slot")
}
