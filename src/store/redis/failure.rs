//! Why a command has no reply.

use std::{sync::Arc, time::Duration};

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::{error::Unavailable, store::redis::script::Script};

/// Why a command has no reply.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The server said so; the connection is in order.
    Refused(RedisError),
    /// There is no connection, or no longer: which one it was, and why.
    Lost(u64, Arc<str>),
    /// There was no answer in so much time.
    Late(Duration),
    /// The server has failed several times and was not asked.
    LeftAlone(Option<Arc<str>>),
    /// It was not tried, because it cannot be here.
    Impossible(Arc<str>),
}

/// What a node of a cluster says instead of an answer. Nothing was executed, and nothing is wrong with the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Redirection {
    /// The slot is at this address for good.
    Moved(String),
    /// The slot is on its way to this address, and so is the key, or it is new.
    Ask(String),
    /// Some keys have gone, and others not yet.
    TryAgain,
    /// The cluster does not serve the slot.
    Down,
}

impl Failure {
    pub(super) fn impossible(reason: &str) -> Self {
        Self::Impossible(reason.into())
    }

    pub(super) fn redirection(&self) -> Option<Redirection> {
        let Self::Refused(error) = self else { return None };
        let ErrorKind::Server(kind) = error.kind() else { return None };
        let address = || error.redirect_node().map(|(address, _)| address.to_owned());
        match kind {
            ServerErrorKind::Moved => address().map(Redirection::Moved),
            ServerErrorKind::Ask => address().map(Redirection::Ask),
            ServerErrorKind::TryAgain => Some(Redirection::TryAgain),
            ServerErrorKind::ClusterDown => Some(Redirection::Down),
            _ => None,
        }
    }

    /// Whether keys have to be asked about one by one.
    pub(super) fn is_try_again(&self) -> bool {
        self.redirection() == Some(Redirection::TryAgain)
    }

    /// Whether the server does not know the script: then nothing was executed.
    pub(super) fn is_unknown_script(&self) -> bool {
        self.is_server_error(ServerErrorKind::NoScript)
    }

    /// Whether somebody else is the master now, whom another connection might lead to.
    pub(super) fn is_demotion(&self) -> bool {
        self.is_server_error(ServerErrorKind::ReadOnly) || self.is_server_error(ServerErrorKind::MasterDown)
    }

    /// Whether the server is in order, and only what is kept under a key is not.
    pub(super) fn is_about_the_key(&self) -> bool {
        matches!(self, Self::Refused(error) if Script::is_corrupt(error) || error.code() == Some("WRONGTYPE"))
    }

    /// In words for the operator.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Refused(error) => explained(error),
            Self::Lost(_, reason) | Self::Impossible(reason) => reason.to_string(),
            Self::Late(deadline) => format!("no answer within {}", humantime::format_duration(*deadline)),
            Self::LeftAlone(last) => {
                let why = last.as_ref().map(|last| format!(": {last}")).unwrap_or_default();
                format!("the server has failed several times, and is tried once a second{why}")
            }
        }
    }

    pub(super) fn into_unavailable(self) -> Unavailable {
        Unavailable::new(self.reason())
    }

    fn is_server_error(&self, kind: ServerErrorKind) -> bool {
        matches!(self, Self::Refused(error) if error.kind() == ErrorKind::Server(kind))
    }
}

/// An error of the server or of the connection to it, with what an operator can do about it.
pub(super) fn explained(error: &RedisError) -> String {
    let text = error.to_string();
    let code = error.code().unwrap_or_default();
    let advice = match code {
        _ if code == "NOAUTH" || text.contains("unauthenticated") => {
            "the server wants a password, and the URL has none"
        }
        "WRONGPASS" => "the user or the password of the URL is wrong",
        "NOPERM" => "the user of the URL may not do this: give it the rights that the documentation of the store lists",
        "READONLY" => "the server is a replica, which does not write: this has to be the master",
        "NOSCRIPT" => "the server does not keep the script: EVAL and EVALSHA are needed",
        "LOADING" => "the server is still loading its data",
        "BUSY" => "the server is busy with somebody's script",
        "CLUSTERDOWN" => "the cluster does not serve all of its slots",
        "OOM" => "the server's memory is full: raise maxmemory, or let it evict",
        "MASTERDOWN" => "the server is a replica that has lost its master",
        "MISCONF" => "the server takes no writes because it cannot save its data",
        "NOREPLICAS" => "the server takes no writes because it has too few replicas",
        _ if text.contains("can't run this command") => {
            "the user of the URL may not do this: give it the rights that the documentation of the store lists"
        }
        _ if text.contains("max number of clients") => "the server has as many clients as it takes: raise maxclients",
        _ if text.contains("unknown command") => "the server does not know, or forbids, a command that is needed",
        _ => return text,
    };
    format!("{advice} ({text})")
}

#[cfg(test)]
mod tests {
    use redis::{ServerError, Value};

    use super::*;

    fn refused(text: &str) -> Failure {
        let (value, _) = (redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap(), None::<ServerError>);
        Failure::Refused(Value::extract_error(value).unwrap_err())
    }

    #[test]
    fn reasons_say_what_an_operator_can_do() {
        let told = [
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
        for (error, word) in told {
            let reason = refused(error).reason();
            let code = error.split(' ').next().unwrap();
            assert!(reason.contains(word) && (code == "ERR" || reason.contains(&error[code.len() + 1..])), "{reason}");
        }
        assert_eq!(Failure::Late(Duration::from_millis(50)).reason(), "no answer within 50ms");
    }

    #[test]
    fn what_nodes_of_a_cluster_say_instead_of_an_answer_is_told_apart() {
        let moved = refused("MOVED 3999 127.0.0.1:6381").redirection();
        assert_eq!(moved, Some(Redirection::Moved("127.0.0.1:6381".to_owned())));
        let ask = refused("ASK 3999 [::1]:6381").redirection();
        assert_eq!(ask, Some(Redirection::Ask("[::1]:6381".to_owned())));
        assert!(refused("TRYAGAIN Multiple keys request during rehashing of slot").is_try_again());
        assert_eq!(refused("CLUSTERDOWN Hash slot not served").redirection(), Some(Redirection::Down));
        assert_eq!(refused("READONLY no").redirection(), None);
        assert!(refused("READONLY no").is_demotion());
    }
}
