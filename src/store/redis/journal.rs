//! How it stands with a server, for those who look from outside.

use std::{sync::Arc, time::SystemTime};

use parking_lot::Mutex;

use crate::{
    store::redis::health::{BreakerState, ConnectionState, NodeHealth},
    warn,
};

/// What has become of a server, and since when. A change is a warning.
#[derive(Debug)]
pub(super) struct Journal {
    address: String,
    entry: Mutex<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    connection: ConnectionState,
    since: SystemTime,
    last_error: Option<Arc<str>>,
    /// Whether the error has been told since the last success.
    is_told: bool,
}

impl Journal {
    pub(super) fn new(address: String) -> Self {
        let entry = Entry {
            connection: ConnectionState::Disconnected,
            since: SystemTime::now(),
            last_error: None,
            is_told: false,
        };
        Self { address, entry: Mutex::new(entry) }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn note_connecting(&self) {
        self.turn(ConnectionState::Connecting);
    }

    pub(super) fn note_connected(&self) {
        let before = self.turn(ConnectionState::Connected);
        if before.is_told {
            self.entry.lock().is_told = false;
            warn::info(format_args!("redis {}: connected again", self.address));
        }
    }

    /// There is no connection any more, because nobody needs one or because of an error.
    pub(super) fn note_disconnected(&self, error: Option<&str>) {
        self.turn(ConnectionState::Disconnected);
        if let Some(error) = error {
            self.note_error(error);
        }
    }

    /// The first error after a success is a warning, and others go without a word.
    pub(super) fn note_error(&self, error: &str) {
        let mut entry = self.entry.lock();
        entry.last_error = Some(error.into());
        let is_told = std::mem::replace(&mut entry.is_told, true);
        drop(entry);
        if !is_told {
            warn::warn(format_args!("redis {}: {error}", self.address));
        }
    }

    pub(super) fn note_opened(&self) {
        let why = self.last_error();
        let why = why.as_deref().unwrap_or("no answer");
        warn::warn(format_args!("redis {}: left alone after several failures, the last one: {why}", self.address));
    }

    pub(super) fn note_closed(&self) {
        self.entry.lock().is_told = false;
        warn::info(format_args!("redis {}: decides again", self.address));
    }

    pub(super) fn last_error(&self) -> Option<Arc<str>> {
        self.entry.lock().last_error.clone()
    }

    pub(super) fn health(&self, breaker: BreakerState) -> NodeHealth {
        let entry = self.entry.lock().clone();
        NodeHealth::new(self.address.clone(), entry.connection, entry.since, breaker, entry.last_error)
    }

    /// Gives what was before.
    fn turn(&self, connection: ConnectionState) -> Entry {
        let mut entry = self.entry.lock();
        let before = entry.clone();
        if entry.connection != connection {
            (entry.connection, entry.since) = (connection, SystemTime::now());
        }
        before
    }
}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use super::*;
    use crate::warn::capture::logged_during;

    #[test]
    fn each_change_is_told_once_with_what_is_the_matter() {
        let journal = Journal::new("host:6379".to_owned());
        let told = logged_during(|| {
            journal.note_connected();
            for _ in 0..3 {
                journal.note_error("no answer within 50ms");
            }
            journal.note_opened();
            journal.note_disconnected(Some("refused"));
            journal.note_connected();
            journal.note_error("again");
            journal.note_closed();
        });
        let expected = [
            "WARN redis host:6379: no answer within 50ms",
            "WARN redis host:6379: left alone after several failures, the last one: no answer within 50ms",
            "INFO redis host:6379: connected again",
            "WARN redis host:6379: again",
            "INFO redis host:6379: decides again",
        ];
        assert_eq!(told, expected);
    }
}
