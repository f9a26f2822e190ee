//! Servers that evict keys: a history that is evicted forgets what it has counted.

use redis::aio::MultiplexedConnection;
use tokio::time::timeout;

use crate::{
    observe::{Check, Observer},
    store::redis::connect::CONNECT_TIMEOUT,
    warn::Warning,
};

/// Asks a server whether it evicts keys, and warns if it does. A server that does not say so, such as one whose access list forbids
/// the question, is left alone.
pub(super) async fn warn_of_eviction(mut connection: MultiplexedConnection, observer: &Observer) {
    if !observer.is_on(Check::RedisEvicts) {
        return;
    }
    // Servers before Redis 7 know no more than one section in a question.
    let question = redis::cmd("INFO");
    let answer = timeout(CONNECT_TIMEOUT, question.query_async::<String>(&mut connection)).await;
    if let Ok(Ok(info)) = answer
        && let Some(warning) = warning(&info)
    {
        observer.warn(&warning, None);
    }
}

/// Returns the warning about a server that says this of itself; `None` if it keeps all keys.
fn warning(info: &str) -> Option<Warning> {
    let field = |name: &str| info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'));
    let number = |name: &str| field(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    let policy = field("maxmemory_policy").unwrap_or("noeviction");
    let (may_evict, evicted) = (number("maxmemory") > 0 && policy != "noeviction", number("evicted_keys"));
    (may_evict || evicted > 0).then(|| Warning::RedisEvicts(policy.to_owned(), evicted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(maxmemory: &str, policy: &str, evicted: &str) -> String {
        format!(
            "# Memory\r\nused_memory:1\r\nmaxmemory:{maxmemory}\r\nmaxmemory_human:0B\r\nmaxmemory_policy:{policy}\r\n\r\n\
             # Stats\r\nexpired_keys:7\r\nevicted_keys:{evicted}\r\n"
        )
    }

    #[test]
    fn a_server_that_may_evict_or_has_is_warned_of() {
        let evicts = |policy: &str, evicted| Some(Warning::RedisEvicts(policy.to_owned(), evicted));
        assert_eq!(warning(&said("0", "noeviction", "0")), None);
        assert_eq!(warning(&said("0", "allkeys-lru", "0")), None, "it has no limit to keep");
        assert_eq!(warning(&said("1048576", "noeviction", "0")), None);
        assert_eq!(warning(&said("1048576", "allkeys-lru", "0")), evicts("allkeys-lru", 0));
        assert_eq!(warning(&said("1048576", "volatile-ttl", "3")), evicts("volatile-ttl", 3));
        assert_eq!(warning(&said("0", "noeviction", "3")), evicts("noeviction", 3));
        for other in ["", "OK", "maxmemory:many\r\nmaxmemory_policy:allkeys-lru"] {
            assert_eq!(warning(other), None);
        }
    }
}
