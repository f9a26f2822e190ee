//! The connection to one server.

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
};

use parking_lot::Mutex;
use redis::{Client, Cmd, ConnectionInfo, RedisError, Value, aio::MultiplexedConnection};
use tokio::{sync::watch, time::timeout};

use crate::{
    observe::Observer,
    store::redis::{
        circuit_breaker::CircuitBreaker,
        connect::{CONNECT_TIMEOUT, TlsConfig, connect},
        eviction::warn_of_eviction,
        failure::Failure,
        health::HealthTracker,
        sentinels::Sentinels,
    },
};

/// The server that a connection leads to: one at a known address, or the master that sentinels know.
#[derive(Clone)]
pub(super) enum Endpoint {
    Server(Arc<Client>),
    Master(Arc<Sentinels>),
}

/// A multiplexed connection, which all decisions share and pipeline on, and which is replaced when it is lost.
///
/// It is established on first use, in a task and with a timeout of its own: cancelling a waiter does not cancel the
/// attempt, and the next waiter finds the connection ready. A connection that is established lets the circuit breaker
/// probe the server.
pub(super) struct Connection {
    endpoint: Endpoint,
    breaker: Arc<CircuitBreaker>,
    health: Arc<HealthTracker>,
    observer: Arc<Observer>,
    /// The generation that was asked last whether the server evicts keys; zero before the first.
    checked: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    progress: Option<watch::Receiver<Progress>>,
    /// Counts connections: an error of an earlier one says nothing about this one.
    generation: u64,
}

/// The outcome of connecting; `None` while it goes on.
type Progress = Option<Result<MultiplexedConnection, Arc<str>>>;

/// The outcome of sending a command.
enum Exchange {
    /// The connection had been closed before, and not a byte of the command was written.
    NotWritten,
    Replied(Result<Value, RedisError>),
}

impl Endpoint {
    /// Returns the server at `info`. Nothing is connected yet.
    pub(super) fn server(info: ConnectionInfo, tls: &TlsConfig) -> Result<Self, RedisError> {
        Ok(Self::Server(Arc::new(tls.client(info)?)))
    }

    /// Returns the host and port, the path of the socket, or the name of the service that the sentinels know.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Server(client) => client.get_connection_info().addr().to_string(),
            Self::Master(sentinels) => sentinels.service().to_owned(),
        }
    }

    /// Connects; the error is in words for an operator.
    async fn connect(&self) -> Result<MultiplexedConnection, String> {
        match self {
            Self::Server(client) => connect(client).await,
            Self::Master(sentinels) => sentinels.connect().await,
        }
    }
}

impl Connection {
    pub(super) fn new(
        endpoint: Endpoint,
        breaker: Arc<CircuitBreaker>,
        health: Arc<HealthTracker>,
        observer: Arc<Observer>,
    ) -> Self {
        Self { endpoint, breaker, health, observer, checked: AtomicU64::new(0), state: Mutex::default() }
    }

    /// Sends a command and waits for the reply. If the future is dropped, the reply is discarded.
    ///
    /// With `asking` the command is preceded by `ASKING`, for a slot that is moving to this server.
    pub(super) async fn send(&self, command: &Cmd, asking: bool) -> Result<Value, Failure> {
        for _ in 0..2 {
            let (connection, generation) = self.connected().await?;
            match exchange(connection, command, asking).await {
                Exchange::NotWritten => self.replace(generation, "it was closed while it was idle"),
                Exchange::Replied(Ok(value)) => {
                    self.check_eviction(generation);
                    return Ok(value);
                }
                Exchange::Replied(Err(error)) if error.is_io_error() || error.is_unrecoverable_error() => {
                    let reason = format!("the connection was lost: {error}");
                    self.replace(generation, &reason);
                    return Err(Failure::Disconnected(generation, reason.into()));
                }
                Exchange::Replied(Err(error)) => return Err(Failure::Server(error)),
            }
        }
        Err(Failure::other("the server closes every connection at once"))
    }

    /// Asks the server whether it evicts keys, in a task and once for each connection: as soon as it has answered something else.
    fn check_eviction(&self, generation: u64) {
        if self.checked.load(Ordering::Relaxed) != generation
            && self.checked.swap(generation, Ordering::Relaxed) != generation
            && let Some(connection) = self.established()
        {
            let observer = Arc::clone(&self.observer);
            tokio::spawn(async move { warn_of_eviction(connection, &observer).await });
        }
    }

    fn established(&self) -> Option<MultiplexedConnection> {
        self.state.lock().progress.as_ref()?.borrow().as_ref()?.as_ref().ok().cloned()
    }

    /// Connects in the background, if there is no connection.
    pub(super) fn connect_in_background(&self) {
        drop(self.progress());
    }

    /// Waits until the connection is established, for as long as [`CONNECT_TIMEOUT`].
    pub(super) async fn connect(&self) -> Result<(), Failure> {
        self.connected().await.map(drop)
    }

    /// Drops an established connection, because of an error: the next command makes a new one.
    pub(super) fn discard(&self, reason: &str) {
        let mut state = self.state.lock();
        if state.progress.as_ref().is_some_and(|progress| progress.borrow().is_some()) {
            state.progress = None;
            self.health.disconnected(Some(reason));
        }
    }

