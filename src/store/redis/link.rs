//! The connection to the server.

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use redis::{Cmd, RedisError, Value};
use tokio::sync::watch;

use crate::store::{
    Unavailable,
    redis::topology::{Connection, Connector},
};

/// One connection, which all decisions share and pipeline on, and which is made anew when it is lost.
///
/// It connects when it is first needed, in a task of its own: who waits for it may give up, and the next finds it ready.
pub(super) struct Link {
    connector: Connector,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connecting: Option<watch::Receiver<Progress>>,
    /// Which connection this is: an error of an earlier one says nothing of it.
    number: u64,
}

/// None while it is being established.
type Progress = Option<Result<Connection, Arc<str>>>;

/// Why a command has no reply.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The server said so; the connection is in order.
    Refused(RedisError),
    /// There is no connection, or no longer.
    Lost(String),
}

impl Failure {
    pub(super) fn into_unavailable(self) -> Unavailable {
        Unavailable::new(match self {
            Self::Refused(error) => error.to_string(),
            Self::Lost(reason) => reason,
        })
    }
}

impl Link {
    pub(super) fn through(connector: Connector) -> Self {
        Self { connector, state: Mutex::default() }
    }

    /// Sends a command and waits for the reply. If it is dropped, the reply is for nobody.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, Failure> {
        let (mut connection, number) = self.connection().await?;
        connection.send(command).await.map_err(|error| {
            if error.is_io_error() || error.is_unrecoverable_error() {
                self.forget(number);
                return Failure::Lost(error.to_string());
            }
            Failure::Refused(error)
        })
    }

    /// Lets go of the connection: the next command makes a new one.
    pub(super) fn discard(&self) {
        self.state.lock().connecting = None;
    }

    async fn connection(&self) -> Result<(Connection, u64), Failure> {
        let (mut progress, number) = self.progress();
        let outcome = match progress.wait_for(Option::is_some).await {
            Ok(done) => done.clone().unwrap_or_else(|| Err("no connection".into())),
            Err(_) => Err("the connecting task was stopped".into()),
        };
        outcome.map(|connection| (connection, number)).map_err(|reason| {
            self.forget(number);
            Failure::Lost(reason.to_string())
        })
    }

    fn progress(&self) -> (watch::Receiver<Progress>, u64) {
        let mut state = self.state.lock();
        if let Some(connecting) = &state.connecting {
            return (connecting.clone(), state.number);
        }
        let (tell, connecting) = watch::channel(None);
        tokio::spawn(connect(self.connector.clone(), tell));
        state.number += 1;
        state.connecting = Some(connecting.clone());
        (connecting, state.number)
    }

    /// Lets go of this connection, if it is still the one in use.
    fn forget(&self, number: u64) {
        let mut state = self.state.lock();
        if state.number == number {
            state.connecting = None;
        }
    }
}

impl fmt::Debug for Link {
    /// The connector knows passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("is_connected", &self.state.lock().connecting.is_some()).finish_non_exhaustive()
    }
}

async fn connect(connector: Connector, tell: watch::Sender<Progress>) {
    let connected = connector.connect().await;
    // Nobody may be waiting any more.
    let _ = tell.send(Some(connected.map_err(|error| error.to_string().into())));
}
