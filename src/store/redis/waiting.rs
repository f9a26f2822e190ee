//! Those who wait to be asked for.

use tokio::sync::oneshot::Sender;

use crate::{
    clock::Timestamp,
    key::Charge,
    store::{
        Verdict,
        redis::{failure::Failure, node::Deadline, script::Reply},
    },
};

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) charges: Vec<Charge>,
    pub(super) deadline: Deadline,
    pub(super) tell: Sender<Result<Verdict, Failure>>,
}

/// Those who ask the same, in the order in which they came.
pub(super) struct BatchGroup(Vec<Waiting>);

/// Units that were admitted for somebody who has gone.
pub(super) struct Unclaimed {
    pub(super) charges: Vec<Charge>,
    pub(super) admitted_at: Timestamp,
    pub(super) units: u8,
}

impl Waiting {
    /// Whether the answer is of no use to anybody any more.
    pub(super) fn is_gone(&self) -> bool {
        self.tell.is_closed()
    }

    /// What may be asked about in one call: so many at most, and on a cluster those that share a slot.
    pub(super) fn calls(mut waiting: Vec<Self>, most: usize, is_cluster: bool) -> Vec<Vec<Self>> {
        if is_cluster {
            waiting.sort_by_key(Self::tenant);
        }
        let mut calls: Vec<Vec<Self>> = Vec::new();
        for request in waiting {
            let shares = |call: &&mut Vec<Self>| {
                let is_near = !is_cluster || call.last().map(Self::tenant) == Some(request.tenant());
                is_near && call.len() < most
            };
            match calls.last_mut().filter(shares) {
                Some(call) => call.push(request),
                None => calls.push(vec![request]),
            }
        }
        calls
    }

    fn tenant(&self) -> Option<u32> {
        self.charges.first().map(Charge::tenant)
    }
}

impl BatchGroup {
    /// Requests with the same charges that came one after the other are one request for several units, unless denials are to
    /// be counted one by one. None is put before one that came earlier, for that may have a charge in common with it.
    pub(super) fn all(waiting: Vec<Waiting>, counts_denied: impl Fn(&[Charge]) -> bool) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for request in waiting {
            let is_like = |other: &&mut Self| other.charges() == request.charges && !counts_denied(&request.charges);
            match all.last_mut().filter(is_like) {
                Some(alike) => alike.0.push(request),
                None => all.push(Self(vec![request])),
            }
        }
        all
    }

    pub(super) fn charges(&self) -> &[Charge] {
        self.0.first().map_or(&[], |first| &first.charges)
    }

    pub(super) fn request(&self) -> (&[Charge], u8) {
        (self.charges(), self.0.len() as u8)
    }

    /// The last moment at which an answer is of use to all.
    pub(super) fn deadline(&self) -> Option<Deadline> {
        self.0.iter().map(|waiting| waiting.deadline).min_by_key(|deadline| deadline.end)
    }

    /// The first to come are the first to be admitted, each with what was so after it.
    pub(super) fn learn(self, reply: &Result<Reply, Failure>) -> Option<Unclaimed> {
        let mut unclaimed: Option<Unclaimed> = None;
        for (place, waiting) in (1..).zip(self.0) {
            let verdict = reply.clone().map(|reply| reply.verdict_on(place));
            let Err(Ok(verdict)) = waiting.tell.send(verdict) else { continue };
            if verdict.admitted {
                let none = Unclaimed { charges: waiting.charges, admitted_at: verdict.now, units: 0 };
                unclaimed.get_or_insert(none).units += 1;
            }
        }
        unclaimed
    }
}
