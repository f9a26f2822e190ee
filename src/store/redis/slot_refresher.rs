//! Refreshes the slot map of a cluster from its nodes.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use redis::{Value, cmd};
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

use crate::store::redis::{
    circuit_breaker::CircuitBreaker,
    cluster_nodes::{ClusterNodes, SlotRange},
    connect::CONNECT_TIMEOUT,
    failure::Failure,
    health::BreakerState,
    key_name::HASH_SLOTS,
    node::{Command, Node},
    timer::{Deadline, Timer},
};

/// Time between two refreshes, at least: short enough to notice a promotion soon, and long enough to spare the nodes.
const REFRESH_INTERVAL: Duration = Duration::from_millis(200);
/// Time to wait for a better answer if the first slot map names nodes that do not answer.
const CREDIBLE_WITHIN: Duration = Duration::from_millis(100);

/// Refreshes the slot map, in a task of its own and not too often.
#[derive(Debug)]
pub(super) struct SlotRefresher {
    nodes: Arc<ClusterNodes>,
    refresh: Mutex<Refresh>,
    /// Limits how many requests wait for a refresh while there is no slot map.
    breaker: Arc<CircuitBreaker>,
}

/// The last refresh.
#[derive(Debug, Default)]
struct Refresh {
    outcome: Option<watch::Receiver<Outcome>>,
    began: Option<Instant>,
}

/// The outcome of a refresh; `None` while it goes on.
type Outcome = Option<Result<(), Arc<str>>>;

impl SlotRefresher {
    pub(super) fn new(nodes: Arc<ClusterNodes>, timer: Timer) -> Self {
        Self { nodes, refresh: Mutex::default(), breaker: Arc::new(CircuitBreaker::new(timer)) }
    }

    /// Waits for a refresh until the deadline, unless several have failed.
    pub(super) async fn refreshed_by(self: &Arc<Self>, deadline: Deadline) -> Result<(), Failure> {
        let permit = self.breaker.acquire().ok_or_else(|| self.last_failure())?;
        let outcome = timeout_at(deadline.end, self.refreshed()).await.unwrap_or_else(|_| Err(deadline.missed()));
        match &outcome {
            Ok(()) => drop(permit.succeed()),
            Err(_) => drop(permit.fail(None)),
        }
        outcome
    }

    /// Waits for a refresh that begins now.
    pub(super) async fn refresh_now(self: &Arc<Self>) -> Result<(), Failure> {
        self.refresh.lock().began = None;
        self.refreshed().await
    }

    /// Returns the failure of a request that would wait for a slot map, if the circuit breaker is open.
    pub(super) fn circuit_open(&self) -> Option<Failure> {
        self.breaker.is_open().then(|| self.last_failure())
    }

    fn last_failure(&self) -> Failure {
        let refresh = self.refresh.lock();
        let last = refresh.outcome.as_ref().and_then(|outcome| outcome.borrow().clone());
        Failure::CircuitOpen(last.and_then(Result::err))
    }

    /// Returns whether the circuit breaker is closed.
    pub(super) fn is_healthy(&self) -> bool {
        self.breaker.state() == BreakerState::Closed
    }

    /// Begins a refresh in the background, unless there was one just now.
    pub(super) fn refresh_in_background(self: &Arc<Self>) {
        drop(self.current());
    }

    /// Waits for the current refresh.
    async fn refreshed(self: &Arc<Self>) -> Result<(), Failure> {
        let mut current = self.current();
        let outcome = current.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        let ended = || Err("the task that refreshes the slot map has ended with its runtime".into());
        outcome.ok().flatten().unwrap_or_else(ended).map_err(Failure::Other)
    }