    /// Drops the connection, because the server is no longer needed.
    pub(super) fn close(&self) {
        self.state.lock().progress = None;
        self.health.disconnected(None);
    }

    /// Returns whether the connection is being established.
    pub(super) fn is_connecting(&self) -> bool {
        let state = self.state.lock();
        state.progress.as_ref().is_some_and(|progress| progress.borrow().is_none() && has_sender(progress))
    }

    /// Returns whether commands can be sent at once.
    pub(super) fn is_established(&self) -> bool {
        let state = self.state.lock();
        state.progress.as_ref().is_some_and(|progress| progress.borrow().as_ref().is_some_and(Result::is_ok))
    }

    async fn connected(&self) -> Result<(MultiplexedConnection, u64), Failure> {
        let (mut progress, generation) = self.progress();
        let outcome = match progress.wait_for(Option::is_some).await {
            Ok(done) => done.clone().unwrap_or_else(|| Err("no connection".into())),
            Err(_) => Err("the task that connects has ended: it needs a tokio runtime with I/O and timers, as \
                           `enable_all` makes it, that goes on"
                .into()),
        };
        outcome.map(|connection| (connection, generation)).map_err(|reason| {
            self.clear(generation);
            Failure::Disconnected(generation, reason)
        })
    }

    /// Returns the progress of the current connection, or of a new one if that has failed.
    fn progress(&self) -> (watch::Receiver<Progress>, u64) {
        let mut state = self.state.lock();
        if let Some(progress) = state.progress.as_ref().filter(|progress| is_usable(progress)) {
            return (progress.clone(), state.generation);
        }
        let (sender, progress) = watch::channel(None);
        self.health.connecting();
        let (breaker, health) = (Arc::clone(&self.breaker), Arc::clone(&self.health));
        tokio::spawn(establish(self.endpoint.clone(), sender, breaker, health));
        state.generation += 1;
        state.progress = Some(progress.clone());
        (progress, state.generation)
    }

    /// Drops a connection that has ended, and makes the next one at once, since it is needed.
    fn replace(&self, generation: u64, reason: &str) {
        if self.clear(generation) {
            self.health.disconnected(Some(reason));
            self.progress();
        }
    }

    /// Drops the connection of this generation. Returns whether it was still the current one.
    fn clear(&self, generation: u64) -> bool {
        let mut state = self.state.lock();
        let is_current = state.generation == generation && state.progress.is_some();
        if is_current {
            state.progress = None;
        }
        is_current
    }
}

/// Without passwords, which clients and sentinels know.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address())
    }
}

/// Without passwords, which the endpoint knows.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.health.address()).finish_non_exhaustive()
    }
}

/// Returns whether the connection is established or being established.
fn is_usable(progress: &watch::Receiver<Progress>) -> bool {
    match &*progress.borrow() {
        Some(outcome) => outcome.is_ok(),
        None => has_sender(progress),
    }
}

/// Returns whether the task that connects is alive: it may have ended with its runtime.
fn has_sender(progress: &watch::Receiver<Progress>) -> bool {
    progress.has_changed().is_ok()
}

async fn establish(
    endpoint: Endpoint,
    progress: watch::Sender<Progress>,
    breaker: Arc<CircuitBreaker>,
    health: Arc<HealthTracker>,
) {
    let late = |_| Err(format!("not connected within {}", humantime::format_duration(CONNECT_TIMEOUT)));
    let connected = timeout(CONNECT_TIMEOUT, endpoint.connect()).await.unwrap_or_else(late);
    match &connected {
        Ok(_) => {
            health.connected();
            breaker.allow_probe();
        }
        Err(reason) => health.disconnected(Some(reason)),
    }
    // An error means that no request waits any more.
    let _ = progress.send(Some(connected.map_err(Into::into)));
}

async fn exchange(mut connection: MultiplexedConnection, command: &Cmd, asking: bool) -> Exchange {
    if asking {
        return Exchange::Replied(send_asking(connection, command).await);
    }
    let mut sending = pin!(connection.send_packed_command(command));
    // A command first goes to the task that drives the connection. If that task has ended, the first poll is an error;
    // otherwise it is pending until the task has run.
    let first = poll_fn(|context| Poll::Ready(sending.as_mut().poll(context))).await;
    let reply = match first {
        Poll::Ready(Err(error)) if error.is_connection_dropped() => return Exchange::NotWritten,
        Poll::Ready(reply) => reply,
        Poll::Pending => sending.await,
    };
    // At this level an error that the server replies is a value.
    Exchange::Replied(reply.and_then(Value::extract_error))
}

/// Sends `ASKING` and the command.
async fn send_asking(mut connection: MultiplexedConnection, command: &Cmd) -> Result<Value, RedisError> {
    let mut both = redis::pipe();
    both.cmd("ASKING").add_command(command.clone());
    let replies = connection.send_packed_commands(&both, 0, 2).await?;
    replies.into_iter().last().unwrap_or(Value::Nil).extract_error()
}
