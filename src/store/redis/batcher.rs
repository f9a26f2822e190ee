//! Sends the requests of one turn of the scheduler in one call.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::RedisResult;
use tokio::{
    runtime::Handle,
    sync::oneshot::{self, Receiver, Sender},
    time::{timeout, timeout_at},
};

use crate::{
    clock::Timestamp,
    key::Charge,
    store::{
        Receipt, Verdict,
        redis::{
            failure::{Failure, RUNTIME_ENDED},
            history_commands::{HistoryCommands, single_reply},
            recent_denials::{AskedAt, RecentDenials},
            script::{Mode, Reply},
            timer::Deadline,
        },
    },
};

/// Time that a request waits for the task that sends its batch, before it sends the batch itself. The thread of that task
/// may be busy, or its runtime may end.
const MAX_BATCH_DELAY: Duration = Duration::from_millis(1);

/// Gathers the requests of one turn of the scheduler, and sends them in as few calls as possible.
#[derive(Debug)]
pub(super) struct Batcher {
    commands: Arc<HistoryCommands>,
    denials: Arc<RecentDenials>,
    waiting: Mutex<Vec<BatchedRequest>>,
    /// Requests in one call, at most.
    max_batch: usize,
}

/// A request that waits to be sent with a batch.
#[derive(Debug)]
struct BatchedRequest {
    charges: Vec<Charge>,
    deadline: Deadline,
    sender: Sender<Result<Verdict, Failure>>,
}

/// Requests with the same charges, in the order in which they came: the script sees one request for several units.
struct CoalescedRequests(Vec<BatchedRequest>);

/// Units to give back, because the request that they were admitted for was cancelled.
struct PendingRefund {
    charges: Vec<(Charge, Option<Receipt>)>,
    admitted_at: Timestamp,
    units: u8,
}

/// Receives one value. If it is dropped with a value that has arrived and was not taken, it refunds that value.
pub(super) struct RefundOnDrop<T, F: FnOnce(T)> {
    value: Receiver<T>,
    refund: Option<F>,
}

impl Batcher {
    pub(super) fn new(commands: Arc<HistoryCommands>, denials: Arc<RecentDenials>, max_batch: u8) -> Self {
        Self { commands, denials, waiting: Mutex::default(), max_batch: usize::from(max_batch) }
    }

    /// Decides about charges in one slot, in one call with the other requests of the same turn.
    ///
    /// The call runs in a task of its own: cancelling a request does no harm to the others of its batch, and units that
    /// were admitted for a cancelled request are given back.
    pub(super) async fn decide(self: &Arc<Self>, charges: &[Charge], deadline: Deadline) -> Result<Verdict, Failure> {
        let (batcher, handle, refunded) = (Arc::clone(self), Handle::current(), charges.to_vec());
        let (sender, mut verdict) = RefundOnDrop::new(move |verdict: Result<Verdict, Failure>| {
            if let Ok(verdict) = verdict
                && verdict.admitted
            {
                let charges = verdict.refundable(&refunded);
                let refund = PendingRefund { charges, admitted_at: verdict.now, units: 1 };
                handle.spawn(async move { batcher.refund(refund).await });
            }
        });
        if self.join(BatchedRequest { charges: charges.to_vec(), deadline, sender }) {
            tokio::spawn(Arc::clone(self).gather());
        }
        let verdict = async {
            if let Ok(verdict) = timeout(MAX_BATCH_DELAY, &mut verdict).await {
                return verdict;
            }
            if !self.waiting.lock().is_empty() {
                tokio::spawn(Arc::clone(self).flush());
            }
            verdict.await
        };
        let verdict = timeout_at(deadline.end, verdict).await.map_err(|_| deadline.missed())?;
        verdict.unwrap_or_else(|| Err(Failure::other(RUNTIME_ENDED)))
    }

