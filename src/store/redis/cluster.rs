//! The nodes of a cluster, and which of them is to be asked.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use redis::{ConnectionInfo, Value, cmd};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use crate::store::redis::{
    circuit_breaker::CircuitBreaker,
    connection::CONNECT_TIMEOUT,
    failure::{Failure, Redirection},
    health::{BreakerState, NodeHealth},
    node::{Command, Deadline, Node},
    slots::{Range, Slots, host_and_port, ranges},
    target::{Target, moved_to},
    timepiece::Timepiece,
    tls::Tls,
};

/// Time from one look at who has which slot to the next: a promotion is to be noticed soon, and nobody is to be asked all
/// the time.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// How long better news are waited for where the first are of nodes that do not answer.
const BETTER_NEWS: Duration = Duration::from_millis(100);
/// A slot that is given from hand to hand for longer is somebody's mistake.
const MOST_REDIRECTIONS: u32 = 5;
/// So many nodes are asked at most who has which slot, and others too where there are fewer than some.
const MOST_INFORMANTS: usize = 8;
const FEW_INFORMANTS: usize = 3;
/// How long keys on their way are waited for, at first.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// The nodes of a cluster, with a connection and a breaker each, and who has which slot.
///
/// Whose turn it is to be asked is looked up here and not by the cluster client of redis-rs: that has one queue, one state
/// and one retry for all nodes, so that a node that is gone holds up those that are well.
pub(super) struct Cluster {
    seeds: Vec<Arc<Node>>,
    /// How to connect to a node whose address is known.
    like: ConnectionInfo,
    tls: Tls,
    timepiece: Timepiece,
    /// Nodes by host and port, and by slot as far as that is known.
    known: Mutex<Known>,
    look: Mutex<Look>,
    /// Leave to wait for the first look.
    breaker: Arc<CircuitBreaker>,
}

#[derive(Default)]
struct Known {
    slots: Option<Slots>,
    nodes: Vec<((String, u16), Arc<Node>)>,
}

/// A look at who has which slot.
#[derive(Default)]
struct Look {
    /// What came of it; none while it is going on.
    news: Option<watch::Receiver<News>>,
    began: Option<Instant>,
}

type News = Option<Result<(), Arc<str>>>;

impl Cluster {
    pub(super) fn new(targets: &[(Target, ConnectionInfo)], tls: Tls, timepiece: Timepiece) -> Option<Arc<Self>> {
        let (_, like) = targets.first()?;
        let seeds: Vec<_> = targets.iter().map(|(target, _)| Node::new(target.clone(), timepiece.clone())).collect();
        let addresses = targets.iter().filter_map(|(_, info)| address_of(info));
        let nodes = addresses.zip(seeds.iter().cloned()).collect();
        let breaker = Arc::new(CircuitBreaker::new(timepiece.clone()));
        let known = Mutex::new(Known { slots: None, nodes });
        Some(Arc::new(Self { seeds, like: like.clone(), tls, timepiece, known, look: Mutex::default(), breaker }))
    }

    /// Sends a command to the node that has the slot of its keys, wherever that may have gone.
    pub(super) async fn ask(
        self: &Arc<Self>,
        slot: u16,
        command: &Command<'_>,
        deadline: Deadline,
    ) -> Result<Value, Failure> {
        let (mut redirections, mut pause) = (0, FIRST_PAUSE);
        let mut node = self.owner(slot, deadline).await?;
        let mut asking = false;
        loop {
            let reply = node.ask(command, asking, deadline).await;
            let Err(failure) = reply else { return reply };
            let redirection = failure.redirection();
            (node, asking) = match redirection {
                Some(Redirection::TryAgain) if !command.is_divisible && Instant::now() + pause < deadline.end => {
                    sleep_until(Instant::now() + pause).await;
                    pause *= 2;
                    (self.owner(slot, deadline).await?, false)
                }
                Some(Redirection::Moved(address)) if redirections < MOST_REDIRECTIONS => {
                    redirections += 1;
                    let next = self.node_at(&address, &node)?;
                    self.moved(slot, &next);
                    (next, false)
                }
                Some(Redirection::Ask(address)) if redirections < MOST_REDIRECTIONS => {
                    redirections += 1;
                    (self.node_at(&address, &node)?, true)
                }
                _ => {
                    if !failure.is_about_the_key() {
                        self.look_again();
                    }
                    return Err(failure);
                }
            };
        }
    }

    /// Whether a request about a slot need not be sent.
    pub(super) fn is_left_alone(self: &Arc<Self>, slot: u16) -> bool {
        let owner = self.known.lock().slots.as_ref().map(|slots| slots.owner(slot).cloned());
        let is_left_alone = match owner {
            Some(owner) => owner.is_some_and(|owner| owner.is_left_alone()),
            None => self.breaker.is_open(),
        };
        if is_left_alone {
            // Somebody may have been promoted in its place.
            self.look_again();
        }
        is_left_alone
    }

