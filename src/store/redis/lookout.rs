//! Looking who has which slot of a cluster.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use redis::cmd;
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

use crate::store::redis::{
    circuit_breaker::CircuitBreaker,
    cluster_nodes::ClusterNodes,
    dial::CONNECT_TIMEOUT,
    failure::Failure,
    health::BreakerState,
    node::{Command, Deadline, Node},
    slots::{Range, ranges},
    timepiece::Timepiece,
};

/// Time from one look to the next: a promotion is to be noticed soon, and nobody is to be asked all the time.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// How long better news are waited for where the first are of nodes that do not answer.
const BETTER_NEWS: Duration = Duration::from_millis(100);

/// Looks who has which slot, in a task of its own and not too often.
#[derive(Debug)]
pub(super) struct Lookout {
    nodes: Arc<ClusterNodes>,
    look: Mutex<Look>,
    /// Leave to wait for a look while nothing is known.
    breaker: Arc<CircuitBreaker>,
}

/// A look at who has which slot.
#[derive(Debug, Default)]
struct Look {
    /// What came of it; none while it is going on.
    news: Option<watch::Receiver<News>>,
    began: Option<Instant>,
}

type News = Option<Result<(), Arc<str>>>;

impl Lookout {
    pub(super) fn new(nodes: Arc<ClusterNodes>, timepiece: Timepiece) -> Self {
        Self { nodes, look: Mutex::default(), breaker: Arc::new(CircuitBreaker::new(timepiece)) }
    }

    /// Waits for a look until the deadline, unless nobody has said anything several times.
    pub(super) async fn news_by(self: &Arc<Self>, deadline: Deadline) -> Result<(), Failure> {
        let attempt = self.breaker.attempt().ok_or_else(|| self.in_the_dark())?;
        let news = timeout_at(deadline.end, self.news()).await.unwrap_or_else(|_| Err(deadline.missed()));
        match &news {
            Ok(()) => drop(attempt.succeed()),
            Err(_) => drop(attempt.fail(None)),
        }
        news
    }

    /// Waits for a look that begins now.
    pub(super) async fn fresh_news(self: &Arc<Self>) -> Result<(), Failure> {
        self.look.lock().began = None;
        self.news().await
    }

    /// Why nobody is waited for, if nobody has said anything several times.
    pub(super) fn left_alone(&self) -> Option<Failure> {
        self.breaker.is_open().then(|| self.in_the_dark())
    }

    fn in_the_dark(&self) -> Failure {
        let look = self.look.lock();
        let last = look.news.as_ref().and_then(|news| news.borrow().clone());
        Failure::LeftAlone(last.and_then(Result::err))
    }

    /// Whether something has been said since.
    pub(super) fn is_well(&self) -> bool {
        self.breaker.state() == BreakerState::Closed
    }

    /// Sees to it that there is a new look at who has which slot, unless there was one just now.
    pub(super) fn look_again(self: &Arc<Self>) {
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
        // Where there is no runtime the news never come.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(Arc::clone(self).look(tell));
        }
        news
    }

    async fn look(self: Arc<Self>, tell: watch::Sender<News>) {
        let late = |_| Err("no node says who has which slot".into());
        let told = timeout(CONNECT_TIMEOUT, self.slots_as_told()).await.unwrap_or_else(late);
        let news = told.map(|ranges| self.nodes.install(ranges));
        if news.is_ok() {
            self.breaker.close();
        }
        // Nobody may be waiting any more.
        let _ = tell.send(Some(news));
    }

    /// What the first node says that knows; or another one, if that speaks of nodes that do not answer.
    async fn slots_as_told(&self) -> Result<Vec<Range>, Arc<str>> {
        let asked = self.nodes.informants();
        let mut answers: FuturesUnordered<_> = asked.iter().map(|node| slots_by(node)).collect();
        let (mut reason, mut doubtful) = (Arc::from("no node is known"), None);
        let mut until = None;
        while let Ok(Some(answer)) = timeout_at(until.unwrap_or_else(far_off), answers.next()).await {
            match answer {
                Ok(ranges) if self.nodes.is_credible(&ranges) => return Ok(ranges),
                Ok(ranges) => {
                    doubtful.get_or_insert(ranges);
                    until.get_or_insert_with(|| Instant::now() + BETTER_NEWS);
                }
                Err(failure) => reason = failure.reason().into(),
            }
        }
        doubtful.ok_or(reason)
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
