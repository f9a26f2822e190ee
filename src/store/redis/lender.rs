//! Refill units from the server to spend them here.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::{sync::watch, time::timeout_at};

use crate::{
    key::Charge,
    store::{
        Verdict,
        redis::{
            failure::Failure,
            histories::{Histories, the_only_one},
            lease_pool::{Lease, LeasePool, RefillResult, Step},
            node::Deadline,
            recent_denials::RecentDenials,
            script::Mode,
        },
    },
};

/// Takes units from the server, and gives back what was not spent of them.
#[derive(Debug)]
pub(super) struct Lender {
    pub(super) histories: Arc<Histories>,
    pub(super) denials: Arc<RecentDenials>,
    pub(super) pool: LeasePool,
}

/// What has become of a request for a unit.
#[derive(Debug)]
pub(super) enum Borrowed {
    Lent(Verdict),
    Denied(Verdict),
    /// The server is to be asked about this one.
    Ask,
    Failed(Failure),
}

impl Lender {
    /// Whether there is a unit for a request, or somebody has to ask. What is lent in one call is in one slot.
    pub(super) fn next(&self, charges: &[Charge]) -> Step {
        let is_one_tenant =
            charges.windows(2).all(|pair| matches!(pair, [one, other] if one.tenant() == other.tenant()));
        if self.histories.routes.is_cluster() && !is_one_tenant {
            return Step::Direct;
        }
        self.pool.next(charges, self.histories.timepiece.now())
    }

    /// Waits until there are units for a request, or none on the server either.
    pub(super) async fn borrow(self: &Arc<Self>, charges: &[Charge], next: Step, deadline: Deadline) -> Borrowed {
        // Whoever asks the server has the same deadline, so this one ends first only where others were quicker.
        let borrowed = timeout_at(deadline.end, self.borrow_in_turns(charges, next)).await;
        borrowed.unwrap_or_else(|_| Borrowed::Failed(deadline.missed()))
    }

    async fn borrow_in_turns(self: &Arc<Self>, charges: &[Charge], mut next: Step) -> Borrowed {
        loop {
            let taken = match next {
                Step::Spent(verdict) => return Borrowed::Lent(verdict),
                Step::Direct => return Borrowed::Ask,
                Step::Refill(units, tell) => {
                    let told = tell.subscribe();
                    tokio::spawn(Arc::clone(self).take(charges.to_vec(), units, tell));
                    told
                }
                Step::AwaitRefill(told) => told,
            };
            match end_of(taken).await {
                RefillResult::Denied(verdict) => return Borrowed::Denied(verdict),
                RefillResult::Apart => return Borrowed::Ask,
                RefillResult::Failed(failure) => return Borrowed::Failed(failure),
                RefillResult::Lent | RefillResult::NotYet => next = self.next(charges),
            }
        }
    }

    /// Asks the server for units, tells those who wait, and gives back what is left of them when they may not be spent
    /// any more.
    async fn take(self: Arc<Self>, charges: Vec<Charge>, units: u8, tell: watch::Sender<RefillResult>) {
        let (taken, loan) = match self.lent(&charges, units).await {
            Ok((verdict, None)) => (RefillResult::Denied(verdict), None),
            Ok((_, loan)) => (RefillResult::Lent, loan),
            Err(failure) if failure.is_try_again() => (RefillResult::Apart, None),
            Err(failure) => (RefillResult::Failed(failure), None),
        };
        self.pool.taken(&charges);
        tell.send_replace(taken);
        drop(tell);
        if let Some(loan) = loan {
            self.histories.timepiece.reach(loan.ends()).await;
            self.give_back(&charges, &loan).await;
        }
    }

    /// The verdict, and what was lent if it is an admission.
    async fn lent(&self, charges: &[Charge], units: u8) -> Result<(Verdict, Option<Arc<Lease>>), Failure> {
        let question = self.denials.question(self.histories.timepiece.now());
        let deadline = Deadline::after(self.histories.deadline);
        let replies = self.histories.decide(&[(charges, units)], Mode::Decide, deadline).await;
        let reply = replies.and_then(the_only_one)?;
        let now = self.histories.timepiece.now();
        if reply.units == 0 {
            self.denials.remember(charges, &reply.verdict, question, now);
            return Ok((reply.verdict, None));
        }
        let is_current = || self.denials.is_current(question);
        let loan = self.pool.lend(charges, reply.units, reply.verdict.clone(), [question.asked(), now], is_current);
        Ok((reply.verdict, Some(loan)))
    }

    async fn give_back(&self, charges: &[Charge], loan: &Lease) {
        let left = loan.take_back();
        if left > 0 {
            let deadline = Deadline::after(self.histories.deadline);
            // If the server cannot be reached it keeps them: too much is counted then, never too little.
            drop(self.histories.refund(charges, loan.lent_at(), left as u8, deadline).await);
        }
    }

    /// Gives back all that is lent, all of it at the same time.
    pub(super) async fn give_all_back(&self) {
        let loans = self.pool.take_back();
        join_all(loans.iter().map(|(charges, loan)| self.give_back(charges, loan))).await;
    }
}

/// What those who wait are told in the end.
async fn end_of(mut taken: watch::Receiver<RefillResult>) -> RefillResult {
    match taken.wait_for(|taken| !matches!(taken, RefillResult::NotYet)).await {
        Ok(taken) => taken.clone(),
        Err(_) => RefillResult::Failed(Failure::impossible("the runtime of the task that asks has ended")),
    }
}
