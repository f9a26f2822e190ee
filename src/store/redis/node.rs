//! One server, with its connection and circuit breaker.

use std::sync::Arc;

use redis::{Cmd, Value};
use tokio::time::{timeout, timeout_at};

use crate::{
    observe::Observer,
    store::redis::{
        circuit_breaker::{CircuitBreaker, FailureEffect, Permit},
        connect::CONNECT_TIMEOUT,
        connection::{Connection, Endpoint},
        failure::Failure,
        health::{BreakerState, HealthTracker, NodeHealth},
        timer::{Deadline, Timer},
    },
};

/// A server with a connection and a circuit breaker of its own.
#[derive(Debug)]
pub(super) struct Node {
    connection: Connection,
    breaker: Arc<CircuitBreaker>,
    health: Arc<HealthTracker>,
}

/// A command for a server.
pub(super) struct Command<'a> {
    pub(super) short: Cmd,
    /// Makes the command that is sent if the server does not know the script of the short one.
    pub(super) full: Option<&'a (dyn Fn() -> Cmd + Sync)>,
    /// True for a command with several keys that could also be sent one by one.
    pub(super) is_divisible: bool,
}

impl Node {
    pub(super) fn new(endpoint: Endpoint, timer: Timer, observer: &Arc<Observer>) -> Arc<Self> {
        let breaker = Arc::new(CircuitBreaker::new(timer));
        let health = Arc::new(HealthTracker::new(endpoint.address()));
        let connection = Connection::new(endpoint, Arc::clone(&breaker), Arc::clone(&health), Arc::clone(observer));
        Arc::new(Self { connection, breaker, health })
    }

    /// Sends a command, unless the circuit breaker is open, and waits for the reply until the deadline.
    pub(super) async fn call(&self, command: &Command<'_>, asking: bool, deadline: Deadline) -> Result<Value, Failure> {
        // While a connection is being established, that is the probe.
        let permit = if self.is_circuit_open() { None } else { self.breaker.acquire() };
        let permit = permit.ok_or_else(|| self.circuit_open())?;
        let had_connection = self.connection.is_established();
        let Ok(reply) = timeout_at(deadline.end, self.send(command, asking)).await else {
            return Err(self.time_out(permit, had_connection, deadline.missed()));
        };
        self.report(&reply, permit);
        reply
    }

    /// Sends a command whatever the state of the circuit breaker, and allows it the time of connecting twice.
    pub(super) async fn call_unguarded(&self, command: &Command<'_>) -> Result<Value, Failure> {
        self.connection.connect().await?;
        let reply = timeout(CONNECT_TIMEOUT, self.send(command, false)).await;
        reply.unwrap_or(Err(Failure::Timeout(CONNECT_TIMEOUT)))
    }

    /// Connects in the background, if there is no connection.
    pub(super) fn connect_in_background(&self) {
        self.connection.connect_in_background();
    }

    /// Lets the next request be tried, although the circuit breaker is open.
    pub(super) fn allow_probe(&self) {
        self.breaker.allow_probe();
    }

    /// Returns whether a request would not be sent.
    pub(super) fn is_circuit_open(&self) -> bool {
        self.breaker.is_open() || (self.breaker.state() != BreakerState::Closed && self.connection.is_connecting())
    }

    /// Returns the failure of a request that is not sent.
    pub(super) fn circuit_open(&self) -> Failure {
        Failure::CircuitOpen(self.health.last_error())
    }

    /// Drops the connection, because the server is no longer needed.
    pub(super) fn close(&self) {
        self.connection.close();
    }

    pub(super) fn address(&self) -> &str {
        self.health.address()
    }

    pub(super) fn health(&self) -> NodeHealth {
        self.health.health(self.breaker.state())
    }

    /// Sends the short command, and the full one if the script is unknown: it has not run then.
    async fn send(&self, command: &Command<'_>, asking: bool) -> Result<Value, Failure> {
        match (self.connection.send(&command.short, asking).await, command.full) {
            (Err(failure), Some(full)) if failure.is_unknown_script() => self.connection.send(&full(), asking).await,
            (reply, _) => reply,
        }
    }

    /// Reports a request that was not answered in time. A connection that was established only meanwhile is kept: the
    /// next request finds it ready and has all of its time for the answer.
    fn time_out(&self, permit: Permit, had_connection: bool, missed: Failure) -> Failure {
        let is_new = !had_connection && self.connection.is_established();
        if self.record_failure(&missed, permit) && !is_new {
            self.connection.discard(&missed.reason());
        }
        missed
    }

    /// Reports to the circuit breaker how a request ended.
    fn report(&self, reply: &Result<Value, Failure>, permit: Permit) {
        let failure = match reply {
            Err(failure) if !failure.is_bad_value() && failure.redirection().is_none() => failure,
            _ => {
                if permit.succeed() {
                    self.health.breaker_closed();
                }
                return;
            }
        };
        // The connection itself may be broken, or busy with a reply that never ends, or lead to a former master.
        if self.record_failure(failure, permit) || failure.is_demotion() {
            self.connection.discard(&failure.reason());
        }
    }

    /// Records a failure. Returns whether the circuit breaker is open now.
    fn record_failure(&self, failure: &Failure, permit: Permit) -> bool {
        self.health.error(&failure.reason());
        let lost = if let Failure::Disconnected(generation, _) = failure { Some(*generation) } else { None };
        let effect = permit.fail(lost);
        if effect == FailureEffect::Opened {
            self.health.breaker_opened();
        }
        effect != FailureEffect::Counted
    }
}
