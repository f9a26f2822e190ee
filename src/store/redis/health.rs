//! The health of a store's servers: what operators can read, and how it is kept up to date.

use std::{sync::Arc, time::SystemTime};

use parking_lot::Mutex;

use crate::warn;

/// The health of the servers of a [`RedisStore`](super::RedisStore), as far as it is known without asking them.
///
/// [`RedisStore::health`](super::RedisStore::health) returns it.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, key};
/// use tower_quota::store::{BreakerState, ConnectionState, OnOutage, RedisStore};
///
/// # fn main() -> Result<(), tower_quota::ConfigError> {
/// let store = RedisStore::new("redis://127.0.0.1:6379", OnOutage::Closed);
/// let per_minute = Policy::per_minute(60);
/// let rule = Rule::new("calls").every_request().key(key::constant("all")).policy(per_minute);
/// let limiter = RateLimiter::builder().store(store).rule(rule).build()?;
///
/// let health = limiter.store().health().expect("the store belongs to a limiter");
/// assert!(health.is_healthy() && !health.is_local());
/// let node = &health.nodes()[0];
/// assert_eq!(node.address(), "127.0.0.1:6379");
/// assert_eq!(node.connection(), ConnectionState::Disconnected); // until the first request
/// assert_eq!(node.breaker(), BreakerState::Closed);
/// assert_eq!(node.last_error(), None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Health {
    nodes: Vec<NodeHealth>,
    is_healthy: bool,
    is_local: bool,
}

/// The health of one server.
///
/// ```
/// # use tower_quota::{Policy, RateLimiter, Rule, key};
/// use tower_quota::store::{OnOutage, RedisStore};
///
/// # fn main() -> Result<(), tower_quota::ConfigError> {
/// # let store = RedisStore::new("redis://127.0.0.1:6379", OnOutage::Closed);
/// # let rule = Rule::new("calls").every_request().key(key::constant("all")).policy(Policy::per_minute(60));
/// # let limiter = RateLimiter::builder().store(store).rule(rule).build()?;
/// let health = limiter.store().health().expect("the store belongs to a limiter");
/// let errors = health.nodes().iter().filter_map(|node| Some((node.address(), node.last_error()?)));
/// assert_eq!(errors.count(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct NodeHealth {
    address: String,
    connection: ConnectionState,
    since: SystemTime,
    breaker: BreakerState,
    last_error: Option<Arc<str>>,
}

/// The state of the connection to one server.
///
/// ```
/// use tower_quota::store::ConnectionState;
///
/// fn metric(connection: ConnectionState) -> u8 {
///     u8::from(connection == ConnectionState::Connected)
/// }
/// assert_eq!(metric(ConnectionState::Connecting), 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// There is no connection. The next decision makes one.
    Disconnected,
    /// The connection is being established.
    Connecting,
    /// The connection is established. Whether the server answers on it shows in the [`BreakerState`].
    Connected,
}

/// The state of the circuit breaker of one server.
///
/// ```
/// use tower_quota::store::BreakerState;
///
/// fn is_cut_off(breaker: BreakerState) -> bool {
///     breaker != BreakerState::Closed
/// }
/// assert!(is_cut_off(BreakerState::HalfOpen));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakerState {
    /// Requests are sent to the server.
    Closed,
    /// The server has failed three times in a row. Once a second a request is sent to it as a probe.
    Open,
    /// The server has failed, and a probe is under way.
    HalfOpen,
}

/// Records what happens to one server. Each change is a warning or an event.
#[derive(Debug)]
pub(super) struct HealthTracker {
    address: String,
    record: Mutex<HealthRecord>,
}

#[derive(Clone, Debug)]
struct HealthRecord {
    connection: ConnectionState,
    since: SystemTime,
    last_error: Option<Arc<str>>,
    /// True if there was a warning about an error since the last success.
    is_reported: bool,
}

impl Health {
    pub(super) fn new(nodes: Vec<NodeHealth>, is_cut_off: bool, is_local: bool) -> Self {
        let is_healthy = !is_cut_off && nodes.iter().all(|node| node.breaker == BreakerState::Closed);
        Self { nodes, is_healthy, is_local: !is_healthy && is_local }
    }

    /// Returns the server, the master behind the sentinels, or the masters of the cluster as far as they are known.
    #[must_use]
    pub fn nodes(&self) -> &[NodeHealth] {
        &self.nodes
    }

