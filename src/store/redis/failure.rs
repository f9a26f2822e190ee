//! Reasons why a command has no reply.

use std::{sync::Arc, time::Duration};

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::{error::Unavailable, store::redis::script::Script};

/// The reason of a request whose task ended with its runtime.
pub(super) const RUNTIME_ENDED: &str = "the tokio runtime of the task that sends the request has ended";

/// The advice where a right is missing.
const FORBIDDEN: &str =
    "the user in the URL may not do this: grant it the rights that the documentation of the store lists";

/// The reason why a command has no reply.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The server replied with an error. The connection is in order.
    Server(RedisError),
    /// There is no connection, or no longer: its generation, and the reason.
    Disconnected(u64, Arc<str>),
    /// There was no answer within this time.
    Timeout(Duration),
    /// The circuit breaker is open, so the server was not asked; with the last error, if one is known.
    CircuitOpen(Option<Arc<str>>),
    /// Anything else, in words for an operator.
    Other(Arc<str>),
}

/// A reply of a cluster node that sends the client elsewhere. Nothing was executed, and nothing is wrong with the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Redirection {
    /// `MOVED`: the slot is at this address for good.
    Moved(String),
    /// `ASK`: the slot is moving to this address, and the key is there already, or is new.
    Ask(String),
    /// `TRYAGAIN`: some of the keys have moved, and others have not.
    TryAgain,
    /// `CLUSTERDOWN`: no node serves the slot.
    ClusterDown,
}

impl Failure {
    pub(super) fn other(reason: &str) -> Self {
        Self::Other(reason.into())
    }

    pub(super) fn redirection(&self) -> Option<Redirection> {
        let Self::Server(error) = self else { return None };
        let ErrorKind::Server(kind) = error.kind() else { return None };
        let address = || error.redirect_node().map(|(address, _)| address.to_owned());
        match kind {
            ServerErrorKind::Moved => address().map(Redirection::Moved),
            ServerErrorKind::Ask => address().map(Redirection::Ask),
            ServerErrorKind::TryAgain => Some(Redirection::TryAgain),
            ServerErrorKind::ClusterDown => Some(Redirection::ClusterDown),
            _ => None,
        }
    }

    /// Returns whether the keys have to be asked about one by one, because their slot is moving.
    pub(super) fn is_try_again(&self) -> bool {
        self.redirection() == Some(Redirection::TryAgain)
    }

    /// Returns whether the server does not know the script. Nothing was executed then.
    pub(super) fn is_unknown_script(&self) -> bool {
        self.is_server_error(ServerErrorKind::NoScript)
    }

    /// Returns whether the server is a replica now. A new connection may lead to the master.
    pub(super) fn is_demotion(&self) -> bool {
        self.is_server_error(ServerErrorKind::ReadOnly) || self.is_server_error(ServerErrorKind::MasterDown)
    }

    /// Returns whether the server is in order, and only the value under a key is not.
    pub(super) fn is_bad_value(&self) -> bool {
        matches!(self, Self::Server(error) if Script::is_corrupt(error) || error.code() == Some("WRONGTYPE"))
    }

    /// Returns the reason in words for an operator.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Server(error) => explain(error),
            Self::Disconnected(_, reason) | Self::Other(reason) => reason.to_string(),
            Self::Timeout(length) => format!("no answer within {}", humantime::format_duration(*length)),
            Self::CircuitOpen(last) => {
                let last = last.as_ref().map(|last| format!(": {last}")).unwrap_or_default();
                format!("the circuit breaker is open: the server failed several times and is tried once a second{last}")
            }
        }
    }

    pub(super) fn into_unavailable(self) -> Unavailable {
        Unavailable::new(self.reason())
    }

    fn is_server_error(&self, kind: ServerErrorKind) -> bool {
        matches!(self, Self::Server(error) if error.kind() == ErrorKind::Server(kind))
    }
}

/// Describes an error of the server or of the connection, with what an operator can do about it.
pub(super) fn explain(error: &RedisError) -> String {
    let text = error.to_string();
    let code = error.code().unwrap_or_default();
    let advice = match code {
        _ if code == "NOAUTH" || text.contains("unauthenticated") => {
            "the server requires a password, and the URL has none"
        }
        "WRONGPASS" => "the user or the password in the URL is wrong",
        "NOPERM" => FORBIDDEN,
        "READONLY" => "the server is a read-only replica: the URL has to lead to the master",
        "NOSCRIPT" => "the server does not keep the script: EVAL and EVALSHA are needed",
        "LOADING" => "the server is still loading its data",
        "BUSY" => "the server is busy with another client's script",
        "CLUSTERDOWN" => "the cluster does not serve all of its slots",
        "OOM" => "the server's memory is full: raise maxmemory, or allow eviction",
        "MASTERDOWN" => "the server is a replica that has lost its master",
        "MISCONF" => "the server accepts no writes because it cannot save its data",
        "NOREPLICAS" => "the server accepts no writes because it has too few replicas",
        _ if text.contains("can't run this command") => FORBIDDEN,
        _ if text.contains("max number of clients") => "the server has as many clients as it accepts: raise maxclients",
        _ if text.contains("unknown command") => "the server does not know a command that is needed, or forbids it",
        _ => return text,
    };
    format!("{advice} ({text})")
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    fn server_error(text: &str) -> Failure {
        let value = redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap();
        Failure::Server(Value::extract_error(value).unwrap_err())
    }

    #[test]
    fn reasons_say_what_an_operator_can_do() {
        let errors = [
            ("NOPERM this user has no permissions to run the 'evalsha' command", "rights"),
            ("NOAUTH Authentication required.", "password"),
            ("READONLY You can't write against a read only replica.", "replica"),
            ("NOSCRIPT No matching script.", "EVAL"),
            ("LOADING Redis is loading the dataset in memory", "loading"),
            ("CLUSTERDOWN Hash slot not served", "slots"),
            ("OOM command not allowed when used memory > 'maxmemory'.", "maxmemory"),
            ("MASTERDOWN Link with MASTER is down", "master"),
            ("ERR max number of clients reached", "maxclients"),
            ("ERR unknown command 'EVALSHA'", "command"),
        ];
        for (error, word) in errors {
            let reason = server_error(error).reason();
            let code = error.split(' ').next().unwrap();
            assert!(reason.contains(word) && (code == "ERR" || reason.contains(&error[code.len() + 1..])), "{reason}");
        }
        assert_eq!(Failure::Timeout(Duration::from_millis(50)).reason(), "no answer within 50ms");
    }

    #[test]
    fn redirections_of_a_cluster_are_told_apart() {
        let moved = server_error("MOVED 3999 127.0.0.1:6381").redirection();
        assert_eq!(moved, Some(Redirection::Moved("127.0.0.1:6381".to_owned())));
        let ask = server_error("ASK 3999 [::1]:6381").redirection();
        assert_eq!(ask, Some(Redirection::Ask("[::1]:6381".to_owned())));
        assert!(server_error("TRYAGAIN Multiple keys request during rehashing of slot").is_try_again());
        assert_eq!(server_error("CLUSTERDOWN Hash slot not served").redirection(), Some(Redirection::ClusterDown));
        assert_eq!(server_error("READONLY no").redirection(), None);
        assert!(server_error("READONLY no").is_demotion());
    }
}
