//! One server, and whether it is asked.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, Value};
use tokio::time::{Instant, timeout, timeout_at};

use crate::store::redis::{
    circuit_breaker::{Attempt, CircuitBreaker, Failed},
    connection::Connection,
    dial::CONNECT_TIMEOUT,
    failure::Failure,
    health::{BreakerState, NodeHealth},
    journal::Journal,
    target::Target,
    timepiece::Timepiece,
};

/// A server with a connection and a breaker of its own.
#[derive(Debug)]
pub(super) struct Node {
    connection: Connection,
    breaker: Arc<CircuitBreaker>,
    journal: Arc<Journal>,
}

/// A command, and what is sent where the server does not know its script.
pub(super) struct Command<'a> {
    pub(super) short: Cmd,
    pub(super) full: Option<&'a (dyn Fn() -> Cmd + Sync)>,
    /// Whether it is about several keys for no better reason than to save calls.
    pub(super) is_divisible: bool,
}

/// Until when there has to be an answer, and how long that was in the beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) end: Instant,
    pub(super) length: Duration,
}

impl Deadline {
    pub(super) fn after(length: Duration) -> Self {
        Self { end: Instant::now() + length, length }
    }

    pub(super) const fn missed(self) -> Failure {
        Failure::Late(self.length)
    }
}

impl Node {
    pub(super) fn new(target: Target, timepiece: Timepiece) -> Arc<Self> {
        let breaker = Arc::new(CircuitBreaker::new(timepiece));
        let journal = Arc::new(Journal::new(target.address()));
        let connection = Connection::new(target, Arc::clone(&breaker), Arc::clone(&journal));
        Arc::new(Self { connection, breaker, journal })
    }

    /// Sends a command, unless the server is being left alone, and waits for the reply until the deadline.
    pub(super) async fn ask(&self, command: &Command<'_>, asking: bool, deadline: Deadline) -> Result<Value, Failure> {
        // To connect is to try already.
        let attempt = if self.is_left_alone() { None } else { self.breaker.attempt() };
        let attempt = attempt.ok_or_else(|| self.left_alone())?;
        let had_connection = self.connection.is_established();
        let Ok(reply) = timeout_at(deadline.end, self.send(command, asking)).await else {
            return Err(self.miss(attempt, had_connection, deadline.missed()));
        };
        self.learn(&reply, attempt);
        reply
    }

    /// There was no answer in time. A connection that was only made meanwhile is kept: the next request has it, and all of
    /// its own time.
    fn miss(&self, attempt: Attempt, had_connection: bool, missed: Failure) -> Failure {
        let is_new = !had_connection && self.connection.is_established();
        if self.note_failure(&missed, attempt) && !is_new {
            self.connection.discard(&missed.reason());
        }
        missed
    }

    /// Sends a command whatever the breaker thinks, and gives it as much time as it takes to connect, and as much again.
    pub(super) async fn try_hard(&self, command: &Command<'_>) -> Result<Value, Failure> {
        self.connection.establish().await?;
        let reply = timeout(CONNECT_TIMEOUT, self.send(command, false)).await;
        reply.unwrap_or(Err(Failure::Late(CONNECT_TIMEOUT)))
    }

    /// Connects, if there is no connection, without waiting for it.
    pub(super) fn connect(&self) {
        self.connection.begin();
    }

    /// Has the next request tried.
    pub(super) fn let_try(&self) {
        self.breaker.let_try();
    }

    /// Whether a request need not be sent.
    pub(super) fn is_left_alone(&self) -> bool {
        self.breaker.is_open() || (self.breaker.state() != BreakerState::Closed && self.connection.is_connecting())
    }

    /// Why it is left alone.
    pub(super) fn left_alone(&self) -> Failure {
        Failure::LeftAlone(self.journal.last_error())
    }

    /// Lets go of the connection, because it is not needed any more.
    pub(super) fn close(&self) {
        self.connection.close();
    }

    pub(super) fn address(&self) -> &str {
        self.journal.address()
    }

    pub(super) fn health(&self) -> NodeHealth {
        self.journal.health(self.breaker.state())
    }

    /// A script that the server does not know has not run, so it may be sent again in full.
    async fn send(&self, command: &Command<'_>, asking: bool) -> Result<Value, Failure> {
        match (self.connection.send(&command.short, asking).await, command.full) {
            (Err(failure), Some(full)) if failure.is_unknown_script() => self.connection.send(&full(), asking).await,
            (reply, _) => reply,
        }
    }

    /// What an answer, or its absence, says about the server.
    fn learn(&self, reply: &Result<Value, Failure>, attempt: Attempt) {
        let failure = match reply {
            Err(failure) if !failure.is_about_the_key() && failure.redirection().is_none() => failure,
            _ => {
                if attempt.succeed() {
                    self.journal.note_closed();
                }
                return;
            }
        };
        // The connection may be what is broken, or busy with a reply that never ends, or lead to a master of yesterday.
        if self.note_failure(failure, attempt) || failure.is_demotion() {
            self.connection.discard(&failure.reason());
        }
    }

    /// Says whether the server is left alone for it.
    fn note_failure(&self, failure: &Failure, attempt: Attempt) -> bool {
        self.journal.note_error(&failure.reason());
        let lost = if let Failure::Lost(number, _) = failure { Some(*number) } else { None };
        let failed = attempt.fail(lost);
        if failed == Failed::Opened {
            self.journal.note_opened();
        }
        failed != Failed::Counted
    }
}
