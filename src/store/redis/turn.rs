//! Those who ask in the same turn of the scheduler.

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::store::{
    Charge, Verdict,
    redis::{link::Failure, script::Reply},
};

/// Requests that wait for the end of the turn, to be asked about in one call.
#[derive(Debug)]
pub(super) struct Turn {
    waiting: Mutex<Vec<Waiting>>,
    /// Requests in one call, at most.
    most: usize,
}

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) charges: Vec<Charge>,
    tell: oneshot::Sender<Result<Verdict, Failure>>,
}

/// Those who ask the same, in the order in which they came.
pub(super) struct Alike(Vec<Waiting>);

impl Turn {
    pub(super) fn of(most: u8) -> Self {
        Self { waiting: Mutex::default(), most: usize::from(most) }
    }

    /// Whether a call may be about several requests.
    pub(super) const fn is_shared(&self) -> bool {
        self.most > 1
    }

    /// Requests in one call, at most.
    pub(super) const fn most(&self) -> usize {
        self.most
    }

    /// Says whether this is the first one to wait, who has to see to it that somebody asks.
    pub(super) fn join(&self, waiting: Waiting) -> bool {
        let mut all = self.waiting.lock();
        all.push(waiting);
        all.len() == 1
    }

    pub(super) fn is_anybody_waiting(&self) -> bool {
        !self.waiting.lock().is_empty()
    }

    pub(super) fn take(&self) -> Vec<Waiting> {
        std::mem::take(&mut *self.waiting.lock())
    }
}

impl Alike {
    pub(super) fn of(first: Waiting) -> Self {
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

    /// The first to come are the first to be admitted, each with what was so after it.
    pub(super) fn learn(self, reply: &Result<Reply, Failure>) {
        for (place, waiting) in (1..).zip(self.0) {
            waiting.learn(reply.clone().map(|reply| reply.verdict_on(place)));
        }
    }
}

impl Waiting {
    /// Somebody who asks about these charges, and where the answer will be.
    pub(super) fn of(charges: &[Charge]) -> (Self, oneshot::Receiver<Result<Verdict, Failure>>) {
        let (tell, told) = oneshot::channel();
        (Self { charges: charges.to_vec(), tell }, told)
    }

    /// Whether the answer is of no use to anybody any more.
    pub(super) fn is_gone(&self) -> bool {
        self.tell.is_closed()
    }

    pub(super) fn tenant(&self) -> Option<u32> {
        self.charges.first().map(Charge::tenant)
    }

    /// Tells who asked, if that is still there.
    fn learn(self, verdict: Result<Verdict, Failure>) {
        let _ = self.tell.send(verdict);
    }
}