    /// All masters as they are now, with a slot of each; or why there is none, or that some slots have none.
    pub(super) async fn masters(self: &Arc<Self>) -> Result<Vec<(Arc<Node>, u16)>, Failure> {
        self.look.lock().began = None;
        self.news().await?;
        let known = self.known.lock();
        let slots = known.slots.as_ref().ok_or_else(|| Failure::impossible("no node knows the slots"))?;
        match slots.unserved() {
            0 => Ok(slots.masters()),
            count => Err(Failure::Impossible(format!("{count} slots of the cluster are served by nobody").into())),
        }
    }

    pub(super) fn health(&self) -> (Vec<NodeHealth>, bool) {
        let known = self.known.lock();
        let masters = known.slots.as_ref().map(Slots::masters);
        let nodes = match masters {
            Some(masters) => masters.iter().map(|(node, _)| node.health()).collect(),
            None => self.seeds.iter().map(|node| node.health()).collect(),
        };
        (nodes, self.breaker.state() != BreakerState::Closed)
    }

    /// The node that has a slot, as soon as that is known.
    async fn owner(self: &Arc<Self>, slot: u16, deadline: Deadline) -> Result<Arc<Node>, Failure> {
        if let Some(owner) = self.owner_if_known(slot) {
            return owner;
        }
        let attempt = self.breaker.attempt().ok_or(Failure::LeftAlone(None))?;
        let news = timeout_at(deadline.end, self.news()).await;
        match news.unwrap_or_else(|_| Err(deadline.missed())) {
            Ok(()) => {
                attempt.succeed();
                self.owner_if_known(slot).unwrap_or_else(|| Err(Failure::impossible("no node knows the slots")))
            }
            Err(failure) => {
                attempt.fail(None);
                Err(failure)
            }
        }
    }

    fn owner_if_known(self: &Arc<Self>, slot: u16) -> Option<Result<Arc<Node>, Failure>> {
        let owner = self.known.lock().slots.as_ref()?.owner(slot).cloned();
        if owner.is_none() {
            self.look_again();
        }
        Some(owner.ok_or_else(|| Failure::impossible("no node serves the slot")))
    }

    /// The node at an address of a redirection, known already or not.
    fn node_at(&self, address: &str, asked: &Node) -> Result<Arc<Node>, Failure> {
        let host = asked.address().rsplit_once(':').map_or("", |(host, _)| host);
        let address = host_and_port(address, host).ok_or_else(|| Failure::impossible("a redirection to nowhere"))?;
        self.known.lock().node(&address, || self.new_node(&address))
    }

    fn new_node(&self, (host, port): &(String, u16)) -> Result<Arc<Node>, Failure> {
        let target = Target::server(moved_to(&self.like, host, *port), &self.tls);
        target.map(|target| Node::new(target, self.timepiece.clone())).map_err(Failure::Refused)
    }

    fn moved(self: &Arc<Self>, slot: u16, node: &Arc<Node>) {
        if let Some(slots) = &mut self.known.lock().slots {
            slots.give(slot, Arc::clone(node));
        }
        self.look_again();
    }

    /// Sees to it that there is a new look at who has which slot, unless there was one just now.
    fn look_again(self: &Arc<Self>) {
        drop(self.current_look());
    }

    /// Waits for a look at who has which slot.
    async fn news(self: &Arc<Self>) -> Result<(), Failure> {
        let mut look = self.current_look();
        let news = look.wait_for(Option::is_some).await.map(|news| news.clone());
        let ended = || Err("the task that looks for the nodes has ended with its runtime".into());
        news.ok().flatten().unwrap_or_else(ended).map_err(Failure::Impossible)
    }

    fn current_look(self: &Arc<Self>) -> watch::Receiver<News> {
        let mut look = self.look.lock();
        let is_new = look.began.is_some_and(|began| began.elapsed() < BETWEEN_LOOKS);
        // The task may have ended with its runtime.
        let is_of_use = |news: &&watch::Receiver<News>| {
            let is_over = news.borrow().is_some();
            (is_over && is_new) || (!is_over && news.has_changed().is_ok())
        };
        if let Some(news) = look.news.as_ref().filter(is_of_use) {
            return news.clone();
        }
        let (tell, news) = watch::channel(None);
        *look = Look { news: Some(news.clone()), began: Some(Instant::now()) };
        tokio::spawn(Arc::clone(self).look(tell));
        news
    }

