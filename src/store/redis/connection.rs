//! The connection to one server.

use std::{fmt, future::poll_fn, pin::pin, sync::Arc, task::Poll};

use parking_lot::Mutex;
use redis::{Cmd, RedisError, Value, aio::MultiplexedConnection};
use tokio::{sync::watch, time::timeout};

use crate::store::redis::{
    circuit_breaker::CircuitBreaker, dial::CONNECT_TIMEOUT, failure::Failure, journal::Journal, target::Target,
};

/// One connection, which all decisions share and pipeline on, and which is made anew when it is lost.
///
/// It connects when it is first needed, in a task of its own and within a time of its own: who waits for it may give up, and
/// the next finds it ready. To connect is also to try whether the server is there, so then the breaker lets the next
/// request try.
pub(super) struct Connection {
    target: Target,
    breaker: Arc<CircuitBreaker>,
    journal: Arc<Journal>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    progress: Option<watch::Receiver<Progress>>,
    /// Which connection this is: an error of an earlier one says nothing of it.
    number: u64,
}

/// None while it is being established.
type Progress = Option<Result<MultiplexedConnection, Arc<str>>>;

impl Connection {
    pub(super) fn new(target: Target, breaker: Arc<CircuitBreaker>, journal: Arc<Journal>) -> Self {
        Self { target, breaker, journal, state: Mutex::default() }
    }

    /// Sends a command and waits for the reply. If it is dropped, the reply is for nobody.
    ///
    /// `asking` is for a slot that is on its way to this server.
    pub(super) async fn send(&self, command: &Cmd, asking: bool) -> Result<Value, Failure> {
        for _ in 0..2 {
            let (connection, number) = self.connected().await?;
            match exchange(connection, command, asking).await {
                Exchange::Unwritten => self.lose(number, "it was closed while nobody used it"),
                Exchange::Answered(Ok(value)) => return Ok(value),
                Exchange::Answered(Err(error)) if error.is_io_error() || error.is_unrecoverable_error() => {
                    let reason = format!("the connection was lost: {error}");
                    self.lose(number, &reason);
                    return Err(Failure::Lost(number, reason.into()));
                }
                Exchange::Answered(Err(error)) => return Err(Failure::Refused(error)),
            }
        }
        Err(Failure::impossible("the server closes every connection at once"))
    }

    /// Connects, if there is no connection, without waiting for it.
    pub(super) fn begin(&self) {
        drop(self.progress());
    }

    /// Waits until it is established, as long as that takes.
    pub(super) async fn establish(&self) -> Result<(), Failure> {
        self.connected().await.map(drop)
    }

    /// Lets go of the connection if it is established: the next command makes a new one.
    pub(super) fn discard(&self, reason: &str) {
        let mut state = self.state.lock();
        if state.progress.as_ref().is_some_and(|progress| progress.borrow().is_some()) {
            state.progress = None;
            self.journal.note_disconnected(Some(reason));
        }
    }

    /// Lets go of the connection, because it is not needed any more.
    pub(super) fn close(&self) {
        self.state.lock().progress = None;
        self.journal.note_disconnected(None);
    }

    /// Whether it is being established just now. Its task may have ended with its runtime.
    pub(super) fn is_connecting(&self) -> bool {
        let state = self.state.lock();
        let goes_on =
            |progress: &watch::Receiver<Progress>| progress.has_changed().is_ok() && progress.borrow().is_none();
        state.progress.as_ref().is_some_and(goes_on)
    }

    /// Whether commands can be sent at once.
    pub(super) fn is_established(&self) -> bool {
        let state = self.state.lock();
        state.progress.as_ref().is_some_and(|progress| progress.borrow().as_ref().is_some_and(Result::is_ok))
    }