    /// Returns whether all requests are decided by the servers, as far as is known: no circuit breaker is open.
    #[must_use]
    pub const fn is_healthy(&self) -> bool {
        self.is_healthy
    }

    /// Returns whether requests are being decided in this process, by [`OnOutage::Local`](super::OnOutage::Local): all
    /// of them, or on a cluster those that belong to a node whose circuit breaker is open.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        self.is_local
    }
}

impl NodeHealth {
    /// Returns the host and port, the path of the socket, or the name of the service that the sentinels know.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the state of the connection.
    #[must_use]
    pub const fn connection(&self) -> ConnectionState {
        self.connection
    }

    /// Returns the time since when the connection has been in this state.
    #[must_use]
    pub const fn since(&self) -> SystemTime {
        self.since
    }

    /// Returns the state of the circuit breaker.
    #[must_use]
    pub const fn breaker(&self) -> BreakerState {
        self.breaker
    }

    /// Returns the last error, in words for an operator; `None` if there was none. It stays when the server recovers.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }
}

impl HealthTracker {
    pub(super) fn new(address: String) -> Self {
        let record = HealthRecord {
            connection: ConnectionState::Disconnected,
            since: SystemTime::now(),
            last_error: None,
            is_reported: false,
        };
        Self { address, record: Mutex::new(record) }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn connecting(&self) {
        self.set_connection(ConnectionState::Connecting);
    }

    pub(super) fn connected(&self) {
        self.set_connection(ConnectionState::Connected);
        let was_reported = std::mem::take(&mut self.record.lock().is_reported);
        if was_reported {
            warn::info(format_args!("redis {}: reconnected", self.address));
        }
    }

    /// Records the end of the connection, with the error that ended it if it was one.
    pub(super) fn disconnected(&self, error: Option<&str>) {
        self.set_connection(ConnectionState::Disconnected);
        if let Some(error) = error {
            self.error(error);
        }
    }

    /// Records an error. The first one after a success is a warning; the others are silent.
    pub(super) fn error(&self, error: &str) {
        let mut record = self.record.lock();
        record.last_error = Some(error.into());
        let was_reported = std::mem::replace(&mut record.is_reported, true);
        drop(record);
        if !was_reported {
            warn::warn(format_args!("redis {}: {error}", self.address));
        }
    }

    pub(super) fn breaker_opened(&self) {
        let last = self.last_error();
        let last = last.as_deref().unwrap_or("no answer");
        warn::warn(format_args!(
            "redis {}: circuit breaker open after several failures, the last: {last}",
            self.address
        ));
    }

    pub(super) fn breaker_closed(&self) {
        self.record.lock().is_reported = false;
        warn::info(format_args!("redis {}: circuit breaker closed, the server decides again", self.address));
    }

    pub(super) fn last_error(&self) -> Option<Arc<str>> {
        self.record.lock().last_error.clone()
    }

    pub(super) fn health(&self, breaker: BreakerState) -> NodeHealth {
        let HealthRecord { connection, since, last_error, .. } = self.record.lock().clone();
        NodeHealth { address: self.address.clone(), connection, since, breaker, last_error }
    }

    fn set_connection(&self, connection: ConnectionState) {
        let mut record = self.record.lock();
        if record.connection != connection {
            (record.connection, record.since) = (connection, SystemTime::now());
        }
    }
}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use super::*;
    use crate::warn::capture::logged_during;

    #[test]
    fn each_change_is_reported_once_with_its_reason() {
        let tracker = HealthTracker::new("host:6379".to_owned());
        let events = logged_during(|| {
            tracker.connected();
            for _ in 0..3 {
                tracker.error("no answer within 50ms");
            }
            tracker.breaker_opened();
            tracker.disconnected(Some("refused"));
            tracker.connected();
            tracker.error("again");
            tracker.breaker_closed();
        });
        let expected = [
            "WARN redis host:6379: no answer within 50ms",
            "WARN redis host:6379: circuit breaker open after several failures, the last: no answer within 50ms",
            "INFO redis host:6379: reconnected",
            "WARN redis host:6379: again",
            "INFO redis host:6379: circuit breaker closed, the server decides again",
        ];
        assert_eq!(events, expected);
    }
}
