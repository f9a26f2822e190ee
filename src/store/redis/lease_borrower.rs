//! Borrows leased units from the server, and returns those that were not spent.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::{sync::watch, time::timeout_at};

use crate::{
    key::Charge,
    store::{
        Verdict,
        redis::{
            counts::{Counts, Leased},
            failure::{Failure, RUNTIME_ENDED},
            history_commands::{HistoryCommands, single_reply},
            lease_pool::{Lease, LeasePool, LeaseStep, RefillResult},
            recent_denials::RecentDenials,
            script::Mode,
            timer::Deadline,
        },
    },
};

/// Takes leases from the server, and returns the units that were not spent when they expire.
#[derive(Debug)]
pub(super) struct LeaseBorrower {
    pub(super) commands: Arc<HistoryCommands>,
    pub(super) denials: Arc<RecentDenials>,
    pub(super) pool: LeasePool,
    pub(super) counts: Arc<Counts>,
}

/// The outcome of a request for a leased unit.
#[derive(Debug)]
pub(super) enum BorrowOutcome {
    Admitted(Verdict),
    Denied(Verdict),
    /// The request has no lease: the server is to decide about it.
    NoLease,
    Failed(Failure),
}

impl LeaseBorrower {
    /// Returns the next step of a request. Charges in several hash slots are never leased, nor those of rules without leases.
    pub(super) fn next_step(&self, charges: &[Charge]) -> LeaseStep {
        if !self.commands.layouts.are_leased(charges) || self.commands.spans_slots(charges) {
            return LeaseStep::Direct;
        }
        self.pool.next_step(charges, self.commands.timer.now())
    }

    /// Waits until there is a leased unit for a request, or the server has none either.
    pub(super) async fn borrow(
        self: &Arc<Self>,
        charges: &[Charge],
        next: LeaseStep,
        deadline: Deadline,
    ) -> BorrowOutcome {
        // A refill has the same length of time, so this ends before it only if the refill began later.
        let borrowed = timeout_at(deadline.end, self.follow(charges, next)).await;
        borrowed.unwrap_or_else(|_| BorrowOutcome::Failed(deadline.missed()))
    }

    async fn follow(self: &Arc<Self>, charges: &[Charge], mut next: LeaseStep) -> BorrowOutcome {
        loop {
            let refill = match next {
                LeaseStep::Spent(verdict) => {
                    self.counts.count_leased(Leased::Spent, 1);
                    return BorrowOutcome::Admitted(verdict);
                }
                LeaseStep::Direct => return BorrowOutcome::NoLease,
                LeaseStep::Refill(units, sender) => {
                    let refill = sender.subscribe();
                    tokio::spawn(Arc::clone(self).refill(charges.to_vec(), units, sender));
                    refill
                }
                LeaseStep::AwaitRefill(refill) => refill,
            };
            match result_of(refill).await {
                RefillResult::Denied(verdict) => return BorrowOutcome::Denied(verdict),
                RefillResult::Divided => return BorrowOutcome::NoLease,
                RefillResult::Failed(failure) => return BorrowOutcome::Failed(failure),
                RefillResult::Leased | RefillResult::Pending => next = self.next_step(charges),
            }
        }
    }

    /// Takes a lease from the server, tells the waiting requests, and returns the units that are left when it expires.
    async fn refill(self: Arc<Self>, charges: Vec<Charge>, units: u8, sender: watch::Sender<RefillResult>) {
        let (result, lease) = match self.take(&charges, units).await {
            Ok((verdict, None)) => (RefillResult::Denied(verdict), None),
            Ok((_, lease)) => (RefillResult::Leased, lease),
            Err(failure) if failure.is_try_again() => (RefillResult::Divided, None),
            Err(failure) => (RefillResult::Failed(failure), None),
        };
        self.pool.finish_refill(&charges);
        sender.send_replace(result);
        drop(sender);
        if let Some(lease) = lease {
            self.commands.timer.sleep_until(lease.expires_at()).await;
            self.give_back(&charges, &lease).await;
        }
    }

    /// Asks the server for units. Returns its verdict, with the lease if it is an admission.
    async fn take(&self, charges: &[Charge], units: u8) -> Result<(Verdict, Option<Arc<Lease>>), Failure> {
        let asked = self.denials.asked_at(self.commands.timer.now());
        let deadline = Deadline::after(self.commands.deadline);
        let replies = self.commands.decide(&[(charges, units)], Mode::Decide, deadline).await;
        let reply = replies.and_then(single_reply)?;
        let now = self.commands.timer.now();
        if reply.units == 0 {
            self.denials.insert(charges, &reply.verdict, asked, now);
            return Ok((reply.verdict, None));
        }
        for charge in charges.iter().filter(|charge| self.commands.has_siblings(charge)) {
            self.denials.record_admitted(charge);
        }
        self.counts.count_leased(Leased::Lent, u64::from(reply.units));
        let is_current = || self.denials.is_current(asked);
        let lease = self.pool.insert(charges, reply.units, reply.verdict.clone(), [asked.instant(), now], is_current);
        Ok((reply.verdict, Some(lease)))
    }

    async fn give_back(&self, charges: &[Charge], lease: &Lease) {
        let left = lease.drain();
        if left > 0 {
            self.counts.count_leased(Leased::Returned, u64::from(left));
            let deadline = Deadline::after(self.commands.deadline);
            // If the server cannot be reached it keeps the units: too many are counted then, never too few.
            // Charges with costs are never lent.
            let charges: Vec<_> = charges.iter().map(|charge| (*charge, None)).collect();
            drop(self.commands.refund(&charges, lease.admitted_at(), left as u8, deadline).await);
        }
    }

    /// Returns all leased units to the server, all at the same time.
    pub(super) async fn give_all_back(&self) {
        let leases = self.pool.drain();
        join_all(leases.iter().map(|(charges, lease)| self.give_back(charges, lease))).await;
    }
}

/// Waits for the result of a refill.
async fn result_of(mut refill: watch::Receiver<RefillResult>) -> RefillResult {
    match refill.wait_for(|result| !matches!(result, RefillResult::Pending)).await {
        Ok(result) => result.clone(),
        Err(_) => RefillResult::Failed(Failure::other(RUNTIME_ENDED)),
    }
}