    /// Adds a request to the batch. Returns whether it is the first one, which has to see to it that the batch is sent.
    fn join(&self, request: BatchedRequest) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.push(request);
        waiting.len() == 1
    }

    /// Lets the other tasks of this turn join the batch, and sends it.
    async fn gather(self: Arc<Self>) {
        tokio::task::yield_now().await;
        self.flush().await;
    }

    /// Sends all requests that wait.
    async fn flush(self: Arc<Self>) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        let batches = BatchedRequest::batches(waiting, self.max_batch, self.commands.servers.is_cluster());
        join_all(batches.into_iter().map(|batch| self.decide_batch(batch))).await;
    }

    /// Decides a batch in one call, and in another one the requests after one whose history could not be read.
    async fn decide_batch(&self, mut batch: Vec<BatchedRequest>) {
        batch.retain(|request| !request.is_cancelled());
        let mut waiting = CoalescedRequests::coalesce(batch, |charges| self.is_decided_alone(charges));
        let mut refunds = Vec::new();
        while !waiting.is_empty() {
            let (asked, replies) = self.call(&waiting).await;
            match replies {
                Ok(replies) if replies.is_empty() => break,
                Ok(replies) => {
                    let rest = waiting.split_off(replies.len().min(waiting.len()));
                    for (requests, reply) in waiting.into_iter().zip(replies) {
                        refunds.extend(self.complete(requests, reply.map_err(Failure::Server), asked));
                    }
                    waiting = rest;
                }
                // While a slot moves, only commands with one key are sure to find it.
                Err(failure) if failure.is_try_again() && waiting.len() > 1 => {
                    let one_by_one = join_all(waiting.into_iter().map(|requests| self.decide_alone(requests))).await;
                    refunds.extend(one_by_one.into_iter().flatten());
                    break;
                }
                Err(failure) => {
                    let failed = Err(failure);
                    for requests in waiting {
                        requests.complete(&failed);
                    }
                    break;
                }
            }
        }
        join_all(refunds.into_iter().map(|refund| self.refund(refund))).await;
    }

    /// Returns whether requests with these charges are never decided together: because denials count, or because a later one of
    /// them may find no room where it denies nothing.
    fn is_decided_alone(&self, charges: &[Charge]) -> bool {
        self.commands.counts_denied(charges) || !charges.iter().all(|charge| charge.enforcement.is_enforced())
    }

    async fn call(&self, waiting: &[CoalescedRequests]) -> (AskedAt, Result<Vec<RedisResult<Reply>>, Failure>) {
        let asked = self.denials.asked_at(self.commands.timer.now());
        let requests: Vec<_> = waiting.iter().map(|requests| (requests.charges(), requests.units())).collect();
        let deadline = waiting.iter().filter_map(CoalescedRequests::deadline).min_by_key(|deadline| deadline.end);
        let deadline = deadline.unwrap_or_else(|| Deadline::after(self.commands.deadline));
        (asked, self.commands.decide(&requests, Mode::Decide, deadline).await)
    }

    async fn decide_alone(&self, requests: CoalescedRequests) -> Option<PendingRefund> {
        let (asked, replies) = self.call(std::slice::from_ref(&requests)).await;
        self.complete(requests, replies.and_then(single_reply), asked)
    }

    /// Completes requests, and remembers a denial of any of them, also if that one was cancelled.
    fn complete(
        &self,
        requests: CoalescedRequests,
        reply: Result<Reply, Failure>,
        asked: AskedAt,
    ) -> Option<PendingRefund> {
        let (charges, units) = (requests.charges().to_vec(), u32::from(requests.units()));
        let refund = requests.complete(&reply);
        if reply.as_ref().is_ok_and(|reply| reply.units > 0) {
            for charge in charges.iter().filter(|charge| self.commands.has_siblings(charge)) {
                self.denials.record_admitted(charge);
            }
        }
        // Not where denials are to be counted, not where a refund is about to make room, and not where settlements may.
        if let Ok(reply) = reply
            && reply.units < units
            && refund.is_none()
            && !self.is_decided_alone(&charges)
            && !self.commands.has_costs(&charges)
        {
            self.denials.insert(&charges, &reply.verdict_on(units), asked, self.commands.timer.now());
        }
        refund
    }

    async fn refund(&self, PendingRefund { charges, admitted_at, units }: PendingRefund) {
        let deadline = Deadline::after(self.commands.deadline);
        // If the server cannot be reached it keeps the units: too many are counted then, never too few.
        drop(self.commands.refund(&charges, admitted_at, units, deadline).await);
    }
}

impl BatchedRequest {
    /// Returns whether the request was cancelled.
    fn is_cancelled(&self) -> bool {
        self.sender.is_closed()
    }

