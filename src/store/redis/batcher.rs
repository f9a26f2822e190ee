//! Asking for all who ask in the same turn, in one call.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::RedisResult;
use tokio::{
    runtime::Handle,
    time::{timeout, timeout_at},
};

use crate::{
    key::Charge,
    store::{
        Verdict,
        redis::{
            failure::Failure,
            handover::Awaited,
            histories::Histories,
            node::Deadline,
            recent_denials::{AskedAt, RecentDenials},
            script::{Mode, Reply},
            waiting::{BatchGroup, Unclaimed, Waiting},
        },
    },
};

/// How long anybody relies on somebody else to ask. A thread may be busy with something else, or its runtime may end.
const PATIENCE: Duration = Duration::from_millis(1);

/// Gathers those who ask in the same turn of the scheduler, and asks for them in as few calls as possible.
#[derive(Debug)]
pub(super) struct Batcher {
    histories: Arc<Histories>,
    denials: Arc<RecentDenials>,
    waiting: Mutex<Vec<Waiting>>,
    /// Requests in one call, at most.
    most: usize,
}

impl Batcher {
    pub(super) fn new(histories: Arc<Histories>, denials: Arc<RecentDenials>, most: u8) -> Self {
        Self { histories, denials, waiting: Mutex::default(), most: usize::from(most) }
    }

    /// Decides about charges that are in one slot, in one call with all that are asked about in the same turn.
    ///
    /// The call belongs to a task of its own: who waits for it may be dropped without harm to the others, and what was
    /// admitted for somebody who has gone is given back.
    pub(super) async fn decide(self: &Arc<Self>, charges: &[Charge], deadline: Deadline) -> Result<Verdict, Failure> {
        let (batcher, handle, asked) = (Arc::clone(self), Handle::current(), charges.to_vec());
        let (tell, mut told) = Awaited::new(move |verdict: Result<Verdict, Failure>| {
            if let Ok(verdict) = verdict
                && verdict.admitted
            {
                let unclaimed = Unclaimed { charges: asked, admitted_at: verdict.now, units: 1 };
                handle.spawn(async move { batcher.give_back(unclaimed).await });
            }
        });
        if self.join(Waiting { charges: charges.to_vec(), deadline, tell }) {
            tokio::spawn(Arc::clone(self).gather());
        }
        let told = async {
            if let Ok(told) = timeout(PATIENCE, &mut told).await {
                return told;
            }
            if !self.waiting.lock().is_empty() {
                tokio::spawn(Arc::clone(self).ask_for_all());
            }
            told.await
        };
        let told = timeout_at(deadline.end, told).await.map_err(|_| deadline.missed())?;
        told.unwrap_or_else(|| Err(Failure::impossible("the runtime of the task that asks has ended")))
    }

    /// Says whether this is the first one to wait, who has to see to it that somebody asks.
    fn join(&self, waiting: Waiting) -> bool {
        let mut all = self.waiting.lock();
        all.push(waiting);
        all.len() == 1
    }

    /// Lets everybody join whose turn it is, and asks.
    async fn gather(self: Arc<Self>) {
        tokio::task::yield_now().await;
        self.ask_for_all().await;
    }

    /// Asks for all who wait.
    async fn ask_for_all(self: Arc<Self>) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        join_all(
            Waiting::calls(waiting, self.most, self.histories.routes.is_cluster())
                .into_iter()
                .map(|waiting| self.ask_about(waiting)),
        )
        .await;
    }

    /// Asks about all of these in one call, and again about those that came after one whose history could not be read.
    async fn ask_about(&self, mut waiting: Vec<Waiting>) {
        waiting.retain(|waiting| !waiting.is_gone());
        let (mut alike, mut unclaimed) =
            (BatchGroup::all(waiting, |charges| self.histories.counts_denied(charges)), Vec::new());
        while !alike.is_empty() {
            let (question, answer) = self.ask(&alike).await;
            match answer {
                Ok(replies) if replies.is_empty() => break,
                Ok(replies) => {
                    let rest = alike.split_off(replies.len().min(alike.len()));
                    let told = alike.into_iter().zip(replies);
                    let told = told.map(|(alike, reply)| self.tell(alike, reply.map_err(Failure::Refused), question));
                    unclaimed.extend(told.flatten());
                    alike = rest;
                }
                // While a slot moves, only one key at a time is sure to be somewhere.
                Err(failure) if failure.is_try_again() && alike.len() > 1 => {
                    let one_by_one = join_all(alike.into_iter().map(|alike| self.ask_alone(alike))).await;
                    unclaimed.extend(one_by_one.into_iter().flatten());
                    break;
                }
                Err(failure) => {
                    alike.into_iter().for_each(|alike| drop(alike.learn(&Err(failure.clone()))));
                    break;
                }
            }
        }
        join_all(unclaimed.into_iter().map(|unclaimed| self.give_back(unclaimed))).await;
    }

    async fn ask(&self, alike: &[BatchGroup]) -> (AskedAt, Result<Vec<RedisResult<Reply>>, Failure>) {
        let question = self.denials.question(self.histories.timepiece.now());
        let requests: Vec<_> = alike.iter().map(BatchGroup::request).collect();
        let deadline = alike.iter().filter_map(BatchGroup::deadline).min_by_key(|deadline| deadline.end);
        let deadline = deadline.unwrap_or_else(|| Deadline::after(self.histories.deadline));
        (question, self.histories.decide(&requests, Mode::Decide, deadline).await)
    }

    async fn ask_alone(&self, alike: BatchGroup) -> Option<Unclaimed> {
        let (question, answer) = self.ask(std::slice::from_ref(&alike)).await;
        self.tell(alike, answer.and_then(super::histories::the_only_one), question)
    }

    /// Tells what came of it, and remembers it if it is a denial, whether anybody is there to hear it or not.
    fn tell(&self, alike: BatchGroup, reply: Result<Reply, Failure>, question: AskedAt) -> Option<Unclaimed> {
        let (charges, units) = alike.request();
        let charges = charges.to_vec();
        let unclaimed = alike.learn(&reply);
        // RecentDenials that count are to be counted, and what is given back makes room.
        if let Ok(reply) = reply
            && reply.units < u32::from(units)
            && unclaimed.is_none()
            && !self.histories.counts_denied(&charges)
        {
            let now = self.histories.timepiece.now();
            self.denials.remember(&charges, &reply.verdict_on(u32::from(units)), question, now);
        }
        unclaimed
    }

    async fn give_back(&self, Unclaimed { charges, admitted_at, units }: Unclaimed) {
        let deadline = Deadline::after(self.histories.deadline);
        // If the server cannot be reached it keeps them: too much is counted then, never too little.
        drop(self.histories.refund(&charges, admitted_at, units, deadline).await);
    }
}