    fn current(self: &Arc<Self>) -> watch::Receiver<Outcome> {
        let mut refresh = self.refresh.lock();
        let is_recent = refresh.began.is_some_and(|began| began.elapsed() < REFRESH_INTERVAL);
        let is_usable = |outcome: &&watch::Receiver<Outcome>| {
            let is_over = outcome.borrow().is_some();
            // The task of one that is not over may have ended with its runtime.
            (is_over && is_recent) || (!is_over && outcome.has_changed().is_ok())
        };
        if let Some(outcome) = refresh.outcome.as_ref().filter(is_usable) {
            return outcome.clone();
        }
        let (sender, outcome) = watch::channel(None);
        *refresh = Refresh { outcome: Some(outcome.clone()), began: Some(Instant::now()) };
        // Without a runtime the sender is dropped, and the refresh has failed.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(Arc::clone(self).run(sender));
        }
        outcome
    }

    async fn run(self: Arc<Self>, sender: watch::Sender<Outcome>) {
        let late = |_| Err("no node has sent the slot map".into());
        let ranges = timeout(CONNECT_TIMEOUT, self.ask_nodes()).await.unwrap_or_else(late);
        let outcome = ranges.map(|ranges| self.nodes.install(ranges));
        if outcome.is_ok() {
            self.breaker.close();
        }
        // An error means that no request waits any more.
        let _ = sender.send(Some(outcome));
    }

    /// Returns the first credible answer. If the first answer names nodes that do not answer, waits a while for a better
    /// one.
    async fn ask_nodes(&self) -> Result<Vec<SlotRange>, Arc<str>> {
        let asked = self.nodes.informants();
        let mut answers: FuturesUnordered<_> = asked.iter().map(|node| cluster_slots(node)).collect();
        let (mut reason, mut doubtful) = (Arc::from("no node is known"), None);
        let mut until = None;
        while let Ok(Some(answer)) = timeout_at(until.unwrap_or_else(far_off), answers.next()).await {
            match answer {
                Ok(ranges) if self.nodes.is_credible(&ranges) => return Ok(ranges),
                Ok(ranges) => {
                    doubtful.get_or_insert(ranges);
                    until.get_or_insert_with(|| Instant::now() + CREDIBLE_WITHIN);
                }
                Err(failure) => reason = failure.reason().into(),
            }
        }
        doubtful.ok_or(reason)
    }
}

/// Returns an instant after any refresh has ended.
fn far_off() -> Instant {
    Instant::now() + CONNECT_TIMEOUT * 2
}

/// Asks a node for the slot map.
async fn cluster_slots(node: &Node) -> Result<Vec<SlotRange>, Failure> {
    let mut command = cmd("CLUSTER");
    command.arg("SLOTS");
    let reply = node.call_unguarded(&Command { short: command, full: None, is_divisible: false }).await?;
    let host = node.address().rsplit_once(':').map_or("", |(host, _)| host);
    let ranges = parse_ranges(&reply, host).filter(|ranges| !ranges.is_empty());
    ranges.ok_or_else(|| Failure::Other(format!("{} knows no slots", node.address()).into()))
}

/// Parses the reply to `CLUSTER SLOTS`. A missing host stands for that of the node that was asked.
fn parse_ranges(reply: &Value, asked: &str) -> Option<Vec<SlotRange>> {
    let Value::Array(entries) = reply else { return None };
    entries.iter().map(|entry| parse_range(entry, asked)).collect()
}

fn parse_range(entry: &Value, asked: &str) -> Option<SlotRange> {
    let Value::Array(entry) = entry else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = entry.as_slice() else { return None };
    let [host, Value::Int(port), ..] = master.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        _ => "",
    };
    let host = if host.is_empty() || host == "?" { asked } else { host };
    let slot = |slot: &i64| u16::try_from(*slot).ok().filter(|slot| usize::from(*slot) < HASH_SLOTS);
    let (first, last) = (slot(first)?, slot(last)?);
    Some(SlotRange { first, last, address: (host.to_owned(), u16::try_from(*port).ok()?) }).filter(|_| first <= last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Value {
        redis::parse_redis_value(text.replace(' ', "\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn ranges_are_read_and_a_node_that_does_not_know_its_host_is_where_it_was_asked() {
        let text = "*3 *3 :0 :5 *3 $3 ::1 :6381 $2 id *3 :6 :6 *2 $0  :6382 *3 :7 :16383 *2 $-1 :6383 ";
        let ranges = parse_ranges(&reply(text), "here").unwrap();
        let ranges: Vec<_> =
            ranges.iter().map(|range| (range.first, range.last, range.address.0.as_str(), range.address.1)).collect();
        assert_eq!(ranges, [(0, 5, "::1", 6381), (6, 6, "here", 6382), (7, 16383, "here", 6383)]);
    }

    #[test]
    fn a_reply_that_is_no_slot_map_is_none() {
        for text in [
            "*1 *2 :0 :5 ",
            "*1 *3 :0 :16384 *2 $1 a :1 ",
            "*1 *3 :5 :4 *2 $1 a :1 ",
            "*1 *3 :0 :4 *2 $1 a :70000 ",
            ":1 ",
        ] {
            assert_eq!(parse_ranges(&reply(text), "here"), None, "{text}");
        }
    }
}
