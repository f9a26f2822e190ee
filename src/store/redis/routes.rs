//! To which server a command goes.

use std::sync::Arc;

use redis::{ConnectionInfo, IntoConnectionInfo, Value};

use crate::{
    error::ConfigError,
    store::redis::{
        cluster::Cluster,
        failure::Failure,
        health::{BreakerState, NodeHealth},
        node::{Command, Deadline, Node},
        slots::Masters,
        target::{Target, Topology},
        timepiece::Timepiece,
        tls::Tls,
    },
};

/// To which server a command goes.
#[derive(Debug)]
pub(super) enum Routes {
    One(Arc<Node>),
    Cluster(Box<Cluster>),
}

impl Routes {
    pub(super) fn new(topology: &Topology, tls: &Tls, timepiece: &Timepiece) -> Result<Self, ConfigError> {
        let targets = topology.targets(tls)?;
        let cluster = match topology {
            Topology::Cluster(urls) => {
                let infos = urls.iter().filter_map(|url| url.as_str().into_connection_info().ok());
                let targets: Vec<(Target, ConnectionInfo)> = targets.iter().cloned().zip(infos).collect();
                Cluster::new(&targets, tls.clone(), timepiece.clone()).map(Box::new).map(Self::Cluster)
            }
            _ => None,
        };
        let one = || targets.into_iter().next().map(|target| Self::One(Node::new(target, timepiece.clone())));
        let none = || ConfigError::new("redis urls", "[]", "at least one is needed");
        cluster.or_else(one).ok_or_else(none)
    }

    /// Whether histories may be on different servers.
    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    pub(super) async fn ask(&self, slot: u16, command: &Command<'_>, deadline: Deadline) -> Result<Value, Failure> {
        match self {
            Self::One(node) => node.ask(command, false, deadline).await,
            Self::Cluster(cluster) => cluster.ask(slot, command, deadline).await,
        }
    }

    /// Why a request about a slot need not be sent, if so.
    pub(super) fn left_alone(&self, slot: u16) -> Option<Failure> {
        match self {
            Self::One(node) => node.is_left_alone().then(|| node.left_alone()),
            Self::Cluster(cluster) => cluster.left_alone(slot),
        }
    }

    /// All that have to decide, and a slot of each.
    pub(super) async fn masters(&self) -> Result<Masters, Failure> {
        match self {
            Self::One(node) => Ok(vec![(Arc::clone(node), 0)]),
            Self::Cluster(cluster) => cluster.masters().await,
        }
    }

    /// How it stands with each server, and whether some cannot even be looked for.
    pub(super) fn health(&self) -> (Vec<NodeHealth>, bool) {
        match self {
            Self::One(node) => {
                let health = node.health();
                let is_left_alone = health.breaker() != BreakerState::Closed;
                (vec![health], is_left_alone)
            }
            Self::Cluster(cluster) => cluster.health(),
        }
    }
}