    /// Divides requests into batches of at most `max_batch`, on a cluster by slot.
    fn batches(mut requests: Vec<Self>, max_batch: usize, is_cluster: bool) -> Vec<Vec<Self>> {
        if is_cluster {
            requests.sort_by_key(Self::tenant);
        }
        let mut batches: Vec<Vec<Self>> = Vec::new();
        for request in requests {
            let fits = |batch: &&mut Vec<Self>| {
                let shares_slot = !is_cluster || batch.last().map(Self::tenant) == Some(request.tenant());
                shares_slot && batch.len() < max_batch
            };
            match batches.last_mut().filter(fits) {
                Some(batch) => batch.push(request),
                None => batches.push(vec![request]),
            }
        }
        batches
    }

    fn tenant(&self) -> Option<u32> {
        self.charges.first().map(Charge::tenant)
    }
}

/// Returns whether requests with these charges are decided alike: they are for the same histories, and cost the same.
fn are_alike(some: &[Charge], others: &[Charge]) -> bool {
    some == others && some.iter().zip(others).all(|(one, other)| one.units == other.units)
}

impl CoalescedRequests {
    /// Coalesces consecutive requests with the same charges, unless they are to be decided alone.
    ///
    /// The order is kept (FIFO): no request overtakes an earlier one, which may have a charge in common with it.
    fn coalesce(requests: Vec<BatchedRequest>, is_decided_alone: impl Fn(&[Charge]) -> bool) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for request in requests {
            let is_same =
                |other: &&mut Self| are_alike(other.charges(), &request.charges) && !is_decided_alone(&request.charges);
            match all.last_mut().filter(is_same) {
                Some(coalesced) => coalesced.0.push(request),
                None => all.push(Self(vec![request])),
            }
        }
        all
    }

    fn charges(&self) -> &[Charge] {
        self.0.first().map_or(&[], |first| &first.charges)
    }

    /// Returns the number of requests, which is the number of units of each charge.
    const fn units(&self) -> u8 {
        self.0.len() as u8
    }

    /// Returns the earliest deadline of the requests.
    fn deadline(&self) -> Option<Deadline> {
        self.0.iter().map(|request| request.deadline).min_by_key(|deadline| deadline.end)
    }

    /// Completes the requests: the first to come are the first to be admitted, each with the verdict as of its unit.
    fn complete(self, reply: &Result<Reply, Failure>) -> Option<PendingRefund> {
        let mut refund: Option<PendingRefund> = None;
        for (number, request) in (1..).zip(self.0) {
            let verdict = reply.clone().map(|reply| reply.verdict_on(number));
            let Err(Ok(verdict)) = request.sender.send(verdict) else { continue };
            if verdict.admitted {
                let charges = verdict.refundable(&request.charges);
                let none = PendingRefund { charges, admitted_at: verdict.now, units: 0 };
                refund.get_or_insert(none).units += 1;
            }
        }
        refund
    }
}

impl<T, F: FnOnce(T)> RefundOnDrop<T, F> {
    pub(super) fn new(refund: F) -> (Sender<T>, Self) {
        let (sender, value) = oneshot::channel();
        (sender, Self { value, refund: Some(refund) })
    }
}

impl<T, F: FnOnce(T) + Unpin> Future for RefundOnDrop<T, F> {
    /// `None` if the sender was dropped.
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let value = std::task::ready!(Pin::new(&mut self.value).poll(context));
        self.refund = None;
        Poll::Ready(value.ok())
    }
}

impl<T, F: FnOnce(T)> Drop for RefundOnDrop<T, F> {
    fn drop(&mut self) {
        let Some(refund) = self.refund.take() else { return };
        // From here on sending fails, and the sender has the value back.
        self.value.close();
        if let Ok(value) = self.value.try_recv() {
            refund(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_value_is_taken_or_refunded_or_returned_to_the_sender_and_never_two_of_these() {
        let refunded = Cell::new(0);
        let (sender, receiver) = RefundOnDrop::new(|value| refunded.set(value));
        sender.send(1).unwrap();
        assert_eq!(receiver.await, Some(1));
        assert_eq!(refunded.get(), 0, "it was taken");

        let (sender, receiver) = RefundOnDrop::new(|value| refunded.set(value));
        sender.send(2).unwrap();
        drop(receiver);
        assert_eq!(refunded.get(), 2);

        let (sender, receiver) = RefundOnDrop::new(|value| refunded.set(value));
        drop(receiver);
        assert_eq!(sender.send(3), Err(3));
        assert_eq!(refunded.get(), 2);

        let (sender, receiver) = RefundOnDrop::new(|_: i32| ());
        drop(sender);
        assert_eq!(receiver.await, None);
    }
}
