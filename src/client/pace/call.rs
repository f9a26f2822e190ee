//! A call about to go, and one under way.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::client::{
    Advice,
    pace::{
        line::Begun,
        place::{Place, Places},
        queues::Queues,
    },
};

/// A call as its lines know it.
pub(super) type Calls = SmallVec<[(Place, Begun); 2]>;

/// A call about to go, if the store agrees. Who drops it gives it back.
#[derive(Debug)]
pub(super) struct Reservation {
    queues: Arc<Queues>,
    places: Places,
}

/// A call under way. Who drops it says that it is over.
#[derive(Debug)]
pub(super) struct Call {
    queues: Arc<Queues>,
    calls: Calls,
    answer: Option<Advice>,
}

impl Reservation {
    pub(super) fn new(queues: &Arc<Queues>, places: &Places) -> Self {
        Self { queues: Arc::clone(queues), places: places.clone() }
    }

    /// The call goes.
    pub(super) fn begin(mut self) -> Call {
        let places = std::mem::take(&mut self.places);
        Call { queues: Arc::clone(&self.queues), calls: self.queues.begin(&places), answer: None }
    }

    /// Somebody else gives it back.
    pub(super) fn forget(mut self) {
        self.places.clear();
    }
}

impl Call {
    /// The call is over, and this is what the answer says.
    pub(super) fn answered(mut self, advice: Advice) {
        self.answer = Some(advice);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.places.is_empty() {
            self.queues.unreserve(&self.places);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.queues.end(&self.calls, self.answer.as_ref());
    }
}
