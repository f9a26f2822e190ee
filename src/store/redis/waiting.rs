//! Those who wait to be asked for.

use tokio::sync::oneshot::Sender;

use crate::{
    clock::Moment,
    store::{
        Charge, Verdict,
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
pub(super) struct Alike(Vec<Waiting>);

/// Units that were admitted for somebody who has gone.
pub(super) struct Unclaimed {
    pub(super) charges: Vec<Charge>,
    pub(super) admitted_at: Moment,
    pub(super) units: u8,
}

impl Waiting {
    /// Whether the answer is of no use to anybody any more.
    pub(super) fn is_gone(&self) -> bool {
        self.tell.is_closed()
    }

    pub(super) fn tenant(&self) -> Option<u32> {
        self.charges.first().map(Charge::tenant)
    }
}

impl Alike {
    pub(super) fn new(first: Waiting) -> Self {
        Self(vec![first])
    }

    /// One more who asks the same.
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.0.push(waiting);
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
