//! Asking for all who ask in the same turn, in one call.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::store::{
    Charge, Verdict,
    redis::{
        ask::Asker,
        link::Failure,
        script::Mode,
        turn::{Alike, Waiting},
    },
};

/// How long anybody relies on somebody else to ask. A thread may be busy with something else, or its runtime may end.
const PATIENCE: Duration = Duration::from_millis(1);

impl Asker {
    /// Decides about charges that are on one server, in one call with all that are asked about in the same turn.
    ///
    /// The call belongs to a task of its own: who waits for it may be dropped without harm to the others.
    pub(super) async fn decide_in_turn(self: &Arc<Self>, charges: &[Charge]) -> Result<Verdict, Failure> {
        let ((waiting, mut told), asker) = (Waiting::of(charges), Arc::clone(self));
        let told = async move {
            if asker.turn.join(waiting) {
                tokio::spawn(asker.clone().gather());
            }
            let told = match timeout(PATIENCE, &mut told).await {
                Ok(told) => told,
                Err(_) => {
                    if asker.turn.is_anybody_waiting() {
                        tokio::spawn(asker.ask_for_all());
                    }
                    told.await
                }
            };
            told.unwrap_or_else(|_| Err(Failure::Lost("the runtime of the task that asks has ended".to_owned())))
        };
        self.in_time(told).await
    }

    /// Lets everybody join whose turn it is, and asks.
    async fn gather(self: Arc<Self>) {
        tokio::task::yield_now().await;
        self.ask_for_all().await;
    }

    /// Asks for all who wait.
    async fn ask_for_all(self: Arc<Self>) {
        let calls = self.calls(self.turn.take());
        join_all(calls.into_iter().map(|waiting| self.ask_about(waiting))).await;
    }

    /// Asks about all of these in one call, and again about those that came after one whose history could not be read.
    async fn ask_about(&self, mut waiting: Vec<Waiting>) {
        waiting.retain(|waiting| !waiting.is_gone());
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
                Some(alike) => alike.push(request),
                None => all.push(Alike::of(request)),
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
                is_near && call.len() < self.turn.most()
            };
            match calls.last_mut().filter(shares) {
                Some(call) => call.push(request),
                None => calls.push(vec![request]),
            }
        }
        calls
    }
}
