//! How it stands with the servers of a store.

use std::{sync::Arc, time::SystemTime};

/// How it stands with the servers of a [`RedisStore`](super::RedisStore): see [`health`](super::RedisStore::health).
#[derive(Clone, Debug)]
pub struct Health {
    nodes: Vec<NodeHealth>,
    decides_without: bool,
    is_local: bool,
}

/// How it stands with one server.
#[derive(Clone, Debug)]
pub struct NodeHealth {
    address: String,
    connection: ConnectionState,
    since: SystemTime,
    breaker: BreakerState,
    last_error: Option<Arc<str>>,
}

/// Whether there is a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// None yet, or none any more: the next decision makes one.
    Disconnected,
    /// It is being established.
    Connecting,
    /// It is established. Whether the server answers on it is up to the breaker.
    Connected,
}

/// Whether a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakerState {
    /// It is.
    Closed,
    /// It has failed three times in a row, and is tried once a second.
    Open,
    /// It has failed, and one request is trying it just now.
    HalfOpen,
}

impl Health {
    pub(super) fn new(nodes: Vec<NodeHealth>, is_left_alone: bool, is_local: bool) -> Self {
        let decides_without = is_left_alone || nodes.iter().any(|node| node.breaker != BreakerState::Closed);
        Self { nodes, decides_without, is_local: decides_without && is_local }
    }

    /// The server, the master behind the sentinels, or the masters of the cluster as far as they are known.
    #[must_use]
    pub fn nodes(&self) -> &[NodeHealth] {
        &self.nodes
    }

    /// Whether all requests are decided by the servers, as far as is known.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        !self.decides_without
    }

    /// Whether requests are being decided in this process, by [`OnOutage::Local`](super::OnOutage::Local): all, or on a
    /// cluster those that belong to a node that is left alone.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        self.is_local
    }
}

impl NodeHealth {
    pub(super) const fn new(
        address: String,
        connection: ConnectionState,
        since: SystemTime,
        breaker: BreakerState,
        last_error: Option<Arc<str>>,
    ) -> Self {
        Self { address, connection, since, breaker, last_error }
    }

    /// The host and port, the path of the socket, or the name that the sentinels know.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether there is a connection.
    #[must_use]
    pub const fn connection(&self) -> ConnectionState {
        self.connection
    }

    /// Since when that is so.
    #[must_use]
    pub const fn since(&self) -> SystemTime {
        self.since
    }

    /// Whether it is asked.
    #[must_use]
    pub const fn breaker(&self) -> BreakerState {
        self.breaker
    }

    /// What went wrong last, if anything ever did.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }
}