    async fn connected(&self) -> Result<(MultiplexedConnection, u64), Failure> {
        let (mut progress, number) = self.progress();
        let outcome = match progress.wait_for(Option::is_some).await {
            Ok(done) => done.clone().unwrap_or_else(|| Err("no connection".into())),
            Err(_) => Err("the task that connects has ended: it needs a tokio runtime with I/O and timers, as \
                           `enable_all` makes it, that goes on"
                .into()),
        };
        outcome.map(|connection| (connection, number)).map_err(|reason| {
            self.forget(number);
            Failure::Lost(number, reason)
        })
    }

    /// The connection that is there or on its way, or else a new one.
    fn progress(&self) -> (watch::Receiver<Progress>, u64) {
        let mut state = self.state.lock();
        if let Some(progress) = state.progress.as_ref().filter(|progress| is_of_use(progress)) {
            return (progress.clone(), state.number);
        }
        let (tell, progress) = watch::channel(None);
        self.journal.note_connecting();
        let (breaker, journal) = (Arc::clone(&self.breaker), Arc::clone(&self.journal));
        tokio::spawn(connect(self.target.clone(), tell, breaker, journal));
        state.number += 1;
        state.progress = Some(progress.clone());
        (progress, state.number)
    }

    /// Lets go of a connection that has ended, and makes the next one at once: somebody needs it.
    fn lose(&self, number: u64, reason: &str) {
        if self.forget(number) {
            self.journal.note_disconnected(Some(reason));
            self.progress();
        }
    }

    /// Lets go of this connection, if it is still the one in use.
    fn forget(&self, number: u64) -> bool {
        let mut state = self.state.lock();
        let is_current = state.number == number && state.progress.is_some();
        if is_current {
            state.progress = None;
        }
        is_current
    }
}

impl fmt::Debug for Connection {
    /// The target knows passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.journal.address()).finish_non_exhaustive()
    }
}

/// Whether it is established, or on its way.
fn is_of_use(progress: &watch::Receiver<Progress>) -> bool {
    match &*progress.borrow() {
        Some(outcome) => outcome.is_ok(),
        // The task may have ended with its runtime.
        None => progress.has_changed().is_ok(),
    }
}

async fn connect(target: Target, tell: watch::Sender<Progress>, breaker: Arc<CircuitBreaker>, journal: Arc<Journal>) {
    let late = |_| Err(format!("not connected within {}", humantime::format_duration(CONNECT_TIMEOUT)));
    let connected = timeout(CONNECT_TIMEOUT, target.connect()).await.unwrap_or_else(late);
    match &connected {
        Ok(_) => {
            journal.note_connected();
            breaker.let_try();
        }
        Err(reason) => journal.note_disconnected(Some(reason)),
    }
    // Nobody may be waiting any more.
    let _ = tell.send(Some(connected.map_err(Into::into)));
}

/// What became of a command.
enum Exchange {
    /// The connection had been closed before, and not a byte of it was written.
    Unwritten,
    /// Here is the reply, or why there is none.
    Answered(Result<Value, RedisError>),
}

async fn exchange(mut connection: MultiplexedConnection, command: &Cmd, asking: bool) -> Exchange {
    if asking {
        return Exchange::Answered(ask(connection, command).await);
    }
    let mut sending = pin!(connection.send_packed_command(command));
    // A command goes to the task of the connection first. Where that has ended there is an error at once, and otherwise
    // nothing before that task has had its turn.
    let first = poll_fn(|context| Poll::Ready(sending.as_mut().poll(context))).await;
    let reply = match first {
        Poll::Ready(Err(error)) if error.is_connection_dropped() => return Exchange::Unwritten,
        Poll::Ready(reply) => reply,
        Poll::Pending => sending.await,
    };
    // An error that the server replies is a value at this level.
    Exchange::Answered(reply.and_then(Value::extract_error))
}

/// Sends a command about a slot that is on its way to this server.
async fn ask(mut connection: MultiplexedConnection, command: &Cmd) -> Result<Value, RedisError> {
    let mut both = redis::pipe();
    both.cmd("ASKING").add_command(command.clone());
    let replies = connection.send_packed_commands(&both, 0, 2).await?;
    replies.into_iter().last().unwrap_or(Value::Nil).extract_error()
}
