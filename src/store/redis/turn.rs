//! Decisions of one turn of the scheduler, in one call.

use std::sync::Arc;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::store::{
    Charge, Verdict,
    redis::{
        ask::Asker,
        link::Failure,
        script::{Mode, Reply},
    },
};

/// Requests that wait for the end of the turn, to be asked about in one call.
#[derive(Debug)]
pub(super) struct Turn {
    waiting: Mutex<Vec<Waiting>>,
    /// Requests in one call, at most.
    most: usize,
}

#[derive(Debug)]
struct Waiting {
    charges: Vec<Charge>,
    tell: oneshot::Sender<Result<Verdict, Failure>>,
}

/// Those who ask the same, in the order in which they came.
struct Alike(Vec<Waiting>);

/// The task that will ask for all who wait. If its runtime ends before, they are told.
struct Gathering(Option<Arc<Asker>>);

impl Turn {
    pub(super) fn of(most: u8) -> Self {
        Self { waiting: Mutex::default(), most: usize::from(most) }
    }

    /// Whether a call may be about several requests.
    pub(super) const fn is_shared(&self) -> bool {
        self.most > 1
    }

    /// Says whether this is the first one to wait, who has to see to it that somebody asks.
    fn join(&self, waiting: Waiting) -> bool {
        let mut all = self.waiting.lock();
        all.push(waiting);
        all.len() == 1
    }

    fn take(&self) -> Vec<Waiting> {
        std::mem::take(&mut *self.waiting.lock())
    }
}

impl Asker {
    /// Decides about charges that are on one server, in one call with all that are asked about in the same turn.
    ///
    /// The call belongs to a task of its own: who waits for it may be dropped without harm to the others.
    pub(super) async fn decide_in_turn(self: &Arc<Self>, charges: &[Charge]) -> Result<Verdict, Failure> {
        let (tell, told) = oneshot::channel();
        let (charges, asker) = (charges.to_vec(), Arc::clone(self));
        let told = async move {
            if asker.turn.join(Waiting { charges, tell }) {
                let gathering = Gathering(Some(Arc::clone(&asker)));
                tokio::spawn(gathering.ask());
            }
            told.await.unwrap_or_else(|_| Err(Failure::Lost("the runtime of the task that asks has ended".to_owned())))
        };
        self.in_time(told).await
    }

    /// Asks about all of these in one call, and again about those that came after one whose history could not be read.
    async fn ask_about(&self, mut waiting: Vec<Waiting>) {
        waiting.retain(|waiting| !waiting.tell.is_closed());
        let mut alike = self.alike(waiting);
        while !alike.is_empty() {
            let requests: Vec<_> = alike.iter().map(Alike::request).collect();
            match self.evaluate_all(&requests, Mode::Decide).await {
                Ok(replies) if replies.is_empty() => return,
                Ok(replies) => alike.drain(..replies.len()).zip(replies).for_each(|(alike, reply)| {
                    alike.learn(&reply.map_err(Failure::Refused));
                }),
                Err(failure) => return alike.into_iter().for_each(|alike| alike.learn(&Err(failure.clone()))),
            }
        }
    }

    /// Requests with the same charges are one request for several units, unless denials are to be counted one by one.
    fn alike(&self, waiting: Vec<Waiting>) -> Vec<Alike> {
        let mut all: Vec<Alike> = Vec::new();
        for request in waiting {
            let is_like =
                |other: &&mut Alike| other.charges() == request.charges && !self.counts_denied(&request.charges);
            match all.iter_mut().find(is_like) {
                Some(alike) => alike.0.push(request),
                None => all.push(Alike(vec![request])),
            }
        }
        all
    }

    /// What may be asked about in one call: so many at most, and on a cluster those that share a slot.
    fn calls(&self, mut waiting: Vec<Waiting>) -> Vec<Vec<Waiting>> {
        if self.is_cluster {
            waiting.sort_by_key(Waiting::tenant);
        }
        let mut calls: Vec<Vec<Waiting>> = Vec::new();
        for request in waiting {
            let shares = |call: &&mut Vec<Waiting>| {
                let is_near = !self.is_cluster || call.last().map(Waiting::tenant) == Some(request.tenant());
                is_near && call.len() < self.turn.most
            };
            match calls.last_mut().filter(shares) {
                Some(call) => call.push(request),
                None => calls.push(vec![request]),
            }
        }
        calls
    }
}

impl Gathering {
    /// Lets everybody join whose turn it is, and asks.
    async fn ask(mut self) {
        tokio::task::yield_now().await;
        let Some(asker) = self.0.take() else { return };
        let calls = asker.calls(asker.turn.take());
        join_all(calls.into_iter().map(|waiting| asker.ask_about(waiting))).await;
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        if let Some(asker) = &self.0 {
            drop(asker.turn.take());
        }
    }
}

impl Alike {
    fn charges(&self) -> &[Charge] {
        self.0.first().map_or(&[], |first| &first.charges)
    }

    fn request(&self) -> (&[Charge], u8) {
        (self.charges(), self.0.len() as u8)
    }

    /// The first to come are the first to be admitted, each with what was so after it.
    fn learn(self, reply: &Result<Reply, Failure>) {
        for (place, waiting) in (1..).zip(self.0) {
            waiting.learn(reply.clone().map(|reply| reply.verdict_on(place)));
        }
    }
}

impl Waiting {
    fn tenant(&self) -> Option<u32> {
        self.charges.first().map(Charge::tenant)
    }

    /// Tells who asked, if that is still there.
    fn learn(self, verdict: Result<Verdict, Failure>) {
        let _ = self.tell.send(verdict);
    }
}