    async fn look(self: Arc<Self>, tell: watch::Sender<News>) {
        let late = |_| Err("no node says who has which slot".into());
        let told = timeout(CONNECT_TIMEOUT, self.slots_as_told()).await.unwrap_or_else(late);
        let news = told.map(|ranges| self.install(ranges));
        if news.is_ok() {
            self.breaker.close();
        }
        // Nobody may be waiting any more.
        let _ = tell.send(Some(news));
    }

    /// What the first node says that knows; or another one, if that speaks of nodes that do not answer.
    async fn slots_as_told(&self) -> Result<Vec<Range>, Arc<str>> {
        let asked = self.informants();
        let mut answers: FuturesUnordered<_> = asked.iter().map(|node| slots_by(node)).collect();
        let (mut reason, mut doubtful) = (Arc::from("no node is known"), None);
        let mut until = None;
        while let Ok(Some(answer)) = timeout_at(until.unwrap_or_else(far_off), answers.next()).await {
            match answer {
                Ok(ranges) if self.is_credible(&ranges) => return Ok(ranges),
                Ok(ranges) => {
                    doubtful.get_or_insert(ranges);
                    until.get_or_insert_with(|| Instant::now() + BETTER_NEWS);
                }
                Err(failure) => reason = failure.reason().into(),
            }
        }
        doubtful.ok_or(reason)
    }

    /// Some masters that are well, whichever; and all that were ever named where there are few of those.
    fn informants(&self) -> Vec<Arc<Node>> {
        let known = self.known.lock();
        let masters = known.slots.as_ref().map(Slots::masters).unwrap_or_default();
        let mut asked: Vec<_> =
            masters.into_iter().map(|(node, _)| node).filter(|node| !node.is_left_alone()).collect();
        fastrand::shuffle(&mut asked);
        asked.truncate(MOST_INFORMANTS);
        if asked.len() < FEW_INFORMANTS {
            let others = known.nodes.iter().map(|(_, node)| node).chain(&self.seeds);
            for other in others {
                if !asked.iter().any(|node| Arc::ptr_eq(node, other)) {
                    asked.push(Arc::clone(other));
                }
            }
        }
        asked
    }

    /// Whether no slot belongs to a node that is left alone.
    fn is_credible(&self, ranges: &[Range]) -> bool {
        let known = self.known.lock();
        let is_well = |range: &Range| known.get(&range.address).is_none_or(|node| !node.is_left_alone());
        ranges.iter().all(is_well)
    }

    /// Takes over what was told. Nodes that are known keep their connections.
    fn install(&self, ranges: Vec<Range>) {
        let mut known = self.known.lock();
        let mut owned = Vec::new();
        for range in ranges {
            if let Ok(node) = known.node(&range.address, || self.new_node(&range.address)) {
                owned.push((range, node));
            }
        }
        let is_master = |node: &Arc<Node>| owned.iter().any(|(_, master)| Arc::ptr_eq(master, node));
        known.nodes.retain(|(_, node)| {
            let is_master = is_master(node);
            if !is_master {
                node.close();
            }
            is_master || self.seeds.iter().any(|seed| Arc::ptr_eq(seed, node))
        });
        owned.iter().for_each(|(_, node)| node.connect());
        known.slots = Some(Slots::new(owned));
    }
}

impl Known {
    fn get(&self, address: &(String, u16)) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|(other, _)| other == address).map(|(_, node)| node)
    }

    fn node(
        &mut self,
        address: &(String, u16),
        new: impl FnOnce() -> Result<Arc<Node>, Failure>,
    ) -> Result<Arc<Node>, Failure> {
        if let Some(node) = self.get(address) {
            return Ok(Arc::clone(node));
        }
        let node = new()?;
        self.nodes.push((address.clone(), Arc::clone(&node)));
        Ok(node)
    }
}

/// Later than a look may take.
fn far_off() -> Instant {
    Instant::now() + CONNECT_TIMEOUT * 2
}

/// Who has which slot, by one node.
async fn slots_by(node: &Node) -> Result<Vec<Range>, Failure> {
    let mut question = cmd("CLUSTER");
    question.arg("SLOTS");
    let answer = node.try_hard(&Command { short: question, full: None, is_divisible: false }).await?;
    let host = node.address().rsplit_once(':').map_or("", |(host, _)| host);
    let ranges = ranges(&answer, host).filter(|ranges| !ranges.is_empty());
    ranges.ok_or_else(|| Failure::Impossible(format!("{} knows no slots", node.address()).into()))
}

fn address_of(info: &ConnectionInfo) -> Option<(String, u16)> {
    match info.addr() {
        redis::ConnectionAddr::Tcp(host, port) | redis::ConnectionAddr::TcpTls { host, port, .. } => {
            Some((host.clone(), *port))
        }
        _ => None,
    }
}

impl std::fmt::Debug for Cluster {
    /// Without passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("seeds", &self.seeds).finish_non_exhaustive()
    }
}
